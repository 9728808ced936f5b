// Leased cells waiting for the device, kept as ranges: a lease of a million cells costs as much as one of ten.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "promptsweep/v1/coordinator.pb.h"
#include "worker/pipeline/sweep_context.h"

namespace promptsweep::worker {

// One lease with what is needed to run it.
struct Work {
  std::shared_ptr<const v1::Lease> lease;
  std::shared_ptr<const SweepContext> context;
  std::shared_ptr<const ModelSetup> setup;
};

// One cell picked for a batch.
struct Picked {
  std::shared_ptr<const v1::Lease> lease;
  std::shared_ptr<const SweepContext> context;
  uint64_t ordinal = 0;
};

// Thread-safe.
class WorkQueue {
 public:
  void Add(Work work);
  // Waits for work. Null once closed, or once finished and empty.
  std::shared_ptr<const ModelSetup> WaitForSetup();
  // Up to `most` next cells of leases that are `wanted` and share the front's setup, across leases; those not wanted are dropped.
  // A lease that has failed twice gives one cell at a time, so that its culprit stands alone. Empty where the front has another
  // setup than `setup`, or nothing is left.
  std::vector<Picked> Take(const ModelSetup& setup, int most, const std::function<bool(uint64_t)>& wanted);
  // Drops the lease's cells from `end` on that were not taken yet. Returns how many; nullopt where nothing of it is waiting.
  std::optional<uint64_t> Cut(uint64_t lease, uint64_t end);
  // Waits until fewer cells than the low-water mark are waiting. False once closed.
  bool WaitLow();
  void SetLowWater(uint64_t cells);
  // Nothing more will be added.
  void Finish();
  // Drops what is waiting.
  void Close();
  bool closed() const;

 private:
  struct Entry {
    Work work;
    uint64_t next = 0;
    uint64_t end = 0;
    int skip = 0;  // index of the next skipped ordinal
    uint64_t left = 0;
  };
  static void SkipSkipped(Entry& entry);
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_ || finished_ || !entries_.empty(); }
  bool Low() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_ || waiting_ < low_; }

  mutable absl::Mutex mu_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mu_);
  uint64_t waiting_ ABSL_GUARDED_BY(mu_) = 0;  // cells in entries_
  uint64_t low_ ABSL_GUARDED_BY(mu_) = 1;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace promptsweep::worker
