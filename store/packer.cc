#include "store/packer.h"

#include <rocksdb/snapshot.h>

#include <algorithm>
#include <optional>

#include "absl/synchronization/notification.h"
#include "base/hash.h"
#include "base/status.h"
#include "store/embedding_chunk.h"

namespace promptsweep::store {
namespace {

// After a chunk that could not be packed for now: the disk is full, or could not be read.
constexpr absl::Duration kRetryRest = absl::Seconds(2);
// Where others write: how much longer than packing a chunk took the rest after it is, and the longest rest.
constexpr int kRestFactor = 4;
constexpr absl::Duration kMaxRest = absl::Seconds(2);

absl::Status Stopped() { return absl::UnavailableError("the store is shutting down"); }

bool HasEnded(v1::SweepState state) {
  return state == v1::SWEEP_STATE_DONE || state == v1::SWEEP_STATE_DONE_WITH_FAILURES || state == v1::SWEEP_STATE_CANCELLED;
}

bool IsGone(v1::SweepState state) { return state == v1::SWEEP_STATE_UNSPECIFIED || state == v1::SWEEP_STATE_DELETING; }

}  // namespace

Packer::Packer(Database& database, const Ledger& ledger, Committer& committer, Options options)
    : database_(database), ledger_(ledger), committer_(committer), options_(std::move(options)) {}

void Packer::Start() {
  if (options_.background) thread_ = std::thread([this] { Run(); });
}

Packer::~Packer() { Stop(); }

void Packer::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

uint64_t Packer::staged_vectors() const {
  absl::MutexLock lock(&mu_);
  int64_t vectors = 0;
  for (const auto& [key, dirty] : dirty_) {
    const auto sweep = ledger_.Find(key.first);
    if (sweep.ok()) vectors += std::max<int64_t>(dirty.staged, 0) * (*sweep)->manifest().embedders_size();
  }
  return static_cast<uint64_t>(vectors);
}

void Packer::Stage(uint32_t sweep, uint64_t ordinal) { ++staged_[{sweep, ordinal >> kEmbeddingChunkBits}]; }

void Packer::StageState(uint32_t sweep) { staged_states_.insert(sweep); }

void Packer::Apply() {
  if (staged_.empty() && staged_states_.empty()) return;
  const absl::Time now = options_.clock->TimeNow();
  absl::MutexLock lock(&mu_);
  const size_t before = ready_.size() + resting_.size();
  for (const auto& [key, cells] : staged_) {
    Dirty& dirty = dirty_[key];
    dirty.staged += cells;
    dirty.touched = now;
    if (dirty.staged == 0 && !dirty.broken) {
      dirty_.erase(key);
    } else {
      Enlist(key, dirty);
    }
  }
  for (const uint32_t sweep : staged_states_) {
    for (auto it = dirty_.lower_bound({sweep, 0}); it != dirty_.end() && it->first.first == sweep; ++it) {
      Enlist(it->first, it->second);
    }
  }
  staged_.clear();
  staged_states_.clear();
  if (ready_.size() + resting_.size() != before) wake_.SignalAll();
}

Packer::Due Packer::IsDue(Key key, const Dirty& dirty) const {
  if (dirty.broken) return Due::kNo;
  const auto sweep = ledger_.Find(key.first);
  if (!sweep.ok()) return Due::kNow;  // which forgets it
  const uint64_t first = key.second << kEmbeddingChunkBits;
  const uint64_t cells = std::min((*sweep)->cell_count() - std::min(first, (*sweep)->cell_count()), kChunkOrdinals);
  const auto done = static_cast<int64_t>(ledger_.CountDone(key.first, first, first + cells));
  if (done == static_cast<int64_t>(cells)) return Due::kNow;
  if (dirty.staged >= options_.max_late_rows && done > dirty.staged) return Due::kNow;
  return HasEnded(ledger_.DurableState(key.first)) ? Due::kAfterRest : Due::kNo;
}

void Packer::Enlist(Key key, const Dirty& dirty) {
  const Due due = IsDue(key, dirty);
  if (due == Due::kNow) {
    ready_.insert(key);
    resting_.erase(key);
  } else if (due == Due::kAfterRest) {
    resting_.insert(key);
  }
}

bool Packer::WaitForWork(Key& key) {
  absl::MutexLock lock(&mu_);
  while (!stopping_) {
    absl::Duration until_settled = absl::InfiniteDuration();
    const absl::Time now = options_.clock->TimeNow();
    for (auto it = resting_.begin(); ready_.empty() && it != resting_.end();) {
      const auto dirty = dirty_.find(*it);
      const absl::Duration left = dirty == dirty_.end() ? absl::ZeroDuration() : dirty->second.touched + options_.settle - now;
      if (left > absl::ZeroDuration()) {
        until_settled = std::min(until_settled, left);
        ++it;
        continue;
      }
      ready_.insert(*it);
      it = resting_.erase(it);
    }
    if (!ready_.empty()) {
      key = *ready_.begin();
      ready_.erase(ready_.begin());
      return true;
    }
    wake_.WaitWithTimeout(&mu_, until_settled);
  }
  return false;
}

void Packer::Rest(absl::Duration time) {
  const absl::Time until = absl::Now() + time;
  absl::MutexLock lock(&mu_);
  while (!stopping_ && !wake_.WaitWithDeadline(&mu_, until)) {
  }
}

void Packer::Run() {
  {
    absl::MutexLock lock(&packing_);
    // What could not be found now is still read from where it is.
    (void)Discover();
  }
  Key key;
  while (WaitForWork(key)) {
    if (const absl::Status room = options_.has_room ? options_.has_room() : absl::OkStatus(); !room.ok()) {
      {
        absl::MutexLock lock(&mu_);
        ready_.insert(key);
      }
      Rest(kRetryRest);
      continue;
    }
    const uint64_t groups = committer_.groups();
    const uint64_t writes = writes_;
    const absl::Time start = absl::Now();
    const absl::Status packed = PackChunk(key).status();
    if (!committer_.status().ok()) return;
    if (!packed.ok() && !absl::IsDataLoss(packed)) Rest(kRetryRest);
    const bool others_wrote = committer_.groups() - groups > writes_ - writes;
    if (others_wrote) Rest(std::min((absl::Now() - start) * kRestFactor, kMaxRest));
  }
}

absl::StatusOr<uint64_t> Packer::PackReady() { return PackEach(/*everything=*/false); }

absl::StatusOr<uint64_t> Packer::PackAll() { return PackEach(/*everything=*/true); }

absl::StatusOr<uint64_t> Packer::PackEach(bool everything) {
  {
    absl::MutexLock lock(&packing_);
    PS_RETURN_IF_ERROR(Discover());
  }
  std::vector<Key> keys;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [key, dirty] : dirty_) {
      if (everything || ready_.contains(key) || resting_.contains(key)) keys.push_back(key);
    }
  }
  uint64_t moved = 0;
  absl::Status harmed;
  for (const Key& key : keys) {
    {
      absl::MutexLock lock(&mu_);
      if (stopping_) return Stopped();
      ready_.erase(key);
      resting_.erase(key);
    }
    if (options_.has_room) PS_RETURN_IF_ERROR(options_.has_room());
    const absl::StatusOr<uint64_t> vectors = PackChunk(key);
    if (absl::IsDataLoss(vectors.status())) {
      if (harmed.ok()) harmed = vectors.status();
      continue;
    }
    PS_RETURN_IF_ERROR(vectors.status());
    moved += *vectors;
  }
  PS_RETURN_IF_ERROR(harmed);
  return moved;
}

absl::Status Packer::Discover() {
  if (discovered_) return absl::OkStatus();
  for (const auto& sweep : ledger_.Sweeps()) {
    for (int e = 0; e < sweep->manifest().embedders_size(); ++e) {
      const uint16_t embedder = static_cast<uint16_t>(e);
      Rows rows(database_, Family::kEmbeddings, EmbeddingKey(embedder, sweep->id, 0), EmbeddingKeyEnd(embedder, sweep->id));
      while (rows.Valid()) {
        uint16_t unused = 0;
        uint32_t id = 0;
        uint64_t ordinal = 0;
        if (!ParseEmbeddingKey(rows.key(), unused, id, ordinal)) {
          rows.Next();
          continue;
        }
        const Key key = {sweep->id, ordinal >> kEmbeddingChunkBits};
        const uint64_t first = key.second << kEmbeddingChunkBits;
        const auto value = database_.Get(Family::kEmbeddingChunks, EmbeddingChunkKey(embedder, sweep->id, key.second));
        int64_t packed = 0;
        if (value.ok()) {
          const auto chunk = EmbeddingChunk::Parse(*value, embedder, sweep->id, key.second);
          if (chunk.ok()) packed = chunk->count();
        }
        {
          absl::MutexLock lock(&mu_);
          if (stopping_) return Stopped();
          Dirty& dirty = dirty_[key];
          const auto done = static_cast<int64_t>(ledger_.CountDone(sweep->id, first, first + kChunkOrdinals));
          dirty.staged = std::max({dirty.staged, done - packed, int64_t{1}});
          Enlist(key, dirty);
        }
        rows.Seek(EmbeddingKey(embedder, sweep->id, first + kChunkOrdinals));
      }
      PS_RETURN_IF_ERROR(rows.status());
    }
  }
  discovered_ = true;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Packer::PackChunk(Key key) {
  absl::MutexLock packing(&packing_);
  uint64_t moved = 0;
  int64_t cells = 0;
  absl::Status status;
  const auto sweep = ledger_.Find(key.first);
  const bool gone = !sweep.ok() || IsGone(ledger_.DurableState(key.first));
  if (!gone) {
    rocksdb::ManagedSnapshot snapshot(&database_.db());
    for (int e = 0; status.ok() && e < (*sweep)->manifest().embedders_size(); ++e) {
      const auto vectors = PackVectors(*sweep, static_cast<uint16_t>(e), key.second, snapshot.snapshot());
      status = vectors.status();
      if (!status.ok()) break;
      moved += *vectors;
      cells = std::max(cells, static_cast<int64_t>(*vectors));
    }
  }
  absl::MutexLock lock(&mu_);
  const auto dirty = dirty_.find(key);
  if (dirty != dirty_.end()) {
    dirty->second.staged -= cells;
    dirty->second.broken = absl::IsDataLoss(status);
    // Where nothing was there to be packed, the count was wrong.
    const bool settled = status.ok() && (gone || cells == 0 || dirty->second.staged == 0);
    if (settled) {
      dirty_.erase(dirty);
    } else {
      Enlist(key, dirty->second);
    }
  }
  PS_RETURN_IF_ERROR(status);
  return moved;
}

absl::StatusOr<uint64_t> Packer::PackVectors(const std::shared_ptr<const Sweep>& sweep, uint16_t embedder, uint64_t chunk,
                                             const rocksdb::Snapshot* snapshot) {
  const uint64_t first = chunk << kEmbeddingChunkBits;
  const std::string key = EmbeddingChunkKey(embedder, sweep->id, chunk);
  const auto harmed = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("sweep ", sweep->id, " cell ", first, " and on: ", what));
  };
  Rows rows(database_, Family::kEmbeddings, EmbeddingKey(embedder, sweep->id, first),
            EmbeddingKey(embedder, sweep->id, first + kChunkOrdinals), snapshot, {.bulk = true});
  if (!rows.Valid()) {
    PS_RETURN_IF_ERROR(rows.status());
    return 0;
  }
  const auto old_value = database_.Get(Family::kEmbeddingChunks, key, snapshot);
  std::optional<EmbeddingChunk> old;
  if (old_value.ok()) {
    PS_ASSIGN_OR_RETURN(old, EmbeddingChunk::Parse(*old_value, embedder, sweep->id, chunk));
  } else if (!absl::IsNotFound(old_value.status())) {
    return old_value.status();
  }
  const uint32_t dim = old ? old->dim() : static_cast<uint32_t>(rows.value().size() / 2);
  if (dim == 0) return harmed("an embedding is empty");
  EmbeddingChunkBuilder builder(embedder, sweep->id, chunk, dim);
  std::vector<std::string> staged_keys;
  uint64_t copied = first;  // the old chunk's vectors below it are in the new one
  const auto copy_old = [&](uint64_t until) {
    for (; old && copied < until; ++copied) {
      if (old->Has(copied)) builder.Add(copied, old->Find(copied));
    }
  };
  for (; rows.Valid(); rows.Next()) {
    uint16_t unused = 0;
    uint32_t id = 0;
    uint64_t ordinal = 0;
    if (!ParseEmbeddingKey(rows.key(), unused, id, ordinal)) return harmed("unreadable key of an embedding");
    if (rows.value().size() != size_t{2} * dim) return harmed("embeddings of different sizes");
    if (old && old->Has(ordinal)) return harmed("an embedding is stored twice");
    copy_old(ordinal);
    builder.Add(ordinal, rows.value());
    staged_keys.emplace_back(rows.key());
  }
  PS_RETURN_IF_ERROR(rows.status());
  copy_old(first + kChunkOrdinals);
  const absl::Status written = Replace(sweep, key, builder.Finish(), staged_keys);
  if (absl::IsAborted(written)) return 0;
  PS_RETURN_IF_ERROR(written);
  return staged_keys.size();
}

absl::Status Packer::Replace(const std::shared_ptr<const Sweep>& sweep, const std::string& chunk_key, const std::string& value,
                             const std::vector<std::string>& staged_keys) {
  absl::Notification done;
  absl::Status status;
  bool valid = false;
  Committer::Write write;
  write.bytes = value.size() + staged_keys.size() * 32;
  write.prepare = [&](rocksdb::WriteBatch& batch) {
    const auto now = ledger_.Find(sweep->id);
    valid = now.ok() && *now == sweep && !IsGone(ledger_.State(sweep->id));
    if (!valid) return;
    // Fails only beyond 4 GiB, which groups never reach.
    (void)batch.Put(database_.family(Family::kEmbeddingChunks), ToSlice(chunk_key), ToSlice(value));
    for (const std::string& key : staged_keys) (void)batch.Delete(database_.family(Family::kEmbeddings), ToSlice(key));
  };
  write.done = [&](const absl::Status& result) {
    status = result;
    done.Notify();
  };
  ++writes_;
  committer_.Enqueue(std::move(write));
  done.WaitForNotification();
  PS_RETURN_IF_ERROR(status);
  return valid ? absl::OkStatus() : absl::AbortedError("the sweep is gone");
}

}  // namespace promptsweep::store
