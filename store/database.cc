#include "store/database.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/high_water.h"
#include "store/plain_log.h"
#include "store/watched_fs.h"

namespace promptsweep::store {
namespace {

constexpr size_t kUuidSize = 16;
// Writes of a store that holds nothing yet: see CheckMeta.
constexpr uint64_t kCreationWrites = 2;

class BackgroundErrors final : public rocksdb::EventListener {
 public:
  explicit BackgroundErrors(std::function<void(absl::Status)> report) : report_(std::move(report)) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    // Failed writes report themselves to the writer.
    if (reason == rocksdb::BackgroundErrorReason::kWriteCallback || !report_ || error->ok()) return;
    report_(Annotate(FromRocks(*error), "background work of the store failed"));
  }

 private:
  const std::function<void(absl::Status)> report_;
};

rocksdb::DBOptions DatabaseOptions(rocksdb::Env* env, std::shared_ptr<rocksdb::WriteBufferManager> memtables,
                                   const std::function<void(absl::Status)>& on_background_error) {
  rocksdb::DBOptions options;
  options.env = env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  // The default mode stops silently at the first bad record of the log, which may hide acknowledged results behind it. This
  // one forgives only what an unfinished write leaves at the tail.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  // A full disk must not keep the store from opening.
  options.avoid_flush_during_recovery = true;
  options.max_bgerror_resume_count = 0;
  options.max_background_jobs = 2;
  options.max_open_files = 1024;
  options.write_buffer_manager = std::move(memtables);
  options.max_total_wal_size = 256 << 20;
  options.bytes_per_sync = 1 << 20;
  options.wal_bytes_per_sync = 512 << 10;
  options.listeners.push_back(std::make_shared<BackgroundErrors>(on_background_error));
  return options;
}

// `memtable_bytes`: of all families together.
rocksdb::ColumnFamilyOptions FamilyOptions(const std::string& name, const std::shared_ptr<rocksdb::Cache>& cache,
                                           size_t memtable_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.block_size = 16 << 10;

  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 8 << 20;
  options.level_compaction_dynamic_level_bytes = true;
  options.compression = rocksdb::kLZ4Compression;
  if (name == FamilyName(Family::kResults) || name == FamilyName(Family::kByFingerprint)) {
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  } else if (name == FamilyName(Family::kImages)) {
    options.write_buffer_size = 32 << 20;
    options.compression = rocksdb::kNoCompression;
    options.enable_blob_files = true;
    options.min_blob_size = 4 << 10;
    // No image is ever overwritten: garbage comes with the deletion of a sweep, which collects it by compacting with kForce.
    // Collection at every compaction would write live images a second time.
    options.enable_blob_garbage_collection = false;
  } else if (name == FamilyName(Family::kEmbeddings)) {
    // Scans pay per block, vectors do not compress.
    options.write_buffer_size = 16 << 20;
    options.compression = rocksdb::kNoCompression;
    table.block_size = 64 << 10;
    // Every row is deleted once it is packed; without compaction scans would step over the remains.
    options.table_properties_collector_factories.push_back(rocksdb::NewCompactOnDeletionCollectorFactory(2048, 1024));
  } else if (name == FamilyName(Family::kEmbeddingChunks)) {
    // A value fills a block of its own. Reading ahead would only copy it once more.
    options.write_buffer_size = 16 << 20;
    options.compression = rocksdb::kNoCompression;
    table.max_auto_readahead_size = 0;
  }
  options.write_buffer_size = std::min(options.write_buffer_size, memtable_bytes / 3);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

bool IsDataFile(const std::string& name) {
  return absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".blob") ||
         (absl::EndsWith(name, ".log") && name.size() > 4 && name.find_first_not_of("0123456789") == name.size() - 4);
}

// Makes the folder or says why there is no store to open in it.
absl::Status PrepareFolder(const std::string& folder, bool create_if_missing) {
  std::error_code error;
  const auto status = std::filesystem::status(folder, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    if (!create_if_missing) return absl::NotFoundError(absl::StrCat("no store folder ", folder));
    std::filesystem::create_directories(folder, error);
    if (error == std::errc::no_space_on_device) {
      return absl::ResourceExhaustedError(absl::StrCat("disk full: cannot make folder ", folder));
    }
    if (error) return absl::FailedPreconditionError(absl::StrCat("cannot make folder ", folder, ": ", error.message()));
    ::chmod(folder.c_str(), 0700);
    return absl::OkStatus();
  }
  if (status.type() != std::filesystem::file_type::directory) {
    return absl::FailedPreconditionError(absl::StrCat(folder, " is not a folder that can be read"));
  }
  if (std::filesystem::exists(std::filesystem::path(folder) / "CURRENT", error)) return absl::OkStatus();
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (IsDataFile(entry.path().filename())) {
      return absl::FailedPreconditionError(absl::StrCat(folder, " is a damaged store: it has data files (",
                                                        entry.path().filename().string(), ") but no CURRENT file"));
    }
  }
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot read folder ", folder, ": ", error.message()));
  if (!create_if_missing) return absl::NotFoundError(absl::StrCat("no store in folder ", folder));
  return absl::OkStatus();
}

absl::Status CheckKnown(const std::string& folder, uint32_t version) {
  if (version <= kSchemaVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("store ", folder, " has schema version ", version, ", this program knows ",
                                                    kSchemaVersion, ": use a newer program"));
}

std::string RandomUuid() {
  std::string uuid(kUuidSize, '\0');
  while (::getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) {
  }
  return uuid;
}

}  // namespace

absl::Status FromRocks(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrReplaceAll(status.ToString(), {{"\n", " "}});
  if (status.IsNotFound()) return absl::NotFoundError(text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(absl::StrCat("disk full: ", text));
  if (status.IsCorruption()) return absl::DataLossError(text);
  if (status.IsIOError()) return absl::UnavailableError(text);
  if (status.IsInvalidArgument()) return absl::FailedPreconditionError(text);
  return absl::InternalError(text);
}

Database::Database(Options options) : options_(std::move(options)) {
  HighWater::Options high_water;
  high_water.folder = options_.folder;
  high_water.on_error = options_.on_background_error;
  high_water_ = std::make_unique<HighWater>(std::move(high_water));
}

Database::~Database() {
  if (db_) {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) {
      if (handle) (void)db_->DestroyColumnFamilyHandle(handle);
    }
    for (rocksdb::ColumnFamilyHandle* handle : unknown_) (void)db_->DestroyColumnFamilyHandle(handle);
    (void)db_->Close();
    db_.reset();
  }
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

std::string Database::BallastPath() const { return options_.folder + "/ballast"; }

absl::StatusOr<std::unique_ptr<Database>> Database::Open(Options options) {
  PS_RETURN_IF_ERROR(PrepareFolder(options.folder, options.create_if_missing));
  options.memory_bytes = std::max(options.memory_bytes, kMinMemoryBytes);
  std::unique_ptr<Database> database(new Database(std::move(options)));
  PS_RETURN_IF_ERROR(database->LockFolder());
  PS_RETURN_IF_ERROR(database->CheckVersion());
  PS_RETURN_IF_ERROR(database->OpenRocks());
  PS_RETURN_IF_ERROR(database->CheckMeta());
  database->RestoreBallast();
  return database;
}

absl::Status Database::LockFolder() {
  const std::string path = options_.folder + "/promptsweep.lock";
  lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0 && errno == ENOSPC) {
    ::unlink(BallastPath().c_str());
    lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  if (lock_fd_ < 0) {
    const std::string why = std::strerror(errno);
    if (errno == ENOSPC) return absl::ResourceExhaustedError(absl::StrCat("disk full: cannot open store ", options_.folder));
    return absl::FailedPreconditionError(absl::StrCat("cannot open store ", options_.folder, ": ", why));
  }
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("store ", options_.folder, " is in use by another process"));
  }
  return absl::OkStatus();
}

absl::Status Database::CheckVersion() {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::path(options_.folder) / "CURRENT", error)) return absl::OkStatus();
  const auto env = rocksdb::NewCompositeEnv(options_.file_system ? options_.file_system : rocksdb::FileSystem::Default());
  const auto database = ReadOnlyDatabase::Open(options_.folder, env.get(), {Family::kMeta});
  // What keeps it from being read is said by opening it.
  if (!database.ok()) return absl::OkStatus();
  const auto version = (*database)->Get(Family::kMeta, kSchemaVersionKey);
  if (!version.ok()) return absl::OkStatus();
  PS_ASSIGN_OR_RETURN(const uint32_t number, DecodeU32(*version));
  return CheckKnown(options_.folder, number);
}

absl::Status Database::OpenRocks() {
  PS_RETURN_IF_ERROR(high_water_->Load(options_.accept_loss));
  files_ = std::make_shared<WatchedFs>(options_.file_system ? options_.file_system : rocksdb::FileSystem::Default(),
                                       options_.folder, *high_water_);
  // RocksDB deletes what its manifest does not name, so harm is looked for before it opens.
  PS_RETURN_IF_ERROR(high_water_->CheckFiles(*files_));
  env_ = rocksdb::NewCompositeEnv(files_);
  cache_ = rocksdb::NewLRUCache(options_.memory_bytes);
  // Memtables take their room out of the cache's.
  const size_t memtable_bytes = options_.memory_bytes / 3 * 2;
  memtables_ = std::make_shared<rocksdb::WriteBufferManager>(memtable_bytes, cache_);
  rocksdb::DBOptions db_options = DatabaseOptions(env_.get(), memtables_, options_.on_background_error);
  db_options.info_log = std::make_shared<PlainLog>(options_.folder + "/LOG");
  if (options_.write_buffer_bytes > 0) db_options.max_total_wal_size = 4 * options_.write_buffer_bytes;

  std::vector<std::string> names;
  for (size_t i = 0; i < kFamilies; ++i) names.push_back(FamilyName(static_cast<Family>(i)));
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::path(options_.folder) / "CURRENT", error)) {
    std::vector<std::string> present;
    const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(db_options, options_.folder, &present);
    if (!listed.ok()) return Annotate(FromRocks(listed), absl::StrCat("cannot open store ", options_.folder));
    for (const std::string& name : present) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (size_t i = 0; i < names.size(); ++i) {
    rocksdb::ColumnFamilyOptions family = FamilyOptions(names[i], cache_, memtable_bytes);
    if (options_.write_buffer_bytes > 0) family.write_buffer_size = options_.write_buffer_bytes;
    if (i >= kFamilies) family.disable_auto_compactions = true;
    descriptors.emplace_back(names[i], family);
  }

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened = rocksdb::DB::Open(db_options, options_.folder, descriptors, &handles, &db);
  if (opened.IsNoSpace() && ::unlink(BallastPath().c_str()) == 0) {
    opened = rocksdb::DB::Open(db_options, options_.folder, descriptors, &handles, &db);
  }
  if (opened.IsCorruption() && high_water_->MayEndEarly()) {
    // A power cut may leave a whole record of which only some pages were written, which the mode above takes for harm.
    db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    opened = rocksdb::DB::Open(db_options, options_.folder, descriptors, &handles, &db);
    high_water_->set_ended_early();
  }
  if (!opened.ok()) return Annotate(FromRocks(opened), absl::StrCat("cannot open store ", options_.folder));
  db_.reset(db);
  std::copy_n(handles.begin(), kFamilies, handles_.begin());
  unknown_.assign(handles.begin() + kFamilies, handles.end());
  return absl::OkStatus();
}

absl::Status Database::CheckMeta() {
  const std::string& folder = options_.folder;
  auto version = Get(Family::kMeta, kSchemaVersionKey);
  if (absl::IsNotFound(version.status())) {
    // A new store, or one whose making was interrupted: this is its first write.
    PS_RETURN_IF_ERROR(high_water_->CheckNothing());
    if (!unknown_.empty()) return absl::FailedPreconditionError(absl::StrCat(folder, " is a database of another program"));
    rocksdb::WriteBatch batch;
    (void)batch.Put(family(Family::kMeta), ToSlice(kSchemaVersionKey), ToSlice(EncodeU32(kSchemaVersion)));
    (void)batch.Put(family(Family::kMeta), ToSlice(kStoreUuidKey), ToSlice(RandomUuid()));
    rocksdb::WriteOptions options;
    options.sync = true;
    PS_RETURN_IF_ERROR(Annotate(FromRocks(db_->Write(options, &batch)), absl::StrCat("cannot make store ", folder)));
    version = Get(Family::kMeta, kSchemaVersionKey);
  }
  PS_RETURN_IF_ERROR(Annotate(version.status(), absl::StrCat("cannot open store ", folder)));
  PS_ASSIGN_OR_RETURN(const uint32_t number, DecodeU32(*version));
  PS_RETURN_IF_ERROR(CheckKnown(folder, number));
  PS_ASSIGN_OR_RETURN(uuid_, Get(Family::kMeta, kStoreUuidKey));
  const uint64_t sequence = db_->GetLatestSequenceNumber();
  PS_RETURN_IF_ERROR(high_water_->CheckStore(uuid_, sequence, kCreationWrites, /*had_mark=*/number >= 2));
  // What the log gave back may have been written but never synced, and from here on it counts as acknowledged.
  PS_RETURN_IF_ERROR(Annotate(SyncLogs(), absl::StrCat("cannot open store ", folder)));
  PS_RETURN_IF_ERROR(Annotate(high_water_->Start(uuid_, sequence), absl::StrCat("cannot open store ", folder)));
  if (number < kSchemaVersion || high_water_->ended_early()) {
    // Every version so far only added families, which opening made; rows of earlier versions are read as they are. And a write
    // whose number follows the bad record tells later openings that nothing is missing there.
    PS_RETURN_IF_ERROR(Annotate(FromRocks(PutVersion()), absl::StrCat("cannot migrate store ", folder)));
  }
  return absl::OkStatus();
}

rocksdb::Status Database::PutVersion() {
  rocksdb::WriteOptions options;
  options.sync = true;
  return db_->Put(options, family(Family::kMeta), ToSlice(kSchemaVersionKey), ToSlice(EncodeU32(kSchemaVersion)));
}

absl::Status Database::BeginLog() {
  PS_RETURN_IF_ERROR(Annotate(FromRocks(PutVersion()), "ending the log failed"));
  rocksdb::FlushOptions options;
  options.allow_write_stall = true;
  return Annotate(FromRocks(db_->Flush(options, family(Family::kMeta))), "ending the log failed");
}

absl::Status Database::SyncLogs() {
  rocksdb::FileSystem& files = *env_->GetFileSystem();
  std::vector<std::string> names;
  PS_RETURN_IF_ERROR(FromRocks(files.GetChildren(options_.folder, rocksdb::IOOptions(), &names, nullptr)));
  for (const std::string& name : names) {
    if (!IsDataFile(name) || !absl::EndsWith(name, ".log")) continue;
    std::unique_ptr<rocksdb::FSWritableFile> log;
    PS_RETURN_IF_ERROR(FromRocks(files.ReopenWritableFile(options_.folder + "/" + name, rocksdb::FileOptions(), &log, nullptr)));
    PS_RETURN_IF_ERROR(FromRocks(log->Fsync(rocksdb::IOOptions(), nullptr)));
    PS_RETURN_IF_ERROR(FromRocks(log->Close(rocksdb::IOOptions(), nullptr)));
  }
  return absl::OkStatus();
}

absl::Status Database::Acknowledge() { return high_water_->Acknowledge(db_->GetLatestSequenceNumber()); }

uint64_t Database::acknowledged() const { return high_water_->acknowledged(); }

size_t Database::memory_used() const {
  // The memtables' share of the cache is charged in steps, so it may lag by one.
  const size_t memtables = memtables_->memory_usage();
  const size_t reserved = memtables_->dummy_entries_in_cache_usage();
  return cache_->GetUsage() - std::min(cache_->GetUsage(), reserved) + std::max(memtables, reserved);
}

bool Database::memory_full() const {
  const size_t used = memtables_->memory_usage();
  const size_t limit = memtables_->buffer_size();
  if (used < limit || used - std::min(used, memtables_->mutable_memtable_memory_usage()) < limit / 2) return false;
  // What an open scan holds on to frees itself when the scan ends, not when a flush does.
  uint64_t unflushed = 0;
  return db_->GetAggregatedIntProperty(rocksdb::DB::Properties::kNumImmutableMemTable, &unflushed) && unflushed > 0;
}

WrittenBytes Database::written() const {
  WrittenBytes bytes;
  bytes.log = files_->written(WatchedFs::Kind::kLog);
  bytes.tables = files_->written(WatchedFs::Kind::kTable);
  bytes.blobs = files_->written(WatchedFs::Kind::kBlob);
  bytes.other = files_->written(WatchedFs::Kind::kManifest) + files_->written(WatchedFs::Kind::kOther);
  return bytes;
}

void Database::RestoreBallast() {
  if (options_.ballast_bytes == 0 || ::access(BallastPath().c_str(), F_OK) == 0) return;
  const auto free = FreeBytes();
  if (!free.ok() || *free < options_.low_water_bytes + options_.ballast_bytes) return;
  const int fd = ::open(BallastPath().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (::posix_fallocate(fd, 0, static_cast<off_t>(options_.ballast_bytes)) != 0) ::unlink(BallastPath().c_str());
  ::close(fd);
}

absl::StatusOr<std::string> Database::Get(Family family, absl::string_view key, const rocksdb::Snapshot* snapshot) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  // Chunks are large, and soon all of the cache.
  options.fill_cache = family != Family::kEmbeddingChunks;
  std::string value;
  const rocksdb::Status status = db_->Get(options, this->family(family), ToSlice(key), &value);
  if (status.IsNotFound()) return absl::NotFoundError("");
  if (!status.ok()) return Annotate(FromRocks(status), absl::StrCat(FamilyName(family), " ", ToHex(key)));
  return value;
}

absl::StatusOr<uint64_t> Database::FreeBytes() {
  uint64_t free = 0;
  const rocksdb::IOStatus status = env_->GetFileSystem()->GetFreeSpace(options_.folder, rocksdb::IOOptions(), &free, nullptr);
  if (!status.ok()) return FromRocks(status);
  return free;
}

Rows::Rows(Database& database, Family family, std::string begin, std::string end, const rocksdb::Snapshot* snapshot, Hints hints)
    : end_(std::move(end)), end_slice_(end_) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  options.iterate_upper_bound = &end_slice_;
  options.total_order_seek = true;
  if (hints.bulk) {
    options.fill_cache = false;
    options.readahead_size = 2 << 20;
  }
  if (hints.large_values) options.fill_cache = false;
  it_.reset(database.db().NewIterator(options, database.family(family)));
  it_->Seek(begin);
}

}  // namespace promptsweep::store
