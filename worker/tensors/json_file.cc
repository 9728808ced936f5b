#include "worker/tensors/json_file.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr uintmax_t kMaxBytes = 256u << 20;

// A value in a message. Never a list or an object: those may be large, or nested deeper than the stack.
std::string Shown(const nlohmann::json& value) { return value.is_number() ? value.dump() : value.type_name(); }

}  // namespace

JsonFile::JsonFile(const std::string& path) : path_(path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw LoadError(absl::StrCat(path, ": ", error.message()));
  if (size > kMaxBytes) throw LoadError(absl::StrCat(path, ": larger than 256 MB"));
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw LoadError(absl::StrCat(path, ": cannot be read"));
  auto value = std::make_shared<nlohmann::json>();
  try {
    *value = nlohmann::json::parse(text.str());
  } catch (const nlohmann::json::exception& e) {
    throw LoadError(absl::StrCat(path, ": not JSON: ", e.what()));
  }
  if (!value->is_object()) throw LoadError(absl::StrCat(path, ": not a JSON object"));
  value_ = std::move(value);
}

std::optional<JsonFile> JsonFile::IfPresent(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  return JsonFile(path);
}

const nlohmann::json* JsonFile::Find(const std::string& key) const {
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

void JsonFile::Fail(const std::string& key, const std::string& what) const {
  throw LoadError(absl::StrCat(path_, ": ", prefix_, key, " ", what));
}

bool JsonFile::Has(const std::string& key) const { return Find(key) != nullptr; }

int64_t JsonFile::Int(const std::string& key, int64_t min, int64_t max, std::optional<int64_t> otherwise) const {
  const auto* found = Find(key);
  if (!found) {
    if (!otherwise) Fail(key, "is missing");
    return *otherwise;
  }
  const bool fits =
      found->is_number_integer() && !(found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (!fits || found->get<int64_t>() < min || found->get<int64_t>() > max) {
    Fail(key, absl::StrCat("is ", Shown(*found), "; expected a whole number from ", min, " to ", max));
  }
  return found->get<int64_t>();
}

double JsonFile::Number(const std::string& key, double min, double max, std::optional<double> otherwise) const {
  const auto* found = Find(key);
  if (!found) {
    if (!otherwise) Fail(key, "is missing");
    return *otherwise;
  }
  if (!found->is_number() || !(found->get<double>() >= min && found->get<double>() <= max)) {
    Fail(key, absl::StrCat("is ", Shown(*found), "; expected a number from ", min, " to ", max));
  }
  return found->get<double>();
}

std::string JsonFile::Text(const std::string& key, std::optional<std::string> otherwise) const {
  const auto* found = Find(key);
  if (!found) {
    if (!otherwise) Fail(key, "is missing");
    return *otherwise;
  }
  if (!found->is_string()) Fail(key, "is not a text");
  return found->get<std::string>();
}

bool JsonFile::Bool(const std::string& key, std::optional<bool> otherwise) const {
  const auto* found = Find(key);
  if (!found) {
    if (!otherwise) Fail(key, "is missing");
    return *otherwise;
  }
  if (!found->is_boolean()) Fail(key, "is not true or false");
  return found->get<bool>();
}

std::vector<int64_t> JsonFile::Ints(const std::string& key, int64_t min, int64_t max) const {
  const auto* found = Find(key);
  if (!found) Fail(key, "is missing");
  if (!found->is_array()) Fail(key, "is not a list");
  std::vector<int64_t> values;
  for (const auto& item : *found) {
    if (!item.is_number_integer() || item.get<int64_t>() < min || item.get<int64_t>() > max) {
      Fail(key, absl::StrCat("holds ", Shown(item), "; expected whole numbers from ", min, " to ", max));
    }
    values.push_back(item.get<int64_t>());
  }
  return values;
}

std::vector<double> JsonFile::Numbers(const std::string& key, size_t count) const {
  const auto* found = Find(key);
  if (!found) Fail(key, "is missing");
  if (!found->is_array() || found->size() != count) Fail(key, absl::StrCat("is not a list of ", count, " numbers"));
  std::vector<double> values;
  for (const auto& item : *found) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) Fail(key, "holds something that is not a finite number");
    values.push_back(item.get<double>());
  }
  return values;
}

JsonFile JsonFile::Child(const std::string& key) const {
  const auto* found = Find(key);
  if (!found) Fail(key, "is missing");
  if (!found->is_object()) Fail(key, "is not an object");
  return JsonFile(path_, std::shared_ptr<const nlohmann::json>(value_, found), absl::StrCat(prefix_, key, "."));
}

}  // namespace promptsweep::worker
