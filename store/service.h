// The store over gRPC: proto to Store and back, nothing else. No reaction blocks: writes complete from the committer's
// callback, reads run on the store's read threads, a stream has one write in flight and holds no thread between writes.
#pragma once

#include <atomic>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/store.h"

namespace promptsweep::store {

// Until Serve, and after Drain, every call is answered UNAVAILABLE. Must outlive its server.
class StoreService final : public v1::StoreService::CallbackService {
 public:
  // Rows may be streamed to this many readers at once; a further one gets RESOURCE_EXHAUSTED.
  static constexpr int kMaxStreams = 64;

  StoreService();
  // The store must outlive the server.
  void Serve(Store* store) { store_ = store; }
  // Refuses new calls, ends open streams with UNAVAILABLE at their next message and long work as soon as it can be.
  void Drain();

  grpc::ServerUnaryReactor* CreateSweep(grpc::CallbackServerContext*, const v1::CreateSweepRequest*,
                                        v1::CreateSweepResponse*) override;
  grpc::ServerUnaryReactor* SetSweepState(grpc::CallbackServerContext*, const v1::SetSweepStateRequest*,
                                          v1::SetSweepStateResponse*) override;
  grpc::ServerUnaryReactor* SetSweepLimits(grpc::CallbackServerContext*, const v1::SetSweepLimitsRequest*,
                                           v1::SetSweepLimitsResponse*) override;
  grpc::ServerUnaryReactor* ExtendSweep(grpc::CallbackServerContext*, const v1::ExtendSweepRequest*,
                                        v1::ExtendSweepResponse*) override;
  grpc::ServerUnaryReactor* GetSweep(grpc::CallbackServerContext*, const v1::GetSweepRequest*, v1::GetSweepResponse*) override;
  grpc::ServerUnaryReactor* ListSweeps(grpc::CallbackServerContext*, const v1::ListSweepsRequest*,
                                       v1::ListSweepsResponse*) override;
  grpc::ServerUnaryReactor* ReuseResults(grpc::CallbackServerContext*, const v1::ReuseResultsRequest*,
                                         v1::ReuseResultsResponse*) override;
  grpc::ServerUnaryReactor* ListDuplicates(grpc::CallbackServerContext*, const v1::ListDuplicatesRequest*,
                                           v1::ListDuplicatesResponse*) override;
  grpc::ServerUnaryReactor* GetCoverage(grpc::CallbackServerContext*, const v1::GetCoverageRequest*,
                                        v1::GetCoverageResponse*) override;
  grpc::ServerUnaryReactor* PutFailures(grpc::CallbackServerContext*, const v1::PutFailuresRequest*,
                                        v1::PutFailuresResponse*) override;
  grpc::ServerUnaryReactor* ListFailures(grpc::CallbackServerContext*, const v1::ListFailuresRequest*,
                                         v1::ListFailuresResponse*) override;
  grpc::ServerUnaryReactor* ClearFailures(grpc::CallbackServerContext*, const v1::ClearFailuresRequest*,
                                          v1::ClearFailuresResponse*) override;
  grpc::ServerWriteReactor<v1::GetResultsResponse>* GetResults(grpc::CallbackServerContext*,
                                                               const v1::GetResultsRequest*) override;
  grpc::ServerWriteReactor<v1::ScanEmbeddingsResponse>* ScanEmbeddings(grpc::CallbackServerContext*,
                                                                       const v1::ScanEmbeddingsRequest*) override;
  grpc::ServerUnaryReactor* PutLabels(grpc::CallbackServerContext*, const v1::PutLabelsRequest*, v1::PutLabelsResponse*) override;
  grpc::ServerUnaryReactor* GetLabels(grpc::CallbackServerContext*, const v1::GetLabelsRequest*, v1::GetLabelsResponse*) override;
  grpc::ServerUnaryReactor* PutMotifs(grpc::CallbackServerContext*, const v1::PutMotifsRequest*, v1::PutMotifsResponse*) override;
  grpc::ServerUnaryReactor* GetMotifs(grpc::CallbackServerContext*, const v1::GetMotifsRequest*, v1::GetMotifsResponse*) override;
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext*, const v1::VerifyRequest*, v1::VerifyResponse*) override;
  grpc::ServerUnaryReactor* DeleteSweep(grpc::CallbackServerContext*, const v1::DeleteSweepRequest*,
                                        v1::DeleteSweepResponse*) override;
  grpc::ServerUnaryReactor* Checkpoint(grpc::CallbackServerContext*, const v1::CheckpointRequest*,
                                       v1::CheckpointResponse*) override;
  grpc::ServerUnaryReactor* Backup(grpc::CallbackServerContext*, const v1::BackupRequest*, v1::BackupResponse*) override;
  grpc::ServerUnaryReactor* Compact(grpc::CallbackServerContext*, const v1::CompactRequest*, v1::CompactResponse*) override;
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext*, const v1::GetStatsRequest*, v1::GetStatsResponse*) override;

 private:
  template <typename Reader, typename Message>
  class Stream;
  class PutCall;
  absl::StatusOr<Store*> Ready() const;
  template <typename Reply, typename Request, typename Method>
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context, const Request* request, Reply* reply, Method method);
  template <typename Reply, typename Work>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, Reply* reply, Work work);

  std::atomic<Store*> store_{nullptr};
  std::atomic<bool> draining_{false};
  std::atomic<int> streams_{0};
};

}  // namespace promptsweep::store
