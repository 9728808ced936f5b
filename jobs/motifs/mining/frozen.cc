#include "jobs/motifs/mining/frozen.h"

#include <algorithm>

#include "base/half.h"
#include "jobs/motifs/vectors/gemm.h"

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
  const size_t prompts = runs.prompt.empty() ? 0 : *std::max_element(runs.prompt.begin(), runs.prompt.end()) + 1;
  constexpr size_t kMostTallies = 1 << 20;
  const int64_t batch = std::clamp<int64_t>(kMostTallies / std::max<size_t>(1, prompts), 4, 64), total = regions.size();
  ParallelFor(threads, (total + batch - 1) / batch, [&](int64_t b) {
    const auto some = absl::MakeConstSpan(regions).subspan(b * batch, batch);
    std::vector<Tallies> dense(some.size(), Tallies(prompts));
    ForEachInside(x, some, [&](size_t r, uint32_t row) {
      Tally& tally = dense[r][runs.prompt[row]];
      ++(runs.is_target[row] ? tally.target_in : tally.baseline_in);
    });
    for (size_t r = 0; r < some.size(); ++r) {
      for (size_t g = 0; g < prompts; ++g) {
        dense[r][g].prompt = dense[r][g].stratum = static_cast<uint32_t>(g);
        if (dense[r][g].target_in + dense[r][g].baseline_in > 0) tallies[b * batch + r].push_back(dense[r][g]);
      }
    }
  });
  return tallies;
}

}  // namespace promptsweep::motifs
