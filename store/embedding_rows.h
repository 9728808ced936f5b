// The vectors of one embedder in one sweep, wherever they are: packed in chunks or still staged as rows. Nothing else reads
// their layout, but for the packer, which moves them from one place to the other. As of one snapshot every vector is in
// exactly one of them. Not thread-safe; must not outlive the database or the snapshot.
#pragma once

#include <rocksdb/snapshot.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "store/database.h"
#include "store/done_cursor.h"
#include "store/embedding_chunk.h"
#include "store/ledger.h"

namespace promptsweep::store {

// What is there, by ordinal, whether or not a record goes with it: for verification. Chunks and keys that cannot be read are
// passed over.
class EmbeddingRows {
 public:
  // Ordinals [begin, end).
  EmbeddingRows(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                const rocksdb::Snapshot* snapshot);
  bool Valid() const { return packed_at_ || staged_at_; }
  void Next();
  // Precondition of both: Valid.
  uint64_t ordinal() const { return IsPacked() ? *packed_at_ : *staged_at_; }
  // Little-endian halves; valid until Next.
  absl::string_view vector() const { return IsPacked() ? chunk_.Find(*packed_at_) : staged_.value(); }
  // To be asked once Valid() is false: it may be for an error.
  [[nodiscard]] absl::Status status() const;
  // What was passed over or is there twice, a line each, since it was last asked.
  [[nodiscard]] std::vector<std::string> TakeProblems() { return std::exchange(problems_, {}); }

  // One vector. NOT_FOUND where there is none. For many, see EmbeddingLookup.
  [[nodiscard]] static absl::StatusOr<std::string> Get(Database& database, const Sweep& sweep, uint16_t embedder,
                                                       uint64_t ordinal, const rocksdb::Snapshot* snapshot);
  // Dimensions of the first vector that can be read; 0 where there is none. Reads a few rows at most.
  [[nodiscard]] static uint32_t FindDim(Database& database, const Sweep& sweep, uint16_t embedder);

 private:
  bool IsPacked() const { return packed_at_ && (!staged_at_ || *packed_at_ <= *staged_at_); }
  // Moves to the first packed ordinal at or above `from`, or to the first readable staged row from the current one on.
  void SettlePacked(uint64_t from);
  void SettleStaged();
  void NoteTwice();

  const Sweep& sweep_;
  const uint16_t embedder_;
  const uint64_t end_;
  Rows chunks_;
  Rows staged_;
  EmbeddingChunk chunk_;  // of chunks_'s row, while packed_at_
  std::optional<uint64_t> packed_at_;
  std::optional<uint64_t> staged_at_;
  std::vector<std::string> problems_;
};

// Vectors of consecutive done cells.
struct VectorRun {
  absl::Span<const uint64_t> ordinals;  // ascending, of one chunk
  uint32_t dim = 0;
  absl::string_view fp16;  // one vector an ordinal, without gaps
};

// The vectors of the done cells of a range, by ordinal, at the speed of memory where they are packed: no byte is copied then.
class EmbeddingRuns {
 public:
  EmbeddingRuns(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                const rocksdb::Snapshot* snapshot);
  // The next run, valid until the next call; false at the end. Coverage says which vectors there must be: one that is missing,
  // or of another size than those before it, or there twice, is DATA_LOSS.
  [[nodiscard]] absl::StatusOr<bool> Next(VectorRun& run);

 private:
  // The chunk of that number; null where there is none.
  absl::StatusOr<const EmbeddingChunk*> FindChunk(uint64_t chunk);
  // Gathers `wanted` ordinals from both places.
  absl::Status Merge(uint64_t chunk, const ChunkBits& wanted, const EmbeddingChunk* packed);
  absl::Status Append(uint64_t ordinal, absl::string_view vector);

  Database& database_;
  const Sweep& sweep_;
  const uint16_t embedder_;
  const uint64_t begin_;
  const uint64_t end_;
  const rocksdb::Snapshot* const snapshot_;
  DoneCursor done_;
  Rows chunks_;
  std::unique_ptr<Rows> staged_;  // where it was needed
  EmbeddingChunk chunk_;
  uint64_t next_;
  uint32_t dim_ = 0;
  std::vector<uint64_t> ordinals_;
  std::string merged_;
};

// Single vectors; fast where the next one asked for is near the last.
class EmbeddingLookup {
 public:
  EmbeddingLookup(Database& database, const Sweep& sweep, const rocksdb::Snapshot* snapshot);
  // Valid until the next call. NOT_FOUND where there is none.
  [[nodiscard]] absl::StatusOr<absl::string_view> Get(uint16_t embedder, uint64_t ordinal);

 private:
  // The last chunk that was looked into.
  struct Held {
    uint64_t number = 0;
    bool there = false;
    rocksdb::PinnableSlice value;
    EmbeddingChunk chunk;
  };

  Database& database_;
  const Sweep& sweep_;
  const rocksdb::Snapshot* const snapshot_;
  std::vector<std::unique_ptr<Held>> held_;  // by embedder
  std::string staged_;
};

// Cuts [begin, end) into at most `parts` ranges of nearly even length that begin and end between chunks, so that scans of them
// side by side read nothing twice. Empty where the range is.
[[nodiscard]] std::vector<v1::OrdinalRange> SplitAtChunks(uint64_t begin, uint64_t end, int parts);

}  // namespace promptsweep::store
