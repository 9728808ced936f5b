// A model's JSON, read with errors that name the file and the key.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace promptsweep::worker {

// Immutable, thread-safe, cheap to copy. Every function throws LoadError.
class JsonFile {
 public:
  // The file's top-level object. Files over 256 MB are refused.
  explicit JsonFile(const std::string& path);
  // Empty where there is no such file.
  static std::optional<JsonFile> IfPresent(const std::string& path);

  // A whole number in [min, max]; without a default the key must be there.
  int64_t Int(const std::string& key, int64_t min, int64_t max, std::optional<int64_t> otherwise = {}) const;
  // A number in [min, max].
  double Number(const std::string& key, double min, double max, std::optional<double> otherwise = {}) const;
  std::string Text(const std::string& key, std::optional<std::string> otherwise = {}) const;
  bool Bool(const std::string& key, std::optional<bool> otherwise = {}) const;
  // A list of whole numbers in [min, max]; may be empty.
  std::vector<int64_t> Ints(const std::string& key, int64_t min, int64_t max) const;
  // A list of exactly `count` finite numbers.
  std::vector<double> Numbers(const std::string& key, size_t count) const;
  // The object under `key`, which must be there.
  JsonFile Child(const std::string& key) const;
  bool Has(const std::string& key) const;

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }

 private:
  JsonFile(std::string path, std::shared_ptr<const nlohmann::json> value, std::string prefix)
      : path_(std::move(path)), prefix_(std::move(prefix)), value_(std::move(value)) {}
  // The value under `key`, or null where it is missing or JSON's null.
  const nlohmann::json* Find(const std::string& key) const;
  [[noreturn]] void Fail(const std::string& key, const std::string& what) const;

  std::string path_;
  std::string prefix_;  // "text_config." in a child
  std::shared_ptr<const nlohmann::json> value_;
};

}  // namespace promptsweep::worker
