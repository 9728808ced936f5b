// Short ways to write cells, and files for one test.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "jobs/sweep/spec.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

inline v1::Value Int(int64_t number) {
  v1::Value value;
  value.set_int_value(number);
  return value;
}
inline v1::Value Double(double number) {
  v1::Value value;
  value.set_double_value(number);
  return value;
}
inline v1::Value Text(const std::string& text) {
  v1::Value value;
  value.set_string_value(text);
  return value;
}
inline v1::Value PromptOf(const std::string& text) {
  v1::Value value;
  value.mutable_prompt_value()->set_text(text);
  return value;
}
inline v1::Value BlankOf(v1::BlankKind kind) {
  v1::Value value;
  value.mutable_prompt_value()->set_blank(kind);
  return value;
}

inline v1::CellNode List(const std::string& name, const std::vector<v1::Value>& values) {
  v1::CellNode node;
  node.mutable_axis()->set_name(name);
  for (const v1::Value& value : values) *node.mutable_axis()->mutable_list()->add_values() = value;
  if (values.empty()) node.mutable_axis()->mutable_list();
  return node;
}
inline v1::CellNode Range(const std::string& name, int64_t first, int64_t step, uint64_t count) {
  v1::CellNode node;
  node.mutable_axis()->set_name(name);
  node.mutable_axis()->mutable_range()->set_first(first);
  node.mutable_axis()->mutable_range()->set_step(step);
  node.mutable_axis()->mutable_range()->set_count(count);
  return node;
}
inline v1::CellNode Product(const std::vector<v1::CellNode>& factors) {
  v1::CellNode node;
  node.mutable_product();
  for (const v1::CellNode& factor : factors) *node.mutable_product()->add_factors() = factor;
  return node;
}
inline v1::CellNode Zip(const std::vector<v1::CellNode>& parts) {
  v1::CellNode node;
  node.mutable_zip();
  for (const v1::CellNode& part : parts) *node.mutable_zip()->add_parts() = part;
  return node;
}
inline v1::CellNode Chain(const std::vector<v1::CellNode>& parts) {
  v1::CellNode node;
  node.mutable_chain();
  for (const v1::CellNode& part : parts) *node.mutable_chain()->add_parts() = part;
  return node;
}
using RuleOf = std::vector<std::pair<std::string, std::vector<v1::Value>>>;
inline v1::CellNode Exclude(const v1::CellNode& from, const std::vector<RuleOf>& rules) {
  v1::CellNode node;
  *node.mutable_exclude()->mutable_from() = from;
  for (const RuleOf& rule : rules) {
    v1::ExcludeRule& proto = *node.mutable_exclude()->add_rules();
    for (const auto& [axis, values] : rule) {
      v1::Condition& condition = *proto.add_all_of();
      condition.set_axis(axis);
      for (const v1::Value& value : values) *condition.mutable_any_of()->add_values() = value;
    }
  }
  return node;
}

inline v1::CellNode Models(const std::vector<std::string>& ids) {
  std::vector<v1::Value> values;
  for (const std::string& id : ids) values.push_back(Text(id));
  return List("model", values);
}
inline v1::CellNode Prompts(const std::vector<std::string>& texts) {
  std::vector<v1::Value> values;
  for (const std::string& text : texts) values.push_back(PromptOf(text));
  return List("prompt", values);
}

inline v1::SweepSpec SpecOf(const v1::CellNode& cells) {
  v1::SweepSpec spec;
  spec.set_version(1);
  spec.set_name("t");
  *spec.mutable_cells() = cells;
  return spec;
}

inline void AddDefault(v1::SweepSpec& spec, const std::string& name, const v1::Value& value) {
  v1::Setting& setting = *spec.add_defaults();
  setting.set_name(name);
  *setting.mutable_value() = value;
}

// A folder that goes away with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sweep_test.XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  // Writes a file below the folder and returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file.string();
  }

 private:
  std::string path_;
};

inline std::string LittleEndian64(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}
inline std::string SafetensorsBytes(const std::string& json, const std::string& data) {
  return LittleEndian64(json.size()) + json + data;
}
inline std::string OneTensor() {
  return SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, 'x'));
}

// A model folder that the catalog accepts.
inline void WriteDalle(const TempFolder& folder, const std::string& name, const std::string& card = "") {
  folder.Write(name + "/config.json", R"({"model_type": "dallebart", "image_vocab_size": 512})");
  folder.Write(name + "/vqgan/config.json", R"({"resolution": 64})");
  folder.Write(name + "/encoder.safetensors", OneTensor());
  if (!card.empty()) folder.Write(name + "/card.json", card);
}
inline void WriteClip(const TempFolder& folder, const std::string& name) {
  folder.Write(name + "/config.json", R"({"model_type": "clip", "projection_dim": 128})");
  folder.Write(name + "/model.safetensors", OneTensor());
}

}  // namespace promptsweep::sweep
