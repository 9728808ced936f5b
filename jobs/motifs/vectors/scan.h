// Loops over many floats that decide nothing but where to look closer; compiled for the widest vectors of the processor at hand,
// with equal results on all. Thread-safe.
#pragma once

#include <cstdint>

namespace promptsweep::motifs {

// Index of the largest of n > 0 values, the first of equal ones. No NaN.
[[nodiscard]] int64_t ArgMax(const float* values, int64_t n);

// The first j >= from with norm + norms[j] - 2 * dots[j] <= max(bound, bounds[j]); n where there is none.
[[nodiscard]] int64_t NextWithin(float norm, const float* norms, const float* dots, float bound, const float* bounds,
                                 int64_t from, int64_t n);

// The same with one bound for all.
[[nodiscard]] int64_t NextWithin(float norm, const float* norms, const float* dots, float bound, int64_t from, int64_t n);

// sum[j] += values[j].
void AddTo(double* sum, const float* values, int64_t n);

}  // namespace promptsweep::motifs
