// What was asked of a store and what it acknowledged, on the disk's clock: the number of changes the disk had made. From that
// follows what a store must and may show after a crash at any of these changes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/store/fault_fs.h"
#include "tests/store/observe.h"

namespace promptsweep::store {

// Thread-safe. Calls that set the same key must not overlap.
class Journal {
 public:
  // Keys of a View and what they become; empty: gone.
  using Sets = std::vector<std::pair<std::string, std::string>>;

  explicit Journal(const FaultFs& fs) : fs_(fs) {}
  // A call that will set these, about to be made. Returns its number.
  size_t Ask(Sets sets) ABSL_LOCKS_EXCLUDED(mu_);
  // It was answered with OK.
  void Acknowledge(size_t call) ABSL_LOCKS_EXCLUDED(mu_);
  // Calls that were acknowledged by the time the disk had made `point` changes.
  size_t Promised(uint64_t point) const ABSL_LOCKS_EXCLUDED(mu_);
  // The last value asked for a key; empty without one.
  std::string Last(const std::string& key) const ABSL_LOCKS_EXCLUDED(mu_);
  // What is wrong with a view of the store after a crash at `point`: everything acknowledged must be there, what was asked may
  // be, nothing else. Empty where nothing is.
  std::string Disagreement(const View& view, uint64_t point) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Call {
    uint64_t asked = 0;
    uint64_t acknowledged = UINT64_MAX;
  };
  struct Step {
    size_t call = 0;
    std::string value;
  };

  const FaultFs& fs_;
  mutable absl::Mutex mu_;
  std::vector<Call> calls_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::vector<Step>> steps_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep::store
