// What an operator does to a store: checkpoints, backups, deletions, compaction, statistics.
#include <filesystem>

#include "absl/synchronization/notification.h"
#include "store/deletion.h"
#include "store/store.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

constexpr absl::string_view kDeletion = "a deletion";

// Another store keeps its images in the same place: what looks like an orphan may be one of those, so none is removed.
bool IsShared(const absl::Status& orphans) { return absl::IsFailedPrecondition(orphans); }

}  // namespace

template <typename Reply>
void Store::Maintain(absl::string_view what, std::function<absl::StatusOr<Reply>()> work, Callback<Reply> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  {
    absl::MutexLock lock(&maintenance_mu_);
    // Deletions wait for each other: asked again, one goes on where it was.
    if (!maintaining_.empty() && (what != kDeletion || maintaining_ != kDeletion)) {
      absl::Status busy = absl::ResourceExhaustedError(absl::StrCat(maintaining_, " is running"));
      return done(std::move(busy));
    }
    maintaining_ = std::string(what);
    ++maintenance_tasks_;
  }
  const bool posted = maintenance_.Post([this, work = std::move(work), done] {
    const absl::Status go = cancellation_.status();
    absl::StatusOr<Reply> reply = go.ok() ? work() : absl::StatusOr<Reply>(go);
    EndMaintenance();
    done(std::move(reply));
  });
  if (posted) return;
  EndMaintenance();
  done(absl::ResourceExhaustedError(absl::StrCat(what, " is running, and too many wait")));
}

void Store::EndMaintenance() {
  absl::MutexLock lock(&maintenance_mu_);
  if (--maintenance_tasks_ == 0) maintaining_.clear();
}

absl::Status Store::CommitAlone(std::function<absl::Status(rocksdb::WriteBatch&)> prepare) {
  absl::Status prepared;
  absl::Status committed;
  absl::Notification done;
  Committer::Write write;
  // As large as a group may be: nothing else fits in.
  write.bytes = options_.max_group_bytes;
  write.prepare = [&](rocksdb::WriteBatch& batch) {
    prepared = prepare(batch);
    if (!prepared.ok()) batch.Clear();
  };
  write.done = [&](const absl::Status& status) {
    committed = status;
    done.Notify();
  };
  committer_->Enqueue(std::move(write));
  done.WaitForNotification();
  return committed.ok() ? prepared : committed;
}

absl::StatusOr<std::string> Store::SnapshotFolder(const std::string& name) const {
  if (name.empty()) return absl::InvalidArgumentError("no folder is named");
  if (options_.any_path) return name;
  PS_RETURN_IF_ERROR(CheckSnapshotName(name));
  std::string folder = options_.snapshots;
  if (folder.empty()) {
    std::filesystem::path store = std::filesystem::path(options_.folder).lexically_normal();
    if (!store.has_filename()) store = store.parent_path();
    folder = absl::StrCat(store.string(), ".snapshots");
  }
  return absl::StrCat(folder, "/", name);
}

SnapshotSource Store::Snapshots() {
  const auto done = [this] {
    std::map<uint32_t, uint64_t> counts;
    for (const auto& sweep : ledger_->Sweeps()) {
      const v1::SweepInfo info = ledger_->Info(*sweep, /*with_cells=*/false);
      if (info.state() != v1::SWEEP_STATE_DELETING) counts[sweep->id] = info.counts().done();
    }
    return counts;
  };
  return {*database_, done, cancellation_};
}

void Store::Checkpoint(const v1::CheckpointRequest* request, Callback<v1::CheckpointResponse> done) {
  auto work = [this, request]() -> absl::StatusOr<v1::CheckpointResponse> {
    PS_ASSIGN_OR_RETURN(const std::string folder, SnapshotFolder(request->folder()));
    PS_RETURN_IF_ERROR(CheckFreeSpace());
    return MakeCheckpoint(Snapshots(), folder);
  };
  Maintain<v1::CheckpointResponse>("a checkpoint", work, std::move(done));
}

void Store::Backup(const v1::BackupRequest* request, Callback<v1::BackupResponse> done) {
  auto work = [this, request]() -> absl::StatusOr<v1::BackupResponse> {
    PS_ASSIGN_OR_RETURN(const std::string folder, SnapshotFolder(request->folder()));
    PS_RETURN_IF_ERROR(CheckFreeSpace());
    return MakeBackup(Snapshots(), folder);
  };
  Maintain<v1::BackupResponse>("a backup", work, std::move(done));
}

void Store::Compact(const v1::CompactRequest*, Callback<v1::CompactResponse> done) {
  Maintain<v1::CompactResponse>("a compaction", [this] { return CompactAll(); }, std::move(done));
}

absl::StatusOr<v1::CompactResponse> Store::CompactAll() {
  PS_RETURN_IF_ERROR(CheckFreeSpace());
  v1::CompactResponse response;
  response.set_bytes_before(FolderBytes(options_.folder));
  PS_ASSIGN_OR_RETURN(const uint64_t packed, packer_->PackAll());
  response.set_packed(packed);
  PS_RETURN_IF_ERROR(Purge(*database_, AllKeys(), cancellation_));
  response.set_bytes_after(FolderBytes(options_.folder));
  const auto orphans = RemoveOrphans();
  if (IsShared(orphans.status())) return response;
  PS_RETURN_IF_ERROR(orphans.status());
  response.set_orphans(orphans->objects);
  response.set_orphan_bytes(orphans->bytes);
  return response;
}

void Store::DeleteSweep(const v1::DeleteSweepRequest* request, Callback<v1::DeleteSweepResponse> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  // Said at once, not after another deletion.
  const std::vector<uint32_t> deleting = ledger_->Deleting();
  const bool known = std::find(deleting.begin(), deleting.end(), request->sweep()) != deleting.end();
  if (absl::Status found = ledger_->Find(request->sweep()).status(); !known && !found.ok()) return done(found);
  Maintain<v1::DeleteSweepResponse>(kDeletion, [this, sweep = request->sweep()] { return Delete(sweep); }, std::move(done));
}

absl::StatusOr<v1::DeleteSweepResponse> Store::Delete(uint32_t sweep) {
  v1::DeleteSweepResponse response;
  const auto remove_objects = [this, &response]() -> absl::Status {
    const auto orphans = RemoveOrphans(absl::ZeroDuration());
    if (IsShared(orphans.status())) return absl::OkStatus();
    PS_RETURN_IF_ERROR(orphans.status());
    response.set_objects(orphans->objects);
    return absl::OkStatus();
  };
  const DeletionContext context{*database_, *ledger_, [this](auto prepare) { return CommitAlone(std::move(prepare)); },
                                remove_objects, cancellation_};
  // What is kept free is kept for this: it writes little before it frees much.
  PS_RETURN_IF_ERROR(CheckFreeSpace(options_.low_water_bytes / 4));
  const absl::Status begun = BeginDeletion(context, sweep);
  // Another call finished it while this one waited.
  if (absl::IsNotFound(begun)) return response;
  PS_RETURN_IF_ERROR(begun);
  const uint64_t before = FolderBytes(options_.folder);
  uint64_t results = 0;
  PS_RETURN_IF_ERROR(FinishDeletion(context, sweep, results));
  const uint64_t after = FolderBytes(options_.folder);
  response.set_results(results);
  response.set_freed_bytes(before - std::min(before, after));
  return response;
}

void Store::ResumeDeletions() {
  for (const uint32_t sweep : ledger_->Deleting()) {
    // Where it fails again, the sweep stays as it is and DeleteSweep says why.
    Maintain<v1::DeleteSweepResponse>(kDeletion, [this, sweep] { return Delete(sweep); }, [](const auto&) {});
  }
}

absl::StatusOr<v1::GetStatsResponse> Store::GetStats() {
  PS_RETURN_IF_ERROR(health());
  v1::GetStatsResponse stats;
  for (const auto& sweep : ledger_->Sweeps()) {
    stats.set_sweeps(stats.sweeps() + 1);
    stats.set_results(stats.results() + ledger_->Info(*sweep, /*with_cells=*/false).counts().done());
  }
  PS_RETURN_IF_ERROR(FillStats(*database_, stats));
  stats.set_groups(groups());
  stats.set_staged_vectors(packer_->staged_vectors());
  stats.set_accepted_bytes(accepted_bytes_);
  return stats;
}

}  // namespace promptsweep::store
