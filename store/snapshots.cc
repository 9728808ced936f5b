#include "store/snapshots.h"

#include <fcntl.h>
#include <rocksdb/utilities/backup_engine.h>
#include <rocksdb/utilities/checkpoint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/high_water.h"
#include "store/ledger.h"
#include "store/stoppable_fs.h"

namespace promptsweep::store {
namespace {

namespace fs = std::filesystem;

// What a folder is called until it is whole. No name that a client may choose ends like this.
constexpr char kUnfinished[] = "~unfinished";

// Absolute, as RocksDB's backups want it, and without a trailing slash.
std::string Normal(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.string();
}

absl::Status SyncPath(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::UnavailableError(absl::StrCat("cannot sync ", path, ": ", std::strerror(errno)));
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0) return absl::UnavailableError(absl::StrCat("cannot sync ", path, ": ", std::strerror(error)));
  return absl::OkStatus();
}

// RocksDB's own checkpoints leave some of it to the kernel.
absl::Status SyncTree(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) PS_RETURN_IF_ERROR(SyncPath(entry.path().string()));
  if (error) return absl::UnavailableError(absl::StrCat("cannot read folder ", folder, ": ", error.message()));
  return SyncPath(folder);
}

// A place for a new folder: nothing there, or an empty folder. What an earlier attempt left beside it is removed.
absl::Status CheckPlace(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !(fs::is_directory(folder, error) && fs::is_empty(folder, error))) {
    return absl::AlreadyExistsError(absl::StrCat(folder, " is not an empty folder"));
  }
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot read ", folder, ": ", error.message()));
  fs::remove_all(folder + kUnfinished, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot remove ", folder, kUnfinished, ": ", error.message()));
  const fs::path parent = fs::path(folder).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot make ", parent.string(), ": ", error.message()));
  return absl::OkStatus();
}

// A finished folder gets its name.
absl::Status Publish(const std::string& folder) {
  ::chmod((folder + kUnfinished).c_str(), 0700);
  if (::rename((folder + kUnfinished).c_str(), folder.c_str()) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot make ", folder, ": ", std::strerror(errno)));
  }
  const fs::path parent = fs::path(folder).parent_path();
  return SyncPath(parent.empty() ? "." : parent.string());
}

absl::Status CheckOutside(const Database& database, const std::string& folder) {
  std::error_code error;
  const fs::path store = fs::weakly_canonical(database.folder(), error);
  const fs::path place = fs::weakly_canonical(folder, error);
  const auto [end, at] = std::mismatch(store.begin(), store.end(), place.begin(), place.end());
  if (end == store.end()) return absl::InvalidArgumentError(absl::StrCat(folder, " is inside the store's own folder"));
  return absl::OkStatus();
}

// `copy` was made between the two counts of the store.
absl::Status CheckCounts(const std::map<uint32_t, uint64_t>& before, const std::map<uint32_t, uint64_t>& after,
                         const FolderFacts& copy) {
  for (const auto& [sweep, done] : before) {
    const auto it = copy.done.find(sweep);
    const uint64_t copied = it == copy.done.end() ? 0 : it->second;
    const auto now = after.find(sweep);
    if (copied < done || (now != after.end() && copied > now->second)) {
      return absl::DataLossError(absl::StrCat("sweep ", sweep, " has ", copied, " results in the copy, ", done, " in the store"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCopy(const SnapshotSource& source, const FolderFacts& copy, uint64_t sequence,
                       const std::map<uint32_t, uint64_t>& before) {
  if (copy.uuid != source.database.uuid()) return absl::DataLossError("the copy has another store's id");
  if (copy.sequence < sequence) {
    return absl::DataLossError(absl::StrCat("the copy ends at write ", copy.sequence, ", the store was at ", sequence));
  }
  return CheckCounts(before, source.done(), copy);
}

absl::StatusOr<FolderFacts> TryCheckpoint(const SnapshotSource& source, const std::string& folder) {
  const std::map<uint32_t, uint64_t> before = source.done();
  const uint64_t sequence = source.database.db().GetLatestSequenceNumber();
  rocksdb::Checkpoint* raw = nullptr;
  PS_RETURN_IF_ERROR(FromRocks(rocksdb::Checkpoint::Create(&source.database.db(), &raw)));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
  PS_RETURN_IF_ERROR(FromRocks(checkpoint->CreateCheckpoint(folder)));
  PS_RETURN_IF_ERROR(SyncTree(folder));
  const auto env = rocksdb::NewCompositeEnv(MakeStoppable(source.database.db().GetEnv()->GetFileSystem(), source.cancellation));
  PS_ASSIGN_OR_RETURN(FolderFacts facts, InspectFolder(folder, env.get(), /*checksums=*/true, source.cancellation));
  PS_RETURN_IF_ERROR(CheckCopy(source, facts, sequence, before));
  return facts;
}

rocksdb::BackupEngineOptions EngineOptions(const std::string& folder, rocksdb::Env* env) {
  rocksdb::BackupEngineOptions options(folder, env);
  options.share_table_files = true;
  options.share_files_with_checksum = true;
  options.sync = true;
  return options;
}

// A folder that is new, empty, or one of backups.
absl::Status CheckBackupFolder(const std::string& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) {
    fs::create_directories(folder, error);
    if (error) return absl::FailedPreconditionError(absl::StrCat("cannot make ", folder, ": ", error.message()));
    ::chmod(folder.c_str(), 0700);
    return absl::OkStatus();
  }
  if (fs::is_directory(folder, error) && (fs::is_empty(folder, error) || fs::is_directory(folder + "/meta", error))) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(folder, " is not a folder of backups"));
}

absl::Status CheckOwner(const std::vector<rocksdb::BackupInfo>& backups, const std::string& uuid, const std::string& folder) {
  for (const rocksdb::BackupInfo& backup : backups) {
    if (backup.app_metadata == ToHex(uuid)) continue;
    return absl::FailedPreconditionError(absl::StrCat(folder, " holds backups of another store (",
                                                      backup.app_metadata.substr(0, 32), "), this one is ", ToHex(uuid)));
  }
  return absl::OkStatus();
}

absl::Status Damaged(uint32_t number, const std::string& folder, const absl::Status& why) {
  if (absl::IsResourceExhausted(why) || absl::IsUnavailable(why) || absl::IsFailedPrecondition(why)) return why;
  return absl::DataLossError(absl::StrCat("backup ", number, " in ", folder, " is damaged: ", why.message()));
}

absl::StatusOr<uint32_t> ChooseBackup(const rocksdb::BackupEngineReadOnly& engine, const RestoreOptions& options) {
  std::vector<rocksdb::BackupInfo> infos;
  engine.GetBackupInfo(&infos);
  std::vector<rocksdb::BackupID> corrupted;
  engine.GetCorruptedBackups(&corrupted);
  uint32_t newest = 0;
  for (const auto& info : infos) newest = std::max(newest, info.backup_id);
  const uint32_t damaged = corrupted.empty() ? 0 : *std::max_element(corrupted.begin(), corrupted.end());
  if (options.number == 0) {
    if (damaged > newest) {
      const std::string others = newest == 0 ? "no other is left" : absl::StrCat("the newest whole one is ", newest);
      return absl::DataLossError(absl::StrCat("backup ", damaged, " in ", options.backup, " is damaged; ", others));
    }
    if (newest == 0) return absl::NotFoundError(absl::StrCat("no backup in ", options.backup));
    return newest;
  }
  if (std::find(corrupted.begin(), corrupted.end(), options.number) != corrupted.end()) {
    return absl::DataLossError(absl::StrCat("backup ", options.number, " in ", options.backup, " is damaged"));
  }
  const auto is_it = [&](const auto& info) { return info.backup_id == options.number; };
  if (std::any_of(infos.begin(), infos.end(), is_it)) return options.number;
  return absl::NotFoundError(absl::StrCat("no backup ", options.number, " in ", options.backup));
}

}  // namespace

absl::StatusOr<FolderFacts> InspectFolder(const std::string& folder, rocksdb::Env* env, bool checksums,
                                          const Cancellation& cancellation) {
  const auto inspect = [&]() -> absl::StatusOr<FolderFacts> {
    PS_ASSIGN_OR_RETURN(const auto copy, ReadOnlyDatabase::Open(folder, env));
    FolderFacts facts;
    PS_ASSIGN_OR_RETURN(const std::string version, copy->Get(Family::kMeta, kSchemaVersionKey));
    PS_ASSIGN_OR_RETURN(const uint32_t number, DecodeU32(version));
    if (number > kSchemaVersion) {
      return absl::FailedPreconditionError(
          absl::StrCat("it has schema version ", number, ", this program knows ", kSchemaVersion, ": use a newer program"));
    }
    PS_ASSIGN_OR_RETURN(facts.uuid, copy->Get(Family::kMeta, kStoreUuidKey));
    facts.sequence = copy->db().GetLatestSequenceNumber();
    std::map<uint32_t, bool> deleting;
    PS_RETURN_IF_ERROR(copy->ForEach(Family::kSweeps, [&](absl::string_view key, absl::string_view value) -> absl::Status {
      uint32_t sweep = 0;
      if (!ParseSweepKey(key, sweep)) return absl::DataLossError("unreadable key in sweeps");
      PS_ASSIGN_OR_RETURN(const SweepRow row, DecodeSweepRow(value));
      deleting[sweep] = row.state == v1::SWEEP_STATE_DELETING;
      return absl::OkStatus();
    }));
    PS_RETURN_IF_ERROR(copy->ForEach(Family::kCoverage, [&](absl::string_view key, absl::string_view value) -> absl::Status {
      uint32_t sweep = 0;
      uint64_t chunk = 0;
      if (!ParseCoverageKey(key, sweep, chunk) || !deleting.contains(sweep)) {
        return absl::DataLossError("unreadable key in coverage");
      }
      PS_ASSIGN_OR_RETURN(const Roaring bitmap, DecodeBitmap(value));
      if (!deleting[sweep]) facts.done[sweep] += bitmap.cardinality();
      return absl::OkStatus();
    }));
    if (checksums) PS_RETURN_IF_ERROR(FromRocks(copy->db().VerifyChecksum()));
    return facts;
  };
  auto facts = inspect();
  PS_RETURN_IF_ERROR(cancellation.status());
  if (!facts.ok()) return Annotate(facts.status(), folder);
  return facts;
}

absl::StatusOr<v1::CheckpointResponse> MakeCheckpoint(const SnapshotSource& source, const std::string& path) {
  const std::string folder = Normal(path);
  PS_RETURN_IF_ERROR(CheckOutside(source.database, folder));
  PS_RETURN_IF_ERROR(source.cancellation.status());
  const std::string unfinished = folder + kUnfinished;
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    PS_RETURN_IF_ERROR(CheckPlace(folder));
    const auto facts = TryCheckpoint(source, unfinished);
    status = facts.status();
    if (status.ok()) {
      PS_RETURN_IF_ERROR(WriteHighWaterMark(unfinished, facts->uuid, facts->sequence));
      PS_RETURN_IF_ERROR(Publish(folder));
      v1::CheckpointResponse response;
      response.set_folder(folder);
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(folder, error)) {
        response.set_files(response.files() + (entry.is_regular_file(error) ? 1 : 0));
      }
      response.set_bytes(FolderBytes(folder));
      return response;
    }
    std::error_code error;
    fs::remove_all(unfinished, error);
    PS_RETURN_IF_ERROR(source.cancellation.status());
  }
  return Annotate(status, absl::StrCat("checkpoint ", folder, " failed twice and was removed"));
}

absl::StatusOr<v1::BackupResponse> MakeBackup(const SnapshotSource& source, const std::string& path) {
  const std::string folder = Normal(path);
  PS_RETURN_IF_ERROR(CheckOutside(source.database, folder));
  PS_RETURN_IF_ERROR(source.cancellation.status());
  PS_RETURN_IF_ERROR(CheckBackupFolder(folder));
  const uint64_t bytes_before = FolderBytes(folder);
  rocksdb::Env* db_env = source.database.db().GetEnv();
  const auto env = rocksdb::NewCompositeEnv(MakeStoppable(db_env->GetFileSystem(), source.cancellation));
  rocksdb::BackupEngine* raw = nullptr;
  const auto stopped = [&](const rocksdb::Status& status) {
    const absl::Status cancelled = source.cancellation.status();
    return cancelled.ok() ? Annotate(FromRocks(status), absl::StrCat("backup to ", folder)) : cancelled;
  };
  PS_RETURN_IF_ERROR(stopped(rocksdb::BackupEngine::Open(EngineOptions(folder, env.get()), env.get(), &raw)));
  const std::unique_ptr<rocksdb::BackupEngine> engine(raw);
  std::vector<rocksdb::BackupInfo> earlier;
  engine->GetBackupInfo(&earlier);
  PS_RETURN_IF_ERROR(CheckOwner(earlier, source.database.uuid(), folder));

  const std::map<uint32_t, uint64_t> before = source.done();
  const uint64_t sequence = source.database.db().GetLatestSequenceNumber();
  rocksdb::CreateBackupOptions create;
  create.flush_before_backup = true;
  rocksdb::BackupID number = 0;
  PS_RETURN_IF_ERROR(
      stopped(engine->CreateNewBackupWithMetadata(create, &source.database.db(), ToHex(source.database.uuid()), &number)));
  rocksdb::BackupInfo info;
  const auto check = [&]() -> absl::Status {
    PS_RETURN_IF_ERROR(FromRocks(engine->VerifyBackup(number, /*verify_with_checksum=*/true)));
    PS_RETURN_IF_ERROR(FromRocks(engine->GetBackupInfo(number, &info, /*include_file_details=*/true)));
    PS_ASSIGN_OR_RETURN(const FolderFacts facts,
                        InspectFolder(info.name_for_open, info.env_for_open.get(), /*checksums=*/false, source.cancellation));
    return CheckCopy(source, facts, sequence, before);
  };
  if (const absl::Status status = check(); !status.ok()) {
    PS_RETURN_IF_ERROR(source.cancellation.status());
    (void)engine->DeleteBackup(number);
    return Damaged(number, folder, status);
  }
  v1::BackupResponse response;
  response.set_folder(folder);
  response.set_backup(number);
  response.set_bytes(info.size);
  // Opening it may have removed what a broken-off backup left.
  const uint64_t bytes_after = FolderBytes(folder);
  response.set_copied_bytes(bytes_after - std::min(bytes_after, bytes_before));
  return response;
}

absl::StatusOr<Restored> RestoreStore(const RestoreOptions& given) {
  RestoreOptions options = given;
  options.backup = Normal(options.backup);
  std::error_code error;
  if (!fs::is_directory(options.backup + "/meta", error)) {
    return absl::NotFoundError(absl::StrCat("no folder of backups ", options.backup));
  }
  const std::string folder = Normal(options.folder);
  PS_RETURN_IF_ERROR(CheckPlace(folder));
  rocksdb::Env* env = rocksdb::Env::Default();
  rocksdb::BackupEngineReadOnly* raw = nullptr;
  PS_RETURN_IF_ERROR(Annotate(FromRocks(rocksdb::BackupEngineReadOnly::Open(EngineOptions(options.backup, nullptr), env, &raw)),
                              options.backup));
  const std::unique_ptr<rocksdb::BackupEngineReadOnly> engine(raw);
  PS_ASSIGN_OR_RETURN(const uint32_t number, ChooseBackup(*engine, options));
  const std::string unfinished = folder + kUnfinished;
  Restored restored;
  restored.backup = number;
  const auto restore = [&]() -> absl::Status {
    PS_RETURN_IF_ERROR(FromRocks(engine->VerifyBackup(number, /*verify_with_checksum=*/true)));
    PS_RETURN_IF_ERROR(FromRocks(engine->RestoreDBFromBackup(rocksdb::RestoreOptions(), number, unfinished, unfinished)));
    PS_RETURN_IF_ERROR(SyncTree(unfinished));
    PS_ASSIGN_OR_RETURN(restored.facts, InspectFolder(unfinished, env, /*checksums=*/true, Cancellation()));
    rocksdb::BackupInfo info;
    PS_RETURN_IF_ERROR(FromRocks(engine->GetBackupInfo(number, &info)));
    if (info.app_metadata != ToHex(restored.facts.uuid)) return absl::DataLossError("it names another store than it holds");
    return absl::OkStatus();
  };
  if (const absl::Status status = restore(); !status.ok()) {
    fs::remove_all(unfinished, error);
    return Damaged(number, options.backup, status);
  }
  PS_RETURN_IF_ERROR(WriteHighWaterMark(unfinished, restored.facts.uuid, restored.facts.sequence));
  PS_RETURN_IF_ERROR(Publish(folder));
  restored.bytes = FolderBytes(folder);
  return restored;
}

absl::Status CheckSnapshotName(const std::string& name) {
  const auto fits = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; };
  if (!name.empty() && name.size() <= 128 && name != "." && !absl::StrContains(name, "..") &&
      std::all_of(name.begin(), name.end(), fits)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("over a server a folder is a bare name of letters, digits, '.', '_' and '-'");
}

}  // namespace promptsweep::store
