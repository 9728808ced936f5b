// What the sections of the coordinator's bench share: a cluster in this process, and workers that talk to it over loopback.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/coordinator.h"
#include "coordinator/fake_store_client.h"
#include "coordinator/service.h"
#include "jobs/sweep/plan.h"
#include "store/host.h"

namespace promptsweep::coordinator {

struct BenchOptions {
  // On the disk that is meant; emptied before each section.
  std::string folder;
  // Cells of a sweep that is run; 0: the section's own number.
  uint64_t cells = 0;
  // Workers of a sweep that is run.
  int workers = 8;
  // Fewer repetitions: for ctest.
  bool brief = false;
};

// The sweep of every section: one model x 2 prompts x `cells` / 2 seeds.
[[nodiscard]] v1::SweepManifest BenchManifest(const std::string& name, uint64_t cells, bool embedded);
// A channel that shares its connection with no other.
[[nodiscard]] std::shared_ptr<grpc::Channel> OwnConnection(const std::string& address);
// Opens a session of a worker that has all that `manifest` needs.
[[nodiscard]] uint64_t Join(v1::CoordinatorService::Stub& stub, const std::string& name, const v1::SweepManifest& manifest);
// User and system time of this process.
[[nodiscard]] absl::Duration ProcessorTime();

// A store in memory behind the real protocol: ranges come in pages as the store on disk sends them. Thread-safe.
class MemoryStore final : public v1::StoreService::Service {
 public:
  explicit MemoryStore(std::shared_ptr<FakeStore> store) : store_(std::move(store)), client_(store_) {}
  grpc::Status ListSweeps(grpc::ServerContext*, const v1::ListSweepsRequest*, v1::ListSweepsResponse* response) override;
  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest* request, v1::GetSweepResponse* response) override;
  grpc::Status CreateSweep(grpc::ServerContext*, const v1::CreateSweepRequest* request,
                           v1::CreateSweepResponse* response) override;
  grpc::Status SetSweepState(grpc::ServerContext*, const v1::SetSweepStateRequest* request, v1::SetSweepStateResponse*) override;
  grpc::Status GetCoverage(grpc::ServerContext*, const v1::GetCoverageRequest* request,
                           v1::GetCoverageResponse* response) override;
  grpc::Status ListFailures(grpc::ServerContext*, const v1::ListFailuresRequest*, v1::ListFailuresResponse*) override;

 private:
  const std::shared_ptr<FakeStore> store_;
  FakeStoreClient client_;
};

// A coordinator and its store in one server on loopback, as `promptsweep run` hosts them.
class BenchCluster {
 public:
  // With the store of `folder`.
  static std::unique_ptr<BenchCluster> OnDisk(const std::string& folder, Coordinator::Options options = {});
  static std::unique_ptr<BenchCluster> InMemory(std::shared_ptr<FakeStore> store, Coordinator::Options options = {});
  ~BenchCluster();

  std::string address() const;
  Coordinator& coordinator() { return *coordinator_; }
  // Null in memory.
  store::Store* store() { return host_ ? &host_->store() : nullptr; }
  // From the start of the coordinator until it had loaded what the store holds.
  absl::Duration load_time() const { return load_time_; }
  uint32_t Submit(const v1::SweepManifest& manifest);
  v1::SweepStatus Status(uint32_t sweep);
  void Pause(uint32_t sweep);

 private:
  explicit BenchCluster(Coordinator::Options options);
  void Load(const std::shared_ptr<grpc::Channel>& store);

  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<CoordinatorServiceImpl> workers_;
  std::unique_ptr<SweepServiceImpl> sweeps_;
  std::unique_ptr<MemoryStore> memory_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<store::StoreHost> host_;
  int port_ = 0;
  absl::Duration load_time_;
};

// What workers do with the cells that they are granted.
struct BenchWork {
  int workers = 8;
  // Cells that are stored, and then reported, at a time.
  uint64_t batch = 256;
  // Whether they say how fast they are: leases stay small where they do not.
  bool tell_rate = true;
  // Stores the cells [begin, end) durably, from many threads at once.
  std::function<void(v1::StoreService::Stub& store, uint32_t sweep, uint64_t begin, uint64_t end)> put;
};

// What it took.
struct BenchRun {
  // From the first question to the sweep's being DONE.
  absl::Duration time;
  absl::Duration processor_time;
  uint64_t leases = 0;
  // Calls to the coordinator.
  uint64_t calls = 0;
  std::vector<absl::Duration> acquire_times;
};

// Runs `sweep`, of `manifest`, to its end with workers on threads and connections of their own.
[[nodiscard]] BenchRun RunToTheEnd(BenchCluster& cluster, uint32_t sweep, const v1::SweepManifest& manifest,
                                   const BenchWork& work);

// Sections; each prints what it measures.
void BenchEndToEnd(const BenchOptions& options);
void BenchSchedule(const BenchOptions& options);
void BenchMemory(const BenchOptions& options);
void BenchRestart(const BenchOptions& options);
void BenchWorkers(const BenchOptions& options);

// Of BenchWorkers: the many workers, in a process of their own. "ADDRESS COUNT SECONDS".
int DriveWorkers(const std::string& address, int count, int seconds);

}  // namespace promptsweep::coordinator
