#include "store/schema.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hash.h"

namespace promptsweep::store {
namespace {

constexpr char kRowVersion = 1;

void PutBig(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t GetBig(absl::string_view bytes) {
  uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

void PutDigest(std::string& out, absl::string_view digest) {
  if (digest.empty()) {
    out.append(kDigestSize, '\0');
    return;
  }
  PS_CHECK(digest.size() == kDigestSize);
  out.append(digest.data(), digest.size());
}

// Takes fields off the front of a value. Reading past the end leaves ok() false.
class Fields {
 public:
  explicit Fields(absl::string_view bytes) : bytes_(bytes) {}
  absl::string_view Take(size_t n) {
    if (n > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    absl::string_view field = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return field;
  }
  uint64_t Big(int n) { return GetBig(Take(n)); }
  std::string Digest() { return std::string(Take(kDigestSize)); }
  absl::string_view rest() const { return bytes_; }
  bool ok() const { return ok_; }

 private:
  absl::string_view bytes_;
  bool ok_ = true;
};

absl::Status Unreadable(absl::string_view what) { return absl::DataLossError(absl::StrCat("unreadable ", what)); }

}  // namespace

const std::string& FamilyName(Family family) {
  static const auto& names = *new std::array<std::string, kFamilies>{
      "default",    "meta",   "sweeps", "results",    "images",           "embeddings", "by_fingerprint", "coverage", "failures",
      "duplicates", "labels", "motifs", "provenance", "embedding_chunks", "links",      "counters",       "settings"};
  return names[static_cast<size_t>(family)];
}

std::string SweepKey(uint32_t sweep) { return EncodeU32(sweep); }

std::string CellKey(uint32_t sweep, uint64_t ordinal) {
  std::string key;
  key.reserve(12);
  PutBig(key, sweep, 4);
  PutBig(key, ordinal, 8);
  return key;
}

std::string EmbeddingKey(uint16_t embedder, uint32_t sweep, uint64_t ordinal) {
  std::string key;
  key.reserve(14);
  PutBig(key, embedder, 2);
  PutBig(key, sweep, 4);
  PutBig(key, ordinal, 8);
  return key;
}

std::string CoverageKey(uint32_t sweep, uint64_t chunk) { return CellKey(sweep, chunk); }

std::string DuplicateKey(uint32_t sweep, uint64_t ordinal, absl::string_view content_digest) {
  std::string key = CellKey(sweep, ordinal);
  PutDigest(key, content_digest);
  return key;
}

std::string ProvenanceKey(uint32_t id) { return EncodeU32(id); }

std::string EmbeddingChunkKey(uint16_t embedder, uint32_t sweep, uint64_t chunk) { return EmbeddingKey(embedder, sweep, chunk); }

std::string LinkKey(uint32_t owner_sweep, uint64_t owner_ordinal, uint32_t sweep, uint64_t ordinal) {
  return CellKey(owner_sweep, owner_ordinal) + CellKey(sweep, ordinal);
}

std::string SweepKeyEnd(uint32_t sweep) {
  // No key is longer than 44 bytes, so this is past every key of the last possible sweep.
  return sweep == UINT32_MAX ? std::string(64, '\xff') : SweepKey(sweep + 1);
}

std::string EmbeddingKeyEnd(uint16_t embedder, uint32_t sweep) {
  if (sweep != UINT32_MAX) return EmbeddingKey(embedder, sweep + 1, 0);
  return embedder != UINT16_MAX ? EmbeddingKey(embedder + 1, 0, 0) : std::string(64, '\xff');
}

bool ParseSweepKey(absl::string_view key, uint32_t& sweep) {
  if (key.size() != 4) return false;
  sweep = static_cast<uint32_t>(GetBig(key));
  return true;
}

bool ParseCellKey(absl::string_view key, uint32_t& sweep, uint64_t& ordinal) {
  if (key.size() != 12) return false;
  sweep = static_cast<uint32_t>(GetBig(key.substr(0, 4)));
  ordinal = GetBig(key.substr(4));
  return true;
}

bool ParseEmbeddingKey(absl::string_view key, uint16_t& embedder, uint32_t& sweep, uint64_t& ordinal) {
  if (key.size() != 14) return false;
  embedder = static_cast<uint16_t>(GetBig(key.substr(0, 2)));
  return ParseCellKey(key.substr(2), sweep, ordinal);
}

bool ParseCoverageKey(absl::string_view key, uint32_t& sweep, uint64_t& chunk) { return ParseCellKey(key, sweep, chunk); }

bool ParseProvenanceKey(absl::string_view key, uint32_t& id) { return ParseSweepKey(key, id); }

bool ParseEmbeddingChunkKey(absl::string_view key, uint16_t& embedder, uint32_t& sweep, uint64_t& chunk) {
  return ParseEmbeddingKey(key, embedder, sweep, chunk);
}

bool ParseLinkKey(absl::string_view key, uint32_t& owner_sweep, uint64_t& owner_ordinal, uint32_t& sweep, uint64_t& ordinal) {
  return key.size() == 24 && ParseCellKey(key.substr(0, 12), owner_sweep, owner_ordinal) &&
         ParseCellKey(key.substr(12), sweep, ordinal);
}

std::string Encode(const SweepRow& row) {
  std::string out(1, kRowVersion);
  PutDigest(out, row.digest);
  out.push_back(static_cast<char>(row.state));
  PutBig(out, row.created_at_ms, 8);
  out += row.manifest;
  return out;
}

absl::StatusOr<SweepRow> DecodeSweepRow(absl::string_view bytes) {
  Fields fields(bytes);
  if (fields.Big(1) != kRowVersion) return Unreadable("sweep row");
  SweepRow row;
  row.digest = fields.Digest();
  const uint64_t state = fields.Big(1);
  row.created_at_ms = fields.Big(8);
  row.manifest = std::string(fields.rest());
  if (!fields.ok() || state == 0 || !v1::SweepState_IsValid(static_cast<int>(state))) return Unreadable("sweep row");
  row.state = static_cast<v1::SweepState>(state);
  return row;
}

std::string Encode(const ResultRow& row) {
  std::string out(1, kRowVersion);
  out.reserve(140 + row.rest.size());
  PutDigest(out, row.fingerprint);
  PutDigest(out, row.image_digest);
  PutDigest(out, row.embeddings_digest);
  out.push_back(static_cast<char>(row.format));
  out.push_back(static_cast<char>(row.embedders));
  for (uint32_t value : {row.width, row.height, row.image_bytes, row.generate_us, row.embed_us, row.encode_us})
    PutBig(out, value, 4);
  PutBig(out, row.stored_at_ms, 8);
  PutBig(out, row.provenance, 4);
  out += row.rest;
  return out;
}

absl::StatusOr<ResultRow> DecodeResultRow(absl::string_view bytes) {
  Fields fields(bytes);
  if (fields.Big(1) != kRowVersion) return Unreadable("result row");
  ResultRow row;
  row.fingerprint = fields.Digest();
  row.image_digest = fields.Digest();
  row.embeddings_digest = fields.Digest();
  const uint64_t format = fields.Big(1);
  row.embedders = static_cast<uint8_t>(fields.Big(1));
  for (uint32_t* value : {&row.width, &row.height, &row.image_bytes, &row.generate_us, &row.embed_us, &row.encode_us}) {
    *value = static_cast<uint32_t>(fields.Big(4));
  }
  row.stored_at_ms = fields.Big(8);
  row.provenance = static_cast<uint32_t>(fields.Big(4));
  row.rest = std::string(fields.rest());
  if (!fields.ok() || !v1::ImageFormat_IsValid(static_cast<int>(format))) return Unreadable("result row");
  row.format = static_cast<v1::ImageFormat>(format);
  if (row.format == v1::IMAGE_FORMAT_UNSPECIFIED) row.image_digest.clear();
  return row;
}

std::string Encode(const DuplicateRow& row) {
  std::string out(1, kRowVersion);
  PutBig(out, row.at_ms, 8);
  PutDigest(out, row.first_content);
  PutDigest(out, row.later_content);
  PutBig(out, row.first_provenance, 4);
  PutBig(out, row.later_provenance, 4);
  return out;
}

absl::StatusOr<DuplicateRow> DecodeDuplicateRow(absl::string_view bytes) {
  Fields fields(bytes);
  if (fields.Big(1) != kRowVersion) return Unreadable("duplicate row");
  DuplicateRow row;
  row.at_ms = fields.Big(8);
  row.first_content = fields.Digest();
  row.later_content = fields.Digest();
  row.first_provenance = static_cast<uint32_t>(fields.Big(4));
  row.later_provenance = static_cast<uint32_t>(fields.Big(4));
  if (!fields.ok() || !fields.rest().empty()) return Unreadable("duplicate row");
  return row;
}

std::string Encode(const CountersRow& row) {
  std::string out(1, kRowVersion);
  PutBig(out, row.reused, 8);
  PutBig(out, row.device_us, 8);
  return out;
}

absl::StatusOr<CountersRow> DecodeCountersRow(absl::string_view bytes) {
  Fields fields(bytes);
  if (fields.Big(1) != kRowVersion) return Unreadable("counters row");
  CountersRow row;
  row.reused = fields.Big(8);
  row.device_us = fields.Big(8);
  if (!fields.ok() || !fields.rest().empty()) return Unreadable("counters row");
  return row;
}

std::string Versioned(absl::string_view payload) { return absl::StrCat(absl::string_view(&kRowVersion, 1), payload); }

absl::StatusOr<absl::string_view> Unversioned(absl::string_view bytes) {
  if (bytes.empty() || bytes.front() != kRowVersion) return Unreadable("value: unknown version byte");
  return bytes.substr(1);
}

std::string CanonicalManifest(const v1::SweepManifest& manifest) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    PS_CHECK(manifest.SerializeToCodedStream(&coded));
  }
  return bytes;
}

std::string EncodeU32(uint32_t value) {
  std::string out;
  PutBig(out, value, 4);
  return out;
}

absl::StatusOr<uint32_t> DecodeU32(absl::string_view bytes) {
  if (bytes.size() != 4) return Unreadable("number");
  return static_cast<uint32_t>(GetBig(bytes));
}

std::string EmbeddingsDigest(const v1::Result& result) {
  Sha256 hash;
  for (const v1::Embedding& embedding : result.embeddings()) {
    hash.UpdateField(embedding.embedder());
    hash.UpdateField(embedding.fp16());
  }
  return hash.Finish();
}

std::string ContentDigest(absl::string_view image_digest, absl::string_view embeddings_digest) {
  Sha256 hash;
  hash.UpdateField(image_digest);
  hash.UpdateField(embeddings_digest);
  return hash.Finish();
}

}  // namespace promptsweep::store
