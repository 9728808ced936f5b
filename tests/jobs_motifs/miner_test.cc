// Proves that planted motifs are found, counted rightly and covered by their intervals, that sets without motifs give none,
// that the test that says so has teeth, and that the answer does not depend on order, threads, rotation or copies.
#include "jobs/motifs/mining/miner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/hdbscan.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

using testing::SizeIs;

std::vector<Finding> Confirmed(const Mined& mined) {
  std::vector<Finding> confirmed;
  for (const Finding& f : mined.findings) {
    if (f.tier == Tier::kConfirmed) confirmed.push_back(f);
  }
  return confirmed;
}

// The planted motif most target members of a finding belong to, and their share.
std::pair<int, double> Truth(const Synthetic& s, const Finding& finding) {
  std::map<int, int> votes;
  int members = 0;
  for (const uint32_t i : finding.members) {
    if (s.runs.is_target[i]) ++votes[s.motif[i]], ++members;
  }
  std::pair<int, double> best{-1, 0};
  for (const auto& [motif, count] : votes) {
    if (static_cast<double>(count) / members > best.second) best = {motif, static_cast<double>(count) / members};
  }
  return best;
}

struct PlantedCase {
  Background background;
  double within;
  int64_t dim;
};

class Planted : public testing::TestWithParam<PlantedCase> {};

TEST_P(Planted, AreFoundPureAndCovered) {
  const std::vector<double> shares{0.15, 0.05, 0.02};  // of 2000 runs: 300, 100, 40
  constexpr int kSets = 12;
  int found = 0, covered = 0, wrong = 0, total = 0;
  double recall = 0;
  for (int set = 0; set < kSets; ++set) {
    const Synthetic s = MakeSynthetic({.target = 2000,
                                       .baseline = 2000,
                                       .dim = GetParam().dim,
                                       .background = GetParam().background,
                                       .seed = static_cast<uint64_t>(100 + set),
                                       .planted = shares,
                                       .within_cosine = GetParam().within});
    for (const Finding& f : Confirmed(MineMotifs(s.x, s.runs, {.seed = static_cast<uint64_t>(set), .threads = 2}))) {
      const auto [motif, purity] = Truth(s, f);
      ++total;
      if (motif < 0 || purity < 0.9) {
        ++wrong;
        continue;
      }
      ++found;
      covered += f.prevalence_ci.low <= shares[motif] && shares[motif] <= f.prevalence_ci.high;
      const double planted = std::count(s.motif.begin(), s.motif.begin() + 2000, motif);
      recall += f.counts.target_in * purity / planted;
      EXPECT_GT(f.lift->ci.low, 1);
      EXPECT_LE(*f.q, 0.05);
    }
  }
  EXPECT_GE(found, 0.95 * kSets * shares.size());
  EXPECT_LE(wrong, 0.05 * total);
  EXPECT_GE(recall, 0.85 * found);
  // 36 intervals: fewer than 31 would happen to a 93 % procedure in under 2 % of cases.
  EXPECT_GE(covered, 31);
}

INSTANTIATE_TEST_SUITE_P(Motifs, Planted,
                         testing::Values(PlantedCase{Background::kUnimodal, 0.8, 64}, PlantedCase{Background::kTopics30, 0.9, 64},
                                         PlantedCase{Background::kTopicsZipf, 0.8, 128},
                                         PlantedCase{Background::kHeavyTailed, 0.8, 64}));

TEST(Miner, ADominantMotifIsCountedWholeBesidePromptsOfTheirOwnLooks) {
  // A third of blank runs; the baseline is 40 prompts that each draw their own thing, and sometimes the motif.
  int covered = 0;
  for (int set = 0; set < 8; ++set) {
    const Synthetic s = MakeSynthetic({.target = 2000,
                                       .baseline = 2000,
                                       .dim = 64,
                                       .background = Background::kTopicsZipf,
                                       .seed = static_cast<uint64_t>(set),
                                       .target_prompts = 1,
                                       .baseline_prompts = 40,
                                       .prompt_share = 0.7,
                                       .blank_target = true,
                                       .planted = {0.31},
                                       .planted_in_baseline = 0.02});
    const Mined mined = MineMotifs(s.x, s.runs, {.threads = 2});
    ASSERT_FALSE(mined.findings.empty());
    const Finding& first = mined.findings[0];
    EXPECT_EQ(first.tier, Tier::kConfirmed);
    EXPECT_EQ(Truth(s, first).first, 0);
    EXPECT_LT(first.prevalence_ci.high - first.prevalence_ci.low, 0.045);
    EXPECT_GT(first.lift->ratio, 8);
    covered += first.prevalence_ci.low <= 0.31 && 0.31 <= first.prevalence_ci.high;
  }
  EXPECT_GE(covered, 6);
}

TEST(Miner, MotifsNearEachOtherAreNotMerged) {
  // Centres of different planted motifs are about as close as any two pictures (.5); a third is drawn between two.
  const Synthetic s =
      MakeSynthetic({.target = 2000, .baseline = 2000, .dim = 128, .seed = 5, .planted = {0.1, 0.1, 0.05, 0.05, 0.03}});
  const auto confirmed = Confirmed(MineMotifs(s.x, s.runs, {.threads = 2}));
  std::set<int> seen;
  for (const Finding& f : confirmed) seen.insert(Truth(s, f).first);
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2, 3, 4}));
  EXPECT_THAT(confirmed, SizeIs(5));
}

struct NullCase {
  const char* name;
  SyntheticOptions options;
};

class Null : public testing::TestWithParam<NullCase> {};

TEST_P(Null, GivesNoConfirmedMotif) {
  constexpr int kSets = 30;
  int any = 0;
  for (int set = 0; set < kSets; ++set) {
    SyntheticOptions options = GetParam().options;
    options.seed = 1000 + set;
    const Synthetic s = MakeSynthetic(options);
    any += !Confirmed(MineMotifs(s.x, s.runs, {.seed = static_cast<uint64_t>(set), .threads = 2})).empty();
  }
  // A procedure that errs in 5 % of sets exceeds 4 of 30 in 1.6 %; `motif_bench null` counts hundreds.
  EXPECT_LE(any, 4);
}

INSTANTIATE_TEST_SUITE_P(
    Sets, Null,
    testing::Values(
        NullCase{"unimodal", {.target = 400, .baseline = 400, .dim = 32}},
        NullCase{"topics", {.target = 400, .baseline = 400, .dim = 32, .background = Background::kTopics30}},
        NullCase{"zipf_copies",
                 {.target = 400, .baseline = 400, .dim = 32, .background = Background::kTopicsZipf, .copies = 0.01}},
        NullCase{"heavy_tails", {.target = 400, .baseline = 400, .dim = 32, .background = Background::kHeavyTailed}},
        NullCase{"one_prompt_two_seed_ranges",
                 {.target = 400, .baseline = 400, .dim = 32, .background = Background::kTopics30, .shared_prompts = true}},
        NullCase{"same_prompts_two_seed_ranges",
                 {.target = 400, .baseline = 400, .dim = 32, .target_prompts = 20, .shared_prompts = true, .prompt_share = 0.5}},
        NullCase{"other_prompts",
                 {.target = 400, .baseline = 400, .dim = 32, .target_prompts = 20, .baseline_prompts = 20, .prompt_share = 0.1}}),
    [](const auto& info) { return info.param.name; });

// The same sets as `topics`, with density clusters sought among target runs only and then tested on those same runs.
TEST(Null, DoubleDippingIsCaughtByTheseSets) {
  constexpr int kSets = 60;
  int any = 0;
  for (int set = 0; set < kSets; ++set) {
    const Synthetic s = MakeSynthetic({.target = 400,
                                       .baseline = 400,
                                       .dim = 32,
                                       .background = Background::kTopics30,
                                       .seed = static_cast<uint64_t>(1000 + set)});
    Matrix target(400, 32);
    std::copy_n(s.x.row(0), 400 * 32, target.row(0));
    const auto clusters =
        CondenseClusters(MutualReachabilityMst(target, ExactKnn(target, 32, 2), 5, 2), 400, 10, Selection::kLeaf);
    // Each cluster's mean and 90th percentile, counted on both sides.
    std::vector<Region> regions;
    for (const RowSet& cluster : clusters) {
      Region region{.centre = MeanDirection(target, cluster)};
      std::vector<float> cosines;
      for (const uint32_t i : cluster) cosines.push_back(CosineTo(target, i, region.centre));
      std::sort(cosines.begin(), cosines.end());
      region.threshold = cosines[cosines.size() / 10];
      regions.push_back(region);
    }
    const Design design(s.runs);
    const auto q = design.Adjusted(MembersOf(s.x, regions, 2), 1, 2);
    any += std::any_of(q.begin(), q.end(), [](double v) { return v <= 0.05; });
  }
  EXPECT_GT(any, 9) << "the broken variant should fail often enough to be seen";
}

TEST(Miner, WithoutBaselineMotifsAreDescribedAndStructurelessSetsGiveNone) {
  const Synthetic s = MakeSynthetic({.target = 2000, .baseline = 0, .seed = 3, .planted = {0.2, 0.05}});
  const Mined mined = MineMotifs(s.x, s.runs, {.threads = 2});
  std::set<int> seen;
  for (const Finding& f : mined.findings) {
    EXPECT_EQ(f.tier, Tier::kDescriptive);
    EXPECT_FALSE(f.q.has_value());
    EXPECT_FALSE(f.lift.has_value());
    seen.insert(Truth(s, f).first);
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1}));
  int any = 0;
  for (int set = 0; set < 20; ++set) {
    const Synthetic none = MakeSynthetic({.target = 500, .baseline = 0, .dim = 32, .seed = static_cast<uint64_t>(set)});
    any += !MineMotifs(none.x, none.runs, {}).findings.empty();
  }
  EXPECT_LE(any, 2);
  // Heavy tails leave one crowd that is skewed: where two distributions fit it better than one, it is no motif yet.
  any = 0;
  for (int set = 0; set < 20; ++set) {
    const Synthetic none = MakeSynthetic(
        {.target = 500, .baseline = 0, .dim = 32, .background = Background::kHeavyTailed, .seed = static_cast<uint64_t>(set)});
    any += !MineMotifs(none.x, none.runs, {}).findings.empty();
  }
  EXPECT_LE(any, 2);
}

TEST(Miner, AllFoldsAreCountedByOneEdgeAndACentreTheyHadNoSayIn) {
  // Overlapping motifs, heavy tails: an edge that each fold sought anew would be found in another valley now and then.
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Synthetic s = MakeSynthetic({.dim = 64,
                                       .background = Background::kHeavyTailed,
                                       .seed = seed,
                                       .planted = {0.15, 0.05},
                                       .within_cosine = 0.65,
                                       .decay = 1});
    const Mined mined = MineMotifs(s.x, s.runs, {.threads = 2});
    ASSERT_FALSE(mined.findings.empty());
    for (const Finding& f : mined.findings) {
      for (int fold = 0; fold < kFolds; ++fold) {
        ASSERT_THAT(f.frozen.by_fold[fold], SizeIs(1));
        Region expected = f.region;
        RowSet others;
        for (const uint32_t i : f.region.drawn_by) {
          if (s.runs.fold[i] != fold) others.push_back(i);
        }
        expected.centre = MeanDirection(s.x, others);
        RoundCentre(expected);
        EXPECT_EQ(f.frozen.by_fold[fold][0].threshold, f.region.threshold);
        EXPECT_EQ(f.frozen.by_fold[fold][0].centre, expected.centre);
      }
    }
  }
}

TEST(Miner, SwappingTheSidesMakesTheMotifDepletedNotFound) {
  Synthetic s = MakeSynthetic({.target = 1000, .baseline = 1000, .planted = {0.1}});
  ASSERT_THAT(Confirmed(MineMotifs(s.x, s.runs, {})), SizeIs(1));
  for (uint8_t& side : s.runs.is_target) side = !side;
  EXPECT_THAT(Confirmed(MineMotifs(s.x, s.runs, {})), SizeIs(0));
}

void ExpectSame(const Mined& a, const Mined& b) {
  ASSERT_EQ(a.findings.size(), b.findings.size());
  EXPECT_EQ(a.candidates, b.candidates);
  for (size_t i = 0; i < a.findings.size(); ++i) {
    EXPECT_EQ(a.findings[i].members, b.findings[i].members);
    EXPECT_EQ(a.findings[i].region.centre, b.findings[i].region.centre);
    EXPECT_EQ(a.findings[i].region.threshold, b.findings[i].region.threshold);
    EXPECT_EQ(a.findings[i].q, b.findings[i].q);
    EXPECT_EQ(a.findings[i].prevalence_ci.low, b.findings[i].prevalence_ci.low);
    EXPECT_EQ(a.findings[i].stability, b.findings[i].stability);
  }
}

TEST(Miner, IsBitIdenticalForAnyNumberOfThreadsAndWhenRepeated) {
  const Synthetic s = MakeSynthetic({.target = 900,
                                     .baseline = 911,
                                     .dim = 50,
                                     .background = Background::kTopics30,
                                     .target_prompts = 10,
                                     .baseline_prompts = 12,
                                     .planted = {0.1, 0.03}});
  const Mined one = MineMotifs(s.x, s.runs, {.seed = 3, .threads = 1});
  EXPECT_FALSE(one.findings.empty());
  ExpectSame(one, MineMotifs(s.x, s.runs, {.seed = 3, .threads = 1}));
  ExpectSame(one, MineMotifs(s.x, s.runs, {.seed = 3, .threads = 2}));
  ExpectSame(one, MineMotifs(s.x, s.runs, {.seed = 3, .threads = 5}));
}

// Target members of the confirmed motifs, largest first.
std::vector<RowSet> MemberSets(const Synthetic& s) {
  std::vector<RowSet> sets;
  for (const Finding& f : Confirmed(MineMotifs(s.x, s.runs, {.threads = 2}))) sets.push_back(f.members);
  std::sort(sets.begin(), sets.end(), [](const RowSet& a, const RowSet& b) { return a.size() > b.size(); });
  return sets;
}

TEST(Miner, RotationOfTheSpaceAndScaleChangeNothing) {
  Synthetic s = MakeSynthetic({.target = 800, .baseline = 800, .dim = 32, .seed = 9, .planted = {0.2, 0.06}});
  const auto before = MemberSets(s);
  ASSERT_THAT(before, SizeIs(2));
  // Householder reflections make a rotation.
  std::mt19937_64 random(8);
  std::normal_distribution<double> normal;
  for (int reflection = 0; reflection < 2; ++reflection) {
    std::vector<double> v(32);
    double square = 0;
    for (double& e : v) e = normal(random), square += e * e;
    for (int64_t i = 0; i < s.x.rows; ++i) {
      double dot = 0;
      for (int j = 0; j < 32; ++j) dot += v[j] * s.x.row(i)[j];
      for (int j = 0; j < 32; ++j) s.x.row(i)[j] -= static_cast<float>(2 * dot / square * v[j]);
    }
  }
  EXPECT_EQ(MemberSets(s), before);
}

TEST(Miner, OrderOfRowsChangesNoMotif) {
  const Synthetic s = MakeSynthetic({.target = 800, .baseline = 800, .dim = 32, .seed = 9, .planted = {0.2, 0.06}});
  const auto before = MemberSets(s);
  std::vector<uint32_t> order(s.x.rows);
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937_64 random(4);
  std::shuffle(order.begin(), order.end(), random);
  Synthetic shuffled = s;
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(s.x.row(order[i]), s.x.dim, shuffled.x.row(i));
    shuffled.runs.is_target[i] = s.runs.is_target[order[i]];
    shuffled.runs.prompt[i] = s.runs.prompt[order[i]];
    shuffled.runs.fold[i] = s.runs.fold[order[i]];
  }
  std::vector<RowSet> after = MemberSets(shuffled);
  for (RowSet& set : after) {
    for (uint32_t& row : set) row = order[row];
    std::sort(set.begin(), set.end());
  }
  EXPECT_EQ(after, before);
}

TEST(Miner, CopiesOfEveryRowLeaveThePlantedMotifs) {
  const Synthetic s = MakeSynthetic({.target = 500, .baseline = 500, .dim = 32, .seed = 2, .planted = {0.2, 0.08}});
  Synthetic twice = s;
  twice.x = Matrix(2 * s.x.rows, s.x.dim);
  std::copy(s.x.data.begin(), s.x.data.end(), twice.x.data.begin());
  std::copy(s.x.data.begin(), s.x.data.end(), twice.x.data.begin() + s.x.data.size());
  for (size_t i = 0; i < s.runs.size(); ++i) {
    twice.runs.ordinal.push_back(s.runs.size() + i);
    twice.runs.is_target.push_back(s.runs.is_target[i]);
    twice.runs.prompt.push_back(s.runs.prompt[i]);
    twice.runs.fold.push_back(s.runs.fold[i]);
    twice.motif.push_back(s.motif[i]);
  }
  // Copies are no new evidence, but nothing says that they are copies: chance differences may be taken for findings besides.
  const auto one = Confirmed(MineMotifs(s.x, s.runs, {})), two = Confirmed(MineMotifs(twice.x, twice.runs, {}));
  ASSERT_THAT(one, SizeIs(2));
  for (const Finding& f : one) {
    const int motif = Truth(s, f).first;
    EXPECT_TRUE(std::any_of(
        two.begin(), two.end(),
        [&](const Finding& g) { return Truth(twice, g).first == motif && std::abs(g.prevalence - f.prevalence) < 0.01; }))
        << "motif " << motif;
  }
}

TEST(Miner, CombinedLooksAreCountedAsTheUnionOfTheirRegions) {
  const Synthetic s =
      MakeSynthetic({.target = 1000, .baseline = 1000, .seed = 4, .planted = {0.2, 0.1}, .planted_in_baseline = 0.01});
  const auto parts = Confirmed(MineMotifs(s.x, s.runs, {.threads = 2}));
  ASSERT_THAT(parts, SizeIs(2));
  const Finding whole = Combine(s.x, s.runs, {parts[1], parts[0]});
  EXPECT_EQ(whole.region.centre, parts[0].region.centre);
  EXPECT_THAT(whole.looks, SizeIs(1));
  EXPECT_EQ(whole.counts.target_in, parts[0].counts.target_in + parts[1].counts.target_in);
  EXPECT_EQ(whole.counts.baseline_in, parts[0].counts.baseline_in + parts[1].counts.baseline_in);
  EXPECT_LE(whole.prevalence_ci.low, 0.3);
  EXPECT_GE(whole.prevalence_ci.high, 0.3);
  EXPECT_EQ(*whole.q, std::max(*parts[0].q, *parts[1].q));
}

TEST(Miner, CountsAllRunsWhereDiscoverySeesASample) {
  constexpr int kSets = 6;
  double off = 0;
  for (uint64_t seed = 6; seed < 6 + kSets; ++seed) {
    const Synthetic s = MakeSynthetic({.target = 6000, .baseline = 3000, .dim = 32, .seed = seed, .planted = {0.1}});
    const auto confirmed = Confirmed(MineMotifs(s.x, s.runs, {.threads = 2, .discovery_runs = 1500}));
    ASSERT_THAT(confirmed, SizeIs(1));
    EXPECT_EQ(confirmed[0].counts.target, 6000u);
    const double share = std::count(s.motif.begin(), s.motif.end(), 0) / 6000.0;
    EXPECT_LE(confirmed[0].prevalence_ci.low, share);
    EXPECT_GE(confirmed[0].prevalence_ci.high, share);
    off += std::abs(confirmed[0].prevalence - share) / kSets;
  }
  EXPECT_LE(off, 0.004);
}

TEST(Miner, TinyAndEmptySetsGiveNothing) {
  EXPECT_TRUE(MineMotifs(Matrix(0, 8), {}, {}).findings.empty());
  for (const int64_t n : {1, 3, 12}) {
    const Synthetic s = MakeSynthetic({.target = n, .baseline = n, .dim = 8});
    EXPECT_TRUE(Confirmed(MineMotifs(s.x, s.runs, {})).empty());
  }
  // All the same picture on both sides.
  Synthetic same = MakeSynthetic({.target = 100, .baseline = 100, .dim = 8});
  for (int64_t i = 1; i < 200; ++i) std::copy_n(same.x.row(0), 8, same.x.row(i));
  EXPECT_TRUE(Confirmed(MineMotifs(same.x, same.runs, {})).empty());
}

}  // namespace
}  // namespace promptsweep::motifs
