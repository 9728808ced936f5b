#include "cli/csv.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

bool NeedsGuard(absl::string_view text) {
  const size_t first = text.find_first_not_of('\'');
  return first != absl::string_view::npos && absl::string_view("=+-@\t\r").find(text[first]) != absl::string_view::npos;
}

// Reads records one at a time.
class Reader {
 public:
  Reader(absl::string_view bytes, absl::string_view name) : bytes_(bytes), name_(name) {}

  bool AtEnd() const { return at_ >= bytes_.size(); }
  int line() const { return line_; }

  absl::StatusOr<std::vector<std::string>> Record() {
    std::vector<std::string> fields;
    while (true) {
      PS_ASSIGN_OR_RETURN(std::string field, Field());
      fields.push_back(std::move(field));
      if (AtEnd()) return fields;
      const char separator = bytes_[at_++];
      if (separator == ',') continue;
      if (separator == '\r' && !AtEnd() && bytes_[at_] == '\n') ++at_;
      ++line_;
      return fields;
    }
  }

  absl::Status Error(int line, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ":", line, ": ", what));
  }

 private:
  absl::StatusOr<std::string> Field() {
    if (AtEnd() || bytes_[at_] != '"') {
      const size_t end = std::min(bytes_.find_first_of(",\r\n", at_), bytes_.size());
      const absl::string_view field = bytes_.substr(at_, end - at_);
      if (field.find('"') != absl::string_view::npos) return Error(line_, "a quote inside a field without quotes");
      at_ = end;
      return std::string(field);
    }
    const int begin_line = line_;
    std::string field;
    for (++at_; !AtEnd(); ++at_) {
      const char c = bytes_[at_];
      if (c == '"') {
        if (at_ + 1 < bytes_.size() && bytes_[at_ + 1] == '"') {
          ++at_;
        } else {
          ++at_;
          if (!AtEnd() && absl::string_view(",\r\n").find(bytes_[at_]) == absl::string_view::npos) {
            return Error(line_, "text after a closing quote");
          }
          return field;
        }
      } else if (c == '\n') {
        ++line_;
      }
      field += c;
    }
    return Error(begin_line, "a quote is never closed");
  }

  const absl::string_view bytes_;
  const absl::string_view name_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

std::string CsvField(absl::string_view text) {
  if (text.find_first_of("\",\r\n") == absl::string_view::npos) return std::string(text);
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string CsvText(absl::string_view text) { return CsvField(NeedsGuard(text) ? absl::StrCat("'", text) : std::string(text)); }

std::string CsvUnguard(absl::string_view field) {
  if (!field.empty() && field[0] == '\'' && NeedsGuard(field)) field.remove_prefix(1);
  return std::string(field);
}

int CsvFile::Column(absl::string_view name) const {
  for (size_t i = 0; i < header.size(); ++i) {
    if (header[i] == name) return static_cast<int>(i);
  }
  return -1;
}

absl::StatusOr<CsvFile> ParseCsv(absl::string_view bytes, absl::string_view name) {
  bytes = absl::StripPrefix(bytes, "\xef\xbb\xbf");
  Reader reader(bytes, name);
  CsvFile file;
  if (reader.AtEnd()) return reader.Error(1, "the file is empty");
  PS_ASSIGN_OR_RETURN(file.header, reader.Record());
  for (std::string& column : file.header) column = std::string(absl::StripAsciiWhitespace(column));
  if (file.header.size() == 1 && file.header[0].find_first_of(";\t") != std::string::npos) {
    return reader.Error(1, absl::StrCat("the fields are separated by ",
                                        absl::StrContains(file.header[0], ';') ? "semicolons" : "tabs", "; commas are needed"));
  }
  std::set<std::string> seen;
  for (const std::string& column : file.header) {
    if (column.empty()) return reader.Error(1, "a column has no name");
    if (!IsUtf8(column)) return reader.Error(1, "the header is not UTF-8");
    if (!seen.insert(column).second) return reader.Error(1, absl::StrCat("column \"", column, "\" appears twice"));
  }
  while (!reader.AtEnd()) {
    const int line = reader.line();
    PS_ASSIGN_OR_RETURN(std::vector<std::string> row, reader.Record());
    // An empty line; with a single column it is an empty field.
    if (row.size() == 1 && row[0].empty() && file.header.size() > 1) continue;
    if (row.size() != file.header.size()) {
      return reader.Error(line, absl::StrCat(row.size(), " fields where the header has ", file.header.size()));
    }
    for (size_t i = 0; i < row.size(); ++i) {
      if (!IsUtf8(row[i])) return reader.Error(line, absl::StrCat("column \"", file.header[i], "\" is not UTF-8"));
    }
    file.rows.push_back(std::move(row));
    file.lines.push_back(line);
  }
  return file;
}

}  // namespace promptsweep::cli
