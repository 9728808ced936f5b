#include "store/maintenance.h"

#include <rocksdb/convenience.h>
#include <rocksdb/metadata.h>
#include <rocksdb/transaction_log.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr int kPollsPerLog = 50;
constexpr int kMaxBlobRounds = 4;

using Property = rocksdb::DB::Properties;

// As of now, in a word: nobody reads what was there before.
absl::Status AwaitSnapshots(Database& database, const Cancellation& cancellation) {
  const uint64_t now = database.db().GetLatestSequenceNumber();
  while (true) {
    uint64_t oldest = 0;
    if (!database.db().GetIntProperty(Property::kOldestSnapshotSequence, &oldest) || oldest == 0 || oldest >= now) {
      return absl::OkStatus();
    }
    PS_RETURN_IF_ERROR(cancellation.Wait(kPoll));
  }
}

// Tables, blob files and logs in the folder that hold something.
absl::StatusOr<std::set<std::string>> DataFiles(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (!absl::EndsWith(name, ".sst") && !absl::EndsWith(name, ".blob") && !absl::EndsWith(name, ".log")) continue;
    std::error_code gone;
    if (entry.file_size(gone) > 0 && !gone) names.insert(name);
  }
  if (error) return absl::UnavailableError(absl::StrCat("cannot read folder ", folder, ": ", error.message()));
  return names;
}

// Tables and blob files that the store needs.
std::set<std::string> LiveFiles(Database& database) {
  std::vector<rocksdb::LiveFileMetaData> tables;
  database.db().GetLiveFilesMetaData(&tables);
  std::set<std::string> names;
  const auto add = [&](absl::string_view name) { names.emplace(absl::StripPrefix(name, "/")); };
  for (const auto& table : tables) add(table.name);
  for (size_t i = 0; i < kFamilies; ++i) {
    rocksdb::ColumnFamilyMetaData family;
    database.db().GetColumnFamilyMetaData(database.family(static_cast<Family>(i)), &family);
    for (const auto& blob : family.blob_files) add(blob.blob_file_name);
  }
  return names;
}

// Files of `before` that are not needed go once nothing reads them any more: a scan that began in between holds some a little
// longer.
absl::Status AwaitRemoval(Database& database, const std::set<std::string>& before, Cancellation& cancellation) {
  for (int round = 0;; ++round) {
    // Removes obsolete files in this thread rather than some time later.
    PS_RETURN_IF_ERROR(FromRocks(database.db().DisableFileDeletions()));
    PS_RETURN_IF_ERROR(FromRocks(database.db().EnableFileDeletions(/*force=*/false)));
    const std::set<std::string> live = LiveFiles(database);
    bool left = false;
    bool log_left = false;
    for (const std::string& name : before) {
      std::error_code error;
      if (live.contains(name) || !std::filesystem::exists(absl::StrCat(database.folder(), "/", name), error)) continue;
      left = true;
      log_left = log_left || absl::EndsWith(name, ".log");
    }
    if (!left) return absl::OkStatus();
    // A family whose flush ended after the next log had begun holds its log until one more begins, which in a store at rest
    // would be never.
    if (log_left && round % kPollsPerLog == 0) PS_RETURN_IF_ERROR(database.BeginLog());
    PS_RETURN_IF_ERROR(cancellation.Wait(kPoll));
  }
}

// A disk that fills up under RocksDB ends the process, and the same work would end the next one.
absl::Status CheckRoom(Database& database, uint64_t bytes) {
  PS_ASSIGN_OR_RETURN(const uint64_t free, database.FreeBytes());
  const uint64_t wanted = bytes + database.low_water_bytes() / 4;
  if (free >= wanted) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("disk full: ", free >> 20, " MiB are free in ", database.folder(), ", ",
                                                   wanted >> 20, " MiB are needed to rewrite what is there"));
}

// What a compaction of `range` that empties the oldest `blob_files` blob files may write.
uint64_t BytesToRewrite(const rocksdb::ColumnFamilyMetaData& family, const KeyRange& range, size_t blob_files) {
  uint64_t bytes = 0;
  for (const auto& level : family.levels) {
    for (const auto& table : level.files) {
      if (table.smallestkey <= range.end && table.largestkey >= range.begin) bytes += table.size;
    }
  }
  for (size_t i = 0; i < blob_files; ++i) {
    bytes += family.blob_files[i].total_blob_bytes - family.blob_files[i].garbage_blob_bytes;
  }
  return bytes;
}

absl::Status FlushAll(Database& database) {
  uint64_t memory = 0;
  (void)database.db().GetAggregatedIntProperty(Property::kCurSizeAllMemTables, &memory);
  PS_RETURN_IF_ERROR(CheckRoom(database, memory));
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  for (size_t i = 0; i < kFamilies; ++i) families.push_back(database.family(static_cast<Family>(i)));
  rocksdb::FlushOptions options;
  options.allow_write_stall = true;
  return Annotate(FromRocks(database.db().Flush(options, families)), "writing out memory failed");
}

absl::Status CompactRange(Database& database, const KeyRange& range, double blob_cutoff, uint64_t bytes,
                          Cancellation& cancellation) {
  PS_RETURN_IF_ERROR(cancellation.status());
  PS_RETURN_IF_ERROR(CheckRoom(database, bytes));
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  options.allow_write_stall = true;
  options.canceled = cancellation.flag();
  if (range.family == Family::kImages && blob_cutoff > 0) {
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    options.blob_garbage_collection_age_cutoff = blob_cutoff;
  }
  const rocksdb::Slice begin = ToSlice(range.begin);
  const rocksdb::Slice end = ToSlice(range.end);
  const rocksdb::Status status = database.db().CompactRange(options, database.family(range.family), &begin, &end);
  PS_RETURN_IF_ERROR(cancellation.status());
  return Annotate(FromRocks(status), absl::StrCat("compacting ", FamilyName(range.family), " failed"));
}

// A blob file goes once no table refers to it. One that holds dead blobs beside live ones, of tables outside of the ranges that
// were compacted, is emptied by compacting those tables too.
absl::Status EmptyBlobFiles(Database& database, Cancellation& cancellation) {
  for (int round = 0; round < kMaxBlobRounds; ++round) {
    rocksdb::ColumnFamilyMetaData family;
    database.db().GetColumnFamilyMetaData(database.family(Family::kImages), &family);
    std::sort(family.blob_files.begin(), family.blob_files.end(),
              [](const auto& a, const auto& b) { return a.blob_file_number < b.blob_file_number; });
    size_t files = 0;  // the oldest so many are to be emptied
    for (size_t i = 0; i < family.blob_files.size(); ++i) {
      if (family.blob_files[i].garbage_blob_count > 0) files = i + 1;
    }
    if (files == 0) return absl::OkStatus();
    const uint64_t last = family.blob_files[files - 1].blob_file_number;
    KeyRange range{Family::kImages, EndOfKeys(), ""};
    for (const auto& level : family.levels) {
      for (const auto& table : level.files) {
        if (table.oldest_blob_file_number == 0 || table.oldest_blob_file_number > last) continue;
        range.begin = std::min(range.begin, table.smallestkey);
        range.end = std::max(range.end, table.largestkey);
      }
    }
    if (range.end.empty()) return absl::OkStatus();
    // RocksDB rounds the share of files down.
    const double share = (static_cast<double>(files) + 0.5) / static_cast<double>(family.blob_files.size());
    const double cutoff = round + 1 < kMaxBlobRounds ? std::min(share, 1.0) : 1.0;
    const size_t emptied = cutoff < 1 ? files : family.blob_files.size();
    PS_RETURN_IF_ERROR(CompactRange(database, range, cutoff, BytesToRewrite(family, range, emptied), cancellation));
  }
  return absl::OkStatus();
}

uint64_t Number(Database& database, Family family, const std::string& property) {
  uint64_t value = 0;
  (void)database.db().GetIntProperty(database.family(family), property, &value);
  return value;
}

}  // namespace

absl::Status Cancellation::status() const {
  return cancelled() ? absl::UnavailableError("the store is shutting down") : absl::OkStatus();
}

absl::Status Cancellation::Wait(absl::Duration timeout) const {
  notification_.WaitForNotificationWithTimeout(timeout);
  return status();
}

absl::Status Purge(Database& database, const std::vector<KeyRange>& ranges, Cancellation& cancellation) {
  PS_RETURN_IF_ERROR(AwaitSnapshots(database, cancellation));
  PS_ASSIGN_OR_RETURN(const std::set<std::string> before, DataFiles(database.folder()));
  PS_RETURN_IF_ERROR(FlushAll(database));
  bool images = false;
  for (const KeyRange& range : ranges) {
    rocksdb::ColumnFamilyMetaData family;
    database.db().GetColumnFamilyMetaData(database.family(range.family), &family);
    const uint64_t bytes = BytesToRewrite(family, range, /*blob_files=*/0);
    PS_RETURN_IF_ERROR(CompactRange(database, range, /*blob_cutoff=*/0, bytes, cancellation));
    images = images || range.family == Family::kImages;
  }
  if (images) PS_RETURN_IF_ERROR(EmptyBlobFiles(database, cancellation));
  return AwaitRemoval(database, before, cancellation);
}

absl::Status DropTables(Database& database, const std::vector<KeyRange>& ranges, Cancellation& cancellation) {
  PS_RETURN_IF_ERROR(AwaitSnapshots(database, cancellation));
  for (const KeyRange& range : ranges) {
    PS_RETURN_IF_ERROR(cancellation.status());
    const rocksdb::Slice begin = ToSlice(range.begin);
    const rocksdb::Slice end = ToSlice(range.end);
    const rocksdb::Status status =
        rocksdb::DeleteFilesInRange(&database.db(), database.family(range.family), &begin, &end, /*include_end=*/false);
    PS_RETURN_IF_ERROR(Annotate(FromRocks(status), absl::StrCat("dropping tables of ", FamilyName(range.family), " failed")));
  }
  return absl::OkStatus();
}

std::vector<KeyRange> AllKeys() {
  std::vector<KeyRange> ranges;
  for (size_t i = 0; i < kFamilies; ++i) ranges.push_back({static_cast<Family>(i), "", EndOfKeys()});
  return ranges;
}

uint64_t FolderBytes(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  auto it = std::filesystem::recursive_directory_iterator(folder, error);
  for (; !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    std::error_code gone;
    if (!it->is_regular_file(gone)) continue;
    const uint64_t size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

absl::Status FillStats(Database& database, v1::GetStatsResponse& stats) {
  for (size_t i = 0; i < kFamilies; ++i) {
    const Family family = static_cast<Family>(i);
    const uint64_t memtables = Number(database, family, Property::kSizeAllMemTables);
    v1::FamilyStats row;
    row.set_name(FamilyName(family));
    row.set_rows(Number(database, family, Property::kEstimateNumKeys));
    row.set_table_bytes(Number(database, family, Property::kLiveSstFilesSize));
    row.set_blob_bytes(Number(database, family, Property::kLiveBlobFileSize));
    // An empty memtable takes a little, too.
    const uint64_t entries = Number(database, family, Property::kNumEntriesActiveMemTable) +
                             Number(database, family, Property::kNumEntriesImmMemTables);
    if (entries > 0) row.set_memory_bytes(memtables);
    if (row.rows() + row.table_bytes() + row.blob_bytes() + row.memory_bytes() > 0) *stats.add_families() = std::move(row);
  }
  rocksdb::VectorLogPtr logs;
  PS_RETURN_IF_ERROR(FromRocks(database.db().GetSortedWalFiles(logs)));
  for (const auto& log : logs) stats.set_log_bytes(stats.log_bytes() + log->SizeFileBytes());
  stats.set_folder_bytes(FolderBytes(database.folder()));
  PS_ASSIGN_OR_RETURN(const uint64_t free, database.FreeBytes());
  stats.set_free_bytes(free);
  stats.set_memory_bytes(database.memory_used());
  stats.set_memory_limit_bytes(database.memory_limit());
  stats.set_acknowledged(database.acknowledged());
  const WrittenBytes written = database.written();
  stats.set_written_bytes(written.log + written.tables + written.blobs);
  return absl::OkStatus();
}

}  // namespace promptsweep::store
