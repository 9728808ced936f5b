// Streams of rows as of one moment: each reader holds a snapshot, checks every iterator's status, every digest it passes and,
// against coverage, that no row is missing, and ends with a Trailer. Not thread-safe; must be destroyed before the Store.
#pragma once

#include <rocksdb/snapshot.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/digest.h"
#include "store/done_cursor.h"
#include "store/embedding_rows.h"
#include "store/ledger.h"
#include "store/outside_images.h"

namespace promptsweep::store {

// A moment of the store that several readers can share.
using SharedSnapshot = std::shared_ptr<rocksdb::ManagedSnapshot>;

// GetResults.
class ResultReader {
 public:
  // Images outside of the store are fetched a few rows ahead.
  ResultReader(Database& database, OutsideImages& images, std::shared_ptr<const Sweep> sweep, v1::GetResultsRequest request);
  // The next message; false once the Trailer was given out. DATA_LOSS where what is stored does not agree with itself;
  // UNAVAILABLE where an image outside of the store is out of reach.
  [[nodiscard]] absl::StatusOr<bool> Next(v1::GetResultsResponse& message);

 private:
  // The next row, or none at the end of all ranges. Coverage says which rows there must be.
  absl::StatusOr<std::optional<uint64_t>> FindRow();
  // A row that was read; its image may still be under way.
  struct Row {
    v1::Result result;
    std::shared_ptr<OutsideImages::Pending> image;
  };
  // Reads until a row is there, or enough of them are being fetched, or none is left.
  absl::Status ReadAhead();
  bool WantsMore() const;
  absl::Status Fill(uint64_t ordinal, absl::string_view value, v1::Result& result);
  absl::StatusOr<v1::Provenance> ProvenanceOf(uint32_t id);
  // Moves to the first row of the next range. False at the end.
  bool NextRange();

  Database& database_;
  OutsideImages& images_;
  const std::shared_ptr<const Sweep> sweep_;
  const v1::GetResultsRequest request_;
  rocksdb::ManagedSnapshot snapshot_;
  EmbeddingLookup embeddings_;
  std::unique_ptr<Rows> rows_;
  std::unique_ptr<DoneCursor> done_;  // of the same range
  uint64_t next_ = 0;
  int range_ = 0;
  std::deque<Row> ahead_;
  size_t ahead_bytes_ = 0;
  uint64_t read_ = 0;
  bool ended_ = false;
  ScanDigest digest_;
  absl::flat_hash_map<uint32_t, v1::Provenance> provenances_;
};

// ScanEmbeddings.
class EmbeddingReader {
 public:
  // `snapshot` null: as of now.
  EmbeddingReader(Database& database, std::shared_ptr<const Sweep> sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                  SharedSnapshot snapshot);
  // The next message; false once the Trailer was given out. Blocks hold 512 KiB to 1 MiB, or all that is left. DATA_LOSS where
  // a vector is missing or harmed.
  [[nodiscard]] absl::StatusOr<bool> Next(v1::ScanEmbeddingsResponse& message);

 private:
  const std::shared_ptr<const Sweep> sweep_;
  const SharedSnapshot snapshot_;
  EmbeddingRuns runs_;
  VectorRun run_;  // what is left of it
  bool ended_ = false;
  ScanDigest digest_;
};

// INVALID_ARGUMENT where ranges are empty, descending or overlap.
[[nodiscard]] absl::Status CheckRanges(const v1::GetResultsRequest& request);

}  // namespace promptsweep::store
