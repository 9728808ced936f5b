// Load-bearing bytes: column families, keys and values of a store folder. DO NOT CHANGE a name, a layout or a number here:
// folders written by every earlier version hold them, and tests/store/schema_test.cc pins them byte by byte. Something new
// is a new family, or a new version byte beside the old one, and a higher kSchemaVersion.
//
// Integers are big-endian and fixed width, so that byte order is numeric order. S = sweep id, u32, from 1. C = ordinal, u64.
// Values start with a version byte (1), but for images and embeddings, which are bare bytes described by the cell's record.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::store {

inline constexpr uint32_t kSchemaVersion = 2;

// Column families. The numbers index FamilyName only; the names are what is stored.
enum class Family {
  kDefault = 0,    // empty
  kMeta,           // "schema_version" -> u32; "store_uuid" -> 16 random bytes; "last_sweep" -> u32
  kSweeps,         // S -> SweepRow; of a sweep that is being deleted, its id and state are all that is left
  kResults,        // S C -> ResultRow
  kImages,         // S C -> the encoded image (blob files from 4 KiB)
  kEmbeddings,     // E S C -> little-endian half floats; E = u16 index of the embedder in the sweep's manifest
  kByFingerprint,  // fingerprint (32) -> version, S C of the newest result that has it
  kCoverage,       // S chunk (u64, = C >> 16) -> version, portable 32-bit roaring bitmap of the low 16 bits of done ordinals
  kFailures,       // S C -> version, v1.FailureRecord
  kDuplicates,     // S C content digest (32) of the later result -> DuplicateRow
  kLabels,         // embedder digest (32), name of a further vocabulary -> version, v1.GetLabelsResponse
  kMotifs,         // S, nothing (the last) or digest of a question (32) -> version, serialised v1.MotifReport
  kProvenance,     // u32 id, from 1 -> version, v1.Provenance
  // Since version 2.
  kEmbeddingChunks,  // E S chunk (u64, = C >> 10) -> packed vectors, see embedding_chunk.h; taken out of kEmbeddings
  kLinks,            // S C of a cell that owns an image, S C of a cell that shows it -> nothing
  kCounters,         // S -> CountersRow
  kSettings,         // S -> version, v1.SweepSettings
  kCount,
};
inline constexpr size_t kFamilies = static_cast<size_t>(Family::kCount);
[[nodiscard]] const std::string& FamilyName(Family family);

inline constexpr absl::string_view kSchemaVersionKey = "schema_version";
inline constexpr absl::string_view kStoreUuidKey = "store_uuid";
// The highest sweep id ever given out. Absent until a sweep is deleted: then it is the highest present.
inline constexpr absl::string_view kLastSweepKey = "last_sweep";

// Ordinals of one coverage chunk: 2^16.
inline constexpr int kChunkBits = 16;
// Ordinals of one chunk of packed embeddings: 2^10.
inline constexpr int kEmbeddingChunkBits = 10;

[[nodiscard]] std::string SweepKey(uint32_t sweep);
[[nodiscard]] std::string CellKey(uint32_t sweep, uint64_t ordinal);
[[nodiscard]] std::string EmbeddingKey(uint16_t embedder, uint32_t sweep, uint64_t ordinal);
[[nodiscard]] std::string CoverageKey(uint32_t sweep, uint64_t chunk);
[[nodiscard]] std::string DuplicateKey(uint32_t sweep, uint64_t ordinal, absl::string_view content_digest);
[[nodiscard]] std::string ProvenanceKey(uint32_t id);
[[nodiscard]] std::string EmbeddingChunkKey(uint16_t embedder, uint32_t sweep, uint64_t chunk);
[[nodiscard]] std::string LinkKey(uint32_t owner_sweep, uint64_t owner_ordinal, uint32_t sweep, uint64_t ordinal);
// One past the last key of a family whose keys start with S, for that sweep.
[[nodiscard]] std::string SweepKeyEnd(uint32_t sweep);
// One past the last EmbeddingKey of (embedder, sweep).
[[nodiscard]] std::string EmbeddingKeyEnd(uint16_t embedder, uint32_t sweep);

// Inverses; false where the key has another length. DuplicateKeys parse as CellKeys by their first 12 bytes.
[[nodiscard]] bool ParseSweepKey(absl::string_view key, uint32_t& sweep);
[[nodiscard]] bool ParseCellKey(absl::string_view key, uint32_t& sweep, uint64_t& ordinal);
[[nodiscard]] bool ParseEmbeddingKey(absl::string_view key, uint16_t& embedder, uint32_t& sweep, uint64_t& ordinal);
[[nodiscard]] bool ParseCoverageKey(absl::string_view key, uint32_t& sweep, uint64_t& chunk);
[[nodiscard]] bool ParseProvenanceKey(absl::string_view key, uint32_t& id);
[[nodiscard]] bool ParseEmbeddingChunkKey(absl::string_view key, uint16_t& embedder, uint32_t& sweep, uint64_t& chunk);
[[nodiscard]] bool ParseLinkKey(absl::string_view key, uint32_t& owner_sweep, uint64_t& owner_ordinal, uint32_t& sweep,
                                uint64_t& ordinal);

// version(1) digest(32) state(1) created_at_ms(8) manifest (serialised v1.SweepManifest, deterministic)
struct SweepRow {
  std::string digest;
  v1::SweepState state = v1::SWEEP_STATE_UNSPECIFIED;
  uint64_t created_at_ms = 0;
  std::string manifest;
};

// version(1) fingerprint(32) image_digest(32, zeros without an image) embeddings_digest(32) format(1) embedders(1) width(4)
// height(4) image_bytes(4) generate_us(4) embed_us(4) encode_us(4) stored_at_ms(8) provenance(4) rest, where rest is a
// serialised v1.Result that carries only `imported`, `image_uri` and `reused_from`, or nothing.
struct ResultRow {
  std::string fingerprint;
  std::string image_digest;  // empty without an image
  std::string embeddings_digest;
  v1::ImageFormat format = v1::IMAGE_FORMAT_UNSPECIFIED;
  uint8_t embedders = 0;  // how many embeddings it has
  uint32_t width = 0;
  uint32_t height = 0;
  uint32_t image_bytes = 0;
  uint32_t generate_us = 0;
  uint32_t embed_us = 0;
  uint32_t encode_us = 0;
  uint64_t stored_at_ms = 0;
  uint32_t provenance = 0;
  std::string rest;
};

// version(1) at_ms(8) first content digest(32) later content digest(32) provenance of the first(4) and of the later(4)
struct DuplicateRow {
  uint64_t at_ms = 0;
  std::string first_content;
  std::string later_content;
  uint32_t first_provenance = 0;
  uint32_t later_provenance = 0;
};

// version(1) reused(8) device_us(8): of a sweep's results, how many were taken over from other sweeps, and the sum of generate_us
// and embed_us of the others.
struct CountersRow {
  uint64_t reused = 0;
  uint64_t device_us = 0;
  friend bool operator==(const CountersRow&, const CountersRow&) = default;
};

[[nodiscard]] std::string Encode(const SweepRow& row);
[[nodiscard]] std::string Encode(const ResultRow& row);
[[nodiscard]] std::string Encode(const DuplicateRow& row);
[[nodiscard]] std::string Encode(const CountersRow& row);
// DATA_LOSS where the bytes are not of a known layout.
[[nodiscard]] absl::StatusOr<SweepRow> DecodeSweepRow(absl::string_view bytes);
[[nodiscard]] absl::StatusOr<ResultRow> DecodeResultRow(absl::string_view bytes);
[[nodiscard]] absl::StatusOr<DuplicateRow> DecodeDuplicateRow(absl::string_view bytes);
[[nodiscard]] absl::StatusOr<CountersRow> DecodeCountersRow(absl::string_view bytes);

// Puts and takes off the version byte of values that hold a message, a bitmap or a key.
[[nodiscard]] std::string Versioned(absl::string_view payload);
[[nodiscard]] absl::StatusOr<absl::string_view> Unversioned(absl::string_view bytes);

// The bytes of SweepRow::manifest: deterministic serialisation.
[[nodiscard]] std::string CanonicalManifest(const v1::SweepManifest& manifest);

// u32 of kSchemaVersionKey.
[[nodiscard]] std::string EncodeU32(uint32_t value);
[[nodiscard]] absl::StatusOr<uint32_t> DecodeU32(absl::string_view bytes);

// SHA-256 over each embedding's id and vector, both as length-prefixed fields: what "the same embeddings" means.
[[nodiscard]] std::string EmbeddingsDigest(const v1::Result& result);
// SHA-256 over image digest and embeddings digest: what "the same content" means.
[[nodiscard]] std::string ContentDigest(absl::string_view image_digest, absl::string_view embeddings_digest);
[[nodiscard]] inline std::string ContentDigest(const ResultRow& row) {
  return ContentDigest(row.image_digest, row.embeddings_digest);
}

}  // namespace promptsweep::store
