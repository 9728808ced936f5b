#include "tests/coordinator/simulation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    spdlog::set_level(spdlog::level::off);
    cells_ = 20 + Below(300);
    for (uint64_t i = Below(4); i > 0; --i) deadly_.insert(Below(2 * cells_));
    for (uint64_t i = Below(4); i > 0; --i) hopeless_.insert(Below(2 * cells_));
    for (uint64_t i = Below(3); i > 0; --i) refused_.insert(Below(2 * cells_));
    for (uint64_t i = Below(6); i > 0; --i) flaky_.insert(Below(2 * cells_));
    fault_rate_ = std::vector<double>{0, 0.02, 0.1, 0.3}[Below(4)];
    crashes_left_ = static_cast<int>(Below(3));
    if (Chance(0.5)) extra_ = 1 + Below(100);
    if (Chance(0.3)) max_parallel_ = static_cast<uint32_t>(1 + Below(3));
    if (fault_rate_ == 0 && Chance(0.5)) {
      for (auto* cells : {&deadly_, &hopeless_, &refused_, &flaky_}) cells->clear();
    }
  }

  // Empty where all went well.
  std::string Run() {
    StartCoordinator();
    Pump(absl::Seconds(2));
    const uint64_t workers = 1 + Below(4);
    for (uint64_t i = 0; i < workers; ++i) StartWorker(absl::StrCat("w", i));
    At(absl::ZeroDuration(), [this] { Submit(); });
    if (extra_ > 0) At(absl::Seconds(Below(300)), [this] { Extend(); });
    At(absl::ZeroDuration(), [this] { Tick(); });
    At(absl::Seconds(1), [this] { Mischief(); });
    At(absl::Minutes(10), [this] { faults_ = false; });
    const absl::Time end = clock_.TimeNow() + absl::Hours(6);
    while (problem_.empty() && clock_.TimeNow() < end && !Ended()) Step();
    if (!problem_.empty()) return problem_;
    if (!Ended()) return absl::StrCat("not ended after 6 h: ", Explain());
    return CheckEnd();
  }
  // Cells that a second worker was given while the first had them; counted where messages arrive.
  uint64_t given_twice() const { return given_twice_; }

 private:
  struct Held {
    v1::Lease lease;
    std::set<uint64_t> left;  // to run
    std::set<uint64_t> unreported;
    std::vector<v1::CellFailure> failures;
    uint64_t stored = 0;
    bool abandoned = false;
  };
  struct Worker {
    std::string name;
    uint64_t life = 0;  // events of an earlier life do nothing
    bool up = false;
    bool hung = false;   // does nothing at all until it wakes
    bool stuck = false;  // heartbeats, but runs nothing
    uint64_t slowness = 1;
    uint64_t session = 0;
    uint64_t asked = 0;
    uint64_t seen = 0;
    uint64_t heartbeats = 0;
    bool asking = false;
    double rate = 0;
    std::vector<Held> held;  // the first is being run
    uint64_t current = 0;
  };

  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }
  absl::Duration Delay() { return absl::Milliseconds(1 + Below(faults_ && Chance(fault_rate_) ? 20'000 : 50)); }

  void At(absl::Duration in, std::function<void()> event) {
    events_.emplace(std::make_pair(clock_.TimeNow() + in, ++order_), std::move(event));
  }
  void Step() {
    auto first = events_.begin();
    if (first->first.first > clock_.TimeNow()) clock_.AdvanceTime(first->first.first - clock_.TimeNow());
    auto event = std::move(first->second);
    events_.erase(first);
    touched_ = false;
    event();
    if (coordinator_ && touched_ && problem_.empty()) Check();
  }
  // After every event that reached the coordinator: its own invariants, and its numbers against what the store has.
  void Check() {
    if (absl::Status status = coordinator_->CheckInvariantsForTest(); !status.ok()) {
      problem_ = std::string(status.message());
      return;
    }
    const auto list = coordinator_->ListSweepStatus({});
    if (!list.ok() || list->sweeps().empty()) return;
    const v1::SweepStatus& status = list->sweeps(0);
    const uint64_t stored = store_->With([](auto& sweeps) { return sweeps.at(1).done.size(); });
    const uint64_t planned = status.planned();
    if ((planned != 2 * cells_ && planned != 2 * (cells_ + extra_)) || planned < planned_ ||
        status.done() + status.failed() + status.leased() + status.pending() != planned) {
      problem_ = absl::StrCat("the counts do not add up: ", status.ShortDebugString());
    } else if (status.done() > stored) {
      problem_ = absl::StrCat(status.done(), " cells are said to be done, ", stored, " are stored");
    } else if (max_parallel_ > 0 && status.workers() > max_parallel_) {
      problem_ = absl::StrCat(status.workers(), " workers run it, allowed are ", max_parallel_);
    }
    planned_ = planned;
    const auto workers = coordinator_->ListWorkers({});
    if (!workers.ok()) return;
    uint64_t by_workers = 0;
    for (const v1::WorkerInfo& worker : workers->workers()) by_workers += worker.stored();
    if (by_workers > status.done()) problem_ = absl::StrCat("workers stored ", by_workers, " of ", status.done(), " done cells");
  }

  // ---- the coordinator ----

  void StartCoordinator() {
    Coordinator::Options options;
    options.state.epoch = ++epoch_;
    options.clock = &clock_;
    options.random = [this] { return random_(); };
    options.manual_for_test = true;
    coordinator_ = std::make_unique<Coordinator>(options);
    coordinator_->Start(std::make_unique<FakeStoreClient>(store_, [this](absl::string_view, FakeStoreClient::Phase) {
      if (!faults_) return absl::OkStatus();
      // Killed before the store heard of it, or after and before the coordinator hears so.
      if (fault_rate_ > 0 && Chance(0.01)) killed_ = true;
      return killed_ || Chance(fault_rate_) ? absl::UnavailableError("store") : absl::OkStatus();
    }));
  }
  bool StoreStep() {
    const bool any = coordinator_->RunStoreStepForTest();
    if (killed_) Kill();
    return any && coordinator_;
  }
  void Kill() {
    killed_ = false;
    coordinator_.reset();
    At(absl::Seconds(Below(60)), [this] {
      if (!coordinator_) StartCoordinator();
    });
  }
  void Pump(absl::Duration time) {
    for (; time > absl::ZeroDuration(); time -= absl::Seconds(1)) {
      while (coordinator_ && StoreStep()) {
      }
      clock_.AdvanceTime(absl::Seconds(1));
    }
  }
  void Tick() {
    if (coordinator_ && clock_.TimeNow() >= stopped_until_) {
      touched_ = true;
      coordinator_->TickForTest();
      for (uint64_t i = Below(4); i > 0 && StoreStep(); --i) {
      }
    }
    At(absl::Milliseconds(200 + Below(800)), [this] { Tick(); });
  }
  void Submit() {
    if (submitted_ != 0) return;
    At(absl::Seconds(1), [this] { Submit(); });
    if (!coordinator_ || submitting_) return;
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = Asked();
    request.mutable_limits()->set_max_parallel(max_parallel_);
    submitting_ = true;
    coordinator_->SubmitSweep(request, [this](absl::StatusOr<v1::SubmitSweepResponse> response) {
      submitting_ = false;
      if (response.ok()) submitted_ = response->sweep();
    });
  }
  v1::SweepManifest Asked() const { return Manifest("s", cells_, {"a", "b"}); }
  // What was asked, and as many more seeds of both models behind it.
  v1::SweepManifest Grown() const {
    v1::SweepManifest grown = Asked();
    v1::Chain chain;
    *chain.add_parts() = grown.spec().cells();
    v1::CellNode& more = *chain.add_parts();
    more = chain.parts(0);
    v1::IntRange& seeds = *more.mutable_product()->mutable_factors()->rbegin()->mutable_axis()->mutable_range();
    seeds.set_first(static_cast<int64_t>(cells_));
    seeds.set_count(extra_);
    *grown.mutable_spec()->mutable_cells()->mutable_chain() = chain;
    grown.set_cell_count(2 * (cells_ + extra_));
    return grown;
  }
  std::string ModelOf(uint64_t ordinal) const {
    if (ordinal < 2 * cells_) return ordinal < cells_ ? "a" : "b";
    return ordinal < 2 * cells_ + extra_ ? "a" : "b";
  }
  // Asked for until a reply says that it is done.
  void Extend() {
    if (extended_) return;
    At(absl::Seconds(1 + Below(5)), [this] { Extend(); });
    if (!coordinator_ || submitted_ == 0 || clock_.TimeNow() < stopped_until_) return;
    v1::ExtendRequest request;
    request.set_sweep(submitted_);
    request.set_from_digest(sweep::ManifestDigest(Asked()));
    *request.mutable_manifest() = Grown();
    touched_ = true;
    coordinator_->Extend(request, [this](absl::StatusOr<v1::ExtendResponse> response) {
      extended_ = extended_ || response.ok();
      if (!response.ok() && !absl::IsUnavailable(response.status()) && !absl::IsNotFound(response.status())) {
        problem_ = absl::StrCat("not extended: ", response.status().ToString());
      }
    });
  }
  // A request that may be lost, late or sent twice, and whose reply may be lost or late. A stopped coordinator answers when it
  // wakes. `once`: never twice and never late, for a call that only a process that has just started makes.
  void Call(Worker& worker, std::function<void(Coordinator&)> request, bool once = false) {
    const uint64_t life = worker.life;
    for (int copies = faults_ && !once && Chance(fault_rate_) ? 2 : 1; copies > 0; --copies) {
      if (faults_ && Chance(fault_rate_)) continue;
      At(once ? absl::Milliseconds(10) : Delay(), [this, &worker, life, request] { Deliver(worker, life, request); });
    }
  }
  void Deliver(Worker& worker, uint64_t life, const std::function<void(Coordinator&)>& request) {
    if (!coordinator_) return;
    if (clock_.TimeNow() < stopped_until_) {
      At(stopped_until_ - clock_.TimeNow() + Delay(), [this, &worker, life, request] { Deliver(worker, life, request); });
      return;
    }
    touched_ = true;
    request(*coordinator_);
  }
  template <typename Response>
  void Answer(Worker& worker, uint64_t life, absl::StatusOr<Response> response,
              std::function<void(const absl::StatusOr<Response>&)> then) {
    if (faults_ && Chance(fault_rate_)) return;
    At(Delay(), [&worker, life, response, then] {
      if (worker.up && worker.life == life) then(response);
    });
  }

  // ---- workers ----

  void StartWorker(const std::string& name) {
    Worker& worker = workers_[name];
    if (worker.up) return;
    const uint64_t life = worker.life + 1;
    worker = Worker{.name = name, .life = life, .up = true, .slowness = Chance(0.2) ? 30u : 1u};
    Register(worker);
    Heartbeat(worker, life);
    Work(worker, life);
    AskLoop(worker, life);
  }
  // Runs `step` every `period` while this life lasts.
  void Again(Worker& worker, uint64_t life, absl::Duration period, void (Simulation::*step)(Worker&, uint64_t)) {
    At(period, [this, &worker, life, step] {
      if (worker.up && worker.life == life) (this->*step)(worker, life);
    });
  }
  void Register(Worker& worker) {
    v1::RegisterWorkerRequest request;
    request.set_worker(worker.name);
    for (const char* model : {"a", "b", "e"}) *request.add_models() = Model(model);
    const uint64_t life = worker.life;
    Call(
        worker,
        [this, &worker, life, request](Coordinator& coordinator) {
          Answer<v1::RegisterWorkerResponse>(worker, life, coordinator.RegisterWorker(request), [&worker](const auto& response) {
            if (response.ok()) worker.session = response->session();
          });
        },
        true);
  }
  void Heartbeat(Worker& worker, uint64_t life) {
    Again(worker, life, absl::Seconds(5), &Simulation::Heartbeat);
    if (worker.hung) return;
    if (worker.session == 0) return Register(worker);
    v1::HeartbeatRequest request;
    request.set_session(worker.session);
    request.set_sequence(++worker.heartbeats);
    request.set_acquired_sequence(worker.seen);
    request.set_cells_per_second(worker.rate);
    for (size_t i = 0; i < worker.held.size(); ++i) {
      const Held& held = worker.held[i];
      v1::HeldLease& out = *request.add_held();
      out.set_lease(held.lease.lease());
      out.set_sweep(held.lease.sweep());
      *out.mutable_range() = held.lease.range();
      out.set_current_ordinal(i == 0 ? worker.current : held.lease.range().end());
      out.set_stored(held.stored);
    }
    Call(worker, [this, &worker, life, request](Coordinator& coordinator) {
      const absl::StatusOr<v1::HeartbeatResponse> reply = coordinator.Heartbeat(request);
      uint64_t& newest = heartbeats_[{epoch_, request.session()}];
      if (request.sequence() <= newest && reply.ok() && (reply->abandon_size() > 0 || reply->cuts_size() > 0)) {
        problem_ = "a stale heartbeat was listened to";
      }
      newest = std::max(newest, request.sequence());
      Answer<v1::HeartbeatResponse>(worker, life, reply, [this, &worker, request](const auto& response) {
        if (!response.ok() || request.session() != worker.session) return;
        if (response->command() == v1::WORKER_COMMAND_RE_REGISTER) {
          worker.session = 0;
          return Register(worker);
        }
        for (uint64_t lease : response->abandon()) {
          for (Held& held : worker.held) held.abandoned = held.abandoned || held.lease.lease() == lease;
        }
        for (const v1::LeaseCut& cut : response->cuts()) Obey(worker, cut);
        if (response->command() == v1::WORKER_COMMAND_DRAIN) Leave(worker);
      });
    });
  }
  void AskLoop(Worker& worker, uint64_t life) {
    Again(worker, life, absl::Milliseconds(500), &Simulation::AskLoop);
    if (worker.hung || worker.session == 0 || worker.held.size() >= 2) return;
    if (worker.asking) return;
    worker.asking = true;
    const uint64_t sequence = worker.seen + 1;
    v1::AcquireLeaseRequest request;
    request.set_session(worker.session);
    request.set_sequence(sequence);
    request.set_cells_per_second(worker.rate);
    if (!worker.held.empty()) request.set_loaded_model(worker.held[0].lease.model());
    // Its own deadline: then the same question again.
    const uint64_t attempt = ++attempts_;
    At(absl::Seconds(25), [&worker, life, sequence] {
      if (worker.life == life && worker.seen < sequence) worker.asking = false;
    });
    Call(worker, [this, &worker, life, request, attempt](Coordinator& coordinator) {
      auto done = [this, &worker, life, request](absl::StatusOr<v1::AcquireLeaseResponse> response) {
        Answer<v1::AcquireLeaseResponse>(worker, life, std::move(response), [this, &worker, request](const auto& answer) {
          if (request.sequence() != worker.seen + 1 || request.session() != worker.session) return;
          worker.asking = false;
          if (answer.status().code() == absl::StatusCode::kNotFound) {
            worker.session = 0;
            return;
          }
          if (!answer.ok()) return;
          worker.seen = request.sequence();
          if (answer->has_lease()) Accept(worker, answer->lease());
        });
      };
      coordinator.AcquireLease(request, reinterpret_cast<const void*>(attempt), done);
    });
  }
  void Accept(Worker& worker, const v1::Lease& lease) {
    Held held{.lease = lease};
    for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) held.left.insert(at);
    for (uint64_t at : lease.skip()) held.left.erase(at);
    for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) {
      if (ModelOf(at) != lease.model()) problem_ = "a lease of the wrong model";
    }
    if (fault_rate_ == 0) CountHolders(worker, held);
    if (NothingToBlame() && lease.attempt() != 1) problem_ = "a cell is blamed though nothing went wrong";
    worker.held.push_back(std::move(held));
  }
  bool NothingToBlame() const {
    return fault_rate_ == 0 && deadly_.empty() && hopeless_.empty() && refused_.empty() && flaky_.empty();
  }
  // What has not been begun of the end that another worker has now; some never listen.
  void Obey(Worker& worker, const v1::LeaseCut& cut) {
    if (worker.life % 4 == 0) return;
    for (Held& held : worker.held) {
      if (held.lease.lease() != cut.lease() || held.lease.range().end() <= cut.end()) continue;
      held.left.erase(held.left.lower_bound(cut.end()), held.left.end());
      held.lease.mutable_range()->set_end(cut.end());
    }
  }
  // In good order: gives back what it holds.
  void Leave(Worker& worker) {
    if (NothingToBlame() && worker.asking) {
      // Lets its question be answered first: else a lease may be on its way to nobody.
      const uint64_t life = worker.life;
      At(absl::Milliseconds(100), [this, &worker, life] {
        if (worker.up && worker.life == life) Leave(worker);
      });
      return;
    }
    v1::ReleaseLeaseRequest request;
    request.set_session(worker.session);
    Call(worker, [request](Coordinator& coordinator) { (void)coordinator.ReleaseLease(request); });
    worker.up = false;
    ++worker.life;
    At(absl::Seconds(5), [this, name = worker.name] { StartWorker(name); });
  }
  // Without faults a cell is on two workers only at the tail, and on a third where its end has moved and not all have heard.
  void CountHolders(const Worker& worker, const Held& held) {
    for (uint64_t cell : held.left) {
      int others = 0;
      for (const auto& [name, other] : workers_) {
        for (const Held& theirs : other.held) {
          others += other.up && &other != &worker && !theirs.abandoned && theirs.left.contains(cell);
        }
      }
      if (others > 2) problem_ = absl::StrCat("cell ", cell, " is on four workers");
      given_twice_ += others == 1;
    }
  }
  void Work(Worker& worker, uint64_t life) {
    Again(worker, life, absl::Milliseconds(worker.slowness * (50 + Below(200))), &Simulation::Work);
    if (worker.hung || worker.stuck || worker.held.empty()) return;
    Held& held = worker.held.front();
    if (held.abandoned) {
      worker.held.erase(worker.held.begin());
      return;
    }
    if (!held.left.empty()) {
      const uint64_t cell = *held.left.begin();
      worker.current = cell;
      if (deadly_.contains(cell)) return Crash(worker, absl::Seconds(1 + Below(10)));
      ++runs_[cell];
      held.left.erase(held.left.begin());
      if (hopeless_.contains(cell) || refused_.contains(cell) || (flaky_.contains(cell) && runs_[cell] == 1)) {
        v1::CellFailure& failure = held.failures.emplace_back();
        failure.set_ordinal(cell);
        failure.set_error("no");
        failure.set_final(refused_.contains(cell));
      } else {
        store_->PutResults(held.lease.sweep(), cell, cell + 1);
        held.unreported.insert(cell);
        ++held.stored;
      }
      worker.rate = 5;
    }
    if (held.left.empty() || Chance(0.2)) Report(worker, life);
  }
  // Sends all that is not known to have arrived; the last report of a lease is repeated until it is answered.
  void Report(Worker& worker, uint64_t life) {
    Held& held = worker.held.front();
    v1::ReportProgressRequest request;
    request.set_session(worker.session);
    request.set_lease(held.lease.lease());
    request.set_sweep(held.lease.sweep());
    for (uint64_t cell : held.unreported) {
      const int last = request.stored_size() - 1;
      if (last < 0 || request.stored(last).end() != cell) request.add_stored()->set_begin(cell);
      request.mutable_stored(request.stored_size() - 1)->set_end(cell + 1);
    }
    for (const v1::CellFailure& failure : held.failures) *request.add_failures() = failure;
    request.set_finished(held.left.empty());
    Call(worker, [this, &worker, life, request](Coordinator& coordinator) {
      Answer<v1::ReportProgressResponse>(
          worker, life, coordinator.ReportProgress(request), [&worker, request](const auto& response) {
            if (absl::IsNotFound(response.status()) && request.session() == worker.session) worker.session = 0;
            if (!response.ok() || worker.held.empty() || worker.held.front().lease.lease() != request.lease()) return;
            Held& reported = worker.held.front();
            for (const v1::OrdinalRange& range : request.stored()) {
              reported.unreported.erase(reported.unreported.lower_bound(range.begin()),
                                        reported.unreported.lower_bound(range.end()));
            }
            for (const v1::CellFailure& failure : request.failures()) {
              std::erase_if(reported.failures,
                            [&](const v1::CellFailure& entry) { return entry.ordinal() == failure.ordinal(); });
            }
            if (request.finished() || !response->lease_valid()) worker.held.erase(worker.held.begin());
          });
    });
  }
  void Crash(Worker& worker, absl::Duration restart_in) {
    worker.up = false;
    ++worker.life;
    // As a pod (same name) or as a new process (new name).
    const std::string name =
        Chance(0.5) ? worker.name : absl::StrCat(worker.name.substr(0, worker.name.find('.')), ".", ++lives_);
    At(restart_in, [this, name] { StartWorker(name); });
  }

  void Mischief() {
    if (!faults_) {
      for (auto& [name, worker] : workers_) worker.hung = worker.stuck = false;
      if (!coordinator_) StartCoordinator();
      return;
    }
    At(absl::Seconds(1 + Below(60)), [this] { Mischief(); });
    auto it = workers_.begin();
    std::advance(it, Below(workers_.size()));
    Worker& worker = it->second;
    const uint64_t kind = fault_rate_ == 0 ? 5 + Below(2) : Below(7);
    // Each of these may use up an attempt of an innocent cell: the one its worker is alone with when it falls silent.
    const bool may_be_blamed = kind <= 2 || (kind == 5 && fault_rate_ > 0 && worker.slowness > 1);
    const bool spare = worker.up && crashes_left_ > 0;
    if (may_be_blamed && spare) --crashes_left_;
    if (may_be_blamed && !spare && kind != 1) return;
    switch (kind) {
      case 0:
        Crash(worker, absl::Seconds(Below(90)));
        break;
      case 1:
        worker.hung = true;
        At(absl::Seconds(Below(spare ? 120 : 10)), [&worker] { worker.hung = false; });
        break;
      case 2:
        worker.stuck = true;
        At(absl::Minutes(Below(10)), [&worker] { worker.stuck = false; });
        break;
      case 3:  // kill -9
        Kill();
        break;
      case 4:  // kill -STOP
        stopped_until_ = clock_.TimeNow() + absl::Seconds(Below(300));
        break;
      case 5:
        if (worker.up && coordinator_) Leave(worker);  // preempted
        break;
      case 6:  // an operator drains it
        if (worker.up && coordinator_ && clock_.TimeNow() >= stopped_until_) {
          v1::DrainWorkerRequest request;
          request.set_worker(worker.name);
          touched_ = true;
          (void)coordinator_->DrainWorker(request);
        }
        break;
    }
  }

  // ---- the end ----

  bool Ended() {
    if (extra_ > 0 && !extended_) return false;
    return store_->With([](auto& sweeps) {
      return !sweeps.empty() && (sweeps.at(1).info.state() == v1::SWEEP_STATE_DONE ||
                                 sweeps.at(1).info.state() == v1::SWEEP_STATE_DONE_WITH_FAILURES);
    });
  }
  std::string CheckEnd() {
    const FakeStore::Sweep sweep = store_->Get(1);
    std::set<uint64_t> impossible = deadly_;
    impossible.insert(hopeless_.begin(), hopeless_.end());
    impossible.insert(refused_.begin(), refused_.end());
    for (uint64_t cell = 0; cell < 2 * (cells_ + extra_); ++cell) {
      const bool done = sweep.done.Contains(cell);
      const bool failed = sweep.failures.contains(cell);
      if (done == failed) return absl::StrCat("cell ", cell, done ? " is done and failed" : " is neither done nor failed");
      if (failed && !impossible.contains(cell))
        return absl::StrCat("could be made: ", sweep.failures.at(cell).ShortDebugString());
      if (!failed && impossible.contains(cell)) return absl::StrCat("cell ", cell, " cannot have been made");
    }
    if ((sweep.info.state() == v1::SWEEP_STATE_DONE) != impossible.empty()) return "ended in the wrong state";
    return "";
  }
  std::string Explain() {
    std::string all = absl::StrCat("cells ", 2 * (cells_ + extra_), ", done ", submitted_ == 0 ? 0 : store_->Get(1).done.size(), ": ");
    if (!coordinator_) return all + "no coordinator";
    v1::ExplainSweepRequest request;
    request.set_sweep(1);
    const auto response = coordinator_->ExplainSweep(request);
    if (!response.ok()) return all + response.status().ToString();
    for (const std::string& reason : response->reasons()) absl::StrAppend(&all, reason, "; ");
    return all;
  }

  std::mt19937_64 random_;
  uint64_t cells_;      // of each of two models
  uint64_t extra_ = 0;  // that come later; 0: none do
  uint32_t max_parallel_ = 0;
  bool extended_ = false;
  uint64_t planned_ = 0;  // as last said
  std::set<uint64_t> deadly_, hopeless_, refused_, flaky_;
  double fault_rate_;
  int crashes_left_;  // fewer than what could fail an innocent cell for good
  SimulatedClock clock_;
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> events_;
  uint64_t order_ = 0;
  bool faults_ = true;
  bool killed_ = false;   // as soon as the store's step is over
  bool touched_ = false;  // this event reached the coordinator
  std::map<std::pair<uint32_t, uint64_t>, uint64_t> heartbeats_;  // newest that arrived, by epoch and session
  std::string problem_;
  std::shared_ptr<FakeStore> store_ = std::make_shared<FakeStore>();
  uint32_t epoch_ = 0;
  absl::Time stopped_until_ = absl::InfinitePast();
  bool submitting_ = false;
  uint32_t submitted_ = 0;
  uint64_t attempts_ = 0;
  uint64_t lives_ = 0;
  uint64_t given_twice_ = 0;
  std::map<uint64_t, int> runs_;
  std::map<std::string, Worker> workers_;  // never erased: events refer to them
  std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace

SimulationResult Simulate(uint64_t seed) {
  Simulation simulation(seed);
  SimulationResult result;
  result.problem = simulation.Run();
  result.given_twice = simulation.given_twice();
  return result;
}

}  // namespace promptsweep::coordinator
