// Proves that sparse decomposition is the lasso scikit-learn solves, that it finds the words a direction was mixed of, that it is
// silent about directions without meaning, and how long it takes on a vocabulary of 15,000 words.
#include "jobs/motifs/names/concepts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

namespace promptsweep::motifs {
namespace {

using testing::IsEmpty;

template <typename T>
void Normalise(T* row, int64_t dim) {
  double square = 0;
  for (int64_t j = 0; j < dim; ++j) square += static_cast<double>(row[j]) * row[j];
  for (int64_t j = 0; j < dim; ++j) row[j] = row[j] / std::sqrt(square);
}

// Unit rows around a common direction, as text vectors are.
Matrix MakeWords(int64_t count, int64_t dim, double common, std::mt19937_64& random) {
  Matrix words(count, dim);
  std::normal_distribution<float> normal;
  for (int64_t l = 0; l < count; ++l) {
    for (int64_t j = 0; j < dim; ++j) words.row(l)[j] = normal(random) + (j == 0 ? common * std::sqrt(dim) : 0.0);
    Normalise(words.row(l), dim);
  }
  return words;
}

TEST(Lasso, EqualsScikitLearn) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/concepts.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 8u);
  size_t weights = 0;
  for (const auto& one : cases) {
    const auto rows = one["words"].get<std::vector<std::vector<double>>>();
    const auto y = one["y"].get<std::vector<double>>();
    Matrix words(rows.size(), y.size());
    for (size_t l = 0; l < rows.size(); ++l) {
      std::vector<double> row = rows[l];
      Normalise(row.data(), row.size());
      std::copy(row.begin(), row.end(), words.row(l));
    }
    std::map<uint32_t, double> expected;
    for (const auto& [word, weight] : one["weights"].items()) expected[std::stoul(word)] = weight;
    weights += expected.size();
    std::map<uint32_t, double> got;
    for (const Concept& found : NonNegativeLasso(words, y, one["threshold"])) got[found.word] = found.weight;
    for (const auto& [word, weight] : expected) EXPECT_NEAR(got[word], weight, 2e-6) << word;
    for (const auto& [word, weight] : got) EXPECT_NEAR(weight, expected[word], 2e-6) << word;
  }
  EXPECT_GT(weights, 60u);
}

TEST(Lasso, AWarmStartEndsInTheSameMinimum) {
  std::mt19937_64 random(3);
  const Matrix words = MakeWords(500, 48, 0, random);
  std::vector<double> y(48);
  for (int64_t j = 0; j < 48; ++j) y[j] = words.row(1)[j] + 0.7 * words.row(2)[j] + 0.4 * words.row(300)[j];
  const auto cold = NonNegativeLasso(words, y, 0.1), warm = NonNegativeLasso(words, y, 0.1, NonNegativeLasso(words, y, 0.3));
  ASSERT_EQ(cold.size(), warm.size());
  for (size_t i = 0; i < cold.size(); ++i) {
    EXPECT_EQ(cold[i].word, warm[i].word);
    EXPECT_NEAR(cold[i].weight, warm[i].weight, 1e-8);
  }
}

TEST(Concepts, FindTheWordsADirectionWasMixedOf) {
  int planted = 0, found = 0, strangers = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const ConceptSpace space(MakeWords(2000, 256, 2, random));
    std::normal_distribution<double> normal;
    std::map<uint32_t, double> mix;
    for (size_t i = 0; i < 2 + seed % 5; ++i) mix[random() % 2000] = 0.5 + 0.1 * (random() % 6);
    std::vector<double> y(256, 0);
    for (const auto& [word, weight] : mix) {
      for (int64_t j = 0; j < 256; ++j) y[j] += weight * space.words().row(word)[j];
    }
    for (double& v : y) v += 0.03 * normal(random);
    const Decomposition got = space.Decompose(y);
    EXPECT_GT(got.cosine, 0.8);
    EXPECT_LE(got.concepts.size(), 20u);
    planted += mix.size();
    for (size_t i = 0; i < got.concepts.size(); ++i) {
      EXPECT_LE(got.concepts[i].weight, got.concepts[i == 0 ? 0 : i - 1].weight);
      if (i < mix.size()) (mix.contains(got.concepts[i].word) ? found : strangers) += 1;
    }
  }
  EXPECT_GE(found, 0.97 * planted) << "of " << planted;
  EXPECT_LE(strangers, 0.03 * planted);
}

TEST(Concepts, AtMostAsManyAsAsked) {
  std::mt19937_64 random(5);
  const ConceptSpace space(MakeWords(3000, 64, 0, random));
  std::vector<double> y(64, 0);
  for (int l = 0; l < 60; ++l) {
    for (int64_t j = 0; j < 64; ++j) y[j] += space.words().row(l)[j];
  }
  const Decomposition many = space.Decompose(y, {.penalty = 0.02, .most = 12});
  EXPECT_LE(many.concepts.size(), 12u);
  EXPECT_GT(many.concepts.size(), 4u);
  EXPECT_GT(many.penalty, 0.02);
}

TEST(Concepts, NothingOfNothing) {
  std::mt19937_64 random(6);
  const ConceptSpace space(MakeWords(50, 16, 1, random));
  EXPECT_THAT(space.Decompose(std::vector<double>(16, 0)).concepts, IsEmpty());
}

struct Runs {
  Matrix x;
  RowSet members, baseline;
};

// 100 members that show two words on top of what all show, or nothing of their own; pictures and words lie far apart.
Runs MakeRuns(const Matrix& concepts, bool plant, std::mt19937_64& random) {
  const int64_t dim = concepts.dim;
  std::normal_distribution<float> normal;
  Runs runs{Matrix(600, dim), {}, {}};
  for (uint32_t i = 0; i < 600; ++i) {
    (i < 100 ? runs.members : runs.baseline).push_back(i);
    for (int64_t j = 0; j < dim; ++j) {
      runs.x.row(i)[j] = normal(random) / std::sqrt(1 + 0.2f * j) + (j == dim - 1 ? 8 : 0);
      if (plant && i < 100) runs.x.row(i)[j] += 4 * concepts.row(17)[j] + 3 * concepts.row(99)[j];
    }
    Normalise(runs.x.row(i), dim);
  }
  return runs;
}

TEST(Concepts, OfAMotifAcrossTheGapBetweenWordsAndPictures) {
  int right = 0, said = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const ConceptSpace space(MakeWords(800, 96, 2, random));
    for (const bool plant : {true, false}) {
      const Runs runs = MakeRuns(space.words(), plant, random);
      const MotifConcepts got = ConceptReader(space, runs.x, runs.baseline).Read(runs.x, runs.members, runs.baseline);
      if (!plant) {
        said += !got.apart.concepts.empty();
        continue;
      }
      for (const Decomposition& one : {got.apart, got.shows}) {
        std::set<uint32_t> first;
        for (size_t i = 0; i < 2 && i < one.concepts.size(); ++i) first.insert(one.concepts[i].word);
        right += first == std::set<uint32_t>{17, 99};
      }
    }
  }
  EXPECT_GE(right, 36) << "of 40";
  EXPECT_LE(said, 3) << "of 20 motifs that are none";
}

TEST(Concepts, FifteenThousandWords) {
  std::mt19937_64 random(8);
  const ConceptSpace space(MakeWords(15'000, 512, 2, random));
  std::vector<double> y(512, 0);
  std::normal_distribution<double> normal;
  for (int l = 0; l < 8; ++l) {
    for (int64_t j = 0; j < 512; ++j) y[j] += space.words().row(l * 1000)[j];
  }
  for (double& v : y) v += 0.05 * normal(random);
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kTimes = 5;
  Decomposition first = space.Decompose(y);
  for (int i = 1; i < kTimes; ++i) {
    const Decomposition again = space.Decompose(y);
    ASSERT_EQ(again.concepts.size(), first.concepts.size());
    for (size_t c = 0; c < first.concepts.size(); ++c) {
      EXPECT_EQ(again.concepts[c].word, first.concepts[c].word);
      EXPECT_EQ(again.concepts[c].weight, first.concepts[c].weight);  // the same bits
    }
  }
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / kTimes;
  RecordProperty("ms_per_decomposition", std::to_string(ms));
  std::printf("%.1f ms per decomposition of 15,000 x 512, %zu concepts\n", ms, first.concepts.size());
  EXPECT_EQ(first.concepts.size(), 8u);
}

}  // namespace
}  // namespace promptsweep::motifs
