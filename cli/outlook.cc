#include "cli/outlook.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/headline.h"
#include "cli/report/page.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

// More than a trillion, or none.
std::string RunsWords(uint64_t runs) { return runs > 0 ? Grouped(runs) : "–"; }

std::string Number(double value) {
  return value >= 99.5 ? Grouped(static_cast<uint64_t>(std::llround(value))) : absl::StrFormat("%.1f", value);
}

std::string Various(const v1::Diversity& d) {
  return absl::StrCat(Number(d.vendi()), " (95 % CI ", Number(d.vendi_low()), " to ", Number(d.vendi_high()), "; by RKE ",
                      Number(d.rke()), ")");
}

std::vector<std::string> RunsNeededCells(const v1::Motif& motif) {
  const v1::RunsNeeded& needed = motif.runs_needed();
  return {absl::StrCat(motif.id()),
          NameInWords(motif),
          RunsWords(needed.to_find()),
          RunsWords(needed.to_one_point()),
          RunsWords(needed.to_quarter()),
          RunsWords(needed.to_quarter_anytime()),
          needed.has_to_decide() ? RunsWords(needed.to_decide()) : ""};
}

constexpr const char* kRunsNeededHeads[] = {"#",
                                            "Motif",
                                            "to be found",
                                            "for ±1 point",
                                            "for ±25 % of it",
                                            "the same, looking as often as one likes",
                                            "to be told from the baseline"};

}  // namespace

std::vector<std::string> OutlookInWords(const v1::MotifReport& report) {
  std::vector<std::string> words;
  if (!report.has_novelty() || report.novelty().runs() == 0) return words;
  const std::string runs = RunsInWords(report.target());
  words.push_back(
      report.unseen_below() >= 1
          ? absl::StrCat("Too few ", runs, " to say of any motif that it is missing.")
          : absl::StrCat("A motif in ", Percent(report.unseen_below()), " of ", runs,
                         " or more would almost surely (95 %) have shown often enough to be found; rarer ones may be missing."));
  const v1::Novelty& n = report.novelty();
  words.push_back(absl::StrCat(Percent(n.rate()), " of ", runs, " (95 % CI ", PercentRange(n.low(), n.high()),
                               ") are unlike every other; so often the next one would show something new. Of ", Grouped(n.runs()),
                               " runs there are ", Grouped(n.kinds()), n.kinds() == 1 ? " kind" : " kinds",
                               " of picture, and at least ", Grouped(static_cast<uint64_t>(std::llround(n.kinds_at_least()))),
                               " with those not seen; as many runs again would show about ",
                               Grouped(static_cast<uint64_t>(std::llround(n.new_if_doubled()))), " new ones."));
  if (report.has_target_diversity()) {
    std::string text = absl::StrCat("The pictures are as various as ", Various(report.target_diversity()),
                                    " that differ entirely (Vendi score)");
    if (report.has_baseline_diversity())
      absl::StrAppend(&text, "; those on ", BaselineInWords(report), " as ", Various(report.baseline_diversity()));
    words.push_back(absl::StrCat(text, "."));
  }
  return words;
}

Table RunsNeededTable(const v1::MotifReport& report) {
  Table table({{"id", true},
               {"motif", false, true},
               {"to_find", true},
               {"1_point", true},
               {"25_percent", true},
               {"25_percent_anytime", true},
               {"vs_baseline", true}});
  for (const v1::Motif& motif : report.motifs()) {
    if (motif.has_runs_needed()) table.Add(RunsNeededCells(motif));
  }
  return table;
}

std::string OutlookText(const v1::MotifReport& report) {
  std::string text;
  const Table table = RunsNeededTable(report);
  if (!table.empty()) {
    absl::StrAppend(
        &text, "\nRuns needed in all, of which there are ", Grouped(report.target_runs()),
        ": to be found, for an interval of +-1 point or +-25 % of the prevalence, for that while looking as often as one "
        "likes, and to be told from the baseline\n",
        table.Render());
  }
  for (const std::string& words : OutlookInWords(report)) absl::StrAppend(&text, "\n", words);
  if (!text.empty() && text.back() != '\n') text += "\n";
  return text;
}

std::string OutlookSection(const v1::MotifReport& report) {
  const std::vector<std::string> words = OutlookInWords(report);
  std::string rows;
  for (const v1::Motif& motif : report.motifs()) {
    if (!motif.has_runs_needed()) continue;
    const std::vector<std::string> cells = RunsNeededCells(motif);
    rows += "<tr>";
    for (size_t c = 0; c < cells.size(); ++c) {
      absl::StrAppend(&rows, c == 1 ? "<th scope=\"row\">" : "<td class=\"number\">", EscapeHtml(cells[c]),
                      c == 1 ? "</th>" : "</td>");
    }
    rows += "</tr>\n";
  }
  if (words.empty() && rows.empty()) return "";
  std::string section = "<section aria-labelledby=\"outlook\"><h2 id=\"outlook\">What more runs would tell</h2>\n";
  for (const std::string& sentence : words) absl::StrAppend(&section, "<p class=\"prose\">", EscapeHtml(sentence), "</p>\n");
  if (!rows.empty()) {
    std::string heads;
    for (size_t c = 0; c < std::size(kRunsNeededHeads); ++c) {
      absl::StrAppend(&heads, "<th scope=\"col\"", c == 1 ? "" : " class=\"number\"", ">", kRunsNeededHeads[c], "</th>");
    }
    absl::StrAppend(
        &section, "<p class=\"prose\">Runs each motif asks for in all; there are ", Grouped(report.target_runs()),
        ".</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of runs needed\"><table>\n<thead><tr>",
        heads, "</tr></thead>\n<tbody>\n", rows, "</tbody></table></div>\n");
  }
  return section + "</section>\n";
}

}  // namespace promptsweep::cli
