// What the store knows in memory: sweeps, which ordinals are done, which failed, counts. Two layers: the durable view that
// readers see, and the changes of the group that is being written, which the committer's thread stages while it prepares the
// batch and applies once the batch is synced (persist, apply, acknowledge).
#pragma once

#include <rocksdb/write_batch.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <roaring/roaring.hh>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "jobs/sweep/plan.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/schema.h"

namespace promptsweep::store {

// A stored sweep: what changes only where it is extended. Then another takes its place; whoever holds this one may go on with it.
struct Sweep {
  uint32_t id = 0;
  std::string digest;
  sweep::Plan plan;  // holds the manifest
  uint64_t created_at_ms = 0;

  const v1::SweepManifest& manifest() const { return plan.manifest(); }
  uint64_t cell_count() const { return plan.cell_count(); }
  // Index of an embedder in the manifest.
  std::optional<uint16_t> EmbedderIndex(absl::string_view id) const;
};

// DATA_LOSS where the row's manifest is unreadable, not what its digest names, or no plan.
[[nodiscard]] absl::StatusOr<Sweep> LoadSweep(uint32_t id, const SweepRow& row);

// Done ordinals: chunk (ordinal >> kChunkBits) -> bitmap of the low bits. No empty bitmaps.
using Coverage = absl::btree_map<uint64_t, Roaring>;
[[nodiscard]] uint64_t CountOf(const Coverage& coverage);
// Bytes of a value of the coverage family, and back. DATA_LOSS where they are no bitmap, or one beyond 2^16.
[[nodiscard]] std::string EncodeBitmap(const Roaring& bitmap);
[[nodiscard]] absl::StatusOr<Roaring> DecodeBitmap(absl::string_view value);

// Thread-safe where it says so; the Stage functions, Seal and Apply belong to the committer's thread.
class Ledger {
 public:
  // Reads the small families of a store. DATA_LOSS names what cannot be read.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Ledger>> Load(Database& database);

  // The durable view. Any thread. A sweep that is being deleted is in none of it but Deleting.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const Sweep>> Find(uint32_t id) const;
  // The newest sweep of that name, else a decimal id, else at least 6 hex digits of a digest that it has or had.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const Sweep>> Resolve(absl::string_view name) const;
  [[nodiscard]] std::vector<std::shared_ptr<const Sweep>> Sweeps() const;
  // Sweeps whose deletion began and did not end, by id.
  [[nodiscard]] std::vector<uint32_t> Deleting() const;
  // Every place outside of the store where a stored sweep, one being deleted included, keeps its images.
  [[nodiscard]] std::set<std::string> ImagePlaces() const;
  // State, counts and, where asked for, the manifest with its cells. State DELETING, no counts, where it was deleted meanwhile.
  [[nodiscard]] v1::SweepInfo Info(const Sweep& sweep, bool with_cells) const;
  [[nodiscard]] Coverage CopyCoverage(uint32_t sweep) const;
  // Those of [begin, end) that have no result, at most `most`, in order.
  [[nodiscard]] std::vector<uint64_t> Missing(uint32_t sweep, uint64_t begin, uint64_t end, size_t most) const;
  // Done ordinals in [begin, end).
  [[nodiscard]] uint64_t CountDone(uint32_t sweep, uint64_t begin, uint64_t end) const;
  // UNSPECIFIED where there is no such sweep.
  [[nodiscard]] v1::SweepState DurableState(uint32_t sweep) const;

  // The durable view with the staged changes over it. The committer's thread.
  [[nodiscard]] bool IsDone(uint32_t sweep, uint64_t ordinal) const;
  // Content and provenance of a result that is staged in this group.
  struct StagedResult {
    std::string content_digest;
    uint32_t provenance = 0;
    bool reused = false;     // taken over from another cell: counted
    uint64_t device_us = 0;  // to make it; 0 where it was taken over
  };
  [[nodiscard]] const StagedResult* FindStaged(uint32_t sweep, uint64_t ordinal) const;
  // Attempts recorded with a failure.
  [[nodiscard]] std::optional<uint32_t> FailedAttempts(uint32_t sweep, uint64_t ordinal) const;
  [[nodiscard]] std::vector<uint64_t> FailedOrdinals(uint32_t sweep) const;
  // Dimensions of an embedder's vectors in a sweep; 0 before the first.
  [[nodiscard]] uint32_t Dim(uint32_t sweep, uint16_t embedder) const;
  // That has or had this digest.
  [[nodiscard]] std::shared_ptr<const Sweep> FindByDigest(const std::string& digest) const;
  // The newest of that name that was extended.
  [[nodiscard]] std::shared_ptr<const Sweep> FindExtended(const std::string& name) const;
  [[nodiscard]] std::shared_ptr<const Sweep> FindUnfinished(const std::string& name) const;
  [[nodiscard]] v1::SweepState State(uint32_t sweep) const;
  // As extended by this group; nullptr where there is no such sweep.
  [[nodiscard]] std::shared_ptr<const Sweep> Latest(uint32_t sweep) const;
  [[nodiscard]] v1::SweepSettings Settings(uint32_t sweep) const;
  [[nodiscard]] uint32_t NextSweepId() const;
  // Id of a provenance by the SHA-256 of its bytes; 0 where it is new.
  [[nodiscard]] uint32_t FindProvenance(const std::string& digest) const;
  [[nodiscard]] bool IsDivergentStaged(const std::string& duplicate_key) const;

  // Staging. Each goes with rows the caller puts into the batch; coverage rows are put by Seal.
  void StageSweep(std::shared_ptr<const Sweep> sweep, v1::SweepState state);
  void StageState(uint32_t sweep, v1::SweepState state);
  // `sweep` takes the place of the one with its id.
  void StageExtension(std::shared_ptr<const Sweep> sweep);
  void StageSettings(uint32_t sweep, v1::SweepSettings settings);
  // Also forgets a failure of that cell.
  void StageResult(uint32_t sweep, uint64_t ordinal, StagedResult result);
  void StageDim(uint32_t sweep, uint16_t embedder, uint32_t dim);
  // nullopt: forgotten.
  void StageFailure(uint32_t sweep, uint64_t ordinal, std::optional<uint32_t> attempts);
  void StageDivergent(uint32_t sweep, std::string duplicate_key);
  // Returns its new id.
  uint32_t StageProvenance(std::string digest);
  // The deletion of a sweep begins, and ends. Nothing else may be staged with either.
  void StageDeletion(uint32_t sweep);
  void StageDeleted(uint32_t sweep);

  // Puts the coverage and counter rows that the staged results change.
  void Seal(Database& database, rocksdb::WriteBatch& batch);
  // The group is durable: the staged changes become the durable view.
  void Apply();

 private:
  struct Entry {
    std::shared_ptr<const Sweep> sweep;
    v1::SweepState state = v1::SWEEP_STATE_UNSPECIFIED;
    Coverage done;
    uint64_t done_count = 0;
    absl::btree_map<uint64_t, uint32_t> failed;  // ordinal -> attempts
    uint64_t divergent = 0;
    std::optional<CountersRow> counters;  // absent before the first result
    v1::SweepSettings settings;
  };
  struct Staged {
    std::map<uint32_t, Entry> sweeps;
    std::map<uint32_t, v1::SweepState> states;
    std::map<uint32_t, std::shared_ptr<const Sweep>> extensions;
    std::map<uint32_t, v1::SweepSettings> settings;
    absl::flat_hash_map<std::pair<uint32_t, uint64_t>, StagedResult> results;
    std::map<std::pair<uint32_t, uint64_t>, Roaring> chunks;  // merged with the durable ones by Seal
    absl::btree_map<std::pair<uint32_t, uint64_t>, std::optional<uint32_t>> failures;
    absl::flat_hash_map<std::string, uint32_t> divergent;  // duplicate key -> sweep
    std::optional<uint32_t> deletion;
    std::optional<uint32_t> deleted;
    std::map<uint32_t, CountersRow> counters;  // sweep -> what this group adds
  };

  Ledger() = default;
  absl::Status NoSweep(uint32_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyDeletions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status LoadSweeps(Database& database);
  absl::Status LoadCoverage(Database& database);
  absl::Status LoadFailures(Database& database);
  absl::Status LoadDuplicates(Database& database);
  absl::Status LoadCounters(Database& database);
  absl::Status LoadSettings(Database& database);
  absl::Status LoadProvenance(Database& database);
  absl::Status LoadDims(Database& database);

  mutable absl::Mutex mu_;
  std::map<uint32_t, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::map<uint32_t, std::string> deleting_ ABSL_GUARDED_BY(mu_);  // id -> where its images are, as in SweepSpec
  // Highest sweep id that was ever given out, where that sweep may be gone.
  uint32_t last_sweep_ ABSL_GUARDED_BY(mu_) = 0;
  // The committer's thread only, after Load.
  Staged staged_;
  absl::flat_hash_map<std::string, uint32_t> provenance_;
  uint32_t last_provenance_ = 0;
  absl::flat_hash_map<std::pair<uint32_t, uint16_t>, uint32_t> dims_;
};

}  // namespace promptsweep::store
