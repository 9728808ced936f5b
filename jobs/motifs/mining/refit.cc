#include "jobs/motifs/mining/refit.h"

#include <cmath>

namespace promptsweep::motifs {
namespace {

constexpr uint64_t kFewest = 4;

std::vector<Frozen> OneByOne(const std::vector<std::vector<Region>>& motifs) {
  std::vector<Frozen> all;
  for (const std::vector<Region>& regions : motifs) {
    for (const Region& region : regions) all.emplace_back().by_fold.fill({region});
  }
  return all;
}

}  // namespace

Refit::Refit(std::vector<std::vector<Region>> motifs, int64_t dim)
    : motifs_(std::move(motifs)), dim_(dim), judge_(OneByOne(motifs_), dim) {
  sums_.assign(judge_.motifs(), std::vector<Sum>(kFolds, {0, std::vector<double>(dim, 0.0)}));
}

void Refit::Add(const Matrix& rows, const Runs& runs, int threads) {
  for (const auto& [row, region] : judge_.Inside(rows, runs.fold, threads)) {
    Sum& sum = sums_[region][runs.fold[row]];
    ++sum.rows;
    for (int64_t j = 0; j < dim_; ++j) sum.total[j] += rows.row(row)[j];
  }
}

std::vector<Frozen> Refit::Fit() const {
  std::vector<Frozen> fitted(motifs_.size());
  size_t r = 0;
  for (size_t m = 0; m < motifs_.size(); ++m) {
    for (const Region& region : motifs_[m]) {
      for (int fold = 0; fold < kFolds; ++fold) {
        uint64_t rows = 0;
        std::vector<double> total(dim_, 0.0);
        for (int other = 0; other < kFolds; ++other) {
          if (other == fold) continue;
          rows += sums_[r][other].rows;
          for (int64_t j = 0; j < dim_; ++j) total[j] += sums_[r][other].total[j];
        }
        double square = 0;
        for (const double t : total) square += t * t;
        Region& refitted = fitted[m].by_fold[fold].emplace_back(region);
        if (rows < kFewest || !(square > 1e-18)) continue;
        for (int64_t j = 0; j < dim_; ++j) refitted.centre[j] = static_cast<float>(total[j] / std::sqrt(square));
      }
      ++r;
    }
  }
  return fitted;
}

}  // namespace promptsweep::motifs
