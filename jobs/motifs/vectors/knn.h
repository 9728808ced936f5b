// Exact nearest neighbours by tiled matrix products.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// For each row its k nearest others, nearest first; equal distances by ascending row.
struct KnnGraph {
  int64_t rows = 0;
  int64_t k = 0;
  std::vector<uint32_t> ids;     // rows x k
  std::vector<float> distances;  // rows x k, Euclidean; on unit rows sqrt(2 - 2 cos)
};

// Squared distances are rounded to 2^-20 before they are compared, so that rounding of the last bits cannot reorder
// neighbours. k is lowered to rows - 1. O(rows^2 dim).
[[nodiscard]] KnnGraph ExactKnn(const Matrix& x, int64_t k, int threads);

// The same of some rows: row i of the graph is that of queries[i]. O(queries rows dim).
[[nodiscard]] KnnGraph ExactKnnOf(const Matrix& x, const RowSet& queries, int64_t k, int threads);

// Squared Euclidean norms of the rows.
[[nodiscard]] std::vector<float> SquaredNorms(const Matrix& x);

// Rounds a squared distance as ExactKnn does and takes the root.
[[nodiscard]] float DistanceFromSquare(double square);

}  // namespace promptsweep::motifs
