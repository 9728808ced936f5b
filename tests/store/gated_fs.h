// A disk that can be held: syncs of one kind of file wait while the gate is closed.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::store {

// Thread-safe.
class GatedFs final : public rocksdb::FileSystemWrapper {
 public:
  // `ending`: of the names of the files that are held.
  explicit GatedFs(std::string ending = ".log")
      : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()), ending_(std::move(ending)) {}
  const char* Name() const override { return "GatedFs"; }
  void Close() { Set(true); }
  void Open() { Set(false); }
  // Until a sync waits at the gate.
  void AwaitHeld() {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(+[](int* held) { return *held > 0; }, &held_));
  }
  // Later syncs fail, and one that waits does.
  void Break() {
    absl::MutexLock lock(&mu_);
    broken_ = true;
    closed_ = false;
  }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file, rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> inner;
    rocksdb::IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &inner, debug);
    if (!status.ok()) return status;
    if (absl::EndsWith(name, ending_)) {
      *file = std::make_unique<File>(*this, std::move(inner));
    } else {
      *file = std::move(inner);
    }
    return status;
  }

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(GatedFs& fs, std::unique_ptr<rocksdb::FSWritableFile> file)
        : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), fs_(fs) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
      if (!fs_.Pass()) return rocksdb::IOStatus::IOError("injected");
      return FSWritableFileOwnerWrapper::Sync(options, debug);
    }

   private:
    GatedFs& fs_;
  };
  void Set(bool closed) {
    absl::MutexLock lock(&mu_);
    closed_ = closed;
  }
  bool Pass() {
    absl::MutexLock lock(&mu_);
    ++held_;
    mu_.Await(absl::Condition(+[](bool* closed) { return !*closed; }, &closed_));
    --held_;
    return !broken_;
  }

  const std::string ending_;
  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  int held_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace promptsweep::store
