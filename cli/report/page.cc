#include "cli/report/page.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "cli/headline.h"
#include "cli/report_resources.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

std::string Hash(absl::string_view content) { return absl::StrCat("sha256-", absl::Base64Escape(Sha256Of(content))); }

// Fills {{names}} in one pass, so that no filled-in text is ever taken for a placeholder.
std::string Fill(absl::string_view page, const std::map<std::string, std::string>& values) {
  std::string out;
  while (true) {
    const size_t open = page.find("{{");
    absl::StrAppend(&out, page.substr(0, open));
    if (open == absl::string_view::npos) return out;
    page.remove_prefix(open + 2);
    const size_t close = page.find("}}");
    const auto value = values.find(std::string(page.substr(0, close)));
    if (value != values.end()) out += value->second;
    page.remove_prefix(close + 2);
  }
}

std::string Capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] -= 32;
  return text;
}

// Keeps a number and its percent sign, and both ends of a range, on one line.
std::string Bind(const std::string& html) { return absl::StrReplaceAll(html, {{" %", "\u00a0%"}, {"–", "\u2060–\u2060"}}); }

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

std::string QWords(double q) { return q < 0.001 ? absl::StrFormat("%.1e", q) : absl::StrFormat("%.3f", q); }

std::string TierBadge(const v1::Motif& motif) {
  const std::string name = EscapeHtml(TierName(motif.tier()));
  return absl::StrCat("<span class=\"tier ", name, "\">", name, "</span>");
}

std::string Name(const v1::Motif& motif) { return EscapeHtml(motif.label().empty() ? "unnamed" : motif.label()); }

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
                      motif.has_lift() ? Times(motif.lift()) : "–");
      if (motif.has_lift_low() && motif.has_lift_high()) {
        absl::StrAppend(&rows, "<small>", Times(motif.lift_low()), " to ", Times(motif.lift_high()), "</small>");
      }
      absl::StrAppend(&rows, "</td><td class=\"number\">", motif.has_q_value() ? QWords(motif.q_value()) : "–", "</td>");
    }
    absl::StrAppend(&rows, "<td class=\"number\">", Grouped(motif.members()), "</td></tr>\n");
  }
  std::set<int> tiers;
  std::string legend;
  for (const v1::Motif& motif : report.motifs()) {
    if (tiers.insert(motif.tier()).second) absl::StrAppend(&legend, EscapeHtml(TierInWords(motif.tier())), " ");
  }
  return absl::StrCat(
      "<section aria-labelledby=\"what\"><h2 id=\"what\">What recurs</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"Table of motifs\"><table>\n<thead><tr><th scope=\"col\" class=\"number\">#</th><th scope=\"col\">Motif</th>"
      "<th scope=\"col\">Tier</th><th scope=\"col\" class=\"number\">Prevalence, 95 % CI</th><th scope=\"col\">0 to ",
      Percent(limit), "</th>",
      compared ? "<th scope=\"col\" class=\"number\">Baseline</th><th scope=\"col\" class=\"number\">Lift, 95 % CI</th>"
                 "<th scope=\"col\" class=\"number\">q</th>"
               : "",
      "<th scope=\"col\" class=\"number\">Members</th></tr></thead>\n<tbody>\n", rows,
      "</tbody></table></div>\n<p class=\"legend\">", legend, "Prevalence: share of ", EscapeHtml(RunsInWords(report.target())),
      " inside the motif's region, each counted by a region that was fitted without it.",
      compared
          ? " Lift: prevalence over that of the baseline (the hollow dot). q: p-value adjusted for all regions that were tested "
            "(Benjamini–Hochberg)."
          : "",
      "</p></section>\n");
}

std::string MotifCard(const v1::Motif& motif, const v1::MotifReport& report, const Pictures& pictures) {
  std::string card =
      absl::StrCat("<article class=\"card\" id=\"motif-", motif.id(), "\">\n<h3>", motif.id(), " · ", Name(motif), " ",
                   TierBadge(motif), "</h3>\n<p>In ", Percent(motif.prevalence()), " of ",
                   EscapeHtml(RunsInWords(report.target())), " (95 % CI ", PercentRange(motif.ci_low(), motif.ci_high()));
  if (motif.heldout_runs() > 0) {
    absl::StrAppend(&card, "; ", Grouped(motif.heldout_members()), " of ", Grouped(motif.heldout_runs()), " runs");
  }
  card += ")";
  if (motif.has_lift() && motif.has_baseline_prevalence()) {
    absl::StrAppend(&card, ", against ", Percent(motif.baseline_prevalence()), " on ", EscapeHtml(BaselineInWords(report)), ": ",
                    Times(motif.lift()), " as often");
    if (motif.has_lift_low() && motif.has_lift_high()) {
      absl::StrAppend(&card, " (95 % CI ", Times(motif.lift_low()), " to ", Times(motif.lift_high()), ")");
    }
  }
  absl::StrAppend(&card, ".</p>\n");
  card = Bind(card);

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
    absl::StrAppend(&card, "<p class=\"sub\">At its edge: just typical enough to count</p>\n<ul class=\"sheet edge\">\n", items,
                    "</ul>\n");
  }
  std::vector<std::string> names;
  for (const v1::MotifLabel& label : motif.labels())
    names.push_back(absl::StrCat(EscapeHtml(label.label()), absl::StrFormat(" (z %.1f)", label.z())));
  absl::StrAppend(&card, "<p class=\"details\">",
                  names.empty() ? "" : absl::StrCat("Names that fit best: ", absl::StrJoin(names, ", "), ". "),
                  "A run counts where its cosine to picture ", motif.medoid(), " is at least ",
                  absl::StrFormat("%.3f", motif.radius_cosine()), "; the mean inside is ",
                  absl::StrFormat("%.3f", motif.mean_cosine()), ". Proposed by: ", EscapeHtml(motif.source()),
                  ".</p>\n</article>\n");
  return card;
}

std::string Motifs(const ReportInput& input, const Pictures& pictures) {
  std::string out = "<section aria-labelledby=\"motifs\"><h2 id=\"motifs\">The motifs</h2>\n";
  for (const v1::Motif& motif : input.motifs.motifs()) out += MotifCard(motif, input.motifs, pictures);
  if (input.motifs.motifs().empty()) {
    absl::StrAppend(&out, "<p class=\"empty\">",
                    input.mined ? absl::StrCat("None. ", Grouped(input.motifs.candidates_tested()),
                                               " candidate regions were tested, and none held up.")
                                : "This sweep was not mined for motifs yet.",
                    "</p>\n");
  }
  return out + "</section>\n";
}

std::string Baseline(const ReportInput& input, const Pictures& pictures) {
  if (input.baseline.empty()) return "";
  std::string items;
  for (uint64_t ordinal : input.baseline) items += pictures.Item(ordinal, "", true);
  return absl::StrCat("<section aria-labelledby=\"baseline\"><h2 id=\"baseline\">For comparison: ",
                      EscapeHtml(input.mined ? BaselineInWords(input.motifs) : "pictures of this sweep"),
                      "</h2>\n<p class=\"prose\">Evenly spaced, not chosen.</p>\n<ul class=\"sheet strip\">\n", items,
                      "</ul></section>\n");
}

std::string Limits(const ReportInput& input) {
  std::vector<std::string> limits(input.motifs.notes().begin(), input.motifs.notes().end());
  if (input.mined && input.motifs.baseline_runs() == 0) {
    limits.push_back(
        "There is no baseline: the page says how often a motif comes, not whether that is more often than elsewhere.");
  }
  limits.push_back(
      "A motif is a region of one embedder's space. What that embedder cannot see is not counted, and a name is its guess.");
  limits.push_back(
      "The counts hold for these weights, these settings and this range of seeds. They say that a picture recurs, not why.");
  if (input.sweep.counts().failed() > 0) {
    limits.push_back(absl::StrCat(Grouped(input.sweep.counts().failed()), " cells failed and are missing from every count."));
  }
  std::string out;
  for (const std::string& limit : limits) {
    absl::StrAppend(&out, "<li>", EscapeHtml(Capitalised(limit)), absl::EndsWith(limit, ".") ? "" : ".", "</li>\n");
  }
  return out;
}

std::string Provenance(const ReportInput& input) {
  std::string rows;
  const auto row = [&](absl::string_view name, const std::string& html) {
    absl::StrAppend(&rows, "<tr><th scope=\"row\">", name, "</th><td>", html, "</td></tr>\n");
  };
  const auto code = [](absl::string_view text) { return absl::StrCat("<code>", EscapeHtml(text), "</code>"); };
  const v1::SweepManifest& manifest = input.sweep.manifest();
  const v1::SweepCounts& counts = input.sweep.counts();
  row("Sweep", absl::StrCat(EscapeHtml(manifest.spec().name()), ", number ", input.sweep.sweep(), ", ",
                            EscapeHtml(StateName(input.sweep.state())), ", stored ", WallTime(input.sweep.created_at_ms())));
  if (!manifest.imported_from().empty()) row("Imported from", EscapeHtml(manifest.imported_from()));
  row("Manifest digest", code(ToHex(input.sweep.digest())));
  row("Cells", absl::StrCat(Grouped(counts.planned()), " planned = ", Grouped(counts.done()), " done + ",
                            Grouped(counts.failed()), " failed + ",
                            Grouped(counts.planned() - std::min(counts.planned(), counts.done() + counts.failed())), " to do"));
  const auto model = [&](absl::string_view what, const v1::ModelRef& ref) {
    row(what, absl::StrCat(EscapeHtml(ref.id()), " (", EscapeHtml(ref.architecture()), ") ", code(ToHex(ref.digest()))));
  };
  for (const v1::ModelRef& ref : manifest.models()) model("Model", ref);
  for (const v1::ModelRef& ref : manifest.embedders()) model("Embedder", ref);
  if (manifest.imported_from().empty()) {
    row("Precision",
        absl::StrCat("noise ", EscapeHtml(manifest.noise_dtype()), ", model ", EscapeHtml(manifest.compute_dtype())));
  }
  std::set<std::string> machines;
  for (const v1::Provenance& p : input.provenances) {
    machines.insert(absl::StrCat(p.device(), "; promptsweep ", p.program_version(),
                                 p.torch_version().empty() ? "" : absl::StrCat("; libtorch ", p.torch_version()),
                                 p.batch_shape() > 0 ? absl::StrCat("; batches of ", p.batch_shape()) : ""));
  }
  for (const std::string& machine : machines) row("Ran on", EscapeHtml(machine));
  if (input.mined) {
    row("Analysis",
        absl::StrCat(Grouped(input.motifs.candidates_tested()), " candidate regions tested, seed ", input.motifs.seed(),
                     input.motifs.baseline_runs() > 0 ? absl::StrCat(", false-discovery rate ", Percent(input.motifs.fdr())) : "",
                     ", promptsweep ", EscapeHtml(input.motifs.program_version())));
  }
  return rows;
}

std::string MotifsCommand(const ReportInput& input, const std::string& sweep) {
  std::string command = absl::StrCat("promptsweep motifs ", sweep, " ", input.command_prefix);
  const auto add = [&](absl::string_view flag, const auto& filters) {
    for (const v1::AxisFilter& filter : filters) {
      std::string value = absl::StrCat(filter.axis(), "=", filter.value());
      std::string quoted;
      for (char c : value) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      absl::StrAppend(&command, " ", flag, " '", quoted, "'");
    }
  };
  add("--target", input.motifs.target());
  add("--baseline", input.motifs.baseline());
  return command;
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  for (char c : OneLine(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

bool NeedsVeil(const v1::SweepManifest& manifest) {
  if (manifest.models().empty()) return true;
  return std::any_of(manifest.models().begin(), manifest.models().end(), [](const v1::ModelRef& ref) { return !ref.harmless(); });
}

std::string RenderReport(const ReportInput& input) {
  const v1::SweepManifest& manifest = input.sweep.manifest();
  const bool veil = NeedsVeil(manifest);
  const Pictures pictures(input, veil);
  const std::string headline =
      input.mined ? Capitalised(Headline(input.motifs, std::max(1, manifest.models_size()))) + "." : "Not mined for motifs yet.";
  std::vector<std::string> models;
  for (const v1::ModelRef& ref : manifest.models()) models.push_back(EscapeHtml(ref.id()));
  std::string facts = absl::StrCat(Grouped(input.sweep.counts().done()), " pictures by ", absl::StrJoin(models, ", "));
  if (!manifest.imported_from().empty()) facts = absl::StrCat(Grouped(input.sweep.counts().done()), " imported rows");
  if (input.mined) {
    absl::StrAppend(&facts, "; ", Grouped(input.motifs.target_runs()), " ", EscapeHtml(RunsInWords(input.motifs.target())));
    if (input.motifs.baseline_runs() > 0) {
      absl::StrAppend(&facts, ", compared with ", Grouped(input.motifs.baseline_runs()), " runs on ",
                      EscapeHtml(BaselineInWords(input.motifs)));
    }
    absl::StrAppend(&facts, ", seen through ", EscapeHtml(input.motifs.embedder()));
  }
  const std::string sweep = absl::StrCat(input.sweep.sweep());
  std::vector<std::string> commands = {absl::StrCat("promptsweep verify ", sweep, " ", input.command_prefix, " --deep"),
                                       absl::StrCat("promptsweep query ", sweep, " ", input.command_prefix, " -o csv")};
  if (input.mined) commands.insert(commands.begin() + 1, MotifsCommand(input, sweep));
  for (std::string& command : commands) command = EscapeHtml(command);
  const std::string cite =
      absl::StrCat("promptsweep ", PROMPTSWEEP_VERSION, ", sweep “", EscapeHtml(manifest.spec().name()), "”, manifest ",
                   ToHex(input.sweep.digest()).substr(0, 16), ", ", WallTime(input.sweep.created_at_ms()).substr(0, 10),
                   ". Name the model by its digest above: a name alone does not say which weights were asked.");
  return Fill(
      kReportHtml,
      {{"style", kReportCss},
       {"script", kReportJs},
       {"style_hash", Hash(kReportCss)},
       {"script_hash", Hash(kReportJs)},
       {"version", PROMPTSWEEP_VERSION},
       {"title", absl::StrCat(EscapeHtml(manifest.spec().name()), ": motifs")},
       {"eyebrow", absl::StrCat(EscapeHtml(manifest.spec().name()), " · sweep ", sweep)},
       {"headline", Bind(EscapeHtml(headline))},
       {"facts", Bind(absl::StrCat(facts, "."))},
       {"veil_bar",
        veil ? "<div class=\"veil-bar\"><p>Pictures are blurred: no card says that everything this model draws is harmless. "
               "Choose one to see it.</p><button type=\"button\" class=\"action\" id=\"show-all\" hidden>Show all "
               "pictures</button></div>"
             : ""},
       {"summary", Bind(SummaryTable(input.motifs))},
       {"motifs", Motifs(input, pictures)},
       {"baseline", Baseline(input, pictures)},
       {"limits", Limits(input)},
       {"provenance", Provenance(input)},
       {"commands", absl::StrJoin(commands, "\n")},
       {"cite", cite}});
}

}  // namespace promptsweep::cli
