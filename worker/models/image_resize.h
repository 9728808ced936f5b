// Pillow's resize on any device.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace promptsweep::worker {

enum class ResizeFilter { kBilinear, kBicubic };

// A rectangle of the resized image.
struct ResizeWindow {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

// uint8 [n, c, h, w] -> float32 [n, c, window.height, window.width] of whole levels 0..255, on the images' device: the window of
// what Pillow's Image.resize((width, height), filter) gives, level by level. Nothing outside the window is computed. Antialiased
// where it shrinks; rows first, then columns, rounded to levels between the two. Source: Pillow's Resample.c (precompute_coeffs,
// normalize_coeffs_8bpc).
//
// Pillow before 12.3 is meant, with which the published models were trained. Since then columns come first where an image is more
// than 100 times as high as wide (12.3) or its height shrinks much more than its width (13), which moves a few levels; never
// where both shrink alike, as for a shortest edge, up to that form.
//
// Weights there are whole numbers of 2^-22, levels are 8 bits, so every sum fits a double exactly, in whatever order a device
// adds; hence the result depends on neither device nor batch. Memory beside input and output is bounded.
at::Tensor ResizeAsPillow(const at::Tensor& images, int64_t height, int64_t width, ResizeFilter filter,
                          const ResizeWindow& window);

}  // namespace promptsweep::worker
