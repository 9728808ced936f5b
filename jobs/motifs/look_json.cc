#include "jobs/motifs/look_json.h"

#include <cmath>

namespace promptsweep::motifs {
namespace {

using Json = nlohmann::ordered_json;

Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json SequenceJson(const v1::LookSequence& s) {
  return {{"low", s.low()},
          {"high", s.high()},
          {"error", s.error()},
          {"runs", s.runs()},
          {"members", s.members()},
          {"baseline_runs", s.baseline_runs()},
          {"baseline_members", s.baseline_members()},
          {"share", s.share()},
          {"seeds", s.seeds()},
          {"baseline_seeds", s.baseline_seeds()},
          {"lift_low", s.has_lift_low() ? Finite(s.lift_low()) : Json(nullptr)},
          {"lift_high", s.has_lift_high() ? Finite(s.lift_high()) : Json(nullptr)},
          {"frozen_at_look", s.frozen_at_look()}};
}

}  // namespace

Json StopJson(const v1::StopState& stop) {
  constexpr const char* kReasons[] = {"", "go on", "decided", "max_cells"};
  const v1::StopRule& rule = stop.rule();
  const auto asked = [](double value) { return value == 0 ? Json(nullptr) : Json(value); };
  Json json;
  json["rule"] = {{"motif_ci_halfwidth", asked(rule.motif_ci_halfwidth())},
                  {"decide_at", asked(rule.decide_at())},
                  {"novelty", asked(rule.novelty())},
                  {"least_prevalence", rule.least_prevalence()},
                  {"error", rule.error()},
                  {"max_cells", rule.max_cells()},
                  {"growth", rule.growth()}};
  json["unseen_below"] = asked(stop.unseen_below());
  json["unseen_asked"] = asked(stop.unseen_asked());
  json["motifs"] = Json::array();
  for (const v1::FrozenMotif& motif : stop.frozen()) {
    json["motifs"].push_back({{"id", motif.id()},
                              {"label", motif.label()},
                              {"from_ordinal", motif.from_ordinal()},
                              {"sequence", SequenceJson(motif.sequence())},
                              {"decided", motif.decided()},
                              {"verdict", motif.verdict()}});
  }
  json["looks"] = Json::array();
  for (const v1::StopLook& look : stop.looks()) {
    json["looks"].push_back({{"look", look.number()},
                             {"cells", look.cells()},
                             {"target_runs", look.target_runs()},
                             {"baseline_runs", look.baseline_runs()},
                             {"motifs", look.motifs()},
                             {"undecided", look.undecided()},
                             {"fresh_runs", look.fresh_runs()},
                             {"fresh_novel", look.fresh_novel()},
                             {"novelty_high", look.novelty_high()},
                             {"reason", kReasons[look.reason() <= 3 ? look.reason() : 0]},
                             {"words", look.words()}});
  }
  return json;
}

}  // namespace promptsweep::motifs
