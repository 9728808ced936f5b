#include "jobs/sweep/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "nlohmann/json.hpp"

namespace promptsweep::sweep {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr uint64_t kLengthBytes = 8;

uint64_t LittleEndian64(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Accepts exactly { name: {"dtype": text, "shape": [n...], "data_offsets": [n, n]}, "__metadata__": {text: text} }.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader header;
  std::string error;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a truth value"); }
  bool number_float(double, const std::string&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary"); }
  bool number_integer(int64_t) override { return Unexpected("a number below 0"); }
  bool number_unsigned(uint64_t value) override {
    if (place_ == kShape && header.tensors.back().shape.size() < 64 && value <= INT64_MAX) {
      header.tensors.back().shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == kOffsets && offsets_ < 2) {
      (offsets_++ == 0 ? header.tensors.back().begin : header.tensors.back().end) = value;
      return true;
    }
    return Unexpected("a number");
  }
  bool string(std::string& value) override {
    if (place_ == kMetadata) {
      header.metadata[key_] = value;
      return true;
    }
    if (place_ == kTensor && key_ == "dtype") {
      header.tensors.back().dtype = value;
      return true;
    }
    return Unexpected("text");
  }
  bool start_object(size_t) override {
    if (place_ == kStart) {
      place_ = kTop;
      return true;
    }
    if (place_ == kTop && key_ == "__metadata__") {
      place_ = kMetadata;
      return true;
    }
    if (place_ == kTop) {
      place_ = kTensor;
      fields_.clear();
      header.tensors.push_back({key_, "", {}, 0, 0});
      return true;
    }
    return Unexpected("an object");
  }
  bool key(std::string& name) override {
    std::set<std::string>& seen = place_ == kTop ? names_ : place_ == kMetadata ? metadata_names_ : fields_;
    if (!seen.insert(name).second) return Fail(absl::StrCat("key ", Quoted(name), " appears twice"));
    if (place_ == kTensor && name != "dtype" && name != "shape" && name != "data_offsets") {
      return Fail(absl::StrCat("tensor ", Quoted(header.tensors.back().name), " has an unknown key ", Quoted(name)));
    }
    key_ = name;
    return true;
  }
  bool end_object() override {
    if (place_ == kTensor && fields_.size() != 3) {
      return Fail(absl::StrCat("tensor ", Quoted(header.tensors.back().name), " lacks dtype, shape or data_offsets"));
    }
    place_ = place_ == kTop ? kEnd : kTop;
    return true;
  }
  bool start_array(size_t) override {
    if (place_ != kTensor || key_ == "dtype") return Unexpected("a list");
    place_ = key_ == "shape" ? kShape : kOffsets;
    offsets_ = 0;
    return true;
  }
  bool end_array() override {
    if (place_ == kOffsets && offsets_ != 2) return Fail("data_offsets does not hold two numbers");
    place_ = kTensor;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not JSON at byte ", kLengthBytes + position));
  }

 private:
  enum Place { kStart, kTop, kTensor, kShape, kOffsets, kMetadata, kEnd };
  bool Fail(const std::string& message) {
    if (error.empty()) error = message;
    return false;
  }
  bool Unexpected(const char* what) { return Fail(absl::StrCat(what, " where the format has none, near key ", Quoted(key_))); }

  Place place_ = kStart;
  std::string key_;
  std::set<std::string> names_, metadata_names_, fields_;
  int offsets_ = 0;
};

absl::Status CheckEntry(const SafetensorsEntry& entry, uint64_t begin, uint64_t data_start) {
  auto wrong = [&](const std::string& message) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(entry.name), ": ", message));
  };
  uint64_t size = SafetensorsItemSize(entry.dtype);
  if (size == 0) return wrong(absl::StrCat("unknown dtype ", Quoted(entry.dtype)));
  for (int64_t dimension : entry.shape) {
    if (__builtin_mul_overflow(size, static_cast<uint64_t>(dimension), &size)) return wrong("size overflows 64 bits");
  }
  if (entry.begin != begin)
    return wrong(
        absl::StrCat("starts at ", entry.begin - data_start, " where ", begin - data_start, " was due (gap or overlap)"));
  if (entry.end < entry.begin || entry.end - entry.begin != size)
    return wrong(absl::StrCat("its offsets do not span its ", size, " bytes"));
  return absl::OkStatus();
}

}  // namespace

size_t SafetensorsItemSize(absl::string_view dtype) {
  static const auto& sizes = *new std::map<std::string, size_t>{
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  auto at = sizes.find(std::string(dtype));
  return at == sizes.end() ? 0 : at->second;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view head, uint64_t file_size) {
  auto invalid = [](const std::string& message) { return absl::InvalidArgumentError(message); };
  if (file_size < kLengthBytes || head.size() < kLengthBytes) return invalid("truncated: shorter than 8 bytes");
  const uint64_t length = LittleEndian64(head);
  if (length > kMaxHeader) return invalid(absl::StrCat("not safetensors: header length ", length));
  if (length > file_size - kLengthBytes || head.size() - kLengthBytes < length) return invalid("truncated inside its header");
  absl::string_view json = head.substr(kLengthBytes, length);
  if (json.empty() || json[0] != '{') return invalid("not safetensors: the header is not a JSON object");
  HeaderHandler handler;
  try {
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler) || !handler.error.empty()) return invalid(handler.error);
  } catch (const std::exception& e) {
    return invalid(absl::StrCat("not JSON: ", e.what()));
  }
  const uint64_t data_start = kLengthBytes + length;
  for (SafetensorsEntry& entry : handler.header.tensors) {
    if (__builtin_add_overflow(entry.begin, data_start, &entry.begin) ||
        __builtin_add_overflow(entry.end, data_start, &entry.end)) {
      return invalid(absl::StrCat("tensor ", Quoted(entry.name), ": offsets overflow 64 bits"));
    }
  }
  std::stable_sort(handler.header.tensors.begin(), handler.header.tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t next = data_start;
  for (const SafetensorsEntry& entry : handler.header.tensors) {
    PS_RETURN_IF_ERROR(CheckEntry(entry, next, data_start));
    next = entry.end;
  }
  if (next > file_size) return invalid(absl::StrCat("truncated: ", next - file_size, " of ", next, " bytes are missing"));
  if (next < file_size) return invalid(absl::StrCat(file_size - next, " bytes at the end belong to no tensor"));
  return std::move(handler.header);
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::string head(std::min(size, kLengthBytes), '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  if (head.size() == kLengthBytes) {
    uint64_t length = std::min({LittleEndian64(head), kMaxHeader, size - kLengthBytes});
    head.resize(kLengthBytes + length);
    file.read(head.data() + kLengthBytes, static_cast<std::streamsize>(length));
  }
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": read error"));
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(head, size);
  if (!header.ok()) return Annotate(header.status(), path);
  return header;
}

}  // namespace promptsweep::sweep
