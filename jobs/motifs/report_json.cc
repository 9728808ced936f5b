#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "jobs/motifs/analysis.h"
#include "jobs/motifs/history.h"
#include "jobs/motifs/look_json.h"
#include "jobs/motifs/outlook_json.h"

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

const char* VerdictName(v1::CopyVerdict verdict) {
  switch (verdict) {
    case v1::COPY_VERDICT_VERBATIM:
      return "verbatim";
    case v1::COPY_VERDICT_TEMPLATE:
      return "template";
    case v1::COPY_VERDICT_SEMANTIC:
      return "semantic";
    default:
      return "unknown";
  }
}

Json CopiesJson(const v1::Copies& c) {
  Json json;
  json["verdict"] = VerdictName(c.verdict());
  json["pictures"] = c.pictures();
  json["undecodable"] = c.undecodable();
  json["seeds"] = c.seeds();
  json["copies"] = c.copies();
  json["share"] = c.share();
  json["share_low"] = c.share_low();
  json["share_high"] = c.share_high();
  json["identical"] = c.identical();
  json["clique"] = c.clique();
  json["clique_exact"] = c.clique_exact();
  json["clique_ordinals"] = Json::array();
  for (const uint64_t ordinal : c.clique_ordinals()) json["clique_ordinals"].push_back(ordinal);
  json["template_score"] = c.template_score();
  json["equal_vectors"] = c.equal_vectors();
  json["largest_equal"] = c.largest_equal();
  json["links"] = c.links();
  json["detector"] = c.detector().empty() ? Json(nullptr) : Json(c.detector());
  json["detector_pictures"] = c.detector_pictures();
  json["detector_links"] = c.detector_links();
  json["detector_decides"] = c.detector_decides();
  json["vectors_alone"] = c.vectors_alone();
  return json;
}

Json ReferenceJson(const v1::ReferenceMatch& match) {
  Json json;
  json["compared"] = match.compared();
  json["matches"] = match.matches();
  json["share"] = match.share();
  json["share_low"] = match.share_low();
  json["share_high"] = match.share_high();
  json["nearest"] = Json::array();
  for (const v1::ReferencePair& pair : match.nearest()) {
    json["nearest"].push_back(
        {{"ordinal", pair.ordinal()}, {"reference", pair.reference()}, {"cosine", pair.cosine()}, {"bits", pair.bits()}});
  }
  return json;
}

Json ConceptsJson(const v1::MotifConcepts& concepts) {
  Json json = {{"cosine", concepts.cosine()}, {"words", Json::array()}};
  for (const v1::MotifConcept& one : concepts.concepts()) {
    json["words"].push_back({{"label", one.label()}, {"weight", one.weight()}});
  }
  return json;
}

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

Json HistoryJson(const google::protobuf::RepeatedPtrField<v1::MotifEvent>& history) {
  Json json = Json::array();
  for (const v1::MotifEvent& event : history) {
    Json keys = Json::array();
    for (const std::string& key : event.keys()) keys.push_back(KeyInWords(key));
    const std::string change = absl::AsciiStrToLower(absl::StripPrefix(v1::MotifChange_Name(event.change()), "MOTIF_CHANGE_"));
    json.push_back({{"change", change}, {"keys", std::move(keys)}, {"runs", event.runs()}, {"members", event.members()}});
  }
  return json;
}

Json MotifJson(const v1::Motif& m) {
  Json json;
  json["id"] = m.id();
  json["key"] = KeyInWords(m.key());
  json["tier"] = TierName(m.tier());
  json["label"] = m.label();
  json["prevalence"] = m.prevalence();
  json["ci_low"] = m.ci_low();
  json["ci_high"] = m.ci_high();
  json["missed"] = m.missed();
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
    Json one = {{"label", label.label()}, {"z", label.z()}, {"standing", label.standing()}, {"share", label.share()}};
    one["path"] = Json::array();
    for (const std::string& kind : label.path()) one["path"].push_back(kind);
    one["kind"] = label.kind();
    json["labels"].push_back(std::move(one));
  }
  json["concepts"] = m.has_concepts() ? ConceptsJson(m.concepts()) : Json(nullptr);
  json["shows"] = m.has_shows() ? ConceptsJson(m.shows()) : Json(nullptr);
  json["baseline_prevalence"] = Optional(m.has_baseline_prevalence(), m.baseline_prevalence());
  json["radius_cosine"] = m.radius_cosine();
  json["mean_cosine"] = m.mean_cosine();
  json["separation"] = m.separation();
  json["stability"] = m.stability();
  json["source"] = m.source();
  json["looks"] = 1 + m.looks_size();
  AddOutlookJson(m, json);
  json["copies"] = m.has_copies() ? CopiesJson(m.copies()) : Json(nullptr);
  json["reference"] = m.has_reference() ? ReferenceJson(m.reference()) : Json(nullptr);
  json["models"] = Json::array();
  for (const v1::MotifInModel& model : m.models()) json["models"].push_back(ModelJson(model));
  json["spread"] = m.spread();
  json["models_p"] = Optional(m.has_models_p(), m.models_p());
  json["models_q"] = Optional(m.has_models_q(), m.models_q());
  json["history"] = HistoryJson(m.history());
  return json;
}

}  // namespace

std::string ReportJson(const v1::MotifReport& report) {
  Json json;
  json["sweep"] = report.sweep();
  json["name"] = report.sweep_name();
  json["embedder"] = report.embedder();
  json["vocabulary"] = report.vocabulary();
  json["target"] = FiltersJson(report.target());
  json["baseline"] = FiltersJson(report.baseline());
  json["target_runs"] = report.target_runs();
  json["baseline_runs"] = report.baseline_runs();
  json["candidates_tested"] = report.candidates_tested();
  json["fdr"] = report.fdr();
  if (!report.question().empty()) json["question"] = report.question();
  json["null_hypothesis"] = report.null_hypothesis();
  json["seed"] = report.seed();
  AddOutlookJson(report, json);
  json["stop"] = report.has_stop() ? StopJson(report.stop()) : Json(nullptr);
  json["former"] = Json::array();
  for (const v1::FormerMotif& former : report.former()) {
    json["former"].push_back(
        {{"key", KeyInWords(former.key())}, {"label", former.label()}, {"history", HistoryJson(former.history())}});
  }
  json["notes"] = Json::array();
  for (const std::string& note : report.notes()) json["notes"].push_back(note);
  json["motifs"] = Json::array();
  for (const v1::Motif& motif : report.motifs()) json["motifs"].push_back(MotifJson(motif));
  json["prompts_looked_at"] = report.prompts_looked_at();
  json["prompts_verbatim"] = report.prompts_verbatim();
  json["prompt_copies"] = Json::array();
  for (const v1::PromptCopies& prompt : report.prompt_copies()) {
    json["prompt_copies"].push_back({{"prompt", prompt.prompt()}, {"copies", CopiesJson(prompt.copies())}});
  }
  json["copy_detector"] = report.copy_detector().empty() ? Json(nullptr) : Json(report.copy_detector());
  json["copy_cosine"] = report.copy_cosine();
  json["reference"] = nullptr;
  if (report.has_reference()) {
    const v1::ReferenceIndex& reference = report.reference();
    json["reference"] = {{"path", reference.path()},
                         {"rows", reference.rows()},
                         {"skipped", reference.skipped()},
                         {"pictures", reference.pictures()},
                         {"least_cosine", reference.least_cosine()},
                         {"most_bits", reference.most_bits()},
                         {"embedder", reference.embedder().empty() ? Json(nullptr) : Json(reference.embedder())}};
  }
  // Names and filters may hold any bytes an import brought.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace promptsweep::motifs
