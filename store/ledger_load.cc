// Ledger::Load: the in-memory view rebuilt from the small families, and nothing else.
#include "base/hash.h"
#include "base/status.h"
#include "store/embedding_rows.h"
#include "store/ledger.h"

namespace promptsweep::store {
namespace {

absl::Status Unreadable(Family family, absl::string_view key) {
  return absl::DataLossError(absl::StrCat("unreadable row ", ToHex(key), " in ", FamilyName(family)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Load(Database& database) {
  std::unique_ptr<Ledger> ledger(new Ledger());
  PS_RETURN_IF_ERROR(ledger->LoadSweeps(database));
  PS_RETURN_IF_ERROR(ledger->LoadCoverage(database));
  PS_RETURN_IF_ERROR(ledger->LoadFailures(database));
  PS_RETURN_IF_ERROR(ledger->LoadDuplicates(database));
  PS_RETURN_IF_ERROR(ledger->LoadCounters(database));
  PS_RETURN_IF_ERROR(ledger->LoadSettings(database));
  PS_RETURN_IF_ERROR(ledger->LoadProvenance(database));
  PS_RETURN_IF_ERROR(ledger->LoadDims(database));
  return ledger;
}

absl::Status Ledger::LoadSweeps(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kSweeps, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    if (!ParseSweepKey(rows.key(), id)) return Unreadable(Family::kSweeps, rows.key());
    PS_ASSIGN_OR_RETURN(const SweepRow row, DecodeSweepRow(rows.value()));
    if (row.state == v1::SWEEP_STATE_DELETING) {
      v1::SweepManifest manifest;
      if (!manifest.ParseFromString(row.manifest)) return Unreadable(Family::kSweeps, rows.key());
      deleting_[id] = manifest.spec().images();
      continue;
    }
    PS_ASSIGN_OR_RETURN(Sweep sweep, LoadSweep(id, row));
    Entry& entry = entries_[id];
    entry.sweep = std::make_shared<const Sweep>(std::move(sweep));
    entry.state = row.state;
  }
  PS_RETURN_IF_ERROR(rows.status());
  const auto last = database.Get(Family::kMeta, kLastSweepKey);
  if (absl::IsNotFound(last.status())) return absl::OkStatus();
  PS_RETURN_IF_ERROR(last.status());
  PS_ASSIGN_OR_RETURN(last_sweep_, DecodeU32(*last));
  return absl::OkStatus();
}

absl::Status Ledger::LoadCoverage(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kCoverage, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    uint64_t chunk = 0;
    if (!ParseCoverageKey(rows.key(), id, chunk)) return Unreadable(Family::kCoverage, rows.key());
    if (deleting_.contains(id)) continue;
    const auto entry = entries_.find(id);
    auto bitmap = DecodeBitmap(rows.value());
    if (!bitmap.ok() || entry == entries_.end()) return Unreadable(Family::kCoverage, rows.key());
    entry->second.done_count += bitmap->cardinality();
    entry->second.done[chunk] = *std::move(bitmap);
  }
  return rows.status();
}

absl::Status Ledger::LoadFailures(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kFailures, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    uint64_t ordinal = 0;
    if (!ParseCellKey(rows.key(), id, ordinal)) return Unreadable(Family::kFailures, rows.key());
    if (deleting_.contains(id)) continue;
    const auto entry = entries_.find(id);
    const auto bytes = Unversioned(rows.value());
    v1::FailureRecord record;
    if (entry == entries_.end() || !bytes.ok() || !record.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
      return Unreadable(Family::kFailures, rows.key());
    }
    entry->second.failed[ordinal] = record.attempts();
  }
  return rows.status();
}

absl::Status Ledger::LoadDuplicates(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kDuplicates, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    uint64_t ordinal = 0;
    if (!ParseCellKey(rows.key().substr(0, 12), id, ordinal)) return Unreadable(Family::kDuplicates, rows.key());
    if (deleting_.contains(id)) continue;
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) return Unreadable(Family::kDuplicates, rows.key());
    ++entry->second.divergent;
  }
  return rows.status();
}

absl::Status Ledger::LoadCounters(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kCounters, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    if (!ParseSweepKey(rows.key(), id)) return Unreadable(Family::kCounters, rows.key());
    if (deleting_.contains(id)) continue;
    const auto entry = entries_.find(id);
    const auto row = DecodeCountersRow(rows.value());
    if (entry == entries_.end() || !row.ok()) return Unreadable(Family::kCounters, rows.key());
    entry->second.counters = *row;
  }
  PS_RETURN_IF_ERROR(rows.status());
  // A store of version 1 did not count: once, until the sweep's next result writes the row.
  for (auto& [id, entry] : entries_) {
    if (entry.counters || entry.done_count == 0) continue;
    entry.counters.emplace();
    Rows results(database, Family::kResults, SweepKey(id), SweepKeyEnd(id));
    for (; results.Valid(); results.Next()) {
      // A result that cannot be read is for readers and verification to report.
      if (const auto row = DecodeResultRow(results.value()); row.ok()) {
        entry.counters->device_us += uint64_t{row->generate_us} + row->embed_us;
      }
    }
    PS_RETURN_IF_ERROR(results.status());
  }
  return absl::OkStatus();
}

absl::Status Ledger::LoadSettings(Database& database) {
  absl::MutexLock lock(&mu_);
  Rows rows(database, Family::kSettings, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    if (!ParseSweepKey(rows.key(), id)) return Unreadable(Family::kSettings, rows.key());
    if (deleting_.contains(id)) continue;
    const auto entry = entries_.find(id);
    const auto bytes = Unversioned(rows.value());
    if (entry == entries_.end() || !bytes.ok() ||
        !entry->second.settings.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
      return Unreadable(Family::kSettings, rows.key());
    }
  }
  return rows.status();
}

absl::Status Ledger::LoadProvenance(Database& database) {
  Rows rows(database, Family::kProvenance, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    const auto bytes = Unversioned(rows.value());
    if (!ParseProvenanceKey(rows.key(), id) || !bytes.ok()) return Unreadable(Family::kProvenance, rows.key());
    provenance_[Sha256Of(*bytes)] = id;
    last_provenance_ = id;
  }
  return rows.status();
}

absl::Status Ledger::LoadDims(Database& database) {
  for (const auto& sweep : Sweeps()) {
    for (int e = 0; e < sweep->manifest().embedders_size(); ++e) {
      const uint16_t embedder = static_cast<uint16_t>(e);
      // A vector that cannot be read is for readers and verification to report, and no reason to refuse the whole store.
      if (const uint32_t dim = EmbeddingRows::FindDim(database, *sweep, embedder)) dims_[{sweep->id, embedder}] = dim;
    }
  }
  return absl::OkStatus();
}

}  // namespace promptsweep::store
