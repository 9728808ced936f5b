#include "jobs/vocabularies/vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace promptsweep::motifs {
namespace {

// As RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto at = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
    const unsigned lead = at(i);
    const int more = lead < 0x80                   ? 0
                     : lead >= 0xC2 && lead < 0xE0 ? 1
                     : lead >= 0xE0 && lead < 0xF0 ? 2
                     : lead >= 0xF0 && lead < 0xF5 ? 3
                                                   : -1;
    if (more < 0) return false;
    for (int k = 1; k <= more; ++k) {
      if ((at(i + k) & 0xC0) != 0x80) return false;
    }
    const unsigned second = at(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
        (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += 1 + more;
  }
  return true;
}

// Of UTF-8: C0, DEL, C1, line and paragraph separators, and what embeds, overrides or isolates a direction of writing.
bool HasControl(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(text[i]))) return true;
    const absl::string_view here = text.substr(i, 3);
    if (here.size() > 1 && here[0] == '\xC2' && static_cast<unsigned char>(here[1]) < 0xA0) return true;
    if (here >= absl::string_view("\xE2\x80\xA8") && here <= absl::string_view("\xE2\x80\xAE")) return true;
    if (here >= absl::string_view("\xE2\x81\xA6") && here <= absl::string_view("\xE2\x81\xA9")) return true;
  }
  return false;
}

const char* Problem(absl::string_view label) {
  if (label.empty()) return "an empty label";
  if (label.size() > kLongestLabel) return "a label is too long";
  if (HasControl(label)) return "a control character";
  return nullptr;
}

}  // namespace

bool VocabularyFile::has_parents() const {
  return std::any_of(parents.begin(), parents.end(), [](int parent) { return parent >= 0; });
}

absl::StatusOr<VocabularyFile> ParseVocabulary(absl::string_view text, absl::string_view name) {
  VocabularyFile file;
  std::unordered_map<std::string, int> index;
  std::vector<size_t> lines;
  std::vector<std::string> above;
  size_t number = 0;
  const auto error = [&](size_t line, absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(name, ":", line, ": ", why));
  };
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    absl::ConsumeSuffix(&line, "\r");
    if (absl::StripAsciiWhitespace(line).empty() || line[0] == '#') continue;
    if (!IsUtf8(line)) return error(number, "not UTF-8");
    const std::vector<absl::string_view> parts = absl::StrSplit(line, '\t');
    if (parts.size() > 2) return error(number, "more than one tab; expected LABEL or LABEL<TAB>PARENT");
    for (const absl::string_view part : parts) {
      if (const char* why = Problem(absl::StripAsciiWhitespace(part))) return error(number, why);
    }
    const std::string label(absl::StripAsciiWhitespace(parts[0]));
    const auto [at, is_new] = index.emplace(label, file.labels.size());
    if (!is_new) return error(number, absl::StrCat("\"", label, "\" is listed twice, first in line ", lines[at->second]));
    if (file.labels.size() == kMostLabels) return error(number, absl::StrCat("more than ", kMostLabels, " labels"));
    file.labels.push_back(label);
    lines.push_back(number);
    above.emplace_back(parts.size() == 2 ? absl::StripAsciiWhitespace(parts[1]) : "");
  }
  if (file.labels.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no labels"));
  for (size_t l = 0; l < above.size(); ++l) {
    const auto at = index.find(above[l]);
    if (!above[l].empty() && at == index.end()) {
      return error(lines[l], absl::StrCat("the parent \"", above[l], "\" is not a label"));
    }
    file.parents.push_back(above[l].empty() ? -1 : at->second);
  }
  std::vector<int> seen(above.size(), -1);  // by the walk from which label
  for (size_t l = 0; l < above.size(); ++l) {
    for (int at = l; at >= 0; at = file.parents[at]) {
      if (seen[at] == static_cast<int>(l)) return error(lines[at], absl::StrCat("\"", file.labels[at], "\" is its own ancestor"));
      if (seen[at] >= 0) break;
      seen[at] = l;
    }
  }
  return file;
}

absl::StatusOr<VocabularyFile> ReadVocabulary(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  if (!std::filesystem::is_regular_file(status)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  if (std::filesystem::file_size(path, error) > kLargestFile || error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": larger than ", kLargestFile >> 20, " MiB"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return ParseVocabulary(text, path);
}

}  // namespace promptsweep::motifs
