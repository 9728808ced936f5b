// How leases and workers end, and what time does to them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

// Expiry is looked for this often at most: with a thousand workers there are hundreds of events a second.
constexpr absl::Duration kExpireEvery = absl::Milliseconds(200);
// Ended leases of earlier epochs remembered per worker; it holds a few at a time.
constexpr size_t kMaxEnded = 64;

}  // namespace

void State::Advance(absl::Time now) {
  if (last_advance_ != absl::InfinitePast() && now - last_advance_ > options_.oversleep) Shift(now - last_advance_);
  last_advance_ = std::max(last_advance_, now);
  if (now - last_expire_ < kExpireEvery) return;
  last_expire_ = now;
  Expire(now);
}

void State::Shift(absl::Duration gap) {
  for (auto& [session, worker] : workers_) {
    worker.last_contact += gap;
    worker.last_heartbeat += gap;
  }
  for (auto& [id, lease] : leases_) {
    lease.granted += gap;
    lease.renewed += gap;
    lease.progressed += gap;
  }
  grants_from_ += gap;
}

void State::Expire(absl::Time now) {
  for (auto& [id, sweep] : sweeps_) {
    if (sweep.progress && sweep.progress->ReleaseDue(now)) ++changes_;
  }
  if (grants_from_ != absl::InfinitePast() && grants_from_ <= now) {
    grants_from_ = absl::InfinitePast();
    ++changes_;
  }
  for (auto it = workers_.begin(); it != workers_.end();) {
    Worker& worker = it->second;
    const absl::Duration silence = now - worker.last_contact;
    if (!worker.lost && silence > options_.lease_ttl) {
      LoseWorker(worker, absl::StrCat("its worker fell silent for ", absl::FormatDuration(options_.lease_ttl)), now);
    }
    if (worker.lost && silence > options_.forget_worker) {
      by_name_.erase(worker.name);
      it = workers_.erase(it);
    } else {
      ++it;
    }
  }
  std::vector<uint64_t> denied;
  std::vector<uint64_t> stuck;
  for (const auto& [id, lease] : leases_) {
    if (now - lease.renewed > options_.lease_ttl) {
      denied.push_back(id);
    } else if (now - lease.progressed > lease.progress_limit && !WaitsBehindAnother(lease)) {
      stuck.push_back(id);
    }
  }
  for (uint64_t id : denied) LoseLease(id, false, "the worker does not have it", now);
  for (uint64_t id : stuck) {
    if (LiveLease(id) == nullptr) continue;
    const uint64_t session = leases_.at(id).session;
    // Not begun in all that time: what keeps the worker is nothing of this.
    LoseLease(id, leases_.at(id).current.has_value(), "no progress", now);
    // What waits behind it would wait for ever, and has done nothing wrong.
    const std::vector<uint64_t> rest = workers_.at(session).leases;
    for (uint64_t other : rest) {
      if (!leases_.at(other).current) EndLease(other);
    }
  }
  FindStragglers(now);
}

bool State::WaitsBehindAnother(const Lease& lease) const {
  if (lease.current) return false;
  const std::vector<uint64_t>& leases = workers_.at(lease.session).leases;
  return std::any_of(leases.begin(), leases.end(), [&](uint64_t id) { return leases_.at(id).current.has_value(); });
}

OrdinalSet State::DropLease(uint64_t id) {
  auto node = leases_.extract(id);
  PS_CHECK(!node.empty()) << "lease " << id;
  Lease& lease = node.mapped();
  std::erase(sweeps_.at(lease.sweep).leases, id);
  Worker& worker = workers_.at(lease.session);
  std::erase(worker.leases, id);
  if (id >> 32 != options_.epoch) {
    worker.ended.push_back(id);
    if (worker.ended.size() > kMaxEnded) worker.ended.pop_front();
  }
  if (lease.twin != 0) {
    Lease& twin = leases_.at(lease.twin);
    twin.twin = 0;
    for (const auto& [begin, end] : twin.owned.intervals()) lease.owned.Remove(begin, end);
  }
  ++changes_;
  return std::move(lease.owned);
}

void State::EndLease(uint64_t id) {
  Sweep& sweep = sweeps_.at(leases_.at(id).sweep);
  const OrdinalSet owned = DropLease(id);
  if (owned.empty()) return;
  sweep.progress->GiveBack(owned);
  ++sweep.refresh_wanted;
}

void State::LoseLease(uint64_t id, bool suspect, absl::string_view why, absl::Time now) {
  if (!suspect) return EndLease(id);
  const Lease& lease = leases_.at(id);
  Sweep& sweep = sweeps_.at(lease.sweep);
  const std::string worker = workers_.at(lease.session).name;
  const uint32_t attempt = lease.attempt;
  uint64_t culprit = lease.current.value_or(lease.range.end);  // range.end: nobody
  const bool alone = lease.owned.size() == 1;
  if (alone) culprit = lease.owned.intervals().begin()->first;
  // Without doubt where it said so, or had nothing else to run; `current` may be seconds old, others may have stored cells that
  // it still runs, and it may never have had the lease.
  const bool certain = alone && (lease.current == culprit || (lease.cells == 1 && (lease.listed || lease.current)));
  OrdinalSet owned = DropLease(id);
  if (owned.empty()) return;  // a second worker has all of it: that one's fate decides
  const bool blame = owned.Remove(culprit, culprit + 1) > 0;
  sweep.progress->GiveBack(owned);
  sweep.progress->Halve(owned, attempt);
  if (blame) {
    sweep.progress->Isolate(culprit, attempt);
    Blame(sweep, culprit, worker, why, certain, now);
  }
  ++sweep.refresh_wanted;
}

void State::LoseWorker(Worker& worker, absl::string_view why, absl::Time now) {
  worker.lost = true;
  // It died on the newest lease it had begun, as far as is known; else on the one it would have begun first.
  std::optional<uint64_t> suspect;
  for (uint64_t id : worker.leases) {
    if (leases_.at(id).current) suspect = id;
  }
  if (!suspect && !worker.leases.empty()) suspect = worker.leases.front();
  const std::vector<uint64_t> leases = worker.leases;
  for (uint64_t id : leases) LoseLease(id, id == suspect, why, now);
  ++changes_;
}

}  // namespace promptsweep::coordinator
