// Comma-separated values (RFC 4180): written so that a spreadsheet runs no formula, read strictly.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::cli {

// One field of free text. Text a spreadsheet would take for a formula (=, +, -, @, tab, carriage return first) gets an
// apostrophe in front; so does text that already begins with apostrophes before such a character, so that CsvText is invertible.
[[nodiscard]] std::string CsvText(absl::string_view text);
// One field as it is: numbers, digests, words of our own.
[[nodiscard]] std::string CsvField(absl::string_view text);
// Undoes CsvText's apostrophe.
[[nodiscard]] std::string CsvUnguard(absl::string_view field);

// A file read whole. Row 0 of the file is `header`.
struct CsvFile {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<int> lines;  // line of the file on which each row starts

  // Index of a column, or -1.
  int Column(absl::string_view name) const;
};

// Every row has as many fields as the header; names are unique and not empty, spaces around them are dropped; text is UTF-8; a
// byte order mark and empty lines are skipped (an empty line of a file with one column is an empty field). INVALID_ARGUMENT with
// "NAME:LINE: ..." otherwise.
[[nodiscard]] absl::StatusOr<CsvFile> ParseCsv(absl::string_view bytes, absl::string_view name);

}  // namespace promptsweep::cli
