// How long to wait before trying again.
#pragma once

#include <algorithm>
#include <random>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace promptsweep::worker {

// Exponential with full jitter: the n-th wait is uniform in [d/2, d], d = min(longest, first * 2^n), so that a thousand workers
// do not come back in step. A wait that the server asked for is exceeded by up to a half, for the same reason. Not thread-safe.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration longest, uint64_t seed) : first_(first), longest_(longest), rng_(seed) {}
  absl::Duration Next(absl::Duration asked = absl::ZeroDuration()) {
    const absl::Duration ceiling = std::min(longest_, first_ * static_cast<double>(uint64_t{1} << std::min(step_++, 20)));
    const double jitter = std::uniform_real_distribution<double>(0.5, 1.0)(rng_);
    return std::max(ceiling * jitter, asked * (0.5 + jitter));
  }
  void Reset() { step_ = 0; }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  int step_ = 0;
  std::mt19937_64 rng_;
};

// True for errors of the network or of a server that is starting, full or stopping: the same call may succeed later.
inline bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return true;
    default:
      return false;
  }
}

}  // namespace promptsweep::worker
