// Which motifs of two stored reports are compared, and by which regions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/mining/frozen.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

// A motif of one report or of both; null where a report does not have it.
struct Compared {
  const v1::Motif* from = nullptr;
  const v1::Motif* to = nullptr;
  // Regions of either report, cross-fitted to the runs that it was mined from.
  Frozen frozen;
};

// The motifs of both reports, the first one's first. `to` is null where one report stands for both sides. Two are one where each
// centre lies inside the other's region, each once, the nearest first. Those that are candidates in every report that has them
// are left out and counted. The reports must outlive the result. Statuses of SweepReader; INVALID_ARGUMENT where no vectors are
// stored of the runs that were mined.
[[nodiscard]] absl::StatusOr<std::vector<Compared>> MotifsToCompare(v1::StoreService::StubInterface& store,
                                                                    const v1::MotifReport& from, const v1::MotifReport* to,
                                                                    int threads, uint64_t& left_out);

}  // namespace promptsweep::motifs
