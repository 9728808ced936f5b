#include "store/deletion.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/checks.h"

namespace promptsweep::store {
namespace {

// Cells of one group, and bytes of images that move in it.
constexpr size_t kGroupCells = 1024;
constexpr size_t kGroupBytes = 8 << 20;
// Cells whose fingerprints are looked for in other sweeps at a time: 8 bytes each in memory.
constexpr size_t kSliceCells = 1 << 20;
// Rows read between two looks at the cancellation.
constexpr size_t kRowsPerCheck = 4096;

constexpr Family kBySweep[] = {Family::kResults, Family::kImages, Family::kCoverage, Family::kFailures, Family::kDuplicates,
                               Family::kMotifs,  Family::kLinks,  Family::kCounters, Family::kSettings};

struct Cell {
  uint32_t sweep = 0;
  uint64_t ordinal = 0;
  bool operator==(const Cell&) const = default;
  std::string key() const { return CellKey(sweep, ordinal); }
};

uint64_t Prefix(absl::string_view fingerprint) {
  uint64_t prefix = 0;
  fingerprint.copy(reinterpret_cast<char*>(&prefix), sizeof prefix);
  return prefix;
}

class SweepDeletion {
 public:
  SweepDeletion(const DeletionContext& context, uint32_t sweep)
      : context_(context), database_(context.database), sweep_(sweep), end_(SweepKeyEnd(sweep)) {}

  absl::Status Run(uint64_t& results) {
    std::string begin = SweepKey(sweep_);
    while (true) {
      PS_ASSIGN_OR_RETURN(const std::string slice_end, Repoint(begin));
      if (slice_end.empty()) break;
      PS_RETURN_IF_ERROR(RemoveCells(begin, slice_end, results));
      begin = slice_end;
    }
    // Most tables go without a byte written, so that a sweep can be deleted from a full disk. Not those of images: compacting
    // them is what tells which blobs are dead, and they are small.
    std::vector<KeyRange> tables = Ranges();
    std::erase_if(tables, [](const KeyRange& range) { return range.family == Family::kImages; });
    PS_RETURN_IF_ERROR(DropTables(database_, tables, context_.cancellation));
    PS_RETURN_IF_ERROR(context_.commit([this](rocksdb::WriteBatch& batch) {
      for (const KeyRange& range : Ranges()) {
        (void)batch.DeleteRange(database_.family(range.family), ToSlice(range.begin), ToSlice(range.end));
      }
      return absl::OkStatus();
    }));
    std::vector<KeyRange> ranges = Ranges();
    // Its first row held the manifest.
    ranges.push_back({Family::kSweeps, SweepKey(sweep_), end_});
    PS_RETURN_IF_ERROR(Purge(database_, ranges, context_.cancellation));
    PS_RETURN_IF_ERROR(context_.remove_objects());
    return context_.commit([this](rocksdb::WriteBatch& batch) {
      (void)batch.Delete(database_.family(Family::kSweeps), ToSlice(SweepKey(sweep_)));
      context_.ledger.StageDeleted(sweep_);
      return absl::OkStatus();
    });
  }

 private:
  std::vector<KeyRange> Ranges() const {
    std::vector<KeyRange> ranges;
    for (const Family family : kBySweep) ranges.push_back({family, SweepKey(sweep_), end_});
    // How many embedders it had is not known any more.
    for (uint16_t e = 0; e < kMaxEmbedders; ++e) {
      for (const Family family : {Family::kEmbeddings, Family::kEmbeddingChunks}) {
        ranges.push_back({family, EmbeddingKey(e, sweep_, 0), EmbeddingKeyEnd(e, sweep_)});
      }
    }
    return ranges;
  }

  // by_fingerprint rows that lead to the next slice of this sweep's cells lead to another sweep's cell afterwards, where one asks
  // the same. Returns where the slice ends; empty where there are no more cells.
  absl::StatusOr<std::string> Repoint(const std::string& begin) {
    absl::flat_hash_set<uint64_t> wanted;
    std::string slice_end;
    Rows rows(database_, Family::kResults, begin, end_, nullptr, {.bulk = true});
    for (; rows.Valid() && wanted.size() < kSliceCells; rows.Next()) {
      PS_ASSIGN_OR_RETURN(const ResultRow row, DecodeResultRow(rows.value()));
      wanted.insert(Prefix(row.fingerprint));
      slice_end = std::string(rows.key()) + '\0';
    }
    PS_RETURN_IF_ERROR(rows.status());
    if (slice_end.empty()) return slice_end;
    for (const auto& other : context_.ledger.Sweeps()) PS_RETURN_IF_ERROR(RepointTo(other->id, wanted));
    return slice_end;
  }

  absl::Status RepointTo(uint32_t other, const absl::flat_hash_set<uint64_t>& wanted) {
    std::vector<std::pair<std::string, std::string>> found;  // fingerprint, cell
    size_t read = 0;
    Rows rows(database_, Family::kResults, SweepKey(other), SweepKeyEnd(other), nullptr, {.bulk = true});
    for (; rows.Valid(); rows.Next()) {
      if (++read % kRowsPerCheck == 0) PS_RETURN_IF_ERROR(context_.cancellation.status());
      PS_ASSIGN_OR_RETURN(ResultRow row, DecodeResultRow(rows.value()));
      if (!wanted.contains(Prefix(row.fingerprint))) continue;
      found.emplace_back(std::move(row.fingerprint), std::string(rows.key()));
      if (found.size() == kGroupCells) PS_RETURN_IF_ERROR(CommitRepoint(found));
    }
    PS_RETURN_IF_ERROR(rows.status());
    return found.empty() ? absl::OkStatus() : CommitRepoint(found);
  }

  absl::Status CommitRepoint(std::vector<std::pair<std::string, std::string>>& found) {
    PS_RETURN_IF_ERROR(context_.commit([&](rocksdb::WriteBatch& batch) -> absl::Status {
      for (const auto& [fingerprint, cell] : found) {
        PS_ASSIGN_OR_RETURN(const std::optional<Cell> at, FingerprintRow(fingerprint));
        if (!at || at->sweep != sweep_) continue;
        (void)batch.Put(database_.family(Family::kByFingerprint), ToSlice(fingerprint), ToSlice(Versioned(cell)));
      }
      return absl::OkStatus();
    }));
    found.clear();
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<Cell>> FingerprintRow(const std::string& fingerprint) {
    const auto value = database_.Get(Family::kByFingerprint, fingerprint);
    if (absl::IsNotFound(value.status())) return std::nullopt;
    PS_RETURN_IF_ERROR(value.status());
    PS_ASSIGN_OR_RETURN(const absl::string_view key, Unversioned(*value));
    Cell cell;
    if (!ParseCellKey(key, cell.sweep, cell.ordinal)) {
      return absl::DataLossError(absl::StrCat("by_fingerprint ", ToHex(fingerprint), " is unreadable"));
    }
    return cell;
  }

  absl::Status RemoveCells(std::string begin, const std::string& end, uint64_t& results) {
    while (true) {
      PS_RETURN_IF_ERROR(context_.cancellation.status());
      uint64_t removed = 0;
      PS_RETURN_IF_ERROR(context_.commit([&](rocksdb::WriteBatch& batch) -> absl::Status {
        Rows rows(database_, Family::kResults, begin, end);
        size_t moved = 0;
        for (; rows.Valid() && removed < kGroupCells && moved < kGroupBytes; rows.Next(), ++removed) {
          PS_RETURN_IF_ERROR(RemoveCell(rows.key(), rows.value(), batch, moved));
          begin = std::string(rows.key()) + '\0';
        }
        return rows.status();
      }));
      if (removed == 0) return absl::OkStatus();
      results += removed;
    }
  }

  absl::Status RemoveCell(absl::string_view key, absl::string_view value, rocksdb::WriteBatch& batch, size_t& moved) {
    Cell cell;
    if (!ParseCellKey(key, cell.sweep, cell.ordinal)) {
      return absl::DataLossError(absl::StrCat("unreadable key ", ToHex(key), " in results"));
    }
    PS_ASSIGN_OR_RETURN(const ResultRow row, DecodeResultRow(value));
    PS_ASSIGN_OR_RETURN(const std::optional<Cell> at, FingerprintRow(row.fingerprint));
    if (at == cell) (void)batch.Delete(database_.family(Family::kByFingerprint), ToSlice(row.fingerprint));
    v1::Result rest;
    if (!rest.ParseFromString(row.rest)) return absl::DataLossError(absl::StrCat("unreadable row ", ToHex(key), " in results"));
    if (rest.has_reused_from()) {
      const std::string link = LinkKey(rest.reused_from().sweep(), rest.reused_from().ordinal(), cell.sweep, cell.ordinal);
      (void)batch.Delete(database_.family(Family::kLinks), ToSlice(link));
    }
    PS_RETURN_IF_ERROR(HandOver(cell, row, batch, moved));
    (void)batch.Delete(database_.family(Family::kResults), ToSlice(key));
    return absl::OkStatus();
  }

  // The first cell that shows this cell's image gets it, and the others show that one's.
  absl::Status HandOver(const Cell& owner, const ResultRow& row, rocksdb::WriteBatch& batch, size_t& moved) {
    rocksdb::ColumnFamilyHandle* links = database_.family(Family::kLinks);
    std::optional<Cell> heir;
    Rows rows(database_, Family::kLinks, owner.key(), owner.key() + EndOfKeys());
    for (; rows.Valid(); rows.Next()) {
      Cell from;
      Cell to;
      if (!ParseLinkKey(rows.key(), from.sweep, from.ordinal, to.sweep, to.ordinal)) {
        return absl::DataLossError(absl::StrCat("unreadable key ", ToHex(rows.key()), " in links"));
      }
      (void)batch.Delete(links, ToSlice(rows.key()));
      // It goes, too.
      if (context_.ledger.State(to.sweep) == v1::SWEEP_STATE_DELETING) continue;
      if (!heir) {
        heir = to;
        PS_ASSIGN_OR_RETURN(const size_t bytes, MoveImage(owner, row, to, batch));
        moved += bytes;
      } else {
        (void)batch.Put(links, ToSlice(LinkKey(heir->sweep, heir->ordinal, to.sweep, to.ordinal)), rocksdb::Slice());
      }
      PS_RETURN_IF_ERROR(PointTo(to, *heir, batch));
    }
    return rows.status();
  }

  absl::StatusOr<size_t> MoveImage(const Cell& owner, const ResultRow& row, const Cell& heir, rocksdb::WriteBatch& batch) {
    if (row.format == v1::IMAGE_FORMAT_UNSPECIFIED) return 0;
    const auto image = database_.Get(Family::kImages, owner.key());
    // Kept outside of the store, or lost before: nothing that a deletion could make worse.
    if (absl::IsNotFound(image.status())) return 0;
    PS_RETURN_IF_ERROR(image.status());
    (void)batch.Put(database_.family(Family::kImages), ToSlice(heir.key()), ToSlice(*image));
    return image->size();
  }

  absl::Status PointTo(const Cell& cell, const Cell& owner, rocksdb::WriteBatch& batch) {
    const auto value = database_.Get(Family::kResults, cell.key());
    if (absl::IsNotFound(value.status())) {
      return absl::DataLossError(absl::StrCat("sweep ", cell.sweep, " cell ", cell.ordinal, " lost its record"));
    }
    PS_RETURN_IF_ERROR(value.status());
    PS_ASSIGN_OR_RETURN(ResultRow row, DecodeResultRow(*value));
    v1::Result rest;
    if (!rest.ParseFromString(row.rest)) {
      return absl::DataLossError(absl::StrCat("sweep ", cell.sweep, " cell ", cell.ordinal, " has an unreadable record"));
    }
    rest.mutable_reused_from()->set_sweep(owner.sweep);
    rest.mutable_reused_from()->set_ordinal(owner.ordinal);
    row.rest = rest.SerializeAsString();
    (void)batch.Put(database_.family(Family::kResults), ToSlice(cell.key()), ToSlice(Encode(row)));
    return absl::OkStatus();
  }

  const DeletionContext& context_;
  Database& database_;
  const uint32_t sweep_;
  const std::string end_;
};

}  // namespace

absl::Status BeginDeletion(const DeletionContext& context, uint32_t sweep) {
  return context.commit([&](rocksdb::WriteBatch& batch) -> absl::Status {
    const v1::SweepState state = context.ledger.State(sweep);
    if (state == v1::SWEEP_STATE_DELETING) return absl::OkStatus();
    PS_ASSIGN_OR_RETURN(const auto found, context.ledger.Find(sweep));
    if (state == v1::SWEEP_STATE_RUNNING || state == v1::SWEEP_STATE_PAUSED) {
      const absl::string_view what = state == v1::SWEEP_STATE_RUNNING ? "running" : "paused";
      return absl::FailedPreconditionError(absl::StrCat("sweep ", sweep, " is ", what, ": cancel it first"));
    }
    SweepRow row;
    row.state = v1::SWEEP_STATE_DELETING;
    row.created_at_ms = found->created_at_ms;
    v1::SweepManifest place;
    place.mutable_spec()->set_images(found->manifest().spec().images());
    row.manifest = CanonicalManifest(place);
    (void)batch.Put(context.database.family(Family::kSweeps), ToSlice(SweepKey(sweep)), ToSlice(Encode(row)));
    const std::string last = EncodeU32(context.ledger.NextSweepId() - 1);
    (void)batch.Put(context.database.family(Family::kMeta), ToSlice(kLastSweepKey), ToSlice(last));
    context.ledger.StageDeletion(sweep);
    return absl::OkStatus();
  });
}

absl::Status FinishDeletion(const DeletionContext& context, uint32_t sweep, uint64_t& results) {
  return SweepDeletion(context, sweep).Run(results);
}

}  // namespace promptsweep::store
