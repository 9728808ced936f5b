// What another cell's result can answer without being made again: the reading and checking half of ReuseResults. The half that
// decides and writes is the committer's (store_reuse.cc).
#pragma once

#include <rocksdb/snapshot.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "store/database.h"
#include "store/ledger.h"
#include "store/schema.h"

namespace promptsweep::store {

// A cell whose fingerprint some result has.
struct FingerprintHit {
  uint64_t ordinal = 0;
  std::string fingerprint;
  std::string origin;  // CellKey that by_fingerprint leads to; never the cell itself
};

// Looks up the cells of `ordinals`. Rows of the index that cannot be read count as not there.
[[nodiscard]] absl::StatusOr<std::vector<FingerprintHit>> LookUpFingerprints(Database& database, const Sweep& sweep,
                                                                             const std::vector<uint64_t>& ordinals,
                                                                             const rocksdb::Snapshot* snapshot);

// A result that a cell can take over, ready to be put.
struct Link {
  uint64_t ordinal = 0;
  std::string origin;
  // The origin's row as it was read: a link is good for as long as it is still the same.
  std::string origin_row;
  // Whose image it shows. Not the origin where that one took its own over.
  uint32_t owner_sweep = 0;
  uint64_t owner_ordinal = 0;
  // True where the image's bytes are the owner's in this store; false where they are outside of it.
  bool image_in_store = false;
  ResultRow row;                     // but for stored_at_ms
  std::vector<std::string> vectors;  // in the order of the sweep's embedders
  // Roughly what it adds to a batch.
  size_t bytes = 0;
  // What had to be read to check it.
  size_t bytes_read = 0;
};

// nullopt where the origin cannot answer the cell: it lacks an embedder of `sweep`, keeps its image elsewhere, was imported, or
// is missing, unreadable or damaged. Every byte of it is read and compared with its digests. DATA_LOSS where the origin is
// readable and the result of something else.
[[nodiscard]] absl::StatusOr<std::optional<Link>> ReadLink(Database& database, const Ledger& ledger, const Sweep& sweep,
                                                           const FingerprintHit& hit, const rocksdb::Snapshot* snapshot);

}  // namespace promptsweep::store
