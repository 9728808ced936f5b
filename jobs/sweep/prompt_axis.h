// The values of a prompt axis: texts, typed blanks, files of prompts, templates.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "jobs/sweep/yaml.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// Reads prompt axes and variables of one spec. Counts against the limits of spec.h over all of them. Not thread-safe.
class PromptReader {
 public:
  // `file` must outlive the reader.
  PromptReader(const YamlFile& file, std::string base_folder) : file_(file), base_folder_(std::move(base_folder)) {}

  // The map under the top-level key `vars`.
  [[nodiscard]] absl::Status ReadVariables(const YamlNode& node);
  [[nodiscard]] absl::StatusOr<v1::ValueList> ReadPrompts(const YamlNode& node);
  // Files read so far.
  const std::vector<std::string>& files() const { return files_; }
  // What its author may not have meant: "file:line:column: what".
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Line {
    int number;
    std::string text;
  };
  struct List {
    std::string path;
    std::vector<Line> lines;
    std::vector<std::string> texts;
  };
  using Variables = std::map<std::string, std::vector<std::string>>;
  struct Axis {
    v1::ValueList values;
    absl::flat_hash_map<std::string, std::string> places;  // CanonicalValue -> where it was first written
  };

  [[nodiscard]] absl::Status ReadItem(const YamlNode& node, Axis& axis);
  // Notes the first text that is not a template but looks like one.
  void NoteTemplate(const std::string& text, const std::string& place);
  [[nodiscard]] absl::Status ReadBlank(const YamlNode& node, Axis& axis);
  [[nodiscard]] absl::Status ReadFile(const YamlNode& node, Axis& axis);
  [[nodiscard]] absl::Status ReadTemplates(const YamlNode& node, const Variables& variables, Axis& axis);
  [[nodiscard]] absl::Status Add(v1::Prompt prompt, const std::string& place, Axis& axis);
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ReadVariable(const YamlNode& node);
  [[nodiscard]] absl::Status ReadVariableMap(const YamlNode& node, Variables& variables);
  // Lines of a file named at `at`; comments dropped.
  [[nodiscard]] absl::StatusOr<const List*> Lines(const YamlNode& at, const std::string& name);

  const YamlFile& file_;
  std::string base_folder_;
  Variables variables_;
  std::map<std::string, List> lists_;
  std::vector<std::string> files_, notes_;
  uint64_t prompts_ = 0, bytes_ = 0, file_bytes_ = 0;
};

}  // namespace promptsweep::sweep
