#include "cli/limits.h"

#include <utility>

namespace promptsweep::cli {

void LimitOptions::AddTo(CLI::App& app) {
  const char* const kGroup = "Limits (over the spec's own; 0 for none)";
  app.add_option("--priority", priority, "Sweeps of a higher number are served first")->type_name("N")->group(kGroup);
  app.add_option("--max-parallel", max_parallel, "Workers at a time")->type_name("N")->group(kGroup);
  app.add_option("--max-images", images, "Images to make; those taken over from other sweeps are not counted")
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--max-gpu-hours", gpu_hours, "Hours of device time, summed over the workers")->type_name("H")->group(kGroup);
  app.add_option("--fail-on-error", fail_on_error,
                 "Share of the settled cells, 0 to 1, that may fail before the sweep is held; 1 for any")
      ->type_name("SHARE")
      ->group(kGroup);
}

v1::SweepLimits LimitOptions::Over(v1::SweepLimits spec) const {
  if (priority) spec.set_priority(*priority);
  if (max_parallel) spec.set_max_parallel(*max_parallel);
  if (images) spec.set_images(*images);
  if (gpu_hours) spec.set_gpu_hours(*gpu_hours);
  if (fail_on_error) spec.set_fail_on_error(*fail_on_error);
  return spec;
}

}  // namespace promptsweep::cli
