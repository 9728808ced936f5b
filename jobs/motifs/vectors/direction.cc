#include "jobs/motifs/vectors/direction.h"

#include <cmath>

#include "jobs/motifs/vectors/scan.h"

namespace promptsweep::motifs {

std::vector<float> MeanDirection(const Matrix& x, const RowSet& rows, double* length) {
  std::vector<double> sum(x.dim, 0.0);
  for (const uint32_t i : rows) AddTo(sum.data(), x.row(i), x.dim);
  double square = 0;
  for (const double s : sum) square += s * s;
  const double norm = std::sqrt(square);
  if (length != nullptr) *length = rows.empty() ? 0 : norm / rows.size();
  if (!(norm > 1e-9)) return {};
  std::vector<float> direction(x.dim);
  for (int64_t j = 0; j < x.dim; ++j) direction[j] = static_cast<float>(sum[j] / norm);
  return direction;
}

double CosineTo(const Matrix& x, uint32_t row, const std::vector<float>& direction) {
  double dot = 0;
  for (int64_t j = 0; j < x.dim; ++j) dot += static_cast<double>(x.row(row)[j]) * direction[j];
  return dot;
}

}  // namespace promptsweep::motifs
