// A blob store in memory that fails when told to: for tests of what stands on the interface.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/hash.h"
#include "blobs/blob_store.h"

namespace promptsweep {

// Thread-safe. Pages of two entries. Objects are as old as the clock says.
class MemoryBlobStore final : public BlobStore {
 public:
  explicit MemoryBlobStore(Clock* clock = &Clock::Real()) : clock_(clock) {}

  // Every call answers this until it is OK again.
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mu_);
    failure_ = std::move(status);
  }
  // Called before every operation with its name and key, outside of the lock.
  void set_on_call(std::function<void(const std::string& method, const std::string& key)> on_call) {
    on_call_ = std::move(on_call);
  }
  // Write-once does not hold here.
  void Overwrite(const std::string& key, std::string bytes) {
    absl::MutexLock lock(&mu_);
    objects_[key] = {std::move(bytes), clock_->WallMillis()};
  }
  std::map<std::string, std::string> objects() const {
    absl::MutexLock lock(&mu_);
    std::map<std::string, std::string> all;
    for (const auto& [key, object] : objects_) all[key] = object.bytes;
    return all;
  }
  int calls(const std::string& method) const {
    absl::MutexLock lock(&mu_);
    const auto found = calls_.find(method);
    return found == calls_.end() ? 0 : found->second;
  }

  absl::Status Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) override {
    const std::string name = Called("Put", key);
    absl::MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    if (Sha256Of(bytes) != sha256) return absl::InvalidArgumentError("the digest is not the one of the bytes");
    const auto [object, made] = objects_.emplace(name, Object{std::string(bytes), clock_->WallMillis()});
    return made || object->second.bytes == bytes ? absl::OkStatus() : absl::AlreadyExistsError("holds other bytes");
  }
  absl::StatusOr<BlobInfo> Stat(absl::string_view key) override {
    const std::string name = Called("Stat", key);
    absl::MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    const auto found = objects_.find(name);
    if (found == objects_.end()) return absl::NotFoundError("no such object");
    return BlobInfo{found->second.bytes.size(), Sha256Of(found->second.bytes)};
  }
  absl::StatusOr<std::string> Get(absl::string_view key) override {
    const std::string name = Called("Get", key);
    absl::MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    const auto found = objects_.find(name);
    if (found == objects_.end()) return absl::NotFoundError("no such object");
    return found->second.bytes;
  }
  absl::Status Delete(absl::string_view key) override {
    const std::string name = Called("Delete", key);
    absl::MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    objects_.erase(name);
    return absl::OkStatus();
  }
  absl::StatusOr<BlobPage> List(absl::string_view prefix, absl::string_view cursor) override {
    Called("List", prefix);
    absl::MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    BlobPage page;
    for (auto it = objects_.upper_bound(std::string(cursor)); it != objects_.end(); ++it) {
      if (!absl::StartsWith(it->first, prefix)) continue;
      if (page.entries.size() == 2) {
        page.next = page.entries.back().key;
        break;
      }
      page.entries.push_back(
          {it->first, it->second.bytes.size(), absl::FromUnixMillis(static_cast<int64_t>(it->second.put_at_ms))});
    }
    return page;
  }

 private:
  struct Object {
    std::string bytes;
    uint64_t put_at_ms = 0;
  };
  std::string Called(const std::string& method, absl::string_view key) {
    {
      absl::MutexLock lock(&mu_);
      ++calls_[method];
    }
    std::string name(key);
    if (on_call_) on_call_(method, name);
    return name;
  }

  Clock* const clock_;
  std::function<void(const std::string&, const std::string&)> on_call_;
  mutable absl::Mutex mu_;
  std::map<std::string, Object> objects_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep
