#include "store/done_cursor.h"

#include <algorithm>
#include <bit>

#include "base/hash.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

constexpr size_t kGroupWords = (size_t{1} << kChunkBits) / 64;
constexpr int kChunksOfGroup = kChunkBits - kEmbeddingChunkBits;  // as a power of two

uint64_t EndOfGroups(uint64_t begin, uint64_t end) { return end <= begin ? begin >> kChunkBits : ((end - 1) >> kChunkBits) + 1; }

}  // namespace

DoneCursor::DoneCursor(Database& database, const Sweep& sweep, uint64_t begin, uint64_t end, const rocksdb::Snapshot* snapshot)
    : begin_(begin),
      end_(end),
      rows_(database, Family::kCoverage, CoverageKey(sweep.id, begin >> kChunkBits),
            CoverageKey(sweep.id, EndOfGroups(begin, end)), snapshot),
      bits_(kGroupWords) {}

absl::Status DoneCursor::Load(uint64_t group) {
  if (ended_ || (group_ && *group_ >= group)) return absl::OkStatus();
  for (; rows_.Valid(); rows_.Next()) {
    uint32_t sweep = 0;
    uint64_t found = 0;
    const auto bitmap = DecodeBitmap(rows_.value());
    if (!ParseCoverageKey(rows_.key(), sweep, found) || !bitmap.ok()) {
      return absl::DataLossError(absl::StrCat("unreadable row ", ToHex(rows_.key()), " in coverage"));
    }
    if (found < group) continue;
    std::fill(bits_.begin(), bits_.end(), 0);
    bitmap->iterate(
        [](uint32_t low, void* bits) {
          static_cast<uint64_t*>(bits)[low / 64] |= uint64_t{1} << (low % 64);
          return true;
        },
        bits_.data());
    group_ = found;
    rows_.Next();
    return absl::OkStatus();
  }
  ended_ = true;
  return rows_.status();
}

absl::StatusOr<std::optional<uint64_t>> DoneCursor::Next(uint64_t from) {
  from = std::max(from, begin_);
  while (from < end_) {
    PS_RETURN_IF_ERROR(Load(from >> kChunkBits));
    if (!group_ || *group_ < from >> kChunkBits) return std::nullopt;
    const uint64_t start = *group_ << kChunkBits;
    from = std::max(from, start);
    size_t word = (from - start) / 64;
    uint64_t rest = bits_[word] & ~uint64_t{0} << (from % 64);
    while (rest == 0 && ++word < kGroupWords) rest = bits_[word];
    if (rest != 0) {
      const uint64_t found = start + word * 64 + static_cast<uint64_t>(std::countr_zero(rest));
      if (found >= end_) return std::nullopt;
      return found;
    }
    from = start + (uint64_t{1} << kChunkBits);
  }
  return std::nullopt;
}

absl::StatusOr<ChunkBits> DoneCursor::Chunk(uint64_t chunk) {
  const uint64_t group = chunk >> kChunksOfGroup;
  PS_RETURN_IF_ERROR(Load(group));
  ChunkBits bits{};
  if (!group_ || *group_ != group) return bits;
  const size_t at = (chunk & ((uint64_t{1} << kChunksOfGroup) - 1)) * bits.size();
  std::copy_n(bits_.begin() + static_cast<std::ptrdiff_t>(at), bits.size(), bits.begin());
  return bits;
}

}  // namespace promptsweep::store
