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
#include "cli/motif_models.h"
#include "cli/outlook.h"
#include "cli/report/motif_sections.h"
#include "cli/report/stop_section.h"
#include "cli/report_resources.h"
#include "cli/text.h"
#include "jobs/sweep/filter.h"
#include "jobs/sweep/names.h"

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
                     ", promptsweep ", EscapeHtml(input.motifs.program_version()),
                     input.motifs.vocabulary().empty()
                         ? ""
                         : absl::StrCat(", named by the vocabulary ", EscapeHtml(input.motifs.vocabulary()))));
  }
  return rows;
}

std::string MotifsCommand(const ReportInput& input, const std::string& sweep) {
  std::string command = absl::StrCat("promptsweep motifs ", sweep, " ", input.command_prefix);
  const auto add = [&](absl::string_view flag, const auto& filters) {
    for (const v1::AxisFilter& filter : filters) {
      std::string value = absl::StrCat(filter.axis(), "=", sweep::EscapeFilterValue(filter.value()));
      std::string quoted;
      for (char c : value) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      absl::StrAppend(&command, " ", flag, " '", quoted, "'");
    }
  };
  add("--target", input.motifs.target());
  add("--baseline", input.motifs.baseline());
  if (sweep::IsName(input.motifs.question())) absl::StrAppend(&command, " --question ", input.motifs.question());
  if (sweep::IsName(input.motifs.vocabulary())) absl::StrAppend(&command, " --vocabulary ", input.motifs.vocabulary());
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
    absl::StrAppend(&facts, ", judged by what ", EscapeHtml(input.motifs.embedder()), " sees in them");
  }
  const std::string sweep = absl::StrCat(input.sweep.sweep());
  std::vector<std::string> commands = {absl::StrCat("promptsweep verify ", sweep, " ", input.command_prefix, " --deep"),
                                       absl::StrCat("promptsweep query ", sweep, " ", input.command_prefix, " -o csv")};
  if (input.mined) commands.insert(commands.begin() + 1, MotifsCommand(input, sweep));
  if (!input.motifs.motifs().empty()) {
    commands.push_back(absl::StrCat("promptsweep show ", sweep, " ", input.motifs.motifs(0).medoid(), " ", input.command_prefix,
                                    " --out picture.png"));
  }
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
       {"summary", Bind(SummaryTable(input.motifs) + ModelSection(input.motifs))},
       {"motifs", absl::StrCat(MotifCards(input, veil), Bind(StopSection(input) + OutlookSection(input.motifs)))},
       {"baseline", ComparisonSheet(input, veil)},
       {"limits", Limits(input)},
       {"provenance", Provenance(input)},
       {"commands", absl::StrJoin(commands, "\n")},
       {"cite", cite}});
}

}  // namespace promptsweep::cli
