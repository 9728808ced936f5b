// The tensors of a file that flax.serialization wrote (flax_model.msgpack): maps in maps, joined with dots, with arrays at the
// ends. Source: flax/serialization.py 0.8.5: an array is MessagePack extension type 1 whose content is MessagePack again, [shape,
// name of the type, row-major bytes]; arrays over 2^30 bytes are maps of chunks. Format:
// github.com/msgpack/msgpack/blob/master/spec.md.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {

// The tensors are views of `bytes`. INVALID_ARGUMENT where the file is cut short or damaged, or holds something else than arrays.
[[nodiscard]] absl::StatusOr<TensorMap> ReadFlaxFile(absl::string_view bytes);

}  // namespace promptsweep::weights
