// What this machine grants the process.
#pragma once

#include <cstdint>
#include <string>

namespace promptsweep {

// Bytes of memory the process may use: the machine's, or its control group's limit (cgroup v2, then v1, below `cgroups`) where
// that is lower.
[[nodiscard]] uint64_t MemoryLimit(const std::string& cgroups = "/sys/fs/cgroup");

}  // namespace promptsweep
