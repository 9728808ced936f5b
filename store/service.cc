#include "store/service.h"

#include <utility>

#include "base/rpc.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

grpc::Status Draining() { return {grpc::StatusCode::UNAVAILABLE, "the store is shutting down"}; }

}  // namespace

void StoreService::Drain() {
  draining_ = true;
  if (Store* store = store_) store->CancelMaintenance();
}

absl::StatusOr<Store*> StoreService::Ready() const {
  if (draining_) return absl::UnavailableError("the store is shutting down");
  Store* store = store_;
  if (!store) return absl::UnavailableError("the store is opening");
  PS_RETURN_IF_ERROR(store->health());
  return store;
}

// Pumps a reader into a stream: a task on the read threads makes one message and starts its write; the end of the write
// posts the next task. Exactly one of the two is always under way until Finish, so nothing here needs a lock.
template <typename Reader, typename Message>
class StoreService::Stream final : public grpc::ServerWriteReactor<Message> {
 public:
  using OpenReader = std::function<absl::StatusOr<std::unique_ptr<Reader>>()>;

  Stream(StoreService& service, absl::StatusOr<Store*> store, OpenReader open) : service_(service), open_(std::move(open)) {
    if (++service_.streams_ > kMaxStreams) {
      this->Finish(ToGrpc(absl::ResourceExhaustedError("too many streams are open")));
    } else if (!store.ok()) {
      this->Finish(ToGrpc(store.status()));
    } else {
      store_ = *store;
      Continue();
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok || cancelled_) {
      End(grpc::Status::CANCELLED);
    } else {
      Continue();
    }
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override {
    --service_.streams_;
    delete this;
  }

 private:
  void Continue() {
    if (store_->reads().Post([this] { Step(); })) return;
    End(ToGrpc(absl::ResourceExhaustedError("the store is busy: too many reads are waiting")));
  }
  void Step() {
    if (service_.draining_) return End(Draining());
    if (cancelled_) return End(grpc::Status::CANCELLED);
    if (!reader_) {
      auto reader = open_();
      if (!reader.ok()) return End(ToGrpc(reader.status()));
      reader_ = *std::move(reader);
    }
    const absl::StatusOr<bool> more = reader_->Next(message_);
    if (!more.ok()) return End(ToGrpc(more.status()));
    if (!*more) return End(grpc::Status::OK);
    this->StartWrite(&message_);
  }
  // The snapshot goes before the client hears of the end.
  void End(grpc::Status status) {
    reader_.reset();
    this->Finish(std::move(status));
  }

  StoreService& service_;
  const OpenReader open_;
  Store* store_ = nullptr;
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<Reader> reader_;
  Message message_;
};

template <typename Reply, typename Request, typename Method>
grpc::ServerUnaryReactor* StoreService::Write(grpc::CallbackServerContext* context, const Request* request, Reply* reply,
                                              Method method) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto store = Ready();
  if (!store.ok()) {
    reactor->Finish(ToGrpc(store.status()));
    return reactor;
  }
  ((*store)->*method)(request, [reactor, reply](absl::StatusOr<Reply> result) {
    if (result.ok()) *reply = *std::move(result);
    reactor->Finish(ToGrpc(result.status()));
  });
  return reactor;
}

template <typename Reply, typename Work>
grpc::ServerUnaryReactor* StoreService::Read(grpc::CallbackServerContext* context, Reply* reply, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto store = Ready();
  if (!store.ok()) {
    reactor->Finish(ToGrpc(store.status()));
    return reactor;
  }
  const bool posted = (*store)->reads().Post([reactor, reply, store = *store, work = std::move(work)] {
    absl::StatusOr<Reply> result = work(store);
    if (result.ok()) *reply = *std::move(result);
    reactor->Finish(ToGrpc(result.status()));
  });
  if (!posted) reactor->Finish(ToGrpc(absl::ResourceExhaustedError("the store is busy: too many reads are waiting")));
  return reactor;
}

grpc::ServerUnaryReactor* StoreService::CreateSweep(grpc::CallbackServerContext* context, const v1::CreateSweepRequest* request,
                                                    v1::CreateSweepResponse* reply) {
  return Write(context, request, reply, &Store::CreateSweep);
}

grpc::ServerUnaryReactor* StoreService::SetSweepState(grpc::CallbackServerContext* context,
                                                      const v1::SetSweepStateRequest* request, v1::SetSweepStateResponse* reply) {
  return Write(context, request, reply, &Store::SetSweepState);
}

grpc::ServerUnaryReactor* StoreService::SetSweepLimits(grpc::CallbackServerContext* context,
                                                       const v1::SetSweepLimitsRequest* request,
                                                       v1::SetSweepLimitsResponse* reply) {
  return Write(context, request, reply, &Store::SetSweepLimits);
}

grpc::ServerUnaryReactor* StoreService::ExtendSweep(grpc::CallbackServerContext* context, const v1::ExtendSweepRequest* request,
                                                    v1::ExtendSweepResponse* reply) {
  return Write(context, request, reply, &Store::ExtendSweep);
}

grpc::ServerUnaryReactor* StoreService::GetSweep(grpc::CallbackServerContext* context, const v1::GetSweepRequest* request,
                                                 v1::GetSweepResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->GetSweep(*request); });
}

grpc::ServerUnaryReactor* StoreService::ListSweeps(grpc::CallbackServerContext* context, const v1::ListSweepsRequest*,
                                                   v1::ListSweepsResponse* reply) {
  return Read(context, reply, [](Store* store) { return store->ListSweeps(); });
}

grpc::ServerUnaryReactor* StoreService::ReuseResults(grpc::CallbackServerContext* context, const v1::ReuseResultsRequest* request,
                                                     v1::ReuseResultsResponse* reply) {
  return Write(context, request, reply, &Store::ReuseResults);
}

grpc::ServerUnaryReactor* StoreService::ListDuplicates(grpc::CallbackServerContext* context,
                                                       const v1::ListDuplicatesRequest* request,
                                                       v1::ListDuplicatesResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->ListDuplicates(*request); });
}

grpc::ServerUnaryReactor* StoreService::GetCoverage(grpc::CallbackServerContext* context, const v1::GetCoverageRequest* request,
                                                    v1::GetCoverageResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->GetCoverage(*request); });
}

grpc::ServerUnaryReactor* StoreService::PutFailures(grpc::CallbackServerContext* context, const v1::PutFailuresRequest* request,
                                                    v1::PutFailuresResponse* reply) {
  return Write(context, request, reply, &Store::PutFailures);
}

grpc::ServerUnaryReactor* StoreService::ListFailures(grpc::CallbackServerContext* context, const v1::ListFailuresRequest* request,
                                                     v1::ListFailuresResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->ListFailures(*request); });
}

grpc::ServerUnaryReactor* StoreService::ClearFailures(grpc::CallbackServerContext* context,
                                                      const v1::ClearFailuresRequest* request, v1::ClearFailuresResponse* reply) {
  return Write(context, request, reply, &Store::ClearFailures);
}

grpc::ServerWriteReactor<v1::GetResultsResponse>* StoreService::GetResults(grpc::CallbackServerContext*,
                                                                           const v1::GetResultsRequest* request) {
  const auto store = Ready();
  Store* raw = store.ok() ? *store : nullptr;
  return new Stream<ResultReader, v1::GetResultsResponse>(*this, store, [raw, request] { return raw->ReadResults(*request); });
}

grpc::ServerWriteReactor<v1::ScanEmbeddingsResponse>* StoreService::ScanEmbeddings(grpc::CallbackServerContext*,
                                                                                   const v1::ScanEmbeddingsRequest* request) {
  const auto store = Ready();
  Store* raw = store.ok() ? *store : nullptr;
  return new Stream<EmbeddingReader, v1::ScanEmbeddingsResponse>(*this, store,
                                                                 [raw, request] { return raw->ScanEmbeddings(*request); });
}

grpc::ServerUnaryReactor* StoreService::PutLabels(grpc::CallbackServerContext* context, const v1::PutLabelsRequest* request,
                                                  v1::PutLabelsResponse* reply) {
  return Write(context, request, reply, &Store::PutLabels);
}

grpc::ServerUnaryReactor* StoreService::GetLabels(grpc::CallbackServerContext* context, const v1::GetLabelsRequest* request,
                                                  v1::GetLabelsResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->GetLabels(*request); });
}

grpc::ServerUnaryReactor* StoreService::PutMotifs(grpc::CallbackServerContext* context, const v1::PutMotifsRequest* request,
                                                  v1::PutMotifsResponse* reply) {
  return Write(context, request, reply, &Store::PutMotifs);
}

grpc::ServerUnaryReactor* StoreService::GetMotifs(grpc::CallbackServerContext* context, const v1::GetMotifsRequest* request,
                                                  v1::GetMotifsResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->GetMotifs(*request); });
}

grpc::ServerUnaryReactor* StoreService::Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                               v1::VerifyResponse* reply) {
  return Read(context, reply, [request](Store* store) { return store->Verify(*request); });
}

grpc::ServerUnaryReactor* StoreService::DeleteSweep(grpc::CallbackServerContext* context, const v1::DeleteSweepRequest* request,
                                                    v1::DeleteSweepResponse* reply) {
  return Write(context, request, reply, &Store::DeleteSweep);
}

grpc::ServerUnaryReactor* StoreService::Checkpoint(grpc::CallbackServerContext* context, const v1::CheckpointRequest* request,
                                                   v1::CheckpointResponse* reply) {
  return Write(context, request, reply, &Store::Checkpoint);
}

grpc::ServerUnaryReactor* StoreService::Backup(grpc::CallbackServerContext* context, const v1::BackupRequest* request,
                                               v1::BackupResponse* reply) {
  return Write(context, request, reply, &Store::Backup);
}

grpc::ServerUnaryReactor* StoreService::Compact(grpc::CallbackServerContext* context, const v1::CompactRequest* request,
                                                v1::CompactResponse* reply) {
  return Write(context, request, reply, &Store::Compact);
}

grpc::ServerUnaryReactor* StoreService::GetStats(grpc::CallbackServerContext* context, const v1::GetStatsRequest*,
                                                 v1::GetStatsResponse* reply) {
  return Read(context, reply, [](Store* store) { return store->GetStats(); });
}

}  // namespace promptsweep::store
