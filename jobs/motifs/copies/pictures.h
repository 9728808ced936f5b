// The stored pictures of some runs, decoded and reduced.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/copies/verdict.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::motifs {

struct StoredPictures {
  std::vector<Picture> pictures;  // those that were decoded, then those with a descriptor alone; each by ordinal
  v1::Prompt prompt;              // of the first run
  uint64_t without = 0;           // runs that have no stored picture
  uint64_t undecodable = 0;
  // Why the store could not read its pictures, where it could not (they are kept elsewhere, say); then nothing else is set.
  std::string unreadable;
};

// Of `ordinals`, ascending; `imported`: the sweep is an import, whose seeds stand in a column or are the ordinals; `detector`:
// the embedder whose vectors are the descriptors, empty for none. Holds a few encoded pictures at a time. Statuses of GetResults;
// DATA_LOSS where its stream was cut short or harmed.
[[nodiscard]] absl::StatusOr<StoredPictures> LoadPictures(v1::StoreService::StubInterface& store, uint32_t sweep,
                                                          const std::vector<uint64_t>& ordinals, bool imported,
                                                          const std::string& detector, int threads);

// At most `most` of `items`, drawn by `seed`, in their order.
[[nodiscard]] std::vector<uint32_t> DrawSome(std::vector<uint32_t> items, uint64_t most, uint64_t seed);

}  // namespace promptsweep::motifs
