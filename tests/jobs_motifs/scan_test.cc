// Proves that the wide loops find what plain ones find, at every length and from every place.
#include "jobs/motifs/vectors/scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace promptsweep::motifs {
namespace {

// Few distinct values, so that equal ones are common.
std::vector<float> Drawn(int64_t n, std::mt19937_64& random) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random() % 17) / 16 - 0.5f;
  return values;
}

TEST(Scan, ArgMaxIsTheFirstLargest) {
  std::mt19937_64 random(1);
  for (int64_t n = 1; n < 200; ++n) {
    const std::vector<float> values = Drawn(n, random);
    EXPECT_EQ(ArgMax(values.data(), n), std::max_element(values.begin(), values.end()) - values.begin()) << n;
  }
  const std::vector<float> none(70, -INFINITY);
  EXPECT_EQ(ArgMax(none.data(), 70), 0);
}

TEST(Scan, NextWithinIsTheNextOne) {
  std::mt19937_64 random(2);
  for (int64_t n = 0; n < 150; ++n) {
    const std::vector<float> norms = Drawn(n, random), dots = Drawn(n, random), bounds = Drawn(n, random);
    const float norm = 0.25f, bound = -0.75f;
    const auto square = [&](int64_t j) { return norm + norms[j] - 2 * dots[j]; };
    for (int64_t from = 0; from <= n; from += 7) {
      int64_t one = from, either = from;
      while (one < n && !(square(one) <= bound)) ++one;
      while (either < n && !(square(either) <= std::max(bound, bounds[either]))) ++either;
      EXPECT_EQ(NextWithin(norm, norms.data(), dots.data(), bound, from, n), one) << n << " from " << from;
      EXPECT_EQ(NextWithin(norm, norms.data(), dots.data(), bound, bounds.data(), from, n), either) << n << " from " << from;
    }
  }
}

TEST(Scan, AddsInDoubles) {
  std::vector<double> sum(37, 1e8);
  const std::vector<float> values(37, 1e-7f);
  for (int i = 0; i < 10; ++i) AddTo(sum.data(), values.data(), 37);
  double expected = 1e8;
  for (int i = 0; i < 10; ++i) expected += 1e-7f;
  EXPECT_EQ(sum, std::vector<double>(37, expected));
}

}  // namespace
}  // namespace promptsweep::motifs
