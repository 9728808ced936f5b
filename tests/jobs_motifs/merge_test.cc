// Proves which of two overlapping proposals is a motif: neighbours both are, parts and rings are not, and of a motif's two edges
// the balanced one is, unless what it adds dilutes the motif.
#include "jobs/motifs/mining/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace promptsweep::motifs {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

// 1,000 target runs, then 1,000 of the baseline.
Runs TwoSides() {
  Runs runs;
  for (uint64_t i = 0; i < 2000; ++i) {
    runs.ordinal.push_back(i);
    runs.is_target.push_back(i < 1000);
    runs.prompt.push_back(i >= 1000);
    runs.fold.push_back(i % kFolds);
  }
  return runs;
}

// `target` runs from row `first`, and the first `baseline` of the other side; the centre at `cosine` to that of a proposal at 1.
Proposal Propose(uint32_t first, uint32_t target, uint32_t baseline, double cosine, float threshold) {
  Proposal proposal;
  proposal.region.centre = {static_cast<float>(cosine), static_cast<float>(std::sqrt(1 - cosine * cosine))};
  proposal.region.threshold = threshold;
  proposal.members.resize(target + baseline);
  std::iota(proposal.members.begin(), proposal.members.begin() + target, first);
  std::iota(proposal.members.begin() + target, proposal.members.end(), 1000u);
  proposal.counts = {target, 1000, baseline, 1000};
  proposal.q = 1e-6;
  proposal.evidence = SignedLogLikelihoodRatio(proposal.counts);
  proposal.score = proposal.evidence;
  return proposal;
}

std::vector<size_t> Sizes(std::vector<Proposal> proposals) {
  std::vector<size_t> sizes;
  for (const Proposal& kept : MergeProposals(std::move(proposals), TwoSides(), {.tested = 100}))
    sizes.push_back(kept.members.size());
  return sizes;
}

TEST(Merge, AMotifBesideAnotherIsNotAPartOfIt) {
  // The large motif ends in the middle of a wide gap, so that the mean of the small one is inside, though its runs are not.
  const Proposal large = Propose(0, 280, 0, 1, 0.74f);
  Proposal small = Propose(300, 45, 0, 0.77, 0.87f);
  small.length = 0.89;
  EXPECT_THAT(Sizes({large, small}), UnorderedElementsAre(280, 45));
}

TEST(Merge, PartsAndRingsAreDropped) {
  const Proposal whole = Propose(0, 280, 0, 1, 0.85f);
  Proposal part = Propose(270, 45, 0, 0.95, 0.96f);  // off the middle: a few runs more, most of them inside
  part.length = 0.97;
  EXPECT_THAT(Sizes({whole, part}), ElementsAre(280));
  Proposal ring = Propose(281, 150, 0, 0.98, 0.8f);  // runs beyond the edge, around the same middle
  ring.length = 0.86;
  EXPECT_THAT(Sizes({whole, ring}), ElementsAre(280));
}

TEST(Merge, ARegionThatCutsThroughTwoMotifsIsNotOne) {
  Proposal one = Propose(0, 160, 0, 1, 0.8f), other = Propose(200, 150, 0, 0.7, 0.8f);
  one.region.separation = other.region.separation = 0.99;
  Proposal both = Propose(45, 270, 0, 0.92, 0.81f);  // 115 of the one, 115 of the other, and what lies between
  both.score = one.score + other.score;
  EXPECT_THAT(Sizes({one, other, both}), UnorderedElementsAre(160, 150));
}

TEST(Merge, ABalancedEdgeIsTakenUnlessItDilutesTheMotif) {
  Proposal valley = Propose(0, 98, 7, 1, 0.84f);
  valley.region.separation = 0.7;
  Proposal wider = Propose(0, 135, 9, 1, 0.8f);  // the same motif with its overlap
  wider.region.edge = Edge::kMixture;
  wider.score = valley.score / 2;
  EXPECT_THAT(Sizes({valley, wider}), ElementsAre(144));
  Proposal diluted = Propose(0, 131, 62, 1, 0.81f);  // with the crowd it stands in
  diluted.region.edge = Edge::kMixture;
  diluted.score = valley.score / 2;
  EXPECT_THAT(Sizes({valley, diluted}), ElementsAre(105));
}

TEST(Merge, WhereNothingIsTestedAMotifMustEndInAValley) {
  Proposal skewed = Propose(0, 600, 0, 1, 0.7f);  // two distributions fit its one crowd
  skewed.region.edge = Edge::kMixture;
  skewed.region.separation = 0.85;
  Proposal valley = Propose(700, 80, 0, 0.5, 0.8f);
  valley.region.separation = 0.9;
  const MergeOptions options{.tested = 100, .needs_valley = true};
  const std::vector<Proposal> kept = MergeProposals({skewed, valley}, TwoSides(), options);
  ASSERT_THAT(kept, testing::SizeIs(1));
  EXPECT_EQ(kept[0].members, valley.members);
}

}  // namespace
}  // namespace promptsweep::motifs
