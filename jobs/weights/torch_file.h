// The tensors of a file that torch.save wrote: a dict of tensors by name, or {"state_dict": such a dict}; dicts in it are joined
// with dots. Both forms of the file: the zip archive (since torch 1.6) and the row of pickles before it.
// Source: torch/serialization.py 2.11 (_save, _legacy_save, _legacy_load).
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {

// The tensors are views of `bytes`. INVALID_ARGUMENT where the file is cut short or damaged, asks for anything but tensors
// (jobs/weights/pickle.h), or holds something else under a name; also where its tensors add up to more than four times the file,
// as no checkpoint's do.
[[nodiscard]] absl::StatusOr<TensorMap> ReadTorchFile(absl::string_view bytes);

// Compares every entry of a zip archive with its CRC-32. `progress` hears how many bytes have been read since it was last called,
// every few MB; an error of its ends the check. INVALID_ARGUMENT, naming the entry; OK for a file that is no zip archive.
[[nodiscard]] absl::Status CheckCrc(absl::string_view bytes, const std::function<absl::Status(uint64_t)>& progress);

}  // namespace promptsweep::weights
