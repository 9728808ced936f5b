#include "jobs/motifs/frozen.h"

#include <algorithm>

#include "base/half.h"
#include "jobs/motifs/gemm.h"

namespace promptsweep::motifs {

void RoundCentre(Region& region) { region.centre = UnpackHalves(PackHalves(region.centre.data(), region.centre.size())); }

Judge::Judge(std::vector<Frozen> motifs, int64_t dim) : motifs_(std::move(motifs)) {
  for (size_t m = 0; m < motifs_.size(); ++m) {
    for (int fold = 0; fold < kFolds; ++fold) {
      for (const Region& region : motifs_[m].by_fold[fold]) {
        if (static_cast<int64_t>(region.centre.size()) != dim) continue;
        owners_.push_back({static_cast<uint32_t>(m), static_cast<uint8_t>(fold), &region});
      }
    }
  }
  centres_ = Matrix(owners_.size(), dim);
  for (size_t o = 0; o < owners_.size(); ++o) std::copy_n(owners_[o].region->centre.begin(), dim, centres_.row(o));
}

std::vector<std::pair<uint32_t, uint32_t>> Judge::Inside(const Matrix& x, const std::vector<uint8_t>& folds, int threads) const {
  constexpr int64_t kTile = 512;
  const int64_t tiles = (x.rows + kTile - 1) / kTile, regions = owners_.size();
  std::vector<std::vector<std::pair<uint32_t, uint32_t>>> found(tiles);
  ParallelFor(threads, regions == 0 ? 0 : tiles, [&](int64_t tile) {
    const int64_t begin = tile * kTile, count = std::min(kTile, x.rows - begin);
    AlignedFloats cosines(count * regions);
    GemmNT(x.row(begin), count, centres_.data.data(), regions, x.dim, cosines.data());
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t row = static_cast<uint32_t>(begin + i);
      for (int64_t o = 0; o < regions; ++o) {
        const Owner& owner = owners_[o];
        if (owner.fold != folds[row]) continue;
        if (!found[tile].empty() && found[tile].back() == std::make_pair(row, owner.motif)) continue;
        if (IsInsideNear(x, row, *owner.region, cosines[i * regions + o])) found[tile].emplace_back(row, owner.motif);
      }
    }
  });
  std::vector<std::pair<uint32_t, uint32_t>> all;
  for (const auto& part : found) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<RowSet> MembersOf(const Matrix& x, const std::vector<uint8_t>& folds, const std::vector<Frozen>& motifs,
                              int threads) {
  std::vector<RowSet> members(motifs.size());
  for (const auto& [row, motif] : Judge(motifs, x.dim).Inside(x, folds, threads)) members[motif].push_back(row);
  return members;
}

std::vector<Tallies> TallyRegions(const Matrix& x, const Runs& runs, const std::vector<Region>& regions, int threads) {
  std::vector<Tallies> tallies(regions.size());
  Matrix centres(regions.size(), x.dim);
  for (size_t r = 0; r < regions.size(); ++r) std::copy(regions[r].centre.begin(), regions[r].centre.end(), centres.row(r));
  const size_t prompts = runs.prompt.empty() ? 0 : *std::max_element(runs.prompt.begin(), runs.prompt.end()) + 1;
  constexpr int64_t kTile = 8192;
  constexpr size_t kMostTallies = 1 << 20;
  const int64_t batch = std::clamp<int64_t>(kMostTallies / std::max<size_t>(1, prompts), 4, 64), total = regions.size();
  ParallelFor(threads, (total + batch - 1) / batch, [&](int64_t b) {
    const int64_t begin = b * batch, size = std::min(batch, total - begin);
    std::vector<Tallies> dense(size, Tallies(prompts));
    AlignedFloats cosines(size * kTile);
    for (int64_t first = 0; first < x.rows; first += kTile) {
      const int64_t width = std::min(kTile, x.rows - first);
      GemmNT(centres.row(begin), size, x.row(first), width, x.dim, cosines.data());
      for (int64_t c = 0; c < size; ++c) {
        const Region& region = regions[begin + c];
        if (region.centre.empty()) continue;
        for (int64_t i = 0; i < width; ++i) {
          if (!IsInsideNear(x, first + i, region, cosines[c * width + i])) continue;
          Tally& tally = dense[c][runs.prompt[first + i]];
          ++(runs.is_target[first + i] ? tally.target_in : tally.baseline_in);
        }
      }
    }
    for (int64_t c = 0; c < size; ++c) {
      for (size_t g = 0; g < prompts; ++g) {
        dense[c][g].prompt = static_cast<uint32_t>(g);
        if (dense[c][g].target_in + dense[c][g].baseline_in > 0) tallies[begin + c].push_back(dense[c][g]);
      }
    }
  });
  return tallies;
}

}  // namespace promptsweep::motifs
