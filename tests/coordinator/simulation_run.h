// One run of the simulation; see simulation.h. Its parts: the scheduler, the coordinator and the checks (simulation.cc), the
// workers (simulation_workers.cc), and faults and operators (simulation_faults.cc).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "coordinator/coordinator.h"
#include "coordinator/fake_store_client.h"
#include "tests/coordinator/simulation.h"

namespace promptsweep::coordinator {

// Thread-compatible.
class Simulation {
 public:
  explicit Simulation(uint64_t seed);
  // Once.
  SimulationResult Run();

 private:
  struct Held {
    v1::Lease lease;
    std::set<uint64_t> left;  // to run
    std::set<uint64_t> unreported;
    std::vector<v1::CellFailure> failures;
    uint64_t stored = 0;
    bool abandoned = false;
    uint64_t cut = 0;                            // where the coordinator said that it ends; 0: nowhere
    absl::Time answered = absl::InfinitePast();  // when the coordinator last saw it listed and said what of it is cut off
    std::map<uint64_t, absl::Time> shared;       // cells that another worker has been given since, and when
  };
  struct Worker {
    std::string name;
    uint64_t life = 0;  // events of an earlier life do nothing
    bool up = false;
    bool hung = false;   // does nothing at all until it wakes
    bool stuck = false;  // heartbeats, but runs nothing
    bool deaf = false;   // ignores cuts
    bool draining = false;
    uint64_t slowness = 1;
    uint64_t session = 0;
    uint64_t seen = 0;
    uint64_t heartbeats = 0;
    bool asking = false;
    uint64_t waiter = 0;  // of the last question
    double rate = 0;
    std::vector<Held> held;  // the first is being run
    uint64_t current = 0;
  };
  // What this coordinator's process heard from a session, and said to it.
  struct Contact {
    uint64_t heartbeat = 0;  // the newest that arrived
    uint64_t answered = 0;   // the newest question that got a lease
    uint64_t lease = 0;
  };

  // ---- simulation.cc ----

  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }
  absl::Duration Delay() { return absl::Milliseconds(1 + Below(faults_ && Chance(fault_rate_) ? 20'000 : 50)); }
  void At(absl::Duration in, std::function<void()> event);
  void Step();

  void StartCoordinator();
  absl::Status OnStoreCall(absl::string_view method, FakeStoreClient::Phase phase);
  bool StoreStep();
  void Kill();
  void Pump(absl::Duration time);
  void Tick();
  bool Reachable() { return coordinator_ && clock_.TimeNow() >= stopped_until_; }

  void Problem(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }
  // After every event that reached the coordinator: its own invariants, and its numbers against what it was told and what is
  // stored.
  void Check();
  void CheckCounts(const v1::SweepStatus& status);
  void CheckWorkers(const v1::SweepStatus& status);
  // Without faults nothing is granted beyond the budget of images.
  void CheckBudget(const v1::SweepStatus& status);
  // Leases are for workers that have them. Not with many faults, nor where cells kill workers: then there may always be one
  // whose worker is dead.
  void CheckLeasesHaveHolders(const v1::SweepStatus& status);
  bool Ended();
  std::string CheckEnd();
  std::string Explain();
  // Neither a fault nor a cell gives a reason to blame a cell.
  bool NothingToBlame() const { return fault_rate_ == 0 && impossible_.empty() && flaky_.empty(); }
  uint64_t cells() const { return grown_ ? first_cells_ + more_cells_ : first_cells_; }
  std::string ModelOf(uint64_t ordinal) const;

  // ---- simulation_workers.cc ----

  // A request that may be lost, late or sent twice, and whose reply may be lost or late. A stopped coordinator answers when it
  // wakes. `once`: never twice and never late, for a call that only a process that has just started makes.
  void Call(Worker& worker, std::function<void(Coordinator&)> request, bool once = false);
  void Deliver(Worker& worker, uint64_t life, const std::function<void(Coordinator&)>& request);
  template <typename Response>
  void Answer(Worker& worker, uint64_t life, absl::StatusOr<Response> response,
              std::function<void(const absl::StatusOr<Response>&)> then) {
    if (faults_ && Chance(fault_rate_)) return;
    At(Delay(), [&worker, life, response = std::move(response), then = std::move(then)] {
      if (worker.up && worker.life == life) then(response);
    });
  }
  void StartWorker(const std::string& name);
  // Runs `step` every `period` while this life lasts.
  void Again(Worker& worker, uint64_t life, absl::Duration period, void (Simulation::*step)(Worker&, uint64_t));
  void Register(Worker& worker);
  void Heartbeat(Worker& worker, uint64_t life);
  // As soon as they are said: whoever has not heard yet is no holder of what it lost.
  void NoteCuts(Worker& worker, const v1::HeartbeatRequest& request, const v1::HeartbeatResponse& reply);
  void Heard(Worker& worker, const v1::HeartbeatResponse& reply);
  void AskLoop(Worker& worker, uint64_t life);
  void Accept(Worker& worker, const v1::Lease& lease);
  // Without faults a cell is on two workers only at the tail, and never on three.
  void CountHolders(const Worker& worker, const Held& held);
  void Work(Worker& worker, uint64_t life);
  // Sends all that is not known to have arrived; the last report of a lease is repeated until it is answered.
  void Report(Worker& worker, uint64_t life);
  void Crash(Worker& worker, absl::Duration restart_in);
  // In good order: it says so, and comes back.
  void Leave(Worker& worker);

  // ---- simulation_faults.cc ----

  void Submit();
  void Extend();
  // One order of an operator, who does not repeat it.
  void Order(bool may_drain);
  void Mischief();
  void EndFaults();

  std::mt19937_64 random_;
  SimulationResult result_;
  std::string problem_;

  uint64_t first_cells_;  // half of them of each of two models
  uint64_t more_cells_ = 0;
  bool grown_ = false;        // in the store
  bool growth_known_ = true;  // to this coordinator's process
  bool extended_ = false;     // the operator knows it is
  std::set<uint64_t> deadly_, hopeless_, refused_, flaky_, impossible_;
  double fault_rate_;
  int crashes_left_;  // fewer than what could fail an innocent cell for good

  SimulatedClock clock_;
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> events_;
  uint64_t order_ = 0;
  bool faults_ = true;
  absl::Time faults_ended_ = absl::InfiniteFuture();
  bool touched_ = false;  // this event reached the coordinator

  std::shared_ptr<FakeStore> store_ = std::make_shared<FakeStore>();
  std::unique_ptr<Coordinator> coordinator_;
  uint32_t epoch_ = 0;
  bool killed_ = false;  // as soon as the store's step is over
  absl::Time stopped_until_ = absl::InfinitePast();
  bool submitting_ = false;
  uint32_t submitted_ = 0;
  bool extending_ = false;
  bool unlimited_ = false;

  // What this coordinator's process was told, by workers and by the store.
  OrdinalSet told_;
  bool running_ = false;  // the sweep, as it last said
  uint64_t done_said_ = 0;
  uint64_t leased_said_ = 0;
  uint64_t budget_said_ = 0;
  std::map<std::string, absl::Time> contacts_;                 // by worker's name
  std::map<std::pair<uint32_t, uint64_t>, Contact> sessions_;  // by epoch and session
  absl::Time last_event_ = absl::InfinitePast();
  absl::Time holders_from_ = absl::InfinitePast();  // last time that each lease had a holder

  uint64_t attempts_ = 0;
  uint64_t lives_ = 0;
  std::map<uint64_t, int> runs_;
  std::map<std::string, Worker> workers_;  // never erased: events refer to them
};

}  // namespace promptsweep::coordinator
