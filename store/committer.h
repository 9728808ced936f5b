// Group commit: one thread that turns many small durable writes into few synced ones.
//
// RocksDB's own grouping caps a group near 1 MB and starts a new sync for the rest; at 16 KB values one writer that builds
// its own batches is about three times as fast. One writer also means that check-and-put needs no transaction.
#pragma once

#include <rocksdb/write_batch.h>

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "store/database.h"

namespace promptsweep::store {

// Per group: every write's prepare(), seal(), one Write(sync=true) unless the batch is empty, apply(), every write's
// done(OK). All on the committer's thread.
//
// Any error of the synced write is final: a page whose fsync failed is marked clean by the kernel, so a retry would lie.
// Nobody is told OK, the committer stays failed, every waiting and later write gets its status, and on_fatal is called once.
// What is on disk is decided by replaying the write-ahead log in a new process. Thread-safe.
class Committer {
 public:
  struct Write {
    // Roughly what it adds to a batch.
    size_t bytes = 0;
    // Looks at the state and adds to the batch, or does not. Must not fail: a verdict for the caller travels with done.
    std::function<void(rocksdb::WriteBatch&)> prepare;
    // Called exactly once: OK after the sync and apply(), else the fatal status or UNAVAILABLE after Stop.
    std::function<void(const absl::Status&)> done;
  };
  struct Options {
    size_t max_group_bytes = 8 << 20;
    // A group waits this long for company, and only where the previous group had some.
    absl::Duration max_group_delay = absl::Milliseconds(3);
    // Adds what depends on the whole group. May be null.
    std::function<void(rocksdb::WriteBatch&)> seal;
    // Makes the durable group visible in memory. May be null.
    std::function<void()> apply;
    // From the committer's thread, after every waiting write was told. May end the process. May be null.
    std::function<void(const absl::Status&)> on_fatal;
  };

  Committer(Database& database, Options options);
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // Never blocks. A refused write's done runs before this returns.
  void Enqueue(Write write) ABSL_LOCKS_EXCLUDED(mu_);
  // The store can no longer be trusted to be durable, whoever noticed. Never blocks; the first cause wins.
  void Fail(absl::Status cause) ABSL_LOCKS_EXCLUDED(mu_);
  // OK, or why nothing is accepted any more.
  [[nodiscard]] absl::Status status() const ABSL_LOCKS_EXCLUDED(mu_);
  // Commits what is queued, then ends the thread. Idempotent; not from a callback.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  // Synced writes made so far.
  uint64_t groups() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run();
  std::deque<Write> NextGroup() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Commit(std::deque<Write>& group);
  // Until flushes have made room for more memtables, or the committer failed.
  void AwaitMemory() ABSL_LOCKS_EXCLUDED(mu_);

  Database& database_;
  const Options options_;
  mutable absl::Mutex mu_;
  absl::CondVar wake_;
  std::deque<Write> queue_ ABSL_GUARDED_BY(mu_);
  size_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failed_ ABSL_GUARDED_BY(mu_);
  uint64_t groups_ ABSL_GUARDED_BY(mu_) = 0;
  // The committer's thread only. The batch keeps its memory from group to group.
  size_t last_group_size_ = 0;
  rocksdb::WriteBatch batch_{0, 0, /*protection_bytes_per_key=*/8, 0};
  std::thread thread_;
};

}  // namespace promptsweep::store
