// Proves that frozen motifs say the same of a run wherever it stands, read back from half floats or not, each fold by its own
// regions, and that tallies are those of the members.
#include "jobs/motifs/mining/frozen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

// Regions around drawn rows, cutting through crowds so that many cosines come close to the threshold.
std::vector<Region> SomeRegions(const Matrix& x, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Region> regions(count);
  for (Region& region : regions) {
    const uint32_t i = random() % x.rows, other = random() % x.rows;
    region.centre.assign(x.row(i), x.row(i) + x.dim);
    RoundCentre(region);
    region.threshold = static_cast<float>(CosineTo(x, other, region.centre));
  }
  return regions;
}

Frozen SomeMotif(const Matrix& x, uint64_t seed) {
  Frozen motif;
  for (int fold = 0; fold < kFolds; ++fold) motif.by_fold[fold] = SomeRegions(x, 1 + fold % 2, seed * 100 + fold);
  return motif;
}

TEST(FrozenTest, SaysTheSameOfARunWhereverItStands) {
  const Synthetic s = MakeSynthetic({.target = 700, .baseline = 600, .dim = 48, .seed = 3});
  std::vector<Frozen> motifs;
  for (uint64_t m = 0; m < 7; ++m) motifs.push_back(SomeMotif(s.x, m));
  const std::vector<RowSet> members = MembersOf(s.x, s.runs.fold, motifs, 2);
  for (size_t m = 0; m < motifs.size(); ++m) {
    RowSet expected;
    for (uint32_t i = 0; i < s.x.rows; ++i) {
      const std::vector<Region>& regions = motifs[m].by_fold[s.runs.fold[i]];
      if (std::any_of(regions.begin(), regions.end(), [&](const Region& region) { return IsInside(s.x, i, region); })) {
        expected.push_back(i);
      }
    }
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(members[m], expected);
  }
  // In pieces, one after the other, as a stream brings them.
  const Judge judge(motifs, s.x.dim);
  std::vector<RowSet> streamed(motifs.size());
  std::mt19937_64 random(1);
  for (int64_t begin = 0; begin < s.x.rows;) {
    const int64_t end = std::min<int64_t>(s.x.rows, begin + 1 + random() % 90);
    Matrix piece(end - begin, s.x.dim);
    std::copy(s.x.row(begin), s.x.row(end - 1) + s.x.dim, piece.row(0));
    const std::vector<uint8_t> folds(s.runs.fold.begin() + begin, s.runs.fold.begin() + end);
    for (const auto& [row, motif] : judge.Inside(piece, folds, 1)) streamed[motif].push_back(begin + row);
    begin = end;
  }
  EXPECT_EQ(streamed, members);
}

TEST(FrozenTest, ARegionOfAnotherDimensionHoldsNothing) {
  const Synthetic s = MakeSynthetic({.target = 50, .baseline = 50, .dim = 16});
  Frozen motif;
  for (auto& regions : motif.by_fold) regions.push_back({std::vector<float>(8, 0.5f), -1});
  for (auto& regions : motif.by_fold) regions.push_back({});
  EXPECT_TRUE(MembersOf(s.x, s.runs.fold, {motif}, 1)[0].empty());
  EXPECT_TRUE(MembersOf(s.x, s.runs.fold, {}, 1).empty());
}

TEST(FrozenTest, RoundingTwiceIsRoundingOnce) {
  const Synthetic s = MakeSynthetic({.target = 10, .baseline = 10, .dim = 64});
  Region region;
  region.centre.assign(s.x.row(0), s.x.row(0) + 64);
  RoundCentre(region);
  const std::vector<float> once = region.centre;
  RoundCentre(region);
  EXPECT_EQ(region.centre, once);
}

TEST(FrozenTest, TalliesAreThoseOfTheMembers) {
  const Synthetic s = MakeSynthetic({.target = 5000, .baseline = 4000, .dim = 24, .target_prompts = 7, .baseline_prompts = 9});
  const Design design(s.runs);
  const std::vector<Region> regions = SomeRegions(s.x, 70, 5);
  const std::vector<RowSet> members = MembersOf(s.x, regions, 2);
  const std::vector<Tallies> tallies = TallyRegions(s.x, s.runs, regions, 2);
  for (size_t r = 0; r < regions.size(); ++r) {
    const Tallies expected = design.TallyOf(members[r]);
    ASSERT_EQ(tallies[r].size(), expected.size());
    for (size_t g = 0; g < expected.size(); ++g) {
      EXPECT_EQ(tallies[r][g].prompt, expected[g].prompt);
      EXPECT_EQ(tallies[r][g].target_in, expected[g].target_in);
      EXPECT_EQ(tallies[r][g].baseline_in, expected[g].baseline_in);
    }
  }
  // A design made of totals alone says the same as one that has the runs.
  RowSet everything(s.x.rows);
  std::iota(everything.begin(), everything.end(), 0u);
  const Design of_totals(design.TallyOf(everything));
  EXPECT_EQ(of_totals.exchangeable(), design.exchangeable());
  EXPECT_EQ(of_totals.Adjusted(tallies, 1, 1), design.Adjusted(members, 1, 2));
  EXPECT_EQ(of_totals.DesignEffectsOf(tallies[0]).target, design.DesignEffectsOf(members[0]).target);
}

}  // namespace
}  // namespace promptsweep::motifs
