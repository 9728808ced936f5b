// What one node asks that another does not, as a node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// An axis whose values fall into more stretches than this, by what is missing of them, is gathered: all values with the same
// missing rest stand together.
inline constexpr size_t kMaxRuns = 64;
// Steps of comparing before giving up; about ten seconds.
inline constexpr uint64_t kMaxDifferenceWork = 20'000'000;

// A node of each cell of `grown` that `before` does not have, once, in the order of `grown` (but see kMaxRuns); nothing where
// there is none. `defaults` fill in what a cell does not say. Parts of `grown` that are wholly new stay as they are written; the
// rest are products of what is missing, nested where that keeps the order. Precondition: both nodes compile. INVALID_ARGUMENT
// where there is no short form. Follows the axes of `grown` outermost first, keeping the boxes of `before` (algebra_cover.h)
// that the values so far may belong to; values that leave the same boxes have the same rest.
[[nodiscard]] absl::StatusOr<std::optional<v1::CellNode>> CellsBeyond(
    const v1::CellNode& grown, const v1::CellNode& before, const google::protobuf::RepeatedPtrField<v1::Setting>& defaults);

}  // namespace promptsweep::sweep
