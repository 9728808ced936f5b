#include "jobs/motifs/outlook_json.h"

#include <cmath>

namespace promptsweep::motifs {
namespace {

using Json = nlohmann::ordered_json;

Json Finite(bool present, double value) { return present && std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Runs(uint64_t runs) { return runs > 0 ? Json(runs) : Json(nullptr); }

Json DiversityJson(const v1::Diversity& d) {
  Json json;
  json["vendi"] = d.vendi();
  json["vendi_low"] = d.vendi_low();
  json["vendi_high"] = d.vendi_high();
  json["rke"] = d.rke();
  json["rke_low"] = d.rke_low();
  json["rke_high"] = d.rke_high();
  json["runs"] = d.runs();
  return json;
}

Json NoveltyJson(const v1::Novelty& n) {
  Json json;
  json["alike_cosine"] = n.alike_cosine();
  json["runs"] = n.runs();
  json["unlike"] = n.unlike();
  json["rate"] = n.rate();
  json["low"] = n.low();
  json["high"] = n.high();
  json["kinds"] = n.kinds();
  json["kinds_once"] = n.kinds_once();
  json["kinds_twice"] = n.kinds_twice();
  json["kinds_at_least"] = n.kinds_at_least();
  json["new_if_doubled"] = n.new_if_doubled();
  json["new_if_fivefold"] = n.new_if_fivefold();
  return json;
}

}  // namespace

void AddOutlookJson(const v1::Motif& motif, Json& json) {
  json["sequence"] = nullptr;
  if (motif.has_sequence()) {
    const v1::MotifSequence& s = motif.sequence();
    json["sequence"] = {{"low", s.low()},
                        {"high", s.high()},
                        {"error", s.error()},
                        {"lift_low", Finite(s.has_lift_low(), s.lift_low())},
                        {"lift_high", Finite(s.has_lift_high(), s.lift_high())}};
  }
  json["runs_needed"] = nullptr;
  if (motif.has_runs_needed()) {
    const v1::RunsNeeded& needed = motif.runs_needed();
    json["runs_needed"] = {{"to_one_point", Runs(needed.to_one_point())},
                           {"to_quarter", Runs(needed.to_quarter())},
                           {"to_quarter_anytime", Runs(needed.to_quarter_anytime())},
                           {"to_find", Runs(needed.to_find())},
                           {"to_decide", Runs(needed.to_decide())}};
  }
}

void AddOutlookJson(const v1::MotifReport& report, Json& json) {
  json["unseen_below"] = report.has_novelty() ? Json(report.unseen_below()) : Json(nullptr);
  json["novelty"] = report.has_novelty() ? NoveltyJson(report.novelty()) : Json(nullptr);
  json["target_diversity"] = report.has_target_diversity() ? DiversityJson(report.target_diversity()) : Json(nullptr);
  json["baseline_diversity"] = report.has_baseline_diversity() ? DiversityJson(report.baseline_diversity()) : Json(nullptr);
}

}  // namespace promptsweep::motifs
