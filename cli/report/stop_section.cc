#include "cli/report/stop_section.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/report/page.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

std::string RuleInWords(const v1::StopRule& rule) {
  std::vector<std::string> of_motifs, asks;
  if (rule.motif_ci_halfwidth() > 0) {
    of_motifs.push_back(absl::StrCat("how often it comes is known to ", Percent(rule.motif_ci_halfwidth()), " on either side"));
  }
  if (rule.decide_at() > 0)
    of_motifs.push_back(absl::StrCat("it is known whether it comes more often than ", Percent(rule.decide_at())));
  if (!of_motifs.empty()) asks.push_back(absl::StrCat("of every motif ", absl::StrJoin(of_motifs, ", or ")));
  if (rule.novelty() > 0) {
    asks.push_back(absl::StrCat("surely less than ", Percent(rule.novelty()), " of further pictures are unlike all before"));
  }
  return absl::StrCat("The sweep was to go on until ", absl::StrJoin(asks, ", and "), "; with at most ",
                      Grouped(rule.max_cells()), " cells. The rule was fixed with the sweep, before anything ran.");
}

std::string EndInWords(const v1::StopLook& look) {
  switch (look.reason()) {
    case v1::STOP_REASON_DECIDED:
      return "It stopped there: the rule has its answers.";
    case v1::STOP_REASON_MAX_CELLS:
      return "It stopped there without all answers: no more cells are allowed.";
    default:
      return "It is not done: more seeds are asked.";
  }
}

std::string Table(const std::string& label, const std::vector<std::string>& heads, const std::string& rows) {
  std::string head;
  for (const std::string& text : heads) absl::StrAppend(&head, "<th scope=\"col\">", text, "</th>");
  return absl::StrCat("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"", label, "\"><table>\n<thead><tr>",
                      head, "</tr></thead>\n<tbody>\n", rows, "</tbody></table></div>\n");
}

}  // namespace

std::string StopSection(const v1::MotifReport& report) {
  const v1::StopState& stop = report.stop();
  if (stop.looks().empty()) return "";
  std::string looks, motifs;
  for (const v1::StopLook& look : stop.looks()) {
    absl::StrAppend(&looks, "<tr><th scope=\"row\">", look.number(), "</th><td class=\"number\">", Grouped(look.target_runs()),
                    "</td><td class=\"number\">", Grouped(look.baseline_runs()), "</td><td class=\"number\">",
                    look.motifs() - look.undecided(), " of ", look.motifs(), "</td><td>", EscapeHtml(look.words()),
                    "</td></tr>\n");
  }
  for (const v1::FrozenMotif& motif : stop.frozen()) {
    const v1::LookSequence& s = motif.sequence();
    absl::StrAppend(&motifs, "<tr><th scope=\"row\">",
                    EscapeHtml(motif.label().empty() ? absl::StrCat("unnamed (", motif.id(), ")") : motif.label()),
                    "</th><td class=\"number\">", Grouped(s.members()), " of ", Grouped(s.runs()), "</td><td class=\"number\">",
                    PercentRange(s.low(), s.high()), "</td><td>", motif.decided() ? "decided" : "open", "</td><td>",
                    EscapeHtml(motif.verdict()), "</td></tr>\n");
  }
  std::string section =
      absl::StrCat("<section aria-labelledby=\"stop\"><h2 id=\"stop\">When it was enough</h2>\n<p class=\"prose\">",
                   EscapeHtml(RuleInWords(stop.rule())), "</p>\n<p class=\"prose\">",
                   EscapeHtml(EndInWords(stop.looks(stop.looks_size() - 1))), "</p>\n",
                   Table("Table of looks", {"Look", "Runs", "Baseline runs", "Motifs decided", "What was found"}, looks));
  if (!motifs.empty()) {
    absl::StrAppend(
        &section,
        "<p class=\"prose\">Each motif is counted on runs made after the look that first proposed it. These intervals are wider "
        "than those above, and hold however often one looks.</p>\n",
        Table("Table of motifs under the stop rule", {"Motif", "Counted", "Interval at all looks", "Answer", "Why"}, motifs));
  }
  return section + "</section>\n";
}

}  // namespace promptsweep::cli
