// Time as a dependency. Names follow absl::Clock, which the Abseil of Debian 12 does not have yet.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace promptsweep {

// A monotonic clock for deadlines and a wall clock for records. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; unrelated to the date. Only differences mean something.
  virtual absl::Time TimeNow() = 0;
  // Milliseconds since 1970 UTC, for people and records; never for deadlines.
  virtual uint64_t WallMillis() = 0;
  // The machine's clock. Lives as long as the process.
  static Clock& Real();
};

// A clock that moves when told to. Thread-safe.
class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(absl::Time start = absl::FromUnixSeconds(1'000'000)) : now_(start) {}
  absl::Time TimeNow() override;
  uint64_t WallMillis() override;
  // Moves time forward.
  void AdvanceTime(absl::Duration by);
  // Sets the wall clock by so much, either way; the monotonic one goes on as if nothing had happened.
  void JumpWall(absl::Duration by);

 private:
  absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
  absl::Duration wall_ahead_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep
