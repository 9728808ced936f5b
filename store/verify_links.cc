#include "store/verify_links.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/checks.h"

namespace promptsweep::store {
namespace {

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

bool Is(const v1::CellRef& ref, uint32_t sweep, uint64_t ordinal) { return ref.sweep() == sweep && ref.ordinal() == ordinal; }

std::string Name(uint32_t sweep, uint64_t ordinal) { return absl::StrCat("sweep ", sweep, " cell ", ordinal); }

// What a cell's row keeps beside its fixed fields; nullopt where there is no such row or it cannot be read.
std::optional<v1::Result> RestOf(Database& database, uint32_t sweep, uint64_t ordinal, const rocksdb::Snapshot* snapshot) {
  const auto value = database.Get(Family::kResults, CellKey(sweep, ordinal), snapshot);
  const auto row = value.ok() ? DecodeResultRow(*value) : absl::StatusOr<ResultRow>(value.status());
  v1::Result rest;
  if (!row.ok() || !rest.ParseFromString(row->rest)) return std::nullopt;
  return rest;
}

}  // namespace

bool ShowsOthersImage(const v1::Result& rest, uint32_t sweep, uint64_t ordinal) {
  return rest.has_reused_from() && rest.image_uri().empty() && !Is(rest.reused_from(), sweep, ordinal);
}

absl::Status CheckOthersImage(Database& database, uint32_t sweep, uint64_t ordinal, const ResultRow& row,
                              const v1::CellRef& owner, bool deep, const rocksdb::Snapshot* snapshot) {
  const std::string name = Name(owner.sweep(), owner.ordinal());
  const auto image = database.Get(Family::kImages, CellKey(owner.sweep(), owner.ordinal()), snapshot);
  if (absl::IsNotFound(image.status())) return Wrong(absl::StrCat("its image, that of ", name, ", is missing"));
  if (!image.ok()) return Wrong(absl::StrCat("its image, that of ", name, ", cannot be read: ", image.status().message()));
  if (image->size() != row.image_bytes) return Wrong(absl::StrCat("its image, that of ", name, ", has another size"));
  if (deep) {
    if (Sha256Of(*image) != row.image_digest) return Wrong(absl::StrCat("its image, that of ", name, ", is another"));
    PS_RETURN_IF_ERROR(ReadImageHeader(*image, row.format).status());
  }
  const auto link = database.Get(Family::kLinks, LinkKey(owner.sweep(), owner.ordinal(), sweep, ordinal), snapshot);
  if (absl::IsNotFound(link.status())) return Wrong(absl::StrCat("shows the image of ", name, " but no link leads to it"));
  if (!link.ok()) return Wrong(absl::StrCat("its link from ", name, " cannot be read: ", link.status().message()));
  return absl::OkStatus();
}

void CheckLinks(Database& database, uint32_t sweep, const rocksdb::Snapshot* snapshot,
                const std::function<void(absl::string_view)>& problem) {
  Rows rows(database, Family::kLinks, SweepKey(sweep), SweepKeyEnd(sweep), snapshot, {.bulk = true});
  for (; rows.Valid(); rows.Next()) {
    uint32_t owner_sweep = 0;
    uint64_t owner_ordinal = 0;
    uint32_t shown_sweep = 0;
    uint64_t shown_ordinal = 0;
    if (!ParseLinkKey(rows.key(), owner_sweep, owner_ordinal, shown_sweep, shown_ordinal) || !rows.value().empty()) {
      problem(absl::StrCat("unreadable row ", ToHex(rows.key()), " in links"));
      continue;
    }
    const auto owner = RestOf(database, owner_sweep, owner_ordinal, snapshot);
    if (!owner || ShowsOthersImage(*owner, owner_sweep, owner_ordinal)) {
      problem(absl::StrCat("cell ", owner_ordinal, ": a link starts at it but it owns no image"));
    }
    const auto shown = RestOf(database, shown_sweep, shown_ordinal, snapshot);
    if (!shown || !ShowsOthersImage(*shown, shown_sweep, shown_ordinal) ||
        !Is(shown->reused_from(), owner_sweep, owner_ordinal)) {
      problem(absl::StrCat("cell ", owner_ordinal, ": a link leads from it to ", Name(shown_sweep, shown_ordinal),
                           ", which does not show its image"));
    }
  }
  if (const absl::Status status = rows.status(); !status.ok()) problem(absl::StrCat("links cannot be read: ", status.message()));
}

absl::Status CheckCounters(Database& database, uint32_t sweep, const CountersRow& counted, const rocksdb::Snapshot* snapshot) {
  const auto value = database.Get(Family::kCounters, SweepKey(sweep), snapshot);
  if (absl::IsNotFound(value.status())) {
    if (counted.reused == 0) return absl::OkStatus();
    return Wrong(absl::StrCat(counted.reused, " results are reused and none is counted as such"));
  }
  const auto row = value.ok() ? DecodeCountersRow(*value) : absl::StatusOr<CountersRow>(value.status());
  if (!row.ok()) return Wrong(absl::StrCat("its counters cannot be read: ", row.status().message()));
  if (row->reused != counted.reused) {
    return Wrong(absl::StrCat(row->reused, " results are counted as reused, ", counted.reused, " are"));
  }
  if (row->device_us == counted.device_us) return absl::OkStatus();
  return Wrong(absl::StrCat(row->device_us, " microseconds of device time are counted, its results took ", counted.device_us));
}

}  // namespace promptsweep::store
