// What a look has counted, as sequences: those of frozen motifs, and the bound of novelty. No store.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "jobs/motifs/seed_blocks.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Not thread-safe.
class LookCounts {
 public:
  // `runs`: all that are stored, of both sides. `looks`: cells of the sweep at each look so far, ascending.
  LookCounts(AskedRuns runs, std::vector<uint64_t> looks) : runs_(std::move(runs)), looks_(std::move(looks)) {}

  const AskedRuns& runs() const { return runs_; }
  const std::vector<uint64_t>& looks() const { return looks_; }

  // Fills in the counts, share, interval and lift of a motif's sequence, whose error stands. `inside`: the rows inside its
  // region, in any order, counted or not. Counted are the runs after `from`, which is the motif's own unless it is said.
  void Count(const RowSet& inside, v1::FrozenMotif& motif) { Count(inside, motif.from_ordinal(), motif); }
  void Count(const RowSet& inside, uint64_t from, v1::FrozenMotif& motif);

 private:
  struct Sides {
    SeedBlocks target, baseline;
  };

  const AskedRuns runs_;
  const std::vector<uint64_t> looks_;
  std::map<uint64_t, Sides> sides_;  // by the ordinal they count from
};

// Sets the last look's fresh_runs, fresh_novel and novelty_high. `fresh`: rows of the target runs since the look before,
// is_novel[i] whether fresh[i] is unlike all before that. Runs with a seed that was asked before are left out: they begin with
// the same noise as a run they are compared with.
void CountNovelty(const AskedRuns& runs, const RowSet& fresh, const std::vector<uint8_t>& is_novel, v1::StopState& state);

}  // namespace promptsweep::motifs
