// Is what recurs one picture drawn again (memorised), a fixed frame around a varying part, or only one kind of thing? Pure;
// thread-safe; the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "jobs/motifs/copies/cliques.h"
#include "jobs/motifs/copies/perceptual_hash.h"
#include "jobs/motifs/copies/pixels.h"
#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {

struct CopyOptions {
  // Two pictures are copies where their pixels are equal; where the root mean square difference in every tile is at most this
  // share of the higher of both contrasts, within these bounds, whatever their hashes say; or where both hashes rest on at least
  // this quality and differ in at most so many bits, and the difference is at most `most_rms` in every tile: a hash alone does
  // not tell a copy from another picture in the same frame.
  double contrast_share = 0.25;
  Interval rms = {0.02, 0.075};
  int least_quality = kLeastQuality;
  int most_bits = kSamePictureBits;
  double most_rms = 0.1;
  // Also where both have a descriptor and their cosine is at least this: with SSCD, copies with 90 % precision on DISC (Pizzi et
  // al. 2022, sscd_disc_mixup; README of its repository). Somepalli et al. (2022) speak of replication from .5.
  double least_cosine = 0.75;
  // Verbatim: a clique of at least `clique`, or of `clique_share` of the pictures, but not below `fewest` (10 of 500 are
  // memorised in Carlini et al. 2023; a single pair may be chance).
  size_t clique = 10;
  double clique_share = 0.02;
  size_t fewest = 3;
  // Template: not verbatim by the pixels, and this share of the pixels has a standard deviation below `template_deviation` (1 is
  // black to white) over at least `template_pictures` pictures of different seeds.
  double template_score = 0.3;
  double template_deviation = 0.05;
  size_t template_pictures = 10;
};

// What is kept of a decoded picture: 192 KiB. Or of one that is not stored but for its descriptor: that alone.
struct Picture {
  uint64_t ordinal = 0;
  int64_t seed = 0;
  std::string pixels;  // PixelDigest
  PerceptualHash hash;
  Overlay overlay;
  double contrast = 0;
  // A copy detector's vector, of unit length; empty where there is none.
  std::vector<float> descriptor;

  bool decoded() const { return !overlay.empty(); }
};
[[nodiscard]] Picture PictureOf(const worker::Image& image, uint64_t ordinal, int64_t seed);

// Pairs (i, j), i < j, ascending, that are copies by their pixels. Pairs of one seed are left out: pictures that start from the
// same noise are alike without being remembered.
[[nodiscard]] std::vector<std::pair<uint32_t, uint32_t>> CopyPairs(absl::Span<const Picture> pictures, const CopyOptions& options,
                                                                   int threads);

// Likewise, by their descriptors; of pictures whose descriptors are of one length.
[[nodiscard]] std::vector<std::pair<uint32_t, uint32_t>> DescriptorPairs(absl::Span<const Picture> pictures,
                                                                         const CopyOptions& options, int threads);

enum class CopyVerdict { kUnknown, kVerbatim, kTemplate, kSemantic };

struct CopyFinding {
  // Unknown for fewer than two seeds. Verbatim by a clique of pixels; else template; else verbatim by a clique that needs
  // descriptors, too: a detector is made to see through a frame or an overlay, so that pictures which the pixels show to differ
  // within a fixed part are a template whatever it says. Not semantic where fewer than two seeds have pixels.
  CopyVerdict verdict = CopyVerdict::kUnknown;
  uint64_t pictures = 0;
  uint64_t seeds = 0;  // distinct ones
  // Pictures with a copy among those of other seeds; their share with its 95 % interval (Wilson).
  uint64_t copies = 0;
  double share = 0;
  Interval share_ci = {0, 1};
  // Of these, pictures with a copy that is equal pixel for pixel.
  uint64_t identical = 0;
  // Pictures with a descriptor, and those with nothing else.
  uint64_t described = 0, described_alone = 0;
  // Pairs that are copies, and those of them by descriptors alone.
  uint64_t links = 0, detected_links = 0;
  // True where it is verbatim by these alone.
  bool detector_decides = false;
  // Indices into the pictures, ascending; empty where no two are copies.
  Clique clique;
  // See TemplateScore; of one picture a seed.
  double template_score = 0;
};
// At most 4,096 pictures. `others`: pictures outside the set; what they show, too, is no part of a template.
[[nodiscard]] CopyFinding JudgeCopies(absl::Span<const Picture> pictures, const CopyOptions& options, int threads,
                                      absl::Span<const Overlay* const> others = {});

}  // namespace promptsweep::motifs
