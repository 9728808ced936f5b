#include "store/embedding_rows.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "base/hash.h"
#include "base/status.h"

namespace promptsweep::store {
namespace {

uint64_t ChunkOf(uint64_t ordinal) { return ordinal >> kEmbeddingChunkBits; }
uint64_t EndOfChunks(uint64_t begin, uint64_t end) { return end <= begin ? ChunkOf(begin) : ChunkOf(end - 1) + 1; }

std::string Where(const Sweep& sweep, uint64_t ordinal) { return absl::StrCat("sweep ", sweep.id, " cell ", ordinal); }

std::string UnreadableKey(Family family, absl::string_view key) {
  return absl::StrCat("unreadable key ", ToHex(key), " in ", FamilyName(family));
}

Rows OpenChunks(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                const rocksdb::Snapshot* snapshot) {
  return Rows(database, Family::kEmbeddingChunks, EmbeddingChunkKey(embedder, sweep.id, ChunkOf(begin)),
              EmbeddingChunkKey(embedder, sweep.id, EndOfChunks(begin, end)), snapshot, {.large_values = true});
}

// Drops what is outside of [begin, end).
void Clip(ChunkBits& bits, uint64_t first, uint64_t begin, uint64_t end) {
  for (size_t word = 0; word < bits.size(); ++word) {
    const uint64_t low = first + word * 64;
    if (low + 64 <= begin || low >= end) {
      bits[word] = 0;
      continue;
    }
    if (low < begin) bits[word] &= ~uint64_t{0} << (begin - low);
    if (end - low < 64) bits[word] &= (uint64_t{1} << (end - low)) - 1;
  }
}

std::optional<uint64_t> FirstOf(const ChunkBits& bits, uint64_t first) {
  for (size_t word = 0; word < bits.size(); ++word) {
    if (bits[word] != 0) return first + word * 64 + static_cast<uint64_t>(std::countr_zero(bits[word]));
  }
  return std::nullopt;
}

template <typename Use>
void ForEachBit(const ChunkBits& bits, uint64_t first, Use use) {
  for (size_t word = 0; word < bits.size(); ++word) {
    for (uint64_t rest = bits[word]; rest != 0; rest &= rest - 1) {
      use(first + word * 64 + static_cast<uint64_t>(std::countr_zero(rest)));
    }
  }
}

}  // namespace

EmbeddingRows::EmbeddingRows(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                             const rocksdb::Snapshot* snapshot)
    : sweep_(sweep),
      embedder_(embedder),
      end_(end),
      chunks_(OpenChunks(database, sweep, embedder, begin, end, snapshot)),
      staged_(database, Family::kEmbeddings, EmbeddingKey(embedder, sweep.id, begin), EmbeddingKey(embedder, sweep.id, end),
              snapshot, {.bulk = true}) {
  SettlePacked(begin);
  SettleStaged();
  NoteTwice();
}

void EmbeddingRows::SettlePacked(uint64_t from) {
  packed_at_.reset();
  for (; chunks_.Valid(); chunks_.Next()) {
    uint16_t embedder = 0;
    uint32_t sweep = 0;
    uint64_t number = 0;
    if (!ParseEmbeddingChunkKey(chunks_.key(), embedder, sweep, number)) {
      problems_.push_back(UnreadableKey(Family::kEmbeddingChunks, chunks_.key()));
      continue;
    }
    auto chunk = EmbeddingChunk::Parse(chunks_.value(), embedder_, sweep_.id, number);
    if (!chunk.ok()) {
      problems_.push_back(absl::StrCat("cell ", number << kEmbeddingChunkBits, " and on: ", chunk.status().message()));
      continue;
    }
    chunk_ = *chunk;
    ChunkBits there = chunk_.present();
    Clip(there, chunk_.first_ordinal(), from, end_);
    packed_at_ = FirstOf(there, chunk_.first_ordinal());
    if (packed_at_) return;
  }
}

void EmbeddingRows::SettleStaged() {
  staged_at_.reset();
  for (; staged_.Valid(); staged_.Next()) {
    uint16_t embedder = 0;
    uint32_t sweep = 0;
    uint64_t ordinal = 0;
    if (ParseEmbeddingKey(staged_.key(), embedder, sweep, ordinal)) {
      staged_at_ = ordinal;
      return;
    }
    problems_.push_back(UnreadableKey(Family::kEmbeddings, staged_.key()));
  }
}

void EmbeddingRows::NoteTwice() {
  if (packed_at_ && packed_at_ == staged_at_) {
    problems_.push_back(absl::StrCat("cell ", *packed_at_, ": its embedding is stored twice"));
  }
}

void EmbeddingRows::Next() {
  const uint64_t at = ordinal();
  if (staged_at_ == at) {
    staged_.Next();
    SettleStaged();
  }
  if (packed_at_ == at) {
    ChunkBits rest = chunk_.present();
    Clip(rest, chunk_.first_ordinal(), at + 1, end_);
    packed_at_ = FirstOf(rest, chunk_.first_ordinal());
    if (!packed_at_) {
      chunks_.Next();
      SettlePacked(at + 1);
    }
  }
  NoteTwice();
}

absl::Status EmbeddingRows::status() const {
  PS_RETURN_IF_ERROR(chunks_.status());
  return staged_.status();
}

absl::StatusOr<std::string> EmbeddingRows::Get(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t ordinal,
                                               const rocksdb::Snapshot* snapshot) {
  EmbeddingLookup lookup(database, sweep, snapshot);
  PS_ASSIGN_OR_RETURN(const absl::string_view vector, lookup.Get(embedder, ordinal));
  return std::string(vector);
}

uint32_t EmbeddingRows::FindDim(Database& database, const Sweep& sweep, uint16_t embedder) {
  // Chunks first: before the first staged row there may be many deleted ones to step over.
  constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
  Rows chunks = OpenChunks(database, sweep, embedder, 0, kEnd, nullptr);
  for (; chunks.Valid(); chunks.Next()) {
    uint16_t unused = 0;
    uint32_t id = 0;
    uint64_t number = 0;
    if (!ParseEmbeddingChunkKey(chunks.key(), unused, id, number)) continue;
    const auto chunk = EmbeddingChunk::Parse(chunks.value(), embedder, sweep.id, number);
    if (chunk.ok()) return chunk->dim();
  }
  const Rows staged(database, Family::kEmbeddings, EmbeddingKey(embedder, sweep.id, 0), EmbeddingKeyEnd(embedder, sweep.id));
  return staged.Valid() ? static_cast<uint32_t>(staged.value().size() / 2) : 0;
}

EmbeddingRuns::EmbeddingRuns(Database& database, const Sweep& sweep, uint16_t embedder, uint64_t begin, uint64_t end,
                             const rocksdb::Snapshot* snapshot)
    : database_(database),
      sweep_(sweep),
      embedder_(embedder),
      begin_(begin),
      end_(end),
      snapshot_(snapshot),
      done_(database, sweep, begin, end, snapshot),
      chunks_(OpenChunks(database, sweep, embedder, begin, end, snapshot)),
      next_(begin) {}

absl::StatusOr<const EmbeddingChunk*> EmbeddingRuns::FindChunk(uint64_t chunk) {
  for (; chunks_.Valid(); chunks_.Next()) {
    uint16_t embedder = 0;
    uint32_t sweep = 0;
    uint64_t number = 0;
    if (!ParseEmbeddingChunkKey(chunks_.key(), embedder, sweep, number)) {
      return absl::DataLossError(UnreadableKey(Family::kEmbeddingChunks, chunks_.key()));
    }
    if (number < chunk) continue;
    if (number > chunk) return nullptr;
    auto parsed = EmbeddingChunk::Parse(chunks_.value(), embedder_, sweep_.id, number);
    if (!parsed.ok()) {
      return Annotate(parsed.status(), absl::StrCat(Where(sweep_, number << kEmbeddingChunkBits), " and on"));
    }
    chunk_ = *parsed;
    return &chunk_;
  }
  // An iterator that met corruption looks like one at its end.
  PS_RETURN_IF_ERROR(chunks_.status());
  return nullptr;
}

absl::StatusOr<bool> EmbeddingRuns::Next(VectorRun& run) {
  PS_ASSIGN_OR_RETURN(const std::optional<uint64_t> at, done_.Next(next_));
  if (!at) return false;
  const uint64_t number = ChunkOf(*at);
  const uint64_t first = number << kEmbeddingChunkBits;
  PS_ASSIGN_OR_RETURN(const ChunkBits done, done_.Chunk(number));
  PS_ASSIGN_OR_RETURN(const EmbeddingChunk* packed, FindChunk(number));
  ChunkBits wanted = done;
  Clip(wanted, first, begin_, end_);
  bool complete = packed != nullptr;
  if (packed) {
    ChunkBits missing{};
    ChunkBits extra{};
    for (size_t word = 0; word < done.size(); ++word) {
      missing[word] = wanted[word] & ~packed->present()[word];
      extra[word] = packed->present()[word] & ~done[word];
    }
    if (const auto stray = FirstOf(extra, first)) {
      return absl::DataLossError(absl::StrCat(Where(sweep_, *stray), ": has an embedding but is not marked done"));
    }
    complete = !FirstOf(missing, first);
  }
  next_ = std::min(end_, first + kChunkOrdinals);
  if (!complete) {
    PS_RETURN_IF_ERROR(Merge(number, wanted, packed));
    run = {ordinals_, dim_, merged_};
    return true;
  }
  if (dim_ == 0) dim_ = packed->dim();
  if (packed->dim() != dim_) return absl::DataLossError(absl::StrCat(Where(sweep_, *at), ": its embedding has another size"));
  // All done ordinals of the range are in the chunk and no others: a contiguous part of its vectors.
  const uint32_t rank = packed->Rank(std::max(first, begin_));
  const uint32_t count = packed->Rank(next_) - rank;
  ordinals_.resize(count);
  if (packed->count() == kChunkOrdinals) {
    std::iota(ordinals_.begin(), ordinals_.end(), first + rank);
  } else {
    size_t i = 0;
    ForEachBit(wanted, first, [&](uint64_t ordinal) { ordinals_[i++] = ordinal; });
  }
  run = {ordinals_, dim_, packed->Vectors(rank, count)};
  return true;
}

absl::Status EmbeddingRuns::Append(uint64_t ordinal, absl::string_view vector) {
  if (dim_ == 0) dim_ = static_cast<uint32_t>(vector.size() / 2);
  if (vector.empty() || vector.size() != size_t{2} * dim_) {
    return absl::DataLossError(absl::StrCat(Where(sweep_, ordinal), ": its embedding has another size"));
  }
  ordinals_.push_back(ordinal);
  merged_.append(vector.data(), vector.size());
  return absl::OkStatus();
}

absl::Status EmbeddingRuns::Merge(uint64_t chunk, const ChunkBits& wanted, const EmbeddingChunk* packed) {
  ordinals_.clear();
  merged_.clear();
  const uint64_t first = chunk << kEmbeddingChunkBits;
  const uint64_t from = std::max(first, begin_);
  if (staged_) {
    staged_->Seek(EmbeddingKey(embedder_, sweep_.id, from));
  } else {
    staged_ = std::make_unique<Rows>(database_, Family::kEmbeddings, EmbeddingKey(embedder_, sweep_.id, from),
                                     EmbeddingKey(embedder_, sweep_.id, end_), snapshot_, Rows::Hints{.bulk = true});
  }
  // Stops at the last row it needs: beyond it there may be many deleted ones to step over.
  bool used = false;
  absl::Status status;
  ForEachBit(wanted, first, [&](uint64_t ordinal) {
    if (!status.ok()) return;
    if (packed && packed->Has(ordinal)) {
      status = Append(ordinal, packed->Find(ordinal));
      return;
    }
    if (used) staged_->Next();
    used = true;
    uint16_t embedder = 0;
    uint32_t sweep = 0;
    uint64_t found = 0;
    if (!staged_->Valid()) {
      status = staged_->status();
      if (status.ok()) status = absl::DataLossError(absl::StrCat(Where(sweep_, ordinal), ": its embedding is missing"));
    } else if (!ParseEmbeddingKey(staged_->key(), embedder, sweep, found)) {
      status = absl::DataLossError(UnreadableKey(Family::kEmbeddings, staged_->key()));
    } else if (found > ordinal) {
      status = absl::DataLossError(absl::StrCat(Where(sweep_, ordinal), ": its embedding is missing"));
    } else if (found < ordinal) {
      status = absl::DataLossError(absl::StrCat(
          Where(sweep_, found), ": ",
          packed && packed->Has(found) ? "its embedding is stored twice" : "has an embedding but is not marked done"));
    } else {
      status = Append(ordinal, staged_->value());
    }
  });
  return status;
}

EmbeddingLookup::EmbeddingLookup(Database& database, const Sweep& sweep, const rocksdb::Snapshot* snapshot)
    : database_(database), sweep_(sweep), snapshot_(snapshot) {}

absl::StatusOr<absl::string_view> EmbeddingLookup::Get(uint16_t embedder, uint64_t ordinal) {
  if (held_.size() <= embedder) held_.resize(size_t{embedder} + 1);
  std::unique_ptr<Held>& held = held_[embedder];
  if (!held || held->number != ChunkOf(ordinal)) {
    held = std::make_unique<Held>();
    held->number = ChunkOf(ordinal);
    const std::string key = EmbeddingChunkKey(embedder, sweep_.id, held->number);
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    options.fill_cache = false;
    const rocksdb::Status read =
        database_.db().Get(options, database_.family(Family::kEmbeddingChunks), ToSlice(key), &held->value);
    absl::Status status = read.IsNotFound() ? absl::OkStatus() : FromRocks(read);
    if (read.ok()) {
      auto chunk = EmbeddingChunk::Parse(ToView(held->value), embedder, sweep_.id, held->number);
      if (chunk.ok()) {
        held->chunk = *chunk;
        held->there = true;
      } else {
        status = chunk.status();
      }
    }
    if (!status.ok()) {
      held.reset();
      return Annotate(status, absl::StrCat(FamilyName(Family::kEmbeddingChunks), " ", ToHex(key)));
    }
  }
  if (held->there && held->chunk.Has(ordinal)) return held->chunk.Find(ordinal);
  PS_ASSIGN_OR_RETURN(staged_, database_.Get(Family::kEmbeddings, EmbeddingKey(embedder, sweep_.id, ordinal), snapshot_));
  return absl::string_view(staged_);
}

std::vector<v1::OrdinalRange> SplitAtChunks(uint64_t begin, uint64_t end, int parts) {
  std::vector<v1::OrdinalRange> ranges;
  if (end <= begin || parts < 1) return ranges;
  const uint64_t first = ChunkOf(begin);
  const uint64_t chunks = EndOfChunks(begin, end) - first;
  const uint64_t share = chunks / static_cast<uint64_t>(parts);
  const uint64_t left_over = chunks % static_cast<uint64_t>(parts);
  uint64_t at = first;
  for (uint64_t part = 0; part < static_cast<uint64_t>(parts); ++part) {
    const uint64_t next = at + share + (part < left_over ? 1 : 0);
    if (next == at) break;
    v1::OrdinalRange& range = ranges.emplace_back();
    range.set_begin(std::max(begin, at << kEmbeddingChunkBits));
    range.set_end(next == first + chunks ? end : next << kEmbeddingChunkBits);
    at = next;
  }
  return ranges;
}

}  // namespace promptsweep::store
