// Where every cell of one sweep is: the book-keeping under the coordinator's decisions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/ordinals.h"
#include "jobs/sweep/plan.h"

namespace promptsweep::coordinator {

// When a failing cell is tried again, and when it is given up.
struct RetryPolicy {
  uint32_t max_attempts = 3;                        // K
  absl::Duration first_backoff = absl::Seconds(1);  // doubles with each attempt
  absl::Duration max_backoff = absl::Seconds(60);
  size_t max_error_bytes = 500;
};

// A cell that failed, or was being run when its worker died, and is not given up yet.
struct Trouble {
  uint32_t attempts = 0;             // that were certainly this cell's fault
  absl::Time not_before;             // free again from then on
  std::vector<std::string> workers;  // distinct names those attempts were on; a few are kept
  std::string error;                 // the last one
};

// A stretch whose worker died: it is granted alone, never merged with its neighbours, so that a poison cell is cornered.
struct Suspect {
  uint64_t end = 0;
  uint32_t attempts = 0;
};

// Puts every ordinal of the sweep into exactly one class:
//
//   free     to be granted; never stored anywhere: whatever is not in `taken`
//   leased   owned by a live lease
//   waiting  failed, backing off
//   done     acknowledged by the store
//   failed   given up for good (quarantined)
//
// taken = leased + waiting + done + failed. So the "cursor" of unissued cells is just the first gap of `taken`, and 10^9 cells
// that have not run cost nothing. A lease's own ordinals are kept by the lease (an OrdinalSet that Take filled).
// Thread-compatible, no clock, no I/O. Ordinals passed in must be below cells().
class SweepProgress {
 public:
  SweepProgress(sweep::Plan plan, RetryPolicy policy) : plan_(std::move(plan)), policy_(policy) {}

  const sweep::Plan& plan() const { return plan_; }
  uint64_t cells() const { return plan_.cell_count(); }
  const OrdinalSet& taken() const { return taken_; }
  const OrdinalSet& done() const { return done_; }
  const OrdinalSet& failed() const { return failed_; }
  uint64_t free_count() const { return cells() - taken_.size(); }
  uint64_t waiting_count() const { return waiting_.size(); }
  uint64_t leased_count() const { return taken_.size() - waiting_.size() - done_.size() - failed_.size(); }
  // True where nothing is left to run.
  bool Complete() const { return done_.size() + failed_.size() == cells(); }
  const absl::btree_map<uint64_t, Trouble>& troubled() const { return troubled_; }
  const absl::btree_map<uint64_t, Suspect>& suspects() const { return suspects_; }
  // Earliest time at which a waiting cell becomes free.
  absl::Time NextDue() const { return waiting_.empty() ? absl::InfiniteFuture() : waiting_.begin()->first; }

  // `plan` extends the one so far: the new cells are free.
  void Extend(sweep::Plan plan) { plan_ = std::move(plan); }

  // free -> leased, for every free ordinal of the range. Returns them.
  OrdinalSet Take(Range range);
  // leased -> free.
  void GiveBack(const OrdinalSet& owned);
  // any -> done. Returns how many were not done before. The caller removes them from the leases that own them.
  uint64_t MarkDone(Range range);
  // leased -> failed.
  void MarkFailed(uint64_t ordinal);
  // leased -> waiting. `certain`: one more attempt on `worker` is used up; else it only backs off. Returns the cell's record.
  const Trouble& MarkTrouble(uint64_t ordinal, absl::string_view worker, absl::string_view error, bool certain, absl::Time now);
  // waiting -> free, for all that are due. True where there were any.
  bool ReleaseDue(absl::Time now);
  // failed -> free, all of them. Returns how many.
  uint64_t ForgetFailures();
  // Makes `done` what the store says, at a time when nothing is leased or waiting: missing cells become free again, cells thought
  // failed but stored become done. Returns the number of cells that were missing.
  uint64_t Reconcile(const OrdinalSet& stored);

  // Marks what remains of a dead worker's lease so that it is granted again in pieces of at most half its size.
  void Halve(const OrdinalSet& owned, uint32_t attempts);
  // Isolates one cell.
  void Isolate(uint64_t ordinal, uint32_t attempts);
  // The bounds that a lease starting at `ordinal` must respect, and the attempts its suspect has behind it.
  std::pair<Range, uint32_t> SuspectBounds(uint64_t ordinal) const;

  // Failed cells that the store holds a result of: their failure records must go. Cleared by the caller once they went.
  OrdinalSet& contradictions() { return contradictions_; }
  const OrdinalSet& contradictions() const { return contradictions_; }

  // `leased` is the union of all live leases' ordinals.
  absl::Status CheckInvariants(const OrdinalSet& leased) const;

 private:
  void ForgetTrouble(Range range);
  void DropSettledSuspects(Range range);

  sweep::Plan plan_;
  RetryPolicy policy_;
  OrdinalSet taken_;
  OrdinalSet done_;                                           // subset of taken_, disjoint from failed_
  OrdinalSet failed_;                                         // subset of taken_
  OrdinalSet contradictions_;                                 // subset of done_
  absl::btree_map<uint64_t, Trouble> troubled_;               // keys are never done or failed
  absl::btree_set<std::pair<absl::Time, uint64_t>> waiting_;  // ordinals are keys of troubled_ and in taken_
  absl::btree_map<uint64_t, Suspect> suspects_;               // begin -> rest; disjoint
};

}  // namespace promptsweep::coordinator
