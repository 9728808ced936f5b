#include "jobs/motifs/question.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::motifs {
namespace {

constexpr char kModel[] = "model", kPrompt[] = "prompt", kBlank[] = "prompt=";

constexpr std::array<std::pair<Question, const char*>, 5> kNames = {{{Question::kCompared, ""},
                                                                     {Question::kUnasked, "unasked"},
                                                                     {Question::kLeak, "leak"},
                                                                     {Question::kChanged, "changed"},
                                                                     {Question::kCollapsed, "collapsed"}}};

bool Names(const sweep::CellFilter& filter, const char* axis) { return filter.axes.count(axis) > 0; }

// Adds the axes of `text` that `filter` leaves open.
absl::Status FillIn(const std::string& text, const SweepFacts& facts, sweep::CellFilter& filter) {
  PS_ASSIGN_OR_RETURN(const sweep::CellFilter more, sweep::ParseFilters(text, facts.axes));
  for (const auto& [axis, values] : more.axes) filter.axes.emplace(axis, values);
  return absl::OkStatus();
}

std::string ModelFilter(std::vector<std::string> models) {
  for (std::string& model : models) model = sweep::EscapeFilterValue(model);
  return absl::StrCat(kModel, "=", absl::StrJoin(models, "|"));
}

absl::Status Unasked(const SweepFacts& facts, Sides& sides) {
  if (!facts.asks_blank) return absl::InvalidArgumentError("--question unasked looks at blank prompts, and the sweep asks none");
  if (facts.models.size() < 2) {
    return absl::InvalidArgumentError(
        "--question unasked compares models, and the sweep has one; without --question its blank runs "
        "are compared with its prompts");
  }
  const bool chosen = Names(sides.target, kModel);
  PS_RETURN_IF_ERROR(FillIn(absl::StrCat(kBlank, ",", ModelFilter({facts.models[0]})), facts, sides.target));
  PS_RETURN_IF_ERROR(FillIn(kBlank, facts, sides.baseline));
  if (Names(sides.baseline, kModel)) return absl::OkStatus();
  if (!chosen) return FillIn(ModelFilter({facts.models.begin() + 1, facts.models.end()}), facts, sides.baseline);
  sides.baseline_is_rest = true;
  return absl::OkStatus();
}

absl::Status Leak(bool has_baseline, Sides& sides) {
  const auto prompt = sides.target.axes.find(kPrompt);
  if (prompt == sides.target.axes.end() || prompt->second.any_blank) {
    return absl::InvalidArgumentError("--question leak needs --target prompt=...: which prompt may bring in what others do not");
  }
  if (has_baseline) return absl::OkStatus();
  sides.baseline_is_rest = sides.baseline_without_blank = true;
  for (const auto& [axis, values] : sides.target.axes) {
    if (axis != kPrompt) sides.baseline.axes.emplace(axis, values);
  }
  return absl::OkStatus();
}

absl::Status Changed(const SweepFacts& facts, Sides& sides) {
  if (sides.target.empty() != sides.baseline.empty()) {
    return absl::InvalidArgumentError(
        "--question changed needs both sides: --target, what it is now, and --baseline, what it was");
  }
  if (!sides.target.empty()) return absl::OkStatus();
  if (facts.models.size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("--question changed compares two models, and the sweep has ",
                                                   facts.models.size(),
                                                   ": say which by --target model=NEW --baseline model=OLD"));
  }
  PS_RETURN_IF_ERROR(FillIn(ModelFilter({facts.models[1]}), facts, sides.target));
  return FillIn(ModelFilter({facts.models[0]}), facts, sides.baseline);
}

}  // namespace

absl::StatusOr<Question> ParseQuestion(absl::string_view name) {
  std::vector<std::string> names;
  for (const auto& [question, known] : kNames) {
    if (name == known) return question;
    if (*known != 0) names.push_back(known);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown question ", sweep::Quoted(std::string(name)), sweep::Hint(std::string(name), names)));
}

std::string QuestionName(Question question) {
  return std::find_if(kNames.begin(), kNames.end(), [&](const auto& entry) { return entry.first == question; })->second;
}

Comparison ComparisonOf(Question question) {
  switch (question) {
    case Question::kUnasked:
    case Question::kChanged:
      return Comparison::kPaired;
    case Question::kLeak:
      return Comparison::kPrompts;
    case Question::kCollapsed:
      return Comparison::kUntested;
    case Question::kCompared:
      break;
  }
  return Comparison::kAsDrawn;
}

bool InTarget(const v1::Cell& cell, const Sides& sides) {
  return sides.target_is_rest ? !sweep::Matches(cell, sides.baseline) : sweep::Matches(cell, sides.target);
}

bool InBaseline(const v1::Cell& cell, const Sides& sides) {
  return sweep::Matches(cell, sides.baseline) && !(sides.baseline_is_rest && InTarget(cell, sides)) &&
         !(sides.baseline_without_blank && cell.prompt().has_blank());
}

absl::StatusOr<Sides> ChooseSides(Question question, const std::string& target, const std::string& baseline,
                                  const SweepFacts& facts) {
  Sides sides;
  PS_ASSIGN_OR_RETURN(sides.target, sweep::ParseFilters(target, facts.axes));
  PS_ASSIGN_OR_RETURN(sides.baseline, sweep::ParseFilters(baseline, facts.axes));
  switch (question) {
    case Question::kUnasked:
      PS_RETURN_IF_ERROR(Unasked(facts, sides));
      break;
    case Question::kLeak:
      PS_RETURN_IF_ERROR(Leak(!baseline.empty(), sides));
      break;
    case Question::kChanged:
      PS_RETURN_IF_ERROR(Changed(facts, sides));
      break;
    case Question::kCompared:
    case Question::kCollapsed:
      if (target.empty() && facts.asks_blank) PS_RETURN_IF_ERROR(FillIn(kBlank, facts, sides.target));
      sides.baseline_is_rest = sides.baseline.empty();
      sides.target_is_rest = sides.target.empty() && !sides.baseline.empty();
      break;
  }
  return sides;
}

}  // namespace promptsweep::motifs
