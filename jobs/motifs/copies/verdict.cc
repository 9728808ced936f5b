#include "jobs/motifs/copies/verdict.h"

#include <algorithm>
#include <set>

#include "jobs/motifs/copies/hash_index.h"
#include "jobs/motifs/gemm.h"

namespace promptsweep::motifs {
namespace {

using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;

bool AreCopies(const Picture& a, const Picture& b, bool alike_by_hash, const CopyOptions& options) {
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

CopyFinding JudgeCopies(absl::Span<const Picture> pictures, const CopyOptions& options, int threads,
                        absl::Span<const Overlay* const> others) {
  CopyFinding finding;
  finding.pictures = pictures.size();
  std::set<int64_t> seeds;
  std::vector<const Overlay*> overlays;
  for (const Picture& picture : pictures) {
    if (seeds.insert(picture.seed).second) overlays.push_back(&picture.overlay);
  }
  finding.seeds = seeds.size();
  if (finding.seeds < 2) return finding;

  const Pairs pairs = CopyPairs(pictures, options, threads);
  std::vector<uint8_t> copied(pictures.size()), identical(pictures.size());
  for (const auto& [a, b] : pairs) {
    copied[a] = copied[b] = 1;
    if (pictures[a].pixels == pictures[b].pixels) identical[a] = identical[b] = 1;
  }
  finding.copies = std::count(copied.begin(), copied.end(), 1);
  finding.identical = std::count(identical.begin(), identical.end(), 1);
  const double n = static_cast<double>(pictures.size());
  finding.share = finding.copies / n;
  finding.share_ci = Wilson(static_cast<double>(finding.copies), n);
  if (!pairs.empty()) finding.clique = LargestClique(static_cast<uint32_t>(pictures.size()), pairs);
  finding.template_score = TemplateScore(overlays, options.template_deviation, others);

  const double needed = std::max<double>(options.fewest, std::min<double>(options.clique, options.clique_share * n));
  if (finding.clique.vertices.size() >= needed) {
    finding.verdict = CopyVerdict::kVerbatim;
  } else if (overlays.size() >= options.template_pictures && finding.template_score >= options.template_score) {
    finding.verdict = CopyVerdict::kTemplate;
  } else {
    finding.verdict = CopyVerdict::kSemantic;
  }
  return finding;
}

}  // namespace promptsweep::motifs
