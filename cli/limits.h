// What an operator grants a sweep, as options: of submit and run, where they go before the spec's own block `limits`, and of the
// commands limits and priority.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>

#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

struct LimitOptions {
  std::optional<int32_t> priority;
  std::optional<uint32_t> max_parallel;
  std::optional<uint64_t> images;
  std::optional<double> gpu_hours;
  std::optional<double> fail_on_error;

  void AddTo(CLI::App& app);
  // `spec` with what was given on the command line over it. Ranges are checked by whoever takes them.
  v1::SweepLimits Over(v1::SweepLimits spec) const;
};

}  // namespace promptsweep::cli
