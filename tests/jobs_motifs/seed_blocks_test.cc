// Proves that a share's interval takes a seed for one value whatever is asked with it: which runs count, what is claimed and in
// which proportions, that missing runs, repeated cells and seeds asked before cannot flatter it, and that it holds at every look
// where runs of one seed are copies of each other.
#include "jobs/motifs/seed_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "jobs/motifs/runs_needed.h"
#include "jobs/motifs/sequential.h"

namespace promptsweep::motifs {
namespace {

// Runs in the order they are added.
struct Sweep : AskedRuns {
  void Add(const std::vector<uint32_t>& what, int64_t first, int64_t count, bool target = true) {
    for (const uint32_t each : what) {
      for (int64_t s = 0; s < count; ++s) AddRun(each, first + s, target);
    }
  }
  void AddRun(uint32_t what, int64_t at, bool target = true) {
    ordinal.push_back(size());
    seed.push_back(at);
    asked.push_back(what);
    is_target.push_back(target);
  }
  // Rows of which `is` holds.
  template <typename Is>
  RowSet Rows(Is is) const {
    RowSet rows;
    for (uint32_t i = 0; i < size(); ++i) {
      if (is(i)) rows.push_back(i);
    }
    return rows;
  }
};

TEST(SeedBlocks, OneRunOfEachSeedIsASequenceOfRuns) {
  Sweep sweep;
  sweep.Add({0}, 0, 300);
  const RowSet inside = sweep.Rows([](uint32_t i) { return i % 10 == 0; });
  const Interval expected = ConfidenceSequence(30, 300, .01);
  const SeedSequence all = SeedBlocks(sweep, true, 0, {}).Sequence(inside, .01);
  EXPECT_DOUBLE_EQ(all.interval.low, expected.low);
  EXPECT_DOUBLE_EQ(all.interval.high, expected.high);
  EXPECT_EQ(all.seeds, 300u);
  // Frozen at 100 runs: the others, and 5 % of the error is kept for what later looks may bring.
  const SeedSequence later = SeedBlocks(sweep, true, 100, {100, 300}).Sequence(inside, .01);
  const Interval rest = ConfidenceSequence(20, 200, .95 * .01);
  EXPECT_EQ(later.members, 20u);
  EXPECT_EQ(later.runs, 200u);
  EXPECT_NEAR(later.share, .1, 1e-12);
  EXPECT_NEAR(later.interval.low, rest.low, 1e-12);
  EXPECT_NEAR(later.interval.high, rest.high, 1e-12);
  // Nothing there.
  const SeedSequence none = SeedBlocks(sweep, true, 300, {300}).Sequence(inside, .01);
  EXPECT_EQ(none.runs, 0u);
  EXPECT_EQ(none.interval.high, 1);
  EXPECT_EQ(SeedBlocks(sweep, false, 0, {}).Sequence(inside, .01).interval.high, 1);
  EXPECT_EQ(SeedBlocks(Sweep(), true, 0, {}).Sequence({}, .01).interval.high, 1);
}

TEST(SeedBlocks, SeedsOfSeveralPromptsAreValuesInBetween) {
  Sweep sweep;
  sweep.Add({0, 1, 2}, 0, 100);
  // Seed s shows it under s % 4 prompts.
  const RowSet inside = sweep.Rows([&](uint32_t i) { return sweep.asked[i] < sweep.seed[i] % 4; });
  const SeedSequence all = SeedBlocks(sweep, true, 0, {}).Sequence(inside, .05);
  const Interval expected = MeanSequence({25, 25, 25, 25}, {25, 25, 25, 25}, .05);
  EXPECT_NEAR(all.interval.low, expected.low, 1e-12);
  EXPECT_NEAR(all.interval.high, expected.high, 1e-12);
  EXPECT_EQ(all.seeds, 100u);
  EXPECT_EQ(all.runs, 300u);
  // Copies are as wide as one prompt's, not narrower; runs that differ are narrower than that.
  const RowSet copies = sweep.Rows([&](uint32_t i) { return sweep.seed[i] % 5 == 0; });
  const RowSet apart = sweep.Rows([&](uint32_t i) { return (sweep.seed[i] + sweep.asked[i]) % 5 == 0; });
  const Interval copied = SeedBlocks(sweep, true, 0, {}).Sequence(copies, .05).interval,
                 differing = SeedBlocks(sweep, true, 0, {}).Sequence(apart, .05).interval, one = ConfidenceSequence(20, 100, .05),
                 runs = ConfidenceSequence(60, 300, .05);
  EXPECT_NEAR((copied.high - copied.low) / (one.high - one.low), 1, .1);
  EXPECT_LT(differing.high - differing.low, copied.high - copied.low);
  EXPECT_GT(copied.high - copied.low, 1.5 * (runs.high - runs.low));
}

// 3 prompts of 100 seeds and 2 of 8 are asked; then 50 and 4 more, and so on. The claim stays the mean in the first proportions.
TEST(SeedBlocks, WhatIsClaimedStaysWhatWasAsked) {
  Sweep sweep;
  sweep.Add({0, 1, 2}, 0, 100);
  sweep.Add({3, 4}, 0, 8);
  const uint64_t from = sweep.size();
  std::vector<uint64_t> looks = {from};
  for (const auto& [first, many, few] : std::vector<std::tuple<int, int, int>>{{100, 50, 4}, {150, 76, 5}, {226, 200, 20}}) {
    sweep.Add({0, 1, 2}, first, many);
    sweep.Add({3, 4}, first, few);
    sweep.Add({9}, first, many);  // asked since: no part of the claim
    looks.push_back(sweep.size());
  }
  // Prompts 3 and 4 always show it, and 9: 16 of the 316 runs asked.
  const RowSet inside = sweep.Rows([&](uint32_t i) { return sweep.asked[i] >= 3; });
  const SeedBlocks blocks(sweep, true, from, looks);
  EXPECT_EQ(blocks.blocks(), 2u);
  EXPECT_EQ(blocks.runs(), 3u * 326 + 2u * 29);
  const SeedSequence sequence = blocks.Sequence(inside, .05);
  EXPECT_NEAR(sequence.share, 16.0 / 316, 1e-9);
  EXPECT_LT(sequence.interval.low, 16.0 / 316);
  EXPECT_GT(sequence.interval.high, 16.0 / 316);
  // Before prompts 3 and 4 come again, what they show is between nothing and all.
  Sweep without;
  without.Add({0, 1, 2}, 0, 100);
  without.Add({3, 4}, 0, 8);
  without.Add({0, 1, 2}, 100, 1000);
  const SeedSequence open = SeedBlocks(without, true, from, {from, without.size()}).Sequence({}, .05);
  EXPECT_EQ(open.interval.low, 0);
  EXPECT_GT(open.interval.high, 16.0 / 316);
}

TEST(SeedBlocks, SeedsAskedBeforeAndRepeatedCellsDoNotCount) {
  Sweep sweep;
  sweep.Add({0, 1}, 0, 50);
  sweep.Add({7}, 900, 10, false);  // of the baseline
  const uint64_t from = sweep.size();
  sweep.Add({0, 1}, 50, 20);
  const uint64_t second = sweep.size();
  sweep.Add({0}, 0, 50);      // asked before
  sweep.Add({0}, 900, 10);    // its noise was seen in the baseline
  sweep.Add({0, 1}, 50, 20);  // asked again
  sweep.Add({0, 1}, 70, 5);
  const SeedBlocks blocks(sweep, true, from, {from, second, sweep.size()});
  EXPECT_EQ(blocks.blocks(), 1u);
  EXPECT_EQ(blocks.runs(), 50u);
  EXPECT_EQ(blocks.seeds(), 25u);
}

TEST(SeedBlocks, MissingRunsWidenItToBothSides) {
  Sweep whole, holed;
  whole.Add({0, 1, 2, 3}, 0, 10);
  holed.Add({0, 1, 2, 3}, 0, 10);
  const uint64_t from = whole.size();
  for (uint32_t what = 0; what < 4; ++what) {
    for (int64_t s = 10; s < 510; ++s) {
      whole.AddRun(what, s);
      if (s % 100 != what) holed.AddRun(what, s);
    }
  }
  const auto shows = [](const Sweep& sweep) {
    return sweep.Rows([&](uint32_t i) { return (sweep.seed[i] * 7 + sweep.asked[i]) % 10 == 0; });
  };
  const SeedBlocks a(whole, true, from, {from, whole.size()}), b(holed, true, from, {from, holed.size()});
  EXPECT_EQ(a.blocks(), 1u);
  EXPECT_EQ(b.blocks(), 1u);
  const Interval full = a.Sequence(shows(whole), .05).interval, less = b.Sequence(shows(holed), .05).interval;
  EXPECT_LT(less.low, full.low);
  EXPECT_GE(less.high, full.high);
  EXPECT_LT(less.high - less.low, full.high - full.low + .03);
}

TEST(SeedBlocks, TooManyKindsOfUnitsAreTakenApart) {
  Sweep sweep;
  for (uint32_t what = 0; what < 60; ++what) sweep.Add({what}, 50 * what, 100);
  const SeedBlocks blocks(sweep, true, 0, {});
  EXPECT_EQ(blocks.blocks(), 60u);
  EXPECT_EQ(blocks.runs(), 6000u);
  const RowSet inside = sweep.Rows([](uint32_t i) { return i % 4 == 0; });
  const SeedSequence sequence = blocks.Sequence(inside, .05);
  EXPECT_NEAR(sequence.share, .25, 1e-9);
  const Interval each = ConfidenceSequence(25, 100, .05 / 60);
  EXPECT_NEAR(sequence.interval.low, each.low, 1e-9);
  EXPECT_NEAR(sequence.interval.high, each.high, 1e-9);
  // Each with seeds of its own they are runs.
  Sweep own;
  for (uint32_t what = 0; what < 60; ++what) own.Add({what}, 100 * what, 100);
  EXPECT_EQ(SeedBlocks(own, true, 0, {}).blocks(), 1u);
}

// Some look of 20 misses: seeds that are copies, or half so, under prompts of unequal shares, in blocks that overlap.
TEST(SeedBlocks, HoldsAtAllLooksHoweverRunsOfASeedDepend) {
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> uniform;
  const std::vector<double> shares = {.02, .1, .1, .12, .12, .15, .15, .1, .1, .6};
  for (const double alike : {.5, 1.}) {
    int wrong = 0, wrong_as_runs = 0;
    constexpr int kSets = 100;
    for (int set = 0; set < kSets; ++set) {
      Sweep sweep;
      sweep.Add({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0, 5);
      sweep.Add({0, 1}, 5, 5);
      const uint64_t from = sweep.size();
      std::vector<uint64_t> looks = {from};
      RowSet inside;
      double claim = 0;
      for (size_t g = 0; g < shares.size(); ++g) claim += shares[g] * (g < 2 ? 10 : 5) / 60;
      bool held = true, runs_held = true;
      int64_t seed = 10;
      for (int look = 0; look < 20; ++look) {
        for (int s = 0; s < 40; ++s, ++seed) {
          const double common = uniform(random);
          const bool copy = uniform(random) < alike;
          for (uint32_t g = 0; g < (s % 2 == 0 ? 10u : 2u); ++g) {
            if ((copy ? common : uniform(random)) < shares[g]) inside.push_back(static_cast<uint32_t>(sweep.size()));
            sweep.AddRun(g, seed);
          }
        }
        looks.push_back(sweep.size());
        const SeedSequence sequence = SeedBlocks(sweep, true, from, looks).Sequence(inside, .1);
        held &= sequence.interval.low <= claim && claim <= sequence.interval.high;
        const Interval runs = ConfidenceSequence(static_cast<double>(sequence.members), static_cast<double>(sequence.runs), .1);
        runs_held &= runs.low <= claim && claim <= runs.high;
      }
      wrong += !held;
      wrong_as_runs += !runs_held;
    }
    EXPECT_LE(wrong, .1 * kSets) << alike;
    if (alike == 1) {
      EXPECT_GT(wrong_as_runs, .1 * kSets);
    }
    std::printf("copies with probability %.1f: %d of %d sets miss; of runs %d\n", alike, wrong, kSets, wrong_as_runs);
  }
}

TEST(SeedBlocks, BoundsOfASingleLookHoldForSeeds) {
  std::mt19937_64 random(8);
  std::uniform_real_distribution<double> uniform;
  constexpr int kSets = 1000;
  int runs_wrong = 0, seeds_wrong = 0, unseen_wrong = 0, unseen_runs_wrong = 0;
  constexpr double kShare = .1;
  for (int set = 0; set < kSets; ++set) {
    std::vector<int64_t> seeds;
    std::vector<uint8_t> is;
    uint64_t members = 0;
    for (int64_t seed = 0; seed < 60; ++seed) {
      const bool shown = uniform(random) < kShare;
      for (int g = 0; g < (seed < 50 ? 10 : 4); ++g) {
        seeds.push_back(seed);
        is.push_back(shown);
        members += shown;
      }
    }
    seeds_wrong += ShareUpperBound(seeds, is, .1) < kShare;
    runs_wrong += UpperBound(members, seeds.size(), .1) < kShare;
    unseen_wrong += members < 20 && UnseenBelowBySeed(seeds.size(), 10, 20, .9) <= kShare;
    unseen_runs_wrong += members < 20 && UnseenBelow(seeds.size(), 20, .9) <= kShare;
  }
  EXPECT_LE(seeds_wrong, .1 * kSets);
  EXPECT_GT(runs_wrong, .15 * kSets);
  EXPECT_LE(unseen_wrong, .1 * kSets);
  // By runs 20 members are as good as sure, .1 of 540 being 54; by seeds 2 of 60 are to show it.
  EXPECT_GT(unseen_runs_wrong, 0);
  EXPECT_LE(UnseenBelowBySeed(540, 10, 20, .9), .2);
  EXPECT_EQ(UnseenBelowBySeed(540, 1, 20), UnseenBelow(540, 20));
  EXPECT_EQ(UnseenBelowBySeed(10, 5, 20), 1);
  EXPECT_EQ(UnseenBelowBySeed(40, 40, 20), 1);
  // Exact where every run has its seed.
  EXPECT_EQ(ShareUpperBound({1, 2, 3}, {0, 1, 0}, .05), UpperBound(1, 3, .05));
  EXPECT_EQ(ShareUpperBound({}, {}, .05), 1);
}

}  // namespace
}  // namespace promptsweep::motifs
