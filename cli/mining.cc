#include "cli/mining.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/copies.h"
#include "cli/exit.h"
#include "cli/headline.h"
#include "cli/process.h"
#include "cli/text.h"
#include "jobs/sweep/names.h"

namespace promptsweep::cli {
namespace {

// Runs promptsweep-motifs to its end; what it printed.
absl::StatusOr<std::string> RunMotifProgram(const std::vector<std::string>& arguments, bool verbose) {
  PS_ASSIGN_OR_RETURN(const std::string program, FindProgram("promptsweep-motifs"));
  ChildProcess::Options options;
  options.argv = {program};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.capture_stdout = true;
  options.echo_stderr = verbose;
  PS_ASSIGN_OR_RETURN(const auto child, ChildProcess::Start(std::move(options)));
  while (!child->Poll()) {
    if (IsStopSignal(WaitForSignal(absl::Milliseconds(200)))) return absl::CancelledError("interrupted while mining");
  }
  const ExitInfo& exit = child->exit_info();
  if (exit.signal == 0 && exit.code == 0) return child->stdout_text();
  const std::vector<std::string> lines = child->last_lines();
  std::string why = lines.empty() ? absl::StrCat("promptsweep-motifs ended with ", exit.InWords())
                                  : std::string(absl::StripPrefix(lines.back(), "promptsweep-motifs: "));
  if (exit.signal != 0) why = absl::StrCat("promptsweep-motifs died of ", exit.InWords());
  switch (exit.code) {
    case kBadInput:
      return absl::InvalidArgumentError(why);
    case kNotFound:
      return absl::NotFoundError(why);
    case kUnreachable:
      return absl::UnavailableError(why);
    default:
      return absl::InternalError(why);
  }
}

}  // namespace

void AddComparisonOptions(CLI::App& app, ComparisonOptions& options) {
  app.add_option("--target", options.target,
                 "Runs to look at, axis=value,...; prompt= is blank of any kind [blank runs; all where none is]")
      ->type_name("FILTER")
      ->expected(1)
      ->take_all();
  app.add_option("--baseline", options.baseline, "Runs to compare with [all others]")
      ->type_name("FILTER")
      ->expected(1)
      ->take_all();
  app.add_option(
         "--question", options.question,
         "unasked: what one model draws on blank prompts and others do not; leak: what one prompt brings in and others do "
         "not; changed: new model against old, run by run; collapsed: target against baseline, nothing tested")
      ->check(CLI::IsMember({"unasked", "leak", "changed", "collapsed"}))
      ->type_name("QUESTION");
}

void AddCopyOptions(CLI::App& app, CopyDetection& options) {
  app.add_option("--copy-embedder", options.embedder,
                 "Embedder whose vectors say, too, which pictures are copies, or none [the sweep's first copy detector]")
      ->type_name("ID");
  app.add_option("--copy-threshold", options.threshold, "Cosine of its vectors from which two pictures are copies [0.75]")
      ->check(CLI::Range(-1.0, 1.0))
      ->type_name("COSINE");
}

absl::Status CheckCopyEmbedder(const CopyDetection& options, const v1::SweepManifest& manifest) {
  if (options.embedder.empty() || options.embedder == "none") return absl::OkStatus();
  std::vector<std::string> ids;
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    if (embedder.id() == options.embedder) return absl::OkStatus();
    ids.push_back(embedder.id());
  }
  return absl::InvalidArgumentError(absl::StrCat("--copy-embedder: the spec has no embedder ", sweep::Quoted(options.embedder),
                                                 sweep::Hint(options.embedder, ids)));
}

void AddVocabularyOption(CLI::App& app, std::string& vocabulary) {
  app.add_option(
         "--vocabulary", vocabulary,
         "Words to name motifs by, as promptsweep words stored them [the embedder's own; without any, the only ones stored]")
      ->type_name("NAME");
}

absl::StatusOr<std::string> RunMiner(const MiningRequest& request) {
  std::vector<std::string> arguments = {"--server", request.address, "--sweep", absl::StrCat(request.sweep)};
  arguments.insert(arguments.end(), request.security.begin(), request.security.end());
  if (!request.embedder.empty()) arguments.insert(arguments.end(), {"--embedder", request.embedder});
  if (!request.reference.empty()) arguments.insert(arguments.end(), {"--reference", request.reference});
  if (!request.reference_column.empty()) arguments.insert(arguments.end(), {"--reference-column", request.reference_column});
  if (!request.reference_names.empty()) arguments.insert(arguments.end(), {"--reference-names", request.reference_names});
  if (!request.reference_threshold.empty()) {
    arguments.insert(arguments.end(), {"--reference-threshold", request.reference_threshold});
  }
  if (!request.reference_embedder.empty()) {
    arguments.insert(arguments.end(), {"--reference-embedder", request.reference_embedder});
  }
  if (!request.copies.embedder.empty()) arguments.insert(arguments.end(), {"--copy-embedder", request.copies.embedder});
  if (!request.copies.threshold.empty()) arguments.insert(arguments.end(), {"--copy-threshold", request.copies.threshold});
  for (const std::string& filter : request.target) arguments.insert(arguments.end(), {"--target", filter});
  for (const std::string& filter : request.baseline) arguments.insert(arguments.end(), {"--baseline", filter});
  if (!request.vocabulary.empty()) arguments.insert(arguments.end(), {"--vocabulary", request.vocabulary});
  if (!request.question.empty()) arguments.insert(arguments.end(), {"--question", request.question});
  if (request.keep) arguments.push_back("--keep");
  if (request.fresh) arguments.push_back("--fresh");
  if (request.look) arguments.push_back("--look");
  return RunMotifProgram(arguments, request.verbose);
}

absl::StatusOr<std::string> RunDiff(const DiffRequest& request) {
  std::vector<std::string> arguments = {"diff",
                                        "--server",
                                        request.address,
                                        "--from-sweep",
                                        absl::StrCat(request.from_sweep),
                                        "--to-sweep",
                                        absl::StrCat(request.to_sweep)};
  arguments.insert(arguments.end(), request.security.begin(), request.security.end());
  if (!request.embedder.empty()) arguments.insert(arguments.end(), {"--embedder", request.embedder});
  for (const std::string& filter : request.only) arguments.insert(arguments.end(), {"--only", filter});
  for (const std::string& filter : request.from) arguments.insert(arguments.end(), {"--from", filter});
  for (const std::string& filter : request.to) arguments.insert(arguments.end(), {"--to", filter});
  if (request.all_prompts) arguments.push_back("--all");
  return RunMotifProgram(arguments, request.verbose);
}

absl::StatusOr<v1::MotifReport> StoredMotifs(v1::StoreService::StubInterface& store, uint32_t sweep) {
  v1::GetMotifsRequest request;
  request.set_sweep(sweep);
  PS_ASSIGN_OR_RETURN(const auto response, Call(store, &v1::StoreService::StubInterface::GetMotifs, request));
  v1::MotifReport report;
  if (response.report().empty()) return absl::NotFoundError(absl::StrCat("sweep ", sweep, " was not mined for motifs yet"));
  if (!report.ParseFromString(response.report())) return absl::DataLossError("the stored motif report cannot be read");
  return report;
}

bool AnswersDefaultQuestion(const v1::MotifReport& report) {
  if (!report.question().empty() || report.baseline_size() > 0 || report.target_size() > 1) return false;
  return report.target_size() == 0 || (report.target(0).axis() == "prompt" && report.target(0).value().empty());
}

Table MotifRows(const v1::MotifReport& report) {
  Table table({{"id"},
               {"tier"},
               {"label", false, true},
               {"prevalence"},
               {"ci_low"},
               {"ci_high"},
               {"lift"},
               {"lift_low"},
               {"lift_high"},
               {"q_value"},
               {"members"},
               {"medoid"},
               {"copies"},
               {"copies_share"},
               {"copies_low"},
               {"copies_high"},
               {"reference_matches"},
               {"reference_compared"},
               {"kinds", false, true},
               {"copies_links"},
               {"copies_detector"},
               {"copies_detector_links"}});
  const auto judged = [](const v1::Motif& motif, double share) { return VerdictName(motif).empty() ? "" : ShortDouble(share); };
  for (const v1::Motif& motif : report.motifs()) {
    table.Add({absl::StrCat(motif.id()),
               TierName(motif.tier()),
               motif.label(),
               ShortDouble(motif.prevalence()),
               ShortDouble(motif.ci_low()),
               ShortDouble(motif.ci_high()),
               motif.has_lift() ? ShortDouble(motif.lift()) : "",
               motif.has_lift_low() ? ShortDouble(motif.lift_low()) : "",
               motif.has_lift_high() ? ShortDouble(motif.lift_high()) : "",
               motif.has_q_value() ? ShortDouble(motif.q_value()) : "",
               absl::StrCat(motif.members()),
               absl::StrCat(motif.medoid()),
               VerdictName(motif),
               judged(motif, motif.copies().share()),
               judged(motif, motif.copies().share_low()),
               judged(motif, motif.copies().share_high()),
               motif.has_reference() ? absl::StrCat(motif.reference().matches()) : "",
               motif.has_reference() ? absl::StrCat(motif.reference().compared()) : "",
               motif.labels_size() > 0 ? absl::StrJoin(motif.labels(0).path(), " > ") : "",
               VerdictName(motif).empty() ? "" : absl::StrCat(motif.copies().links()),
               motif.copies().detector(),
               motif.copies().detector().empty() ? "" : absl::StrCat(motif.copies().detector_links())});
  }
  return table;
}

Table MotifTable(const v1::MotifReport& report) {
  Table table({{"id", true},
               {"tier"},
               {"motif", false, true},
               {"prevalence", true},
               {"ci_95", true},
               {"lift", true},
               {"lift_ci_95", true},
               {"q", true},
               {"members", true},
               {"medoid", true},
               {"copies"}});
  for (const v1::Motif& motif : report.motifs()) {
    table.Add({absl::StrCat(motif.id()), TierName(motif.tier()), NameInWords(motif), Percent(motif.prevalence()),
               PercentRange(motif.ci_low(), motif.ci_high()), motif.has_lift() ? LiftInWords(motif) : "",
               motif.has_lift_low() ? absl::StrCat(Times(motif.lift_low()), "–", Times(motif.lift_high())) : "",
               motif.has_q_value() ? absl::StrFormat("%.2g", motif.q_value()) : "", absl::StrCat(motif.members()),
               absl::StrCat(motif.medoid()), VerdictInWords(motif)});
  }
  return table;
}

}  // namespace promptsweep::cli
