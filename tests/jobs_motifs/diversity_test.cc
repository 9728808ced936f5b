// Proves that diversity from summed moments equals that of the kernel between all runs, that its intervals hold the value of many
// more runs, and that threads and blocks change nothing.
#include "jobs/motifs/statistics/diversity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

namespace promptsweep::motifs {
namespace {

Matrix UnitRows(const std::vector<std::vector<double>>& rows) {
  Matrix x(static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size()));
  for (int64_t i = 0; i < x.rows; ++i) {
    const double norm = std::sqrt(std::inner_product(rows[i].begin(), rows[i].end(), rows[i].begin(), 0.0));
    for (int64_t j = 0; j < x.dim; ++j) x.row(i)[j] = static_cast<float>(rows[i][j] / norm);
  }
  return x;
}

std::vector<uint8_t> FoldsOf(int64_t rows) {
  std::vector<uint8_t> folds(rows);
  for (int64_t i = 0; i < rows; ++i) folds[i] = static_cast<uint8_t>(i % kFolds);
  return folds;
}

TEST(Diversity, EqualsTheKernelsEigenvalues) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/diversity.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_EQ(reference.size(), 4u);
  for (const auto& set : reference) {
    const Matrix x = UnitRows(set["x"]);
    SecondMoments moments(x.dim);
    moments.Add(x, FoldsOf(x.rows), nullptr, 2);
    const Diversity d = moments.Measure(2);
    // Rows are floats: 1e-7 each.
    EXPECT_NEAR(d.vendi / set["score"][0].get<double>(), 1, 1e-5);
    EXPECT_NEAR(d.rke / set["score"][1].get<double>(), 1, 1e-5);
    double mean = 0, square = 0;
    for (const auto& without : set["without"]) mean += std::log(without[0].get<double>()) / 5;
    for (const auto& without : set["without"]) square += std::pow(std::log(without[0].get<double>()) - mean, 2);
    const double reach = 2.776445105 * std::sqrt(0.8 * square);
    EXPECT_NEAR(d.vendi_ci.high / (d.vendi * std::exp(reach)), 1, 1e-4);
    EXPECT_NEAR(d.vendi_ci.low / std::max(1.0, d.vendi * std::exp(-reach)), 1, 1e-4);
    EXPECT_LE(d.rke, d.vendi * (1 + 1e-9));
  }
}

TEST(Diversity, CountsThingsThatDifferEntirely) {
  // Four directions at right angles, equally often; then one alone.
  std::vector<std::vector<double>> rows;
  for (int i = 0; i < 400; ++i) {
    rows.emplace_back(20, 0.0);
    rows.back()[5 * ((i / 5) % 4)] = 2;
  }
  Matrix x = UnitRows(rows);
  SecondMoments four(20), one(20), none(20);
  four.Add(x, FoldsOf(x.rows), nullptr, 1);
  EXPECT_NEAR(four.Measure(1).vendi, 4, 1e-9);
  EXPECT_NEAR(four.Measure(1).rke, 4, 1e-9);
  const RowSet same = {0, 1, 2, 3, 4, 20, 21, 22, 23, 24};
  one.Add(x, FoldsOf(x.rows), &same, 1);
  EXPECT_EQ(one.runs(), 10u);
  EXPECT_NEAR(one.Measure(1).vendi, 1, 1e-9);
  EXPECT_NEAR(one.Measure(1).rke_ci.high, 1, 1e-9);
  EXPECT_EQ(none.Measure(1).vendi, 1);
}

TEST(Diversity, IntervalsHoldTheValueOfManyRunsAndThreadsChangeNothing) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  const auto draw = [&](int64_t n) {
    std::vector<std::vector<double>> rows;
    for (int64_t i = 0; i < n; ++i) {
      rows.emplace_back(12);
      for (int j = 0; j < 12; ++j) rows.back()[j] = normal(random) / (1 + j) + (j == 0);
    }
    return UnitRows(rows);
  };
  const Matrix many = draw(100'000);
  SecondMoments truth(12);
  truth.Add(many, FoldsOf(many.rows), nullptr, 2);
  const Diversity value = truth.Measure(2);
  int vendi = 0, rke = 0;
  constexpr int kSets = 200;
  for (int set = 0; set < kSets; ++set) {
    const Matrix x = draw(1000);
    SecondMoments moments(12), threaded(12);
    moments.Add(x, FoldsOf(x.rows), nullptr, 1);
    const Diversity d = moments.Measure(1);
    vendi += d.vendi_ci.low <= value.vendi && value.vendi <= d.vendi_ci.high;
    rke += d.rke_ci.low <= value.rke && value.rke <= d.rke_ci.high;
    if (set % 50 == 0) {
      threaded.Add(x, FoldsOf(x.rows), nullptr, 3);
      EXPECT_EQ(threaded.Measure(3).vendi, d.vendi);
      EXPECT_EQ(threaded.Measure(2).rke_ci.low, d.rke_ci.low);
    }
  }
  EXPECT_GE(vendi, .9 * kSets);
  EXPECT_GE(rke, .9 * kSets);
}

TEST(Diversity, EigenvaluesOfKnownMatrices) {
  // The second difference: 2 - 2 cos(pi k / (n + 1)).
  constexpr int64_t kN = 150;
  std::vector<double> a(kN * kN, 0.0);
  for (int64_t i = 0; i < kN; ++i) {
    a[i * kN + i] = 2;
    if (i > 0) a[i * kN + i - 1] = -1;
  }
  const std::vector<double> values = SymmetricEigenvalues(a, kN);
  for (int64_t k = 0; k < kN; ++k) EXPECT_NEAR(values[k], 2 - 2 * std::cos(M_PI * (k + 1) / (kN + 1)), 1e-12);
  // All ones: one value n, the others 0.
  const std::vector<double> flat = SymmetricEigenvalues(std::vector<double>(kN * kN, 1.0), kN);
  EXPECT_NEAR(flat[kN - 1], kN, 1e-10);
  EXPECT_NEAR(flat[kN - 2], 0, 1e-10);
  EXPECT_NEAR(flat[0], 0, 1e-10);
  EXPECT_TRUE(SymmetricEigenvalues({}, 0).empty());
  EXPECT_EQ(SymmetricEigenvalues({3}, 1)[0], 3);
}

}  // namespace
}  // namespace promptsweep::motifs
