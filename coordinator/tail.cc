// The end of a sweep: what is left is on workers, some of them slow. Idle ones take the far end of a long lease (stealing), or
// run a straggler's cells beside its owner (speculation).
#include <algorithm>
#include <deque>

#include "absl/algorithm/container.h"
#include "base/check.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

// Of at least one.
absl::Duration Median(const std::deque<absl::Duration>& times) {
  std::vector<absl::Duration> sorted(times.begin(), times.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace

void State::FindStragglers(absl::Time now) {
  for (const auto& [id, sweep] : sweeps_) {
    if (!sweep.progress || sweep.lease_times.empty()) continue;
    const absl::Duration limit = std::max(options_.tail_floor, options_.tail_factor * Median(sweep.lease_times));
    for (uint64_t lease_id : sweep.leases) {
      Lease& lease = leases_.at(lease_id);
      // What may have killed one worker is not tried on two at once.
      if (lease.straggles || lease.attempt > 1 || now - lease.granted <= limit) continue;
      lease.straggles = true;
      ++changes_;
    }
  }
  uint64_t long_leases = 0;
  for (const auto& [id, lease] : leases_) {
    const double rate = RateOf(workers_.at(lease.session), lease.sweep);
    long_leases += rate > 0 && static_cast<double>(lease.owned.size()) / rate > absl::ToDoubleSeconds(options_.steal_floor);
  }
  if (long_leases > long_leases_) ++changes_;
  long_leases_ = long_leases;
}

const State::Lease* State::PickStraggler(const Worker& worker, absl::Time now) const {
  if (now < grants_from_ || !worker.leases.empty()) return nullptr;
  const Lease* oldest = nullptr;
  for (const auto& [id, sweep] : sweeps_) {
    if (!Grantable(sweep, now) || !HasEmbedders(worker, sweep) || !HasRoomFor(worker, sweep)) continue;
    for (uint64_t lease_id : sweep.leases) {
      const Lease& lease = leases_.at(lease_id);
      if (!lease.straggles || lease.twin != 0 || !CanRunCell(worker, sweep, lease.range.begin)) continue;
      if (oldest == nullptr || lease.granted < oldest->granted) oldest = &lease;
    }
  }
  return oldest;
}

OrdinalSet State::Fill(const OrdinalSet& cells, Lease& lease) const {
  OrdinalSet rest;
  for (const auto& [begin, end] : cells.intervals()) {
    if (lease.owned.empty()) lease.range = {begin, begin};
    if (!rest.empty() || lease.skip.size() + (begin - lease.range.end) > options_.max_skip) {
      rest.Add(begin, end);
      continue;
    }
    for (uint64_t at = lease.range.end; at < begin; ++at) lease.skip.push_back(at);
    lease.owned.Add(begin, end);
    lease.range.end = end;
  }
  return rest;
}

const State::Lease& State::GrantSecond(Worker& worker, uint64_t session, Lease& first, uint64_t sequence, absl::Time now) {
  Lease lease{.sweep = first.sweep, .twin = first.id, .model = first.model, .attempt = first.attempt};
  Fill(first.owned, lease);
  Lease& second = AddLease(std::move(lease), worker, session, sequence, now);
  first.twin = second.id;
  return second;
}

std::optional<State::Theft> State::PickTheft(const Worker& worker, absl::Time now) const {
  if (now < grants_from_ || !worker.leases.empty()) return std::nullopt;
  std::optional<Theft> best;
  double longest = absl::ToDoubleSeconds(options_.steal_floor);
  for (const auto& [session, victim] : workers_) {
    if (victim.lost) continue;
    double ahead = 0;  // seconds up to the end of the lease looked at
    for (uint64_t id : victim.leases) {
      const Lease& lease = leases_.at(id);
      const double victim_rate = RateOf(victim, lease.sweep);
      if (victim_rate <= 0) break;
      ahead += static_cast<double>(lease.owned.size()) / victim_rate;
      const Sweep& sweep = sweeps_.at(lease.sweep);
      // What may have killed one worker is not spread, and of two that have the same cells neither is short of help.
      if (lease.attempt > 1 || lease.twin != 0 || !Grantable(sweep, now) || !HasRoomFor(worker, sweep)) continue;
      if (!HasEmbedders(worker, sweep) || !CanRunCell(worker, sweep, lease.range.begin)) continue;
      if (ahead <= longest) continue;
      const double own = RateOf(worker, lease.sweep);
      const double rate = own > 0 ? own : victim_rate;
      // Both end at the same time, and the victim keeps at least one cell: the one it may be running.
      const uint64_t share = static_cast<uint64_t>(ahead * victim_rate * rate / (rate + victim_rate));
      const uint64_t taken = std::min(share, lease.owned.size() - 1);
      if (taken < options_.min_lease) continue;
      longest = ahead;
      best = Theft{id, lease.owned.At(lease.owned.size() - taken)};
    }
  }
  return best;
}

const State::Lease& State::Steal(Worker& worker, uint64_t session, Theft theft, uint64_t sequence, absl::Time now) {
  Lease& victim = leases_.at(theft.lease);
  Lease lease{.sweep = victim.sweep, .model = victim.model};
  OrdinalSet stolen = victim.owned;
  stolen.Remove(victim.range.begin, theft.from);
  victim.owned.Remove(theft.from, victim.range.end);
  const OrdinalSet rest = Fill(stolen, lease);  // free again
  victim.range.end = theft.from;
  victim.cut = true;
  PS_CHECK(!victim.owned.empty() && !lease.owned.empty()) << "lease " << theft.lease << " cannot be cut at " << theft.from;
  sweeps_.at(lease.sweep).progress->GiveBack(rest);
  if (!rest.empty()) ++changes_;
  return AddLease(std::move(lease), worker, session, sequence, now);
}

}  // namespace promptsweep::coordinator
