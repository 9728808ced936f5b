#include "jobs/motifs/vectors/scan.h"

#include <algorithm>
#include <cmath>

// The loops compare, or add in one order, so that no width changes a bit of the outcome: a product by two is exact, with or
// without fused multiplication.
#define PS_WIDEST __attribute__((target_clones("avx512f", "avx2", "default"), optimize("tree-vectorize")))

namespace promptsweep::motifs {
namespace {

constexpr int64_t kChunk = 32;

// The first j >= from that is `within`, a chunk at a time; part of each caller, so that it is compiled for the same processors.
template <typename Within>
[[gnu::always_inline]] inline int64_t Next(int64_t from, int64_t n, const Within& within) {
  int64_t j = from;
  for (; j + kChunk <= n; j += kChunk) {
    int any = 0;
    for (int64_t l = 0; l < kChunk; ++l) any |= within(j + l);
    if (any != 0) break;
  }
  while (j < n && within(j) == 0) ++j;
  return j;
}

}  // namespace

PS_WIDEST int64_t ArgMax(const float* values, int64_t n) {
  float lanes[kChunk];
  std::fill_n(lanes, kChunk, -INFINITY);
  int64_t i = 0;
  for (; i + kChunk <= n; i += kChunk) {
    for (int64_t l = 0; l < kChunk; ++l) lanes[l] = lanes[l] < values[i + l] ? values[i + l] : lanes[l];
  }
  float largest = *std::max_element(lanes, lanes + kChunk);
  for (; i < n; ++i) largest = largest < values[i] ? values[i] : largest;
  for (i = 0; i + kChunk <= n; i += kChunk) {
    int any = 0;
    for (int64_t l = 0; l < kChunk; ++l) any |= values[i + l] == largest;
    if (any != 0) break;
  }
  while (values[i] != largest) ++i;
  return i;
}

PS_WIDEST int64_t NextWithin(float norm, const float* norms, const float* dots, float bound, const float* bounds, int64_t from,
                             int64_t n) {
  return Next(from, n, [&](int64_t j) {
    const float square = norm + norms[j] - 2 * dots[j];
    return static_cast<int>(square <= bound) | static_cast<int>(square <= bounds[j]);
  });
}

PS_WIDEST int64_t NextWithin(float norm, const float* norms, const float* dots, float bound, int64_t from, int64_t n) {
  return Next(from, n, [&](int64_t j) { return static_cast<int>(norm + norms[j] - 2 * dots[j] <= bound); });
}

PS_WIDEST void AddTo(double* sum, const float* values, int64_t n) {
  for (int64_t j = 0; j < n; ++j) sum[j] += values[j];
}

}  // namespace promptsweep::motifs
