#include "jobs/motifs/outlook.h"

#include <algorithm>
#include <cmath>

#include "base/status.h"
#include "jobs/motifs/diversity.h"
#include "jobs/motifs/kmeans.h"
#include "jobs/motifs/novelty.h"
#include "jobs/motifs/runs_needed.h"
#include "jobs/motifs/sequential.h"

namespace promptsweep::motifs {
namespace {

constexpr double kHalfwidth = 0.01;
constexpr double kError = 0.05;
constexpr int64_t kMostCoverageRuns = 5000;
constexpr int64_t kNeighbours = 32;

// The variance that made the interval over the binomial one; 1 where it is not wider.
double DesignEffectOf(const v1::Motif& motif, uint64_t runs) {
  const Interval plain = Wilson(motif.prevalence() * static_cast<double>(runs), static_cast<double>(runs));
  const double ratio = (motif.ci_high() - motif.ci_low()) / (plain.high - plain.low);
  // Below 10 members the interval is Clopper-Pearson's, which is wider for another reason.
  return motif.members() < 10 ? 1 : std::max(1.0, ratio * ratio);
}

void AddToMotif(const v1::MotifReport& report, v1::Motif& motif) {
  const uint64_t n = report.target_runs(), nb = report.baseline_runs();
  const auto kb = static_cast<uint64_t>(std::llround(motif.baseline_prevalence() * static_cast<double>(nb)));
  v1::MotifSequence& sequence = *motif.mutable_sequence();
  const Interval ci = ConfidenceSequence(static_cast<double>(motif.members()), static_cast<double>(n), kError);
  sequence.set_low(ci.low);
  sequence.set_high(ci.high);
  sequence.set_error(kError);
  sequence.set_runs(n);
  sequence.set_members(motif.members());
  sequence.set_baseline_runs(nb);
  sequence.set_baseline_members(kb);
  if (nb > 0) {
    const Interval lift = LiftSequence({motif.members(), n, kb, nb}, kError);
    sequence.set_lift_low(lift.low);
    sequence.set_lift_high(lift.high);
  }

  const double p = motif.prevalence(), deff = DesignEffectOf(motif, n);
  v1::RunsNeeded& needed = *motif.mutable_runs_needed();
  needed.set_halfwidth(kHalfwidth);
  needed.set_to_halfwidth(RunsToHalfwidth(p, kHalfwidth, deff));
  needed.set_to_quarter(RunsToHalfwidth(p, p / 4, deff));
  needed.set_to_quarter_anytime(RunsToHalfwidthAnytime(p, p / 4, kError));
  needed.set_members(kFewestMembers);
  needed.set_to_see(RunsToSee(p, kFewestMembers));
  if (nb > 0) {
    const double ratio = static_cast<double>(nb) / static_cast<double>(n);
    const double level = kError / static_cast<double>(std::max<uint64_t>(1, report.candidates_tested()));
    needed.set_to_decide(RunsToTellApart(p, motif.baseline_prevalence(), ratio, level, 0.95, deff));
  }
}

void AddNovelty(const SweepData& data, const RowSet& target, const std::vector<RowSet>& members, uint64_t seed, int threads,
                v1::Novelty& novelty) {
  const double alike = AlikeCosine(data.x, target, members, seed);
  const int64_t all = static_cast<int64_t>(target.size()), take = std::min(all, kMostNoveltyRuns);
  RowSet rows;
  for (const uint32_t i : DrawRows(all, take, seed)) rows.push_back(target[i]);
  std::sort(rows.begin(), rows.end());
  Matrix drawn(take, data.x.dim);
  for (int64_t i = 0; i < take; ++i) std::copy_n(data.x.row(rows[i]), data.x.dim, drawn.row(i));
  const KindCounts kinds = CountKinds(ExactKnn(drawn, kNeighbours, threads), alike);
  const double k = static_cast<double>(kinds.counts[0]), n = static_cast<double>(take);
  const Interval ci = Wilson(k, n);
  novelty.set_alike_cosine(alike);
  novelty.set_runs(static_cast<uint64_t>(take));
  novelty.set_rate(k / n);
  novelty.set_low(ci.low);
  novelty.set_high(ci.high);
  novelty.set_kinds(kinds.kinds);
  const KindsEstimate chao = Chao1(kinds);
  novelty.set_kinds_at_least(chao.at_least);
  novelty.set_kinds_low(chao.ci.low);
  novelty.set_kinds_high(chao.ci.high);
  novelty.set_kinds_in_as_many(NewKinds(kinds, 1));
  novelty.set_kinds_in_twice_as_many(NewKinds(kinds, 2));
}

absl::Status AddDiversity(const SweepData& data, bool target, int threads, v1::Diversity& diversity) {
  PS_ASSIGN_OR_RETURN(const DiversityScore score, ScoreDiversity(data.x, data.runs, target, threads));
  diversity.set_vendi(score.vendi);
  diversity.set_vendi_low(score.vendi_ci.low);
  diversity.set_vendi_high(score.vendi_ci.high);
  diversity.set_rke(score.rke);
  diversity.set_rke_low(score.rke_ci.low);
  diversity.set_rke_high(score.rke_ci.high);
  diversity.set_runs(score.runs);
  return absl::OkStatus();
}

}  // namespace

absl::Status AddOutlook(const SweepData& data, const std::vector<RowSet>& members, uint64_t seed, int threads,
                        v1::MotifReport& report) {
  for (v1::Motif& motif : *report.mutable_motifs()) AddToMotif(report, motif);
  RowSet target;
  for (uint32_t i = 0; i < data.runs.size(); ++i) {
    if (data.runs.is_target[i]) target.push_back(i);
  }
  if (target.empty()) return absl::OkStatus();
  report.set_unseen_below(UnseenBelow(target.size(), kFewestMembers));
  AddNovelty(data, target, members, seed, threads, *report.mutable_novelty());
  PS_RETURN_IF_ERROR(AddDiversity(data, true, threads, *report.mutable_target_diversity()));
  if (report.baseline_runs() == 0) return absl::OkStatus();
  PS_RETURN_IF_ERROR(AddDiversity(data, false, threads, *report.mutable_baseline_diversity()));
  report.set_baseline_coverage(BaselineCoverage(data.x, data.runs, kMostCoverageRuns, seed, threads));
  return absl::OkStatus();
}

}  // namespace promptsweep::motifs
