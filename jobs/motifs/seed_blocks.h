// Which runs make one independent value: those of one seed, as they begin with the same noise, whatever they are asked.
//
// The claim. A motif's share is the mean of its shares under all that is asked of a side (models, prompts, settings), in the
// proportions of the runs there were when it was frozen; so what is claimed stays what it is, however the sweep grows. Counted
// are runs made after that, of what was asked before it, with seeds that were not: those are independent of all that made the
// motif stand out. Runs of different seeds are independent, those of one seed need not be.
//
// The interval. Runs that one look has added and that share a seed are a unit. Units that were asked the same are a block: their
// means are independent values in [0, 1] of one mean. Each block has a sequence (sequential.h) of its own part of the error, by
// Bonferroni, so that all hold at all looks at once however blocks depend on each other; then so does every weighted mean of
// them. The weights follow from what was asked alone, and lead to the proportions claimed: in each, as much as its runs are of
// all runs, as far as the proportions allow, then from the block that was asked most things to that of fewest what is still
// lacking. That is exact where blocks are nested, as those of a growing sweep are (jobs/sweep/growth.h); what no block covers
// counts as 0 for the lower end and 1 for the upper. A unit of one run shows the motif or not, so its block has the tighter
// sequence of such.
//   - Blocks that appear first at the first look that counts share .95 of the error, those of each later look share .05 x
//   LookShare.
//   - A unit lacks a run where a cell has failed for good. What was asked of it is part of what is asked of other units; where
//     fewer than a twentieth of a look's units were asked just that, they join these, and the missing run counts as 0 for the
//     lower end and 1 for the upper. So nothing is assumed of why it failed.
//   - Where one look has more than 32 new blocks, its units are taken apart, and everything asked is a block: runs of one
//     prompt have a seed each. A seed that comes twice in one block counts once.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/inference.h"
#include "jobs/motifs/matrix.h"
#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

// Runs without their vectors, by ordinal; as in Runs.
struct AskedRuns {
  std::vector<uint64_t> ordinal;
  std::vector<int64_t> seed;
  std::vector<uint32_t> asked;
  std::vector<uint8_t> is_target;
  size_t size() const { return ordinal.size(); }
  void Append(const Runs& runs);
};

struct SeedSequence {
  Interval interval{0, 1};
  double share = 0;  // estimate: the blocks' shares by their weights; 0 where nothing counts
  uint64_t members = 0, runs = 0, seeds = 0;
};

// The units of one side, for any number of motifs that were frozen at the same time. Immutable; thread-safe.
class SeedBlocks {
 public:
  // Of runs from ordinal `from` on; 0: of all, in their own proportions, which is the claim where nothing is frozen. There runs
  // with a seed each are one block, whatever they are asked. `looks`: cells of the sweep at each look, ascending.
  SeedBlocks(const AskedRuns& runs, bool target, uint64_t from, const std::vector<uint64_t>& looks);

  // Of a region with the runs `inside`, rows of `runs` in any order; those that do not count are passed over. 0 < error < 1.
  SeedSequence Sequence(const RowSet& inside, double error) const;

  uint64_t runs() const { return runs_; }
  uint64_t seeds() const { return seeds_; }
  size_t blocks() const { return blocks_.size(); }

 private:
  struct Unit {
    uint32_t block = 0;
    uint32_t missing = 0;
  };
  struct Block {
    std::vector<uint32_t> asked;  // ascending; things asked twice stand there twice
    double error_part = 0;
    double weight = 0;
    uint64_t runs = 0, units = 0;
    std::vector<uint64_t> missing;  // units by how many runs they lack
  };
  class Builder;
  // Gives blocks their weights, from the proportions in which things asked are claimed.
  void Weigh(std::vector<double> claimed);

  std::vector<uint32_t> unit_of_;  // of each run; kNoUnit where it does not count
  std::vector<Unit> units_;
  std::vector<Block> blocks_;
  uint64_t runs_ = 0, seeds_ = 0;
};

// The most runs of a side that share a seed.
[[nodiscard]] uint64_t MostPerSeed(const AskedRuns& runs, bool target);

// Upper end, at one-sided `error` and one look at a number of seeds fixed beforehand, of the share of runs that are of some kind:
// run i has seed seeds[i] and is of it or not, is[i]. Of these runs, in the proportions they are asked. Exact where each has a
// seed of its own (UpperBound), else by MeanUpperBound of seeds. 1 where there is no run.
[[nodiscard]] double ShareUpperBound(const std::vector<int64_t>& seeds, const std::vector<uint8_t>& is, double error);

}  // namespace promptsweep::motifs
