// Growing the seeds of a sweep by its stop rule: what the rule may ask, and the extension that adds seeds.
//
// A part of the outermost chain grows where each of its seed axes is a range of positive step that stands in products and chains
// only (and in exclusions without a condition on the seed). Parts that differ in their seeds alone are one family: the part its
// author wrote and those that growing appended.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

inline constexpr double kDefaultError = 0.05;
inline constexpr double kDefaultGrowth = 1.5;
inline constexpr uint64_t kDefaultMaxCells = 10;  // times the cells of the spec

// OK where every seed axis of a spec can grow; else INVALID_ARGUMENT says in one line which cannot.
[[nodiscard]] absl::Status CheckSeedsGrow(const v1::CellNode& cells);

// A rule's own numbers: ranges as in sweep.proto, finite, and at least one criterion (motif_ci_halfwidth, decide_at or novelty).
// INVALID_ARGUMENT names the first field that is wrong.
[[nodiscard]] absl::Status CheckStopRule(const v1::StopRule& rule);

// The same for a spec that has a rule, with `cells` cells: it embeds, its seeds grow, max_cells is not below `cells`. OK for a
// spec without a rule.
[[nodiscard]] absl::Status CheckStop(const v1::SweepSpec& spec, uint64_t cells);

// The rule with its defaults filled in. `first_cells`: cells of the sweep before it ever grew.
[[nodiscard]] v1::StopRule WithDefaults(const v1::StopRule& rule, uint64_t first_cells);

struct SeedGrowth {
  // Families that ask a blank prompt are the target, or all where none does; the others are the baseline.
  bool target = false;
  bool baseline = false;
  // Seeds afterwards over seeds now, of the axis that has the most; at least one more. The others keep the proportions they were
  // asked in, rounded up, so that an axis of few seeds may have to wait.
  double factor = kDefaultGrowth;
  uint64_t max_cells = 0;
};

// `before` with one part appended for each family that grows. New seeds lie above all that the sweep has; two families that share
// a model and a prompt get different ones, others the same. All families of the target grow by one factor, which is lowered where
// max_cells is near; then the baseline grows by what is left. RESOURCE_EXHAUSTED where max_cells leaves no room for one
// more seed of the target (or of the baseline, if only that grows); INVALID_ARGUMENT where the seeds cannot grow or
// no family is to. The result passes CheckExtension.
[[nodiscard]] absl::StatusOr<v1::SweepManifest> GrowSeeds(const v1::SweepManifest& before, const SeedGrowth& growth);

}  // namespace promptsweep::sweep
