// Proves that a control group's limit lowers the machine's memory and that anything else leaves it.
#include "base/machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace promptsweep {
namespace {

TEST(MemoryLimitTest, IsTheLowerOfMachineAndControlGroup) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "machine_test_cgroups";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "memory");
  const uint64_t machine = MemoryLimit(folder);
  EXPECT_GT(machine, 1u << 24);
  std::ofstream(folder / "memory.max") << "max\n";
  EXPECT_EQ(MemoryLimit(folder), machine);
  std::ofstream(folder / "memory.max") << "16777216\n";
  EXPECT_EQ(MemoryLimit(folder), 16777216u);
  std::ofstream(folder / "memory/memory.limit_in_bytes") << "9223372036854771712\n";
  EXPECT_EQ(MemoryLimit(folder), 16777216u);
  std::ofstream(folder / "memory/memory.limit_in_bytes") << "1048576\n";
  EXPECT_EQ(MemoryLimit(folder), 1048576u);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace promptsweep
