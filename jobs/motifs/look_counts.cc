#include "jobs/motifs/look_counts.h"

#include <unordered_set>

#include "jobs/motifs/sequential.h"
#include "jobs/motifs/stopping.h"

namespace promptsweep::motifs {

void LookCounts::Count(const RowSet& inside, uint64_t from, v1::FrozenMotif& motif) {
  auto at = sides_.find(from);
  if (at == sides_.end()) {
    at = sides_.emplace(from, Sides{SeedBlocks(runs_, true, from, looks_), SeedBlocks(runs_, false, from, looks_)}).first;
  }
  const auto& [target_blocks, baseline_blocks] = at->second;
  v1::LookSequence& sequence = *motif.mutable_sequence();
  const SeedSequence target = target_blocks.Sequence(inside, sequence.error());
  sequence.set_runs(target.runs);
  sequence.set_members(target.members);
  sequence.set_seeds(target.seeds);
  sequence.set_share(target.share);
  sequence.set_low(target.interval.low);
  sequence.set_high(target.interval.high);
  sequence.set_baseline_runs(baseline_blocks.runs());
  sequence.set_baseline_seeds(baseline_blocks.seeds());
  sequence.clear_baseline_members();
  sequence.clear_lift_low();
  sequence.clear_lift_high();
  if (baseline_blocks.runs() == 0) return;
  const SeedSequence baseline = baseline_blocks.Sequence(inside, sequence.error() / 2);
  const Interval lift = LiftSequence(target_blocks.Sequence(inside, sequence.error() / 2).interval, baseline.interval);
  sequence.set_baseline_members(baseline.members);
  sequence.set_lift_low(lift.low);
  sequence.set_lift_high(lift.high);
}

void CountNovelty(const AskedRuns& runs, const RowSet& fresh, const std::vector<uint8_t>& is_novel, v1::StopState& state) {
  v1::StopLook& look = *state.mutable_looks(state.looks_size() - 1);
  const uint64_t since = state.looks_size() < 2 ? 0 : state.looks(state.looks_size() - 2).cells();
  std::unordered_set<int64_t> before;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs.ordinal[i] < since) before.insert(runs.seed[i]);
  }
  std::vector<int64_t> seeds;
  std::vector<uint8_t> novel;
  uint64_t count = 0;
  for (size_t i = 0; i < fresh.size(); ++i) {
    if (before.contains(runs.seed[fresh[i]])) continue;
    seeds.push_back(runs.seed[fresh[i]]);
    novel.push_back(is_novel[i]);
    count += is_novel[i];
  }
  look.set_fresh_runs(seeds.size());
  look.set_fresh_novel(count);
  look.set_novelty_high(state.rule().novelty() > 0 ? ShareUpperBound(seeds, novel, NoveltyErrorAt(state.rule(), look.number()))
                                                   : 1);
}

}  // namespace promptsweep::motifs
