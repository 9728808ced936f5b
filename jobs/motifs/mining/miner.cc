#include "jobs/motifs/mining/miner.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/motifs/mining/candidates.h"
#include "jobs/motifs/mining/cross_fit.h"
#include "jobs/motifs/mining/merge.h"
#include "jobs/motifs/statistics/mixture.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/kmeans.h"

namespace promptsweep::motifs {
namespace {

// Candidates up to this adjusted p-value are still worth a look.
constexpr double kCandidateFdr = 0.25;
// Below this the region is an accident of the runs it was fitted to.
constexpr double kLeastStability = 0.5, kLeastStabilityDescriptive = 0.75;
// Members reach farther away from the centre than towards it; how much farther was measured on planted motifs.
constexpr double kFarSide = 2;
// Members kept of all candidates together, 4 bytes each.
constexpr uint64_t kMostMembers = 100'000'000;

// The rows that common candidates are proposed on.
struct Discovery {
  RowSet rows;    // ascending
  Matrix sample;  // empty where `rows` are all
  const Matrix& SampleOf(const Matrix& x) const { return sample.rows == 0 ? x : sample; }
};

Discovery DrawDiscovery(const Matrix& x, const Runs& runs, const MineOptions& options) {
  RowSet sides[2];
  for (size_t i = 0; i < runs.size(); ++i) sides[runs.is_target[i]].push_back(i);
  const int64_t most = options.discovery_runs;
  Discovery discovery;
  for (int side = 0; side < 2; ++side) {
    const int64_t own = sides[side].size(), other = sides[1 - side].size();
    // Half each; what one side cannot use goes to the other.
    const int64_t take = std::min(own, std::max(most / 2, most - other));
    for (const uint32_t i : DrawRows(own, take, options.seed + side)) discovery.rows.push_back(sides[side][i]);
  }
  std::sort(discovery.rows.begin(), discovery.rows.end());
  if (static_cast<int64_t>(discovery.rows.size()) == x.rows) return discovery;
  discovery.sample = Gather(x, discovery.rows);
  return discovery;
}

// Mean cosine over pairs of distinct rows.
double PairCosine(const Matrix& x, const RowSet& rows) {
  if (rows.size() < 2) return 0;
  double length = 0;
  (void)MeanDirection(x, rows, &length);
  const double m = rows.size();
  return (m * length * length - 1) / (m - 1);
}

// A region and what decides whether it is worth a look.
struct Candidate {
  Region region;
  Tallies inside;          // of all rows
  double pair_cosine = 0;  // mean over pairs of its members
  RowSet members;          // of all rows, where they are known already
  Counts crowd;            // of Region::crowd, where it has one
};

// How much closer members are than rows are on average, as a share of what is possible.
double Coherence(double pair_cosine, double overall) { return (pair_cosine - overall) / std::max(1e-6, 1 - overall); }

// Counts the crowds that inner regions were found in.
void CountCrowds(const Matrix& x, const Runs& runs, const Design& design, int threads, std::vector<Candidate>& candidates) {
  std::vector<Region> crowds;
  std::vector<size_t> which;
  for (size_t c = 0; c < candidates.size(); ++c) {
    const Region& region = candidates[c].region;
    if (region.edge != Edge::kInner) continue;
    crowds.push_back({.centre = region.centre, .threshold = region.crowd});
    which.push_back(c);
  }
  const std::vector<Tallies> inside = TallyRegions(x, runs, crowds, threads);
  for (size_t i = 0; i < which.size(); ++i) candidates[which[i]].crowd = design.Count(inside[i]);
}

// Candidates proposed on the sample, tallied over all rows.
std::vector<Candidate> CommonCandidates(const Matrix& x, const Runs& runs, const Design& design, const Discovery& discovery,
                                        const CandidateOptions& options) {
  const Matrix& sample = discovery.SampleOf(x);
  std::vector<Region> regions = FitRegions(sample, ProposeCandidates(sample, options), {}, options.threads);
  std::vector<RowSet> members = MembersOf(sample, regions, options.threads);
  DropDuplicates(regions, members, sample.rows, options.fewest);
  std::vector<Candidate> candidates(regions.size());
  std::vector<Tallies> inside;
  if (&sample != &x && runs.stratum.empty()) {
    inside = TallyRegions(x, runs, regions, options.threads);
  } else if (&sample != &x) {
    for (const RowSet& rows : MembersOf(x, regions, options.threads)) inside.push_back(design.TallyOf(rows));
  }
  ParallelFor(options.threads, regions.size(), [&](int64_t r) {
    Candidate& candidate = candidates[r];
    candidate.pair_cosine = PairCosine(sample, members[r]);
    candidate.inside = &sample == &x ? design.TallyOf(members[r]) : std::move(inside[r]);
    candidate.region = std::move(regions[r]);
    for (uint32_t& i : candidate.region.drawn_by) i = discovery.rows[i];
    if (&sample == &x) candidate.members = std::move(members[r]);
  });
  CountCrowds(x, runs, design, options.threads, candidates);
  return candidates;
}

// Candidates that the sample cannot hold enough of, proposed on all rows.
std::vector<Candidate> RareCandidates(const Matrix& x, const Design& design, const Discovery& discovery,
                                      const CandidateOptions& options, double& recall) {
  // What has 64 rows and more in the sample is found there.
  const int64_t most = 64 * x.rows / static_cast<int64_t>(discovery.rows.size());
  const RareSeeds rare = ProposeRare(x, most, options);
  recall = rare.recall;
  std::vector<Region> regions = FitRegions(x, rare.seeds, {}, options.threads);
  std::vector<RowSet> members = MembersOf(x, regions, options.threads);
  DropDuplicates(regions, members, x.rows, options.fewest);
  std::vector<Candidate> candidates;
  for (size_t r = 0; r < regions.size(); ++r) {
    if (static_cast<int64_t>(members[r].size()) > 4 * most) continue;
    const double pair_cosine = PairCosine(x, members[r]);
    Tallies inside = design.TallyOf(members[r]);
    candidates.push_back({std::move(regions[r]), std::move(inside), pair_cosine, std::move(members[r])});
  }
  return candidates;
}

// Candidates that pass the test, best first, with their members.
std::vector<Proposal> Test(const Matrix& x, const Design& design, std::vector<Candidate> candidates, double overall,
                           const MineOptions& options) {
  const bool tested = design.exchangeable() != Exchangeable::kNothing;
  std::vector<double> q(candidates.size(), 1);
  if (tested) {
    std::vector<Tallies> inside;
    for (const Candidate& candidate : candidates) inside.push_back(candidate.inside);
    q = design.Adjusted(inside, options.seed, options.threads);
  }
  std::vector<Proposal> proposals;
  for (size_t r = 0; r < candidates.size(); ++r) {
    Candidate& candidate = candidates[r];
    const Counts counts = design.Count(candidate.inside);
    if (tested && (q[r] > kCandidateFdr || KatzLift(counts).ratio < options.least_lift)) continue;
    if (!tested && candidate.region.separation < 0.5) continue;
    const double coherence = Coherence(candidate.pair_cosine, overall);
    if (coherence < 0.05) continue;
    const double evidence = tested ? SignedLogLikelihoodRatio(counts) : static_cast<double>(counts.target_in);
    // The core of what recurs is not what recurs: only a crowd that dilutes a motif is worth leaving.
    if (candidate.region.edge == Edge::kInner && (!tested || evidence <= SignedLogLikelihoodRatio(candidate.crowd))) continue;
    const double score = evidence * coherence * (0.25 + 0.75 * candidate.region.separation);
    const double length = std::sqrt(std::max(0.0, candidate.pair_cosine));
    proposals.push_back({std::move(candidate.region), std::move(candidate.members), counts, q[r], evidence, score, length});
  }
  std::stable_sort(proposals.begin(), proposals.end(), [](const Proposal& l, const Proposal& r) { return l.score > r.score; });
  // Those whose members are not known yet, as many as memory allows.
  std::vector<Region> wanted;
  std::vector<size_t> which;
  uint64_t entries = 0;
  for (size_t p = 0; p < proposals.size(); ++p) {
    entries += proposals[p].counts.target_in + proposals[p].counts.baseline_in;
    if (entries > kMostMembers && p > 0) {
      proposals.resize(p);
      break;
    }
    if (!proposals[p].members.empty()) continue;
    wanted.push_back(proposals[p].region);
    which.push_back(p);
  }
  std::vector<RowSet> members = MembersOf(x, wanted, options.threads);
  for (size_t w = 0; w < which.size(); ++w) proposals[which[w]].members = std::move(members[w]);
  return proposals;
}

// 99th percentile of the cosines of pairs of runs that share none of the findings.
double UnrelatedCosine(const Matrix& x, const std::vector<Finding>& findings, uint64_t seed) {
  std::vector<uint32_t> motif(x.rows, 0);
  for (size_t r = 0; r < findings.size(); ++r) {
    for (const uint32_t i : findings[r].members) motif[i] = r + 1;
  }
  std::vector<double> cosines;
  const std::vector<uint32_t> left = DrawRows(x.rows, 4000, seed), right = DrawRows(x.rows, 4000, seed + 1);
  for (size_t i = 0; i < left.size(); ++i) {
    if (left[i] == right[i] || (motif[left[i]] != 0 && motif[left[i]] == motif[right[i]])) continue;
    double dot = 0;
    for (int64_t j = 0; j < x.dim; ++j) dot += static_cast<double>(x.row(left[i])[j]) * x.row(right[i])[j];
    cosines.push_back(dot);
  }
  if (cosines.empty()) return 1;
  const size_t at = cosines.size() * 99 / 100;
  std::nth_element(cosines.begin(), cosines.begin() + at, cosines.end());
  return cosines[at];
}

// How the members at hand lie around the centre: mean_cosine and missed.
void MeasureSpread(const Matrix& x, const Runs& runs, Finding& finding) {
  const RowSet members = TargetMembers(finding, runs);
  finding.mean_cosine = 0;
  std::vector<double> angles;
  for (const uint32_t i : members) {
    const double cosine = CosineTo(x, i, finding.region.centre);
    finding.mean_cosine += cosine / static_cast<double>(members.size());
    angles.push_back(std::acos(std::clamp(cosine, -1.0, 1.0)));
  }
  finding.missed = 0;
  const bool gap = finding.region.edge == Edge::kValley && finding.region.separation >= kGap;
  if (!gap && finding.looks.empty()) {
    const double edge = std::acos(std::clamp<double>(finding.region.threshold, -1, 1));
    finding.missed = std::min(0.5, kFarSide * ShareBeyond(angles, edge));
  }
}

}  // namespace

RowSet TargetMembers(const Finding& finding, const Runs& runs) {
  RowSet members;
  for (const uint32_t i : finding.members) {
    if (runs.is_target[i]) members.push_back(i);
  }
  return members;
}

RowSet ComparedWith(const Finding& finding, const RowSet& members, const Runs& runs) {
  RowSet others;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (finding.lift ? !runs.is_target[i] : !std::binary_search(members.begin(), members.end(), i)) others.push_back(i);
  }
  return others;
}

RowSet WithoutMotif(const std::vector<Finding>& findings, const Runs& runs) {
  std::vector<bool> shown(runs.size(), false);
  bool compared = false;
  for (const Finding& finding : findings) {
    compared |= finding.lift.has_value();
    for (const uint32_t i : finding.members) shown[i] = true;
  }
  RowSet background;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (!shown[i] && !(compared && runs.is_target[i])) background.push_back(i);
  }
  return background;
}

void Measure(const Design& design, const Tallies& inside, Finding& finding) {
  finding.counts = design.Count(inside);
  const Design::DesignEffects deff = design.DesignEffectsOf(inside);
  const double k = finding.counts.target_in, n = finding.counts.target;
  finding.prevalence = k / n;
  finding.prevalence_ci = k < 10 && deff.target == 1 ? ClopperPearson(finding.counts.target_in, finding.counts.target)
                                                     : Wilson(k / deff.target, n / deff.target);
  finding.prevalence_ci.high = std::min(1.0, finding.prevalence_ci.high / (1 - finding.missed));
  finding.lift.reset();
  if (finding.counts.baseline > 0) finding.lift = KatzLift(finding.counts, deff.target, deff.baseline);
}

std::vector<Finding> Settle(const Design& design, const std::vector<Tallies>& inside, std::vector<Finding> findings,
                            const MineOptions& options) {
  const bool tested = design.exchangeable() != Exchangeable::kNothing;
  std::vector<double> held_out_q(findings.size(), 1);
  if (tested) held_out_q = design.Adjusted(inside, options.seed + 1, options.threads);
  std::vector<Finding> settled;
  for (size_t r = 0; r < findings.size(); ++r) {
    Finding& finding = findings[r];
    Measure(design, inside[r], finding);
    if (finding.counts.target_in == 0) continue;
    if (!tested) {
      finding.q.reset();
      if (finding.prevalence_ci.low < options.least_prevalence_descriptive || finding.stability < kLeastStabilityDescriptive)
        continue;
      finding.tier = Tier::kDescriptive;
    } else {
      // Held out it shrank to nothing, or it is another region each time.
      if (finding.lift->ratio < options.least_lift || finding.stability < kLeastStability) continue;
      const bool matters =
          finding.prevalence_ci.low >= options.least_prevalence || finding.lift->ci.low >= options.least_lift_of_rare;
      const bool proven = *finding.q <= options.fdr && held_out_q[r] <= options.fdr && finding.lift->ci.low > 1 && matters;
      finding.tier = proven ? Tier::kConfirmed : Tier::kCandidate;
    }
    settled.push_back(std::move(finding));
  }
  SortFindings(settled);
  return settled;
}

void SortFindings(std::vector<Finding>& findings) {
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& l, const Finding& r) {
    return l.tier != r.tier ? l.tier < r.tier : l.prevalence > r.prevalence;
  });
}

Finding Combine(const Matrix& x, const Runs& runs, std::vector<Finding> parts) {
  SortFindings(parts);
  Finding whole = parts[0];
  if (parts.size() == 1) return whole;
  double weight = 0;
  whole.stability = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Finding& part = parts[p];
    whole.stability += part.stability * part.counts.target_in;
    weight += part.counts.target_in;
    if (p == 0) continue;
    RowSet members;
    std::set_union(whole.members.begin(), whole.members.end(), part.members.begin(), part.members.end(),
                   std::back_inserter(members));
    whole.members = std::move(members);
    whole.looks.push_back(part.region);
    for (int fold = 0; fold < kFolds; ++fold) {
      const std::vector<Region>& more = part.frozen.by_fold[fold];
      whole.frozen.by_fold[fold].insert(whole.frozen.by_fold[fold].end(), more.begin(), more.end());
    }
    if (part.q && (!whole.q || *part.q > *whole.q)) whole.q = part.q;
  }
  whole.stability /= weight;
  MeasureSpread(x, runs, whole);
  const Design design(runs);
  Measure(design, design.TallyOf(whole.members), whole);
  return whole;
}

Mined MineMotifs(const Matrix& x, const Runs& runs, const MineOptions& options) {
  Mined mined;
  const Design design(runs);
  mined.exchangeable = design.exchangeable();
  const bool tested = design.exchangeable() != Exchangeable::kNothing;
  if (design.target_runs() == 0) return mined;

  RowSet everything(x.rows);
  std::iota(everything.begin(), everything.end(), 0u);
  const double overall = PairCosine(x, everything);
  const Discovery discovery = DrawDiscovery(x, runs, options);
  const CandidateOptions candidate_options{.seed = options.seed, .threads = options.threads};
  std::vector<Candidate> candidates = CommonCandidates(x, runs, design, discovery, candidate_options);
  if (discovery.sample.rows > 0) {
    double recall = 0;
    for (Candidate& rare : RareCandidates(x, design, discovery, candidate_options, recall)) {
      candidates.push_back(std::move(rare));
    }
    mined.recall = recall;
  }
  mined.candidates = candidates.size();
  const std::vector<Proposal> merged =
      MergeProposals(Test(x, design, std::move(candidates), overall, options), runs,
                     {options.fdr, options.least_lift, options.most_motifs, std::max<size_t>(1, mined.candidates), !tested});

  CrossFitted fitted = CrossFit(x, runs, merged, options.threads);
  std::vector<Finding> findings(merged.size());
  for (size_t r = 0; r < merged.size(); ++r) {
    findings[r].region = merged[r].region;
    findings[r].q = merged[r].q;
    findings[r].frozen = std::move(fitted.frozen[r]);
    findings[r].members = std::move(fitted.members[r]);
    findings[r].stability = fitted.stability[r];
  }
  if (!tested) {
    const std::vector<double> similarity = SoughtAnew(x, runs, merged, options.threads);
    for (size_t r = 0; r < findings.size(); ++r) findings[r].stability = std::min(findings[r].stability, similarity[r]);
    const double unrelated = UnrelatedCosine(x, findings, options.seed);
    findings.erase(std::remove_if(findings.begin(), findings.end(),
                                  [&](const Finding& finding) { return PairCosine(x, finding.members) <= unrelated; }),
                   findings.end());
  }
  std::vector<Tallies> inside;
  for (Finding& finding : findings) {
    MeasureSpread(x, runs, finding);
    inside.push_back(design.TallyOf(finding.members));
  }
  mined.findings = Settle(design, inside, std::move(findings), options);
  return mined;
}

}  // namespace promptsweep::motifs
