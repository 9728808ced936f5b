// Where a set of rows points.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Normalised mean of rows, summed in row order; empty where it vanishes. `length`, if given, gets the mean's length: its
// square is the mean cosine of all pairs.
[[nodiscard]] std::vector<float> MeanDirection(const Matrix& x, const RowSet& rows, double* length = nullptr);

// Cosine of a row with a unit direction, in double.
[[nodiscard]] double CosineTo(const Matrix& x, uint32_t row, const std::vector<float>& direction);

}  // namespace promptsweep::motifs
