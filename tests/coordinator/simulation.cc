#include "tests/coordinator/simulation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/simulation_run.h"

namespace promptsweep::coordinator {
namespace {

// A worker's silence ends its leases after the ttl, and the next tick notices.
constexpr absl::Duration kSilence = absl::Seconds(32);
// Many times as long as a lease lives that no worker knows of; less than it takes until one without progress is lost.
constexpr absl::Duration kWithoutHolder = absl::Seconds(180);

}  // namespace

Simulation::Simulation(uint64_t seed) : random_(seed) {
  first_cells_ = 2 * (20 + Below(300));
  if (Chance(0.3)) more_cells_ = 2 * (5 + Below(60));
  const uint64_t all = first_cells_ + more_cells_;
  for (uint64_t i = Below(4); i > 0; --i) deadly_.insert(Below(all));
  for (uint64_t i = Below(4); i > 0; --i) hopeless_.insert(Below(all));
  for (uint64_t i = Below(3); i > 0; --i) refused_.insert(Below(all));
  for (uint64_t i = Below(6); i > 0; --i) flaky_.insert(Below(all));
  fault_rate_ = std::vector<double>{0, 0.02, 0.1, 0.3}[Below(4)];
  // A flaky cell fails once by itself.
  crashes_left_ = static_cast<int>(Below(flaky_.empty() ? 3 : 2));
  if (fault_rate_ == 0 && Chance(0.5)) {
    for (auto* some : {&deadly_, &hopeless_, &refused_, &flaky_}) some->clear();
  }
  for (const auto* some : {&deadly_, &hopeless_, &refused_}) impossible_.insert(some->begin(), some->end());
}

SimulationResult Simulation::Run() {
  StartCoordinator();
  Pump(absl::Seconds(2));
  const uint64_t workers = 1 + Below(4);
  for (uint64_t i = 0; i < workers; ++i) StartWorker(absl::StrCat("w", i));
  At(absl::ZeroDuration(), [this] { Submit(); });
  At(absl::ZeroDuration(), [this] { Tick(); });
  At(absl::Seconds(1), [this] { Mischief(); });
  At(absl::Minutes(10), [this] { EndFaults(); });
  if (more_cells_ > 0) At(absl::Seconds(Below(120)), [this] { Extend(); });
  const absl::Time end = clock_.TimeNow() + absl::Hours(6);
  while (problem_.empty() && clock_.TimeNow() < end && !Ended()) Step();
  if (problem_.empty()) problem_ = Ended() ? CheckEnd() : absl::StrCat("not ended after 6 h: ", Explain());
  result_.problem = problem_;
  return result_;
}

void Simulation::At(absl::Duration in, std::function<void()> event) {
  events_.emplace(std::make_pair(clock_.TimeNow() + in, ++order_), std::move(event));
}

void Simulation::Step() {
  auto first = events_.extract(events_.begin());
  if (first.key().first > clock_.TimeNow()) clock_.AdvanceTime(first.key().first - clock_.TimeNow());
  touched_ = false;
  first.mapped()();
  if (coordinator_ && touched_) Check();
}

// ---- the coordinator ----

void Simulation::StartCoordinator() {
  Coordinator::Options options;
  options.state.epoch = ++epoch_;
  options.clock = &clock_;
  options.random = [this] { return random_(); };
  options.manual_for_test = true;
  told_ = {};
  running_ = false;
  contacts_.clear();
  holders_from_ = clock_.TimeNow();
  growth_known_ = true;
  coordinator_ = std::make_unique<Coordinator>(options);
  coordinator_->Start(std::make_unique<FakeStoreClient>(
      store_, [this](absl::string_view method, FakeStoreClient::Phase phase) { return OnStoreCall(method, phase); }));
}

absl::Status Simulation::OnStoreCall(absl::string_view method, FakeStoreClient::Phase phase) {
  const bool did = phase == FakeStoreClient::Phase::kReply;
  if (did && method == "ExtendSweep" && !grown_) {
    grown_ = true;
    growth_known_ = false;
    ++result_.extensions;
  }
  if (faults_) {
    // Killed before the store heard of it, or after it acted and before the coordinator hears so.
    if (fault_rate_ > 0 && Chance(0.01)) {
      killed_ = true;
      result_.kills_inside += did;
    }
    if (killed_ || Chance(fault_rate_)) return absl::UnavailableError("store");
  }
  if (did && (method == "GetCoverage" || (method == "ListSweeps" && !running_))) {
    store_->With([this](auto& sweeps) {
      if (!sweeps.empty()) told_ = sweeps.at(1).done;
      return true;
    });
  }
  return absl::OkStatus();
}

bool Simulation::StoreStep() {
  const bool any = coordinator_->RunStoreStepForTest();
  if (killed_) Kill();
  return any && coordinator_;
}

void Simulation::Kill() {
  killed_ = false;
  coordinator_.reset();
  At(absl::Seconds(Below(60)), [this] {
    if (!coordinator_) StartCoordinator();
  });
}

void Simulation::Pump(absl::Duration time) {
  for (; time > absl::ZeroDuration(); time -= absl::Seconds(1)) {
    while (coordinator_ && StoreStep()) {
    }
    clock_.AdvanceTime(absl::Seconds(1));
  }
}

void Simulation::Tick() {
  if (Reachable()) {
    touched_ = true;
    coordinator_->TickForTest();
    for (uint64_t i = Below(4); i > 0 && StoreStep(); --i) {
    }
  }
  At(absl::Milliseconds(200 + Below(800)), [this] { Tick(); });
}

// ---- the checks ----

void Simulation::Check() {
  const absl::Time now = clock_.TimeNow();
  // It stood still: so did its deadlines.
  if (const absl::Duration gap = now - last_event_; gap > absl::Seconds(5)) {
    for (auto& [name, contact] : contacts_) contact += gap;
    holders_from_ = now;
  }
  last_event_ = now;
  if (absl::Status status = coordinator_->CheckInvariantsForTest(); !status.ok()) Problem(std::string(status.message()));
  v1::GetSweepStatusRequest request;
  request.set_sweep(1);
  const auto response = coordinator_->GetSweepStatus(request);
  if (!response.ok()) return;
  const v1::SweepStatus& status = response->status();
  running_ = status.state() == v1::SWEEP_STATE_RUNNING;
  CheckCounts(status);
  CheckWorkers(status);
  if (fault_rate_ == 0) CheckBudget(status);
  if (deadly_.empty() && (fault_rate_ < 0.1 || !faults_)) CheckLeasesHaveHolders(status);
}

void Simulation::CheckCounts(const v1::SweepStatus& status) {
  const uint64_t planned = status.planned();
  if (planned != cells() && (growth_known_ || planned != first_cells_)) {
    Problem(absl::StrCat(planned, " cells are said to be planned of ", cells()));
  }
  if (status.done() + status.failed() + status.leased() + status.pending() != planned) {
    Problem(absl::StrCat("the counts do not add up: ", status.ShortDebugString()));
  }
  if (status.done() != told_.size()) {
    Problem(absl::StrCat(status.done(), " cells are said to be done, ", told_.size(), " were reported or found in the store"));
  }
  if (status.done() < done_said_) Problem(absl::StrCat(done_said_, " cells were done, now ", status.done()));
  done_said_ = status.done();
  if (status.failed() > impossible_.size()) {
    Problem(absl::StrCat(status.failed(), " cells failed, ", impossible_.size(), " cannot be made: the others could be made"));
  }
}

void Simulation::CheckWorkers(const v1::SweepStatus& status) {
  const auto workers = coordinator_->ListWorkers({});
  if (!workers.ok()) return;
  uint64_t stored = 0;
  for (const v1::WorkerInfo& worker : workers->workers()) {
    stored += worker.stored();
    if (worker.leases() == 0) continue;
    const auto contact = contacts_.find(worker.worker());
    if (contact == contacts_.end()) {
      Problem(absl::StrCat(worker.worker(), " has leases and never said a word"));
    } else if (clock_.TimeNow() - contact->second > kSilence) {
      Problem(absl::StrCat(worker.worker(), " has leases after a silence of ",
                           absl::FormatDuration(clock_.TimeNow() - contact->second)));
    }
  }
  if (stored > status.done()) Problem(absl::StrCat("workers stored ", stored, " of ", status.done(), " done cells"));
}

void Simulation::CheckBudget(const v1::SweepStatus& status) {
  const uint64_t budget = status.limits().images();
  // What was granted before the budget was set, also within this event, is beyond it; so is what was stored and not reported.
  if (budget > 0 && budget == budget_said_ && status.leased() > leased_said_ && status.done() + status.leased() > budget) {
    Problem(absl::StrCat(status.done(), " cells are done, ", status.leased(), " leased, the budget has ", budget));
  }
  budget_said_ = budget;
  leased_said_ = status.leased();
}

void Simulation::CheckLeasesHaveHolders(const v1::SweepStatus& status) {
  uint64_t held = 0;
  for (const auto& [name, worker] : workers_) {
    if (!worker.up) continue;
    for (const Held& lease : worker.held) {
      held += lease.lease.range().end() - lease.lease.range().begin();
    }
  }
  const absl::Time now = clock_.TimeNow();
  if (status.leased() <= held) {
    holders_from_ = now;
  } else if (now - std::max(holders_from_, fault_rate_ < 0.1 ? absl::InfinitePast() : faults_ended_) > kWithoutHolder) {
    Problem(absl::StrCat(status.leased(), " cells are leased, workers have ", held, ": one is leased for nobody"));
  }
}

bool Simulation::Ended() {
  if (more_cells_ > 0 && !extended_) return false;
  return store_->With([](auto& sweeps) {
    return !sweeps.empty() &&
           (sweeps.at(1).info.state() == v1::SWEEP_STATE_DONE || sweeps.at(1).info.state() == v1::SWEEP_STATE_DONE_WITH_FAILURES);
  });
}

std::string Simulation::CheckEnd() {
  const FakeStore::Sweep sweep = store_->Get(1);
  for (uint64_t cell = 0; cell < cells(); ++cell) {
    const bool done = sweep.done.Contains(cell);
    const bool failed = sweep.failures.contains(cell);
    if (done == failed) return absl::StrCat("cell ", cell, done ? " is done and failed" : " is neither done nor failed");
    if (failed && !impossible_.contains(cell)) {
      return absl::StrCat("could be made: ", sweep.failures.at(cell).ShortDebugString());
    }
    if (!failed && impossible_.contains(cell)) return absl::StrCat("cell ", cell, " cannot have been made");
  }
  if (sweep.done.size() + sweep.failures.size() != cells()) return "cells beyond the sweep's end are done or failed";
  if ((sweep.info.state() == v1::SWEEP_STATE_DONE) != impossible_.empty()) return "ended in the wrong state";
  return "";
}

std::string Simulation::Explain() {
  std::string all = absl::StrCat("cells ", cells(), ", done ", submitted_ == 0 ? 0 : store_->Get(1).done.size(), ": ");
  if (!coordinator_) return all + "no coordinator";
  v1::ExplainSweepRequest request;
  request.set_sweep(1);
  const auto response = coordinator_->ExplainSweep(request);
  if (!response.ok()) return all + response.status().ToString();
  for (const std::string& reason : response->reasons()) absl::StrAppend(&all, reason, "; ");
  return all;
}

std::string Simulation::ModelOf(uint64_t ordinal) const {
  if (ordinal < first_cells_) return ordinal < first_cells_ / 2 ? "a" : "b";
  return ordinal - first_cells_ < more_cells_ / 2 ? "a" : "b";
}

SimulationResult& SimulationResult::operator+=(const SimulationResult& other) {
  given_twice += other.given_twice;
  cuts += other.cuts;
  drains += other.drains;
  extensions += other.extensions;
  kills_inside += other.kills_inside;
  renewals += other.renewals;
  return *this;
}

SimulationResult Simulate(uint64_t seed) { return Simulation(seed).Run(); }

}  // namespace promptsweep::coordinator
