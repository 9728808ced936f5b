// The worker's spool: holds every result until the store has acknowledged it, and sends again for as long as that takes.
//
// PutResults is idempotent, so a batch whose reply was lost is simply sent again. Transient errors (the store is away, starting
// or full) keep the batch and back off, at least for as long as the store asks; an error that names the request splits it until
// the culprit stands alone and fails. What limits memory is the ByteBudget that the device thread takes from before results get
// here: this class only gives back.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/rpc.h"
#include "promptsweep/v1/coordinator.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/byte_budget.h"

namespace promptsweep::worker {

// One result on its way.
struct Upload {
  std::shared_ptr<const v1::Lease> lease;
  std::shared_ptr<const v1::Provenance> provenance;
  v1::Result result;
  size_t budget = 0;  // bytes taken for it
};

// Thread-safe. One thread of its own; callbacks run on it and must not block.
class Uploader {
 public:
  struct Options {
    v1::StoreService::StubInterface* store = nullptr;  // outlives the uploader
    ByteBudget* budget = nullptr;                      // outlives the uploader
    std::function<void(const Upload&)> on_stored;
    std::function<void(const Upload&, v1::CellFailure)> on_failed;
    absl::Duration rpc_timeout = absl::Seconds(30);
    absl::Duration first_backoff = absl::Milliseconds(100);
    absl::Duration longest_backoff = absl::Seconds(5);
    uint64_t jitter_seed = 0;
    size_t batch_bytes = kMaxImageBytes;  // of serialised results; one result may exceed it
  };

  explicit Uploader(Options options);
  ~Uploader();
  void Add(Upload upload);
  // Sent before results, in the same persistent way.
  void AddLabels(v1::PutLabelsRequest labels);
  // Waits until everything added is acknowledged or failed. False after `timeout`.
  bool Flush(absl::Duration timeout);
  // Ends the thread; what is not acknowledged is dropped (its cells were never reported as stored). Idempotent.
  void Stop();
  // Results not yet acknowledged.
  size_t pending() const;

 private:
  void Run();
  std::vector<Upload> NextBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopped_ || !queue_.empty() || !labels_.empty(); }
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return queue_.empty() && labels_.empty() && sending_ == 0; }
  void SendLabels(const v1::PutLabelsRequest& labels);
  // Sends until every result has ended, or Stop.
  void Send(std::vector<Upload> batch);
  // One call; ends the results it can. OK where all have ended; what has not stays in `batch`. `retry_after`: how long the
  // store asked to wait, or zero.
  absl::Status SendOnce(std::vector<Upload>& batch, absl::Duration& retry_after);
  void Stored(Upload& upload);
  void Failed(Upload& upload, const std::string& error, bool final);

  const Options options_;
  absl::Notification stop_;
  mutable absl::Mutex mu_;
  std::deque<Upload> queue_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::PutLabelsRequest> labels_ ABSL_GUARDED_BY(mu_);
  size_t sending_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace promptsweep::worker
