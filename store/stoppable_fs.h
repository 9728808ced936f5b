// A file system on which everything fails once a cancellation happens: how work of RocksDB that knows no other end is ended.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>

#include "store/maintenance.h"

namespace promptsweep::store {

// Thread-safe. Reads and appends of files opened through it fail as aborted once cancelled.
[[nodiscard]] std::shared_ptr<rocksdb::FileSystem> MakeStoppable(std::shared_ptr<rocksdb::FileSystem> target,
                                                                 const Cancellation& cancellation);

}  // namespace promptsweep::store
