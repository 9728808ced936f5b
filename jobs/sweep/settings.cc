#include "jobs/sweep/settings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

constexpr double kMaxInt = 9007199254740992.0;  // 2^53: exact as a double

const std::vector<SettingInfo>& DalleSettings() {
  static const auto& settings = *new std::vector<SettingInfo>{
      {"bos", SettingInfo::kInt, -1, kMaxInt, -1,
       "the token that a picture starts from; -1 is the configuration's, min-dalle 0.4.11 takes 16383"},
      {"dalle_sampling", SettingInfo::kChoice, 0, 1, 0, "which implementation's arithmetic draws a token", {"min-dalle", "flax"}},
      {"dalle_text", SettingInfo::kChoice, 0, 1, 0, "which implementation's tokenizer reads the prompt", {"min-dalle", "flax"}},
      {"supercondition", SettingInfo::kDouble, 1, 100, 1, "weight of the prompt against no prompt; 1 is off"},
      {"temperature", SettingInfo::kDouble, 0.01, 100, 1, "flattens (above 1) or sharpens the token distribution"},
      {"top_k", SettingInfo::kInt, 0, kMaxInt, 0, "draws from the k likeliest tokens; 0 is all"},
      {"top_p", SettingInfo::kDouble, std::numeric_limits<double>::denorm_min(), 1, 1,
       "draws from the likeliest tokens that together have this probability; 1 is all"},
  };
  return settings;
}

const std::vector<SettingInfo>& NullSettings() {
  static const auto& settings = *new std::vector<SettingInfo>{
      {"crash_seed", SettingInfo::kInt, -1, kMaxInt, -1, "the worker process aborts on the cell with this seed; -1 is none"},
      {"delay_ms", SettingInfo::kInt, 0, 60000, 0, "milliseconds every cell takes"},
      {"fail_seed", SettingInfo::kInt, -1, kMaxInt, -1, "the cell with this seed fails; -1 is none"},
      {"height", SettingInfo::kInt, 1, 1024, 8, "pixels"},
      {"period", SettingInfo::kInt, 0, kMaxInt, 0, "seeds equal modulo this draw the same picture; 0 is off"},
      {"width", SettingInfo::kInt, 1, 1024, 8, "pixels"},
  };
  return settings;
}

const SettingInfo* FindSetting(const std::vector<SettingInfo>& settings, absl::string_view name) {
  for (const SettingInfo& setting : settings) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

std::string Allowed(const SettingInfo& info, double maximum) {
  if (info.type == SettingInfo::kChoice) return absl::StrJoin(info.choices, " or ");
  std::string kind = info.type == SettingInfo::kInt ? "a whole number" : "a number";
  std::string from = info.minimum > 0 && info.minimum < 1e-9 ? "above 0" : absl::StrCat("from ", NumberText(info.minimum));
  return absl::StrCat(kind, " ", from, maximum < kMaxInt ? absl::StrCat(" to ", NumberText(maximum)) : "");
}

std::string Shown(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kIntValue:
      return absl::StrCat(value.int_value());
    case v1::Value::kDoubleValue:
      return NumberText(value.double_value());
    case v1::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    default:
      return Quoted(value.string_value());
  }
}

size_t PlaceOf(const SettingInfo& info, const std::string& word) {
  return std::find(info.choices.begin(), info.choices.end(), word) - info.choices.begin();
}

absl::Status Check(const SettingInfo& info, double maximum, v1::Value& value) {
  auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("setting \"", info.name, "\" is ", Shown(value), "; it takes ", Allowed(info, maximum)));
  };
  if (info.type == SettingInfo::kChoice) {
    const bool known = value.has_string_value() && PlaceOf(info, value.string_value()) < info.choices.size();
    return known ? absl::OkStatus() : wrong();
  }
  if (!value.has_int_value() && !value.has_double_value()) return wrong();
  double number = value.has_int_value() ? static_cast<double>(value.int_value()) : value.double_value();
  if (!(number >= info.minimum && number <= maximum)) return wrong();
  if (info.type == SettingInfo::kDouble) {
    value.set_double_value(number);
  } else if (value.has_double_value()) {
    if (std::trunc(number) != number) return wrong();
    value.set_int_value(static_cast<int64_t>(number));
  }
  return absl::OkStatus();
}

const v1::Value* FindValue(const v1::Cell& cell, absl::string_view name) {
  for (const v1::Setting& setting : cell.settings()) {
    if (setting.name() == name) return &setting.value();
  }
  return nullptr;
}

}  // namespace

const std::vector<SettingInfo>& SettingsOf(absl::string_view architecture) {
  static const auto& none = *new std::vector<SettingInfo>;
  if (architecture == "dalle-bart") return DalleSettings();
  if (architecture == "null") return NullSettings();
  return none;
}

const std::vector<std::string>& AllSettingNames() {
  static const auto& names = *[] {
    auto* all = new std::vector<std::string>;
    for (const SettingInfo& setting : DalleSettings()) all->push_back(setting.name);
    for (const SettingInfo& setting : NullSettings()) all->push_back(setting.name);
    std::sort(all->begin(), all->end());
    return all;
  }();
  return names;
}

absl::Status CheckSetting(absl::string_view name, v1::Value& value) {
  for (const auto* settings : {&DalleSettings(), &NullSettings()}) {
    if (const SettingInfo* info = FindSetting(*settings, name)) return Check(*info, info->maximum, value);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown setting ", Quoted(name), Hint(name, AllSettingNames())));
}

absl::Status CheckSettingOf(absl::string_view architecture, int64_t image_vocab, absl::string_view name, v1::Value& value) {
  const SettingInfo* info = FindSetting(SettingsOf(architecture), name);
  if (info == nullptr) {
    std::vector<std::string> names;
    for (const SettingInfo& setting : SettingsOf(architecture)) names.push_back(setting.name);
    return absl::InvalidArgumentError(
        absl::StrCat("architecture ", architecture, " has no setting ", Quoted(name), Hint(name, names)));
  }
  double maximum = (name == "top_k" || name == "bos") && image_vocab > 0 ? static_cast<double>(image_vocab) : info->maximum;
  return Check(*info, maximum, value);
}

double SettingNumber(absl::string_view architecture, absl::string_view name, const v1::Value& value) {
  if (value.has_string_value()) {
    const SettingInfo* info = FindSetting(SettingsOf(architecture), name);
    return info == nullptr ? 0 : static_cast<double>(PlaceOf(*info, value.string_value()));
  }
  return value.has_int_value() ? static_cast<double>(value.int_value()) : value.double_value();
}

double DoubleSetting(const v1::Cell& cell, absl::string_view name, double otherwise) {
  const v1::Value* value = FindValue(cell, name);
  if (value == nullptr) return otherwise;
  return value->has_int_value() ? static_cast<double>(value->int_value()) : value->double_value();
}

int64_t IntSetting(const v1::Cell& cell, absl::string_view name, int64_t otherwise) {
  const v1::Value* value = FindValue(cell, name);
  if (value == nullptr) return otherwise;
  return value->has_int_value() ? value->int_value() : static_cast<int64_t>(value->double_value());
}

}  // namespace promptsweep::sweep
