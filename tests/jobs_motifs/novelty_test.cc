// Proves that the share of unlike runs foretells how often the next run is unlike all so far, and that kinds seen and unseen are
// counted rightly where the truth is known.
#include "jobs/motifs/statistics/novelty.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

RowSet AllRows(const Matrix& x) {
  RowSet rows(x.rows);
  std::iota(rows.begin(), rows.end(), 0u);
  return rows;
}

// Kinds at random directions in 48 dimensions, runs of a kind nearly the same.
struct World {
  std::vector<std::vector<double>> centres;
  std::vector<double> chance;
};

World MakeWorld(std::mt19937_64& random, int kinds, double slope) {
  std::normal_distribution<double> normal;
  World world;
  double total = 0;
  for (int k = 0; k < kinds; ++k) {
    std::vector<double> v(48);
    double square = 0;
    for (double& e : v) square += std::pow(e = normal(random), 2);
    for (double& e : v) e /= std::sqrt(square);
    world.centres.push_back(v);
    world.chance.push_back(std::pow(k + 1.0, -slope));
    total += world.chance.back();
  }
  for (double& c : world.chance) c /= total;
  return world;
}

Matrix Draw(std::mt19937_64& random, const World& world, int runs, std::vector<uint64_t>& seen) {
  std::discrete_distribution<int> kind(world.chance.begin(), world.chance.end());
  std::normal_distribution<double> normal(0, 0.01);
  Matrix x(runs, 48);
  seen.assign(world.centres.size(), 0);
  for (int i = 0; i < runs; ++i) {
    const int k = kind(random);
    ++seen[k];
    double square = 0;
    std::vector<double> v(48);
    for (int j = 0; j < 48; ++j) square += std::pow(v[j] = world.centres[k][j] + normal(random), 2);
    for (int j = 0; j < 48; ++j) x.row(i)[j] = static_cast<float>(v[j] / std::sqrt(square));
  }
  return x;
}

TEST(Novelty, EqualsGoodTuringWhereKindsAreKnown) {
  std::mt19937_64 random(2);
  int held = 0, below = 0;
  double foretold = 0, came = 0;
  constexpr int kSets = 200, kRuns = 300;
  for (int set = 0; set < kSets; ++set) {
    const World world = MakeWorld(random, 400, set % 2 ? 1.0 : 0.0);
    std::vector<uint64_t> seen;
    const Matrix x = Draw(random, world, kRuns, seen);
    const Novelty novelty = MeasureNovelty(x, AllRows(x), .9, set, 1);
    uint64_t kinds = 0, once = 0, twice = 0;
    double missing = 0, doubled = 0;
    for (size_t k = 0; k < seen.size(); ++k) {
      kinds += seen[k] > 0;
      once += seen[k] == 1;
      twice += seen[k] == 2;
      if (seen[k] == 0) {
        missing += world.chance[k];
        doubled += 1 - std::pow(1 - world.chance[k], kRuns);
      }
    }
    ASSERT_EQ(novelty.kinds, kinds);
    ASSERT_EQ(novelty.once, once);
    ASSERT_EQ(novelty.twice, twice);
    ASSERT_EQ(novelty.unlike, once);
    EXPECT_DOUBLE_EQ(novelty.kinds_at_least, kinds + once * (once - 1.0) / (2 * (twice + 1.0)));
    held += novelty.ci.low <= missing && missing <= novelty.ci.high;
    below += novelty.kinds_at_least <= 1.15 * 400;
    foretold += novelty.new_if_doubled;
    came += doubled;
  }
  EXPECT_GE(held, .95 * kSets - 6);
  EXPECT_GE(below, .9 * kSets);
  EXPECT_NEAR(foretold / came, 1, .05);
}

TEST(Novelty, GoodToulminLooksFourTimesAhead) {
  std::mt19937_64 random(4);
  double foretold = 0, came = 0;
  for (int set = 0; set < 100; ++set) {
    const World world = MakeWorld(random, 2000, 1);
    std::vector<uint64_t> seen;
    (void)Draw(random, world, 1000, seen);
    std::vector<uint64_t> of_size(1001, 0);
    for (size_t k = 0; k < seen.size(); ++k) {
      if (seen[k] > 0) {
        ++of_size[seen[k] - 1];
      } else {
        came += 1 - std::pow(1 - world.chance[k], 4000);
      }
    }
    foretold += GoodToulmin(of_size, 4);
  }
  EXPECT_NEAR(foretold / came, 1, .25);
  EXPECT_EQ(GoodToulmin({}, 1), 0);
  EXPECT_EQ(GoodToulmin({0, 0, 5}, 0), 0);
  EXPECT_EQ(GoodToulmin({7}, 1), 7);
  EXPECT_EQ(GoodToulmin({0, 5}, 1), 0);  // never below none
}

TEST(Novelty, FallsWhereTheTargetRepeatsItself) {
  SyntheticOptions options;
  options.seed = 3;
  options.background = Background::kTopicsZipf;
  const Synthetic varied = MakeSynthetic(options);
  options.planted = {.6};
  options.within_cosine = .97;
  const Synthetic collapsed = MakeSynthetic(options);
  const auto rate = [](const Synthetic& s, uint64_t seed, int threads) {
    RowSet target, baseline;
    for (uint32_t i = 0; i < s.runs.size(); ++i) (s.runs.is_target[i] ? target : baseline).push_back(i);
    return MeasureNovelty(s.x, target, ChooseTau(s.x, baseline, seed), seed, threads);
  };
  const Novelty a = rate(varied, 1, 1), b = rate(collapsed, 1, 1), again = rate(collapsed, 1, 3);
  EXPECT_LT(b.ci.high, a.ci.low);
  EXPECT_LT(b.rate, .45);
  EXPECT_EQ(b.rate, again.rate);
  EXPECT_EQ(b.new_if_fivefold, again.new_if_fivefold);
}

TEST(Novelty, EdgesOfSets) {
  Matrix copies(50, 8);
  for (int64_t i = 0; i < 50; ++i) copies.row(i)[3] = 1;
  const double tau = ChooseTau(copies, AllRows(copies), 1);
  const Novelty same = MeasureNovelty(copies, AllRows(copies), tau, 1, 1);
  EXPECT_EQ(same.rate, 0);
  EXPECT_EQ(same.kinds, 1u);
  EXPECT_GT(same.ci.high, 0);
  const Novelty one = MeasureNovelty(copies, {7}, ChooseTau(copies, {7}, 1), 1, 1);
  EXPECT_EQ(one.unlike, 1u);
  EXPECT_EQ(MeasureNovelty(copies, {}, .9, 1, 1).runs, 0u);
}

}  // namespace
}  // namespace promptsweep::motifs
