#include "jobs/sweep/axis_values.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_text.h"
#include "jobs/sweep/settings.h"

namespace promptsweep::sweep {
namespace {

constexpr size_t kMaxModelName = 1024;

// "a..b" without quotes.
std::optional<std::pair<std::string, std::string>> SplitRange(const YamlNode& node) {
  if (node.kind != YamlNode::kScalar || node.quoted) return std::nullopt;
  size_t dots = node.text.find("..");
  if (dots == std::string::npos || dots == 0) return std::nullopt;
  return std::pair(node.text.substr(0, dots), node.text.substr(dots + 2));
}

// A map can only be meant as a range.
bool IsRange(const std::string& name, const YamlNode& node) {
  return name != "model" && (node.kind == YamlNode::kMap || SplitRange(node).has_value());
}

}  // namespace

void AxisReader::Remember(const std::string& name, const v1::Value& value, const YamlNode& node) {
  where_.emplace(std::pair(name, CanonicalValue(value)), file_.Place(node));
}

absl::StatusOr<std::vector<const YamlNode*>> AxisReader::Items(const std::string& name, const YamlNode& node) const {
  if (node.kind != YamlNode::kSequence) return std::vector<const YamlNode*>{&node};
  if (node.items.empty()) return file_.Error(node, absl::StrCat("axis \"", name, "\" is empty"));
  std::vector<const YamlNode*> items;
  for (const YamlNode& item : node.items) items.push_back(&item);
  return items;
}

absl::StatusOr<v1::Axis> AxisReader::ReadAxis(const std::string& name, const YamlNode& node) {
  v1::Axis axis;
  axis.set_name(name);
  PS_ASSIGN_OR_RETURN(const std::vector<const YamlNode*> items, Items(name, node));
  if (items.size() == 1 && IsRange(name, *items[0])) {
    PS_ASSIGN_OR_RETURN(*axis.mutable_range(), ReadRange(name, *items[0]));
  } else {
    PS_ASSIGN_OR_RETURN(*axis.mutable_list(), ReadList(name, items));
  }
  return axis;
}

absl::StatusOr<v1::Condition> AxisReader::ReadCondition(const std::string& name, const YamlNode& node) {
  v1::Condition condition;
  condition.set_axis(name);
  PS_ASSIGN_OR_RETURN(const std::vector<const YamlNode*> items, Items(name, node));
  std::vector<const YamlNode*> single;
  for (const YamlNode* item : items) {
    if (!IsRange(name, *item)) {
      single.push_back(item);
      continue;
    }
    PS_ASSIGN_OR_RETURN(*condition.add_ranges(), ReadRange(name, *item));
  }
  if (!single.empty()) {
    PS_ASSIGN_OR_RETURN(*condition.mutable_any_of(), ReadList(name, single));
  }
  return condition;
}

absl::StatusOr<v1::ValueList> AxisReader::ReadList(const std::string& name, const std::vector<const YamlNode*>& items) {
  v1::ValueList list;
  absl::flat_hash_map<std::string, const YamlNode*> seen;
  auto add = [&](v1::Value value, const YamlNode& at) -> absl::Status {
    auto [first, fresh] = seen.emplace(CanonicalValue(value), &at);
    if (!fresh) {
      return file_.Error(
          at, absl::StrCat(name, " ", ValueText(value), " appears twice (first at ", file_.Place(*first->second), ")"));
    }
    *list.add_values() = std::move(value);
    return absl::OkStatus();
  };
  uint64_t ranged = 0;
  for (const YamlNode* item : items) {
    if (!IsRange(name, *item)) {
      PS_ASSIGN_OR_RETURN(v1::Value value, ReadValue(name, *item));
      if (name != "seed") Remember(name, value, *item);
      PS_RETURN_IF_ERROR(add(std::move(value), *item));
      continue;
    }
    PS_ASSIGN_OR_RETURN(v1::IntRange range, ReadRange(name, *item));
    if (range.count() > kMaxListedRange || (ranged += range.count()) > kMaxListedRange) {
      return file_.Error(*item,
                         absl::StrCat("ranges of more than ", kMaxListedRange, " values inside a list; chain two parts instead"));
    }
    for (uint64_t k = 0; k < range.count(); ++k) {
      v1::Value value;
      value.set_int_value(RangeValue(range, k));
      PS_RETURN_IF_ERROR(add(std::move(value), *item));
    }
  }
  return list;
}

absl::StatusOr<int64_t> AxisReader::ReadInt(const std::string& name, const YamlNode& at, const std::string& text) const {
  int64_t number;
  bool digits = !text.empty() && text.find_first_not_of("0123456789", text[0] == '-' ? 1 : 0) == std::string::npos && text != "-";
  if (!digits) return file_.Error(at, absl::StrCat(name, " ", Quoted(text), " is not a whole number"));
  if (!absl::SimpleAtoi(text, &number)) return file_.Error(at, absl::StrCat(name, " ", text, " does not fit in 64 bits"));
  if (name == "seed" && number < 0) {
    return file_.Error(at, absl::StrCat("seed ", number,
                                        ": seeds start at 0; a random seed (-1) could not be repeated, write for example 0..99"));
  }
  return number;
}

absl::StatusOr<v1::IntRange> AxisReader::ReadRange(const std::string& name, const YamlNode& node) {
  v1::IntRange range;
  if (auto ends = SplitRange(node)) {
    PS_ASSIGN_OR_RETURN(int64_t first, ReadInt(name, node, ends->first));
    PS_ASSIGN_OR_RETURN(int64_t last, ReadInt(name, node, ends->second));
    if (last < first) return file_.Error(node, absl::StrCat("range ", node.text, " is empty"));
    if (static_cast<uint64_t>(last) - static_cast<uint64_t>(first) == std::numeric_limits<uint64_t>::max()) {
      return file_.Error(node, "a range of 2^64 values");
    }
    range.set_first(first);
    range.set_step(1);
    range.set_count(static_cast<uint64_t>(last) - static_cast<uint64_t>(first) + 1);
  } else {
    PS_ASSIGN_OR_RETURN(range, ReadRangeMap(name, node));
  }
  PS_RETURN_IF_ERROR(CheckRangeEnds(name, node, range));
  return range;
}

absl::StatusOr<v1::IntRange> AxisReader::ReadRangeMap(const std::string& name, const YamlNode& node) {
  constexpr char kForm[] = "a range is {range: [first, end]} or {range: [first, end, step]}; end is left out";
  for (const YamlNode& key : node.keys) {
    if (key.text != "range") {
      return file_.Error(key, absl::StrCat("unknown key ", Quoted(key.text), " in a value of ", name, Hint(key.text, {"range"})));
    }
  }
  if (node.keys.empty()) return file_.Error(node, kForm);
  const YamlNode& numbers = node.items[0];
  if (numbers.kind != YamlNode::kSequence || numbers.items.size() < 2 || numbers.items.size() > 3) {
    return file_.Error(numbers, kForm);
  }
  int64_t number[3] = {0, 0, 1};
  for (size_t i = 0; i < numbers.items.size(); ++i) {
    const YamlNode& item = numbers.items[i];
    if (item.kind != YamlNode::kScalar || item.quoted) return file_.Error(item, "a range is of whole numbers");
    // The end of a range that goes down, and a step, may be below 0 for any axis.
    PS_ASSIGN_OR_RETURN(number[i], ReadInt(i == 0 ? name : absl::StrCat("range of ", name), item, item.text));
  }
  if (number[2] == 0) return file_.Error(numbers.items[2], "step 0");
  __int128 span = number[2] > 0 ? static_cast<__int128>(number[1]) - number[0] : static_cast<__int128>(number[0]) - number[1];
  __int128 step = number[2] > 0 ? static_cast<__int128>(number[2]) : -static_cast<__int128>(number[2]);
  if (span <= 0) return file_.Error(node, "the range is empty (its end is left out)");
  v1::IntRange range;
  range.set_first(number[0]);
  range.set_step(number[2]);
  range.set_count(static_cast<uint64_t>((span + step - 1) / step));
  return range;
}

absl::Status AxisReader::CheckRangeEnds(const std::string& name, const YamlNode& node, const v1::IntRange& range) {
  const int64_t last = RangeValue(range, range.count() - 1);
  if (name == "seed") return last < 0 ? file_.Error(node, "the range reaches seeds below 0") : absl::OkStatus();
  for (int64_t end : {range.first(), last}) {
    v1::Value value;
    value.set_int_value(end);
    if (absl::Status status = CheckSetting(name, value); !status.ok()) return file_.Error(node, status.message());
    Remember(name, value, node);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Value> AxisReader::ReadValue(const std::string& name, const YamlNode& node) {
  v1::Value value;
  if (node.kind != YamlNode::kScalar) return file_.Error(node, absl::StrCat(name, " takes single values, not ", node.KindName()));
  // The built-in model's name is YAML's null; on this axis it can only mean the model.
  const bool null_model = name == "model" && node.text == kNullModel;
  if (!null_model && (node.IsNull() || node.text.empty())) return file_.Error(node, absl::StrCat(name, " has no value"));
  if (name == "model" || name == "embedder") {
    if (node.text.size() > kMaxModelName)
      return file_.Error(node, absl::StrCat("a model's name of more than ", kMaxModelName, " bytes"));
    value.set_string_value(node.text);
    return value;
  }
  if (name == "seed") {
    if (node.quoted)
      return file_.Error(node, absl::StrCat("seed ", Quoted(node.text), " is text; write the number without quotes"));
    PS_ASSIGN_OR_RETURN(int64_t number, ReadInt(name, node, node.text));
    value.set_int_value(number);
    return value;
  }
  int64_t whole;
  double number;
  if (node.quoted) {
    value.set_string_value(node.text);
  } else if (absl::SimpleAtoi(node.text, &whole)) {
    value.set_int_value(whole);
  } else if (absl::SimpleAtod(node.text, &number)) {
    if (!std::isfinite(number)) return file_.Error(node, absl::StrCat("setting \"", name, "\" is not a finite number"));
    value.set_double_value(number);
  } else if (node.text == "true" || node.text == "false") {
    value.set_bool_value(node.text == "true");
  } else {
    value.set_string_value(node.text);
  }
  if (absl::Status status = CheckSetting(name, value); !status.ok()) return file_.Error(node, status.message());
  return value;
}

}  // namespace promptsweep::sweep
