// How alike pictures are pixel by pixel, laid over each other at one size. Pure functions; thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::motifs {

inline constexpr int kOverlaySide = 256;
inline constexpr int kTiles = 8;  // each way

// A picture stretched to 256 x 256: 3 bytes a pixel, row-major. 192 KiB.
using Overlay = std::vector<uint8_t>;
// Resampled by a triangle as wide as a pixel of the coarser grid (Pillow's BILINEAR).
[[nodiscard]] Overlay OverlayOf(const worker::Image& image);

// SHA-256 of size and pixels: equal for pictures that decode to the same pixels, whatever their files are.
[[nodiscard]] std::string PixelDigest(const worker::Image& image);

// Root mean square difference (1 is black to white) in the tile, of 8 x 8, where it is largest (Carlini et al. 2023, who
// introduced it lest a shared ground make unlike pictures pass for one). Above `enough` the search ends early and anything
// above it may be returned.
[[nodiscard]] double TileMaxRms(const Overlay& a, const Overlay& b, double enough = 1);

// Standard deviation of a picture's values about the mean of its channel, 0..0.5: its contrast.
[[nodiscard]] double Contrast(const Overlay& a);

// Share of pixels that hardly vary from picture to picture: root mean square over channels of the standard deviation across
// `pictures` below `least_deviation`. Near 1 for copies, high for fixed pixels around a varying part (the "template verbatims" of
// Webster 2023). Such pixels that at least half of `others` show in about the same colour (the plain ground of icons, say) are no
// part of a template and left out of both counts; where hardly any remain, and for fewer than two pictures, 0.
[[nodiscard]] double TemplateScore(absl::Span<const Overlay* const> pictures, double least_deviation = 0.05,
                                   absl::Span<const Overlay* const> others = {});

}  // namespace promptsweep::motifs
