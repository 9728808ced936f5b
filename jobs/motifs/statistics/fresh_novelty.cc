#include "jobs/motifs/statistics/fresh_novelty.h"

#include <algorithm>
#include <utility>

#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {

FreshNovelty CountFreshNovelty(const Matrix& x, const Runs& runs, uint64_t since, double alike, int threads) {
  RowSet fresh, before;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (runs.is_target[i]) (runs.ordinal[i] >= since ? fresh : before).push_back(i);
  }
  const Matrix known = Gather(x, before), made = Gather(x, fresh);
  constexpr int64_t kBatch = 64, kTile = 8192;
  const int64_t batches = (made.rows + kBatch - 1) / kBatch;
  std::vector<uint8_t> novel(fresh.size(), 0);
  ParallelFor(threads, batches, [&](int64_t batch) {
    const int64_t begin = batch * kBatch, size = std::min(kBatch, made.rows - begin);
    AlignedFloats cosines(static_cast<size_t>(size * kTile));
    std::vector<float> nearest(static_cast<size_t>(size), -2);
    for (int64_t first = 0; first < known.rows; first += kTile) {
      const int64_t width = std::min(kTile, known.rows - first);
      GemmNT(made.row(begin), size, known.row(first), width, x.dim, cosines.data());
      for (int64_t i = 0; i < size; ++i) {
        nearest[i] = std::max(nearest[i], *std::max_element(cosines.data() + i * width, cosines.data() + (i + 1) * width));
      }
    }
    for (int64_t i = 0; i < size; ++i) novel[begin + i] = nearest[i] < alike;
  });
  return {std::move(fresh), std::move(novel)};
}

}  // namespace promptsweep::motifs
