// promptsweep-motifs: mines one sweep of a store for motifs, stores the report and prints it as JSON.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/command_line.h"
#include "base/machine.h"
#include "base/rpc.h"
#include "base/security_flags.h"
#include "base/status.h"
#include "jobs/motifs/analysis.h"
#include "jobs/motifs/compare_main.h"
#include "jobs/motifs/program.h"
#include "jobs/motifs/vectors/gemm.h"

namespace {

using promptsweep::motifs::kProgram;

struct Arguments {
  std::string server;
  promptsweep::SecurityFlags security;
  std::vector<std::string> target, baseline;
  std::string question;
  std::string json;
  promptsweep::motifs::AnalysisOptions analysis;
};

absl::Status Run(Arguments& arguments) {
  using namespace promptsweep;
  PS_RETURN_IF_ERROR(motifs::CheckGemm());
  // Alternatives of one axis are joined by "or", axes by "and", whether given at once or one by one.
  arguments.analysis.selection.target = absl::StrJoin(arguments.target, ",");
  arguments.analysis.selection.baseline = absl::StrJoin(arguments.baseline, ",");
  PS_ASSIGN_OR_RETURN(arguments.analysis.selection.question, motifs::ParseQuestion(arguments.question));
  PS_ASSIGN_OR_RETURN(const auto security, OpenSecurity(arguments.security));
  PS_ASSIGN_OR_RETURN(const auto channel, Connect(arguments.server, *security));
  const auto store = v1::StoreService::NewStub(channel);
  PS_ASSIGN_OR_RETURN(const v1::MotifReport report, motifs::Analyse(*store, arguments.analysis));
  const std::string json = motifs::ReportJson(report);
  if (arguments.json == "-") {
    if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0) {
      return absl::InternalError("cannot write to standard output");
    }
    return absl::OkStatus();
  }
  std::ofstream file(arguments.json, std::ios::binary | std::ios::trunc);
  file << json;
  file.close();
  if (!file) return absl::InvalidArgumentError(absl::StrCat("cannot write ", arguments.json));
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "diff") return promptsweep::motifs::DiffMain(argc - 1, argv + 1);
  Arguments arguments;
  arguments.json = "-";
  auto& mine = arguments.analysis.mine;
  auto& selection = arguments.analysis.selection;
  arguments.analysis.memory = promptsweep::MemoryLimit() / 2;
  mine.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 64u));
  CLI::App app("Finds what keeps recurring in a sweep's pictures, how often, and how surely.", kProgram);
  app.add_option("--server", arguments.server, "Address of the store, host:port")->required();
  app.add_option("--sweep", selection.sweep, "Id, name or at least 6 digits of the digest")->required();
  app.add_option("--target", arguments.target, "Runs to look at, axis=value,...; prompt= is blank of any kind [blank runs]")
      ->expected(1)
      ->take_all();
  app.add_option("--baseline", arguments.baseline, "Runs to compare with [all others]")->expected(1)->take_all();
  app.add_option(
      "--question", arguments.question,
      "What is asked: unasked (one model against others), leak (one prompt against others), changed (new against old, run "
      "by run), collapsed [target against baseline]");
  app.add_option("--embedder", selection.embedder, "Embedder whose vectors count [the sweep's first]");
  app.add_option("--vocabulary", arguments.analysis.vocabulary,
                 "Stored vocabulary to name motifs by [the embedder's own labels; without any, the only one stored for it]")
      ->type_name("NAME");
  app.add_option("--seed", mine.seed, "Seed of every random choice")->capture_default_str();
  app.add_option("--threads", mine.threads, "Processor threads; the result does not depend on them")->check(CLI::Range(1, 1024));
  app.add_option("--fdr", mine.fdr, "False-discovery rate that \"confirmed\" controls")
      ->check(CLI::Range(1e-6, 0.5))
      ->capture_default_str();
  app.add_option("--discovery-runs", mine.discovery_runs, "Most runs candidates are proposed on; all are counted")
      ->check(CLI::Range(100, 200'000))
      ->capture_default_str();
  app.add_option(
         "--memory", arguments.analysis.memory,
         "Memory for the vectors, e.g. 8G; motifs are sought in as many as fit, and counted in all [half of the machine's]")
      ->transform(CLI::AsSizeValue(false));
  auto* keep = app.add_flag("--keep", arguments.analysis.keep,
                            "Seek no motifs; count those of this question's last report in all that is stored now");
  app.add_flag("--fresh", arguments.analysis.fresh, "Take no notice of earlier reports: every motif is new")->excludes(keep);
  app.add_flag("--look", arguments.analysis.look, "Take the sweep's next look by its stop rule");
  app.add_option("--pictures", arguments.analysis.copies.pictures,
                 "Most pictures looked at for copies, per motif and per prompt; 0 for none")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--copy-embedder", arguments.analysis.copy_embedder,
                 "Embedder whose vectors say, too, which pictures are copies, or none [the sweep's first copy detector]")
      ->type_name("ID");
  app.add_option("--copy-threshold", arguments.analysis.copies.options.least_cosine,
                 "Cosine of its vectors from which two pictures are copies")
      ->check(CLI::Range(-1.0, 1.0))
      ->capture_default_str();
  app.add_option("--reference", arguments.analysis.reference.path,
                 "Vectors (.npy or .parquet, or a folder of them) or pictures (a folder) that members are compared with")
      ->type_name("PATH");
  app.add_option("--reference-column", arguments.analysis.reference.vectors_column,
                 "Column of a Parquet reference that holds the vectors [the only one of lists of floats]")
      ->type_name("NAME");
  app.add_option("--reference-names", arguments.analysis.reference.names_column,
                 "Column of Parquet that says what a reference's rows are called [url, path, name, key, caption, id, ...]")
      ->type_name("NAME");
  app.add_option("--reference-embedder", arguments.analysis.reference_embedder,
                 "Embedder that made the reference's vectors [that of the motifs, else the copy detector, by their length]")
      ->type_name("ID");
  app.add_option("--reference-threshold", arguments.analysis.reference_cosine,
                 "Cosine from which a reference vector matches [0.95; by a copy detector its --copy-threshold]")
      ->check(CLI::Range(-1.0, 1.0));
  app.add_option("--json", arguments.json, "File for the report; - is standard output")->expected(0, 1)->default_str("-");
  promptsweep::AddSecurityFlags(app, arguments.security);
  app.footer(std::string("`promptsweep-motifs diff --help`: compares two groups of runs.\n") +
             promptsweep::motifs::kProgramFooter);
  if (const auto code = promptsweep::ParseCommandLine(app, argc, argv)) return *code;
  if (arguments.json.empty()) arguments.json = "-";
  return promptsweep::motifs::RunToExitCode([&arguments] { return Run(arguments); });
}
