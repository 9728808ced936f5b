// Proves that nearest neighbours are exact, that HDBSCAN* equals scikit-learn's on the digits, that k-means partitions, and
// that none of them depends on the number of threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "jobs/motifs/gemm.h"
#include "jobs/motifs/hdbscan.h"
#include "jobs/motifs/kmeans.h"
#include "jobs/motifs/knn.h"
#include "tests/jobs_motifs/agreement.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

const Matrix& Digits() {
  static const Matrix digits = [] {
    std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/digits.txt");
    Matrix x(1797, 64);
    std::string line;
    for (int64_t i = 0; i < x.rows && std::getline(file, line); ++i) {
      for (int64_t j = 0; j < 64; ++j) x.row(i)[j] = static_cast<float>(line[j] - 'a');
    }
    return x;
  }();
  return digits;
}

TEST(Gemm, BlasIsRight) { EXPECT_TRUE(CheckGemm().ok()) << CheckGemm(); }

TEST(Knn, EqualsBruteForce) {
  const Matrix x = MakeSynthetic({.target = 150, .baseline = 151, .dim = 20}).x;
  const KnnGraph graph = ExactKnn(x, 7, 2);
  ASSERT_EQ(graph.k, 7);
  for (int64_t i = 0; i < x.rows; ++i) {
    std::vector<std::pair<double, uint32_t>> all;
    for (int64_t j = 0; j < x.rows; ++j) {
      double square = 0;
      for (int64_t c = 0; c < x.dim; ++c) square += std::pow(static_cast<double>(x.row(i)[c]) - x.row(j)[c], 2);
      if (i != j) all.emplace_back(std::sqrt(square), j);
    }
    std::sort(all.begin(), all.end());
    for (int64_t j = 0; j < 7; ++j) EXPECT_NEAR(graph.distances[i * 7 + j], all[j].first, 1e-4);
    EXPECT_EQ(graph.ids[i * 7], all[0].second);
  }
}

TEST(Knn, TiesGoToTheLowerRowAndFewRowsLowerK) {
  Matrix x(5, 2);
  for (int64_t i = 0; i < 5; ++i) x.row(i)[0] = 1;
  const KnnGraph graph = ExactKnn(x, 10, 1);
  ASSERT_EQ(graph.k, 4);
  EXPECT_EQ(std::vector<uint32_t>(graph.ids.begin() + 8, graph.ids.begin() + 12), (std::vector<uint32_t>{0, 1, 3, 4}));
  EXPECT_EQ(ExactKnn(Matrix(1, 2), 3, 1).k, 0);
}

TEST(Hdbscan, EqualsScikitLearnOnDigits) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/reference.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  for (const int k : {16, 32}) {
    const KnnGraph graph = ExactKnn(Digits(), k, 2);
    for (const auto& row : reference["digits"]) {
      const std::vector<MstEdge> mst = MutualReachabilityMst(Digits(), graph, row["min_samples"].get<int>(), 2);
      double weight = 0;
      for (const MstEdge& edge : mst) weight += edge.weight;
      EXPECT_NEAR(weight / row["mst_weight"].get<double>(), 1, 1e-6);
      const Selection selection = row["method"] == "leaf" ? Selection::kLeaf : Selection::kExcessOfMass;
      const auto clusters = CondenseClusters(mst, Digits().rows, 15, selection);
      EXPECT_GE(AdjustedRand(LabelsOf(clusters, Digits().rows), row["labels"].get<std::vector<int>>()), 0.98)
          << row["method"] << " min_samples " << row["min_samples"] << " k " << k << ", " << clusters.size() << " clusters";
    }
  }
}

TEST(Hdbscan, JoinsComponentsOfTheGraphExactly) {
  // Three far groups of 40: with 4 neighbours the graph falls apart.
  Matrix x(120, 3);
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < 120; ++i) {
    for (int64_t j = 0; j < 3; ++j) x.row(i)[j] = normal(random) + (j == i / 40 ? 50.0f : 0.0f);
  }
  const auto weight_of = [&](int k) {
    double weight = 0;
    for (const MstEdge& edge : MutualReachabilityMst(x, ExactKnn(x, k, 1), 4, 1)) weight += edge.weight;
    return weight;
  };
  // The complete graph cannot need a fallback.
  EXPECT_NEAR(weight_of(8), weight_of(119), 1e-3 * weight_of(119));
  const auto clusters = CondenseClusters(MutualReachabilityMst(x, ExactKnn(x, 8, 1), 4, 1), 120, 20, Selection::kLeaf);
  ASSERT_EQ(clusters.size(), 3u);
  for (const RowSet& cluster : clusters) EXPECT_EQ(cluster.front() / 40, cluster.back() / 40);
}

TEST(Hdbscan, CopiesOfOneRowAreACluster) {
  Synthetic s = MakeSynthetic({.target = 150, .baseline = 0, .dim = 16});
  for (int64_t i = 1; i < 50; ++i) std::copy_n(s.x.row(0), 16, s.x.row(i));
  const KnnGraph graph = ExactKnn(s.x, 8, 1);
  const auto clusters = CondenseClusters(MutualReachabilityMst(s.x, graph, 5, 1), s.x.rows, 20, Selection::kLeaf);
  ASSERT_FALSE(clusters.empty());
  RowSet copies(50);
  std::iota(copies.begin(), copies.end(), 0u);
  EXPECT_THAT(clusters, testing::Contains(copies));
}

TEST(Kmeans, IsAPartitionAndFindsSeparateGroups) {
  const Synthetic s = MakeSynthetic({.target = 600, .baseline = 0, .dim = 32, .planted = {0.5, 0.5}, .within_cosine = 0.9});
  const auto clusters = SphericalKmeans(s.x, {.clusters = 2, .seed = 4});
  size_t rows = 0;
  for (const RowSet& cluster : clusters) rows += cluster.size();
  EXPECT_EQ(rows, 600u);
  EXPECT_EQ(AdjustedRand(LabelsOf(clusters, 600), s.motif), 1);
}

TEST(Clustering, IsTheSameForAnyNumberOfThreads) {
  const Matrix x = MakeSynthetic({.target = 700, .baseline = 705, .dim = 50, .background = Background::kTopics30}).x;
  const KnnGraph one = ExactKnn(x, 16, 1), four = ExactKnn(x, 16, 4);
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.distances, four.distances);
  EXPECT_EQ(SphericalKmeans(x, {.clusters = 40, .seed = 9, .threads = 1}),
            SphericalKmeans(x, {.clusters = 40, .seed = 9, .threads = 4}));
}

}  // namespace
}  // namespace promptsweep::motifs
