// The results store: the only durable state of the system. See store/README.md for the data flow and the promises.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "blobs/blob_stores.h"
#include "promptsweep/v1/store.pb.h"
#include "store/admission.h"
#include "store/committer.h"
#include "store/database.h"
#include "store/executor.h"
#include "store/ledger.h"
#include "store/maintenance.h"
#include "store/orphans.h"
#include "store/outside_images.h"
#include "store/packer.h"
#include "store/reader.h"
#include "store/reuse.h"
#include "store/snapshots.h"

namespace promptsweep::store {

// One open store folder. Thread-safe.
//
// Writes never block: they check what can be checked off the committer's thread, queue, and call back exactly once, after the
// write-ahead log is synced or with the reason why not, from some thread of the store. A callback must not block. A request
// passed by pointer must stay alive and unchanged until the callback. Reads block on the disk.
//
// After any failed durable write every call answers with that failure (see Committer) until the folder is opened again.
class Store {
 public:
  struct Options {
    std::string folder;
    bool create_if_missing = false;
    // See Database::Options.
    bool accept_loss = false;
    size_t memory_bytes = Database::kDefaultMemoryBytes;
    Clock* clock = &Clock::Real();
    // A group of writes closes at either limit.
    size_t max_group_bytes = 8 << 20;
    absl::Duration max_group_delay = absl::Milliseconds(3);
    // Bytes of results that may wait for their sync; beyond that PutResults answers RESOURCE_EXHAUSTED.
    size_t max_queued_bytes = 64 << 20;
    // Below this many free bytes nothing that grows the store is admitted.
    uint64_t low_water_bytes = 64 << 20;
    uint64_t ballast_bytes = 16 << 20;
    // See Database::Options.
    size_t write_buffer_bytes = 0;
    // Threads that check incoming results, and threads that serve reads (see reads()).
    int admit_threads = 2;
    int read_threads = 2;
    // Pack embeddings into chunks from a thread of the store; without, only when packer() is told to.
    bool pack_in_background = true;
    // Opens the places where sweeps keep their images outside of the store; null: BlobStore::Open.
    BlobOpener open_blobs;
    // RocksDB's file system, for fault tests; null: the machine's.
    std::shared_ptr<rocksdb::FileSystem> file_system;
    // Where checkpoints and backups of a bare name are made; empty: FOLDER.snapshots.
    std::string snapshots;
    // Checkpoint and Backup take any path as it is, not just a name in `snapshots`: only where caller and store are one user's.
    bool any_path = false;
    // Durability was lost. From a thread of the store, after every waiting call was told; may end the process. May be null.
    std::function<void(const absl::Status&)> on_fatal;
  };

  template <typename Reply>
  using Callback = std::function<void(absl::StatusOr<Reply>)>;

  // Statuses of Database::Open; DATA_LOSS where rows cannot be read.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Store>> Open(Options options);
  // Calls Close.
  ~Store();
  // Refuses further calls with UNAVAILABLE, commits what is queued and calls it back. Idempotent; not from a callback. Readers
  // handed out before stay usable until the Store is destroyed, and must be destroyed first.
  void Close();

  // INVALID_ARGUMENT: a manifest that is not complete. ALREADY_EXISTS: an unfinished sweep of that name asks something else;
  // the message names what differs.
  void CreateSweep(const v1::CreateSweepRequest* request, Callback<v1::CreateSweepResponse> done);
  void SetSweepState(const v1::SetSweepStateRequest* request, Callback<v1::SetSweepStateResponse> done);
  // INVALID_ARGUMENT: see sweep::CheckLimits.
  void SetSweepLimits(const v1::SetSweepLimitsRequest* request, Callback<v1::SetSweepLimitsResponse> done);
  // FAILED_PRECONDITION: the sweep's manifest is not the one that is to be extended, or it was imported. INVALID_ARGUMENT: the
  // new one is no extension of it. ALREADY_EXISTS: another sweep asks just that.
  void ExtendSweep(const v1::ExtendSweepRequest* request, Callback<v1::ExtendSweepResponse> done);
  // Outcomes in request order. RESOURCE_EXHAUSTED: too much is queued, or the disk is nearly full; nothing was stored, try
  // again later. INVALID_ARGUMENT: the request as a whole is malformed or too large. Where the sweep keeps its images elsewhere:
  // ABORTED, an image is not there, put it again and then send again; UNAVAILABLE, its place is out of reach.
  void PutResults(const v1::PutResultsRequest* request, Callback<v1::PutResultsResponse> done);
  // The same with room that was reserved before the request was there; it is fitted to the request's size.
  void PutAdmitted(const v1::PutResultsRequest* request, std::shared_ptr<Admission::Room> room,
                   Callback<v1::PutResultsResponse> done);
  // Gives cells of the sweep the result that another cell of this store with the same fingerprint has. Not taken over: imported
  // results, those of a sweep that is being deleted, and those that lack an embedder or keep their image elsewhere. An origin
  // that is damaged is none. Idempotent. INVALID_ARGUMENT: ranges that are no ranges of the sweep or too many cells; DATA_LOSS:
  // the index leads to a result of something else; RESOURCE_EXHAUSTED as in PutResults. After an error some cells may be linked.
  void ReuseResults(const v1::ReuseResultsRequest* request, Callback<v1::ReuseResultsResponse> done);
  void PutFailures(const v1::PutFailuresRequest* request, Callback<v1::PutFailuresResponse> done);
  void ClearFailures(const v1::ClearFailuresRequest* request, Callback<v1::ClearFailuresResponse> done);
  void PutLabels(const v1::PutLabelsRequest* request, Callback<v1::PutLabelsResponse> done);
  void PutMotifs(const v1::PutMotifsRequest* request, Callback<v1::PutMotifsResponse> done);

  // Long work, one at a time on a thread of its own; RESOURCE_EXHAUSTED names what is running. It goes on when its caller goes
  // away, and is broken off with UNAVAILABLE by CancelMaintenance. See snapshots.h, deletion.h and maintenance.h.
  void Checkpoint(const v1::CheckpointRequest* request, Callback<v1::CheckpointResponse> done);
  void Backup(const v1::BackupRequest* request, Callback<v1::BackupResponse> done);
  void Compact(const v1::CompactRequest* request, Callback<v1::CompactResponse> done);
  // Waits its turn behind another deletion. What was broken off before is finished when the store is opened, or asked for again.
  // NOT_FOUND: no such sweep. FAILED_PRECONDITION: it is running or paused.
  void DeleteSweep(const v1::DeleteSweepRequest* request, Callback<v1::DeleteSweepResponse> done);
  // Nothing of it starts any more. Idempotent, returns at once.
  void CancelMaintenance() { cancellation_.Cancel(); }

  // NOT_FOUND: no such sweep. INVALID_ARGUMENT: an ambiguous digest prefix.
  [[nodiscard]] absl::StatusOr<v1::GetSweepResponse> GetSweep(const v1::GetSweepRequest& request);
  [[nodiscard]] absl::StatusOr<v1::ListSweepsResponse> ListSweeps();
  [[nodiscard]] absl::StatusOr<v1::GetCoverageResponse> GetCoverage(const v1::GetCoverageRequest& request);
  [[nodiscard]] absl::StatusOr<v1::ListFailuresResponse> ListFailures(const v1::ListFailuresRequest& request);
  [[nodiscard]] absl::StatusOr<v1::ListDuplicatesResponse> ListDuplicates(const v1::ListDuplicatesRequest& request);
  [[nodiscard]] absl::StatusOr<v1::GetLabelsResponse> GetLabels(const v1::GetLabelsRequest& request);
  [[nodiscard]] absl::StatusOr<v1::GetMotifsResponse> GetMotifs(const v1::GetMotifsRequest& request);
  [[nodiscard]] absl::StatusOr<std::unique_ptr<ResultReader>> ReadResults(const v1::GetResultsRequest& request);
  // As of `snapshot` where one is given: scans of ranges side by side (see SplitAtChunks) then show one moment.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<EmbeddingReader>> ScanEmbeddings(const v1::ScanEmbeddingsRequest& request,
                                                                                SharedSnapshot snapshot = nullptr);
  // To be let go of before the Store is destroyed.
  [[nodiscard]] SharedSnapshot TakeSnapshot();
  // RESOURCE_EXHAUSTED while another Verify runs.
  [[nodiscard]] absl::StatusOr<v1::VerifyResponse> Verify(const v1::VerifyRequest& request);

  [[nodiscard]] absl::StatusOr<v1::GetStatsResponse> GetStats();
  // See RemoveOrphanObjects.
  [[nodiscard]] absl::StatusOr<Orphans> RemoveOrphans(absl::Duration min_age = kOrphanAge);

  // OK, or why every call is refused.
  [[nodiscard]] absl::Status health() const;
  // OK, or RESOURCE_EXHAUSTED "disk full: ..." below low_water_bytes, where writes that grow the store are refused.
  [[nodiscard]] absl::Status CheckFreeSpace() { return CheckFreeSpace(options_.low_water_bytes); }
  // Room for requests that were not read yet: what a request takes beside its bytes is kWriteOverhead.
  static constexpr size_t kWriteOverhead = 512;
  Admission& admission() { return admission_; }
  Packer& packer() { return *packer_; }
  // Where reads are meant to run.
  Executor& reads() { return reads_; }
  // 16 random bytes, made with the store.
  const std::string& uuid() const { return database_->uuid(); }
  // Synced writes since it was opened.
  uint64_t groups() const { return committer_->groups(); }
  // Bytes of images and embeddings of results that were stored since it was opened.
  uint64_t accepted_bytes() const { return accepted_bytes_; }
  const Database& database() const { return *database_; }

 private:
  absl::Status CheckFreeSpace(uint64_t least);
  struct PutJob;
  struct ReuseJob;
  explicit Store(Options options);

  void OnBackgroundError(absl::Status status) ABSL_LOCKS_EXCLUDED(background_mu_);
  void Admit(const std::shared_ptr<PutJob>& job);
  // Looks at the images that a job's results refer to. Not OK: for the whole request.
  absl::Status CheckOutsideImages(PutJob& job);
  void EnqueuePut(const std::shared_ptr<PutJob>& job);
  void PreparePut(PutJob& job, rocksdb::WriteBatch& batch);
  void CountAccepted(const PutJob& job);
  absl::Status PrepareResult(PutJob& job, int index, rocksdb::WriteBatch& batch);
  // Goes on with it on the reuse thread.
  void ContinueReuse(const std::shared_ptr<ReuseJob>& job);
  // The next links of the job, on the reuse thread.
  absl::Status ReadLinks(ReuseJob& job, std::vector<Link>& links, size_t& bytes);
  // Puts those that still hold, on the committer's thread. Returns their ordinals.
  absl::StatusOr<std::vector<uint64_t>> PutLinks(const Sweep& sweep, std::vector<Link>& links, rocksdb::WriteBatch& batch);
  void FinishReuse(ReuseJob& job);
  void PutSettings(uint32_t sweep, v1::SweepSettings settings, rocksdb::WriteBatch& batch);
  uint32_t InternProvenance(PutJob& job, rocksdb::WriteBatch& batch);
  void Put(rocksdb::WriteBatch& batch, Family family, absl::string_view key, absl::string_view value);
  void Delete(rocksdb::WriteBatch& batch, Family family, absl::string_view key);
  // Runs `prepare` on the committer's thread; `done` gets its reply once the group is durable.
  template <typename Reply>
  void Commit(size_t bytes, std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done);
  // The same, after `check` on an admission thread.
  template <typename Reply>
  void CheckAndCommit(size_t bytes, std::function<absl::Status()> check,
                      std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done);

  // Runs `work` on the maintenance thread. `what`: "a checkpoint", for whoever is refused meanwhile.
  template <typename Reply>
  void Maintain(absl::string_view what, std::function<absl::StatusOr<Reply>()> work, Callback<Reply> done)
      ABSL_LOCKS_EXCLUDED(maintenance_mu_);
  void EndMaintenance() ABSL_LOCKS_EXCLUDED(maintenance_mu_);
  // See DeletionContext::commit.
  absl::Status CommitAlone(std::function<absl::Status(rocksdb::WriteBatch&)> prepare);
  absl::StatusOr<std::string> SnapshotFolder(const std::string& name) const;
  SnapshotSource Snapshots();
  absl::StatusOr<v1::DeleteSweepResponse> Delete(uint32_t sweep);
  absl::StatusOr<v1::CompactResponse> CompactAll();
  void ResumeDeletions();

  const Options options_;
  Admission admission_;  // outlives every queued write
  std::unique_ptr<Database> database_;
  std::unique_ptr<Ledger> ledger_;
  absl::Mutex background_mu_;
  absl::Status background_error_ ABSL_GUARDED_BY(background_mu_);
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<Packer> packer_;
  OutsideImages outside_;
  Executor admit_;
  Executor reuse_;
  Executor reads_;
  Executor maintenance_;
  Cancellation cancellation_;
  absl::Mutex maintenance_mu_;
  // What runs, or is about to; empty when nothing is.
  std::string maintaining_ ABSL_GUARDED_BY(maintenance_mu_);
  int maintenance_tasks_ ABSL_GUARDED_BY(maintenance_mu_) = 0;
  std::atomic<uint64_t> accepted_bytes_{0};
  std::atomic<int> reusing_{0};
  std::atomic<bool> verifying_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace promptsweep::store
