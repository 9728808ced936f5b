// What a comparison asks: which runs it sets against which, and what chance alone could do.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/sweep/filter.h"

namespace promptsweep::motifs {

enum class Question {
  // What recurs in the target more than in the baseline. By default blank runs, and all others.
  kCompared,
  // What does one model draw unasked that others do not? Its blank runs, and theirs of the same seeds.
  kUnasked,
  // Does a prompt bring in what others do not? Its runs, and those of the model's other prompts that are not blank.
  kLeak,
  // Did a change of the model change what recurs? Runs of the new one, and those of the old one of the same prompts and seeds.
  kChanged,
  // Has a model collapsed onto a few pictures? Its blank runs, and the prompts it was asked. That these differ is no question, so
  // nothing is tested.
  kCollapsed,
};

// "" (kCompared), "unasked", "leak", "changed", "collapsed". INVALID_ARGUMENT names the nearest.
[[nodiscard]] absl::StatusOr<Question> ParseQuestion(absl::string_view name);
[[nodiscard]] std::string QuestionName(Question question);

// What runs may be exchanged under the question's null hypothesis, as far as the question says.
[[nodiscard]] Comparison ComparisonOf(Question question);

// What a sweep has, for the choice of sides.
struct SweepFacts {
  std::vector<std::string> axes;    // names a filter may use
  std::vector<std::string> models;  // ids, in the order of the sweep
  bool asks_blank = false;          // some run, stored or not, has a blank prompt
};

struct Sides {
  sweep::CellFilter target;
  sweep::CellFilter baseline;
  // The baseline is what matches its filter and is no target run.
  bool baseline_is_rest = false;
  // Likewise of the target.
  bool target_is_rest = false;
  // No run of a blank prompt is a baseline run.
  bool baseline_without_blank = false;
};

// The sides of a cell; a cell on both is the user's mistake.
[[nodiscard]] bool InTarget(const v1::Cell& cell, const Sides& sides);
[[nodiscard]] bool InBaseline(const v1::Cell& cell, const Sides& sides);

// `target` and `baseline` as the user wrote them, perhaps empty; what they leave open the question fills in:
//   kCompared   target: blank runs, or all where the sweep asks no blank prompt; baseline: the rest
//   kUnasked    target: blank runs of the first model; baseline: blank runs of the others
//   kLeak       target: must name a prompt; baseline: the rest, where the target's other axes hold and no prompt is blank
//   kChanged    of two models the second; baseline: the first
//   kCollapsed  as kCompared
// INVALID_ARGUMENT: a bad filter; a sweep that cannot answer the question, or the part of it that only the user can say.
[[nodiscard]] absl::StatusOr<Sides> ChooseSides(Question question, const std::string& target, const std::string& baseline,
                                                const SweepFacts& facts);

}  // namespace promptsweep::motifs
