// Which generator settings exist, per architecture, and which values they take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// A setting of one architecture. Both ends of the range are allowed values.
struct SettingInfo {
  enum Type { kInt, kDouble, kChoice };
  std::string name;
  Type type;
  double minimum;
  double maximum;
  double fallback;      // what a model does where neither the spec nor its card says; of kChoice, its place in choices
  std::string meaning;  // one line
  std::vector<std::string> choices;  // of kChoice: the words it takes
};

// Settings of "dalle-bart" or "null", by name. Empty for architectures that do not generate. Order of precedence for a cell:
// its own settings (axis, then the spec's `settings:`), then the card's defaults, then SettingInfo::fallback.
[[nodiscard]] const std::vector<SettingInfo>& SettingsOf(absl::string_view architecture);

// Names of every architecture's settings, sorted.
[[nodiscard]] const std::vector<std::string>& AllSettingNames();

// Checks `value` against what any architecture takes under `name`, and gives it the setting's type (1 becomes 1.0 for a
// double, 50.0 becomes 50 for a whole number). INVALID_ARGUMENT says what is allowed.
[[nodiscard]] absl::Status CheckSetting(absl::string_view name, v1::Value& value);

// Likewise for one architecture. `image_vocab` above 0 is the upper end of top_k and bos.
[[nodiscard]] absl::Status CheckSettingOf(absl::string_view architecture, int64_t image_vocab, absl::string_view name,
                                          v1::Value& value);

// The number that a checked value stands for: its own, or of a kChoice the place of its word in choices.
[[nodiscard]] double SettingNumber(absl::string_view architecture, absl::string_view name, const v1::Value& value);

// The cell's own setting, or `otherwise`.
[[nodiscard]] double DoubleSetting(const v1::Cell& cell, absl::string_view name, double otherwise);
[[nodiscard]] int64_t IntSetting(const v1::Cell& cell, absl::string_view name, int64_t otherwise);

}  // namespace promptsweep::sweep
