// Back-pressure: how many bytes of made but unacknowledged results a worker may hold.
#pragma once

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::worker {

// Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(size_t limit) : limit_(limit) {}
  // Waits until `bytes` fit, or nothing else is held (so that one item larger than the limit still passes), or the limit is
  // lifted. One thread takes.
  void Take(size_t bytes) {
    absl::MutexLock lock(&mu_);
    wanted_ = bytes;
    mu_.Await(absl::Condition(this, &ByteBudget::Fits));
    used_ += bytes;
    if (used_ > peak_) peak_ = used_;
  }
  void Give(size_t bytes) {
    absl::MutexLock lock(&mu_);
    used_ -= bytes;
  }
  // The worker is draining: what is on the device now must not be lost to a store that is away.
  void Lift() {
    absl::MutexLock lock(&mu_);
    lifted_ = true;
  }
  size_t used() const {
    absl::MutexLock lock(&mu_);
    return used_;
  }
  size_t peak() const {
    absl::MutexLock lock(&mu_);
    return peak_;
  }

 private:
  bool Fits() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return lifted_ || used_ == 0 || used_ + wanted_ <= limit_; }

  const size_t limit_;
  mutable absl::Mutex mu_;
  size_t wanted_ ABSL_GUARDED_BY(mu_) = 0;
  size_t used_ ABSL_GUARDED_BY(mu_) = 0;
  size_t peak_ ABSL_GUARDED_BY(mu_) = 0;
  bool lifted_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace promptsweep::worker
