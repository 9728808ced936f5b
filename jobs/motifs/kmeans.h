// Spherical k-means (Dhillon, Modha 2001): clusters of unit rows by cosine to their mean direction.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/matrix.h"

namespace promptsweep::motifs {

struct KmeansOptions {
  int64_t clusters = 8;
  int rounds = 10;
  uint64_t seed = 1;
  int threads = 1;
};

// Non-empty clusters, each ascending; every row is in exactly one. Starts from distinct rows drawn by the seed; equal
// cosines go to the lower cluster.
[[nodiscard]] std::vector<RowSet> SphericalKmeans(const Matrix& x, const KmeansOptions& options);

// `count` distinct rows of 0..rows-1 drawn without replacement, in drawn order.
[[nodiscard]] std::vector<uint32_t> DrawRows(int64_t rows, int64_t count, uint64_t seed);

}  // namespace promptsweep::motifs
