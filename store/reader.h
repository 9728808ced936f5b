// Streams of rows as of one moment: each reader holds a snapshot, checks every iterator's status and every digest it passes,
// and ends with a Trailer. Not thread-safe; must be destroyed before the Store.
#pragma once

#include <rocksdb/snapshot.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/digest.h"
#include "store/ledger.h"
#include "store/outside_images.h"

namespace promptsweep::store {

// The vectors of one embedder in one sweep, by ordinal: the only code that knows how vectors are laid out on disk.
class EmbeddingRows {
 public:
  // Ordinals [begin, end).
  EmbeddingRows(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                const rocksdb::Snapshot* snapshot);
  bool Valid() const { return rows_.Valid(); }
  void Next() { rows_.Next(); }
  // DATA_LOSS where the key is unreadable.
  [[nodiscard]] absl::StatusOr<uint64_t> ordinal() const;
  // Little-endian halves; valid until Next.
  absl::string_view vector() const { return rows_.value(); }
  [[nodiscard]] absl::Status status() const { return rows_.status(); }
  // One vector. NOT_FOUND where there is none.
  [[nodiscard]] static absl::StatusOr<std::string> Get(Database& database, const Sweep& sweep, uint16_t embedder,
                                                       uint64_t ordinal, const rocksdb::Snapshot* snapshot);

 private:
  Rows rows_;
};

// GetResults.
class ResultReader {
 public:
  // Images outside of the store are fetched a few rows ahead.
  ResultReader(Database& database, OutsideImages& images, std::shared_ptr<const Sweep> sweep, v1::GetResultsRequest request);
  // The next message; false once the Trailer was given out. DATA_LOSS where what is stored does not agree with itself;
  // UNAVAILABLE where an image outside of the store is out of reach.
  [[nodiscard]] absl::StatusOr<bool> Next(v1::GetResultsResponse& message);

 private:
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
  std::unique_ptr<Rows> rows_;
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
  EmbeddingReader(Database& database, std::shared_ptr<const Sweep> sweep, uint16_t embedder, uint64_t begin, uint64_t end);
  // The next message; false once the Trailer was given out. Blocks hold about 512 KiB.
  [[nodiscard]] absl::StatusOr<bool> Next(v1::ScanEmbeddingsResponse& message);

 private:
  const std::shared_ptr<const Sweep> sweep_;
  rocksdb::ManagedSnapshot snapshot_;
  EmbeddingRows rows_;
  uint32_t dim_ = 0;
  bool ended_ = false;
  ScanDigest digest_;
};

// INVALID_ARGUMENT where ranges are empty, descending or overlap.
[[nodiscard]] absl::Status CheckRanges(const v1::GetResultsRequest& request);

}  // namespace promptsweep::store
