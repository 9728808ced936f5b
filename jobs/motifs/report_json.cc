#include <nlohmann/json.hpp>

#include "jobs/motifs/analysis.h"

namespace promptsweep::motifs {
namespace {

using Json = nlohmann::ordered_json;

const char* TierName(v1::MotifTier tier) {
  switch (tier) {
    case v1::MOTIF_TIER_CONFIRMED:
      return "confirmed";
    case v1::MOTIF_TIER_DESCRIPTIVE:
      return "descriptive";
    default:
      return "candidate";
  }
}

Json FiltersJson(const google::protobuf::RepeatedPtrField<v1::AxisFilter>& filters) {
  Json list = Json::array();
  for (const v1::AxisFilter& filter : filters) list.push_back({{"axis", filter.axis()}, {"value", filter.value()}});
  return list;
}

Json Optional(bool present, double value) { return present ? Json(value) : Json(nullptr); }

Json ModelJson(const v1::MotifInModel& m) {
  Json json;
  json["model"] = m.model();
  json["members"] = m.members();
  json["runs"] = m.runs();
  json["prevalence"] = m.prevalence();
  json["ci_low"] = m.ci_low();
  json["ci_high"] = m.ci_high();
  json["reach"] = nullptr;
  if (!m.has_reach()) return json;
  const v1::MotifReach& r = m.reach();
  Json reach;
  reach["prompts"] = r.prompts();
  reach["reached"] = r.reached();
  reach["share_low"] = r.share_low();
  reach["share_high"] = r.share_high();
  reach["entropy"] = r.entropy();
  reach["entropy_low"] = r.entropy_low();
  reach["entropy_high"] = r.entropy_high();
  reach["expected"] = r.expected();
  reach["excess"] = r.excess();
  reach["excess_low"] = r.excess_low();
  reach["excess_high"] = r.excess_high();
  reach["top"] = Json::array();
  for (const v1::MotifPrompt& top : r.top()) {
    reach["top"].push_back({{"prompt", top.prompt()}, {"members", top.members()}, {"runs", top.runs()}});
  }
  json["reach"] = std::move(reach);
  return json;
}

Json MotifJson(const v1::Motif& m) {
  Json json;
  json["id"] = m.id();
  json["tier"] = TierName(m.tier());
  json["label"] = m.label();
  json["prevalence"] = m.prevalence();
  json["ci_low"] = m.ci_low();
  json["ci_high"] = m.ci_high();
  json["lift"] = Optional(m.has_lift(), m.lift());
  json["lift_low"] = Optional(m.has_lift_low(), m.lift_low());
  json["lift_high"] = Optional(m.has_lift_high(), m.lift_high());
  json["q_value"] = Optional(m.has_q_value(), m.q_value());
  json["members"] = m.members();
  json["exemplars"] = Json::array();
  for (const uint64_t ordinal : m.exemplars()) json["exemplars"].push_back(ordinal);
  json["medoid"] = m.medoid();
  json["borderline"] = Json::array();
  for (const uint64_t ordinal : m.borderline()) json["borderline"].push_back(ordinal);
  json["labels"] = Json::array();
  for (const v1::MotifLabel& label : m.labels()) {
    json["labels"].push_back(
        {{"label", label.label()}, {"z", label.z()}, {"standing", label.standing()}, {"share", label.share()}});
  }
  json["baseline_prevalence"] = Optional(m.has_baseline_prevalence(), m.baseline_prevalence());
  json["radius_cosine"] = m.radius_cosine();
  json["mean_cosine"] = m.mean_cosine();
  json["separation"] = m.separation();
  json["stability"] = m.stability();
  json["source"] = m.source();
  json["looks"] = 1 + m.looks_size();
  json["models"] = Json::array();
  for (const v1::MotifInModel& model : m.models()) json["models"].push_back(ModelJson(model));
  json["spread"] = m.spread();
  json["models_p"] = Optional(m.has_models_p(), m.models_p());
  json["models_q"] = Optional(m.has_models_q(), m.models_q());
  return json;
}

}  // namespace

std::string ReportJson(const v1::MotifReport& report) {
  Json json;
  json["sweep"] = report.sweep();
  json["name"] = report.sweep_name();
  json["embedder"] = report.embedder();
  json["target"] = FiltersJson(report.target());
  json["baseline"] = FiltersJson(report.baseline());
  json["target_runs"] = report.target_runs();
  json["baseline_runs"] = report.baseline_runs();
  json["candidates_tested"] = report.candidates_tested();
  json["fdr"] = report.fdr();
  json["seed"] = report.seed();
  json["notes"] = Json::array();
  for (const std::string& note : report.notes()) json["notes"].push_back(note);
  json["motifs"] = Json::array();
  for (const v1::Motif& motif : report.motifs()) json["motifs"].push_back(MotifJson(motif));
  // Names and filters may hold any bytes an import brought.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace promptsweep::motifs
