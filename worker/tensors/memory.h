// How much memory a device has left.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace promptsweep::worker {

// Bytes that could be allocated now. Of a CPU: what the machine has available, or less where the process's cgroup (v2 or v1)
// allows less, file pages that can be dropped counted as free. Of another device: what its driver and torch's allocator say. 0
// where unknown.
int64_t FreeMemory(const c10::Device& device);

}  // namespace promptsweep::worker
