// Proof that a store agrees with itself: everything recounted from the rows, nothing taken from memory.
#pragma once

#include "absl/status/statusor.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/ledger.h"
#include "store/outside_images.h"

namespace promptsweep::store {

// As of one snapshot. Blocks for as long as reading every key (deep: every byte) takes. At most kMaxProblems lines a sweep.
// NOT_FOUND where request.sweep is not one; disagreements are answers, not errors.
[[nodiscard]] absl::StatusOr<v1::VerifyResponse> VerifyStore(Database& database, const Ledger& ledger, OutsideImages& images,
                                                             const v1::VerifyRequest& request);

inline constexpr int kMaxProblems = 100;

}  // namespace promptsweep::store
