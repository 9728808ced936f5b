// Proves that OrdinalSet behaves as a plain set of numbers, stays coalesced, and that SweepProgress keeps every cell in one
// class.
#include "coordinator/ordinals.h"

#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <set>

#include "coordinator/sweep_progress.h"
#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

TEST(OrdinalSet, CoalescesNeighbours) {
  OrdinalSet set;
  EXPECT_EQ(set.Add(10, 20), 10u);
  EXPECT_EQ(set.Add(30, 40), 10u);
  EXPECT_EQ(set.intervals().size(), 2u);
  EXPECT_EQ(set.Add(20, 30), 10u);
  EXPECT_EQ(set.intervals().size(), 1u);
  EXPECT_EQ(set.Add(15, 45), 5u);
  EXPECT_EQ(set.size(), 35u);
  EXPECT_EQ(set.Remove(12, 13), 1u);
  EXPECT_EQ(set.intervals().size(), 2u);
  EXPECT_EQ(set.Add(5, 5), 0u);
  EXPECT_EQ(set.Add(9, 3), 0u);
  EXPECT_EQ(set.Remove(9, 3), 0u);
}

TEST(OrdinalSet, HoldsTheWholeRangeOfOrdinals) {
  OrdinalSet set;
  const uint64_t top = UINT64_MAX;
  EXPECT_EQ(set.Add(0, top), top);
  EXPECT_EQ(set.NextAbsent(5, top), top);
  EXPECT_EQ(set.Remove(top - 1, top), 1u);
  EXPECT_EQ(set.NextAbsent(5, top), top - 1);
}

class OrdinalSetProperty : public ::testing::TestWithParam<int> {};

TEST_P(OrdinalSetProperty, AgreesWithAPlainSet) {
  constexpr uint64_t kLimit = 60;
  std::mt19937_64 random(GetParam());
  const auto below = [&](uint64_t n) { return random() % n; };
  OrdinalSet set;
  std::set<uint64_t> plain;
  for (int step = 0; step < 400; ++step) {
    const uint64_t begin = below(kLimit);
    const uint64_t end = begin + below(12);
    const bool add = below(2) == 0;
    uint64_t changed = 0;
    for (uint64_t at = begin; at < end; ++at) changed += add ? plain.insert(at).second : plain.erase(at);
    ASSERT_EQ(add ? set.Add(begin, end) : set.Remove(begin, end), changed);
    ASSERT_EQ(set.size(), plain.size());
    uint64_t last = 0;
    bool first = true;
    for (const auto& [low, high] : set.intervals()) {
      ASSERT_LT(low, high);
      ASSERT_TRUE(first || low > last) << "touching intervals";
      last = high;
      first = false;
    }
    const uint64_t from = below(kLimit + 20);
    const uint64_t limit = below(kLimit + 20);
    ASSERT_EQ(set.Contains(from), plain.contains(from));
    ASSERT_EQ(set.CountIn(from, limit), from < limit ? std::distance(plain.lower_bound(from), plain.lower_bound(limit)) : 0);
    uint64_t absent = from;
    while (absent < limit && plain.contains(absent)) ++absent;
    ASSERT_EQ(set.NextAbsent(from, limit), from < limit ? absent : limit);
    auto present = plain.lower_bound(from);
    ASSERT_EQ(set.NextPresent(from, limit), from < limit && present != plain.end() ? std::min(*present, limit) : limit);
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, OrdinalSetProperty, ::testing::Range(0, 20));

class SweepProgressProperty : public ::testing::TestWithParam<int> {};

TEST_P(SweepProgressProperty, KeepsEveryCellInOneClass) {
  constexpr uint64_t kCells = 50;
  std::mt19937_64 random(GetParam());
  const auto below = [&](uint64_t n) { return random() % n; };
  SweepProgress progress(*sweep::Plan::FromManifest(Manifest("s", kCells)), {});
  absl::Time now = absl::FromUnixSeconds(1000);
  OrdinalSet leased;
  for (int step = 0; step < 500; ++step) {
    const uint64_t begin = below(kCells);
    const Range range{begin, std::min(kCells, begin + 1 + below(10))};
    const uint64_t cell = leased.NextPresent(begin, kCells);
    switch (below(8)) {
      case 0:
      case 1: {
        const OrdinalSet owned = progress.Take(range);
        for (const auto& [low, high] : owned.intervals()) ASSERT_EQ(leased.Add(low, high), high - low);
        break;
      }
      case 2: {
        OrdinalSet back;
        for (uint64_t at = range.begin; at < range.end; ++at) {
          if (leased.Remove(at, at + 1) > 0) back.Add(at, at + 1);
        }
        progress.GiveBack(back);
        progress.Halve(back, 1);
        break;
      }
      case 3:
        leased.Remove(range.begin, range.end);
        progress.MarkDone(range);
        break;
      case 4:
        if (cell < kCells) {
          leased.Remove(cell, cell + 1);
          progress.MarkFailed(cell);
        }
        break;
      case 5:
        if (cell < kCells) {
          leased.Remove(cell, cell + 1);
          progress.Isolate(cell, 1);
          progress.MarkTrouble(cell, "w", "e", below(2) == 0, now);
        }
        break;
      case 6:
        now += absl::Seconds(1);
        progress.ReleaseDue(now);
        break;
      case 7:
        if (below(10) == 0) progress.ForgetFailures();
        break;
    }
    ASSERT_TRUE(progress.CheckInvariants(leased).ok()) << "step " << step << ": " << progress.CheckInvariants(leased);
    ASSERT_EQ(
        progress.free_count() + leased.size() + progress.waiting_count() + progress.done().size() + progress.failed().size(),
        kCells);
    for (const auto& [begin, suspect] : progress.suspects()) {
      ASSERT_EQ(progress.SuspectBounds(begin).first, (Range{begin, suspect.end}));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, SweepProgressProperty, ::testing::Range(0, 30));

}  // namespace
}  // namespace promptsweep::coordinator
