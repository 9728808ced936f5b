// Which cells are done as of a snapshot, read from the rows of coverage in step with a scan: what a scan must find.
#pragma once

#include <rocksdb/snapshot.h>

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "store/database.h"
#include "store/embedding_chunk.h"
#include "store/ledger.h"

namespace promptsweep::store {

// Goes through the sweep's done ordinals in [begin, end) once, upwards, holding 2^16 of them at a time. DATA_LOSS where
// coverage cannot be read. Not thread-safe.
class DoneCursor {
 public:
  DoneCursor(Database& database, const Sweep& sweep, uint64_t begin, uint64_t end, const rocksdb::Snapshot* snapshot);
  // The first done ordinal at or above `from` in the range. `from` must not be below one that was asked for before.
  [[nodiscard]] absl::StatusOr<std::optional<uint64_t>> Next(uint64_t from);
  // All done ordinals of an embedding chunk, those outside of the range too. Chunks must not go down either.
  [[nodiscard]] absl::StatusOr<ChunkBits> Chunk(uint64_t chunk);

 private:
  // Holds the first group at or above `group`, or none.
  absl::Status Load(uint64_t group);

  const uint64_t begin_;
  const uint64_t end_;
  Rows rows_;
  std::optional<uint64_t> group_;  // ordinals [group << kChunkBits, ...) are in bits_
  bool ended_ = false;
  std::vector<uint64_t> bits_;
};

}  // namespace promptsweep::store
