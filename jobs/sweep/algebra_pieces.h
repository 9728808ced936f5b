// Some positions of an axis or a zip, as a node. Only algebra*.cc include this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/sweep/algebra.h"

namespace promptsweep::sweep::internal {

// Positions, the end left out; not empty.
using Pieces = std::vector<std::pair<uint64_t, uint64_t>>;

[[nodiscard]] uint64_t LengthOf(const Pieces& pieces);

// A node of the axis' values at `pieces`, in their order. Pieces of a range stay ranges, few of them in a chain, many that are
// long in an exclusion of what is between them; short ones are written out. INVALID_ARGUMENT where none of that does.
[[nodiscard]] absl::StatusOr<v1::CellNode> PiecesOfAxis(const v1::Axis& axis, const Pieces& pieces);

// A node of the zip's rows at `pieces`, in their order; `tree` is the zip compiled, all rows of which have all axes.
[[nodiscard]] absl::StatusOr<v1::CellNode> PiecesOfZip(const v1::CellNode& zip, const CellTree& tree, const Pieces& pieces);

// The product of nodes, those that are products joined into it.
[[nodiscard]] v1::CellNode ProductOf(const std::vector<const v1::CellNode*>& nodes);

}  // namespace promptsweep::sweep::internal
