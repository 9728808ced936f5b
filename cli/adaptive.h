// Adaptive sweeps: what their stop rule says once all cells are done, and the seeds it asks for.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/mining.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::cli {

struct LookOutcome {
  std::string json;   // what the miner printed
  std::string words;  // LookInWords
  bool stopped = false;
  uint64_t added = 0;  // cells, where it goes on
};

// What the looks at a sweep have led to so far, whatever was mined since; without looks where there was none.
[[nodiscard]] absl::StatusOr<v1::StopState> StoredLooks(v1::StoreService::StubInterface& store, uint32_t sweep);

// Takes the next look at an ended sweep with a stop rule and, where the rule goes on, extends the sweep: through `sweeps`, or in
// the store where nobody schedules (null). Safe to repeat: a look at the same cells is the same look, and where another process
// has extended the sweep meanwhile its extension stands. Statuses of RunMiner, and of the calls.
[[nodiscard]] absl::StatusOr<LookOutcome> LookAndGrow(v1::StoreService::StubInterface& store,
                                                      v1::SweepService::StubInterface* sweeps, MiningRequest request);

}  // namespace promptsweep::cli
