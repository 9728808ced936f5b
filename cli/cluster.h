// A whole cluster in one process tree: store and coordinator here, on one loopback port; workers as child processes that reach
// them over gRPC, as they would in a data centre.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "cli/process.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/host.h"

namespace promptsweep::cli {

// Store and coordinator. Thread-safe, but for its construction and end.
class LocalCluster {
 public:
  // Statuses of StoreHost::Start. `listen`: loopback "host:port", port 0 for any.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const std::string& folder, const std::string& listen);
  ~LocalCluster();

  v1::StoreService::StubInterface& store() { return *store_stub_; }
  v1::SweepService::StubInterface& sweeps() { return *sweep_stub_; }
  std::string address() const;
  // OK, or why nothing can be stored any more: a failed write, or a full disk.
  absl::Status health() const {
    const absl::Status health = host_->store().health();
    return health.ok() ? host_->store().CheckFreeSpace() : health;
  }
  void WorkerDied(const std::string& name) { coordinator_->WorkerDied(name); }

 private:
  LocalCluster() = default;
  std::string listen_host_;
  std::unique_ptr<coordinator::Coordinator> coordinator_;
  std::unique_ptr<coordinator::CoordinatorServiceImpl> worker_service_;
  std::unique_ptr<coordinator::SweepServiceImpl> sweep_service_;
  std::unique_ptr<store::StoreHost> host_;
  std::unique_ptr<v1::StoreService::StubInterface> store_stub_;
  std::unique_ptr<v1::SweepService::StubInterface> sweep_stub_;
};

// Keeps worker processes running: one that dies is started again after a pause that doubles. Main thread only.
class WorkerPool {
 public:
  struct Options {
    int workers = 1;
    std::vector<std::string> arguments;  // program first; --name is added
    std::string name_prefix;             // unique to this process
    bool echo_stderr = false;
    Clock* clock = &Clock::Real();
  };
  WorkerPool(LocalCluster* cluster, Options options);
  // Reaps the dead, starts those whose pause is over. INVALID_ARGUMENT with a worker's own words where it says that it can never
  // work (exit code 2); ABORTED where workers keep dying without any progress. `progress`: any number that grows with the work.
  [[nodiscard]] absl::Status Tend(uint64_t progress);
  // Asks all to finish; kills what is left after `patience`, or at once on a stop signal.
  void Stop(absl::Duration patience);
  // For people: deaths since the last call, one line each.
  std::vector<std::string> TakeNews();

 private:
  struct Slot {
    std::unique_ptr<ChildProcess> process;
    std::string name;
    int generation = 0;
    absl::Time started;
    absl::Time start_at = absl::InfinitePast();
    absl::Duration pause;
  };
  absl::Status StartWorker(Slot& slot, int index);
  absl::Status Ended(Slot& slot);

  LocalCluster* const cluster_;
  const Options options_;
  std::vector<Slot> slots_;
  std::vector<std::string> news_;
  uint64_t last_progress_ = 0;
  int deaths_without_progress_ = 0;
};

}  // namespace promptsweep::cli
