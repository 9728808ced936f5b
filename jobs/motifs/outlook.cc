#include "jobs/motifs/outlook.h"

#include <algorithm>

#include "jobs/motifs/diversity.h"
#include "jobs/motifs/novelty.h"
#include "jobs/motifs/runs_needed.h"
#include "jobs/motifs/sequential.h"

namespace promptsweep::motifs {
namespace {

constexpr double kError = 0.05;
constexpr double kOnePoint = 0.01;

void AddSequence(const SeedBlocks& target, const SeedBlocks& baseline, const RowSet& inside, size_t motifs,
                 v1::MotifSequence& sequence) {
  const double error = kError / static_cast<double>(motifs);
  const Interval ci = target.Sequence(inside, error).interval;
  sequence.set_low(ci.low);
  sequence.set_high(ci.high);
  sequence.set_error(error);
  if (baseline.runs() == 0) return;
  const Interval lift = LiftSequence(target.Sequence(inside, error / 2).interval, baseline.Sequence(inside, error / 2).interval);
  sequence.set_lift_low(lift.low);
  sequence.set_lift_high(lift.high);
}

void AddRunsNeeded(const Counts& counts, const Design::DesignEffects& deff, uint64_t candidates, v1::RunsNeeded& needed) {
  const double p = static_cast<double>(counts.target_in) / static_cast<double>(counts.target);
  needed.set_to_one_point(RunsToHalfwidth(p, kOnePoint, deff.target));
  needed.set_to_quarter(RunsToHalfwidth(p, p / 4, deff.target));
  needed.set_to_quarter_anytime(RunsToHalfwidthAnytime(p, p / 4, kError));
  needed.set_to_find(RunsToSee(p, kMembersToFind));
  if (counts.baseline == 0) return;
  const double baseline = static_cast<double>(counts.baseline_in) / static_cast<double>(counts.baseline);
  const double ratio = static_cast<double>(counts.baseline) / static_cast<double>(counts.target);
  const double level = kError / static_cast<double>(std::max<uint64_t>(1, candidates));
  needed.set_to_decide(RunsToTellApart(p, baseline, ratio, level, 0.95, deff.target, deff.baseline));
}

void AddNovelty(const Novelty& novelty, v1::Novelty& out) {
  out.set_alike_cosine(novelty.tau);
  out.set_runs(novelty.runs);
  out.set_unlike(novelty.unlike);
  out.set_rate(novelty.rate);
  out.set_low(novelty.ci.low);
  out.set_high(novelty.ci.high);
  out.set_kinds(novelty.kinds);
  out.set_kinds_once(novelty.once);
  out.set_kinds_twice(novelty.twice);
  out.set_kinds_at_least(novelty.kinds_at_least);
  out.set_new_if_doubled(novelty.new_if_doubled);
  out.set_new_if_fivefold(novelty.new_if_fivefold);
}

void AddDiversity(const SweepData& data, const RowSet& rows, int threads, v1::Diversity& out) {
  SecondMoments moments(data.x.dim);
  moments.Add(data.x, data.runs.fold, &rows, threads);
  const Diversity diversity = moments.Measure(threads);
  out.set_vendi(diversity.vendi);
  out.set_vendi_low(diversity.vendi_ci.low);
  out.set_vendi_high(diversity.vendi_ci.high);
  out.set_rke(diversity.rke);
  out.set_rke_low(diversity.rke_ci.low);
  out.set_rke_high(diversity.rke_ci.high);
  out.set_runs(moments.runs());
}

}  // namespace

void AddOutlook(const SweepData& data, const std::vector<Finding>& findings, const FrozenCounts* counts,
                const MineOptions& options, v1::MotifReport& report) {
  const Design design(data.runs);
  AskedRuns at_hand;
  if (counts == nullptr) at_hand.Append(data.runs);
  const AskedRuns& asked = counts != nullptr ? counts->asked : at_hand;
  const SeedBlocks target_seeds(asked, true, 0, {}), baseline_seeds(asked, false, 0, {});
  for (size_t m = 0; m < findings.size(); ++m) {
    v1::Motif& motif = *report.mutable_motifs(static_cast<int>(m));
    AddSequence(target_seeds, baseline_seeds, counts != nullptr ? counts->members[m] : findings[m].members, findings.size(),
                *motif.mutable_sequence());
    AddRunsNeeded(findings[m].counts, design.DesignEffectsOf(findings[m].members), report.candidates_tested(),
                  *motif.mutable_runs_needed());
  }
  RowSet target, baseline;
  for (uint32_t i = 0; i < data.runs.size(); ++i) (data.runs.is_target[i] ? target : baseline).push_back(i);
  report.set_unseen_below(UnseenBelowBySeed(target.size(), MostPerSeed(asked, true), kMembersToFind));
  const double tau = ChooseTau(data.x, baseline.empty() ? target : baseline, options.seed);
  AddNovelty(MeasureNovelty(data.x, target, tau, options.seed, options.threads), *report.mutable_novelty());
  if (data.x.dim > kMostDiversityDim) return;
  AddDiversity(data, target, options.threads, *report.mutable_target_diversity());
  if (!baseline.empty()) AddDiversity(data, baseline, options.threads, *report.mutable_baseline_diversity());
}

}  // namespace promptsweep::motifs
