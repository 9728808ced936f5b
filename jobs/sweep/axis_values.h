// The values of every axis but the prompt: models, seeds, generator settings; single values, lists and ranges.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/sweep/spec.h"
#include "jobs/sweep/yaml.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// Reads axes and settings of one spec, and remembers where their values stand. Not thread-safe.
class AxisReader {
 public:
  // Both must outlive the reader.
  AxisReader(const YamlFile& file, SourceMap& where) : file_(file), where_(where) {}

  // One value of the axis or setting `name`, of the right type and in its range.
  [[nodiscard]] absl::StatusOr<v1::Value> ReadValue(const std::string& name, const YamlNode& node);
  // A value, a list, a range, or a list with ranges in it, which are written out.
  [[nodiscard]] absl::StatusOr<v1::Axis> ReadAxis(const std::string& name, const YamlNode& node);
  // The same as a condition of an exclusion rule, where ranges stay ranges.
  [[nodiscard]] absl::StatusOr<v1::Condition> ReadCondition(const std::string& name, const YamlNode& node);
  void Remember(const std::string& name, const v1::Value& value, const YamlNode& node);

 private:
  [[nodiscard]] absl::StatusOr<std::vector<const YamlNode*>> Items(const std::string& name, const YamlNode& node) const;
  [[nodiscard]] absl::StatusOr<v1::ValueList> ReadList(const std::string& name, const std::vector<const YamlNode*>& items);
  [[nodiscard]] absl::StatusOr<v1::IntRange> ReadRange(const std::string& name, const YamlNode& node);
  [[nodiscard]] absl::StatusOr<v1::IntRange> ReadRangeMap(const std::string& name, const YamlNode& node);
  [[nodiscard]] absl::Status CheckRangeEnds(const std::string& name, const YamlNode& node, const v1::IntRange& range);
  [[nodiscard]] absl::StatusOr<int64_t> ReadInt(const std::string& name, const YamlNode& at, const std::string& text) const;

  const YamlFile& file_;
  SourceMap& where_;
};

}  // namespace promptsweep::sweep
