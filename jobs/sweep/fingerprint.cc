#include "jobs/sweep/fingerprint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/hash.h"

namespace promptsweep::sweep {
namespace {

std::string BigEndian(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
  return bytes;
}

std::string CanonicalDouble(double value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (std::trunc(value) == value && std::fabs(value) <= kExact) {
    return absl::StrCat("i", BigEndian(static_cast<uint64_t>(static_cast<int64_t>(value))));
  }
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return absl::StrCat("d", BigEndian(bits));
}

std::string PromptKind(const v1::Prompt& prompt) { return prompt.has_text() ? "t" : prompt.has_blank() ? "b" : ""; }

std::string PromptBytes(const v1::Prompt& prompt) {
  return prompt.has_blank() ? std::string(1, static_cast<char>(prompt.blank())) : prompt.text();
}

}  // namespace

std::string CanonicalValue(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kIntValue:
      return absl::StrCat("i", BigEndian(static_cast<uint64_t>(value.int_value())));
    case v1::Value::kDoubleValue:
      return CanonicalDouble(value.double_value());
    case v1::Value::kStringValue:
      return absl::StrCat("s", value.string_value());
    case v1::Value::kBoolValue:
      return absl::StrCat("b", std::string(1, value.bool_value() ? '\1' : '\0'));
    case v1::Value::kPromptValue:
      return absl::StrCat("p", PromptKind(value.prompt_value()), PromptBytes(value.prompt_value()));
    case v1::Value::KIND_NOT_SET:
      return "";
  }
  return "";
}

std::string CellFingerprint(const v1::Cell& cell, absl::string_view model_digest, absl::string_view noise_dtype,
                            absl::string_view compute_dtype) {
  std::vector<const v1::Setting*> settings;
  settings.reserve(cell.settings_size());
  for (const v1::Setting& setting : cell.settings()) settings.push_back(&setting);
  std::sort(settings.begin(), settings.end(), [](auto* a, auto* b) { return a->name() < b->name(); });

  Sha256 hash;
  hash.UpdateField("promptsweep.cell.1");
  hash.UpdateField(model_digest);
  hash.UpdateField(PromptKind(cell.prompt()));
  hash.UpdateField(PromptBytes(cell.prompt()));
  hash.UpdateField(BigEndian(static_cast<uint64_t>(cell.seed())));
  hash.UpdateField(BigEndian(settings.size()));
  for (const v1::Setting* setting : settings) {
    hash.UpdateField(setting->name());
    hash.UpdateField(CanonicalValue(setting->value()));
  }
  hash.UpdateField(noise_dtype);
  hash.UpdateField(compute_dtype);
  return hash.Finish();
}

}  // namespace promptsweep::sweep
