#include "store/stoppable_fs.h"

#include <utility>

namespace promptsweep::store {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

IOStatus Check(const Cancellation& cancellation) {
  return cancellation.cancelled() ? IOStatus::Aborted("the store is shutting down") : IOStatus::OK();
}

class SequentialFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  SequentialFile(std::unique_ptr<rocksdb::FSSequentialFile> file, const Cancellation& cancellation)
      : FSSequentialFileOwnerWrapper(std::move(file)), cancellation_(cancellation) {}
  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch, IODebugContext* debug) override {
    const IOStatus go = Check(cancellation_);
    return go.ok() ? FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, debug) : go;
  }

 private:
  const Cancellation& cancellation_;
};

class RandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  RandomAccessFile(std::unique_ptr<rocksdb::FSRandomAccessFile> file, const Cancellation& cancellation)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), cancellation_(cancellation) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) const override {
    const IOStatus go = Check(cancellation_);
    return go.ok() ? FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, debug) : go;
  }

 private:
  const Cancellation& cancellation_;
};

class WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(std::unique_ptr<rocksdb::FSWritableFile> file, const Cancellation& cancellation)
      : FSWritableFileOwnerWrapper(std::move(file)), cancellation_(cancellation) {}
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const IOStatus go = Check(cancellation_);
    return go.ok() ? FSWritableFileOwnerWrapper::Append(data, options, debug) : go;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    const IOStatus go = Check(cancellation_);
    return go.ok() ? FSWritableFileOwnerWrapper::Append(data, options, info, debug) : go;
  }

 private:
  const Cancellation& cancellation_;
};

class StoppableFs final : public rocksdb::FileSystemWrapper {
 public:
  StoppableFs(std::shared_ptr<rocksdb::FileSystem> target, const Cancellation& cancellation)
      : FileSystemWrapper(std::move(target)), cancellation_(cancellation) {}
  static const char* kClassName() { return "StoppableFs"; }
  const char* Name() const override { return kClassName(); }

  IOStatus NewSequentialFile(const std::string& name, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSSequentialFile>* file, IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSSequentialFile> inner;
    const IOStatus status = FileSystemWrapper::NewSequentialFile(name, options, &inner, debug);
    if (status.ok()) *file = std::make_unique<SequentialFile>(std::move(inner), cancellation_);
    return status;
  }
  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file, IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> inner;
    const IOStatus status = FileSystemWrapper::NewRandomAccessFile(name, options, &inner, debug);
    if (status.ok()) *file = std::make_unique<RandomAccessFile>(std::move(inner), cancellation_);
    return status;
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options, std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> inner;
    const IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &inner, debug);
    if (status.ok()) *file = std::make_unique<WritableFile>(std::move(inner), cancellation_);
    return status;
  }

 private:
  const Cancellation& cancellation_;
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> MakeStoppable(std::shared_ptr<rocksdb::FileSystem> target,
                                                   const Cancellation& cancellation) {
  return std::make_shared<StoppableFs>(std::move(target), cancellation);
}

}  // namespace promptsweep::store
