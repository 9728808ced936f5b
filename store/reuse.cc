#include "store/reuse.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/reader.h"

namespace promptsweep::store {
namespace {

// The origin's embedder for each embedder of `sweep`, by digest: names are a sweep's own. nullopt where one is missing.
std::optional<std::vector<uint16_t>> MatchEmbedders(const v1::SweepManifest& sweep, const v1::SweepManifest& origin) {
  std::vector<uint16_t> indices;
  for (const v1::ModelRef& wanted : sweep.embedders()) {
    int at = 0;
    while (at < origin.embedders_size() && origin.embedders(at).digest() != wanted.digest()) ++at;
    if (at == origin.embedders_size()) return std::nullopt;
    indices.push_back(static_cast<uint16_t>(at));
  }
  return indices;
}

// The origin's vectors with its names for them; nullopt where they are not the ones that were stored.
std::optional<v1::Result> ReadVectors(Database& database, const Sweep& origin, uint64_t ordinal, const ResultRow& row,
                                      const rocksdb::Snapshot* snapshot) {
  if (row.embedders != origin.manifest().embedders_size()) return std::nullopt;
  v1::Result result;
  for (uint16_t e = 0; e < row.embedders; ++e) {
    auto vector = EmbeddingRows::Get(database, origin, e, ordinal, snapshot);
    if (!vector.ok()) return std::nullopt;
    v1::Embedding& embedding = *result.add_embeddings();
    embedding.set_embedder(origin.manifest().embedders(e).id());
    embedding.set_fp16(*std::move(vector));
  }
  if (EmbeddingsDigest(result) != row.embeddings_digest) return std::nullopt;
  return result;
}

bool ImageIsSound(Database& database, const Link& link, const rocksdb::Snapshot* snapshot) {
  const auto image = database.Get(Family::kImages, CellKey(link.owner_sweep, link.owner_ordinal), snapshot);
  return image.ok() && image->size() == link.row.image_bytes && Sha256Of(*image) == link.row.image_digest;
}

}  // namespace

absl::StatusOr<std::vector<FingerprintHit>> LookUpFingerprints(Database& database, const Sweep& sweep,
                                                               const std::vector<uint64_t>& ordinals,
                                                               const rocksdb::Snapshot* snapshot) {
  std::vector<FingerprintHit> cells(ordinals.size());
  std::vector<rocksdb::Slice> keys;
  for (size_t i = 0; i < ordinals.size(); ++i) {
    PS_ASSIGN_OR_RETURN(v1::Cell cell, sweep.plan.CellAt(ordinals[i]));
    cells[i].ordinal = ordinals[i];
    cells[i].fingerprint = std::move(*cell.mutable_fingerprint());
    keys.push_back(ToSlice(cells[i].fingerprint));
  }
  if (keys.empty()) return std::vector<FingerprintHit>();
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  database.db().MultiGet(options, database.family(Family::kByFingerprint), keys.size(), keys.data(), values.data(),
                         statuses.data());
  std::vector<FingerprintHit> hits;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!statuses[i].ok()) continue;
    const auto key = Unversioned(ToView(values[i]));
    if (!key.ok() || *key == CellKey(sweep.id, cells[i].ordinal)) continue;
    cells[i].origin = std::string(*key);
    hits.push_back(std::move(cells[i]));
  }
  return hits;
}

absl::StatusOr<std::optional<Link>> ReadLink(Database& database, const Ledger& ledger, const Sweep& sweep,
                                             const FingerprintHit& hit, const rocksdb::Snapshot* snapshot) {
  Link link;
  link.ordinal = hit.ordinal;
  link.origin = hit.origin;
  if (!ParseCellKey(hit.origin, link.owner_sweep, link.owner_ordinal)) return std::nullopt;
  const uint64_t origin_ordinal = link.owner_ordinal;
  const auto origin = ledger.Find(link.owner_sweep);
  if (!origin.ok() || !(*origin)->manifest().imported_from().empty()) return std::nullopt;
  const auto embedders = MatchEmbedders(sweep.manifest(), (*origin)->manifest());
  if (!embedders) return std::nullopt;
  auto value = database.Get(Family::kResults, hit.origin, snapshot);
  if (!value.ok()) return std::nullopt;
  auto row = DecodeResultRow(*value);
  if (!row.ok()) return std::nullopt;
  if (row->fingerprint != hit.fingerprint) {
    return absl::DataLossError(absl::StrCat("by_fingerprint ", ToHex(hit.fingerprint), " leads to sweep ", link.owner_sweep,
                                            " cell ", origin_ordinal, ", which is the result of something else"));
  }
  v1::Result rest;
  if (!rest.ParseFromString(row->rest) || row->format == v1::IMAGE_FORMAT_UNSPECIFIED) return std::nullopt;
  link.image_in_store = rest.image_uri().empty();
  const std::string& wanted_place = sweep.manifest().spec().images();
  if (link.image_in_store && !wanted_place.empty() && wanted_place != (*origin)->manifest().spec().images()) return std::nullopt;
  if (rest.has_reused_from()) {
    link.owner_sweep = rest.reused_from().sweep();
    link.owner_ordinal = rest.reused_from().ordinal();
  }
  link.origin_row = *std::move(value);
  link.row = *std::move(row);
  if (link.image_in_store && !ImageIsSound(database, link, snapshot)) return std::nullopt;
  const auto vectors = ReadVectors(database, **origin, origin_ordinal, link.row, snapshot);
  if (!vectors) return std::nullopt;

  v1::Result mine;
  for (size_t e = 0; e < embedders->size(); ++e) {
    v1::Embedding& embedding = *mine.add_embeddings();
    embedding.set_embedder(sweep.manifest().embedders(static_cast<int>(e)).id());
    embedding.set_fp16(vectors->embeddings((*embedders)[e]).fp16());
    link.vectors.push_back(embedding.fp16());
    link.bytes += embedding.fp16().size();
  }
  link.row.embedders = static_cast<uint8_t>(embedders->size());
  link.row.embeddings_digest = EmbeddingsDigest(mine);
  v1::Result kept;
  kept.set_image_uri(rest.image_uri());
  kept.mutable_reused_from()->set_sweep(link.owner_sweep);
  kept.mutable_reused_from()->set_ordinal(link.owner_ordinal);
  link.row.rest = kept.SerializeAsString();
  link.bytes += link.origin_row.size() + 128;
  link.bytes_read = link.bytes + (link.image_in_store ? link.row.image_bytes : 0);
  return link;
}

}  // namespace promptsweep::store
