#include "jobs/motifs/copies/verdict.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "jobs/motifs/copies/hash_index.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {
namespace {

using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;

constexpr int64_t kTileRows = 256;

bool AreCopies(const Picture& a, const Picture& b, bool alike_by_hash, const CopyOptions& options) {
  if (!a.decoded() || !b.decoded()) return false;
  if (a.pixels == b.pixels) return true;
  const double share = options.contrast_share * std::max(a.contrast, b.contrast);
  const double most = std::max(std::clamp(share, options.rms.low, options.rms.high), alike_by_hash ? options.most_rms : 0);
  return TileMaxRms(a.overlay, b.overlay, most) <= most;
}

Pairs AlikeByHash(absl::Span<const Picture> pictures, const CopyOptions& options) {
  std::vector<uint32_t> rich;
  std::vector<PerceptualHash> hashes;
  for (uint32_t i = 0; i < pictures.size(); ++i) {
    if (pictures[i].hash.quality < options.least_quality) continue;
    rich.push_back(i);
    hashes.push_back(pictures[i].hash);
  }
  Pairs pairs = PairsWithin(hashes, options.most_bits);
  for (auto& [a, b] : pairs) a = rich[a], b = rich[b];
  return pairs;
}

}  // namespace

Picture PictureOf(const worker::Image& image, uint64_t ordinal, int64_t seed) {
  Picture picture;
  picture.ordinal = ordinal;
  picture.seed = seed;
  picture.pixels = PixelDigest(image);
  picture.hash = HashPicture(image);
  picture.overlay = OverlayOf(image);
  picture.contrast = Contrast(picture.overlay);
  return picture;
}

std::vector<std::pair<uint32_t, uint32_t>> CopyPairs(absl::Span<const Picture> pictures, const CopyOptions& options,
                                                     int threads) {
  const Pairs alike = AlikeByHash(pictures, options);
  const uint32_t n = static_cast<uint32_t>(pictures.size());
  std::vector<Pairs> by_first(n);
  ParallelFor(threads, n, [&](int64_t i) {
    const uint32_t a = static_cast<uint32_t>(i);
    for (uint32_t b = a + 1; b < n; ++b) {
      if (pictures[a].seed == pictures[b].seed) continue;
      const bool alike_by_hash = std::binary_search(alike.begin(), alike.end(), std::pair{a, b});
      if (AreCopies(pictures[a], pictures[b], alike_by_hash, options)) by_first[a].emplace_back(a, b);
    }
  });
  Pairs copies;
  for (const Pairs& pairs : by_first) copies.insert(copies.end(), pairs.begin(), pairs.end());
  return copies;
}

std::vector<std::pair<uint32_t, uint32_t>> DescriptorPairs(absl::Span<const Picture> pictures, const CopyOptions& options,
                                                           int threads) {
  std::vector<uint32_t> described;
  AlignedFloats rows;
  size_t dim = 0;
  for (uint32_t i = 0; i < pictures.size(); ++i) {
    const std::vector<float>& descriptor = pictures[i].descriptor;
    if (dim == 0) dim = descriptor.size();
    if (descriptor.empty() || descriptor.size() != dim) continue;
    described.push_back(i);
    rows.insert(rows.end(), descriptor.begin(), descriptor.end());
  }
  const int64_t n = static_cast<int64_t>(described.size()), tiles = (n + kTileRows - 1) / kTileRows;
  std::vector<Pairs> by_tile(tiles);
  ParallelFor(threads, tiles, [&](int64_t tile) {
    const int64_t begin = tile * kTileRows, count = std::min(kTileRows, n - begin);
    AlignedFloats cosines(count * n);
    GemmNT(rows.data() + begin * dim, count, rows.data(), n, static_cast<int64_t>(dim), cosines.data());
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = begin + i + 1; j < n; ++j) {
        const uint32_t a = described[begin + i], b = described[j];
        // The product of rounded vectors strays from their cosine by some 1e-7 a step.
        if (cosines[i * n + j] < options.least_cosine - 1e-6 || pictures[a].seed == pictures[b].seed) continue;
        by_tile[tile].emplace_back(a, b);
      }
    }
  });
  Pairs copies;
  for (const Pairs& pairs : by_tile) copies.insert(copies.end(), pairs.begin(), pairs.end());
  return copies;
}

CopyFinding JudgeCopies(absl::Span<const Picture> pictures, const CopyOptions& options, int threads,
                        absl::Span<const Overlay* const> others) {
  CopyFinding finding;
  finding.pictures = pictures.size();
  std::set<int64_t> seeds, seen;
  std::vector<const Overlay*> overlays;
  for (const Picture& picture : pictures) {
    seeds.insert(picture.seed);
    if (picture.decoded() && seen.insert(picture.seed).second) overlays.push_back(&picture.overlay);
    finding.described += !picture.descriptor.empty();
    finding.described_alone += !picture.decoded();
  }
  finding.seeds = seeds.size();
  if (finding.seeds < 2) return finding;

  const Pairs by_pixels = CopyPairs(pictures, options, threads), detected = DescriptorPairs(pictures, options, threads);
  Pairs pairs;
  std::set_union(by_pixels.begin(), by_pixels.end(), detected.begin(), detected.end(), std::back_inserter(pairs));
  finding.links = pairs.size();
  finding.detected_links = pairs.size() - by_pixels.size();
  std::vector<uint8_t> copied(pictures.size()), identical(pictures.size());
  for (const auto& [a, b] : pairs) {
    copied[a] = copied[b] = 1;
    if (pictures[a].decoded() && pictures[a].pixels == pictures[b].pixels) identical[a] = identical[b] = 1;
  }
  finding.copies = std::count(copied.begin(), copied.end(), 1);
  finding.identical = std::count(identical.begin(), identical.end(), 1);
  const double n = static_cast<double>(pictures.size());
  finding.share = finding.copies / n;
  finding.share_ci = Wilson(static_cast<double>(finding.copies), n);
  const uint32_t count = static_cast<uint32_t>(pictures.size());
  if (!pairs.empty()) finding.clique = LargestClique(count, pairs);
  finding.template_score = TemplateScore(overlays, options.template_deviation, others);

  const double needed = std::max<double>(options.fewest, std::min<double>(options.clique, options.clique_share * n));
  const bool verbatim = finding.clique.vertices.size() >= needed;
  const bool by_pixels_alone =
      verbatim && (finding.detected_links == 0 || LargestClique(count, by_pixels).vertices.size() >= needed);
  if (by_pixels_alone) {
    finding.verdict = CopyVerdict::kVerbatim;
  } else if (overlays.size() >= options.template_pictures && finding.template_score >= options.template_score) {
    finding.verdict = CopyVerdict::kTemplate;
  } else if (verbatim) {
    finding.verdict = CopyVerdict::kVerbatim;
    finding.detector_decides = true;
  } else if (seen.size() >= 2) {
    finding.verdict = CopyVerdict::kSemantic;
  }
  return finding;
}

}  // namespace promptsweep::motifs
