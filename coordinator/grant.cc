// Which cells a worker gets next.
#include <algorithm>
#include <functional>

#include "absl/algorithm/container.h"
#include "base/check.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

// Stretches of one model looked at in one sweep before giving up on a better one.
constexpr int kMaxStretches = 4096;

}  // namespace

bool State::CanRun(const Worker& worker, const v1::ModelRef& model) const {
  auto it = worker.models.find(model.id());
  return it != worker.models.end() && it->second == model.digest();
}

bool State::CanRunCell(const Worker& worker, const Sweep& sweep, uint64_t ordinal) const {
  const sweep::Plan& plan = sweep.progress->plan();
  const std::string& id = plan.ModelAt(ordinal);
  return absl::c_any_of(plan.manifest().models(),
                        [&](const v1::ModelRef& model) { return model.id() == id && CanRun(worker, model); });
}

bool State::HasEmbedders(const Worker& worker, const Sweep& sweep) const {
  return absl::c_all_of(sweep.progress->plan().manifest().embedders(),
                        [&](const v1::ModelRef& model) { return CanRun(worker, model); });
}

bool State::Grantable(const Sweep& sweep, absl::Time now) const {
  return sweep.progress && sweep.state == v1::SWEEP_STATE_RUNNING && sweep.refresh_wanted == sweep.refresh_answered &&
         sweep.unsaved.size() < options_.max_unsaved_failures && sweep.progress->plan().manifest().imported_from().empty();
}

bool State::HasWork(const Sweep& sweep, absl::Time now) const {
  return Grantable(sweep, now) && sweep.progress->free_count() > 0 && Allowance(sweep) > 0;
}

bool State::MustAvoid(const Worker& worker, const Sweep& sweep, uint64_t ordinal, const Trouble& trouble) const {
  // The last try should be somewhere else, where there is somewhere else.
  if (trouble.attempts + 1 < options_.retry.max_attempts || trouble.workers.size() != 1 || trouble.workers[0] != worker.name)
    return false;
  return absl::c_any_of(workers_, [&](const auto& entry) {
    const Worker& other = entry.second;
    return other.name != worker.name && other.usable() && HasEmbedders(other, sweep) && CanRunCell(other, sweep, ordinal);
  });
}

uint64_t State::LeasesOf(const Sweep& sweep, absl::string_view model) const {
  return absl::c_count_if(sweep.leases, [&](uint64_t id) { return leases_.at(id).model == model; });
}

// The first free stretch of `preferred`; else, unless only that will do, of the model that the fewest leases run.
std::optional<uint64_t> State::PickIn(const Worker& worker, const Sweep& sweep, absl::string_view preferred,
                                      bool only_preferred) const {
  const SweepProgress& progress = *sweep.progress;
  const uint64_t cells = progress.cells();
  if (progress.troubled().size() >= options_.max_troubled) {
    for (const auto& [ordinal, trouble] : progress.troubled()) {
      if (!progress.taken().Contains(ordinal) && !MustAvoid(worker, sweep, ordinal, trouble) &&
          CanRunCell(worker, sweep, ordinal))
        return ordinal;
    }
    return std::nullopt;
  }
  const size_t models = static_cast<size_t>(progress.plan().manifest().models_size());
  std::map<std::string, uint64_t> others;  // model -> its first free cell
  uint64_t at = progress.taken().NextAbsent(0, cells);
  for (int i = 0; at < cells && i < kMaxStretches; ++i) {
    auto trouble = progress.troubled().find(at);
    if (trouble != progress.troubled().end() && MustAvoid(worker, sweep, at, trouble->second)) {
      at = progress.taken().NextAbsent(at + 1, cells);
      continue;
    }
    if (CanRunCell(worker, sweep, at)) {
      const std::string& model = progress.plan().ModelAt(at);
      if (model == preferred || models == 1) {
        if (model == preferred || !only_preferred) return at;
        return std::nullopt;
      }
      others.emplace(model, at);
      if (preferred.empty() && others.size() == models) break;
    }
    at = progress.taken().NextAbsent(progress.plan().SameModelEnd(at, cells), cells);
  }
  if (only_preferred || others.empty()) return std::nullopt;
  return absl::c_min_element(others,
                             [&](const auto& a, const auto& b) {
                               return std::make_pair(LeasesOf(sweep, a.first), a.second) <
                                      std::make_pair(LeasesOf(sweep, b.first), b.second);
                             })
      ->second;
}

// From sweeps of one priority, in the order in which they deserve it.
std::optional<State::Pick> State::PickFrom(const Worker& worker,
                                           const std::vector<std::pair<uint32_t, const Sweep*>>& turn) const {
  const std::string& loaded = worker.loaded_model.empty() ? worker.granted_model : worker.loaded_model;
  // Loading weights is dear, so a worker stays with its model, unless a sweep with less than its share of the workers has waited
  // long enough.
  if (worker.granted_in_row >= options_.affinity_leases && turn.size() > 1) {
    const uint64_t workers = absl::c_count_if(workers_, [](const auto& entry) { return entry.second.usable(); });
    const uint64_t share = std::max<uint64_t>(1, workers / turn.size());
    for (const auto& [id, sweep] : turn) {
      if (WorkersOf(*sweep) >= share || id == last_granted_sweep_) continue;
      if (const auto begin = PickIn(worker, *sweep, loaded, false)) return Pick{id, *begin};
    }
  }
  for (bool only_preferred : {true, false}) {
    for (const auto& [id, sweep] : turn) {
      if (auto begin = PickIn(worker, *sweep, loaded, only_preferred)) return Pick{id, *begin};
    }
  }
  return std::nullopt;
}

std::optional<State::Pick> State::PickAny(const Worker& worker, absl::Time now) const {
  if (now < grants_from_) return std::nullopt;
  std::map<int32_t, std::vector<std::pair<uint32_t, const Sweep*>>, std::greater<>> by_priority;
  for (const auto& [id, sweep] : sweeps_) {
    if (HasWork(sweep, now) && HasEmbedders(worker, sweep) && HasRoomFor(worker, sweep))
      by_priority[sweep.limits.priority()].emplace_back(id, &sweep);
  }
  for (auto& [priority, turn] : by_priority) {
    // Who has the fewest workers first; among those the one after the last served.
    std::rotate(turn.begin(), absl::c_find_if(turn, [&](const auto& entry) { return entry.first > last_granted_sweep_; }),
                turn.end());
    if (turn.size() > 1) {
      std::map<uint32_t, uint64_t> workers;
      for (const auto& [id, sweep] : turn) workers[id] = WorkersOf(*sweep);
      absl::c_stable_sort(turn, [&](const auto& a, const auto& b) { return workers.at(a.first) < workers.at(b.first); });
    }
    if (const auto pick = PickFrom(worker, turn)) return pick;
  }
  return std::nullopt;
}

uint64_t State::LeaseSize(const Worker& worker, uint32_t id, const Sweep& sweep) const {
  uint64_t size = options_.first_lease;
  if (const double rate = RateOf(worker, id); rate > 0) {
    const double wanted = rate * absl::ToDoubleSeconds(options_.lease_target);
    size = static_cast<uint64_t>(std::clamp(wanted, 1.0, static_cast<double>(options_.max_lease)));
  }
  size = std::min(size, Allowance(sweep));
  const uint64_t workers = absl::c_count_if(workers_, [](const auto& entry) { return entry.second.usable(); });
  if (workers <= 1) return size;
  // Guided self-scheduling: near the end everybody gets a piece, and the last pieces are small.
  const uint64_t share = sweep.progress->free_count() / (2 * workers) + 1;
  return std::min(size, std::max(share, options_.min_lease));
}

Range State::Extend(const Worker& worker, const Sweep& sweep, uint64_t begin, uint64_t want, std::vector<uint64_t>& skip) const {
  const SweepProgress& progress = *sweep.progress;
  const OrdinalSet& taken = progress.taken();
  uint64_t limit = progress.plan().SameModelEnd(begin, progress.cells());
  limit = std::min(limit, progress.SuspectBounds(begin).first.end);
  const auto& troubled = progress.troubled();
  if (troubled.size() >= options_.max_troubled) {
    uint64_t known = begin + 1;
    while (known < limit && known - begin < want && troubled.contains(known)) ++known;
    limit = known;
  }
  uint64_t end = begin;
  for (uint64_t count = 0;;) {
    const uint64_t step = std::min(taken.NextPresent(end, limit) - end, want - count);
    count += step;
    end += step;
    if (count == want || end == limit) break;
    const uint64_t next = taken.NextAbsent(end, limit);
    if (next == limit || skip.size() + (next - end) > options_.max_skip) break;
    for (; end < next; ++end) skip.push_back(end);
  }
  for (auto it = troubled.upper_bound(begin); it != troubled.end() && it->first < end; ++it) {
    if (!taken.Contains(it->first) && MustAvoid(worker, sweep, it->first, it->second)) {
      end = it->first;
      break;
    }
  }
  // A range ends with a cell to run.
  while (!skip.empty() && skip.back() >= end) skip.pop_back();
  while (!skip.empty() && skip.back() + 1 == end) {
    skip.pop_back();
    --end;
  }
  return {begin, end};
}

const State::Lease& State::Grant(Worker& worker, uint64_t session, Pick pick, uint64_t sequence, absl::Time now) {
  Sweep& sweep = sweeps_.at(pick.sweep);
  SweepProgress& progress = *sweep.progress;
  Lease lease{.sweep = pick.sweep};
  lease.range = Extend(worker, sweep, pick.begin, LeaseSize(worker, pick.sweep, sweep), lease.skip);
  uint32_t attempts = progress.SuspectBounds(pick.begin).second;
  if (auto trouble = progress.troubled().find(pick.begin); trouble != progress.troubled().end()) {
    attempts = std::max(attempts, trouble->second.attempts);
  }
  lease.attempt = attempts + 1;
  lease.owned = progress.Take(lease.range);
  PS_CHECK(!lease.owned.empty()) << "cell " << pick.begin << " was not free";
  lease.model = progress.plan().ModelAt(pick.begin);
  return AddLease(std::move(lease), worker, session, sequence, now);
}

State::Lease& State::AddLease(Lease lease, Worker& worker, uint64_t session, uint64_t sequence, absl::Time now) {
  lease.id = uint64_t{options_.epoch} << 32 | next_lease_++;
  PS_CHECK(next_lease_ != 0) << "lease ids are used up";
  lease.session = session;
  lease.acquire_sequence = sequence;
  lease.granted = lease.renewed = lease.progressed = now;
  lease.cells = lease.owned.size();
  lease.progress_limit = ProgressLimit(worker, lease.sweep, lease.owned.size());
  worker.leases.push_back(lease.id);
  worker.acquire_lease = lease.id;
  worker.granted_in_row = worker.granted_model == lease.model ? worker.granted_in_row + 1 : 1;
  worker.granted_model = lease.model;
  sweeps_.at(lease.sweep).leases.push_back(lease.id);
  last_granted_sweep_ = lease.sweep;
  return leases_[lease.id] = std::move(lease);
}

absl::Duration State::ProgressLimit(const Worker& worker, uint32_t sweep, uint64_t cells) const {
  const double rate = RateOf(worker, sweep);
  if (rate <= 0) return std::max(options_.first_progress, options_.no_progress);
  return std::max(options_.no_progress, options_.no_progress_factor * absl::Seconds(static_cast<double>(cells) / rate));
}

}  // namespace promptsweep::coordinator
