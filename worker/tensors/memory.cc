#include "worker/tensors/memory.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

// The first number of a line that starts with `key` (of the file's first line where it is empty), or kNone.
int64_t NumberIn(const std::string& path, absl::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(rest, absl::ByAnyChar(" \t:"), absl::SkipEmpty());
    int64_t number = 0;
    return !words.empty() && absl::SimpleAtoi(words[0], &number) ? number : kNone;
  }
  return kNone;
}

// What a group still allows, or kNone.
int64_t Left(const std::string& limit, const std::string& used, const std::string& stat, absl::string_view droppable) {
  const int64_t most = NumberIn(limit, ""), taken = NumberIn(used, ""), cached = NumberIn(stat, droppable);
  if (most == kNone || taken == kNone) return kNone;
  return std::max<int64_t>(0, most - taken + (cached == kNone ? 0 : cached));
}

// The process's groups from its own up to the root of a hierarchy; a container sees its own as the root.
int64_t LeftInGroups() {
  int64_t left = kNone;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const bool v2 = parts[1].empty();
    if (!v2 && parts[1] != "memory") continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string path = parts[2];; path.resize(path.rfind('/'))) {
      while (!path.empty() && path.back() == '/') path.pop_back();
      const std::string folder = root + path;
      left =
          std::min(left, v2 ? Left(folder + "/memory.max", folder + "/memory.current", folder + "/memory.stat", "inactive_file ")
                            : Left(folder + "/memory.limit_in_bytes", folder + "/memory.usage_in_bytes", folder + "/memory.stat",
                                   "total_inactive_file "));
      if (path.find('/') == std::string::npos) break;
    }
  }
  return left;
}

}  // namespace

int64_t FreeMemory(const c10::Device& device) {
  if (device.is_cpu()) {
    const int64_t kilobytes = NumberIn("/proc/meminfo", "MemAvailable");
    const int64_t machine = kilobytes == kNone ? kNone : kilobytes * 1024;
    const int64_t left = std::min(machine, LeftInGroups());
    return left == kNone ? 0 : left;
  }
  if (device.is_meta()) return 0;
  return static_cast<int64_t>(at::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

}  // namespace promptsweep::worker
