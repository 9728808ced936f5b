#include "cli/duplicates.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

const char* KindOf(const v1::DuplicateRecord& duplicate) { return IsNondeterminism(duplicate) ? "NONDETERMINISM" : "variant"; }

std::string Line(size_t count, absl::string_view why) {
  if (count == 0) return "";
  return absl::StrCat(Grouped(count), count == 1 ? " result" : " results", " differed from the first (", why, ")\n");
}

}  // namespace

bool IsNondeterminism(const v1::DuplicateRecord& duplicate) {
  const v1::Provenance& first = duplicate.first_provenance();
  const v1::Provenance& later = duplicate.later_provenance();
  return first.device() == later.device() && first.torch_version() == later.torch_version() &&
         first.program_version() == later.program_version() && first.batch_shape() == later.batch_shape();
}

std::string DuplicateWords(const std::vector<v1::DuplicateRecord>& duplicates) {
  const size_t alarms = std::count_if(duplicates.begin(), duplicates.end(), IsNondeterminism);
  return Line(alarms, "nondeterminism") + Line(duplicates.size() - alarms, "variants: another device, program or batch shape");
}

Table DuplicateTable(const std::vector<v1::DuplicateRecord>& duplicates) {
  Table table({{"ordinal", true},
               {"kind"},
               {"first_content", false, false, 0},
               {"later_content", false, false, 0},
               {"first_worker", false, true},
               {"first_device", false, true},
               {"later_worker", false, true},
               {"later_device", false, true},
               {"at"}});
  for (const v1::DuplicateRecord& duplicate : duplicates) {
    table.Add({absl::StrCat(duplicate.ordinal()), KindOf(duplicate), ToHex(duplicate.first_content()),
               ToHex(duplicate.later_content()), duplicate.first_provenance().worker(), duplicate.first_provenance().device(),
               duplicate.later_provenance().worker(), duplicate.later_provenance().device(), WallTime(duplicate.at_ms())});
  }
  return table;
}

Json DuplicateJson(const std::vector<v1::DuplicateRecord>& duplicates) {
  Json json = Json::array();
  for (const v1::DuplicateRecord& duplicate : duplicates) {
    Json row = ToJson(duplicate);
    row["kind"] = KindOf(duplicate);
    row["at"] = WallTime(duplicate.at_ms());
    json.push_back(std::move(row));
  }
  return json;
}

}  // namespace promptsweep::cli
