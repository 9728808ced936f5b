#include "store/ledger.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/extension.h"

namespace promptsweep::store {
namespace {

constexpr size_t kMinDigestPrefix = 6;

bool IsUnfinished(v1::SweepState state) { return state == v1::SWEEP_STATE_RUNNING || state == v1::SWEEP_STATE_PAUSED; }

bool IsHex(absl::string_view text) { return std::all_of(text.begin(), text.end(), absl::ascii_isxdigit); }

}  // namespace

absl::StatusOr<Sweep> LoadSweep(uint32_t id, const SweepRow& row) {
  v1::SweepManifest manifest;
  if (!manifest.ParseFromString(row.manifest) || sweep::ManifestDigest(manifest) != row.digest) {
    return absl::DataLossError(absl::StrCat("the manifest of sweep ", id, " is unreadable"));
  }
  auto plan = sweep::Plan::FromManifest(manifest);
  if (!plan.ok()) return absl::DataLossError(absl::StrCat("sweep ", id, ": ", plan.status().message()));
  return Sweep{id, row.digest, *std::move(plan), row.created_at_ms};
}

std::optional<uint16_t> Sweep::EmbedderIndex(absl::string_view id) const {
  for (int i = 0; i < manifest().embedders_size(); ++i) {
    if (manifest().embedders(i).id() == id) return static_cast<uint16_t>(i);
  }
  return std::nullopt;
}

uint64_t CountOf(const Coverage& coverage) {
  uint64_t count = 0;
  for (const auto& [chunk, bitmap] : coverage) count += bitmap.cardinality();
  return count;
}

std::string EncodeBitmap(const Roaring& bitmap) {
  std::string bytes(bitmap.getSizeInBytes(/*portable=*/true), '\0');
  bitmap.write(bytes.data(), /*portable=*/true);
  return Versioned(bytes);
}

absl::StatusOr<Roaring> DecodeBitmap(absl::string_view value) {
  PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Unversioned(value));
  try {
    Roaring bitmap = Roaring::readSafe(bytes.data(), bytes.size());
    if (!bitmap.isEmpty() && bitmap.maximum() < (1u << kChunkBits)) return bitmap;
  } catch (const std::exception&) {
  }
  return absl::DataLossError("unreadable coverage bitmap");
}

absl::Status Ledger::NoSweep(uint32_t id) const {
  return absl::NotFoundError(deleting_.contains(id) ? absl::StrCat("sweep ", id, " is being deleted")
                                                    : absl::StrCat("no sweep ", id));
}

absl::StatusOr<std::shared_ptr<const Sweep>> Ledger::Find(uint32_t id) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return NoSweep(id);
  return it->second.sweep;
}

absl::StatusOr<std::shared_ptr<const Sweep>> Ledger::Resolve(absl::string_view name) const {
  absl::MutexLock lock(&mu_);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (it->second.sweep->manifest().spec().name() == name) return it->second.sweep;
  }
  uint32_t id = 0;
  if (absl::SimpleAtoi(name, &id)) {
    if (const auto it = entries_.find(id); it != entries_.end()) return it->second.sweep;
    if (deleting_.contains(id)) return NoSweep(id);
  }
  std::shared_ptr<const Sweep> found;
  if (name.size() >= kMinDigestPrefix && IsHex(name)) {
    for (const auto& [key, entry] : entries_) {
      const auto starts = [&](const std::string& digest) { return absl::StartsWith(ToHex(digest), absl::AsciiStrToLower(name)); };
      const auto& earlier = entry.settings.earlier_digests();
      if (!starts(entry.sweep->digest) && std::none_of(earlier.begin(), earlier.end(), starts)) continue;
      if (found) return absl::InvalidArgumentError(absl::StrCat("digest prefix ", name, " names more than one sweep"));
      found = entry.sweep;
    }
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no sweep named '", name.substr(0, 128), "'"));
  return found;
}

std::vector<std::shared_ptr<const Sweep>> Ledger::Sweeps() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<const Sweep>> sweeps;
  for (const auto& [id, entry] : entries_) sweeps.push_back(entry.sweep);
  return sweeps;
}

std::vector<uint32_t> Ledger::Deleting() const {
  absl::MutexLock lock(&mu_);
  std::vector<uint32_t> ids;
  for (const auto& [id, place] : deleting_) ids.push_back(id);
  return ids;
}

std::set<std::string> Ledger::ImagePlaces() const {
  absl::MutexLock lock(&mu_);
  std::set<std::string> places;
  for (const auto& [id, entry] : entries_) places.insert(entry.sweep->manifest().spec().images());
  for (const auto& [id, place] : deleting_) places.insert(place);
  places.erase("");
  return places;
}

v1::SweepInfo Ledger::Info(const Sweep& sweep, bool with_cells) const {
  v1::SweepInfo info;
  info.set_sweep(sweep.id);
  info.set_digest(sweep.digest);
  info.set_created_at_ms(sweep.created_at_ms);
  if (with_cells) {
    *info.mutable_manifest() = sweep.manifest();
  } else {
    const v1::SweepManifest& from = sweep.manifest();
    v1::SweepManifest& to = *info.mutable_manifest();
    to.mutable_spec()->set_version(from.spec().version());
    to.mutable_spec()->set_name(from.spec().name());
    *to.mutable_spec()->mutable_embedders() = from.spec().embedders();
    *to.mutable_spec()->mutable_defaults() = from.spec().defaults();
    *to.mutable_models() = from.models();
    *to.mutable_embedders() = from.embedders();
    to.set_cell_count(from.cell_count());
    to.set_noise_dtype(from.noise_dtype());
    to.set_compute_dtype(from.compute_dtype());
    to.set_imported_from(from.imported_from());
  }
  info.mutable_counts()->set_planned(sweep.cell_count());
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep.id);
  if (it == entries_.end()) {
    info.set_state(v1::SWEEP_STATE_DELETING);
    return info;
  }
  const Entry& entry = it->second;
  info.set_state(entry.state);
  info.mutable_counts()->set_done(entry.done_count);
  info.mutable_counts()->set_failed(entry.failed.size());
  info.mutable_counts()->set_divergent(entry.divergent);
  if (entry.counters) {
    info.mutable_counts()->set_reused(entry.counters->reused);
    info.mutable_counts()->set_device_us(entry.counters->device_us);
  }
  *info.mutable_limits() = entry.settings.limits();
  *info.mutable_earlier_digests() = entry.settings.earlier_digests();
  return info;
}

Coverage Ledger::CopyCoverage(uint32_t sweep) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  return it == entries_.end() ? Coverage() : it->second.done;
}

std::vector<uint64_t> Ledger::Missing(uint32_t sweep, uint64_t begin, uint64_t end, size_t most) const {
  std::vector<uint64_t> missing;
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  if (it == entries_.end()) return missing;
  auto chunk = it->second.done.end();
  for (uint64_t ordinal = begin; ordinal < end && missing.size() < most; ++ordinal) {
    if (ordinal == begin || (ordinal & 0xffff) == 0) chunk = it->second.done.find(ordinal >> kChunkBits);
    const bool done = chunk != it->second.done.end() && chunk->second.contains(static_cast<uint32_t>(ordinal & 0xffff));
    if (!done) missing.push_back(ordinal);
  }
  return missing;
}

uint64_t Ledger::CountDone(uint32_t sweep, uint64_t begin, uint64_t end) const {
  absl::MutexLock lock(&mu_);
  const auto entry = entries_.find(sweep);
  if (entry == entries_.end()) return 0;
  uint64_t count = 0;
  const Coverage& done = entry->second.done;
  for (auto it = done.lower_bound(begin >> kChunkBits); it != done.end() && it->first << kChunkBits < end; ++it) {
    const uint64_t start = it->first << kChunkBits;
    // rank(x) counts values up to and with x.
    count += it->second.rank(static_cast<uint32_t>(std::min(end - start - 1, uint64_t{0xffff})));
    if (begin > start) count -= it->second.rank(static_cast<uint32_t>(begin - start - 1));
  }
  return count;
}

v1::SweepState Ledger::DurableState(uint32_t sweep) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  return it == entries_.end() ? v1::SWEEP_STATE_UNSPECIFIED : it->second.state;
}

bool Ledger::IsDone(uint32_t sweep, uint64_t ordinal) const {
  if (FindStaged(sweep, ordinal)) return true;
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  if (it == entries_.end()) return false;
  const auto chunk = it->second.done.find(ordinal >> kChunkBits);
  return chunk != it->second.done.end() && chunk->second.contains(static_cast<uint32_t>(ordinal & 0xffff));
}

const Ledger::StagedResult* Ledger::FindStaged(uint32_t sweep, uint64_t ordinal) const {
  const auto it = staged_.results.find({sweep, ordinal});
  return it == staged_.results.end() ? nullptr : &it->second;
}

std::optional<uint32_t> Ledger::FailedAttempts(uint32_t sweep, uint64_t ordinal) const {
  if (const auto it = staged_.failures.find({sweep, ordinal}); it != staged_.failures.end()) return it->second;
  absl::MutexLock lock(&mu_);
  const auto entry = entries_.find(sweep);
  if (entry == entries_.end()) return std::nullopt;
  const auto it = entry->second.failed.find(ordinal);
  if (it == entry->second.failed.end()) return std::nullopt;
  return it->second;
}

std::vector<uint64_t> Ledger::FailedOrdinals(uint32_t sweep) const {
  std::vector<uint64_t> ordinals;
  {
    absl::MutexLock lock(&mu_);
    const auto entry = entries_.find(sweep);
    if (entry != entries_.end()) {
      for (const auto& [ordinal, attempts] : entry->second.failed) ordinals.push_back(ordinal);
    }
  }
  for (auto it = staged_.failures.lower_bound({sweep, 0}); it != staged_.failures.end() && it->first.first == sweep; ++it) {
    ordinals.push_back(it->first.second);
  }
  std::sort(ordinals.begin(), ordinals.end());
  ordinals.erase(std::unique(ordinals.begin(), ordinals.end()), ordinals.end());
  std::erase_if(ordinals, [&](uint64_t ordinal) { return !FailedAttempts(sweep, ordinal); });
  return ordinals;
}

uint32_t Ledger::Dim(uint32_t sweep, uint16_t embedder) const {
  const auto it = dims_.find({sweep, embedder});
  return it == dims_.end() ? 0 : it->second;
}

std::shared_ptr<const Sweep> Ledger::FindByDigest(const std::string& digest) const {
  for (const auto& [id, entry] : staged_.sweeps) {
    if (entry.sweep->digest == digest) return entry.sweep;
  }
  for (const auto& [id, sweep] : staged_.extensions) {
    if (sweep->digest == digest) return sweep;
  }
  absl::MutexLock lock(&mu_);
  for (const auto& [id, entry] : entries_) {
    if (sweep::IsOrWas(digest, entry.sweep->digest, entry.settings.earlier_digests())) return entry.sweep;
  }
  return nullptr;
}

std::shared_ptr<const Sweep> Ledger::FindExtended(const std::string& name) const {
  for (auto it = staged_.extensions.rbegin(); it != staged_.extensions.rend(); ++it) {
    if (it->second->manifest().spec().name() == name) return it->second;
  }
  absl::MutexLock lock(&mu_);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    const Entry& entry = it->second;
    if (!entry.settings.earlier_digests().empty() && entry.sweep->manifest().spec().name() == name) return entry.sweep;
  }
  return nullptr;
}

std::shared_ptr<const Sweep> Ledger::FindUnfinished(const std::string& name) const {
  std::vector<std::shared_ptr<const Sweep>> named;
  for (const auto& [id, entry] : staged_.sweeps) {
    if (entry.sweep->manifest().spec().name() == name) named.push_back(entry.sweep);
  }
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, entry] : entries_) {
      if (entry.sweep->manifest().spec().name() == name) named.push_back(entry.sweep);
    }
  }
  for (const auto& sweep : named) {
    if (IsUnfinished(State(sweep->id))) return sweep;
  }
  return nullptr;
}

v1::SweepState Ledger::State(uint32_t sweep) const {
  if (const auto it = staged_.states.find(sweep); it != staged_.states.end()) return it->second;
  if (const auto it = staged_.sweeps.find(sweep); it != staged_.sweeps.end()) return it->second.state;
  absl::MutexLock lock(&mu_);
  if (const auto it = entries_.find(sweep); it != entries_.end()) return it->second.state;
  return deleting_.contains(sweep) ? v1::SWEEP_STATE_DELETING : v1::SWEEP_STATE_UNSPECIFIED;
}

std::shared_ptr<const Sweep> Ledger::Latest(uint32_t sweep) const {
  if (const auto it = staged_.extensions.find(sweep); it != staged_.extensions.end()) return it->second;
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  return it == entries_.end() ? nullptr : it->second.sweep;
}

v1::SweepSettings Ledger::Settings(uint32_t sweep) const {
  if (const auto it = staged_.settings.find(sweep); it != staged_.settings.end()) return it->second;
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(sweep);
  return it == entries_.end() ? v1::SweepSettings() : it->second.settings;
}

uint32_t Ledger::NextSweepId() const {
  if (!staged_.sweeps.empty()) return staged_.sweeps.rbegin()->first + 1;
  absl::MutexLock lock(&mu_);
  uint32_t last = last_sweep_;
  if (!entries_.empty()) last = std::max(last, entries_.rbegin()->first);
  if (!deleting_.empty()) last = std::max(last, deleting_.rbegin()->first);
  return last + 1;
}

uint32_t Ledger::FindProvenance(const std::string& digest) const {
  const auto it = provenance_.find(digest);
  return it == provenance_.end() ? 0 : it->second;
}

bool Ledger::IsDivergentStaged(const std::string& duplicate_key) const { return staged_.divergent.contains(duplicate_key); }

void Ledger::StageSweep(std::shared_ptr<const Sweep> sweep, v1::SweepState state) {
  const uint32_t id = sweep->id;
  Entry& entry = staged_.sweeps[id];
  entry.sweep = std::move(sweep);
  entry.state = state;
}

void Ledger::StageState(uint32_t sweep, v1::SweepState state) { staged_.states[sweep] = state; }

void Ledger::StageExtension(std::shared_ptr<const Sweep> sweep) {
  const uint32_t id = sweep->id;
  staged_.extensions[id] = std::move(sweep);
}

void Ledger::StageSettings(uint32_t sweep, v1::SweepSettings settings) { staged_.settings[sweep] = std::move(settings); }

void Ledger::StageResult(uint32_t sweep, uint64_t ordinal, StagedResult result) {
  CountersRow& counters = staged_.counters[sweep];
  counters.reused += result.reused;
  counters.device_us += result.device_us;
  staged_.results[{sweep, ordinal}] = std::move(result);
  staged_.chunks[{sweep, ordinal >> kChunkBits}].add(static_cast<uint32_t>(ordinal & 0xffff));
  if (FailedAttempts(sweep, ordinal)) StageFailure(sweep, ordinal, std::nullopt);
}

void Ledger::StageDim(uint32_t sweep, uint16_t embedder, uint32_t dim) { dims_[{sweep, embedder}] = dim; }

void Ledger::StageFailure(uint32_t sweep, uint64_t ordinal, std::optional<uint32_t> attempts) {
  staged_.failures[{sweep, ordinal}] = attempts;
}

void Ledger::StageDivergent(uint32_t sweep, std::string duplicate_key) { staged_.divergent[std::move(duplicate_key)] = sweep; }

uint32_t Ledger::StageProvenance(std::string digest) { return provenance_[std::move(digest)] = ++last_provenance_; }

void Ledger::StageDeletion(uint32_t sweep) { staged_.deletion = sweep; }

void Ledger::StageDeleted(uint32_t sweep) { staged_.deleted = sweep; }

void Ledger::ApplyDeletions() {
  if (staged_.deletion) {
    const uint32_t id = *staged_.deletion;
    last_sweep_ = std::max(last_sweep_, entries_.rbegin()->first);
    deleting_[id] = entries_.at(id).sweep->manifest().spec().images();
    entries_.erase(id);
    absl::erase_if(dims_, [id](const auto& dim) { return dim.first.first == id; });
  }
  if (staged_.deleted) deleting_.erase(*staged_.deleted);
}

void Ledger::Seal(Database& database, rocksdb::WriteBatch& batch) {
  for (auto& [key, bitmap] : staged_.chunks) {
    {
      absl::MutexLock lock(&mu_);
      const Coverage& done = entries_.at(key.first).done;
      if (const auto it = done.find(key.second); it != done.end()) bitmap |= it->second;
    }
    bitmap.runOptimize();
    const std::string row_key = CoverageKey(key.first, key.second);
    (void)batch.Put(database.family(Family::kCoverage), ToSlice(row_key), ToSlice(EncodeBitmap(bitmap)));
  }
  for (auto& [sweep, counters] : staged_.counters) {
    {
      absl::MutexLock lock(&mu_);
      const CountersRow before = entries_.at(sweep).counters.value_or(CountersRow());
      counters.reused += before.reused;
      counters.device_us += before.device_us;
    }
    (void)batch.Put(database.family(Family::kCounters), ToSlice(SweepKey(sweep)), ToSlice(Encode(counters)));
  }
}

void Ledger::Apply() {
  {
    absl::MutexLock lock(&mu_);
    for (auto& [id, entry] : staged_.sweeps) entries_[id] = std::move(entry);
    for (auto& [id, sweep] : staged_.extensions) entries_.at(id).sweep = std::move(sweep);
    for (auto& [id, settings] : staged_.settings) entries_.at(id).settings = std::move(settings);
    for (const auto& [id, state] : staged_.states) entries_.at(id).state = state;
    for (const auto& [cell, result] : staged_.results) ++entries_.at(cell.first).done_count;
    for (auto& [key, bitmap] : staged_.chunks) entries_.at(key.first).done[key.second] = std::move(bitmap);
    for (const auto& [cell, attempts] : staged_.failures) {
      Entry& entry = entries_.at(cell.first);
      if (attempts) {
        entry.failed[cell.second] = *attempts;
      } else {
        entry.failed.erase(cell.second);
      }
    }
    for (const auto& [key, sweep] : staged_.divergent) ++entries_.at(sweep).divergent;
    for (const auto& [sweep, counters] : staged_.counters) entries_.at(sweep).counters = counters;
    ApplyDeletions();
  }
  staged_ = Staged();
}

}  // namespace promptsweep::store
