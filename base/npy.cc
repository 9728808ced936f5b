#include "base/npy.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/half.h"
#include "base/status.h"

namespace promptsweep {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr uint32_t kMaxHeader = 1 << 16;
constexpr uint32_t kMaxCols = 1 << 16;

// The header is a Python dict literal of three known keys; anything else in it is refused.
absl::StatusOr<std::map<std::string, std::string>> ParseHeader(absl::string_view text) {
  std::map<std::string, std::string> fields;
  const auto skip = [&] { text = absl::StripLeadingAsciiWhitespace(text); };
  const auto take = [&](char c) {
    skip();
    if (text.empty() || text[0] != c) return false;
    text.remove_prefix(1);
    return true;
  };
  const auto quoted = [&]() -> absl::StatusOr<std::string> {
    skip();
    if (text.empty() || (text[0] != '\'' && text[0] != '"')) return absl::InvalidArgumentError("its header is not a dict");
    const size_t end = text.find(text[0], 1);
    if (end == absl::string_view::npos) return absl::InvalidArgumentError("its header is not a dict");
    std::string word(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    return word;
  };
  if (!take('{')) return absl::InvalidArgumentError("its header is not a dict");
  while (!take('}')) {
    PS_ASSIGN_OR_RETURN(const std::string key, quoted());
    if (!take(':')) return absl::InvalidArgumentError("its header is not a dict");
    skip();
    std::string value;
    if (!text.empty() && (text[0] == '\'' || text[0] == '"')) {
      PS_ASSIGN_OR_RETURN(value, quoted());
    } else if (!text.empty() && text[0] == '(') {
      const size_t end = text.find(')');
      if (end == absl::string_view::npos) return absl::InvalidArgumentError("its shape is not closed");
      value = std::string(text.substr(1, end - 1));
      text.remove_prefix(end + 1);
    } else {
      const size_t end = std::min(text.find_first_of(",}"), text.size());
      value = std::string(absl::StripAsciiWhitespace(text.substr(0, end)));
      text.remove_prefix(end);
    }
    if (!fields.emplace(key, value).second) return absl::InvalidArgumentError("its header names a key twice");
    if (!take(',')) {
      if (take('}')) break;
      return absl::InvalidArgumentError("its header is not a dict");
    }
  }
  if (!absl::StripAsciiWhitespace(text).empty()) return absl::InvalidArgumentError("its header has text after the dict");
  if (fields.size() != 3 || !fields.count("descr") || !fields.count("fortran_order") || !fields.count("shape")) {
    return absl::InvalidArgumentError("its header must have descr, fortran_order and shape");
  }
  return fields;
}

std::string Header(absl::string_view descr, uint64_t rows, uint32_t cols) {
  std::string dict = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", rows, ", ", cols, "), }");
  dict.resize(117, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += std::string("\x01\x00", 2);
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

}  // namespace

absl::StatusOr<NpyReader> NpyReader::Open(const std::string& path) {
  const auto error = [&](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what)); };
  NpyReader reader;
  reader.path_ = path;
  reader.file_.reset(std::fopen(path.c_str(), "rb"));
  struct stat info;
  if (!reader.file_ || fstat(fileno(reader.file_.get()), &info) != 0) return error(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return error("not a regular file");

  unsigned char start[12];
  if (std::fread(start, 1, 10, reader.file_.get()) != 10 || std::memcmp(start, kMagic.data(), kMagic.size()) != 0) {
    return error("not a .npy file");
  }
  if (start[6] < 1 || start[6] > 3) return error(absl::StrCat(".npy version ", start[6], " is unknown"));
  uint64_t header_size = start[8] | start[9] << 8;
  uint64_t data_begin = 10;
  if (start[6] > 1) {
    if (std::fread(start + 10, 1, 2, reader.file_.get()) != 2) return error("cut short in its header");
    header_size |= static_cast<uint64_t>(start[10]) << 16 | static_cast<uint64_t>(start[11]) << 24;
    data_begin = 12;
  }
  if (header_size > kMaxHeader) return error("its header is too long");
  std::string header(header_size, '\0');
  if (std::fread(header.data(), 1, header.size(), reader.file_.get()) != header.size()) return error("cut short in its header");
  data_begin += header_size;

  auto fields = ParseHeader(header);
  if (!fields.ok()) return error(fields.status().message());
  const std::string& descr = (*fields)["descr"];
  if (descr != "<f8" && descr != "<f4" && descr != "<f2")
    return error(absl::StrCat("its type is \"", descr, "\"; float64 (<f8), float32 (<f4) or float16 (<f2) is needed"));
  reader.width_ = descr == "<f8" ? 8 : descr == "<f4" ? 4 : 2;
  if ((*fields)["fortran_order"] != "False") return error("its order is Fortran's; C order is needed (numpy.ascontiguousarray)");
  std::vector<uint64_t> shape;
  for (absl::string_view part : absl::StrSplit((*fields)["shape"], ',')) {
    part = absl::StripAsciiWhitespace(part);
    uint64_t extent = 0;
    if (part.empty()) continue;
    if (!absl::SimpleAtoi(part, &extent)) return error("its shape is not a tuple of whole numbers");
    shape.push_back(extent);
  }
  if (shape.size() != 2) return error(absl::StrCat("it has ", shape.size(), " dimensions; 2 are needed (rows, values)"));
  if (shape[0] == 0 || shape[1] == 0) return error("it has no values");
  if (shape[1] > kMaxCols) return error(absl::StrCat(shape[1], " values a row; at most ", kMaxCols, " are possible"));
  const uint64_t row_bytes = shape[1] * reader.width_;
  const uint64_t data_bytes = static_cast<uint64_t>(info.st_size) - data_begin;
  if (shape[0] > std::numeric_limits<uint64_t>::max() / row_bytes || shape[0] * row_bytes != data_bytes) {
    return error(
        absl::StrCat("its header promises ", shape[0], " rows of ", row_bytes, " bytes, but ", data_bytes, " bytes follow"));
  }
  reader.rows_ = shape[0];
  reader.cols_ = static_cast<uint32_t>(shape[1]);
  return reader;
}

absl::StatusOr<std::vector<float>> NpyReader::Read(uint64_t max_rows) {
  const uint64_t rows = std::min(max_rows, rows_ - next_);
  if (rows == 0) return std::vector<float>();
  std::string bytes(rows * cols_ * width_, '\0');
  if (std::fread(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": cannot be read at row ", next_));
  }
  next_ += rows;
  if (width_ == 2) return UnpackHalves(bytes);
  std::vector<float> values(rows * cols_);
  if (width_ == 8) {
    std::vector<double> doubles(values.size());
    std::memcpy(doubles.data(), bytes.data(), bytes.size());
    std::transform(doubles.begin(), doubles.end(), values.begin(), [](double value) { return static_cast<float>(value); });
    return values;
  }
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::string NpyHalfHeader(uint64_t rows, uint32_t cols) { return Header("<f2", rows, cols); }

std::string NpySingleHeader(uint64_t rows, uint32_t cols) { return Header("<f4", rows, cols); }

}  // namespace promptsweep
