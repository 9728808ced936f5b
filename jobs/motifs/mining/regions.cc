#include "jobs/motifs/mining/regions.h"

#include <algorithm>
#include <cmath>

#include "jobs/motifs/statistics/mixture.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

constexpr int kValleyRounds = 3, kMixtureRounds = 10;

struct Cut {
  float threshold;
  double separation;  // 0: no valley, or not two crowds
};

float Percentile(std::vector<float> values, double share) {
  const size_t at = std::min(values.size() - 1, static_cast<size_t>(share * values.size()));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[at];
}

// The first valley of the density of `cosines` below the peak around `members`' cosines.
Cut FindValley(const float* cosines, int64_t n, const std::vector<uint8_t>& excluded, const RowSet& members) {
  std::vector<float> own;
  double sum = 0, squares = 0;
  for (const uint32_t i : members) {
    own.push_back(cosines[i]);
    sum += cosines[i];
    squares += static_cast<double>(cosines[i]) * cosines[i];
  }
  const double mean = sum / own.size(), sd = std::sqrt(std::max(0.0, squares / own.size() - mean * mean));
  const float low_own = Percentile(own, 0.1);
  const Cut none{low_own - 1e-6f, 0};

  float top = -2, bottom = 2;
  for (int64_t i = 0; i < n; ++i) {
    if (!excluded.empty() && excluded[i]) continue;
    top = std::max(top, cosines[i]);
    bottom = std::min(bottom, cosines[i]);
  }
  // Gaussian kernel density on a grid, bandwidth by Silverman's rule for the members.
  const double bandwidth = std::max({0.9 * sd * std::pow(own.size(), -0.2), 0.002, (top - bottom) / 400.0});
  const double width = bandwidth / 3;
  const int bins = static_cast<int>((top - bottom) / width) + 1;
  std::vector<double> count(bins, 0.0);
  const auto bin_of = [&](float v) { return std::clamp(static_cast<int>((top - v) / width), 0, bins - 1); };  // 0 is the top
  for (int64_t i = 0; i < n; ++i) {
    if (excluded.empty() || !excluded[i]) ++count[bin_of(cosines[i])];
  }
  constexpr int kReach = 9;
  double kernel[kReach + 1];
  for (int k = 0; k <= kReach; ++k) kernel[k] = std::exp(-0.5 * k * k / 9.0);
  // Kernel of height 1, so a value is about the number of rows in a window of 7.5 bins.
  std::vector<double> density(bins, 0.0);
  for (int b = 0; b < bins; ++b) {
    for (int k = -kReach; k <= kReach; ++k) {
      if (b + k >= 0 && b + k < bins) density[b] += kernel[std::abs(k)] * count[b + k];
    }
  }
  int peak = bin_of(Percentile(own, 1.0));
  for (int b = peak; b <= bin_of(low_own); ++b) {
    if (density[b] > density[peak]) peak = b;
  }
  int lowest = peak;
  for (int b = peak + 1; b < bins; ++b) {
    if (density[b] < density[lowest]) lowest = b;
    const double rise = density[b] - density[lowest];
    if (rise <= 3 + 3 * std::sqrt(density[b] + density[lowest])) continue;
    const double separation = 1 - density[lowest] / density[peak];
    if (separation < 0.5) {
      if (density[b] > density[peak]) return none;
      continue;
    }
    // The middle of the flat bottom.
    int first = lowest, last = lowest;
    while (first > peak && density[first - 1] <= density[lowest] + 0.5) --first;
    while (last + 1 < b && density[last + 1] <= density[lowest] + 0.5) ++last;
    return {static_cast<float>(top - width * (0.5 * (first + last) + 0.5)), separation};
  }
  return none;
}

// Cosine of a member with the mean direction of the others, from its cosine with that of all and the length of their sum.
// Rows pull the mean towards themselves; runs that are counted later do not.
float WithoutItself(float cosine, double length) {
  const double square = length * length - 2 * length * cosine + 1;
  return square > 1e-9 ? static_cast<float>((length * cosine - 1) / std::sqrt(square)) : 0;
}

// The cosine that parts two crowds among the rows of at least the cosine `least`; separation 0 where there are not two. With
// `surely`, two must explain the angles better than one by the Bayesian information criterion.
Cut FindCrowds(const float* cosines, int64_t n, const std::vector<uint8_t>& excluded, const RowSet& members, float least,
               bool surely) {
  constexpr int kBins = 512;
  constexpr double kMoreParameters = 3;  // of two crowds than of one
  const auto angle = [](float cosine) { return std::acos(std::clamp(cosine, -1.0f, 1.0f)); };
  const auto counts_in = [&](int64_t i) { return cosines[i] >= least && (excluded.empty() || !excluded[i]); };
  std::vector<float> angles(n);
  float low = 4, high = -1;
  int64_t rows = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (!counts_in(i)) continue;
    ++rows;
    angles[i] = angle(cosines[i]);
    low = std::min(low, angles[i]);
    high = std::max(high, angles[i]);
  }
  AngleCounts counts{low, std::max(1e-6, static_cast<double>(high - low) / kBins), std::vector<double>(kBins, 0.0),
                     std::vector<double>(kBins, 0.0)};
  const auto bin_of = [&](float v) { return std::clamp(static_cast<int>((v - counts.low) / counts.width), 0, kBins - 1); };
  for (int64_t i = 0; i < n; ++i) {
    if (counts_in(i)) ++counts.all[bin_of(angles[i])];
  }
  for (const uint32_t i : members) {
    if (counts_in(i)) ++counts.members[bin_of(angles[i])];
  }
  MixtureCut cut;
  if (!FindMixtureCut(counts, cut, surely ? Rest::kCrowd : Rest::kShoulder)) return {2, 0};
  if (surely && 2 * cut.gain < kMoreParameters * std::log(rows)) return {2, 0};
  return {static_cast<float>(std::cos(cut.angle)), cut.separation};
}

}  // namespace

bool IsInside(const Matrix& x, uint32_t row, const Region& region) {
  return !region.centre.empty() && CosineTo(x, row, region.centre) >= region.threshold;
}

bool IsInsideNear(const Matrix& x, uint32_t row, const Region& region, float cosine) {
  // Far above the rounding of a float32 product of unit rows of 8192 dimensions.
  constexpr float kDoubt = 2e-5f;
  if (cosine >= region.threshold + kDoubt) return true;
  return cosine > region.threshold - kDoubt && IsInside(x, row, region);
}

std::vector<Region> FitRegions(const Matrix& x, const std::vector<Seeds>& seeds, const std::vector<uint8_t>& excluded,
                               int threads) {
  std::vector<Region> regions(seeds.size());
  // Many at once: a product lays out all of `x` anew for its other side. At most 128 MB a thread for a million rows.
  const int64_t most = x.rows <= 100'000 ? 64 : 32;
  const int64_t total = seeds.size();
  ParallelFor(threads, (total + most - 1) / most, [&](int64_t batch) {
    const int64_t begin = batch * most, size = std::min(most, total - begin);
    std::vector<RowSet> rows(size);
    std::vector<bool> settled(size, false);
    std::vector<double> lengths(size, 0.0);  // of the sum of each set's rows
    for (int64_t c = 0; c < size; ++c) {
      regions[begin + c].source = seeds[begin + c].source;
      regions[begin + c].edge = seeds[begin + c].edge;
      for (const uint32_t i : seeds[begin + c].rows) {
        if (excluded.empty() || !excluded[i]) rows[c].push_back(i);
      }
    }
    Matrix centres(size, x.dim);
    AlignedFloats cosines(size * x.rows);
    for (int round = 0; round < kMixtureRounds; ++round) {
      std::vector<int64_t> moving;  // their centres lie side by side
      for (int64_t c = 0; c < size; ++c) {
        if (settled[c]) continue;
        Region& region = regions[begin + c];
        double length = 0;
        region.centre = rows[c].size() < kFewestDrawn ? std::vector<float>{} : MeanDirection(x, rows[c], &length);
        lengths[c] = length * rows[c].size();
        if (region.centre.empty()) {
          settled[c] = true;
        } else {
          std::copy(region.centre.begin(), region.centre.end(), centres.row(moving.size()));
          moving.push_back(c);
        }
      }
      if (moving.empty()) break;
      GemmNT(centres.data.data(), moving.size(), x.data.data(), x.rows, x.dim, cosines.data());
      for (size_t at = 0; at < moving.size(); ++at) {
        const int64_t c = moving[at];
        float* cosine = cosines.data() + at * x.rows;
        for (const uint32_t i : rows[c]) cosine[i] = WithoutItself(cosine[i], lengths[c]);
        Region& region = regions[begin + c];
        const bool valley = region.edge == Edge::kValley;
        Cut cut = FindValley(cosine, x.rows, excluded, rows[c]);
        if (region.edge == Edge::kInner) {
          region.crowd = cut.threshold;
          cut = cut.separation > 0 ? FindCrowds(cosine, x.rows, excluded, rows[c], cut.threshold, true) : Cut{2, 0};
        } else if (!valley && cut.separation < kGap) {
          cut = FindCrowds(cosine, x.rows, excluded, rows[c], -2, false);
        }
        region.threshold = cut.threshold;
        region.separation = cut.separation;
        RowSet inside;
        for (int64_t i = 0; i < x.rows; ++i) {
          if (cosine[i] >= cut.threshold && (excluded.empty() || !excluded[i])) inside.push_back(i);
        }
        settled[c] = cut.separation == 0 || inside == rows[c] || (valley && round + 1 == kValleyRounds);
        if (inside.size() < kFewestDrawn) {
          region.centre.clear();
          settled[c] = true;
        }
        region.drawn_by = std::move(rows[c]);
        rows[c] = std::move(inside);
      }
    }
  });
  return regions;
}

void ForEachInside(const Matrix& x, absl::Span<const Region> regions, const std::function<void(size_t, uint32_t)>& inside) {
  constexpr int64_t kTile = 8192;
  Matrix centres(regions.size(), x.dim);
  for (size_t r = 0; r < regions.size(); ++r) std::copy(regions[r].centre.begin(), regions[r].centre.end(), centres.row(r));
  AlignedFloats cosines(regions.size() * kTile);
  for (int64_t first = 0; first < x.rows; first += kTile) {
    const int64_t width = std::min(kTile, x.rows - first);
    GemmNT(centres.data.data(), centres.rows, x.row(first), width, x.dim, cosines.data());
    for (size_t r = 0; r < regions.size(); ++r) {
      if (regions[r].centre.empty()) continue;
      for (int64_t i = 0; i < width; ++i) {
        const uint32_t row = static_cast<uint32_t>(first + i);
        if (IsInsideNear(x, row, regions[r], cosines[r * width + i])) inside(r, row);
      }
    }
  }
}

std::vector<RowSet> MembersOf(const Matrix& x, const std::vector<Region>& regions, int threads) {
  std::vector<RowSet> members(regions.size());
  constexpr int64_t kBatch = 64;
  const int64_t total = regions.size();
  ParallelFor(threads, (total + kBatch - 1) / kBatch, [&](int64_t batch) {
    const int64_t begin = batch * kBatch;
    ForEachInside(x, absl::MakeConstSpan(regions).subspan(begin, kBatch),
                  [&](size_t r, uint32_t row) { members[begin + r].push_back(row); });
  });
  return members;
}

}  // namespace promptsweep::motifs
