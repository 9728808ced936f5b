// A coordinator, workers and a store in one thread under one seeded scheduler, with lost, late, reordered and repeated messages,
// workers that are slow, crash, hang, get stuck and come back, a coordinator that is killed (also within a call to the store,
// before and after the store acted) and one that is stopped, a store that refuses, and cells that kill their worker. After a
// while the faults stop; then the sweep must end, with exactly the cells that cannot be made on its failure list.
#pragma once

#include <cstdint>
#include <string>

namespace promptsweep::coordinator {

struct SimulationResult {
  std::string problem;       // empty where all went well
  uint64_t given_twice = 0;  // cells that a second worker was given while the first had them
};

// The same seed is the same run. Thread-safe.
SimulationResult Simulate(uint64_t seed);

}  // namespace promptsweep::coordinator
