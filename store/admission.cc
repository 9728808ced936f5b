#include "store/admission.h"

#include <algorithm>
#include <cmath>

namespace promptsweep::store {
namespace {

// Of the memory of the drain rate.
constexpr double kFadeSeconds = 2;
// Where nothing was measured yet.
constexpr absl::Duration kFirstRetry = absl::Milliseconds(50);

}  // namespace

bool Admission::Room::Resize(size_t bytes) {
  if (bytes > bytes_) {
    if (!admission_.Take(bytes - bytes_, bytes_)) return false;
  } else if (bytes < bytes_) {
    admission_.Release(bytes_ - bytes);
  }
  bytes_ = bytes;
  return true;
}

std::shared_ptr<Admission::Room> Admission::Reserve(size_t bytes) {
  if (!Take(bytes, 0)) return nullptr;
  return std::make_shared<Room>(*this, bytes);
}

bool Admission::Take(size_t bytes, size_t own) {
  absl::MutexLock lock(&mu_);
  // Nothing but its own waits: a single request may be larger than the limit.
  if (taken_ > own && taken_ + bytes > limit_) return false;
  if (taken_ == 0) {
    last_ = clock_->TimeNow();
  }
  taken_ += bytes;
  return true;
}

void Admission::Age(double& bytes, double& seconds) const {
  const double passed = std::max(0.0, absl::ToDoubleSeconds(clock_->TimeNow() - last_));
  const double kept = std::exp(-passed / kFadeSeconds);
  bytes *= kept;
  seconds = seconds * kept + passed;
}

void Admission::Release(size_t bytes) {
  absl::MutexLock lock(&mu_);
  Age(drained_bytes_, busy_seconds_);
  last_ = clock_->TimeNow();
  drained_bytes_ += static_cast<double>(bytes);
  taken_ -= bytes;
}

absl::Duration Admission::RetryAfter(size_t bytes) const {
  absl::MutexLock lock(&mu_);
  if (taken_ == 0 || taken_ + bytes <= limit_) return kShortestRetry;
  double drained = drained_bytes_, seconds = busy_seconds_;
  Age(drained, seconds);
  const double excess = static_cast<double>(std::min(taken_, taken_ + bytes - limit_));
  const absl::Duration wait =
      drained > 0 ? absl::Seconds(excess * seconds / drained) : std::max(kFirstRetry, absl::Seconds(seconds));
  return std::clamp(wait, kShortestRetry, kLongestRetry);
}

size_t Admission::taken() const {
  absl::MutexLock lock(&mu_);
  return taken_;
}

}  // namespace promptsweep::store
