#include "jobs/motifs/miner.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/motifs/candidates.h"
#include "jobs/motifs/gemm.h"
#include "jobs/motifs/kmeans.h"

namespace promptsweep::motifs {
namespace {

// Candidates up to this adjusted p-value are still worth a look.
constexpr double kCandidateFdr = 0.25;
// Below this the region is an accident of the runs it was fitted to.
constexpr double kLeastStability = 0.5;

struct Proposal {
  Region region;
  RowSet members;  // of all rows, both sides
  Counts counts;
  double q = 1;
  double score = 0;
};

// Rows of `x` that discovery looks at, ascending; all where they are few enough.
RowSet DiscoveryRows(const Runs& runs, const MineOptions& options) {
  RowSet sides[2], rows;
  for (size_t i = 0; i < runs.size(); ++i) sides[runs.is_target[i]].push_back(i);
  const int64_t most = options.discovery_runs;
  for (int side = 0; side < 2; ++side) {
    const int64_t own = sides[side].size(), other = sides[1 - side].size();
    // Half each; what one side cannot use goes to the other.
    const int64_t take = std::min(own, std::max(most / 2, most - other));
    for (const uint32_t i : DrawRows(own, take, options.seed + side)) rows.push_back(sides[side][i]);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

Matrix Gather(const Matrix& x, const RowSet& rows) {
  Matrix out(rows.size(), x.dim);
  for (size_t i = 0; i < rows.size(); ++i) std::copy_n(x.row(rows[i]), x.dim, out.row(i));
  return out;
}

// Mean cosine over pairs of distinct rows.
double PairCosine(const Matrix& x, const RowSet& rows) {
  if (rows.size() < 2) return 0;
  double length = 0;
  (void)MeanDirection(x, rows, &length);
  const double m = rows.size();
  return (m * length * length - 1) / (m - 1);
}

size_t Overlap(const RowSet& a, const RowSet& b) {
  size_t both = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j])
      ++both, ++i, ++j;
    else if (a[i] < b[j])
      ++i;
    else
      ++j;
  }
  return both;
}

double Jaccard(const RowSet& a, const RowSet& b) {
  const size_t both = Overlap(a, b);
  const size_t either = a.size() + b.size() - both;
  return either == 0 ? 1 : static_cast<double>(both) / either;
}

// Whether `parent` is two or more motifs under one roof: two disjoint proposals inside it, each set apart by a gap, that
// explain most of it.
bool IsUnion(const Proposal& parent, const std::vector<Proposal>& proposals) {
  const auto child_of = [&](const Proposal& c) {
    return c.region.separation >= 0.7 && c.members.size() <= 0.8 * parent.members.size() &&
           c.members.size() >= 0.05 * parent.members.size() && Overlap(c.members, parent.members) >= 0.8 * c.members.size();
  };
  RowSet explained;
  int children = 0;
  for (const Proposal& c : proposals) {
    if (&c == &parent || !child_of(c)) continue;
    if (Overlap(c.members, explained) > 0.1 * c.members.size()) continue;
    RowSet merged;
    std::set_union(explained.begin(), explained.end(), c.members.begin(), c.members.end(), std::back_inserter(merged));
    explained = std::move(merged);
    ++children;
  }
  return children >= 2 && Overlap(explained, parent.members) >= 0.6 * parent.members.size();
}

// The same motif with its overlap, for a proposal that ends in a valley with runs on both sides: of the proposals with a balanced
// edge that hold nearly all of its runs and not far more, the best. Itself where there is none.
const Proposal& WithBalancedEdge(const Proposal& proposal, const std::vector<Proposal>& proposals, double fdr) {
  if (proposal.region.edge == Edge::kMixture || proposal.region.separation >= kGap) return proposal;
  for (const Proposal& other : proposals) {
    if (other.region.edge != Edge::kMixture || (proposal.q <= fdr && other.q > fdr)) continue;
    if (other.members.size() > 2 * proposal.members.size()) continue;
    if (Overlap(proposal.members, other.members) >= 0.9 * proposal.members.size()) return other;
  }
  return proposal;
}

// Greedily the best proposals, each of which still says something once the runs of those before it are set aside.
std::vector<Proposal> Merge(std::vector<Proposal> proposals, size_t rows, const Runs& runs, size_t tested,
                            const MineOptions& options) {
  std::stable_sort(proposals.begin(), proposals.end(), [&](const Proposal& l, const Proposal& r) {
    const bool l_significant = l.q <= options.fdr, r_significant = r.q <= options.fdr;
    if (l_significant != r_significant) return l_significant;
    if (l.score != r.score) return l.score > r.score;
    return l.members < r.members;
  });
  std::vector<Proposal> accepted;
  std::vector<uint8_t> covered(rows, 0);
  uint64_t covered_target = 0, covered_baseline = 0;
  for (size_t p = 0; p < proposals.size() && accepted.size() < options.most_motifs; ++p) {
    const Proposal& proposal = WithBalancedEdge(proposals[p], proposals, options.fdr);
    const bool inside_another = std::any_of(accepted.begin(), accepted.end(), [&](const Proposal& other) {
      double cosine = 0;
      for (size_t j = 0; j < proposal.region.centre.size(); ++j) cosine += other.region.centre[j] * proposal.region.centre[j];
      return cosine >= other.region.threshold;
    });
    if (inside_another) continue;
    Counts rest{0, proposal.counts.target - covered_target, 0, proposal.counts.baseline - covered_baseline};
    for (const uint32_t i : proposal.members) {
      if (!covered[i]) ++(runs.is_target[i] ? rest.target_in : rest.baseline_in);
    }
    if (2 * rest.target_in < proposal.counts.target_in) continue;
    if (proposal.counts.baseline > 0 && covered_target > 0) {
      const double bar = proposal.q <= options.fdr ? options.fdr * (accepted.size() + 1) / tested : 0.05;
      if (FisherGreater(rest) > bar || KatzLift(rest).ratio < options.least_lift) continue;
    }
    if (IsUnion(proposal, proposals)) continue;
    accepted.push_back(proposal);
    for (const uint32_t i : proposal.members) {
      if (covered[i]) continue;
      covered[i] = 1;
      ++(runs.is_target[i] ? covered_target : covered_baseline);
    }
  }
  return accepted;
}

// Counts every run by the region fitted without the run's fold.
std::vector<Finding> CrossFit(const Matrix& x, const Runs& runs, const Matrix& sample, const RowSet& sample_rows,
                              const std::vector<Proposal>& proposals, const MineOptions& options) {
  std::vector<Finding> findings(proposals.size());
  std::vector<Seeds> seeds(proposals.size());
  for (size_t r = 0; r < proposals.size(); ++r) {
    findings[r].region = proposals[r].region;
    findings[r].q = proposals[r].q;
    seeds[r].source = proposals[r].region.source;
    seeds[r].edge = proposals[r].region.edge;
    for (size_t i = 0, j = 0; i < sample_rows.size() && j < proposals[r].members.size();) {
      if (sample_rows[i] == proposals[r].members[j])
        seeds[r].rows.push_back(i), ++i, ++j;
      else if (sample_rows[i] < proposals[r].members[j])
        ++i;
      else
        ++j;
    }
  }
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<uint8_t> excluded(sample_rows.size());
    for (size_t i = 0; i < sample_rows.size(); ++i) excluded[i] = runs.fold[sample_rows[i]] == fold;
    std::vector<Region> regions = FitRegions(sample, seeds, excluded, options.threads);
    for (Region& region : regions) RoundCentre(region);
    const std::vector<RowSet> inside = MembersOf(x, regions, options.threads);
    for (size_t r = 0; r < proposals.size(); ++r) {
      findings[r].stability += Jaccard(inside[r], proposals[r].members) / kFolds;
      for (const uint32_t i : inside[r]) {
        if (runs.fold[i] == fold) findings[r].members.push_back(i);
      }
      findings[r].frozen.by_fold[fold].push_back(std::move(regions[r]));
    }
  }
  for (Finding& finding : findings) std::sort(finding.members.begin(), finding.members.end());
  return findings;
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

// Prevalence, lift and their intervals from the members.
void Measure(const Matrix& x, const Runs& runs, const Design& design, Finding& finding) {
  finding.counts = design.Count(finding.members);
  const Design::DesignEffects deff = design.DesignEffectsOf(finding.members);
  const double k = finding.counts.target_in, n = finding.counts.target;
  finding.prevalence = k / n;
  finding.prevalence_ci = k < 10 && deff.target == 1 ? ClopperPearson(finding.counts.target_in, finding.counts.target)
                                                     : Wilson(k / deff.target, n / deff.target);
  finding.lift.reset();
  if (finding.counts.baseline > 0) finding.lift = KatzLift(finding.counts, deff.target, deff.baseline);
  finding.mean_cosine = 0;
  for (const uint32_t i : finding.members) {
    if (runs.is_target[i]) finding.mean_cosine += CosineTo(x, i, finding.region.centre) / std::max(1.0, k);
  }
}

}  // namespace

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
  Measure(x, runs, Design(runs), whole);
  return whole;
}

Mined MineMotifs(const Matrix& x, const Runs& runs, const MineOptions& options) {
  Mined mined;
  const Design design(runs);
  mined.exchangeable = design.exchangeable();
  const bool tested = design.exchangeable() != Exchangeable::kNothing;
  if (design.target_runs() == 0) return mined;

  const RowSet sample_rows = DiscoveryRows(runs, options);
  const Matrix sample = Gather(x, sample_rows);
  const CandidateOptions candidate_options{.seed = options.seed, .threads = options.threads};
  const std::vector<Seeds> seeds = ProposeCandidates(sample, candidate_options);
  std::vector<Region> regions = FitRegions(sample, seeds, {}, options.threads);
  std::vector<RowSet> members = MembersOf(x, regions, options.threads);
  DropDuplicates(regions, members, x.rows, candidate_options.fewest);
  mined.candidates = regions.size();

  std::vector<double> q(regions.size(), 1);
  if (tested) q = design.Adjusted(members, options.seed, options.threads);
  RowSet everything(x.rows);
  std::iota(everything.begin(), everything.end(), 0u);
  const double overall = PairCosine(x, everything);
  std::vector<Proposal> proposals;
  for (size_t r = 0; r < regions.size(); ++r) {
    const Counts counts = design.Count(members[r]);
    if (tested && (q[r] > kCandidateFdr || KatzLift(counts).ratio < options.least_lift)) continue;
    if (!tested && regions[r].separation < 0.5) continue;
    const double coherence = (PairCosine(x, members[r]) - overall) / std::max(1e-6, 1 - overall);
    if (coherence < 0.05) continue;
    const double evidence = tested ? SignedLogLikelihoodRatio(counts) : static_cast<double>(counts.target_in);
    const double score = evidence * coherence * (0.25 + 0.75 * regions[r].separation);
    proposals.push_back({std::move(regions[r]), std::move(members[r]), counts, q[r], score});
  }
  const std::vector<Proposal> merged =
      Merge(std::move(proposals), x.rows, runs, std::max<uint64_t>(1, mined.candidates), options);

  std::vector<Finding> findings = CrossFit(x, runs, sample, sample_rows, merged, options);
  std::vector<RowSet> counted;
  for (const Finding& finding : findings) counted.push_back(finding.members);
  std::vector<double> held_out_q(findings.size(), 1);
  if (tested) held_out_q = design.Adjusted(counted, options.seed + 1, options.threads);
  const double unrelated = tested ? 0 : UnrelatedCosine(x, findings, options.seed);
  for (size_t r = 0; r < findings.size(); ++r) {
    Finding& finding = findings[r];
    Measure(x, runs, design, finding);
    if (finding.counts.target_in == 0) continue;
    if (!tested) {
      finding.q.reset();
      if (finding.prevalence_ci.low < options.least_prevalence_descriptive || finding.stability < 0.75 ||
          PairCosine(x, finding.members) <= unrelated) {
        continue;
      }
      finding.tier = Tier::kDescriptive;
    } else {
      // Held out it shrank to nothing, or it is another region each time.
      if (finding.lift->ratio < options.least_lift || finding.stability < kLeastStability) continue;
      const bool proven = *finding.q <= options.fdr && held_out_q[r] <= options.fdr && finding.lift->ci.low > 1 &&
                          finding.prevalence_ci.low >= options.least_prevalence;
      finding.tier = proven ? Tier::kConfirmed : Tier::kCandidate;
    }
    mined.findings.push_back(std::move(finding));
  }
  SortFindings(mined.findings);
  return mined;
}

}  // namespace promptsweep::motifs
