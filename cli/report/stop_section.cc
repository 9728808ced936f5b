#include "cli/report/stop_section.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/half.h"
#include "cli/stop_words.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

std::string RuleInWords(const v1::StopRule& rule, double unseen_asked) {
  std::vector<std::string> of_motifs, asks;
  if (rule.motif_ci_halfwidth() > 0) {
    of_motifs.push_back(absl::StrFormat("known to within %g percentage points on either side", 100 * rule.motif_ci_halfwidth()));
  }
  if (rule.decide_at() > 0) of_motifs.push_back(absl::StrCat("known to lie above or below ", Percent(rule.decide_at())));
  if (!of_motifs.empty()) {
    asks.push_back(absl::StrCat("every motif's share of the runs is ", absl::StrJoin(of_motifs, ", or ")));
    if (unseen_asked > 0)
      asks.push_back(absl::StrCat("one in more than ", Percent(unseen_asked), " of them would have been seen"));
  }
  if (rule.novelty() > 0) {
    asks.push_back(absl::StrCat("surely less than ", Percent(rule.novelty()), " of further pictures are unlike all before"));
  }
  return absl::StrCat("The sweep was to go on until ", absl::StrJoin(asks, ", and "), ", with at most ",
                      Grouped(rule.max_cells()), " cells.",
                      rule.least_prevalence() > 0
                          ? absl::StrCat(" Motifs surely rarer than ", Percent(rule.least_prevalence()), " were left alone.")
                          : "",
                      " The rule was fixed with the sweep, before anything ran.");
}

std::string NoveltyInWords(const v1::StopState& stop) {
  double high = 1;
  for (const v1::StopLook& look : stop.looks()) high = std::min(high, look.novelty_high());
  return high < 1
             ? absl::StrCat("Of further pictures at most ", Percent(high), " are unlike all there are, as far as the looks say.")
             : "How many of further pictures are unlike all there are is not known yet.";
}

// The motif of the page that has a centre in a region of `frozen`, or the other way round; null where there is none.
const v1::Motif* OnThePage(const v1::FrozenMotif& frozen, const v1::MotifReport& report) {
  const std::vector<float> a = UnpackHalves(frozen.centre());
  for (const v1::Motif& motif : report.motifs()) {
    const std::vector<float> b = UnpackHalves(motif.centre());
    if (a.empty() || a.size() != b.size()) continue;
    double cosine = 0;
    for (size_t j = 0; j < a.size(); ++j) cosine += static_cast<double>(a[j]) * b[j];
    if (cosine >= std::min(frozen.radius_cosine(), motif.radius_cosine())) return &motif;
  }
  return nullptr;
}

std::string Name(const v1::FrozenMotif& frozen, const v1::MotifReport& report) {
  const v1::Motif* motif = OnThePage(frozen, report);
  std::string name = EscapeHtml(frozen.label().empty() && motif != nullptr ? motif->label() : frozen.label());
  if (name.empty()) name = "unnamed";
  if (motif == nullptr) return name;
  return absl::StrCat("<a href=\"#motif-", motif->id(), "\">", name, "</a> (motif ", motif->id(), ")");
}

std::string Answer(const v1::FrozenMotif& motif) {
  if (motif.decided()) return absl::StrCat("decided<small>", EscapeHtml(motif.verdict()), "</small>");
  return motif.sequence().runs() > 0 ? "open" : "open<small>no run since it was proposed</small>";
}

struct Head {
  const char* text;
  bool number;
};

std::string Table(absl::string_view label, std::initializer_list<Head> heads, const std::string& rows) {
  std::string head;
  for (const Head& each : heads) {
    absl::StrAppend(&head, "<th scope=\"col\"", each.number ? " class=\"number\"" : "", ">", each.text, "</th>");
  }
  return absl::StrCat("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"", label, "\"><table>\n<thead><tr>",
                      head, "</tr></thead>\n<tbody>\n", rows, "</tbody></table></div>\n");
}

}  // namespace

std::string StopSection(const ReportInput& input) {
  const v1::StopState& stop = input.stop;
  if (stop.looks().empty()) return "";
  bool compared = false;
  for (const v1::StopLook& look : stop.looks()) compared |= look.baseline_runs() > 0;
  std::string looks, motifs;
  for (const v1::StopLook& look : stop.looks()) {
    absl::StrAppend(&looks, "<tr><th scope=\"row\" class=\"number\">", look.number(), "</th><td class=\"number\">",
                    Grouped(look.target_runs()), "</td>");
    if (compared) absl::StrAppend(&looks, "<td class=\"number\">", Grouped(look.baseline_runs()), "</td>");
    absl::StrAppend(&looks, "<td class=\"number\">", look.motifs() - look.undecided(), " of ", look.motifs(), "</td>");
    if (stop.rule().novelty() > 0) {
      absl::StrAppend(&looks, "<td class=\"number\">", look.novelty_high() < 1 ? Percent(look.novelty_high()) : "–", "</td>");
    }
    looks += "</tr>\n";
  }
  for (const v1::FrozenMotif& motif : stop.frozen()) {
    const v1::LookSequence& s = motif.sequence();
    absl::StrAppend(&motifs, "<tr><th scope=\"row\">", Name(motif, input.motifs), "</th><td class=\"number\">",
                    s.frozen_at_look(), "</td><td class=\"number\">", Grouped(s.members()), " of ", Grouped(s.runs()),
                    "</td><td class=\"number\">", PercentRange(s.low(), s.high()), "</td><td>", Answer(motif), "</td></tr>\n");
  }
  std::string section =
      absl::StrCat("<section aria-labelledby=\"stop\"><h2 id=\"stop\">When it was enough</h2>\n<p class=\"prose\">",
                   EscapeHtml(RuleInWords(stop.rule(), stop.unseen_asked())), "</p>\n<p class=\"prose\">",
                   EscapeHtml(EndInWords(stop, input.sweep.manifest())), "</p>\n");
  if (stop.rule().novelty() > 0) absl::StrAppend(&section, "<p class=\"prose\">", EscapeHtml(NoveltyInWords(stop)), "</p>\n");
  const bool novel = stop.rule().novelty() > 0;
  const Head look{"Look", true}, runs{"Runs", true}, baseline{"Baseline runs", true}, decided{"Motifs decided", true},
      novelty{"New pictures, at most", true};
  absl::StrAppend(&section, compared ? novel ? Table("Table of looks", {look, runs, baseline, decided, novelty}, looks)
                                             : Table("Table of looks", {look, runs, baseline, decided}, looks)
                            : novel ? Table("Table of looks", {look, runs, decided, novelty}, looks)
                                     : Table("Table of looks", {look, runs, decided}, looks));
  if (!motifs.empty()) {
    const double error = stop.rule().error() * (novel ? 0.5 : 1);
    absl::StrAppend(
        &section,
        "<p class=\"prose\">Each motif is counted again, on runs made after the look that first proposed it: those that made it "
        "stand out would flatter it. With a probability of at least ",
        Percent(1 - error),
        " all these intervals hold at all looks at once, however often one looks, and whether or not pictures of one seed are "
        "alike. "
        "That makes them wider than those above.</p>\n",
        Table(
            "Table of motifs under the stop rule",
            {{"Motif", false}, {"Proposed at look", true}, {"Counted", true}, {"Interval at all looks", true}, {"Answer", false}},
            motifs));
  }
  return section + "</section>\n";
}

}  // namespace promptsweep::cli
