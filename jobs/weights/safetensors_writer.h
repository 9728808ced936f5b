// Writes a .safetensors file from tensors that are still in the files they came in.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {

// Hears of every few MB that were read or written since it was last called; an error of its ends the work.
using Progress = std::function<absl::Status(uint64_t)>;

// The type a tensor gets: `wanted` where both are floating types and `wanted` is not empty, else its own.
[[nodiscard]] std::string DtypeFor(const Tensor& tensor, const std::string& wanted);

// Writes and syncs a new file: tensors of wider types first, then by name, the metadata {"format": "pt"}; memory stays at a few
// MB beside the pages of the tensor being read. INVALID_ARGUMENT "PATH cannot be written: ...", "tensor ...", or what `progress`
// says; what was written is then left for the caller to remove.
[[nodiscard]] absl::Status WriteSafetensors(const std::string& path, const TensorMap& tensors, const std::string& dtype,
                                            const Progress& progress);

}  // namespace promptsweep::weights
