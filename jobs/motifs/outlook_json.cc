#include "jobs/motifs/outlook_json.h"

#include <cmath>

namespace promptsweep::motifs {
namespace {

using Json = nlohmann::ordered_json;

Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Runs(uint64_t runs) { return runs > 0 ? Json(runs) : Json(nullptr); }

Json SequenceJson(const v1::MotifSequence& s) {
  return {{"low", s.low()},
          {"high", s.high()},
          {"error", s.error()},
          {"runs", s.runs()},
          {"members", s.members()},
          {"baseline_runs", s.baseline_runs()},
          {"baseline_members", s.baseline_members()},
          {"lift_low", s.has_lift_low() ? Finite(s.lift_low()) : Json(nullptr)},
          {"lift_high", s.has_lift_high() ? Finite(s.lift_high()) : Json(nullptr)},
          {"frozen_at_look", s.frozen_at_look() > 0 ? Json(s.frozen_at_look()) : Json(nullptr)}};
}

Json DiversityJson(const v1::Diversity& d) {
  return {{"vendi", d.vendi()}, {"vendi_low", d.vendi_low()}, {"vendi_high", d.vendi_high()}, {"rke", d.rke()},
          {"rke_low", d.rke_low()}, {"rke_high", d.rke_high()}, {"runs", d.runs()}};
}

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

}  // namespace

void AddOutlookJson(const v1::Motif& motif, Json& json) {
  json["sequence"] = motif.has_sequence() ? SequenceJson(motif.sequence()) : Json(nullptr);
  if (!motif.has_runs_needed()) {
    json["runs_needed"] = nullptr;
    return;
  }
  const v1::RunsNeeded& needed = motif.runs_needed();
  json["runs_needed"] = {{"halfwidth", needed.halfwidth()},
                         {"to_halfwidth", Runs(needed.to_halfwidth())},
                         {"to_quarter", Runs(needed.to_quarter())},
                         {"to_quarter_anytime", Runs(needed.to_quarter_anytime())},
                         {"to_see", Runs(needed.to_see())},
                         {"members", needed.members()},
                         {"to_decide", Runs(needed.to_decide())}};
}

void AddOutlookJson(const v1::MotifReport& report, Json& json) {
  const v1::Novelty& n = report.novelty();
  json["novelty"] = nullptr;
  if (report.has_novelty()) {
    json["novelty"] = {{"alike_cosine", n.alike_cosine()},
                       {"runs", n.runs()},
                       {"rate", n.rate()},
                       {"low", n.low()},
                       {"high", n.high()},
                       {"kinds", n.kinds()},
                       {"kinds_at_least", n.kinds_at_least()},
                       {"kinds_low", n.kinds_low()},
                       {"kinds_high", n.kinds_high()},
                       {"kinds_in_as_many", n.kinds_in_as_many()},
                       {"kinds_in_twice_as_many", n.kinds_in_twice_as_many()}};
  }
  json["target_diversity"] = report.has_target_diversity() ? DiversityJson(report.target_diversity()) : Json(nullptr);
  json["baseline_diversity"] = report.has_baseline_diversity() ? DiversityJson(report.baseline_diversity()) : Json(nullptr);
  json["baseline_coverage"] = report.has_baseline_coverage() ? Json(report.baseline_coverage()) : Json(nullptr);
  json["unseen_below"] = report.unseen_below();
  json["stop"] = report.has_stop() ? StopJson(report.stop()) : Json(nullptr);
}

}  // namespace promptsweep::motifs
