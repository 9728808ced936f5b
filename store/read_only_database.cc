// ReadOnlyDatabase: looking at a folder leaves no trace in it, not even a line in RocksDB's own log.
#include <rocksdb/env.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/database.h"

namespace promptsweep::store {
namespace {

class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReadOnlyDatabase>> ReadOnlyDatabase::Open(const std::string& folder, rocksdb::Env* env,
                                                                         const std::vector<Family>& only) {
  rocksdb::DBOptions options;
  options.env = env;
  options.info_log = std::make_shared<NoLog>();
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_open_files = 1024;
  std::vector<std::string> names;
  PS_RETURN_IF_ERROR(FromRocks(rocksdb::DB::ListColumnFamilies(options, folder, &names)));
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) {
    const auto is_it = [&](Family family) { return FamilyName(family) == name; };
    if (!only.empty() && name != FamilyName(Family::kDefault) && std::none_of(only.begin(), only.end(), is_it)) continue;
    families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  }
  std::unique_ptr<ReadOnlyDatabase> database(new ReadOnlyDatabase());
  rocksdb::DB* db = nullptr;
  PS_RETURN_IF_ERROR(FromRocks(rocksdb::DB::OpenForReadOnly(options, folder, families, &database->handles_, &db)));
  database->db_.reset(db);
  return database;
}

ReadOnlyDatabase::~ReadOnlyDatabase() {
  if (!db_) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) (void)db_->DestroyColumnFamilyHandle(handle);
}

rocksdb::ColumnFamilyHandle* ReadOnlyDatabase::Find(Family family) const {
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (handle->GetName() == FamilyName(family)) return handle;
  }
  return nullptr;
}

absl::StatusOr<std::string> ReadOnlyDatabase::Get(Family family, absl::string_view key) {
  rocksdb::ColumnFamilyHandle* handle = Find(family);
  if (!handle) return absl::NotFoundError("");
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), handle, ToSlice(key), &value);
  if (status.IsNotFound()) return absl::NotFoundError("");
  if (!status.ok()) return Annotate(FromRocks(status), absl::StrCat(FamilyName(family), " ", ToHex(key)));
  return value;
}

absl::Status ReadOnlyDatabase::ForEach(Family family,
                                       const std::function<absl::Status(absl::string_view key, absl::string_view value)>& row) {
  rocksdb::ColumnFamilyHandle* handle = Find(family);
  if (!handle) return absl::OkStatus();
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), handle));
  for (it->SeekToFirst(); it->Valid(); it->Next()) PS_RETURN_IF_ERROR(row(ToView(it->key()), ToView(it->value())));
  return FromRocks(it->status());
}

}  // namespace promptsweep::store
