#include "jobs/motifs/mining/cross_fit.h"

#include <algorithm>

#include "jobs/motifs/mining/regions.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

Region WithoutFold(const Matrix& x, const Runs& runs, const Region& whole, int fold) {
  RowSet others;
  for (const uint32_t i : whole.drawn_by) {
    if (runs.fold[i] != fold) others.push_back(i);
  }
  Region region = whole;
  region.drawn_by.clear();
  region.centre = others.size() < kFewestDrawn ? std::vector<float>{} : MeanDirection(x, others);
  RoundCentre(region);
  return region;
}

}  // namespace

CrossFitted CrossFit(const Matrix& x, const Runs& runs, const std::vector<Proposal>& proposals, int threads) {
  const size_t size = proposals.size();
  CrossFitted fitted{std::vector<Frozen>(size), std::vector<RowSet>(size), std::vector<double>(size, 0)};
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<Region> regions(size);
    ParallelFor(threads, size, [&](int64_t r) { regions[r] = WithoutFold(x, runs, proposals[r].region, fold); });
    const std::vector<RowSet> inside = MembersOf(x, regions, threads);
    for (size_t r = 0; r < size; ++r) {
      fitted.stability[r] += Jaccard(inside[r], proposals[r].members) / kFolds;
      for (const uint32_t i : inside[r]) {
        if (runs.fold[i] == fold) fitted.members[r].push_back(i);
      }
      fitted.frozen[r].by_fold[fold].push_back(std::move(regions[r]));
    }
  }
  for (RowSet& members : fitted.members) std::sort(members.begin(), members.end());
  return fitted;
}

std::vector<double> SoughtAnew(const Matrix& x, const Runs& runs, const std::vector<Proposal>& proposals, int threads) {
  std::vector<Seeds> seeds;
  for (const Proposal& proposal : proposals) seeds.push_back({proposal.members, proposal.region.source, proposal.region.edge});
  std::vector<double> similarity(proposals.size(), 0);
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<uint8_t> excluded(x.rows);
    for (size_t i = 0; i < excluded.size(); ++i) excluded[i] = runs.fold[i] == fold;
    const std::vector<RowSet> inside = MembersOf(x, FitRegions(x, seeds, excluded, threads), threads);
    for (size_t r = 0; r < proposals.size(); ++r) similarity[r] += Jaccard(inside[r], proposals[r].members) / kFolds;
  }
  return similarity;
}

}  // namespace promptsweep::motifs
