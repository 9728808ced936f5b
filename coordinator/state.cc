#include "coordinator/state.h"

#include <algorithm>
#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "jobs/sweep/extension.h"

namespace promptsweep::coordinator {
namespace {

constexpr uint64_t kMaxAdoptedCells = 1 << 16;
// Leases whose median time says what is slow.
constexpr size_t kLeaseTimes = 31;
// Never live: the answer to a question that is to get none.
constexpr uint64_t kNoLease = ~uint64_t{0};
// Sweeps that a worker's rate is known of.
constexpr size_t kRates = 16;

double Sane(double rate) { return std::isfinite(rate) && rate > 0 ? std::min(rate, 1e9) : 0; }

bool IsActive(v1::SweepState state) { return state == v1::SWEEP_STATE_RUNNING || state == v1::SWEEP_STATE_PAUSED; }

// Takes the digest of `ref` from what live workers registered, where it is empty.
absl::Status FillDigest(const std::map<std::string, std::vector<std::string>>& known, v1::ModelRef& ref) {
  if (!ref.digest().empty()) return absl::OkStatus();
  auto it = known.find(ref.id());
  if (it == known.end()) return absl::FailedPreconditionError(absl::StrCat("no worker has the model \"", ref.id(), "\""));
  if (it->second.size() > 1) {
    return absl::FailedPreconditionError(absl::StrCat("workers have different versions of the model \"", ref.id(), "\""));
  }
  ref.set_digest(it->second.front());
  return absl::OkStatus();
}

}  // namespace

void State::LoadSweep(const v1::SweepInfo& info, sweep::Plan plan, const OrdinalSet& coverage, const OrdinalSet& failed,
                      absl::Time now) {
  const uint32_t id = info.sweep();
  PS_CHECK(IsActive(info.state())) << "sweep " << id << " has ended";
  Sweep& sweep = sweeps_[id];
  PS_CHECK(!sweep.progress) << "sweep " << id << " is loaded already";
  sweep = Sweep{};
  sweep.name = plan.manifest().spec().name();
  sweep.digest = sweep::ManifestDigest(plan.manifest());
  sweep.earlier_digests = info.earlier_digests();
  sweep.state = info.state();
  sweep.limits = info.limits();
  sweep.planned = plan.cell_count();
  sweep.reused = info.counts().reused();
  sweep.device_us = info.counts().device_us();
  sweep.active_since = now;
  SweepProgress& progress = sweep.progress.emplace(std::move(plan), options_.retry);
  for (const auto& [begin, end] : failed.intervals()) {
    for (uint64_t at = begin; at < std::min(end, sweep.planned); ++at) progress.MarkFailed(at);
  }
  for (const auto& [begin, end] : coverage.intervals()) progress.MarkDone({begin, std::min(end, sweep.planned)});
  sweep.counted_made = sweep.made();
  sweep.counted_at = now;
  ++changes_;
}

void State::Extend(const v1::SweepInfo& info, sweep::Plan plan) {
  Sweep* sweep = ActiveSweep(info.sweep());
  PS_CHECK(sweep != nullptr && plan.cell_count() >= sweep->planned) << "sweep " << info.sweep() << " cannot be extended";
  sweep->digest = sweep::ManifestDigest(plan.manifest());
  sweep->earlier_digests = info.earlier_digests();
  sweep->planned = plan.cell_count();
  sweep->reconciled = false;
  sweep->progress->Extend(std::move(plan));
  ++changes_;
}

void State::MayHaveGrown(uint32_t id) {
  if (Sweep* sweep = ActiveSweep(id)) sweep->reconciled = false;
}

void State::LoadEnded(const v1::SweepInfo& info) {
  Sweep& sweep = sweeps_[info.sweep()];
  if (sweep.progress) return;
  sweep.name = info.manifest().spec().name();
  sweep.digest = info.digest();
  sweep.state = info.state();
  sweep.planned = info.counts().planned();
  sweep.ended_done = info.counts().done();
  sweep.ended_failed = info.counts().failed();
  sweep.reused = info.counts().reused();
  sweep.device_us = info.counts().device_us();
  sweep.limits = info.limits();
  sweep.earlier_digests = info.earlier_digests();
}

void State::ForgetEnded(uint32_t id) {
  const auto it = sweeps_.find(id);
  if (it != sweeps_.end() && !it->second.progress) sweeps_.erase(it);
}

absl::Status State::FillDigests(v1::SweepManifest& manifest) const {
  std::map<std::string, std::vector<std::string>> known;
  for (const auto& [session, worker] : workers_) {
    if (worker.lost) continue;
    for (const auto& [id, digest] : worker.models) {
      if (!absl::c_linear_search(known[id], digest)) known[id].push_back(digest);
    }
  }
  for (v1::ModelRef& ref : *manifest.mutable_models()) PS_RETURN_IF_ERROR(FillDigest(known, ref));
  for (v1::ModelRef& ref : *manifest.mutable_embedders()) PS_RETURN_IF_ERROR(FillDigest(known, ref));
  return absl::OkStatus();
}

uint32_t State::FindSweep(absl::string_view digest) const {
  for (const auto& [id, sweep] : sweeps_) {
    if (sweep::IsOrWas(digest, sweep.digest, sweep.earlier_digests)) return id;
  }
  return 0;
}

std::string State::DigestOf(uint32_t sweep) const {
  const auto it = sweeps_.find(sweep);
  return it == sweeps_.end() ? "" : it->second.digest;
}

absl::StatusOr<v1::SweepState> State::SweepStateOf(uint32_t sweep) const {
  auto it = sweeps_.find(sweep);
  if (it == sweeps_.end()) return absl::NotFoundError(absl::StrCat("no sweep ", sweep));
  return it->second.state;
}

void State::SetPaused(uint32_t id, bool paused) {
  Sweep* sweep = ActiveSweep(id);
  if (sweep == nullptr) return;
  sweep->state = paused ? v1::SWEEP_STATE_PAUSED : v1::SWEEP_STATE_RUNNING;
  ++changes_;
}

void State::Cancel(uint32_t id) {
  Sweep* sweep = ActiveSweep(id);
  if (sweep == nullptr) return;
  while (!sweep->leases.empty()) DropLease(sweep->leases.back());
  sweep->state = v1::SWEEP_STATE_CANCELLED;
  sweep->ended_done = sweep->progress->done().size();
  sweep->ended_failed = sweep->progress->failed().size();
  sweep->unsaved.clear();
  sweep->recent.clear();
  sweep->progress.reset();
  ++changes_;
}

uint64_t State::ForgetFailures(uint32_t id) {
  Sweep* sweep = ActiveSweep(id);
  PS_CHECK(sweep != nullptr) << "sweep " << id << " has ended";
  sweep->unsaved.clear();
  sweep->reconciled = false;
  ++changes_;
  return sweep->progress->ForgetFailures();
}

absl::StatusOr<v1::RegisterWorkerResponse> State::Register(const v1::RegisterWorkerRequest& request, uint64_t session,
                                                           absl::Time now) {
  Advance(now);
  if (request.worker().empty() || request.worker().size() > 256)
    return absl::InvalidArgumentError("a worker's name has 1 to 256 bytes");
  if (workers_.size() >= options_.max_workers) return absl::ResourceExhaustedError("too many workers");
  PS_CHECK(session != 0 && !SessionInUse(session)) << "session";
  std::deque<uint64_t> ended;
  if (auto old = by_name_.find(request.worker()); old != by_name_.end()) {
    Worker& before = workers_.at(old->second);
    if (!before.lost) LoseWorker(before, "its worker died", now);
    ended = std::move(before.ended);
    workers_.erase(old->second);
  }
  by_name_[request.worker()] = session;
  if (first_worker_name_.empty()) first_worker_name_ = request.worker();
  several_workers_ = several_workers_ || first_worker_name_ != request.worker();
  Worker& worker = workers_[session];
  worker.name = request.worker();
  worker.device = request.device();
  for (const v1::ModelRef& model : request.models()) worker.models[model.id()] = model.digest();
  worker.ended = std::move(ended);
  worker.last_contact = now;
  worker.last_heartbeat = now;
  ++changes_;
  v1::RegisterWorkerResponse response;
  response.set_session(session);
  response.mutable_heartbeat_interval()->set_seconds(absl::ToInt64Seconds(options_.heartbeat_interval));
  response.mutable_heartbeat_interval()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(options_.heartbeat_interval % absl::Seconds(1))));
  response.mutable_lease_ttl()->set_seconds(absl::ToInt64Seconds(options_.lease_ttl));
  response.mutable_lease_ttl()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(options_.lease_ttl % absl::Seconds(1))));
  return response;
}

absl::StatusOr<State::Answer> State::Acquire(const v1::AcquireLeaseRequest& request, absl::Time now) {
  Advance(now);
  Worker* worker = LiveWorker(request.session());
  if (worker == nullptr) return absl::NotFoundError("unknown session: register again");
  Answer answer;
  if (request.sequence() < worker->acquire_sequence) return answer;
  // A question that waits is asked again by the coordinator itself: only a new one is a sign of life.
  if (request.sequence() > worker->acquire_sequence) {
    worker->last_contact = now;
    worker->acquire_sequence = request.sequence();
    worker->acquire_lease = 0;
  }
  worker->loaded_model = request.loaded_model();
  NoteRate(*worker, Sane(request.cells_per_second()));
  const Lease* lease = nullptr;
  if (worker->acquire_lease != 0) {
    lease = LiveLease(worker->acquire_lease);
    if (lease == nullptr) return answer;
  } else {
    answer.response.set_idle(Idle());
    answer.wait = true;
    if (!worker->usable() || worker->leases.size() >= options_.max_leases_per_worker) return answer;
    if (const std::optional<Pick> pick = PickAny(*worker, now)) {
      lease = &Grant(*worker, request.session(), *pick, request.sequence(), now);
    } else if (const std::optional<Theft> theft = PickTheft(*worker, now)) {
      lease = &Steal(*worker, request.session(), *theft, request.sequence(), now);
    } else if (const Lease* straggler = PickStraggler(*worker, now); straggler != nullptr) {
      lease = &GrantSecond(*worker, request.session(), leases_.at(straggler->id), request.sequence(), now);
    } else {
      return answer;
    }
    answer.wait = false;
  }
  v1::Lease& out = *answer.response.mutable_lease();
  out.set_lease(lease->id);
  out.set_sweep(lease->sweep);
  out.set_manifest_digest(sweeps_.at(lease->sweep).digest);
  out.set_model(lease->model);
  out.mutable_range()->set_begin(lease->range.begin);
  out.mutable_range()->set_end(lease->range.end);
  out.mutable_skip()->Add(lease->skip.begin(), lease->skip.end());
  out.set_attempt(lease->attempt);
  return answer;
}

v1::HeartbeatResponse State::Heartbeat(const v1::HeartbeatRequest& request, absl::Time now) {
  Advance(now);
  v1::HeartbeatResponse response;
  Worker* worker = LiveWorker(request.session());
  if (worker == nullptr) {
    // Nothing to abandon yet: the new session may be allowed to keep what it holds.
    response.set_command(v1::WORKER_COMMAND_RE_REGISTER);
    return response;
  }
  worker->last_contact = now;
  if (request.sequence() <= worker->heartbeat_sequence) return response;
  worker->heartbeat_sequence = request.sequence();
  worker->last_heartbeat = now;
  if (worker->draining != request.draining()) ++changes_;
  worker->draining = request.draining();
  worker->loaded_model = request.loaded_model();
  if (request.batch_shape() > 0) worker->batch_shape = request.batch_shape();
  if (worker->told_to_drain) response.set_command(v1::WORKER_COMMAND_DRAIN);

  absl::flat_hash_set<uint64_t> listed;
  for (const v1::HeldLease& held : request.held()) {
    Lease* lease = LiveLease(held.lease());
    if (lease == nullptr && Adopt(held, request.session(), *worker, now)) lease = LiveLease(held.lease());
    if (lease == nullptr || lease->session != request.session()) {
      response.add_abandon(held.lease());
      continue;
    }
    listed.insert(held.lease());
    Touch(*lease, held, now);
    if (lease->cut && held.range().end() > lease->range.end) {
      v1::LeaseCut& cut = *response.add_cuts();
      cut.set_lease(held.lease());
      cut.set_end(lease->range.end);
    }
  }
  NoteRate(*worker, Sane(request.cells_per_second()));
  // What the worker should hold and does not. It is sure about a lease that it listed before, or whose grant it has seen; else
  // the grant may be on its way.
  const std::vector<uint64_t> leases = worker->leases;
  for (uint64_t id : leases) {
    if (listed.contains(id)) continue;
    Lease& lease = leases_.at(id);
    const bool reply_seen = lease.acquire_sequence != 0 && request.acquired_sequence() >= lease.acquire_sequence &&
                            request.acquired_sequence() <= worker->acquire_sequence;
    const bool overdue = ++lease.missed_heartbeats >= 2 && now - lease.granted >= 2 * options_.heartbeat_interval;
    if (lease.listed || reply_seen || overdue) LoseLease(id, false, "the worker does not have it", now);
  }
  return response;
}

void State::Touch(Lease& lease, const v1::HeldLease& held, absl::Time now) {
  lease.listed = true;
  lease.missed_heartbeats = 0;
  lease.renewed = now;
  const bool running = lease.range.contains(held.current_ordinal());
  const bool moved = (running && lease.current != held.current_ordinal()) || held.stored() != lease.stored_said;
  if (running) lease.current = held.current_ordinal();
  if (running) workers_.at(lease.session).running_sweep = lease.sweep;
  lease.stored_said = held.stored();
  if (moved) lease.progressed = now;
}

bool State::Adopt(const v1::HeldLease& held, uint64_t session, Worker& worker, absl::Time now) {
  const Range range{held.range().begin(), held.range().end()};
  Sweep* sweep = ActiveSweep(held.sweep());
  if (sweep == nullptr || held.lease() >> 32 == options_.epoch || worker.leases.size() >= options_.max_leases_per_worker)
    return false;
  if (absl::c_linear_search(worker.ended, held.lease())) return false;
  if (range.begin >= range.end || range.end > sweep->planned || range.size() > kMaxAdoptedCells) return false;
  SweepProgress& progress = *sweep->progress;
  if (progress.plan().SameModelEnd(range.begin, range.end) != range.end) return false;
  for (uint64_t id : sweep->leases) {
    if (leases_.at(id).owned.CountIn(range.begin, range.end) > 0) return false;
  }
  OrdinalSet owned = progress.Take(range);
  if (owned.empty()) return false;
  Lease& lease = leases_[held.lease()];
  lease.id = held.lease();
  lease.sweep = held.sweep();
  lease.session = session;
  lease.range = range;
  lease.cells = range.size();
  lease.owned = std::move(owned);
  lease.model = progress.plan().ModelAt(range.begin);
  lease.granted = lease.renewed = lease.progressed = now;
  lease.progress_limit = ProgressLimit(worker, lease.sweep, lease.owned.size());
  worker.leases.push_back(lease.id);
  sweep->leases.push_back(lease.id);
  return true;
}

absl::StatusOr<v1::ReportProgressResponse> State::Report(const v1::ReportProgressRequest& request, absl::Time now) {
  Advance(now);
  v1::ReportProgressResponse response;
  Worker* worker = LiveWorker(request.session());
  if (worker != nullptr) worker->last_contact = now;
  const auto unknown = absl::NotFoundError("unknown session: register again");
  Sweep* sweep = ActiveSweep(request.sweep());
  if (sweep == nullptr) {
    if (worker == nullptr) return unknown;
    return response;
  }
  for (const auto* ranges : {&request.stored(), &request.reused()}) {
    for (const v1::OrdinalRange& range : *ranges) {
      if (range.begin() < range.end() && range.end() <= sweep->planned) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("[", range.begin(), ", ", range.end(), ") is no range of sweep ", request.sweep()));
    }
  }
  for (const v1::CellFailure& failure : request.failures()) {
    if (failure.ordinal() >= sweep->planned) {
      return absl::InvalidArgumentError(absl::StrCat("sweep ", request.sweep(), " has no cell ", failure.ordinal()));
    }
  }
  const auto owned_lease = [&]() -> Lease* {
    Lease* lease = LiveLease(request.lease());
    return lease != nullptr && lease->session == request.session() && lease->sweep == request.sweep() ? lease : nullptr;
  };
  // A lease of the time before a restart is not judged here: the next heartbeat adopts it or not.
  const bool unjudged = LiveLease(request.lease()) == nullptr && request.lease() >> 32 != options_.epoch;
  response.set_lease_valid(owned_lease() != nullptr || unjudged);
  // First, since what is done once is not counted again.
  for (const v1::OrdinalRange& range : request.reused())
    MarkDone(*sweep, request.sweep(), {range.begin(), range.end()}, worker, /*reused=*/true, now);
  for (const v1::OrdinalRange& range : request.stored())
    MarkDone(*sweep, request.sweep(), {range.begin(), range.end()}, worker, /*reused=*/false, now);
  if (worker == nullptr) return unknown;
  for (const v1::CellFailure& failure : request.failures()) {
    Lease* lease = owned_lease();
    if (lease == nullptr || lease->owned.Remove(failure.ordinal(), failure.ordinal() + 1) == 0) continue;
    lease->progressed = now;
    Lease* twin = LiveLease(lease->twin);
    if (twin != nullptr && !twin->owned.Contains(failure.ordinal())) twin = nullptr;
    if (failure.final()) {
      if (twin != nullptr && twin->owned.Remove(failure.ordinal(), failure.ordinal() + 1) > 0 && twin->owned.empty())
        EndLease(twin->id);
      auto trouble = sweep->progress->troubled().find(failure.ordinal());
      const uint32_t attempts = trouble == sweep->progress->troubled().end() ? 0 : trouble->second.attempts;
      Fail(*sweep, failure.ordinal(), attempts + 1, failure.error(), worker->name);
    } else if (twin == nullptr) {  // else the twin decides
      Blame(*sweep, failure.ordinal(), worker->name, failure.error(), true, now);
    }
    if (lease->owned.empty()) EndLease(lease->id);
  }
  if (Lease* lease = owned_lease(); lease != nullptr) {
    lease->renewed = now;
    if (request.finished()) EndLease(lease->id);
  }
  return response;
}

void State::Release(const v1::ReleaseLeaseRequest& request, absl::Time now) {
  Advance(now);
  Worker* worker = LiveWorker(request.session());
  if (worker == nullptr) return;
  worker->last_contact = now;
  // Who gives everything back leaves: an answer to the question that still waits would come to nobody.
  if (request.leases().empty() && worker->acquire_lease == 0) worker->acquire_lease = kNoLease;
  const std::vector<uint64_t> held = worker->leases;
  for (uint64_t id : held) {
    if (request.leases().empty() || absl::c_linear_search(request.leases(), id)) EndLease(id);
  }
}

absl::StatusOr<uint32_t> State::Drain(absl::string_view name) {
  const auto it = by_name_.find(std::string(name));
  if (it == by_name_.end() || workers_.at(it->second).lost) {
    return absl::NotFoundError(absl::StrCat("no live worker is called \"", name, "\""));
  }
  Worker& worker = workers_.at(it->second);
  worker.told_to_drain = true;
  ++changes_;
  return static_cast<uint32_t>(worker.leases.size());
}

void State::WorkerDied(absl::string_view name, absl::Time now) {
  Advance(now);
  auto it = by_name_.find(std::string(name));
  if (it == by_name_.end() || workers_.at(it->second).lost) return;
  LoseWorker(workers_.at(it->second), "its worker died", now);
}

// What a worker measured says nothing of a sweep with other settings.
void State::NoteRate(Worker& worker, double rate) {
  if (rate <= 0) return;
  worker.rate = rate;
  if (worker.running_sweep == 0) return;
  worker.rates[worker.running_sweep] = rate;
  if (worker.rates.size() > kRates) worker.rates.erase(worker.rates.begin());
}

double State::RateOf(const Worker& worker, uint32_t sweep) {
  if (worker.rates.empty()) return worker.rate;
  const auto it = worker.rates.find(sweep);
  return it == worker.rates.end() ? 0 : it->second;
}

State::Worker* State::LiveWorker(uint64_t session) {
  auto it = workers_.find(session);
  return it == workers_.end() || it->second.lost ? nullptr : &it->second;
}

State::Lease* State::LiveLease(uint64_t id) {
  auto it = leases_.find(id);
  return it == leases_.end() ? nullptr : &it->second;
}

State::Sweep* State::ActiveSweep(uint32_t id) {
  auto it = sweeps_.find(id);
  return it == sweeps_.end() || !it->second.progress ? nullptr : &it->second;
}

const State::Sweep* State::ActiveSweep(uint32_t id) const { return const_cast<State*>(this)->ActiveSweep(id); }

void State::MarkDone(Sweep& sweep, uint32_t id, Range range, Worker* worker, bool reused, absl::Time now) {
  const uint64_t added = sweep.progress->MarkDone(range);
  const std::vector<uint64_t> leases = sweep.leases;
  for (uint64_t lease_id : leases) {
    Lease& lease = leases_.at(lease_id);
    if (lease.owned.Remove(range.begin, range.end) == 0) continue;
    lease.progressed = now;
    lease.reused = lease.reused || reused;
    if (!lease.owned.empty()) continue;
    if (worker != nullptr && LiveWorker(lease.session) == worker && lease.acquire_sequence != 0 && lease.attempt == 1 &&
        !lease.reused) {
      sweep.lease_times.push_back(now - lease.granted);
      if (sweep.lease_times.size() > kLeaseTimes) sweep.lease_times.pop_front();
    }
    EndLease(lease_id);
  }
  if (!sweep.unsaved.empty()) {
    std::erase_if(sweep.unsaved, [&](const v1::FailureRecord& record) { return range.contains(record.ordinal()); });
  }
  if (reused) sweep.reused += added;
  if (worker == nullptr || added == 0 || reused) return;
  worker->stored += added;
  worker->running_sweep = id;
  const int64_t second = absl::ToUnixSeconds(now);
  if (sweep.recent.empty() || sweep.recent.back().first != second) sweep.recent.emplace_back(second, 0);
  sweep.recent.back().second += added;
  while (sweep.recent.front().first < second - 60) sweep.recent.pop_front();
}

void State::Fail(Sweep& sweep, uint64_t ordinal, uint32_t attempts, absl::string_view error, absl::string_view worker) {
  v1::FailureRecord& record = sweep.unsaved.emplace_back();
  record.set_ordinal(ordinal);
  record.set_attempts(attempts);
  record.set_error(std::string(error.substr(0, options_.retry.max_error_bytes)));
  record.set_worker(std::string(worker));
  sweep.progress->MarkFailed(ordinal);
}

void State::Blame(Sweep& sweep, uint64_t ordinal, absl::string_view worker, absl::string_view error, bool certain,
                  absl::Time now) {
  const Trouble trouble = sweep.progress->MarkTrouble(ordinal, worker, error, certain, now);
  const uint32_t limit = options_.retry.max_attempts;
  const bool spread = trouble.workers.size() >= std::min<size_t>(2, limit) || !several_workers_;
  // Where no second worker can be had, twice as many tries settle it.
  if ((trouble.attempts >= limit && spread) || trouble.attempts >= 2 * limit)
    Fail(sweep, ordinal, trouble.attempts, error, worker);
}

}  // namespace promptsweep::coordinator
