// Pictures made from stored pictures: thumbnails for the report and contact sheets.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::cli {

// The picture no larger than `side` on either side: averaged down, never enlarged. Keeps its proportions.
[[nodiscard]] worker::Image Shrink(const worker::Image& image, int side);

// The pictures in rows, each shrunk into a square cell of `side`, centred, on a light ground with gaps; as square as possible.
// Precondition: not empty.
[[nodiscard]] worker::Image ContactSheet(const std::vector<worker::Image>& pictures, int side);

}  // namespace promptsweep::cli
