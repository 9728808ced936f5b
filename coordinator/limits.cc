// What operators grant a sweep: budgets, workers at a time, a share of failures. All of it follows from the limits and from what
// the store holds, so that a restart changes nothing.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

constexpr double kSecondsPerHour = 3600;
constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

bool HasBudget(const v1::SweepLimits& limits) { return limits.images() > 0 || limits.gpu_hours() > 0; }

}  // namespace

uint64_t State::Sweep::made() const {
  const uint64_t done = progress ? progress->done().size() : ended_done;
  return done - std::min(done, reused);
}

double State::DeviceSeconds(const Sweep& sweep) const {
  const double counted = static_cast<double>(sweep.device_us) * 1e-6;
  const uint64_t made = sweep.made();
  if (sweep.counted_made == 0 || made <= sweep.counted_made) return counted;
  return counted * static_cast<double>(made) / static_cast<double>(sweep.counted_made);
}

std::string State::HeldBecause(const Sweep& sweep) const {
  if (!sweep.progress || sweep.progress->Complete()) return "";
  const v1::SweepLimits& limits = sweep.limits;
  if (limits.has_fail_on_error() && limits.fail_on_error() < 1) {
    const uint64_t failed = sweep.progress->failed().size();
    const uint64_t settled = failed + sweep.progress->done().size();
    const uint64_t judged = std::max(settled, std::min(sweep.planned, options_.judged_cells));
    if (static_cast<double>(failed) > limits.fail_on_error() * static_cast<double>(judged)) {
      return absl::StrFormat("%d of %d settled cells failed, more than fail_on_error %g allows", failed, settled,
                             limits.fail_on_error());
    }
  }
  if (limits.images() > 0 && sweep.made() >= limits.images()) {
    return absl::StrCat("its budget of ", limits.images(), " images is used up");
  }
  if (limits.gpu_hours() > 0 && DeviceSeconds(sweep) >= limits.gpu_hours() * kSecondsPerHour) {
    return absl::StrFormat("its budget of %g GPU hours is used up", limits.gpu_hours());
  }
  return "";
}

uint64_t State::Allowance(const Sweep& sweep) const {
  if (!HeldBecause(sweep).empty()) return 0;
  const v1::SweepLimits& limits = sweep.limits;
  const uint64_t leased = sweep.progress->leased_count();
  uint64_t cells = kUnlimited;
  if (limits.images() > 0) {
    const uint64_t spoken_for = sweep.made() + leased;
    cells = limits.images() - std::min(limits.images(), spoken_for);
  }
  if (limits.gpu_hours() > 0 && DeviceSeconds(sweep) > 0) {
    const double each = DeviceSeconds(sweep) / static_cast<double>(std::max<uint64_t>(1, sweep.made()));
    const double left = limits.gpu_hours() * kSecondsPerHour - DeviceSeconds(sweep) - each * static_cast<double>(leased);
    if (left <= 0) return 0;
    // Rounded up: the last cell may end beyond the budget, none begins there.
    if (left / each < 1e18) cells = std::min(cells, static_cast<uint64_t>(std::ceil(left / each)));
  } else if (limits.gpu_hours() > 0) {
    // Nobody knows yet what a cell takes: a first lease for each of a few workers, no more.
    cells = std::min(cells, options_.first_lease * 4 - std::min(options_.first_lease * 4, leased));
  }
  return cells;
}

uint64_t State::WorkersOf(const Sweep& sweep) const {
  std::set<uint64_t> sessions;
  for (uint64_t lease : sweep.leases) sessions.insert(leases_.at(lease).session);
  return sessions.size();
}

bool State::HasRoomFor(const Worker& worker, const Sweep& sweep) const {
  const uint32_t most = sweep.limits.max_parallel();
  if (most == 0 || absl::c_any_of(worker.leases, [&](uint64_t id) { return &sweeps_.at(leases_.at(id).sweep) == &sweep; }))
    return true;
  return WorkersOf(sweep) < most;
}

bool State::WantsCount(const Sweep& sweep, absl::Time now) const {
  return sweep.progress && HasBudget(sweep.limits) && sweep.made() > sweep.counted_made &&
         now - sweep.counted_at >= (sweep.device_us == 0 ? options_.store_retry : options_.count_every);
}

void State::SetLimits(uint32_t id, const v1::SweepLimits& limits) {
  auto it = sweeps_.find(id);
  if (it == sweeps_.end()) return;
  it->second.limits = limits;
  ++changes_;
}

}  // namespace promptsweep::coordinator
