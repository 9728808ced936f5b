// How various a set of runs is, as an effective number of things that differ entirely.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/statistics/stats.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct Diversity {
  // exp of the entropy of the eigenvalues of the mean of x x^T (Friedman and Dieng 2023, with the cosine as the kernel): 1 where
  // all runs are the same, at most the dimension.
  double vendi = 1;
  // Renyi kernel entropy of order 2 (Jalali, Li and Farnia 2023): 1 over the sum of the squared eigenvalues. Needs fewer runs.
  double rke = 1;
  // 95 % intervals by a jackknife over the runs' folds, on the log scale; equal to the value where fewer than two folds have
  // runs.
  Interval vendi_ci{1, 1}, rke_ci{1, 1};
};

// Sums of x x^T by fold, so that runs may be streamed. Holds dim^2 doubles for each fold. Not thread-safe.
class SecondMoments {
 public:
  explicit SecondMoments(int64_t dim);

  // Adds unit rows; `folds` 0..kFolds-1, one a row. Where `rows` is given only those count. The bits depend on the order of rows
  // and their division into calls alone.
  void Add(const Matrix& x, const std::vector<uint8_t>& folds, const RowSet* rows, int threads);

  uint64_t runs() const;
  // O(dim^3) for each fold. Without runs: 1s.
  [[nodiscard]] Diversity Measure(int threads) const;

 private:
  const int64_t dim_;
  std::vector<std::vector<double>> sums_;  // by fold, dim x dim, the lower triangle
  std::vector<uint64_t> runs_;
};

// Eigenvalues of a symmetric matrix of doubles, row-major n x n of which the lower triangle is read, ascending: Householder
// reduction and the implicit QL method (Martin, Reinsch and Wilkinson 1968). One thread; the same bits whenever called.
[[nodiscard]] std::vector<double> SymmetricEigenvalues(std::vector<double> a, int64_t n);

}  // namespace promptsweep::motifs
