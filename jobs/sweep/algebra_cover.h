// Sets of cells as unions of boxes, for finding what one node asks that another does not. A box allows each of its axes some
// values, zipped axes some rows, and takes away what rules match. Only algebra*.cc include this.
//
// A cell is looked up axis by axis: BoxTable::Narrowed leaves the boxes that its values so far may belong to, and Have says at
// the end whether one of them has it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/repeated_field.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/algebra_rules.h"

namespace promptsweep::sweep::internal {

inline constexpr size_t kMaxBoxes = 10'000;
inline constexpr uint64_t kMaxLooseRows = 1024;  // of a zip whose axes stand apart elsewhere
inline constexpr uint64_t kMaxBreaks = 1 << 18;  // places where a range may fall into pieces
inline constexpr size_t kMaxAxes = 64;

using AxisNames = std::set<std::string>;

// INVALID_ARGUMENT: what was asked for has no short form; says what to do instead.
[[nodiscard]] absl::Status NoShortForm(absl::string_view why);

// A value, and what it is compared by.
struct Point {
  explicit Point(v1::Value of);
  v1::Value value;
  std::string canonical;
  std::optional<int64_t> whole;
};

// The values of one axis.
class ValueSet {
 public:
  explicit ValueSet(const v1::Axis& axis);
  // One value.
  explicit ValueSet(const Point& point);
  bool Contains(const Point& point) const;
  // Adds every position of `range` at which membership may change.
  [[nodiscard]] absl::Status AddBreaks(const v1::IntRange& range, std::vector<uint64_t>& breaks) const;

 private:
  absl::flat_hash_set<std::string> others_;  // canonical
  std::vector<int64_t> whole_;               // sorted
  std::optional<v1::IntRange> range_;        // ascending
};

// Adds where the interval of whole numbers, both ends included, begins and ends among the positions of `range`.
void AddInterval(const v1::IntRange& range, int64_t low, int64_t high, std::vector<uint64_t>& breaks);

// The rows of a zip whose axes go together wherever they appear.
struct RowSet {
  AxisNames axes;
  std::string bytes;                      // of the zip
  bool scanned = false;                   // else only the same zip is known to have the same rows
  absl::flat_hash_set<std::string> rows;  // RowKey
};

// Values of some axes of one cell.
using Row = std::map<std::string, Point>;

// The values of a row, in the order of its axes' names.
[[nodiscard]] std::string RowKey(const Row& row);

struct Box {
  std::map<std::string, std::shared_ptr<const ValueSet>> sets;
  std::vector<std::shared_ptr<const RowSet>> zips;
  std::vector<std::shared_ptr<const Rule>> rules;  // at most 64; each on axes of the box only
  AxisNames axes;                                  // of sets and zips
  bool is_rule = false;  // matches whatever else a cell has, and no cell without one of its axes, defaults or not
};

// Sets of axes that only ever stand in one zip together, in all of `nodes`.
[[nodiscard]] std::vector<AxisNames> ZippedAxes(const std::vector<const v1::CellNode*>& nodes);

// Boxes whose union is the cells of a product of `nodes`, which compile. `zipped`: see ZippedAxes. INVALID_ARGUMENT where that
// takes more than kMaxBoxes.
[[nodiscard]] absl::StatusOr<std::vector<Box>> BoxesOf(const std::vector<const v1::CellNode*>& nodes,
                                                       const std::vector<AxisNames>& zipped);

// Boxes of what a rule matches among the cells of `exclude`.
[[nodiscard]] absl::StatusOr<std::vector<Box>> BoxesOfRules(const v1::Exclude& exclude);

// A box that the values so far may belong to, and which of its rules they still match.
struct State {
  int box;
  RuleMask mask;
  auto operator<=>(const State&) const = default;
};
using States = std::vector<State>;  // by box

// The boxes in question, and the defaults that fill in what a cell does not say. Not thread-safe.
class BoxTable {
 public:
  explicit BoxTable(const google::protobuf::RepeatedPtrField<v1::Setting>& defaults);

  // States of these boxes before any value.
  States Add(std::vector<Box> boxes);
  // What is left of `states` by the values of a row.
  [[nodiscard]] absl::StatusOr<States> Narrowed(const States& states, const Row& row) const;
  // The same by all rows of a zip of more than kMaxZipScan, which are not looked at: a box has the same zip, or none of its rows.
  [[nodiscard]] absl::StatusOr<States> NarrowedByLongZip(const States& states, const v1::CellNode& zip,
                                                         const CellTree& tree) const;
  // Positions of a range from which on `states` may be left in another way, sorted, 0 among them.
  [[nodiscard]] absl::StatusOr<std::vector<uint64_t>> Breaks(const States& states, const v1::Axis& axis) const;
  // True if a box of `states` has the cell whose axes are `seen`.
  [[nodiscard]] absl::StatusOr<bool> Have(const States& states, uint64_t seen) const;

  // Adds an axis to those of a cell.
  [[nodiscard]] absl::Status See(const std::string& axis, uint64_t& seen);
  // Those of `states` that are rules.
  States RulesOf(const States& states) const;
  // Takes what these rules match, of a cell with the axes `seen` before, out of `boxes`.
  [[nodiscard]] absl::Status PutUnder(const States& rules, uint64_t seen, std::vector<Box>& boxes) const;

 private:
  [[nodiscard]] absl::StatusOr<bool> Narrow(const Row& row, State& state) const;
  bool Saw(const std::string& axis, uint64_t seen) const;

  Row defaults_;
  std::vector<Box> boxes_;
  std::map<std::string, size_t> axis_ids_;
};

}  // namespace promptsweep::sweep::internal
