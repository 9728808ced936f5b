#include "jobs/sweep/limits.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {

absl::Status CheckLimits(const v1::SweepLimits& limits) {
  if (limits.priority() < -kMaxPriority || limits.priority() > kMaxPriority) {
    return absl::InvalidArgumentError(
        absl::StrCat("priority ", limits.priority(), " is not a whole number from -", kMaxPriority, " to ", kMaxPriority));
  }
  if (!std::isfinite(limits.gpu_hours()) || limits.gpu_hours() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_hours ", NumberText(limits.gpu_hours()), " is not a number from 0 (no limit) up"));
  }
  if (!(limits.fail_on_error() >= 0 && limits.fail_on_error() <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("fail_on_error ", NumberText(limits.fail_on_error()),
                                                   " is not a share from 0 to 1 (0.01 is one cell in a hundred)"));
  }
  return absl::OkStatus();
}

void MergeLimits(const v1::SweepLimits& change, v1::SweepLimits& limits) {
  if (change.has_priority()) limits.set_priority(change.priority());
  if (change.has_max_parallel()) limits.set_max_parallel(change.max_parallel());
  if (change.has_images()) limits.set_images(change.images());
  if (change.has_gpu_hours()) limits.set_gpu_hours(change.gpu_hours());
  if (change.has_fail_on_error()) limits.set_fail_on_error(change.fail_on_error());
}

}  // namespace promptsweep::sweep
