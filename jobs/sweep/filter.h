// Which cells a query or a motif comparison is about: "prompt=,seed=0..999,model=micro-dalle".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// What one axis may be: any of these. Thread-safe when const.
struct AxisFilter {
  bool any_blank = false;                           // prompt= : every kind of blank
  std::vector<std::string> values;                  // CanonicalValue, sorted
  std::vector<std::pair<int64_t, int64_t>> ranges;  // both ends included
  std::vector<std::string> shown;                   // the alternatives as written, for people
};

// Axes joined by "and", the values of one axis by "or". Empty: every cell. A cell without a named axis does not match.
struct CellFilter {
  std::map<std::string, AxisFilter> axes;
  bool empty() const { return axes.empty(); }
};

// Grammar: axis=value, several joined by commas; a comma begins a new filter where an identifier and '=' follow it. value:
// alternatives joined by '|': text, number, first..last, true, false. A backslash keeps a comma, a bar or a backslash after it.
// "prompt=" is any blank; "prompt=<blank:padding>" one kind. `axes` are the names that exist; INVALID_ARGUMENT names the
// nearest. An empty `text` gives an empty filter.
[[nodiscard]] absl::StatusOr<CellFilter> ParseFilters(absl::string_view text, const std::vector<std::string>& axes);

// Names of the axes and default settings of a manifest, sorted.
[[nodiscard]] std::vector<std::string> AxisNames(const v1::SweepManifest& manifest);

[[nodiscard]] bool Matches(const v1::Cell& cell, const CellFilter& filter);

// The filter in words for headings: `prompt blank, seed 0..999`.
[[nodiscard]] std::string FilterText(const CellFilter& filter);

// A value as it is written in a filter: commas, bars and backslashes get a backslash.
[[nodiscard]] std::string EscapeFilterValue(absl::string_view value);

}  // namespace promptsweep::sweep
