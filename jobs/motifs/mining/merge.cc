#include "jobs/motifs/mining/merge.h"

#include <algorithm>
#include <iterator>

#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {
namespace {

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

// Whether `parent` is two or more motifs under one roof: two disjoint proposals inside it, each set apart by a gap, that
// explain most of it. Of one with nothing in its gap half is enough: its edge is sure, and the roof's may cut through it.
bool IsUnion(const Proposal& parent, const std::vector<Proposal>& proposals) {
  const auto child_of = [&](const Proposal& c) {
    return c.region.separation >= 0.7 && c.members.size() <= 0.8 * parent.members.size() &&
           c.members.size() >= 0.05 * parent.members.size() &&
           Overlap(c.members, parent.members) >= (c.region.separation >= kGap ? 0.5 : 0.8) * c.members.size();
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

// Whether a proposal is part of a better one or a ring around it. That its centre is inside is not enough: a mean is nearer to
// everything than what it is the mean of. Its runs must be, by their mean, or the better one's centre must be inside in turn.
bool IsInside(const Proposal& proposal, const Proposal& better) {
  double cosine = 0;
  for (size_t j = 0; j < proposal.region.centre.size(); ++j) cosine += better.region.centre[j] * proposal.region.centre[j];
  if (cosine < better.region.threshold) return false;
  return cosine >= proposal.region.threshold || proposal.length * cosine >= better.region.threshold;
}

// The same motif with its overlap, for a proposal that ends in a valley with runs on both sides: of the proposals with a balanced
// edge that hold nearly all of its runs and not far more, the best. Itself where there is none, or where what it adds dilutes it.
const Proposal& WithBalancedEdge(const Proposal& proposal, const std::vector<Proposal>& proposals, double fdr) {
  if (proposal.region.edge != Edge::kValley || proposal.region.separation >= kGap) return proposal;
  for (const Proposal& other : proposals) {
    if (other.region.edge != Edge::kMixture || (proposal.q <= fdr && other.q > fdr)) continue;
    if (other.members.size() > 2 * proposal.members.size() || other.evidence < proposal.evidence) continue;
    if (Overlap(proposal.members, other.members) >= 0.9 * proposal.members.size()) return other;
  }
  return proposal;
}

}  // namespace

std::vector<Proposal> MergeProposals(std::vector<Proposal> proposals, const Runs& runs, const MergeOptions& options) {
  std::stable_sort(proposals.begin(), proposals.end(), [&](const Proposal& l, const Proposal& r) {
    const bool l_significant = l.q <= options.fdr, r_significant = r.q <= options.fdr;
    if (l_significant != r_significant) return l_significant;
    if (l.score != r.score) return l.score > r.score;
    return l.members < r.members;
  });
  std::vector<Proposal> accepted;
  std::vector<uint8_t> covered(runs.size(), 0);
  uint64_t covered_target = 0, covered_baseline = 0;
  for (size_t p = 0; p < proposals.size() && accepted.size() < options.most_motifs; ++p) {
    if (options.needs_valley && proposals[p].region.edge != Edge::kValley && proposals[p].region.separation < kGap) continue;
    const Proposal& proposal = WithBalancedEdge(proposals[p], proposals, options.fdr);
    if (std::any_of(accepted.begin(), accepted.end(), [&](const Proposal& other) { return IsInside(proposal, other); })) continue;
    Counts rest{0, proposal.counts.target - covered_target, 0, proposal.counts.baseline - covered_baseline};
    for (const uint32_t i : proposal.members) {
      if (!covered[i]) ++(runs.is_target[i] ? rest.target_in : rest.baseline_in);
    }
    if (2 * rest.target_in < proposal.counts.target_in) continue;
    if (proposal.counts.baseline > 0 && covered_target > 0) {
      const double bar = proposal.q <= options.fdr ? options.fdr * (accepted.size() + 1) / options.tested : 0.05;
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

double Jaccard(const RowSet& a, const RowSet& b) {
  const size_t both = Overlap(a, b);
  const size_t either = a.size() + b.size() - both;
  return either == 0 ? 1 : static_cast<double>(both) / either;
}

}  // namespace promptsweep::motifs
