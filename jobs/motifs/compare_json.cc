#include <nlohmann/json.hpp>

#include "jobs/motifs/compare_data.h"

namespace promptsweep::motifs {
namespace {

using Json = nlohmann::ordered_json;

const char* ChangeName(Change change) {
  switch (change) {
    case Change::kNone:
      return "no_difference_shown";
    case Change::kMoreInFrom:
      return "more_in_from";
    case Change::kMoreInTo:
      return "more_in_to";
    case Change::kGone:
      return "gone";
    case Change::kNew:
      return "new";
  }
  return "";
}

Json SideJson(const DiffSide& side) {
  return {
      {"sweep", side.sweep}, {"name", side.name}, {"filter", side.filter}, {"runs", side.runs}, {"unpaired_runs", side.alone}};
}

Json PrevalenceJson(const Prevalence& p) {
  return {{"members", p.runs.in}, {"runs", p.runs.of}, {"prevalence", p.share}, {"ci_low", p.ci.low}, {"ci_high", p.ci.high}};
}

Json IdJson(const std::optional<uint32_t>& id) { return id ? Json(*id) : Json(nullptr); }

}  // namespace

std::string DiffJson(const SweepDiff& diff) {
  Json json;
  json["from"] = SideJson(diff.from);
  json["to"] = SideJson(diff.to);
  json["embedder"] = diff.embedder;
  json["blank_only"] = diff.blank_only;
  json["paired"] = diff.paired;
  json["pairs"] = diff.pairs;
  json["unpaired_runs"] = diff.from.alone + diff.to.alone;
  json["left_out"] = diff.left_out;
  json["motifs"] = Json::array();
  for (const MotifDiff& motif : diff.motifs) {
    const ComparedShares& c = motif.comparison;
    Json one;
    one["id_from"] = IdJson(motif.id_from);
    one["id_to"] = IdJson(motif.id_to);
    one["label"] = motif.label;
    one["from"] = PrevalenceJson(c.from);
    one["to"] = PrevalenceJson(c.to);
    one["difference"] = c.difference.value;
    one["difference_low"] = c.difference.ci.low;
    one["difference_high"] = c.difference.ci.high;
    one["pairs"] = c.pairs ? Json{{"both", c.pairs->both},
                                  {"from_only", c.pairs->second_only},
                                  {"to_only", c.pairs->first_only},
                                  {"neither", c.pairs->neither}}
                           : Json(nullptr);
    one["p_value"] = c.p;
    one["q_value"] = c.q;
    one["verdict"] = ChangeName(c.change);
    one["exemplars_from"] = motif.exemplars_from;
    one["exemplars_to"] = motif.exemplars_to;
    json["motifs"].push_back(std::move(one));
  }
  json["notes"] = diff.notes;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace promptsweep::motifs
