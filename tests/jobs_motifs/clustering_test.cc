// Proves that nearest neighbours are exact, that HDBSCAN* equals scikit-learn's on the digits, that k-means partitions, and
// that none of them depends on the number of threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <tuple>

#include "jobs/motifs/mining/regions.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/hdbscan.h"
#include "jobs/motifs/vectors/kmeans.h"
#include "jobs/motifs/vectors/knn.h"
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

TEST(Knn, OfAllRowsIsThatOfEachRow) {
  // Several blocks of rows, the last one short.
  for (const int64_t rows : {768, 769, 2000}) {
    const Matrix x = MakeSynthetic({.target = rows, .baseline = 0, .dim = 24, .background = Background::kTopics30}).x;
    RowSet everything(rows);
    std::iota(everything.begin(), everything.end(), 0u);
    const KnnGraph all = ExactKnn(x, 9, 3), each = ExactKnnOf(x, everything, 9, 1);
    int64_t other = 0;
    for (size_t e = 0; e < all.ids.size(); ++e) {
      EXPECT_NEAR(all.distances[e], each.distances[e], 2e-3);
      other += all.ids[e] != each.ids[e];
    }
    // Products of other shapes differ in the last bit, which seldom decides.
    EXPECT_LE(other, rows / 100);
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

// Weight of the minimum spanning tree of all pairs, by Prim's algorithm in doubles.
double TreeWeight(const Matrix& x, const KnnGraph& graph, int min_samples) {
  std::vector<double> least(x.rows, INFINITY);
  std::vector<bool> taken(x.rows, false);
  const auto core = [&](int64_t i) -> double { return graph.distances[i * graph.k + min_samples - 2]; };
  double weight = 0;
  int64_t at = 0;
  for (int64_t step = 1; step < x.rows; ++step) {
    taken[at] = true;
    for (int64_t j = 0; j < x.rows; ++j) {
      double square = 0;
      for (int64_t c = 0; c < x.dim; ++c) square += std::pow(static_cast<double>(x.row(at)[c]) - x.row(j)[c], 2);
      least[j] = std::min(least[j], std::max({core(at), core(j), std::sqrt(square)}));
    }
    int64_t next = -1;
    for (int64_t j = 0; j < x.rows; ++j) {
      if (!taken[j] && (next < 0 || least[j] < least[next])) next = j;
    }
    weight += least[next];
    at = next;
  }
  return weight;
}

TEST(Hdbscan, JoinsManyComponentsOfManySizesExactly) {
  // 40 groups of 20 to 59 rows, which straddle the blocks of rows that are multiplied at once.
  Matrix x(1580, 6);
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  int64_t row = 0;
  for (int group = 0; group < 40; ++group) {
    std::vector<float> centre(6);
    for (float& value : centre) value = 12 * normal(random);
    for (int member = 0; member < 20 + group; ++member, ++row) {
      for (int64_t j = 0; j < 6; ++j) x.row(row)[j] = centre[j] + normal(random);
    }
  }
  ASSERT_EQ(row, x.rows);
  const KnnGraph graph = ExactKnn(x, 16, 2);
  double weight = 0;
  const std::vector<MstEdge> one = MutualReachabilityMst(x, graph, 5, 1), three = MutualReachabilityMst(x, graph, 5, 3);
  for (const MstEdge& edge : one) weight += edge.weight;
  EXPECT_EQ(one.size(), 1579u);
  EXPECT_NEAR(weight / TreeWeight(x, graph, 5), 1, 1e-5);
  ASSERT_EQ(one.size(), three.size());
  for (size_t e = 0; e < one.size(); ++e) {
    EXPECT_EQ(std::tie(one[e].a, one[e].b, one[e].weight), std::tie(three[e].a, three[e].b, three[e].weight));
  }
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

// Sum of 1 - cosine of each row with its cluster's direction.
double Spread(const Matrix& x, const std::vector<RowSet>& clusters) {
  double spread = 0;
  for (const RowSet& cluster : clusters) {
    double length = 0;
    (void)MeanDirection(x, cluster, &length);
    spread += static_cast<double>(cluster.size()) * (1 - length);
  }
  return spread;
}

TEST(Kmeans, NearCentresAloneAreAsGoodAsAll) {
  // Few clusters are compared with all centres in every round; so many that each has its own near ones must not be worse for it.
  const Matrix x = MakeSynthetic({.target = 6000, .baseline = 0, .dim = 32, .background = Background::kTopicsZipf}).x;
  const std::vector<RowSet> near = SphericalKmeans(x, {.clusters = 200, .seed = 3});
  Matrix centres = Gather(x, DrawRows(x.rows, 200, 3));
  std::vector<RowSet> full;
  for (int round = 0; round < 10; ++round) {
    full.assign(200, {});
    for (int64_t i = 0; i < x.rows; ++i) {
      int64_t best = 0;
      float most = -2;
      for (int64_t c = 0; c < 200; ++c) {
        const float cosine = std::inner_product(x.row(i), x.row(i) + x.dim, centres.row(c), 0.0f);
        if (cosine > most) most = cosine, best = c;
      }
      full[best].push_back(i);
    }
    for (int64_t c = 0; c < 200; ++c) {
      const std::vector<float> direction = MeanDirection(x, full[c]);
      if (!direction.empty()) std::copy(direction.begin(), direction.end(), centres.row(c));
    }
  }
  EXPECT_LE(Spread(x, near), 1.01 * Spread(x, full));
}

TEST(Clustering, IsTheSameForAnyNumberOfThreads) {
  const Matrix x = MakeSynthetic({.target = 700, .baseline = 705, .dim = 50, .background = Background::kTopics30}).x;
  const KnnGraph one = ExactKnn(x, 16, 1), four = ExactKnn(x, 16, 4);
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.distances, four.distances);
  for (const int64_t clusters : {40, 150}) {
    EXPECT_EQ(SphericalKmeans(x, {.clusters = clusters, .seed = 9, .threads = 1}),
              SphericalKmeans(x, {.clusters = clusters, .seed = 9, .threads = 4}));
  }
}

}  // namespace
}  // namespace promptsweep::motifs
