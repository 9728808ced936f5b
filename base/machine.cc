#include "base/machine.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace promptsweep {

uint64_t MemoryLimit(const std::string& cgroups) {
  uint64_t limit = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const char* file : {"/memory.max", "/memory/memory.limit_in_bytes"}) {
    uint64_t value = 0;
    // "max" is no number.
    if (std::ifstream(cgroups + file) >> value && value > 0) limit = std::min(limit, value);
  }
  return limit;
}

}  // namespace promptsweep
