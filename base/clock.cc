#include "base/clock.h"

#include <chrono>

namespace promptsweep {
namespace {

class RealClock final : public Clock {
 public:
  absl::Time TimeNow() override {
    return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
  uint64_t WallMillis() override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
};

}  // namespace

Clock& Clock::Real() {
  static RealClock clock;
  return clock;
}

absl::Time SimulatedClock::TimeNow() {
  absl::MutexLock lock(&mu_);
  return now_;
}

uint64_t SimulatedClock::WallMillis() {
  absl::MutexLock lock(&mu_);
  return absl::ToUnixMillis(now_ + wall_ahead_);
}

void SimulatedClock::JumpWall(absl::Duration by) {
  absl::MutexLock lock(&mu_);
  wall_ahead_ += by;
}

void SimulatedClock::AdvanceTime(absl::Duration by) {
  absl::MutexLock lock(&mu_);
  now_ += by;
}

}  // namespace promptsweep
