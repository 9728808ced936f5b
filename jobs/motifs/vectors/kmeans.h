// Spherical k-means (Dhillon, Modha 2001): clusters of unit rows by cosine to their mean direction.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct KmeansOptions {
  int64_t clusters = 8;
  int rounds = 10;
  uint64_t seed = 1;
  int threads = 1;
};

// Non-empty clusters, each ascending; every row is in exactly one. Starts from distinct rows drawn by the seed; equal
// cosines go to the lower cluster. Where there are 128 clusters and more, the rounds between the second and the last compare a
// row with the 32 centres nearest to its own alone (as Wang et al. 2012, "Fast approximate k-means via cluster closures", do).
[[nodiscard]] std::vector<RowSet> SphericalKmeans(const Matrix& x, const KmeansOptions& options);

// Of each row the centre with the largest cosine, the lower of equal ones. `centres` has unit rows, at least one.
[[nodiscard]] std::vector<uint32_t> NearestCentres(const Matrix& x, const Matrix& centres, int threads);

// `count` distinct rows of 0..rows-1 drawn without replacement, in drawn order.
[[nodiscard]] std::vector<uint32_t> DrawRows(int64_t rows, int64_t count, uint64_t seed);

}  // namespace promptsweep::motifs
