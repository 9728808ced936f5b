// Proves that every cell of a sweep ends exactly once, stored or failed, and that the coordinator's numbers add up after every
// event, whatever happens on the way: see simulation.h. A failing seed is printed as the command that replays it. Other seeds, on
// all cores: PROMPTSWEEP_SIM_SEEDS=1..100000 tests/simulation_test --gtest_filter='*Seeds*'
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "tests/coordinator/simulation.h"

namespace promptsweep::coordinator {
namespace {

constexpr uint64_t kSeeds = 300;

std::string Replay(uint64_t seed) {
  return absl::StrCat("replay: PROMPTSWEEP_SIM_SEEDS=", seed, "..", seed, " tests/simulation_test --gtest_filter='*Seeds*'");
}

// Stops at the first failing seed. Returns what happened in all.
SimulationResult RunSeeds(uint64_t first, uint64_t last) {
  spdlog::set_level(spdlog::level::off);
  std::atomic<uint64_t> next = first;
  absl::Mutex mu;
  SimulationResult all;
  std::string problem;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (uint64_t seed = next++; seed <= last; seed = next++) {
        const SimulationResult result = Simulate(seed);
        absl::MutexLock lock(&mu);
        all += result;
        if (result.problem.empty()) continue;
        if (problem.empty()) problem = absl::StrCat(result.problem, "\n", Replay(seed));
        next = last + 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(problem, "");
  return all;
}

TEST(SimulationTest, EveryCellEndsOnce) {
  const SimulationResult all = RunSeeds(1, kSeeds);
  // Else this test proves less than it says.
  EXPECT_GT(all.given_twice, 0u);
  EXPECT_GT(all.cuts, 0u);
  EXPECT_GT(all.drains, 0u);
  EXPECT_GT(all.extensions, 0u);
  EXPECT_GT(all.kills_inside, 0u);
  EXPECT_GT(all.renewals, 0u);
}

TEST(SimulationTest, FreshSeed) {
  const uint64_t seed = std::random_device()();
  RunSeeds(seed, seed);
}

TEST(SimulationTest, Seeds) {
  const char* range = std::getenv("PROMPTSWEEP_SIM_SEEDS");
  if (range == nullptr) GTEST_SKIP() << "PROMPTSWEEP_SIM_SEEDS is not set";
  const std::vector<std::string> ends = absl::StrSplit(range, "..");
  uint64_t first = 0, last = 0;
  ASSERT_TRUE(ends.size() == 2 && absl::SimpleAtoi(ends[0], &first) && absl::SimpleAtoi(ends[1], &last) && first <= last)
      << "PROMPTSWEEP_SIM_SEEDS is FIRST..LAST, not " << range;
  RunSeeds(first, last);
}

}  // namespace
}  // namespace promptsweep::coordinator
