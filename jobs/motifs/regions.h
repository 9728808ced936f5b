// A motif's region: a direction and the cosine from which a run counts as inside. Frozen, it can be counted anywhere by a
// matrix product.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/matrix.h"

namespace promptsweep::motifs {

// Which generator proposed a candidate.
enum class Source { kDensity, kKmeans, kNeighbourhood };

struct Region {
  std::vector<float> centre;  // unit; empty where no region could be fitted
  float threshold = 2;        // cosine to centre; inside means >=
  // 1 - (density of cosines at the threshold) / (density at the members' peak): 1 is a gap all around, 0 means that the
  // threshold cuts through a continuum.
  double separation = 0;
  Source source = Source::kDensity;
};

struct Seeds {
  RowSet rows;
  Source source = Source::kDensity;
};

// Turns sets of rows into regions. Centre: normalised mean of the rows. Threshold: the first valley of the density of all
// rows' cosines below the peak of the set's own; the rows inside become the set and this repeats (mean shift), at most
// three times. Where there is no valley, the threshold is the 10th percentile of the set's cosines and the set stays. Sees
// no labels. `x` has unit rows. `excluded` (empty, or one byte per row) takes rows out of everything. Sets with fewer than 4
// rows left give an empty centre.
[[nodiscard]] std::vector<Region> FitRegions(const Matrix& x, const std::vector<Seeds>& seeds,
                                             const std::vector<uint8_t>& excluded, int threads);

// Rows inside each region, ascending.
[[nodiscard]] std::vector<RowSet> MembersOf(const Matrix& x, const std::vector<Region>& regions, int threads);

// Normalised mean of rows, summed in row order; empty where it vanishes. `length`, if given, gets the mean's length: its
// square is the mean cosine of all pairs.
[[nodiscard]] std::vector<float> MeanDirection(const Matrix& x, const RowSet& rows, double* length = nullptr);

// Cosine of a row with a unit direction, in double.
[[nodiscard]] double CosineTo(const Matrix& x, uint32_t row, const std::vector<float>& direction);

}  // namespace promptsweep::motifs
