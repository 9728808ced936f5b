#include "jobs/motifs/statistics/diversity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

// Householder reduction to tridiagonal form: `diagonal` and `beside`, beside[0] unused. Reads and destroys the lower triangle.
void Tridiagonalise(std::vector<double>& a, int64_t n, std::vector<double>& diagonal, std::vector<double>& beside) {
  for (int64_t i = n - 1; i > 0; --i) {
    double* u = a.data() + i * n;
    double scale = 0, h = 0;
    for (int64_t k = 0; k < i; ++k) scale += std::abs(u[k]);
    if (i == 1 || scale == 0) {
      beside[i] = u[i - 1];
      continue;
    }
    for (int64_t k = 0; k < i; ++k) {
      u[k] /= scale;
      h += u[k] * u[k];
    }
    const double f = u[i - 1], g = f >= 0 ? -std::sqrt(h) : std::sqrt(h);
    beside[i] = scale * g;
    h -= f * g;
    u[i - 1] = f - g;
    // beside[0..i) = A u / h, by rows of the lower triangle.
    std::fill_n(beside.begin(), i, 0.0);
    for (int64_t j = 0; j < i; ++j) {
      const double* row = a.data() + j * n;
      double sum = row[j] * u[j];
      for (int64_t k = 0; k < j; ++k) {
        sum += row[k] * u[k];
        beside[k] += row[k] * u[j];
      }
      beside[j] += sum;
    }
    double along = 0;
    for (int64_t j = 0; j < i; ++j) along += (beside[j] /= h) * u[j];
    along /= 2 * h;
    for (int64_t j = 0; j < i; ++j) beside[j] -= along * u[j];
    for (int64_t j = 0; j < i; ++j) {
      double* row = a.data() + j * n;
      for (int64_t k = 0; k <= j; ++k) row[k] -= u[j] * beside[k] + beside[j] * u[k];
    }
  }
  for (int64_t i = 0; i < n; ++i) diagonal[i] = a[i * n + i];
}

Diversity Point(const std::vector<double>& sum, uint64_t runs, int64_t dim) {
  std::vector<double> covariance(sum);
  double squares = 0;
  for (int64_t i = 0; i < dim; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double& c = covariance[i * dim + j];
      c /= static_cast<double>(runs);
      squares += (i == j ? 1 : 2) * c * c;
    }
  }
  double trace = 0, entropy = 0;
  for (int64_t i = 0; i < dim; ++i) trace += covariance[i * dim + i];
  for (const double value : SymmetricEigenvalues(std::move(covariance), dim)) {
    const double share = value / trace;
    if (share > 0) entropy -= share * std::log(share);
  }
  Diversity diversity;
  diversity.vendi = std::exp(entropy);
  diversity.rke = trace * trace / squares;
  diversity.vendi_ci = {diversity.vendi, diversity.vendi};
  diversity.rke_ci = {diversity.rke, diversity.rke};
  return diversity;
}

// Interval of log(whole) from the values without each part: variance (m - 1) / m x the sum of squares about their mean.
Interval Jackknife(double whole, const std::vector<double>& without) {
  // 97.5th percentile of Student's t with parts - 1 degrees of freedom, 1 to 4.
  constexpr double kStudent[] = {12.706204736, 4.302652730, 3.182446305, 2.776445105};
  const double m = static_cast<double>(without.size());
  double mean = 0, square = 0;
  for (const double value : without) mean += std::log(value) / m;
  for (const double value : without) square += std::pow(std::log(value) - mean, 2);
  const double reach = kStudent[without.size() - 2] * std::sqrt((m - 1) / m * square);
  return {std::max(1.0, whole * std::exp(-reach)), whole * std::exp(reach)};
}

}  // namespace

std::vector<double> SymmetricEigenvalues(std::vector<double> a, int64_t n) {
  std::vector<double> d(n), e(n);
  if (n == 0) return d;
  Tridiagonalise(a, n, d, e);
  std::rotate(e.begin(), e.begin() + 1, e.end());
  e[n - 1] = 0;
  constexpr int kMostRounds = 60;
  // What is beside two values of 0 never is small against them: let it be small against the largest.
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(d[i]) + std::abs(e[i]));
  const auto negligible = [&](int64_t m) {
    return std::abs(e[m]) <=
           std::numeric_limits<double>::epsilon() * std::max(std::abs(d[m]) + std::abs(d[m + 1]), 1e-6 * largest);
  };
  for (int64_t l = 0; l < n; ++l) {
    for (int round = 0;; ++round) {
      int64_t m = l;
      while (m + 1 < n && !negligible(m)) ++m;
      if (m == l || round == kMostRounds) break;
      double g = (d[l + 1] - d[l]) / (2 * e[l]), r = std::hypot(g, 1.0);
      g = d[m] - d[l] + e[l] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      int64_t i = m - 1;
      for (; i >= l; --i) {
        double f = s * e[i];
        const double b = c * e[i];
        r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0) {
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
      }
      if (r == 0 && i >= l) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
  std::sort(d.begin(), d.end());
  return d;
}

SecondMoments::SecondMoments(int64_t dim) : dim_(dim), sums_(kFolds, std::vector<double>(dim * dim, 0.0)), runs_(kFolds, 0) {}

void SecondMoments::Add(const Matrix& x, const std::vector<uint8_t>& folds, const RowSet* rows, int threads) {
  PS_CHECK(x.dim == dim_);
  RowSet by_fold[kFolds];
  const auto take = [&](uint32_t i) {
    by_fold[folds[i]].push_back(i);
    ++runs_[folds[i]];
  };
  if (rows != nullptr) {
    for (const uint32_t i : *rows) take(i);
  } else {
    for (int64_t i = 0; i < x.rows; ++i) take(static_cast<uint32_t>(i));
  }
  // Tiles of fixed shape: each task owns some rows of the sums and is handed the runs block by block, in order, as columns.
  constexpr int64_t kTile = 64, kBlock = 256;
  const int64_t tiles = (dim_ + kTile - 1) / kTile;
  AlignedDoubles columns(dim_ * kBlock);
  std::vector<AlignedDoubles> products(tiles, AlignedDoubles(kTile * dim_));
  for (int fold = 0; fold < kFolds; ++fold) {
    const RowSet& own = by_fold[fold];
    for (size_t begin = 0; begin < own.size(); begin += kBlock) {
      std::fill(columns.begin(), columns.end(), 0.0);
      for (size_t r = begin; r < std::min(own.size(), begin + kBlock); ++r) {
        for (int64_t j = 0; j < dim_; ++j) columns[j * kBlock + (r - begin)] = x.row(own[r])[j];
      }
      ParallelFor(threads, tiles, [&](int64_t tile) {
        const int64_t first = tile * kTile, count = std::min(kTile, dim_ - first), width = first + count;
        GemmNT(columns.data() + first * kBlock, count, columns.data(), width, kBlock, products[tile].data());
        for (int64_t i = 0; i < count; ++i) {
          double* sum = sums_[fold].data() + (first + i) * dim_;
          for (int64_t j = 0; j <= first + i; ++j) sum[j] += products[tile][i * width + j];
        }
      });
    }
  }
}

uint64_t SecondMoments::runs() const {
  uint64_t total = 0;
  for (const uint64_t n : runs_) total += n;
  return total;
}

Diversity SecondMoments::Measure(int threads) const {
  const uint64_t total = runs();
  if (total == 0) return {};
  std::vector<double> whole(dim_ * dim_, 0.0);
  for (const std::vector<double>& sum : sums_) {
    for (size_t i = 0; i < whole.size(); ++i) whole[i] += sum[i];
  }
  std::vector<int> parts;
  for (int fold = 0; fold < kFolds; ++fold) {
    if (runs_[fold] > 0 && runs_[fold] < total) parts.push_back(fold);
  }
  std::vector<Diversity> found(parts.size() + 1);
  ParallelFor(threads, static_cast<int64_t>(found.size()), [&](int64_t task) {
    if (task == 0) {
      found[0] = Point(whole, total, dim_);
      return;
    }
    const int part = parts[task - 1];
    std::vector<double> rest(whole);
    for (size_t i = 0; i < rest.size(); ++i) rest[i] -= sums_[part][i];
    found[task] = Point(rest, total - runs_[part], dim_);
  });
  Diversity diversity = found[0];
  if (parts.size() >= 2) {
    std::vector<double> vendi, rke;
    for (size_t i = 1; i < found.size(); ++i) {
      vendi.push_back(found[i].vendi);
      rke.push_back(found[i].rke);
    }
    diversity.vendi_ci = Jackknife(diversity.vendi, vendi);
    diversity.rke_ci = Jackknife(diversity.rke, rke);
  }
  return diversity;
}

}  // namespace promptsweep::motifs
