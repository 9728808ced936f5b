// Objects outside of the store that no result refers to: images of results that were never acknowledged, of a cell's second and
// differing result, of deleted sweeps.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "store/database.h"
#include "store/ledger.h"
#include "store/outside_images.h"

namespace promptsweep::store {

struct Orphans {
  uint64_t objects = 0;  // removed
  uint64_t bytes = 0;    // their size
};

// A result reaches the store soon after its image reached the bucket.
inline constexpr absl::Duration kOrphanAge = absl::Hours(1);

// For every place where a stored sweep, one being deleted included, keeps images: lists it and removes what is at least `min_age`
// old, is named like an image, and is in no row. Safe at any age: a result whose image was removed is answered ABORTED, and its
// worker puts the image again. Blocks. Takes 8 bytes for each of at most 8 million rows at a time (64 MiB), and goes over all
// rows again for each further 8 million; beside that 32 bytes for each result that is admitted meanwhile.
//
// RESOURCE_EXHAUSTED while another removal runs. FAILED_PRECONDITION where another store's results refer to a place too: nothing
// is removed there, because its images would look like orphans. UNAVAILABLE where a place is out of reach: the others are still
// done, and what was removed stays so.
[[nodiscard]] absl::StatusOr<Orphans> RemoveOrphanObjects(Database& database, const Ledger& ledger, OutsideImages& images,
                                                          Clock& clock, absl::Duration min_age = kOrphanAge);

}  // namespace promptsweep::store
