// Growing a sweep: more cells behind those it has, so that an ordinal names one cell for ever.
//
// An extension of a manifest is a manifest whose outermost chain begins with all that the first one asks, part for part, and
// goes on: whatever grew in the author's file (seeds, prompts, models, a setting), the new cells are appended. All else that
// decides a cell or where its results go is the same, but that models may be added.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// True where `digest` names a sweep whose manifest has the digest `current` and had `earlier` ones before it was extended.
[[nodiscard]] bool IsOrWas(absl::string_view digest, absl::string_view current,
                           const google::protobuf::RepeatedPtrField<std::string>& earlier);

// OK exactly if `after` extends `before`: both are whole (Plan::FromManifest), every ordinal of `before` names the same cell with
// the same fingerprint in `after`, and there are more. A new model may have an empty digest. INVALID_ARGUMENT says in one line
// what differs, safe to show. Costs what compiling both costs; nothing is expanded.
[[nodiscard]] absl::Status CheckExtension(const v1::SweepManifest& before, const v1::SweepManifest& after);

// `before`, a sweep's spec (it may have been extended before), with cells appended for what `grown`, the author's file as it is
// now, asks beyond it.
//  - Where the chain of `grown` begins with all that `before` asks, the result's cells are those of `grown`, word for word.
//  - Else the appended parts ask each cell of `grown` that `before` does not ask once, and no other, in the order of `grown`
//    (values of an axis that alternate between old and new more than 64 times are gathered instead). Cells that `before`
//    asks and `grown` does not stay. Ranges stay ranges; the cost depends on the specs' size, never on the number of cells.
//  - Where `grown` asks nothing new, the result's cells are those of `before`, word for word.
// A cell is its model, prompt, seed and settings, defaults filled in; 1 and 1.0 are one value.
// INVALID_ARGUMENT where anything but the cells differs (it names the field, its old and its new value), where a spec is not
// whole, and where the difference has no short form in the algebra (it says to append a part to the chain instead).
[[nodiscard]] absl::StatusOr<v1::SweepSpec> ExtendSpec(const v1::SweepSpec& before, const v1::SweepSpec& grown);

}  // namespace promptsweep::sweep
