// What people are shown, and what must always be true.
#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

void SetDuration(absl::Duration value, google::protobuf::Duration* out) {
  out->set_seconds(absl::ToInt64Seconds(value));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(value % absl::Seconds(1))));
}

// Seconds, for people.
std::string InSeconds(absl::Duration value) { return absl::StrCat(std::max<int64_t>(1, absl::ToInt64Seconds(value)), " s"); }

}  // namespace

bool State::Idle() const {
  return !sweeps_.empty() && absl::c_none_of(sweeps_, [](const auto& entry) { return entry.second.progress.has_value(); });
}

void State::FillStatus(uint32_t id, const Sweep& sweep, absl::Time now, v1::SweepStatus& status) const {
  status.set_sweep(id);
  status.set_name(sweep.name);
  status.set_digest(sweep.digest);
  status.set_state(sweep.state);
  status.set_planned(sweep.planned);
  status.set_reused(sweep.reused);
  *status.mutable_limits() = sweep.limits;
  status.set_device_seconds(DeviceSeconds(sweep));
  if (!sweep.progress) {
    status.set_done(sweep.ended_done);
    status.set_failed(sweep.ended_failed);
    status.set_pending(sweep.planned - std::min(sweep.planned, sweep.ended_done + sweep.ended_failed));
    return;
  }
  status.set_held(HeldBecause(sweep));
  status.set_done(sweep.progress->done().size());
  status.set_failed(sweep.progress->failed().size());
  status.set_leased(sweep.progress->leased_count());
  status.set_pending(sweep.planned - status.done() - status.failed() - status.leased());
  status.set_workers(static_cast<uint32_t>(WorkersOf(sweep)));
  uint64_t recent = 0;
  const int64_t from = absl::ToUnixSeconds(now) - 60;
  for (const auto& [second, count] : sweep.recent) {
    if (second > from) recent += count;
  }
  const double seconds = std::clamp(absl::ToDoubleSeconds(now - sweep.active_since), 1.0, 60.0);
  status.set_cells_per_second(static_cast<double>(recent) / seconds);
}

absl::StatusOr<v1::SweepStatus> State::Status(uint32_t id, absl::Time now) const {
  auto it = sweeps_.find(id);
  if (it == sweeps_.end()) return absl::NotFoundError(absl::StrCat("no sweep ", id));
  v1::SweepStatus status;
  FillStatus(id, it->second, now, status);
  return status;
}

v1::ListSweepStatusResponse State::ListStatus(absl::Time now) const {
  v1::ListSweepStatusResponse response;
  for (const auto& [id, sweep] : sweeps_) FillStatus(id, sweep, now, *response.add_sweeps());
  return response;
}

absl::StatusOr<v1::ExplainSweepResponse> State::Explain(uint32_t id, absl::Time now) const {
  PS_ASSIGN_OR_RETURN(const v1::SweepStatus status, Status(id, now));
  const Sweep& sweep = sweeps_.at(id);
  v1::ExplainSweepResponse response;
  const auto say = [&](const auto&... words) { response.add_reasons(absl::StrCat(words...)); };
  if (!sweep.progress) {
    switch (sweep.state) {
      case v1::SWEEP_STATE_CANCELLED:
        say("cancelled; submitting it again resumes it");
        break;
      case v1::SWEEP_STATE_DONE_WITH_FAILURES:
        say("ended with ", sweep.ended_failed, " failed cells; retry-failed runs them again");
        break;
      case v1::SWEEP_STATE_RUNNING:
        say("an import: its cells are stored by whoever imports, not run");
        break;
      default:
        say("ended: every cell is done");
    }
    return response;
  }
  const SweepProgress& progress = *sweep.progress;
  const v1::SweepManifest& manifest = progress.plan().manifest();
  if (!sweep.store_error.empty()) say("the store: ", sweep.store_error);
  if (sweep.state == v1::SWEEP_STATE_PAUSED) say("paused");
  if (!status.held().empty()) {
    say("nothing more of it is granted: ", status.held());
  } else if (progress.free_count() > 0 && Allowance(sweep) == 0) {
    say("what is left of its budget is on workers");
  }
  if (progress.Complete()) {
    say("every cell is settled; checking with the store before it ends");
    return response;
  }
  if (now < grants_from_)
    say("just started: waiting ", InSeconds(grants_from_ - now), " for workers to say what they still hold");
  if (sweep.refresh_wanted != sweep.refresh_answered) say("a lease came back unfinished: asking the store what of it is stored");
  if (sweep.unsaved.size() >= options_.max_unsaved_failures)
    say("waiting for the store to record ", sweep.unsaved.size(), " failures");
  std::vector<const Worker*> live;
  for (const auto& [session, worker] : workers_) {
    if (worker.usable()) live.push_back(&worker);
  }
  if (live.empty()) say("no worker is registered");
  const auto lacking = [&](const v1::ModelRef& model, absl::string_view kind) {
    if (live.empty() || absl::c_any_of(live, [&](const Worker* worker) { return CanRun(*worker, model); })) return;
    for (const Worker* worker : live) {
      auto it = worker->models.find(model.id());
      if (it == worker->models.end()) continue;
      say("no worker has ", kind, " \"", model.id(), "\" in the version asked for (", ToHex(model.digest()).substr(0, 12), "); ",
          worker->name, " has ", ToHex(it->second).substr(0, 12));
      return;
    }
    say("no worker has ", kind, " \"", model.id(), "\"");
  };
  for (const v1::ModelRef& model : manifest.models()) lacking(model, "the model");
  for (const v1::ModelRef& model : manifest.embedders()) lacking(model, "the embedder");
  if (sweep.limits.max_parallel() > 0 && WorkersOf(sweep) >= sweep.limits.max_parallel())
    say(WorkersOf(sweep), " workers run it: no more at a time (max_parallel)");
  const auto before = absl::c_count_if(sweeps_, [&](const auto& entry) {
    return HasWork(entry.second, now) && entry.second.limits.priority() > sweep.limits.priority();
  });
  if (before > 0 && progress.free_count() > 0) say(before, " sweeps of a higher priority are served first");
  if (progress.waiting_count() > 0) {
    say(progress.waiting_count(), " cells wait for their next try; the first in ", InSeconds(progress.NextDue() - now));
    const auto& [ordinal, trouble] = *progress.troubled().begin();
    if (trouble.attempts > 0) {
      say("cell ", ordinal, " failed ", trouble.attempts, " times, last on ", trouble.workers.back(), ": ", trouble.error);
    } else {
      say("cell ", ordinal, " is to be run alone: ", trouble.error);
    }
  }
  if (progress.troubled().size() >= options_.max_troubled) say("too many cells fail: new ones wait until those are settled");
  if (sweep.reconciliations_failed > 0)
    say(sweep.reconciliations_failed, " times cells were reported stored that the store does not have");
  const auto straggling = absl::c_count_if(sweep.leases, [&](uint64_t id) { return leases_.at(id).twin != 0; }) / 2;
  if (straggling > 0) say(straggling, " leases take long; a second worker runs their cells too");
  if (status.workers() > 0)
    say(status.workers(), " workers run ", status.leased(), " leased cells; ", progress.free_count(), " are free to grant");
  if (response.reasons().empty()) say(progress.free_count(), " cells wait for a worker to ask");
  return response;
}

v1::ListWorkersResponse State::ListWorkers(absl::Time now) const {
  v1::ListWorkersResponse response;
  for (const auto& [name, session] : by_name_) {
    const Worker& worker = workers_.at(session);
    v1::WorkerInfo& info = *response.add_workers();
    info.set_worker(worker.name);
    info.set_device(worker.device);
    info.set_state(worker.lost ? "lost" : worker.usable() ? "ready" : "draining");
    info.set_batch_shape(worker.batch_shape);
    info.set_leases(static_cast<uint32_t>(worker.leases.size()));
    info.set_stored(worker.stored);
    info.set_cells_per_second(worker.rate);
    SetDuration(std::max(absl::ZeroDuration(), now - worker.last_heartbeat), info.mutable_since_heartbeat());
    info.set_loaded_model(worker.loaded_model);
    for (const auto& [id, digest] : worker.models) info.add_models(id);
  }
  return response;
}

absl::Status State::CheckInvariants() const {
  size_t counted = 0;
  for (const auto& [id, sweep] : sweeps_) {
    if (!sweep.progress) {
      if (!sweep.leases.empty() || !sweep.unsaved.empty())
        return absl::InternalError(absl::StrCat("ended sweep ", id, " has leases"));
      continue;
    }
    OrdinalSet leased;
    std::set<uint64_t> twins;  // seen
    for (uint64_t lease_id : sweep.leases) {
      auto it = leases_.find(lease_id);
      if (it == leases_.end() || it->second.sweep != id) return absl::InternalError("a sweep lists a lease that is not its own");
      const Lease& lease = it->second;
      if (lease.owned.empty()) return absl::InternalError("a live lease has nothing to do");
      if (lease.owned.CountIn(lease.range.begin, lease.range.end) != lease.owned.size())
        return absl::InternalError("a lease owns cells beyond its range");
      if (sweep.progress->plan().SameModelEnd(lease.range.begin, lease.range.end) != lease.range.end)
        return absl::InternalError("a lease of two models");
      const Lease* twin = nullptr;
      if (lease.twin != 0) {
        auto found = leases_.find(lease.twin);
        if (found == leases_.end() || found->second.twin != lease.id || found->second.sweep != id ||
            found->second.session == lease.session)
          return absl::InternalError("a twin that is none");
        if (twins.insert(lease.id).second && twins.contains(lease.twin)) twin = &found->second;
      }
      for (const auto& [begin, end] : lease.owned.intervals()) {
        const uint64_t shared = twin == nullptr ? 0 : twin->owned.CountIn(begin, end);
        if (leased.Add(begin, end) != end - begin - shared)
          return absl::InternalError(absl::StrCat("cells in [", begin, ",", end, ") are leased twice"));
      }
      ++counted;
    }
    PS_RETURN_IF_ERROR(Annotate(sweep.progress->CheckInvariants(leased), absl::StrCat("sweep ", id)));
  }
  if (counted != leases_.size()) return absl::InternalError("a lease of no sweep");
  counted = 0;
  for (const auto& [session, worker] : workers_) {
    if (worker.lost && !worker.leases.empty()) return absl::InternalError("a lost worker has leases");
    auto name = by_name_.find(worker.name);
    if (name == by_name_.end() || name->second != session) return absl::InternalError("a worker's name leads elsewhere");
    for (uint64_t lease : worker.leases) {
      auto it = leases_.find(lease);
      if (it == leases_.end() || it->second.session != session)
        return absl::InternalError("a worker lists a lease that is not its own");
      ++counted;
    }
  }
  if (counted != leases_.size()) return absl::InternalError("a lease of no worker");
  return absl::OkStatus();
}

}  // namespace promptsweep::coordinator
