// What an operator grants a sweep: priority, parallelism and budgets.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

inline constexpr int32_t kMaxPriority = 1000;  // and not below -1000

// INVALID_ARGUMENT names the first field that is out of its range: priority -1000 to 1000; gpu_hours finite, 0 or more;
// fail_on_error 0 to 1. Absent fields are in order.
[[nodiscard]] absl::Status CheckLimits(const v1::SweepLimits& limits);

// Sets the fields of `limits` that are present in `change`; the others stay.
void MergeLimits(const v1::SweepLimits& change, v1::SweepLimits& limits);

}  // namespace promptsweep::sweep
