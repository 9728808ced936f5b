#include "cli/report/motif_sections.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/copies.h"
#include "cli/headline.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

// One picture of a sheet.
class Pictures {
 public:
  Pictures(const ReportInput& input, bool veil) : input_(input), veil_(veil) {}

  std::string Item(uint64_t ordinal, absl::string_view item_class, bool caption) const {
    const auto found = input_.pictures.find(ordinal);
    std::string body;
    if (found == input_.pictures.end()) {
      body = absl::StrCat("<span class=\"picture\"><span class=\"caption\">no picture stored for ordinal ", ordinal,
                          "</span></span>");
    } else {
      const ReportPicture& picture = found->second;
      const std::string alt = absl::StrCat("Picture ", ordinal, ", drawn by ", picture.model, " for ", picture.prompt,
                                           picture.seed.empty() ? "" : ", seed ", picture.seed);
      const std::string image =
          absl::StrCat("<img src=\"data:", picture.mime, ";base64,", absl::Base64Escape(picture.bytes), "\" alt=\"",
                       EscapeHtml(alt), "\" width=\"", picture.width, "\" height=\"", picture.height, "\" decoding=\"async\">");
      body = veil_ ? absl::StrCat("<button type=\"button\" class=\"picture\" aria-pressed=\"false\">", image, "</button>")
                   : absl::StrCat("<span class=\"picture\">", image, "</span>");
      absl::StrAppend(&body, "<span class=\"caption\">", ordinal,
                      caption ? absl::StrCat(" · ", EscapeHtml(Truncate(OneLine(picture.prompt), 60))) : "", "</span>");
    }
    return absl::StrCat("<li", item_class.empty() ? "" : absl::StrCat(" class=\"", item_class, "\""), ">", body, "</li>\n");
  }

 private:
  const ReportInput& input_;
  const bool veil_;
};

// Interval, estimate and baseline on an axis from 0 to `limit`.
std::string Whisker(const v1::Motif& motif, double limit) {
  const auto x = [&](double share) { return absl::StrFormat("%.1f", 8 + 160 * std::clamp(share / limit, 0.0, 1.0)); };
  std::string svg =
      absl::StrCat("<svg class=\"whisker\" viewBox=\"0 0 176 20\" role=\"img\" aria-label=\"", Percent(motif.prevalence()),
                   ", interval ", PercentRange(motif.ci_low(), motif.ci_high()),
                   motif.has_baseline_prevalence() ? absl::StrCat(", baseline ", Percent(motif.baseline_prevalence())) : "",
                   ", on a scale to ", Percent(limit),
                   "\"><line class=\"axis\" x1=\"8\" y1=\"10\" x2=\"168\" y2=\"10\"/><line class=\"span\" x1=\"",
                   x(motif.ci_low()), "\" y1=\"10\" x2=\"", x(motif.ci_high()), "\" y2=\"10\"/>");
  for (double end : {motif.ci_low(), motif.ci_high()}) {
    absl::StrAppend(&svg, "<line class=\"span\" x1=\"", x(end), "\" y1=\"6\" x2=\"", x(end), "\" y2=\"14\"/>");
  }
  if (motif.has_baseline_prevalence()) {
    absl::StrAppend(&svg, "<circle class=\"base\" cx=\"", x(motif.baseline_prevalence()), "\" cy=\"10\" r=\"3.5\"/>");
  }
  return absl::StrCat(svg, "<circle class=\"dot\" cx=\"", x(motif.prevalence()), "\" cy=\"10\" r=\"3.5\"/></svg>");
}

std::string QWords(double q) { return q < 0.001 ? "&lt; 0.001" : absl::StrFormat("%.3f", q); }

// "42" of "42x".
std::string TimesNumber(double ratio) { return std::string(absl::StripSuffix(Times(ratio), "x")); }

std::string TierBadge(const v1::Motif& motif) {
  const std::string name = EscapeHtml(TierName(motif.tier()));
  return absl::StrCat("<span class=\"tier ", name, "\">", name, "</span>");
}

// Empty where pictures were not looked at.
std::string CopyBadge(const v1::Motif& motif) {
  const std::string name = VerdictName(motif);
  return name.empty() ? "" : absl::StrCat(" <span class=\"copies ", name, "\">", name, "</span>");
}

std::string Name(const v1::Motif& motif) { return EscapeHtml(motif.label().empty() ? "unnamed" : NameInWords(motif)); }

std::string NamesInWords(const v1::Motif& motif) {
  if (motif.labels().empty()) return "No name of the list fits it clearly. ";
  if (motif.labels(0).kind()) {
    return absl::StrCat("No single name of the list fits it clearly; as a kind, the names below ",
                        EscapeHtml(motif.labels(0).label()), " do, ", absl::StrFormat("%.1f", motif.labels(0).standing()),
                        " standard deviations more than by chance. ");
  }
  std::vector<std::string> names;
  for (const v1::MotifLabel& label : motif.labels())
    names.push_back(absl::StrCat(EscapeHtml(label.label()), absl::StrFormat(" (%.1f)", label.z())));
  return absl::StrCat("Names that fit best, and by how many standard deviations better than on other pictures: ",
                      absl::StrJoin(names, ", "), ". ");
}

// `no_pictures` says why the card has none; empty where it has.
std::string MotifCard(const v1::Motif& motif, const v1::MotifReport& report, const Pictures& pictures,
                      absl::string_view no_pictures) {
  std::string card =
      absl::StrCat("<article class=\"card\" id=\"motif-", motif.id(), "\">\n<h3>", motif.id(), " · ", Name(motif), " ",
                   TierBadge(motif), CopyBadge(motif), "</h3>\n<p>In ", Percent(motif.prevalence()), " of ",
                   EscapeHtml(RunsInWords(report.target())), " (95 % CI ", PercentRange(motif.ci_low(), motif.ci_high()));
  if (motif.heldout_runs() > 0) {
    absl::StrAppend(&card, "; ", Grouped(motif.heldout_members()), " of ", Grouped(motif.heldout_runs()), " runs");
  }
  card += ")";
  if (motif.has_lift() && motif.has_baseline_prevalence()) {
    absl::StrAppend(&card, ", against ", Percent(motif.baseline_prevalence()), " on ", EscapeHtml(BaselineInWords(report)), ": ",
                    TimesNumber(motif.lift()), " times as often");
    if (motif.has_lift_low() && motif.has_lift_high()) {
      absl::StrAppend(&card, " (95 % CI ", TimesNumber(motif.lift_low()), " to ", TimesNumber(motif.lift_high()), " times)");
    }
  }
  absl::StrAppend(&card, ".</p>\n");
  for (const std::string& words : {CopiesInWords(motif), ReferenceInWords(motif, report)}) {
    if (!words.empty()) absl::StrAppend(&card, "<p>", EscapeHtml(words), "</p>\n");
  }
  if (motif.has_concepts()) {
    absl::StrAppend(&card, "<p>What sets it apart, in words: ", EscapeHtml(ConceptsInWords(motif.concepts())), ".</p>\n");
  }
  card = Bind(card);

  if (!no_pictures.empty()) {
    absl::StrAppend(&card, "<p class=\"sub\">", no_pictures, "</p>\n");
  } else {
    std::string items;
    std::set<uint64_t> shown;
    std::vector<uint64_t> order;
    if (motif.exemplars_size() > 0) order.push_back(motif.medoid());
    order.insert(order.end(), motif.exemplars().begin(), motif.exemplars().end());
    for (uint64_t ordinal : order) {
      if (!shown.insert(ordinal).second) continue;
      items += pictures.Item(ordinal, shown.size() == 1 ? "medoid" : "", false);
    }
    if (!items.empty())
      absl::StrAppend(&card, "<ul class=\"sheet\" aria-label=\"Examples, the most typical first\">\n", items, "</ul>\n");
    items.clear();
    for (uint64_t ordinal : motif.borderline()) {
      if (shown.insert(ordinal).second) items += pictures.Item(ordinal, "", false);
    }
    if (!items.empty()) {
      absl::StrAppend(&card,
                      "<p class=\"sub\">At its edge: just typical enough to count</p>\n<ul class=\"sheet edge\" "
                      "aria-label=\"Examples at the edge\">\n",
                      items, "</ul>\n");
    }
  }
  absl::StrAppend(
      &card, "<p class=\"details\">", NamesInWords(motif),
      motif.looks_size() > 0 ? absl::StrCat("It comes in ", motif.looks_size() + 1, " looks of the same name, counted together. ")
                             : "",
      "A picture belongs here where ", EscapeHtml(report.embedder()), " finds it alike to picture ", motif.medoid(),
      ": a cosine of at least ", absl::StrFormat("%.3f", motif.radius_cosine()), ", where 1 is the same; the mean is ",
      absl::StrFormat("%.3f", motif.mean_cosine()), ". Proposed by: ", EscapeHtml(motif.source()), ".",
      motif.has_q_value() ? absl::StrFormat(" q = %.2g.", motif.q_value()) : "", "</p>\n</article>\n");
  return card;
}

}  // namespace

std::string Bind(const std::string& html) { return absl::StrReplaceAll(html, {{" %", "\u00a0%"}, {"–", "\u2060–\u2060"}}); }

std::string SummaryTable(const v1::MotifReport& report) {
  if (report.motifs().empty()) return "";
  double limit = 0.01;
  for (const v1::Motif& motif : report.motifs()) limit = std::max({limit, motif.ci_high(), motif.baseline_prevalence()});
  const bool compared = report.baseline_runs() > 0;
  std::string rows;
  for (const v1::Motif& motif : report.motifs()) {
    absl::StrAppend(&rows, "<tr><td class=\"number\">", motif.id(), "</td><th scope=\"row\"><a href=\"#motif-", motif.id(), "\">",
                    Name(motif), "</a></th><td>", TierBadge(motif), "</td><td class=\"number\">", Percent(motif.prevalence()),
                    "<small>", PercentRange(motif.ci_low(), motif.ci_high()), "</small></td><td>", Whisker(motif, limit),
                    "</td>");
    if (compared) {
      absl::StrAppend(&rows, "<td class=\"number\">",
                      motif.has_baseline_prevalence() ? Percent(motif.baseline_prevalence()) : "–", "</td><td class=\"number\">",
                      motif.has_lift() ? LiftInWords(motif) : "–");
      if (motif.has_lift_low() && motif.has_lift_high()) {
        absl::StrAppend(&rows, "<small>", Times(motif.lift_low()), " to ", Times(motif.lift_high()), "</small>");
      }
      absl::StrAppend(&rows, "</td><td class=\"number\">", motif.has_q_value() ? QWords(motif.q_value()) : "–", "</td>");
    }
    absl::StrAppend(&rows, "<td class=\"number\">", Grouped(motif.members()), "</td></tr>\n");
  }
  std::set<int> tiers;
  std::string legend;
  const auto explain = [&](absl::string_view term, absl::string_view meaning) {
    absl::StrAppend(&legend, "<li><b>", term, "</b>: ", meaning, "</li>\n");
  };
  for (const v1::Motif& motif : report.motifs()) {
    if (!tiers.insert(motif.tier()).second) continue;
    const std::vector<std::string> words = absl::StrSplit(EscapeHtml(TierInWords(motif.tier())), absl::MaxSplits(": ", 1));
    explain(words[0], words.back());
  }
  explain("Prevalence",
          absl::StrCat("the share of ", EscapeHtml(RunsInWords(report.target())),
                       " whose picture belongs to the motif. The dot is what was counted; the line around it is the "
                       "95 % confidence interval (CI), where the true share may well lie."));
  if (compared) {
    explain("Lift", "how many times as often as in the baseline (the hollow dot).");
    explain("q", "of motifs this clear or clearer, the share one must expect to be accidents (Benjamini–Hochberg).");
  }
  explain("Members", "how many pictures that is.");
  return absl::StrCat(
      "<section aria-labelledby=\"what\"><h2 id=\"what\">What recurs</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"Table of motifs\"><table>\n<thead><tr><th scope=\"col\" class=\"number\">#</th><th scope=\"col\">Motif</th>"
      "<th scope=\"col\">Tier</th><th scope=\"col\" class=\"number\">Prevalence, 95 % CI</th><th scope=\"col\">0 to ",
      Percent(limit), "</th>",
      compared ? "<th scope=\"col\" class=\"number\">Baseline</th><th scope=\"col\" class=\"number\">Lift, 95 % CI</th>"
                 "<th scope=\"col\" class=\"number\">q</th>"
               : "",
      "<th scope=\"col\" class=\"number\">Members</th></tr></thead>\n<tbody>\n", rows,
      "</tbody></table></div>\n<ul class=\"legend\">\n", legend, "</ul></section>\n");
}

std::string MotifCards(const ReportInput& input, bool veil) {
  const Pictures pictures(input, veil);
  std::string out = "<section aria-labelledby=\"motifs\"><h2 id=\"motifs\">The motifs</h2>\n";
  if (!input.motifs.motifs().empty() && !input.pictures.empty()) {
    out +=
        "<p class=\"prose\">The large picture of each motif is its most typical one. The number below a picture is its cell's "
        "number in the sweep.</p>\n";
  }
  int number = 0;
  for (const v1::Motif& motif : input.motifs.motifs()) {
    const absl::string_view no_pictures =
        input.pictures.empty()             ? "No pictures are stored with this sweep."
        : ++number > input.pictured_motifs ? "The page shows pictures of the first motifs only; promptsweep show has these, too."
                                           : "";
    out += MotifCard(motif, input.motifs, pictures, no_pictures);
  }
  if (input.motifs.motifs().empty()) {
    absl::StrAppend(&out, "<p class=\"empty\">",
                    input.mined ? absl::StrCat("None. ", Grouped(input.motifs.candidates_tested()),
                                               " candidate regions were tested, and none held up.")
                                : "This sweep was not mined for motifs yet.",
                    "</p>\n");
  }
  return out + "</section>\n";
}

std::string ComparisonSheet(const ReportInput& input, bool veil) {
  const Pictures pictures(input, veil);
  if (input.baseline.empty()) return "";
  std::string items;
  for (uint64_t ordinal : input.baseline) items += pictures.Item(ordinal, "", true);
  return absl::StrCat("<section aria-labelledby=\"baseline\"><h2 id=\"baseline\">For comparison: ",
                      EscapeHtml(input.mined ? BaselineInWords(input.motifs) : "pictures of this sweep"),
                      "</h2>\n<p class=\"prose\">Evenly spaced, not chosen.</p>\n<ul class=\"sheet strip\">\n", items,
                      "</ul></section>\n");
}

}  // namespace promptsweep::cli
