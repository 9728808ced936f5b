// Proves that the inverted file finds what it says it finds, refuses where it does not find enough, gives the same bits for any
// number of threads, and that rare motifs are found by it.
#include "jobs/motifs/vectors/approximate_knn.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/vectors/hdbscan.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

double TrueRecall(const KnnGraph& found, const KnnGraph& exact) {
  int64_t hits = 0;
  for (int64_t i = 0; i < exact.rows; ++i) {
    const float radius = exact.distances[i * exact.k + 14];
    for (int64_t j = 0; j < 15; ++j) hits += found.distances[i * found.k + j] <= radius;
  }
  return static_cast<double>(hits) / (exact.rows * 15);
}

TEST(ApproximateKnnTest, RecallIsWhatItSays) {
  const Synthetic s = MakeSynthetic({.target = 10000, .baseline = 10000, .dim = 32, .background = Background::kTopicsZipf});
  const ApproximateKnn found = FindApproximateKnn(s.x, {.threads = 2, .most_scanned = 0.5});
  ASSERT_EQ(found.graph.rows, s.x.rows);
  EXPECT_GE(found.recall, 0.95);
  EXPECT_LT(found.scanned, 0.5);
  const KnnGraph exact = ExactKnn(s.x, 16, 2);
  // 500 probes of 15: a standard error of .003.
  EXPECT_NEAR(TrueRecall(found.graph, exact), found.recall, 0.015);
  // Whatever is found stands at its true distance, nearest first, and never is a row its own neighbour.
  for (int64_t i = 0; i < s.x.rows; ++i) {
    for (int64_t j = 0; j < found.graph.k; ++j) {
      const uint32_t other = found.graph.ids[i * found.graph.k + j];
      const float distance = found.graph.distances[i * found.graph.k + j];
      ASSERT_NE(other, i);
      ASSERT_GE(distance, exact.distances[i * exact.k + j] - 1e-6f);
      if (i % 100 == 0) {
        std::vector<float> direction(s.x.row(other), s.x.row(other) + s.x.dim);
        ASSERT_NEAR(distance, std::sqrt(std::max(0.0, 2 - 2 * CosineTo(s.x, i, direction))), 2e-3);
      }
    }
  }
  const ApproximateKnn again = FindApproximateKnn(s.x, {.threads = 1, .most_scanned = 0.5});
  EXPECT_EQ(again.graph.ids, found.graph.ids);
  EXPECT_EQ(again.graph.distances, found.graph.distances);
}

TEST(ApproximateKnnTest, RefusesWhereTooFewAreFound) {
  const Synthetic s = MakeSynthetic({.target = 15000, .baseline = 15000, .dim = 96, .decay = 0.001});
  const ApproximateKnn found = FindApproximateKnn(s.x, {.threads = 2, .most_scanned = 0.05});
  EXPECT_LT(found.recall, 0.95);
  EXPECT_EQ(found.graph.rows, 0);
  EXPECT_EQ(FindApproximateKnn(Matrix(10, 4), {}).graph.rows, 0);
}

TEST(ApproximateKnnTest, AForestGivesTheClustersOfTheTreeWhereTheGraphIsOnePiece) {
  const Synthetic s = MakeSynthetic({.target = 500, .baseline = 500, .dim = 16, .planted = {0.2, 0.1}});
  const KnnGraph graph = ExactKnn(s.x, 64, 1);
  const auto tree = CondenseClusters(MutualReachabilityMst(s.x, graph, 5, 1), s.x.rows, 10, Selection::kLeaf);
  EXPECT_FALSE(tree.empty());
  EXPECT_EQ(CondenseClusters(MutualReachabilityForest(graph, 5), s.x.rows, 10, Selection::kLeaf), tree);
  // Two pieces far apart are joined by nothing.
  const KnnGraph sparse = ExactKnn(s.x, 4, 1);
  EXPECT_EQ(static_cast<int64_t>(MutualReachabilityForest(sparse, 3).size()), s.x.rows - 1);
}

TEST(ApproximateKnnTest, MotifsTooRareForTheSampleAreFound) {
  // 1,000 of 20,000 runs are looked at for common motifs: some 3 of the 60.
  const Synthetic s = MakeSynthetic({.target = 10000,
                                     .baseline = 10000,
                                     .dim = 64,
                                     .background = Background::kTopics30,
                                     .planted = {0.1, 0.006},
                                     .within_cosine = 0.8});
  const Mined mined = MineMotifs(s.x, s.runs, {.threads = 2, .discovery_runs = 1000});
  ASSERT_TRUE(mined.recall.has_value());
  EXPECT_GE(*mined.recall, 0.95);
  std::vector<int> found(2, 0);
  for (const Finding& finding : mined.findings) {
    if (finding.tier != Tier::kConfirmed) continue;
    int votes[2] = {0, 0};
    for (const uint32_t i : finding.members) {
      if (s.motif[i] >= 0) ++votes[s.motif[i]];
    }
    for (int m = 0; m < 2; ++m) found[m] += votes[m] >= 0.9 * finding.members.size();
  }
  EXPECT_EQ(found, (std::vector<int>{1, 1}));
  const Mined again = MineMotifs(s.x, s.runs, {.threads = 1, .discovery_runs = 1000});
  ASSERT_EQ(again.findings.size(), mined.findings.size());
  for (size_t f = 0; f < mined.findings.size(); ++f) {
    EXPECT_EQ(again.findings[f].members, mined.findings[f].members);
    EXPECT_EQ(again.findings[f].region.centre, mined.findings[f].region.centre);
  }
}

}  // namespace
}  // namespace promptsweep::motifs
