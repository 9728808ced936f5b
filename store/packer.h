// Moves embeddings out of their staging rows into chunks (see embedding_chunk.h), behind the backs of everybody.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "store/committer.h"
#include "store/database.h"
#include "store/ledger.h"

namespace promptsweep::store {

// A chunk is packed once all its cells are done; once its sweep has ended and nothing more came for a while, with what it has;
// or once many late rows wait beside it. What is there of it is merged with the staged rows, and the new value and the deletion
// of exactly these rows are one write of the committer: after a crash at any moment every vector is in exactly one place.
// Nobody else removes or changes a staged row but the deletion of its sweep, so a write is valid for as long as its sweep is.
//
// One chunk of one embedder is under way at a time. Where others write, the thread rests after each for several times as long
// as it took. Nothing is packed while there is no room on the disk. A chunk that cannot be read is left as it is, for readers
// and verification to report. Thread-safe but for Stage, StageState and Apply, which belong to the committer's thread.
class Packer {
 public:
  struct Options {
    // Pack from a thread of its own; without, only when told to.
    bool background = true;
    // Late rows that wait beside a chunk before it is written again.
    int64_t max_late_rows = 256;
    // How long a chunk of an ended sweep must have been left alone.
    absl::Duration settle = absl::Seconds(1);
    Clock* clock = &Clock::Real();
    // OK where there is room for more.
    std::function<absl::Status()> has_room;
  };

  // All must outlive it. Staged rows of earlier runs are found by the thread or by the first call that packs.
  Packer(Database& database, const Ledger& ledger, Committer& committer, Options options);
  // Starts the thread if there is to be one. Once; the committer must reach Apply by then.
  void Start();
  ~Packer();
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  // Goes with the staging rows of a cell, or a new state of a sweep, that the caller puts into the batch.
  void Stage(uint32_t sweep, uint64_t ordinal);
  void StageState(uint32_t sweep);
  // The group is durable, and the ledger knows it.
  void Apply() ABSL_LOCKS_EXCLUDED(mu_);

  // Packs what is due now, chunks of ended sweeps included; returns how many vectors were moved. Blocks.
  [[nodiscard]] absl::StatusOr<uint64_t> PackReady() ABSL_LOCKS_EXCLUDED(mu_, packing_);
  // Likewise everything that is staged. Goes on after a chunk that cannot be read, and reports the first of them at the end.
  [[nodiscard]] absl::StatusOr<uint64_t> PackAll() ABSL_LOCKS_EXCLUDED(mu_, packing_);
  // Vectors that wait to be packed; about right while results arrive.
  uint64_t staged_vectors() const ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the thread and makes calls in progress return UNAVAILABLE. To be called while the committer still works. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Key = std::pair<uint32_t, uint64_t>;  // sweep, chunk
  struct Dirty {
    int64_t staged = 0;  // cells; below 0 where rows were packed before Apply told of them
    absl::Time touched;
    bool broken = false;
  };
  enum class Due { kNo, kAfterRest, kNow };

  void Run();
  // Blocks until a chunk is due. False once stopped.
  bool WaitForWork(Key& key) ABSL_LOCKS_EXCLUDED(mu_);
  // Rests, or less where it is stopped.
  void Rest(absl::Duration time) ABSL_LOCKS_EXCLUDED(mu_);
  Due IsDue(Key key, const Dirty& dirty) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Enlist(Key key, const Dirty& dirty) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<uint64_t> PackEach(bool everything) ABSL_LOCKS_EXCLUDED(mu_, packing_);
  // Finds the chunks that earlier runs left staged, by seeking from one to the next.
  absl::Status Discover() ABSL_EXCLUSIVE_LOCKS_REQUIRED(packing_) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<uint64_t> PackChunk(Key key) ABSL_LOCKS_EXCLUDED(mu_, packing_);
  absl::StatusOr<uint64_t> PackVectors(const std::shared_ptr<const Sweep>& sweep, uint16_t embedder, uint64_t chunk,
                                       const rocksdb::Snapshot* snapshot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(packing_);
  // Waits until the write is durable. ABORTED where the sweep went away before.
  absl::Status Replace(const std::shared_ptr<const Sweep>& sweep, const std::string& chunk_key, const std::string& value,
                       const std::vector<std::string>& staged_keys);

  Database& database_;
  const Ledger& ledger_;
  Committer& committer_;
  const Options options_;
  // The committer's thread only.
  std::map<Key, int64_t> staged_;
  std::set<uint32_t> staged_states_;

  // Held by whoever packs; taken before mu_.
  absl::Mutex packing_;
  bool discovered_ ABSL_GUARDED_BY(packing_) = false;

  mutable absl::Mutex mu_ ABSL_ACQUIRED_AFTER(packing_);
  absl::CondVar wake_;
  std::map<Key, Dirty> dirty_ ABSL_GUARDED_BY(mu_);
  std::set<Key> ready_ ABSL_GUARDED_BY(mu_);
  std::set<Key> resting_ ABSL_GUARDED_BY(mu_);  // ready after Options::settle
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<uint64_t> writes_{0};
  std::thread thread_;
};

}  // namespace promptsweep::store
