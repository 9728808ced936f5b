#include "store/plain_log.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace promptsweep::store {
namespace {

constexpr long kMaxBytes = 1 << 20;

}  // namespace

PlainLog::PlainLog(const std::string& path) : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {
  absl::MutexLock lock(&mu_);
  file_ = std::fopen(path.c_str(), "ae");
  if (file_ && std::ftell(file_) > kMaxBytes) file_ = std::freopen(path.c_str(), "we", file_);
}

PlainLog::~PlainLog() {
  absl::MutexLock lock(&mu_);
  if (file_) std::fclose(file_);
}

void PlainLog::Logv(const char* format, va_list arguments) {
  char text[4096];
  const int size = std::vsnprintf(text, sizeof text, format, arguments);
  if (size < 0) return;
  const std::string line = absl::StrCat(absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone()), " ", text, "\n");
  absl::MutexLock lock(&mu_);
  if (!file_) return;
  std::fputs(line.c_str(), file_);
  std::fflush(file_);
}

}  // namespace promptsweep::store
