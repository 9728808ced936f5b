#include "worker/models/settings.h"

#include "base/status.h"
#include "jobs/sweep/settings.h"

namespace promptsweep::worker {

absl::StatusOr<std::map<std::string, double>> ResolveSettings(const v1::Cell& cell, const std::string& architecture,
                                                              const std::map<std::string, v1::Value>& defaults) {
  std::map<std::string, double> settings;
  for (const auto& info : sweep::SettingsOf(architecture)) settings[info.name] = info.fallback;
  const auto apply = [&](const std::string& name, v1::Value value) -> absl::Status {
    PS_RETURN_IF_ERROR(sweep::CheckSettingOf(architecture, /*image_vocab=*/0, name, value));
    settings[name] = sweep::SettingNumber(architecture, name, value);
    return absl::OkStatus();
  };
  for (const auto& [name, value] : defaults) PS_RETURN_IF_ERROR(apply(name, value));
  for (const auto& setting : cell.settings()) PS_RETURN_IF_ERROR(apply(setting.name(), setting.value()));
  return settings;
}

}  // namespace promptsweep::worker
