// Runs leases: generate -> embed on the device -> encode on CPU threads -> store -> receipt to the coordinator.
//
//   feeder thread      AcquireLease, GetSweep, ReuseResults ---> WorkQueue (ranges)
//   device thread      WorkQueue -> Engine ---------> EncoderPool (bounded by the ByteBudget)
//   encoder threads    pixels -> WebP, digest ------> Uploader (the same budget, until the store acknowledges)
//   uploader thread    ImageSink, PutResults -------> Session (receipts)
//
// The device thread waits for nothing but work and the budget: it is full only when the store has been slower than the device for
// `spool_bytes` worth of images. The next lease is asked for while the last one still has a few seconds of cells.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "worker/pipeline/encoder_pool.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/image_sink.h"
#include "worker/pipeline/reuse.h"
#include "worker/pipeline/session.h"
#include "worker/pipeline/sweep_context.h"
#include "worker/pipeline/uploader.h"
#include "worker/pipeline/work_queue.h"

namespace promptsweep::worker {

class Pipeline {
 public:
  struct Options {
    Session* session = nullptr;                        // started; outlives the pipeline
    v1::StoreService::StubInterface* store = nullptr;  // outlives the pipeline
    const ModelHost* models = nullptr;                 // outlives the pipeline
    Engine* engine = nullptr;                          // outlives the pipeline
    Clock* clock = &Clock::Real();
    std::string compute_dtype;  // empty: what each sweep asks for
    int encoder_threads = 1;
    size_t spool_bytes = size_t{256} << 20;
    BlobOpener open_blobs;  // where sweeps keep images outside of the store; null: BlobStore::Open
    bool exit_when_idle = false;
    absl::Duration prefetch = absl::Seconds(2);      // of work left when the next lease is asked for
    absl::Duration drain_grace = absl::Seconds(20);  // for results and reports on their way
    absl::Duration put_timeout = absl::Seconds(30);  // of one PutResults; what it did not answer is sent again
    absl::Duration first_backoff = absl::Milliseconds(100);
    absl::Duration longest_backoff = absl::Seconds(5);
    uint64_t jitter_seed = 0;
  };

  struct Stats {
    uint64_t made = 0;      // images that left the device
    uint64_t stored = 0;    // acknowledged by the store
    uint64_t failed = 0;    // cells reported as failed
    uint64_t reused = 0;    // cells that needed not run: the store had them, or took them over from another sweep
    absl::Duration device;  // time inside the engine
    absl::Duration wall;    // from the first batch's start to the last one's end
    size_t peak_spool_bytes = 0;
  };

  explicit Pipeline(Options options);
  ~Pipeline();

  // Works until drained, or idle with exit_when_idle; then waits for what is on its way and gives back the rest. The calling
  // thread becomes the device thread. OK after a drain or idleness; INVALID_ARGUMENT where a model cannot be run here at all (its
  // folder is unusable: its leases are given back, nobody is blamed); FAILED_PRECONDITION where images cannot be put where a
  // sweep wants them, likewise; UNAVAILABLE where the session gave up.
  [[nodiscard]] absl::Status Run();
  // Finish the batch on the device, keep its results, stop. Thread-safe, returns at once.
  void Drain();

  Stats stats() const;

 private:
  void Feed();
  // Resolves a lease and queues it. Not OK: the lease's cells have been reported.
  void Admit(const v1::Lease& lease);
  // Reports what of a lease the store has already and returns the rest.
  v1::Lease Reuse(const v1::Lease& lease);
  void FailAll(const v1::Lease& lease, const absl::Status& status);
  void Fail(const v1::Lease& lease, uint64_t ordinal, const std::string& error, bool final);
  absl::Status DeviceLoop();
  // Device thread only.
  void SetLowWater();
  void RunBatch(const std::vector<Picked>& picked);
  absl::Status Finish(absl::Status status);

  const Options options_;
  absl::Notification stop_;
  mutable absl::Mutex mu_;
  Stats stats_ ABSL_GUARDED_BY(mu_);
  absl::Time first_batch_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  double cells_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t rated_sweep_ ABSL_GUARDED_BY(mu_) = 0;  // that cells_per_second_ is of
  absl::Status feed_status_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  // What is not acknowledged by now is given up.
  std::atomic<bool> abandoned_{false};
  // Whose threads use what stands above.
  ByteBudget budget_;
  WorkQueue work_;
  SweepCache sweeps_;
  ReuseClient reuse_;
  ImageSink images_;
  Uploader uploader_;
  EncoderPool encoders_;
};

}  // namespace promptsweep::worker
