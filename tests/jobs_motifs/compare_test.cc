// Proves that motifs of two groups that are alike are called different in at most 5 % of sets, whichever group they were found
// in, that intervals cover the difference that is there, and that verdicts say which way.
#include "jobs/motifs/statistics/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/mining/refit.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

constexpr double kLeast = 0.001;

bool Happens(std::mt19937_64& random, double p) { return static_cast<double>(random() >> 11) * 0x1p-53 < p; }

Change ChangeOf(const std::vector<Share>& from, const std::vector<Share>& to, const std::optional<Pairs>& pairs = std::nullopt) {
  std::vector<ComparedShares> one = {Compare(from, to, pairs)};
  DecideChanges(one, kLeast);
  return one[0].change;
}

TEST(CompareTest, SaysWhichWay) {
  EXPECT_EQ(ChangeOf({{620, 2000}}, {{240, 2000}}), Change::kMoreInFrom);
  EXPECT_EQ(ChangeOf({{240, 2000}}, {{620, 2000}}), Change::kMoreInTo);
  EXPECT_EQ(ChangeOf({{620, 2000}}, {{1, 2000}}), Change::kGone);
  EXPECT_EQ(ChangeOf({{0, 2000}}, {{620, 2000}}), Change::kNew);
  EXPECT_EQ(ChangeOf({{240, 2000}}, {{251, 2000}}), Change::kNone);
  EXPECT_EQ(ChangeOf({{2, 3}}, {{0, 3}}), Change::kNone);
  EXPECT_EQ(ChangeOf({{0, 0}}, {{5, 10}}), Change::kNone);
  EXPECT_EQ(ChangeOf({{0, 100}}, {{0, 100}}), Change::kNone);
  EXPECT_EQ(ChangeOf({{100, 100}}, {{100, 100}}), Change::kNone);
  // The same shares in pairs: those that differ decide. `first` is the second group.
  EXPECT_EQ(ChangeOf({{620, 2000}}, {{605, 2000}}, Pairs{605, 0, 15, 1380}), Change::kMoreInFrom);
  EXPECT_EQ(ChangeOf({{620, 2000}}, {{605, 2000}}, Pairs{400, 205, 220, 1175}), Change::kNone);
}

TEST(CompareTest, TellsTheNumbers) {
  const ComparedShares one = Compare({{620, 2000}}, {{240, 2000}}, std::nullopt);
  EXPECT_DOUBLE_EQ(one.from.share, 0.31);
  EXPECT_DOUBLE_EQ(one.to.share, 0.12);
  EXPECT_DOUBLE_EQ(one.difference.value, -0.19);
  EXPECT_NEAR(one.difference.ci.low, -0.2147, 5e-4);  // Newcombe
  EXPECT_NEAR(one.difference.ci.high, -0.1650, 5e-4);
  EXPECT_LT(one.p, 1e-45);
  // Turned round, everything turns.
  const ComparedShares turned = Compare({{240, 2000}}, {{620, 2000}}, std::nullopt);
  EXPECT_DOUBLE_EQ(turned.difference.value, 0.19);
  EXPECT_DOUBLE_EQ(turned.difference.ci.low, -one.difference.ci.high);
  EXPECT_NEAR(turned.p / one.p, 1, 1e-9);
}

TEST(CompareTest, SeveralMotifsAreAdjusted) {
  std::vector<ComparedShares> many(20, Compare({{240, 2000}}, {{251, 2000}}, std::nullopt));
  many.push_back(Compare({{60, 1000}}, {{84, 1000}}, std::nullopt));
  ASSERT_LT(many.back().p, 0.05);
  DecideChanges(many, kLeast);
  EXPECT_GT(many.back().q, 0.05);
  EXPECT_EQ(many.back().change, Change::kNone);
}

// Prompts that draw a motif very unlike each other, `per_prompt` seeds each.
std::vector<Share> Drawn(std::mt19937_64& random, const std::vector<double>& rates, uint64_t per_prompt) {
  std::vector<Share> shares;
  for (const double rate : rates) {
    Share& share = shares.emplace_back(Share{0, per_prompt});
    for (uint64_t i = 0; i < per_prompt; ++i) share.in += Happens(random, rate);
  }
  return shares;
}

std::vector<double> Rates(std::mt19937_64& random, int prompts) {
  std::vector<double> rates;
  for (int p = 0; p < prompts; ++p) rates.push_back(0.15 + 0.5 * static_cast<double>(random() >> 11) * 0x1p-53);
  return rates;
}

TEST(CompareTest, WhatPromptsDoToBothCancels) {
  constexpr int kSets = 400;
  std::mt19937_64 random(7);
  int covered = 0, found = 0, false_alarms = 0;
  for (int set = 0; set < kSets; ++set) {
    std::vector<double> rates = Rates(random, 20);
    const std::vector<Share> from = Drawn(random, rates, 50), again = Drawn(random, rates, 50);
    for (double& rate : rates) rate -= 0.1;
    const std::vector<Share> to = Drawn(random, rates, 50);
    const ComparedShares one = Compare(from, to, std::nullopt);
    covered += one.difference.ci.low <= -0.1 && -0.1 <= one.difference.ci.high;
    found += ChangeOf(from, to) == Change::kMoreInFrom;
    false_alarms += ChangeOf(from, again) != Change::kNone;
  }
  EXPECT_GE(covered, kSets * 0.93);
  EXPECT_GE(found, kSets * 0.9);
  EXPECT_LE(false_alarms, kSets * 0.05);
}

TEST(CompareTest, OtherPromptsAreNotOtherModels) {
  constexpr int kSets = 400;
  std::mt19937_64 random(8);
  int false_alarms = 0, by_runs = 0;
  for (int set = 0; set < kSets; ++set) {
    std::vector<Share> from = Drawn(random, Rates(random, 12), 100), to = Drawn(random, Rates(random, 12), 100);
    const Share pooled_from = PrevalenceOf(from).runs, pooled_to = PrevalenceOf(to).runs;
    by_runs += ChangeOf({pooled_from}, {pooled_to}) != Change::kNone;
    from.resize(24, {0, 0});
    to.insert(to.begin(), 12, {0, 0});
    false_alarms += ChangeOf(from, to) != Change::kNone;
  }
  EXPECT_LE(false_alarms, kSets * 0.06);
  EXPECT_GE(by_runs, kSets * 0.3);  // what it would be if prompts were forgotten
}

// Rows of one group: every second one.
struct Half {
  Matrix x;
  Runs runs;
};
Half HalfOf(const Synthetic& s, bool odd) {
  RowSet rows;
  for (uint32_t i = odd; i < s.x.rows; i += 2) rows.push_back(i);
  Half half{Gather(s.x, rows), {}};
  for (const uint32_t i : rows) {
    half.runs.ordinal.push_back(i);
    half.runs.is_target.push_back(1);
    half.runs.prompt.push_back(0);
    half.runs.fold.push_back(i / 2 % kFolds);  // rows 2k and 2k + 1 are a pair
  }
  return half;
}

std::vector<Frozen> RefittedOn(const Half& half, std::vector<std::vector<Region>> motifs) {
  Refit refit(std::move(motifs), half.x.dim);
  refit.Add(half.x, half.runs, 2);
  return refit.Fit();
}

Pairs PairsOf(const RowSet& from, const RowSet& to, uint64_t pairs) {
  std::vector<uint8_t> in_from(pairs), in_to(pairs);
  for (const uint32_t i : from) in_from[i] = 1;
  for (const uint32_t i : to) in_to[i] = 1;
  Pairs table;
  for (uint64_t i = 0; i < pairs; ++i) {
    ++(in_to[i] ? in_from[i] ? table.both : table.first_only : in_from[i] ? table.second_only : table.neither);
  }
  return table;
}

// Both halves are mined by themselves, as two sweeps would be, and each half's motifs are counted in both.
TEST(CompareTest, HalvesOfOneSweepRarelyDiffer) {
  constexpr int kSets = 45;
  int paired = 0, unpaired = 0, motifs = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    const Background kinds[] = {Background::kUnimodal, Background::kTopics30, Background::kHeavyTailed};
    const Synthetic s = MakeSynthetic(
        {.target = 500, .baseline = 0, .dim = 32, .background = kinds[set % 3], .seed = 100 + set, .planted = {0.15, 0.08}});
    const Half from = HalfOf(s, false), to = HalfOf(s, true);
    std::vector<ComparedShares> in_pairs, in_groups;
    for (const Half* found_in : {&from, &to}) {
      std::vector<std::vector<Region>> regions;
      for (const Finding& finding : MineMotifs(found_in->x, found_in->runs, {.threads = 2}).findings) {
        regions.push_back({finding.region});
      }
      const std::vector<Frozen> frozen = RefittedOn(*found_in, regions);
      const std::vector<RowSet> in_from = MembersOf(from.x, from.runs.fold, frozen, 2),
                                in_to = MembersOf(to.x, to.runs.fold, frozen, 2);
      for (size_t m = 0; m < frozen.size(); ++m) {
        const std::vector<Share> shares[] = {{{in_from[m].size(), 250}}, {{in_to[m].size(), 250}}};
        in_groups.push_back(Compare(shares[0], shares[1], std::nullopt));
        in_pairs.push_back(Compare(shares[0], shares[1], PairsOf(in_from[m], in_to[m], 250)));
      }
    }
    DecideChanges(in_pairs, kLeast);
    DecideChanges(in_groups, kLeast);
    const auto differs = [](const ComparedShares& one) { return one.change != Change::kNone; };
    paired += std::any_of(in_pairs.begin(), in_pairs.end(), differs);
    unpaired += std::any_of(in_groups.begin(), in_groups.end(), differs);
    motifs += static_cast<int>(in_groups.size());
  }
  RecordProperty("paired", paired);
  RecordProperty("unpaired", unpaired);
  RecordProperty("motifs", motifs);
  EXPECT_GE(motifs, 2 * kSets);
  EXPECT_LE(paired, kSets * 0.05);
  EXPECT_LE(unpaired, kSets * 0.05);
}

// Regions drawn around neighbours in the first group, where nothing recurs: as they stand they hold far more of that group.
TEST(CompareTest, RunsThatDrewARegionHardlyFavourTheirGroup) {
  constexpr int kSets = 60, kNeighbours = 25;
  double naive = 0, fitted = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    const Synthetic s =
        MakeSynthetic({.target = 800, .baseline = 0, .dim = 128, .seed = 500 + set, .common = 0.1, .decay = 0.02});
    const Half from = HalfOf(s, false), to = HalfOf(s, true);
    std::mt19937_64 random(set);
    std::normal_distribution<float> normal;
    std::vector<float> start(from.x.dim);
    for (float& e : start) e = normal(random);
    const auto nearest = [&from](const std::vector<float>& direction) {
      std::vector<std::pair<double, uint32_t>> near;
      for (uint32_t i = 0; i < from.x.rows; ++i) near.emplace_back(-CosineTo(from.x, i, direction), i);
      std::sort(near.begin(), near.end());
      near.resize(kNeighbours);
      return near;
    };
    RowSet rows;
    for (const auto& [away, i] : nearest(start)) rows.push_back(i);
    std::sort(rows.begin(), rows.end());
    Region region;
    region.centre = MeanDirection(from.x, rows);
    region.threshold = static_cast<float>(-nearest(region.centre)[kNeighbours / 2].first);
    RoundCentre(region);
    const std::vector<Region> one = {region};
    const auto size = [](const std::vector<RowSet>& members) { return static_cast<double>(members[0].size()); };
    naive += size(MembersOf(from.x, one, 1)) - size(MembersOf(to.x, one, 1));
    const std::vector<Frozen> frozen = RefittedOn(from, {one});
    fitted += size(MembersOf(from.x, from.runs.fold, frozen, 1)) - size(MembersOf(to.x, to.runs.fold, frozen, 1));
  }
  RecordProperty("as_they_stand", static_cast<int>(naive));
  RecordProperty("refitted", static_cast<int>(fitted));
  EXPECT_GT(naive, 5 * kSets);
  EXPECT_LT(std::fabs(fitted), naive / 5) << naive;
}

TEST(RefitTest, TheRegionStaysWhereItWasAndKeepsItsThreshold) {
  const Synthetic s = MakeSynthetic({.target = 600, .baseline = 0, .dim = 32, .seed = 3, .planted = {0.3}, .within_cosine = 0.9});
  Half all{s.x, s.runs};
  const std::vector<Finding> findings = MineMotifs(s.x, s.runs, {.threads = 2}).findings;
  ASSERT_EQ(findings.size(), 1u);
  Region nowhere;
  nowhere.centre.assign(32, 0);
  nowhere.centre[0] = 1;
  nowhere.threshold = 0.999f;
  const std::vector<Frozen> frozen = RefittedOn(all, {{findings[0].region, nowhere}, {}});
  ASSERT_EQ(frozen.size(), 2u);
  for (int fold = 0; fold < kFolds; ++fold) {
    ASSERT_EQ(frozen[0].by_fold[fold].size(), 2u);
    EXPECT_TRUE(frozen[1].by_fold[fold].empty());
    const Region& region = frozen[0].by_fold[fold][0];
    EXPECT_EQ(region.threshold, findings[0].region.threshold);
    double cosine = 0;
    for (int j = 0; j < 32; ++j) cosine += static_cast<double>(region.centre[j]) * findings[0].region.centre[j];
    EXPECT_GT(cosine, 0.995);
    EXPECT_EQ(frozen[0].by_fold[fold][1].centre, nowhere.centre);
  }
  EXPECT_EQ(MembersOf(s.x, s.runs.fold, frozen, 1)[0], findings[0].members);
  // In pieces, one after the other, and on any number of threads.
  Refit pieces({{findings[0].region}}, 32);
  for (int64_t begin = 0; begin < 600; begin += 200) {
    RowSet rows(200);
    std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(begin));
    Runs runs;
    for (const uint32_t i : rows) {
      runs.ordinal.push_back(i);
      runs.fold.push_back(s.runs.fold[i]);
    }
    pieces.Add(Gather(s.x, rows), runs, 3);
  }
  EXPECT_EQ(pieces.Fit()[0].by_fold[2][0].centre, frozen[0].by_fold[2][0].centre);
}

}  // namespace
}  // namespace promptsweep::motifs
