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
#include "store/committer.h"
#include "store/database.h"
#include "store/executor.h"
#include "store/ledger.h"
#include "store/orphans.h"
#include "store/outside_images.h"
#include "store/reader.h"

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
    Clock* clock = &Clock::Real();
    // A group of writes closes at either limit.
    size_t max_group_bytes = 8 << 20;
    absl::Duration max_group_delay = absl::Milliseconds(3);
    // Bytes of results that may wait for their sync; beyond that PutResults answers RESOURCE_EXHAUSTED.
    size_t max_queued_bytes = 64 << 20;
    // Below this many free bytes nothing that grows the store is admitted.
    uint64_t low_water_bytes = 64 << 20;
    uint64_t ballast_bytes = 16 << 20;
    // Threads that check incoming results, and threads that serve reads (see reads()).
    int admit_threads = 2;
    int read_threads = 2;
    // Opens the places where sweeps keep their images outside of the store; null: BlobStore::Open.
    BlobOpener open_blobs;
    // RocksDB's file system, for fault tests; null: the machine's.
    std::shared_ptr<rocksdb::FileSystem> file_system;
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
  // the message names the first field that differs.
  void CreateSweep(const v1::CreateSweepRequest* request, Callback<v1::CreateSweepResponse> done);
  void SetSweepState(const v1::SetSweepStateRequest* request, Callback<v1::SetSweepStateResponse> done);
  // Outcomes in request order. RESOURCE_EXHAUSTED: too much is queued, or the disk is nearly full; nothing was stored, try
  // again later. INVALID_ARGUMENT: the request as a whole is malformed or too large. Where the sweep keeps its images elsewhere:
  // ABORTED, an image is not there, put it again and then send again; UNAVAILABLE, its place is out of reach.
  void PutResults(const v1::PutResultsRequest* request, Callback<v1::PutResultsResponse> done);
  void PutFailures(const v1::PutFailuresRequest* request, Callback<v1::PutFailuresResponse> done);
  void ClearFailures(const v1::ClearFailuresRequest* request, Callback<v1::ClearFailuresResponse> done);
  void PutLabels(const v1::PutLabelsRequest* request, Callback<v1::PutLabelsResponse> done);
  void PutMotifs(const v1::PutMotifsRequest* request, Callback<v1::PutMotifsResponse> done);

  // NOT_FOUND: no such sweep. INVALID_ARGUMENT: an ambiguous digest prefix.
  [[nodiscard]] absl::StatusOr<v1::GetSweepResponse> GetSweep(const v1::GetSweepRequest& request);
  [[nodiscard]] absl::StatusOr<v1::ListSweepsResponse> ListSweeps();
  [[nodiscard]] absl::StatusOr<v1::GetCoverageResponse> GetCoverage(const v1::GetCoverageRequest& request);
  [[nodiscard]] absl::StatusOr<v1::ListFailuresResponse> ListFailures(const v1::ListFailuresRequest& request);
  [[nodiscard]] absl::StatusOr<v1::GetLabelsResponse> GetLabels(const v1::GetLabelsRequest& request);
  [[nodiscard]] absl::StatusOr<v1::GetMotifsResponse> GetMotifs(const v1::GetMotifsRequest& request);
  [[nodiscard]] absl::StatusOr<std::unique_ptr<ResultReader>> ReadResults(const v1::GetResultsRequest& request);
  [[nodiscard]] absl::StatusOr<std::unique_ptr<EmbeddingReader>> ScanEmbeddings(const v1::ScanEmbeddingsRequest& request);
  // RESOURCE_EXHAUSTED while another Verify runs.
  [[nodiscard]] absl::StatusOr<v1::VerifyResponse> Verify(const v1::VerifyRequest& request);

  // See RemoveOrphanObjects.
  [[nodiscard]] absl::StatusOr<Orphans> RemoveOrphans(absl::Duration min_age = kOrphanAge);

  // OK, or why every call is refused.
  [[nodiscard]] absl::Status health() const;
  // OK, or RESOURCE_EXHAUSTED "disk full: ..." below low_water_bytes, where writes that grow the store are refused.
  [[nodiscard]] absl::Status CheckFreeSpace();
  // Where reads are meant to run.
  Executor& reads() { return reads_; }
  // 16 random bytes, made with the store.
  const std::string& uuid() const { return database_->uuid(); }
  // Synced writes since it was opened.
  uint64_t groups() const { return committer_->groups(); }

 private:
  struct PutJob;
  explicit Store(Options options);

  void OnBackgroundError(absl::Status status) ABSL_LOCKS_EXCLUDED(background_mu_);
  // Reserves room in the queue, or says that there is none.
  bool Reserve(size_t bytes);
  void Admit(const std::shared_ptr<PutJob>& job);
  // Looks at the images that a job's results refer to. Not OK: for the whole request.
  absl::Status CheckOutsideImages(PutJob& job);
  void EnqueuePut(const std::shared_ptr<PutJob>& job);
  void PreparePut(PutJob& job, rocksdb::WriteBatch& batch);
  absl::Status PrepareResult(PutJob& job, int index, rocksdb::WriteBatch& batch);
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

  const Options options_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Ledger> ledger_;
  absl::Mutex background_mu_;
  absl::Status background_error_ ABSL_GUARDED_BY(background_mu_);
  std::unique_ptr<Committer> committer_;
  OutsideImages outside_;
  Executor admit_;
  Executor reads_;
  std::atomic<size_t> queued_bytes_{0};
  std::atomic<bool> verifying_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace promptsweep::store
