#include "store/reader.h"

#include <algorithm>

#include "base/hash.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

// A block is closed at the first, and holds at most the second but for a vector that is larger.
constexpr size_t kBlockBytes = 512 << 10;
constexpr size_t kMaxBlockBytes = 1 << 20;
constexpr size_t kBlockRows = 16'384;
constexpr size_t kRowsAhead = 16;
constexpr size_t kBytesAhead = 4 << 20;

absl::Status Disagrees(const Sweep& sweep, uint64_t ordinal, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("sweep ", sweep.id, " cell ", ordinal, ": ", what));
}

// A missing row is corruption here, not an answer.
template <typename T>
absl::Status Missing(const absl::StatusOr<T>& value, const Sweep& sweep, uint64_t ordinal, absl::string_view what) {
  if (absl::IsNotFound(value.status())) return Disagrees(sweep, ordinal, absl::StrCat(what, " is missing"));
  return value.status();
}

}  // namespace

absl::Status CheckRanges(const v1::GetResultsRequest& request) {
  uint64_t end = 0;
  for (const v1::OrdinalRange& range : request.ranges()) {
    if (range.begin() >= range.end() || range.begin() < end) {
      return absl::InvalidArgumentError(
          absl::StrCat("range [", range.begin(), ", ", range.end(), ") is empty or not after the one before it"));
    }
    end = range.end();
  }
  return absl::OkStatus();
}

ResultReader::ResultReader(Database& database, OutsideImages& images, std::shared_ptr<const Sweep> sweep,
                           v1::GetResultsRequest request)
    : database_(database),
      images_(images),
      sweep_(std::move(sweep)),
      request_([this, &request] {
        if (request.ranges().empty()) request.add_ranges()->set_end(sweep_->cell_count());
        return std::move(request);
      }()),
      snapshot_(&database.db()),
      embeddings_(database, *sweep_, snapshot_.snapshot()) {}

bool ResultReader::NextRange() {
  if (range_ >= request_.ranges_size()) return false;
  const v1::OrdinalRange& range = request_.ranges(range_++);
  const uint64_t end = std::min(range.end(), sweep_->cell_count());
  next_ = std::min(range.begin(), end);
  rows_ = std::make_unique<Rows>(database_, Family::kResults, CellKey(sweep_->id, next_), CellKey(sweep_->id, end),
                                 snapshot_.snapshot());
  done_ = std::make_unique<DoneCursor>(database_, *sweep_, next_, end, snapshot_.snapshot());
  return true;
}

absl::StatusOr<std::optional<uint64_t>> ResultReader::FindRow() {
  while (rows_ || NextRange()) {
    std::optional<uint64_t> found;
    if (rows_->Valid()) {
      uint32_t sweep = 0;
      uint64_t ordinal = 0;
      if (!ParseCellKey(rows_->key(), sweep, ordinal)) {
        return absl::DataLossError(absl::StrCat("unreadable key ", ToHex(rows_->key()), " in results"));
      }
      found = ordinal;
    } else {
      PS_RETURN_IF_ERROR(rows_->status());
    }
    PS_ASSIGN_OR_RETURN(const std::optional<uint64_t> done, done_->Next(next_));
    if (done && (!found || *done < *found)) return Disagrees(*sweep_, *done, "its record is missing");
    if (found && done != found) return Disagrees(*sweep_, *found, "has a record but is not marked done");
    if (found) return found;
    rows_.reset();
  }
  return std::nullopt;
}

bool ResultReader::WantsMore() const {
  if (request_.limit() != 0 && read_ >= request_.limit()) return false;
  return ahead_.empty() || (ahead_.back().image && ahead_.size() < kRowsAhead && ahead_bytes_ < kBytesAhead);
}

absl::Status ResultReader::ReadAhead() {
  while (WantsMore()) {
    PS_ASSIGN_OR_RETURN(const std::optional<uint64_t> ordinal, FindRow());
    if (!ordinal) break;
    Row& row = ahead_.emplace_back();
    PS_RETURN_IF_ERROR(Fill(*ordinal, rows_->value(), row.result));
    if (request_.with_images() && !row.result.image_uri().empty()) {
      row.image = images_.Start({row.result.image_uri(), row.result.image_bytes(), row.result.image_digest()});
      ahead_bytes_ += row.result.image_bytes();
    }
    ++read_;
    next_ = *ordinal + 1;
    rows_->Next();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ResultReader::Next(v1::GetResultsResponse& message) {
  message.Clear();
  if (ended_) return false;
  PS_RETURN_IF_ERROR(ReadAhead());
  if (!ahead_.empty()) {
    Row row = std::move(ahead_.front());
    ahead_.pop_front();
    if (row.image) {
      ahead_bytes_ -= row.result.image_bytes();
      auto image = row.image->Wait();
      const uint64_t ordinal = row.result.cell().ordinal();
      if (!image.ok()) return Annotate(image.status(), absl::StrCat("sweep ", sweep_->id, " cell ", ordinal));
      row.result.set_image(*std::move(image));
    }
    *message.mutable_result() = std::move(row.result);
    digest_.Add(message.result());
    return true;
  }
  ended_ = true;
  message.mutable_trailer()->set_rows(digest_.rows());
  message.mutable_trailer()->set_digest(digest_.digest());
  return true;
}

absl::StatusOr<v1::Provenance> ResultReader::ProvenanceOf(uint32_t id) {
  if (const auto it = provenances_.find(id); it != provenances_.end()) return it->second;
  v1::Provenance provenance;
  PS_ASSIGN_OR_RETURN(const std::string value, database_.Get(Family::kProvenance, ProvenanceKey(id), snapshot_.snapshot()));
  PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Unversioned(value));
  if (!provenance.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return absl::DataLossError("unreadable provenance");
  // A sweep has a handful; a hostile one must not fill the memory.
  if (provenances_.size() < 1024) provenances_[id] = provenance;
  return provenance;
}

absl::Status ResultReader::Fill(uint64_t ordinal, absl::string_view value, v1::Result& result) {
  PS_ASSIGN_OR_RETURN(const ResultRow row, DecodeResultRow(value));
  PS_ASSIGN_OR_RETURN(*result.mutable_cell(), sweep_->plan.CellAt(ordinal));
  if (result.cell().fingerprint() != row.fingerprint) return Disagrees(*sweep_, ordinal, "its fingerprint is not the manifest's");
  result.set_image_format(row.format);
  result.set_width(row.width);
  result.set_height(row.height);
  result.set_image_digest(row.image_digest);
  result.set_image_bytes(row.image_bytes);
  result.set_generate_us(row.generate_us);
  result.set_embed_us(row.embed_us);
  result.set_encode_us(row.encode_us);
  result.set_stored_at_ms(row.stored_at_ms);
  if (!row.rest.empty()) {
    v1::Result rest;
    if (!rest.ParseFromString(row.rest)) return Disagrees(*sweep_, ordinal, "its imported columns are unreadable");
    *result.mutable_imported() = rest.imported();
    result.set_image_uri(rest.image_uri());
    if (rest.has_reused_from()) *result.mutable_reused_from() = rest.reused_from();
  }
  result.set_image_bytes(row.image_bytes);
  auto provenance = ProvenanceOf(row.provenance);
  if (!provenance.ok()) return Missing(provenance, *sweep_, ordinal, "its provenance");
  *result.mutable_provenance() = *std::move(provenance);
  if (request_.with_images() && row.format != v1::IMAGE_FORMAT_UNSPECIFIED && result.image_uri().empty()) {
    const v1::CellRef& owner = result.reused_from();
    const std::string key = result.has_reused_from() ? CellKey(owner.sweep(), owner.ordinal()) : CellKey(sweep_->id, ordinal);
    auto image = database_.Get(Family::kImages, key, snapshot_.snapshot());
    if (!image.ok()) return Missing(image, *sweep_, ordinal, "its image");
    if (Sha256Of(*image) != row.image_digest) return Disagrees(*sweep_, ordinal, "its image is not the one that was stored");
    result.set_image(*std::move(image));
  }
  if (request_.with_embeddings()) {
    for (uint16_t e = 0; e < row.embedders; ++e) {
      const auto vector = embeddings_.Get(e, ordinal);
      if (!vector.ok()) return Missing(vector, *sweep_, ordinal, "an embedding");
      v1::Embedding& embedding = *result.add_embeddings();
      if (e < sweep_->manifest().embedders_size()) embedding.set_embedder(sweep_->manifest().embedders(e).id());
      embedding.set_fp16(std::string(*vector));
    }
    if (EmbeddingsDigest(result) != row.embeddings_digest) {
      return Disagrees(*sweep_, ordinal, "its embeddings are not the ones that were stored");
    }
  }
  return absl::OkStatus();
}

EmbeddingReader::EmbeddingReader(Database& database, std::shared_ptr<const Sweep> sweep, uint16_t embedder, uint64_t begin,
                                 uint64_t end, SharedSnapshot snapshot)
    : sweep_(std::move(sweep)),
      snapshot_(snapshot ? std::move(snapshot) : std::make_shared<rocksdb::ManagedSnapshot>(&database.db())),
      runs_(database, *sweep_, embedder, begin, end, snapshot_->snapshot()) {}

absl::StatusOr<bool> EmbeddingReader::Next(v1::ScanEmbeddingsResponse& message) {
  message.Clear();
  if (ended_) return false;
  v1::EmbeddingBlock& block = *message.mutable_block();
  while (block.fp16().size() < kBlockBytes && static_cast<size_t>(block.ordinals_size()) < kBlockRows) {
    if (run_.ordinals.empty()) {
      PS_ASSIGN_OR_RETURN(const bool more, runs_.Next(run_));
      if (!more) break;
    }
    const size_t stride = size_t{2} * run_.dim;
    const size_t room = std::max<size_t>(1, (kMaxBlockBytes - block.fp16().size()) / stride);
    const size_t taken = std::min({run_.ordinals.size(), room, kBlockRows - static_cast<size_t>(block.ordinals_size())});
    block.set_dim(run_.dim);
    block.mutable_ordinals()->Add(run_.ordinals.begin(), run_.ordinals.begin() + taken);
    block.mutable_fp16()->append(run_.fp16.data(), taken * stride);
    run_.ordinals.remove_prefix(taken);
    run_.fp16.remove_prefix(taken * stride);
  }
  if (block.ordinals_size() > 0) {
    digest_.Add(block);
    return true;
  }
  ended_ = true;
  message.mutable_trailer()->set_rows(digest_.rows());
  message.mutable_trailer()->set_digest(digest_.digest());
  return true;
}

}  // namespace promptsweep::store
