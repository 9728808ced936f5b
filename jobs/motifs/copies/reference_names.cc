#include "jobs/motifs/copies/reference_names.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace promptsweep::motifs {
namespace {

constexpr size_t kMostBytes = 500;

// Calls use(record, first field) for each record, empty lines included; returns how many there are.
template <typename Use>
uint64_t ForEachRecord(std::istream& in, bool csv, const Use& use) {
  uint64_t records = 0;
  std::string field;
  bool quoted = false, first_field = true, any = false;
  const auto end_record = [&] {
    use(records++, field);
    field.clear();
    quoted = any = false;
    first_field = true;
  };
  std::streambuf& buffer = *in.rdbuf();
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    if (c == '\n' && !quoted) {
      end_record();
      continue;
    }
    if (c == '\r' && !quoted) continue;
    any = true;
    if (csv && c == '"') {
      if (quoted && buffer.sgetc() == '"') {
        buffer.sbumpc();
      } else {
        quoted = !quoted;
        continue;
      }
    } else if (csv && c == ',' && !quoted) {
      first_field = false;
      continue;
    }
    if (first_field && field.size() < kMostBytes) field += static_cast<char>(c);
  }
  if (any) end_record();
  return records;
}

}  // namespace

std::map<uint64_t, std::string> ReferenceNames(const std::string& npy, uint64_t total, const std::set<uint64_t>& rows) {
  // Until the end is reached it is not known whether the first record is a header: both readings are kept.
  std::map<uint64_t, std::string> names, after_header;
  uint64_t records = 0;
  for (const char* ending : {".csv", ".txt"}) {
    std::ifstream file(std::filesystem::path(npy).replace_extension(ending), std::ios::binary);
    if (!file) continue;
    records = ForEachRecord(file, ending == std::string(".csv"), [&](uint64_t record, const std::string& field) {
      if (rows.count(record)) names[record] = field;
      if (record > 0 && rows.count(record - 1)) after_header[record - 1] = field;
    });
    break;
  }
  if (records == total + 1) names = std::move(after_header);
  if (records != total && records != total + 1) names.clear();
  for (const uint64_t row : rows) {
    std::string& name = names[row];
    if (name.empty()) name = absl::StrCat(npy, " row ", row);
  }
  return names;
}

}  // namespace promptsweep::motifs
