// Workers: they ask, run, report and say what they hold, over a network that loses, delays, reorders and repeats.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/bench.h"
#include "tests/coordinator/simulation_run.h"

namespace promptsweep::coordinator {

void Simulation::Call(Worker& worker, std::function<void(Coordinator&)> request, bool once) {
  const uint64_t life = worker.life;
  for (int copies = faults_ && !once && Chance(fault_rate_) ? 2 : 1; copies > 0; --copies) {
    if (faults_ && Chance(fault_rate_)) continue;
    At(once ? absl::Milliseconds(10) : Delay(), [this, &worker, life, request] { Deliver(worker, life, request); });
  }
}

void Simulation::Deliver(Worker& worker, uint64_t life, const std::function<void(Coordinator&)>& request) {
  if (!coordinator_) return;
  if (!Reachable()) {
    At(stopped_until_ - clock_.TimeNow() + Delay(), [this, &worker, life, request] { Deliver(worker, life, request); });
    return;
  }
  touched_ = true;
  contacts_[worker.name] = clock_.TimeNow();
  request(*coordinator_);
}

void Simulation::StartWorker(const std::string& name) {
  Worker& worker = workers_[name];
  if (worker.up) return;
  const uint64_t life = worker.life + 1;
  worker = Worker{.name = name, .life = life, .up = true, .deaf = Chance(0.3), .slowness = Chance(0.2) ? 30u : 1u};
  Register(worker);
  Heartbeat(worker, life);
  Work(worker, life);
  AskLoop(worker, life);
}

void Simulation::Again(Worker& worker, uint64_t life, absl::Duration period, void (Simulation::*step)(Worker&, uint64_t)) {
  At(period, [this, &worker, life, step] {
    if (worker.up && worker.life == life) (this->*step)(worker, life);
  });
}

void Simulation::Register(Worker& worker) {
  v1::RegisterWorkerRequest request;
  request.set_worker(worker.name);
  for (const char* model : {"a", "b", "e"}) *request.add_models() = Model(model);
  const uint64_t life = worker.life;
  const auto call = [this, &worker, life, request](Coordinator& coordinator) {
    Answer<v1::RegisterWorkerResponse>(worker, life, coordinator.RegisterWorker(request), [&worker](const auto& response) {
      if (response.ok()) worker.session = response->session();
    });
  };
  Call(worker, call, /*once=*/true);
}

void Simulation::Heartbeat(Worker& worker, uint64_t life) {
  Again(worker, life, absl::Seconds(5), &Simulation::Heartbeat);
  if (worker.hung) return;
  if (worker.session == 0) return Register(worker);
  v1::HeartbeatRequest request;
  request.set_session(worker.session);
  request.set_sequence(++worker.heartbeats);
  request.set_acquired_sequence(worker.seen);
  request.set_cells_per_second(worker.rate);
  request.set_draining(worker.draining);
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
    uint64_t& newest = sessions_[{epoch_, request.session()}].heartbeat;
    if (request.sequence() <= newest && reply.ok() && (reply->abandon_size() > 0 || reply->cuts_size() > 0)) {
      Problem("a stale heartbeat was listened to");
    }
    newest = std::max(newest, request.sequence());
    if (reply.ok()) NoteCuts(worker, request, *reply);
    Answer<v1::HeartbeatResponse>(worker, life, reply, [this, &worker, request](const auto& response) {
      if (response.ok() && request.session() == worker.session) Heard(worker, *response);
    });
  });
}

void Simulation::NoteCuts(Worker& worker, const v1::HeartbeatRequest& request, const v1::HeartbeatResponse& reply) {
  for (const v1::HeldLease& listed : request.held()) {
    for (Held& held : worker.held) {
      if (held.lease.lease() == listed.lease()) held.answered = clock_.TimeNow();
    }
  }
  for (const v1::LeaseCut& cut : reply.cuts()) {
    for (Held& held : worker.held) {
      if (held.lease.lease() == cut.lease()) held.cut = cut.end();
    }
  }
}

void Simulation::Heard(Worker& worker, const v1::HeartbeatResponse& reply) {
  if (reply.command() == v1::WORKER_COMMAND_RE_REGISTER) {
    worker.session = 0;
    return Register(worker);
  }
  for (uint64_t lease : reply.abandon()) {
    for (Held& held : worker.held) held.abandoned = held.abandoned || held.lease.lease() == lease;
  }
  for (const v1::LeaseCut& cut : reply.cuts()) {
    for (Held& held : worker.held) {
      if (held.lease.lease() != cut.lease()) continue;
      if (cut.end() <= held.lease.range().begin()) Problem("a lease is cut to nothing");
      if (worker.deaf || cut.end() >= held.lease.range().end()) continue;
      ++result_.cuts;
      held.left.erase(held.left.lower_bound(cut.end()), held.left.end());
      held.lease.mutable_range()->set_end(cut.end());
    }
  }
  if (reply.command() == v1::WORKER_COMMAND_DRAIN) Leave(worker);
}

void Simulation::AskLoop(Worker& worker, uint64_t life) {
  Again(worker, life, absl::Milliseconds(500), &Simulation::AskLoop);
  if (worker.hung || worker.draining || worker.asking || worker.session == 0 || worker.held.size() >= 2) return;
  worker.asking = true;
  const uint64_t sequence = worker.seen + 1;
  v1::AcquireLeaseRequest request;
  request.set_session(worker.session);
  request.set_sequence(sequence);
  request.set_cells_per_second(worker.rate);
  if (!worker.held.empty()) request.set_loaded_model(worker.held[0].lease.model());
  // Its own deadline: then the same question again.
  worker.waiter = ++attempts_;
  At(absl::Seconds(25), [&worker, life, sequence] {
    if (worker.life == life && worker.seen < sequence) worker.asking = false;
  });
  Call(worker, [this, &worker, life, request, waiter = worker.waiter](Coordinator& coordinator) {
    const auto done = [this, &worker, life, request](absl::StatusOr<v1::AcquireLeaseResponse> response) {
      if (response.ok() && response->has_lease()) {
        Contact& session = sessions_[{epoch_, request.session()}];
        if (request.sequence() == session.answered) {
          if (response->lease().lease() != session.lease) Problem("the same question got another lease");
          ++result_.renewals;
        }
        session.answered = request.sequence();
        session.lease = response->lease().lease();
      }
      Answer<v1::AcquireLeaseResponse>(worker, life, std::move(response), [this, &worker, request](const auto& answer) {
        if (request.sequence() != worker.seen + 1 || request.session() != worker.session) return;
        worker.asking = false;
        if (absl::IsNotFound(answer.status())) worker.session = 0;
        if (!answer.ok()) return;
        worker.seen = request.sequence();
        if (answer->has_lease()) Accept(worker, answer->lease());
      });
    };
    coordinator.AcquireLease(request, reinterpret_cast<const void*>(waiter), done);
  });
}

void Simulation::Accept(Worker& worker, const v1::Lease& lease) {
  Held held{.lease = lease};
  for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) {
    held.left.insert(held.left.end(), at);
    if (ModelOf(at) != lease.model()) Problem("a lease of the wrong model");
  }
  for (uint64_t at : lease.skip()) held.left.erase(at);
  if (fault_rate_ == 0) CountHolders(worker, held);
  if (NothingToBlame() && lease.attempt() != 1) Problem("a cell is blamed though nothing went wrong");
  worker.held.push_back(std::move(held));
}

void Simulation::CountHolders(const Worker& worker, const Held& held) {
  for (uint64_t cell : held.left) {
    int others = 0;
    for (auto& [name, other] : workers_) {
      if (!other.up || &other == &worker) continue;
      for (Held& theirs : other.held) {
        if (theirs.abandoned || (theirs.cut != 0 && cell >= theirs.cut) || !theirs.left.contains(cell)) continue;
        // What was taken from it meanwhile it hears with its next heartbeat, and before it gets there.
        const auto [given, first] = theirs.shared.emplace(cell, clock_.TimeNow());
        others += first || given->second < theirs.answered;
      }
    }
    if (others > 1) Problem(absl::StrCat("cell ", cell, " is on three workers"));
    result_.given_twice += others == 1;
  }
}

void Simulation::Work(Worker& worker, uint64_t life) {
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
    if (impossible_.contains(cell) || (flaky_.contains(cell) && runs_[cell] == 1)) {
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

void Simulation::Report(Worker& worker, uint64_t life) {
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
    const auto reply = coordinator.ReportProgress(request);
    if (absl::IsInvalidArgument(reply.status())) Problem(std::string(reply.status().message()));
    // Also from a session that is not known.
    if (running_ && (reply.ok() || absl::IsNotFound(reply.status()))) {
      for (const v1::OrdinalRange& range : request.stored()) told_.Add(range.begin(), range.end());
    }
    Answer<v1::ReportProgressResponse>(worker, life, reply, [&worker, request](const auto& response) {
      if (absl::IsNotFound(response.status()) && request.session() == worker.session) worker.session = 0;
      if (!response.ok() || worker.held.empty() || worker.held.front().lease.lease() != request.lease()) return;
      Held& reported = worker.held.front();
      for (const v1::OrdinalRange& range : request.stored()) {
        reported.unreported.erase(reported.unreported.lower_bound(range.begin()), reported.unreported.lower_bound(range.end()));
      }
      for (const v1::CellFailure& failure : request.failures()) {
        std::erase_if(reported.failures, [&](const v1::CellFailure& entry) { return entry.ordinal() == failure.ordinal(); });
      }
      if (request.finished() || !response->lease_valid()) worker.held.erase(worker.held.begin());
    });
  });
}

void Simulation::Crash(Worker& worker, absl::Duration restart_in) {
  worker.up = false;
  ++worker.life;
  // As a pod (same name) or as a new process (new name).
  const std::string name = Chance(0.5) ? worker.name : absl::StrCat(worker.name.substr(0, worker.name.find('.')), ".", ++lives_);
  At(restart_in, [this, name] { StartWorker(name); });
}

void Simulation::Leave(Worker& worker) {
  if (worker.draining) return;
  worker.draining = true;
  const uint64_t life = worker.life;
  At(absl::Seconds(1), [this, &worker, life] {
    if (!worker.up || worker.life != life || !coordinator_) return;
    coordinator_->CancelPoll(reinterpret_cast<const void*>(worker.waiter));
  });
  At(absl::Seconds(2), [this, &worker, life] {
    if (!worker.up || worker.life != life) return;
    v1::ReleaseLeaseRequest request;
    request.set_session(worker.session);
    Call(worker, [request](Coordinator& coordinator) { (void)coordinator.ReleaseLease(request); });
    worker.up = false;
    ++worker.life;
    At(absl::Seconds(5), [this, name = worker.name] { StartWorker(name); });
  });
}

}  // namespace promptsweep::coordinator
