// A coordinator and a store in the process, models made of arithmetic, and a sweep for them. The services are real gRPC services
// behind an in-process channel; what they were told is kept, and they can be made to fail.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/model_host.h"

namespace promptsweep::worker {

// `cells` cells of `model`, embedded by "fake-embed": the empty prompt, one seed each.
v1::SweepManifest FakeManifest(uint64_t cells, const std::string& model = "fake");
// The digest of a fake folder.
std::string FakeDigest(const std::string& id);

// Grants [0, cells) in ranges of `lease_cells`, takes back what is released or failed, and counts what is reported.
class FakeCoordinator final : public v1::CoordinatorService::Service {
 public:
  FakeCoordinator(v1::SweepManifest manifest, uint64_t lease_cells);

  // --- knobs; set before or during a run
  void set_down(bool down);  // every call: UNAVAILABLE
  void set_command(v1::WorkerCommand command);
  void Abandon(uint64_t lease);
  void Cut(uint64_t lease, uint64_t end);                      // as where another worker has the rest
  void LoseNextReplies(const std::string& method, int count);  // handled, then UNAVAILABLE
  void Skip(std::vector<uint64_t> ordinals);
  void Pause(bool paused);  // grants nothing
  void EndSessions();       // as after a restart
  void set_manifest_digest(std::string digest);
  void set_attempt(uint32_t attempt);

  // --- what happened
  std::set<uint64_t> stored() const;
  uint64_t reported_twice() const;
  std::map<uint64_t, v1::CellFailure> failed() const;  // for good
  int failures_of(uint64_t ordinal) const;
  int releases() const;
  int registrations() const;
  int granted() const;
  std::vector<v1::HeartbeatRequest> heartbeats() const;
  std::vector<v1::ReportProgressRequest> reports() const;
  std::vector<uint64_t> acquire_sequences() const;
  // Waits up to 30 s for `condition`, judged under the lock whenever something arrived.
  bool WaitFor(std::function<bool()> condition) const;
  bool AllEnded() const;  // call within WaitFor or a quiet moment

  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest*, v1::RegisterWorkerResponse*) override;
  grpc::Status AcquireLease(grpc::ServerContext*, const v1::AcquireLeaseRequest*, v1::AcquireLeaseResponse*) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*, v1::HeartbeatResponse*) override;
  grpc::Status ReportProgress(grpc::ServerContext*, const v1::ReportProgressRequest*, v1::ReportProgressResponse*) override;
  grpc::Status ReleaseLease(grpc::ServerContext*, const v1::ReleaseLeaseRequest*, v1::ReleaseLeaseResponse*) override;

  // Told the worker at registration.
  absl::Duration heartbeat_interval = absl::Milliseconds(20);
  absl::Duration lease_ttl = absl::Seconds(30);
  int max_attempts = 2;
  std::function<void(uint64_t granted)> on_grant;  // called under the lock

 private:
  grpc::Status Check(uint64_t session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  grpc::Status Reply(const std::string& method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeBack(uint64_t lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stored_.size() + failed_.size() >= cells_; }

  mutable absl::Mutex mu_;
  const v1::SweepManifest manifest_;
  const uint64_t cells_;
  std::string digest_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::OrdinalRange> pending_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, v1::Lease> leases_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<uint64_t, uint64_t>, v1::AcquireLeaseResponse> answers_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> stored_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, v1::CellFailure> failed_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, int> attempts_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> abandon_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, uint64_t> cuts_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> skip_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> lose_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::HeartbeatRequest> heartbeats_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::ReportProgressRequest> reports_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> sequences_ ABSL_GUARDED_BY(mu_);
  v1::WorkerCommand command_ ABSL_GUARDED_BY(mu_) = v1::WORKER_COMMAND_UNSPECIFIED;
  uint64_t twice_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_lease_ ABSL_GUARDED_BY(mu_) = 100;
  uint64_t session_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_session_ ABSL_GUARDED_BY(mu_) = 7;
  uint32_t attempt_ ABSL_GUARDED_BY(mu_) = 1;
  int releases_ ABSL_GUARDED_BY(mu_) = 0;
  int registrations_ ABSL_GUARDED_BY(mu_) = 0;
  int granted_ ABSL_GUARDED_BY(mu_) = 0;
  bool down_ ABSL_GUARDED_BY(mu_) = false;
  bool paused_ ABSL_GUARDED_BY(mu_) = false;
};

// Keeps results by ordinal; the first stays.
class FakeStore final : public v1::StoreService::Service {
 public:
  explicit FakeStore(v1::SweepManifest manifest) : manifest_(std::move(manifest)) {}

  // --- knobs
  void FailPuts(grpc::StatusCode code, int count);  // the next `count`; -1: until set again
  void LoseNextReplies(int count);                  // stored, then UNAVAILABLE
  void Reject(uint64_t ordinal);                    // CODE_REJECTED
  void Refuse(uint64_t ordinal);                    // a request that has it: INVALID_ARGUMENT
  void Hold(bool hold);                             // PutResults waits
  void SetDone(std::vector<v1::OrdinalRange> done);
  void SetReusable(std::set<uint64_t> ordinals);     // ReuseResults links these
  void Link(uint64_t ordinal);                       // as if another worker had asked
  void FailReuse(grpc::StatusCode code, int count);  // the next `count`; -1: until set again

  // --- what happened
  std::map<uint64_t, v1::Result> results() const;
  int puts() const;
  int reuses() const;
  std::set<uint64_t> linked() const;
  uint64_t duplicates() const;
  uint64_t divergent() const;
  size_t largest_put() const;
  v1::Provenance provenance() const;
  std::vector<v1::PutLabelsRequest> labels() const;
  std::map<uint64_t, v1::FailureRecord> failures() const;
  bool WaitFor(std::function<bool()> condition) const;  // as FakeCoordinator's
  int waiting() const;                                  // PutResults calls held; within WaitFor

  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest*, v1::GetSweepResponse*) override;
  grpc::Status PutResults(grpc::ServerContext*, const v1::PutResultsRequest*, v1::PutResultsResponse*) override;
  grpc::Status ReuseResults(grpc::ServerContext*, const v1::ReuseResultsRequest*, v1::ReuseResultsResponse*) override;
  grpc::Status GetCoverage(grpc::ServerContext*, const v1::GetCoverageRequest*, v1::GetCoverageResponse*) override;
  grpc::Status PutFailures(grpc::ServerContext*, const v1::PutFailuresRequest*, v1::PutFailuresResponse*) override;
  grpc::Status PutLabels(grpc::ServerContext*, const v1::PutLabelsRequest*, v1::PutLabelsResponse*) override;
  grpc::Status GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest*, v1::GetLabelsResponse*) override;

 private:
  bool Open() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !hold_; }

  mutable absl::Mutex mu_;
  const v1::SweepManifest manifest_;
  std::map<uint64_t, v1::Result> results_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, v1::FailureRecord> failures_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::PutLabelsRequest> labels_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::OrdinalRange> done_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> reject_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> refuse_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> reusable_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> linked_ ABSL_GUARDED_BY(mu_);
  grpc::StatusCode fail_reuse_code_ ABSL_GUARDED_BY(mu_) = grpc::StatusCode::OK;
  int fail_reuse_ ABSL_GUARDED_BY(mu_) = 0;
  int reuses_ ABSL_GUARDED_BY(mu_) = 0;
  v1::Provenance provenance_ ABSL_GUARDED_BY(mu_);
  grpc::StatusCode fail_code_ ABSL_GUARDED_BY(mu_) = grpc::StatusCode::OK;
  int fail_ ABSL_GUARDED_BY(mu_) = 0;
  int lose_ ABSL_GUARDED_BY(mu_) = 0;
  int puts_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t duplicates_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t divergent_ ABSL_GUARDED_BY(mu_) = 0;
  size_t largest_ ABSL_GUARDED_BY(mu_) = 0;
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
};

// Behaviour of the fake models; read on the device thread.
struct FakeModels {
  int batch_shape = 8;
  int side = 16;
  int fits = 1 << 20;               // batches larger than this: RESOURCE_EXHAUSTED
  absl::Duration batch_cost;        // slept in Generate
  std::set<uint64_t> invalid;       // INVALID_ARGUMENT
  std::set<uint64_t> broken;        // INTERNAL
  std::set<uint64_t> throws;        // std::runtime_error
  std::set<uint64_t> zero;          // a black image: the embedding is all zero
  std::set<uint64_t> not_a_number;  // a white image: the embedding is not finite
  bool unstable = false;            // bytes depend on the place in the batch
  absl::Status load_error;
  std::vector<std::string> labels;
  absl::Status texts_error;                    // of EmbedTexts
  std::function<void(size_t texts)> on_texts;  // before EmbedTexts
  std::string digest_suffix;                   // another folder under the same name
  std::function<void(const std::vector<uint64_t>&)> on_generate;
};

// One host per test; `models` outlives it.
class FakeHost final : public ModelHost {
 public:
  explicit FakeHost(FakeModels* models) : models_(models) {}
  absl::StatusOr<sweep::ModelFolder> Find(const std::string& id) const override;
  absl::StatusOr<std::unique_ptr<Generator>> LoadGenerator(const sweep::ModelFolder& folder, const LoadOptions& options) override;
  absl::StatusOr<std::unique_ptr<Embedder>> LoadEmbedder(const sweep::ModelFolder& folder, const LoadOptions& options) override;
  int generators_loaded() const { return generators_; }

 private:
  FakeModels* const models_;
  int generators_ = 0;
};

// A server for any of the services, and an in-process channel to it. With `address` it listens too.
class FakeServer {
 public:
  explicit FakeServer(std::vector<grpc::Service*> services, const std::string& address = "");
  ~FakeServer();
  std::unique_ptr<v1::CoordinatorService::Stub> coordinator() { return v1::CoordinatorService::NewStub(channel_); }
  std::unique_ptr<v1::StoreService::Stub> store() { return v1::StoreService::NewStub(channel_); }
  int port() const { return port_; }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace promptsweep::worker
