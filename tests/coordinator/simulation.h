// A coordinator, workers and a store in one thread under one seeded scheduler, with lost, late, reordered and repeated messages,
// workers that are slow, crash, hang, get stuck and come back, that hear of a lease's cut or do not, and that are drained by an
// operator; a coordinator that is killed (also within a call to the store, before and after the store acted) and one that is
// stopped; a store that refuses; limits that change; a sweep that grows, while it runs or after it has ended; and cells that kill
// their worker. After a while the faults stop; then the sweep must end, with exactly the cells that cannot be made on its failure
// list.
#pragma once

#include <cstdint>
#include <string>

namespace promptsweep::coordinator {

struct SimulationResult {
  std::string problem;  // empty where all went well
  // What happened on the way, so that a test can say whether it proved anything.
  uint64_t given_twice = 0;   // cells that a second worker was given while the first had them
  uint64_t cuts = 0;          // of leases, that their workers heard of
  uint64_t drains = 0;        // of workers that held something
  uint64_t extensions = 0;    // that the store did
  uint64_t kills_inside = 0;  // of the coordinator, after the store acted and before it heard so
  uint64_t renewals = 0;      // replies with a lease that was granted before

  // Adds what happened.
  SimulationResult& operator+=(const SimulationResult& other);
};

// The same seed is the same run. Thread-safe.
SimulationResult Simulate(uint64_t seed);

}  // namespace promptsweep::coordinator
