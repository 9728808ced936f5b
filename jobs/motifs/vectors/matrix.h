// Rows of floats, aligned so that a matrix product never depends on where its operands lie in memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace promptsweep::motifs {

// Allocates on 64-byte boundaries.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const AlignedAllocator&) const { return true; }
};

using AlignedFloats = std::vector<float, AlignedAllocator<float>>;
using AlignedDoubles = std::vector<double, AlignedAllocator<double>>;

// Row-major, `rows` x `dim`.
struct Matrix {
  int64_t rows = 0;
  int64_t dim = 0;
  AlignedFloats data;

  Matrix() = default;
  Matrix(int64_t r, int64_t d) : rows(r), dim(d), data(static_cast<size_t>(r * d), 0.0f) {}
  const float* row(int64_t i) const { return data.data() + i * dim; }
  float* row(int64_t i) { return data.data() + i * dim; }
};

// Row indices into a Matrix, ascending.
using RowSet = std::vector<uint32_t>;

// Copies of the rows named, in that order. Rows may repeat.
[[nodiscard]] inline Matrix Gather(const Matrix& x, const std::vector<uint32_t>& rows) {
  Matrix out(static_cast<int64_t>(rows.size()), x.dim);
  for (size_t i = 0; i < rows.size(); ++i) std::copy_n(x.row(rows[i]), x.dim, out.row(static_cast<int64_t>(i)));
  return out;
}

// Appends `row` scaled to unit length. False where it has none.
[[nodiscard]] inline bool AppendUnit(const float* row, int64_t dim, AlignedFloats& out) {
  double square = 0;
  for (int64_t j = 0; j < dim; ++j) square += static_cast<double>(row[j]) * row[j];
  if (!(square > 0) || !std::isfinite(square)) return false;
  const double scale = 1 / std::sqrt(square);
  for (int64_t j = 0; j < dim; ++j) out.push_back(static_cast<float>(row[j] * scale));
  return true;
}

}  // namespace promptsweep::motifs
