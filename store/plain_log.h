// RocksDB's warnings, in the file LOG of a store folder. RocksDB's own logger treats that file as data: with the assertions that
// Debian compiles in, the first line that a full disk refuses ends the process, and keeps it from opening again.
#pragma once

#include <rocksdb/env.h>

#include <cstdio>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::store {

// Appends warnings and errors, and starts anew beyond 1 MiB. What cannot be written is dropped. Thread-safe.
class PlainLog final : public rocksdb::Logger {
 public:
  explicit PlainLog(const std::string& path);
  ~PlainLog() override;
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override ABSL_LOCKS_EXCLUDED(mu_);
  // The dump of all options at every opening is left out.
  void LogHeader(const char*, va_list) override {}
  size_t GetLogFileSize() const override { return 0; }

 private:
  absl::Mutex mu_;
  std::FILE* file_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace promptsweep::store
