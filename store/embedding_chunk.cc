#include "store/embedding_chunk.h"

#include <bit>

#include "base/check.h"
#include "base/hash.h"

namespace promptsweep::store {
namespace {

constexpr absl::string_view kMagic = "PSEC";
constexpr char kVersion = 1;
constexpr char kHalfFloats = 1;
constexpr size_t kDimAt = 12;
constexpr size_t kFirstAt = 16;
constexpr size_t kCountAt = 24;
constexpr size_t kZerosAt = 28;
constexpr size_t kChecksumAt = 56;

void SetBig(std::string& value, size_t at, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) value[at + i] = static_cast<char>(number >> (8 * (bytes - 1 - i)));
}

uint64_t GetBig(absl::string_view value, size_t at, int bytes) {
  uint64_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<uint8_t>(value[at + i]);
  return number;
}

uint64_t Checksum(absl::string_view value) { return Xxh3(value.substr(kChunkHeaderBytes), Xxh3(value.substr(0, kChecksumAt))); }

absl::Status Unreadable(absl::string_view why) { return absl::DataLossError(absl::StrCat("unreadable chunk: ", why)); }

}  // namespace

absl::StatusOr<EmbeddingChunk> EmbeddingChunk::Parse(absl::string_view value, uint16_t embedder, uint32_t sweep, uint64_t chunk) {
  if (value.size() < kChunkVectors || value.substr(0, 4) != kMagic) return Unreadable("not one");
  if (value[4] != kVersion || value[5] != kHalfFloats) return Unreadable("of an unknown version");
  if (GetBig(value, 6, 2) != embedder || GetBig(value, 8, 4) != sweep || chunk > UINT64_MAX >> kEmbeddingChunkBits ||
      GetBig(value, kFirstAt, 8) != chunk << kEmbeddingChunkBits) {
    return Unreadable("it belongs under another key");
  }
  for (size_t i = kZerosAt; i < kChecksumAt; ++i) {
    if (value[i] != 0) return Unreadable("of an unknown version");
  }
  EmbeddingChunk view;
  view.first_ = chunk << kEmbeddingChunkBits;
  view.dim_ = static_cast<uint32_t>(GetBig(value, kDimAt, 4));
  for (size_t word = 0; word < view.present_.size(); ++word) {
    for (int byte = 7; byte >= 0; --byte) {
      view.present_[word] = view.present_[word] << 8 | static_cast<uint8_t>(value[kChunkHeaderBytes + word * 8 + byte]);
    }
    view.before_[word + 1] = view.before_[word] + static_cast<uint32_t>(std::popcount(view.present_[word]));
  }
  view.vectors_ = value.substr(kChunkVectors);
  // At most 2^10 * 2^33: no overflow.
  if (view.dim_ == 0 || view.count() == 0 || GetBig(value, kCountAt, 4) != view.count() ||
      view.vectors_.size() != uint64_t{view.count()} * 2 * view.dim_) {
    return Unreadable("its size is not that of its vectors");
  }
  if (GetBig(value, kChecksumAt, 8) != Checksum(value)) return Unreadable("its checksum is wrong");
  return view;
}

uint32_t EmbeddingChunk::Rank(uint64_t ordinal) const {
  if (ordinal <= first_) return 0;
  const uint64_t i = ordinal - first_;
  if (i >= kChunkOrdinals) return count();
  const uint64_t below = present_[i / 64] & ((uint64_t{1} << (i % 64)) - 1);
  return before_[i / 64] + static_cast<uint32_t>(std::popcount(below));
}

EmbeddingChunkBuilder::EmbeddingChunkBuilder(uint16_t embedder, uint32_t sweep, uint64_t chunk, uint32_t dim)
    : first_(chunk << kEmbeddingChunkBits), dim_(dim), next_(first_), value_(kChunkVectors, '\0') {
  PS_CHECK(dim > 0 && chunk <= UINT64_MAX >> kEmbeddingChunkBits);
  value_.replace(0, kMagic.size(), kMagic.data(), kMagic.size());
  value_[4] = kVersion;
  value_[5] = kHalfFloats;
  SetBig(value_, 6, embedder, 2);
  SetBig(value_, 8, sweep, 4);
  SetBig(value_, kDimAt, dim, 4);
  SetBig(value_, kFirstAt, first_, 8);
}

void EmbeddingChunkBuilder::Add(uint64_t ordinal, absl::string_view fp16) {
  const uint64_t i = ordinal - first_;
  PS_CHECK(ordinal >= next_ && i < kChunkOrdinals && fp16.size() == size_t{2} * dim_);
  char& presence = value_[kChunkHeaderBytes + i / 8];
  presence = static_cast<char>(presence | 1 << (i % 8));
  value_.append(fp16.data(), fp16.size());
  next_ = ordinal + 1;
  ++count_;
}

std::string EmbeddingChunkBuilder::Finish() {
  PS_CHECK(count_ > 0);
  SetBig(value_, kCountAt, count_, 4);
  SetBig(value_, kChecksumAt, Checksum(value_), 8);
  return std::move(value_);
}

}  // namespace promptsweep::store
