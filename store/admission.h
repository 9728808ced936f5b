// Room for what waits to be written: admission by bytes, and how long until there is room again.
#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace promptsweep::store {

// Thread-safe.
class Admission {
 public:
  static constexpr absl::Duration kShortestRetry = absl::Milliseconds(5);
  static constexpr absl::Duration kLongestRetry = absl::Seconds(5);

  // Bytes that are taken until it is destroyed, which must be before the Admission is. Not thread-safe.
  class Room {
   public:
    Room(Admission& admission, size_t bytes) : admission_(admission), bytes_(bytes) {}
    ~Room() { admission_.Release(bytes_); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
    // False, and nothing changes, where there is no room for more.
    [[nodiscard]] bool Resize(size_t bytes);

   private:
    Admission& admission_;
    size_t bytes_;
  };

  Admission(Clock* clock, size_t limit) : clock_(clock), limit_(limit) {}
  // Null where the limit would be exceeded. Where nothing waits there is room for anything.
  [[nodiscard]] std::shared_ptr<Room> Reserve(size_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // When `bytes` will fit, at the rate at which room was given back while some was taken.
  [[nodiscard]] absl::Duration RetryAfter(size_t bytes) const ABSL_LOCKS_EXCLUDED(mu_);
  size_t taken() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  bool Take(size_t bytes, size_t own) ABSL_LOCKS_EXCLUDED(mu_);
  void Release(size_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // Ages the measurement by the time since the last event.
  void Age(double& bytes, double& seconds) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Clock* const clock_;
  const size_t limit_;
  mutable absl::Mutex mu_;
  size_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  // Bytes given back in so many busy seconds, the past fading out.
  double drained_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  double busy_seconds_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time last_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace promptsweep::store
