// PutResults over gRPC: room in the queue is reserved before the message is read, so that what is refused costs no memory.
#include <grpcpp/support/proto_buffer_reader.h>

#include <utility>

#include "base/backpressure.h"
#include "base/rpc.h"
#include "store/service.h"

namespace promptsweep::store {

// A unary call looks the same on the wire as a stream of one message each way, and only of a stream does gRPC let the server
// decide when to read.
class StoreService::PutCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, v1::PutResultsResponse> {
 public:
  PutCall(StoreService& service, grpc::CallbackServerContext* context) { Admit(service, context); }
  void OnReadDone(bool ok) override {
    if (!ok) {
      room_.reset();
      return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the request did not arrive"));
    }
    {
      grpc::ProtoBufferReader reader(&bytes_);
      ok = reader.status().ok() && request_.ParseFromZeroCopyStream(&reader);
    }
    bytes_.Clear();
    if (!ok) {
      room_.reset();
      return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the request is not a PutResultsRequest"));
    }
    store_->PutAdmitted(&request_, std::move(room_), [this](absl::StatusOr<v1::PutResultsResponse> response) {
      if (!response.ok()) return Finish(ToGrpc(response.status()));
      response_ = *std::move(response);
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    });
  }
  void OnDone() override { delete this; }

 private:
  void Admit(StoreService& service, grpc::CallbackServerContext* context) {
    const auto store = service.Ready();
    if (!store.ok()) return Finish(ToGrpc(store.status()));
    store_ = *store;
    // What a client does not announce may be as large as any message.
    const uint64_t announced = RequestBytes(*context).value_or(kMaxMessageBytes);
    const size_t bytes = std::min<uint64_t>(announced, kMaxMessageBytes) + Store::kWriteOverhead;
    room_ = store_->admission().Reserve(bytes);
    if (!room_) {
      SetRetryAfter(*context, store_->admission().RetryAfter(bytes));
      return Finish(ToGrpc(absl::ResourceExhaustedError("the store is busy: too much is waiting to be written")));
    }
    StartRead(&bytes_);
  }

  Store* store_ = nullptr;
  std::shared_ptr<Admission::Room> room_;
  grpc::ByteBuffer bytes_;
  v1::PutResultsRequest request_;
  v1::PutResultsResponse response_;
};

StoreService::StoreService() {
  const auto* put = v1::PutOutcome::descriptor()->file()->FindServiceByName("StoreService")->FindMethodByName("PutResults");
  // Registered as a stream; it stays a method of the callback API.
  MarkMethodStreamed(put->index(), new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, v1::PutResultsResponse>(
                                       [this](grpc::CallbackServerContext* context) { return new PutCall(*this, context); }));
}

}  // namespace promptsweep::store
