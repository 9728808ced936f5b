// The device that models run on.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "absl/status/statusor.h"

namespace promptsweep::worker {

// "cpu", or "cuda:N", N counting the GPUs that CUDA_VISIBLE_DEVICES leaves. For a GPU it loads libtorch's CUDA half,
// libtorch_cuda.so, from the program's own libtorch or LD_LIBRARY_PATH, so one program serves machines with and without. To be
// called before anything else asks torch for CUDA. INVALID_ARGUMENT where torch has no such device or the machine has no such
// GPU, and the reason.
[[nodiscard]] absl::StatusOr<at::Device> OpenDevice(const std::string& name);

// What it is: "cpu: AMD EPYC 7B13", "cuda: NVIDIA H200". The same for equal devices of different machines.
[[nodiscard]] std::string DeviceWords(const at::Device& device);

// Waits until the device has done all that it was asked; at once on a CPU.
void Synchronize(const at::Device& device);

}  // namespace promptsweep::worker
