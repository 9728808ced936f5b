#include "cli/motif_models.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/headline.h"
#include "cli/report/page.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

std::string SpreadInWords(const v1::Motif& motif) {
  if (motif.spread() == "shared") return "shared";
  if (motif.spread() == "unique") return "one model's own";
  if (motif.spread() == "none") return "hardly in any";
  return "too few runs to say";
}

// The model of which the largest part of prompts ends in the motif; null where none was asked two.
const v1::MotifInModel* WidestReach(const v1::Motif& motif) {
  const v1::MotifInModel* widest = nullptr;
  const auto share = [](const v1::MotifInModel& m) { return static_cast<double>(m.reach().reached()) / m.reach().prompts(); };
  for (const v1::MotifInModel& model : motif.models()) {
    if (model.has_reach() && (widest == nullptr || share(model) > share(*widest))) widest = &model;
  }
  return widest;
}

std::string ReachInWords(const v1::Motif& motif, const v1::MotifInModel& model, bool name_model) {
  const v1::MotifReach& reach = model.reach();
  const std::string where = name_model ? absl::StrCat(" in ", OneLine(model.model())) : "";
  std::string words =
      absl::StrCat(motif.id(), " ", NameInWords(motif), where, ": ", Grouped(reach.reached()), " of ", Grouped(reach.prompts()),
                   " prompts reach it (95 % CI ", PercentRange(reach.share_low(), reach.share_high()), "), ",
                   Percent(reach.expected()), " expected if prompts made no difference");
  if (reach.excess_high() < 0) words += ": some prompts hold it";
  if (reach.excess_low() > 0) words += ": spread more evenly than chance";
  if (reach.reached() > 0) absl::StrAppend(&words, "; evenness ", absl::StrFormat("%.2f", reach.entropy()), " of 1");
  if (reach.top_size() > 0) {
    const v1::MotifPrompt& top = reach.top(0);
    absl::StrAppend(&words, "; most often \"", Truncate(OneLine(top.prompt()), 60), "\", ", Grouped(top.members()), " of ",
                    Grouped(top.runs()), " runs");
  }
  return words;
}

}  // namespace

Table ModelTable(const v1::MotifReport& report) {
  Table table({{"id", true},
               {"motif", false, true},
               {"model", false, true},
               {"prevalence", true},
               {"ci_95", true},
               {"members", true},
               {"runs", true},
               {"models"},
               {"q", true}});
  if (report.models_size() < 2) return table;
  for (const v1::Motif& motif : report.motifs()) {
    for (const v1::MotifInModel& model : motif.models()) {
      table.Add({absl::StrCat(motif.id()), NameInWords(motif), model.model(), Percent(model.prevalence()),
                 PercentRange(model.ci_low(), model.ci_high()), absl::StrCat(model.members()), absl::StrCat(model.runs()),
                 SpreadInWords(motif), motif.has_models_q() ? absl::StrFormat("%.2g", motif.models_q()) : ""});
    }
  }
  return table;
}

std::string ReachLines(const v1::MotifReport& report) {
  std::string lines;
  for (const v1::Motif& motif : report.motifs()) {
    if (const v1::MotifInModel* widest = WidestReach(motif)) {
      absl::StrAppend(&lines, ReachInWords(motif, *widest, report.models_size() > 1), "\n");
    }
  }
  return lines;
}

std::string ModelSection(const v1::MotifReport& report) {
  std::string html;
  if (report.models_size() > 1 && report.motifs_size() > 0) {
    std::string head = "<th scope=\"col\">Motif</th>", rows;
    for (const std::string& model : report.models()) {
      absl::StrAppend(&head, "<th scope=\"col\" class=\"number\">", EscapeHtml(OneLine(model)), "</th>");
    }
    for (const v1::Motif& motif : report.motifs()) {
      absl::StrAppend(&rows, "<tr><th scope=\"row\"><a href=\"#motif-", motif.id(), "\">", motif.id(), " · ",
                      EscapeHtml(NameInWords(motif)), "</a></th>");
      for (const v1::MotifInModel& model : motif.models()) {
        absl::StrAppend(&rows, "<td class=\"number\">", Percent(model.prevalence()), "<small>",
                        PercentRange(model.ci_low(), model.ci_high()), "</small></td>");
      }
      absl::StrAppend(&rows, "<td>", SpreadInWords(motif), "</td><td class=\"number\">",
                      motif.has_models_q() ? absl::StrFormat("%.2g", motif.models_q()) : "–", "</td></tr>\n");
    }
    absl::StrAppend(
        &html, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Motifs by model\"><table>\n<thead><tr>", head,
        "<th scope=\"col\">In the models</th><th scope=\"col\" class=\"number\">q</th></tr></thead>\n<tbody>\n", rows,
        "</tbody></table></div>\n<p class=\"sub\">Share of each model's runs that belong to the motif, with its 95 % "
        "interval. A small q says that the models differ.</p>\n");
  }
  std::string items;
  for (const absl::string_view line : absl::StrSplit(ReachLines(report), '\n', absl::SkipEmpty())) {
    absl::StrAppend(&items, "<li>", EscapeHtml(line), "</li>\n");
  }
  if (!items.empty()) absl::StrAppend(&html, "<ul class=\"legend\">\n", items, "</ul>\n");
  if (html.empty()) return "";
  return absl::StrCat("<section aria-labelledby=\"where\"><h2 id=\"where\">In which models and prompts</h2>\n", html,
                      "</section>\n");
}

}  // namespace promptsweep::cli
