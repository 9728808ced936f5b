// How alike two partitions are.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Labels from row sets; -1 where a row is in none.
inline std::vector<int> LabelsOf(const std::vector<RowSet>& clusters, int64_t rows) {
  std::vector<int> labels(rows, -1);
  for (size_t c = 0; c < clusters.size(); ++c) {
    for (const uint32_t i : clusters[c]) labels[i] = static_cast<int>(c);
  }
  return labels;
}

// Adjusted Rand index (Hubert and Arabie 1985); noise counts as a cluster of its own.
inline double AdjustedRand(const std::vector<int>& a, const std::vector<int>& b) {
  std::map<std::pair<int, int>, double> both;
  std::map<int, double> in_a, in_b;
  for (size_t i = 0; i < a.size(); ++i) {
    ++both[{a[i], b[i]}];
    ++in_a[a[i]];
    ++in_b[b[i]];
  }
  const auto pairs = [](double n) { return n * (n - 1) / 2; };
  double index = 0, sum_a = 0, sum_b = 0;
  for (const auto& [k, n] : both) index += pairs(n);
  for (const auto& [k, n] : in_a) sum_a += pairs(n);
  for (const auto& [k, n] : in_b) sum_b += pairs(n);
  const double expected = sum_a * sum_b / pairs(a.size()), most = (sum_a + sum_b) / 2;
  return most == expected ? 1 : (index - expected) / (most - expected);
}

}  // namespace promptsweep::motifs
