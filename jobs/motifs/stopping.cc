#include "jobs/motifs/stopping.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "jobs/motifs/statistics/runs_needed.h"
#include "jobs/motifs/statistics/sequential.h"
#include "jobs/sweep/growth.h"

namespace promptsweep::motifs {
namespace {

std::string Percent(double share) { return absl::StrFormat("%.2f %%", 100 * share); }

bool AsksMotifs(const v1::StopRule& rule) { return rule.motif_ci_halfwidth() > 0 || rule.decide_at() > 0; }

double UnseenAsked(const v1::StopRule& rule) {
  return AsksMotifs(rule) ? std::max({2 * rule.motif_ci_halfwidth(), rule.decide_at(), rule.least_prevalence()}) : 0;
}

void Judge(const v1::StopRule& rule, v1::FrozenMotif& motif) {
  const v1::LookSequence& sequence = motif.sequence();
  const Interval ci{sequence.low(), sequence.high()};
  const uint64_t n = sequence.runs();
  const std::string range = absl::StrCat(Percent(ci.low), " to ", Percent(ci.high));
  const double reach = n > 0 ? std::max(sequence.share() - ci.low, ci.high - sequence.share()) : 1;
  motif.set_decided(true);
  if (n > 0 && ci.high < rule.least_prevalence()) {
    motif.set_verdict(absl::StrCat("left alone: surely below ", Percent(rule.least_prevalence()), " (", range, ")"));
  } else if (!AsksMotifs(rule)) {
    motif.set_verdict(absl::StrCat("nothing is asked of it (", range, ")"));
  } else if (rule.motif_ci_halfwidth() > 0 && reach <= rule.motif_ci_halfwidth()) {
    motif.set_verdict(absl::StrCat("known to within ", Percent(rule.motif_ci_halfwidth()), ": ", range));
  } else if (rule.decide_at() > 0 && ci.low > rule.decide_at()) {
    motif.set_verdict(absl::StrCat("above ", Percent(rule.decide_at()), ": ", range));
  } else if (rule.decide_at() > 0 && ci.high < rule.decide_at()) {
    motif.set_verdict(absl::StrCat("below ", Percent(rule.decide_at()), ": ", range));
  } else {
    motif.set_decided(false);
    motif.set_verdict(n > 0 ? absl::StrCat("open: ", range) : "open: no run since it was proposed");
  }
}

bool LiftIsOpen(const v1::FrozenMotif& motif) {
  const v1::LookSequence& sequence = motif.sequence();
  return !sequence.has_lift_low() || (sequence.lift_low() <= 1 && sequence.lift_high() >= 1);
}

}  // namespace

double MotifErrorAt(const v1::StopRule& rule, uint32_t number, uint32_t frozen_at_it) {
  return rule.error() * (rule.novelty() > 0 ? 0.5 : 1) * LookShare(number) / std::max(1u, frozen_at_it);
}

double NoveltyErrorAt(const v1::StopRule& rule, uint32_t number) {
  return rule.error() * (AsksMotifs(rule) ? 0.5 : 1) * LookShare(number);
}

void ForgetLooksFrom(uint64_t cells, v1::StopState& state) {
  while (state.looks_size() > 0 && state.looks(state.looks_size() - 1).cells() >= cells) state.mutable_looks()->RemoveLast();
  while (state.frozen_size() > 0 && state.frozen(state.frozen_size() - 1).from_ordinal() >= cells)
    state.mutable_frozen()->RemoveLast();
}

v1::StopLook& BeginLook(const v1::StopRule& rule, uint64_t cells, v1::StopState& state) {
  ForgetLooksFrom(cells, state);
  if (state.looks().empty()) {
    state.Clear();
    *state.mutable_rule() = sweep::WithDefaults(rule, cells);
  }
  v1::StopLook& look = *state.add_looks();
  look.set_number(static_cast<uint32_t>(state.looks_size()));
  look.set_cells(cells);
  look.set_novelty_high(1);
  return look;
}

void ShareError(int known, v1::StopState& state) {
  const uint32_t number = state.looks(state.looks_size() - 1).number();
  const auto fresh = static_cast<uint32_t>(state.frozen_size() - known);
  for (int f = known; f < state.frozen_size(); ++f) {
    v1::LookSequence& sequence = *state.mutable_frozen(f)->mutable_sequence();
    sequence.set_error(MotifErrorAt(state.rule(), number, fresh));
    sequence.set_high(1);
  }
}

void Decide(v1::StopState& state) {
  const v1::StopRule& rule = state.rule();
  v1::StopLook& look = *state.mutable_looks(state.looks_size() - 1);
  uint32_t undecided = 0;
  bool lift_open = false;
  for (v1::FrozenMotif& motif : *state.mutable_frozen()) {
    Judge(rule, motif);
    undecided += !motif.decided();
    lift_open |= !motif.decided() && LiftIsOpen(motif);
  }
  look.set_motifs(static_cast<uint32_t>(state.frozen_size()));
  look.set_undecided(undecided);
  const double asked = UnseenAsked(rule);
  state.set_unseen_asked(asked);
  state.set_unseen_below(asked > 0 ? UnseenBelowBySeed(look.target_runs(), state.runs_per_seed(), kMembersToFind,
                                                       1 - rule.error() * LookShare(look.number()))
                                   : 0);
  const bool unseen = state.unseen_below() > asked;
  double novelty = 1;
  for (const v1::StopLook& each : state.looks()) novelty = std::min(novelty, each.novelty_high());
  const bool novel = rule.novelty() > 0 && novelty >= rule.novelty();
  look.set_grow_target(false);
  look.set_grow_baseline(false);

  std::string words = absl::StrCat("look ", look.number(), " at ", look.target_runs(), " target runs: ");
  if (look.motifs() == 0) {
    words += "no motif";
  } else {
    absl::StrAppend(&words, look.motifs() - undecided, " of ", look.motifs(), look.motifs() == 1 ? " motif" : " motifs",
                    " decided");
  }
  if (unseen) {
    absl::StrAppend(&words, ", one in up to ", Percent(state.unseen_below()), " of runs may be unseen and ", Percent(asked),
                    " are asked");
  } else if (asked > 0 && look.motifs() == 0) {
    absl::StrAppend(&words, " found; one in more than ", Percent(state.unseen_below()), " of runs would have been seen");
  }
  if (rule.novelty() > 0) absl::StrAppend(&words, novel ? ", novelty not yet" : ", novelty", " below ", Percent(rule.novelty()));
  if (undecided == 0 && !unseen && !novel) {
    look.set_reason(v1::STOP_REASON_DECIDED);
    words += "; stopped, as its rule says";
  } else if (look.cells() >= rule.max_cells()) {
    look.set_reason(v1::STOP_REASON_MAX_CELLS);
    words += "; stopped at the most cells its rule allows, so what is open stays open";
  } else {
    look.set_reason(v1::STOP_REASON_GO_ON);
    look.set_grow_target(true);
    look.set_grow_baseline(look.baseline_runs() > 0 && lift_open);
    absl::StrAppend(&words, "; more seeds for the target", look.grow_baseline() ? " and the baseline" : "");
  }
  look.set_words(words);
}

}  // namespace promptsweep::motifs
