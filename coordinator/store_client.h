// What the coordinator needs of the store, and no more.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/ordinals.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::coordinator {

// Every call is idempotent, may block for seconds and is made from the coordinator's store thread only, never from a gRPC
// reaction. Transient trouble comes back as UNAVAILABLE or DEADLINE_EXCEEDED after the client's own retries.
class StoreClient {
 public:
  virtual ~StoreClient() = default;
  // Every sweep by id; manifests may lack their cell trees.
  virtual absl::StatusOr<std::vector<v1::SweepInfo>> ListSweeps() = 0;
  // One sweep with its whole manifest.
  virtual absl::StatusOr<v1::SweepInfo> GetSweep(uint32_t sweep) = 0;
  // The sweep's id, and whether it was there before. New sweeps are RUNNING.
  virtual absl::StatusOr<v1::CreateSweepResponse> CreateSweep(const v1::SweepManifest& manifest,
                                                              const v1::SweepLimits& limits) = 0;
  // Returns all that holds now.
  virtual absl::StatusOr<v1::SweepLimits> SetSweepLimits(uint32_t sweep, const v1::SweepLimits& limits) = 0;
  virtual absl::StatusOr<v1::ExtendSweepResponse> ExtendSweep(const v1::ExtendSweepRequest& request) = 0;
  virtual absl::Status SetSweepState(uint32_t sweep, v1::SweepState state) = 0;
  // Ordinals with a stored result.
  virtual absl::StatusOr<OrdinalSet> GetCoverage(uint32_t sweep) = 0;
  virtual absl::Status PutFailures(uint32_t sweep, const std::vector<v1::FailureRecord>& failures) = 0;
  // Ordinals failed for good.
  virtual absl::StatusOr<OrdinalSet> ListFailures(uint32_t sweep) = 0;
  // Empty `ordinals` means all. Returns how many were forgotten.
  virtual absl::StatusOr<uint64_t> ClearFailures(uint32_t sweep, const std::vector<uint64_t>& ordinals) = 0;
  // Makes the call under way and all later ones fail with CANCELLED soon. Thread-safe, unlike the rest.
  virtual void Shutdown() {}
};

// Over gRPC, or over the in-process channel of the server that hosts both.
class GrpcStoreClient final : public StoreClient {
 public:
  struct Options {
    absl::Duration call_timeout = absl::Seconds(10);
    // Tries of one call while the store is UNAVAILABLE, with jittered doubling pauses between.
    int tries = 4;
    absl::Duration first_pause = absl::Milliseconds(100);
    // Spreads the pauses; any source will do.
    std::function<uint64_t()> random;
  };
  GrpcStoreClient(std::unique_ptr<v1::StoreService::StubInterface> stub, Options options);

  absl::StatusOr<std::vector<v1::SweepInfo>> ListSweeps() override;
  absl::StatusOr<v1::SweepInfo> GetSweep(uint32_t sweep) override;
  absl::StatusOr<v1::CreateSweepResponse> CreateSweep(const v1::SweepManifest& manifest, const v1::SweepLimits& limits) override;
  absl::StatusOr<v1::SweepLimits> SetSweepLimits(uint32_t sweep, const v1::SweepLimits& limits) override;
  absl::StatusOr<v1::ExtendSweepResponse> ExtendSweep(const v1::ExtendSweepRequest& request) override;
  absl::Status SetSweepState(uint32_t sweep, v1::SweepState state) override;
  absl::StatusOr<OrdinalSet> GetCoverage(uint32_t sweep) override;
  absl::Status PutFailures(uint32_t sweep, const std::vector<v1::FailureRecord>& failures) override;
  absl::StatusOr<OrdinalSet> ListFailures(uint32_t sweep) override;
  absl::StatusOr<uint64_t> ClearFailures(uint32_t sweep, const std::vector<uint64_t>& ordinals) override;
  void Shutdown() override;

 private:
  template <typename Request, typename Response>
  absl::Status Call(const Request& request, Response* response,
                    grpc::Status (v1::StoreService::StubInterface::*method)(grpc::ClientContext*, const Request&, Response*));
  // Call as ForEachPage wants it.
  template <typename Request, typename Response>
  auto Fetch(grpc::Status (v1::StoreService::StubInterface::*method)(grpc::ClientContext*, const Request&, Response*));

  const std::unique_ptr<v1::StoreService::StubInterface> stub_;
  const Options options_;
  absl::Mutex mu_;
  absl::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* running_ ABSL_GUARDED_BY(mu_) = nullptr;  // the call under way
};

}  // namespace promptsweep::coordinator
