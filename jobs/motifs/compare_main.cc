#include "jobs/motifs/compare_main.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/rpc.h"
#include "base/security_flags.h"
#include "base/status.h"
#include "jobs/motifs/compare_data.h"
#include "jobs/motifs/program.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

struct Arguments {
  std::string server;
  SecurityFlags security;
  std::vector<std::string> only, from, to;
  DiffRequest request;
};

absl::Status Run(Arguments& arguments) {
  PS_RETURN_IF_ERROR(CheckGemm());
  arguments.request.only = absl::StrJoin(arguments.only, ",");
  arguments.request.from = absl::StrJoin(arguments.from, ",");
  arguments.request.to = absl::StrJoin(arguments.to, ",");
  PS_ASSIGN_OR_RETURN(const auto security, OpenSecurity(arguments.security));
  PS_ASSIGN_OR_RETURN(const auto channel, Connect(arguments.server, *security));
  const auto store = v1::StoreService::NewStub(channel);
  PS_ASSIGN_OR_RETURN(const SweepDiff diff, DiffSweeps(*store, arguments.request));
  const std::string json = DiffJson(diff);
  if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0) {
    return absl::InternalError("cannot write to standard output");
  }
  return absl::OkStatus();
}

}  // namespace

int DiffMain(int argc, char** argv) {
  Arguments arguments;
  DiffRequest& request = arguments.request;
  request.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 64u));
  CLI::App app("Compares how often motifs are drawn in two groups of runs.", kProgram);
  app.add_option("--server", arguments.server, "Address of the store, host:port")->required();
  app.add_option("--from-sweep", request.from_sweep, "Id, name or at least 6 digits of the digest")->required();
  app.add_option("--to-sweep", request.to_sweep, "The same of the other side; may be the same sweep")->required();
  app.add_option("--only", arguments.only, "Runs of both sides, axis=value,...")->expected(1)->take_all();
  app.add_option("--from", arguments.from, "Runs of the first side [all]")->expected(1)->take_all();
  app.add_option("--to", arguments.to, "Runs of the second side [all]")->expected(1)->take_all();
  app.add_option("--embedder", request.embedder, "Embedder whose vectors count [that of the stored motifs]");
  app.add_flag("--all", request.all_prompts, "All runs where no filter names prompts, not the blank ones alone");
  app.add_option("--threads", request.threads, "Processor threads; the result does not depend on them")
      ->check(CLI::Range(1, 1024));
  AddSecurityFlags(app, arguments.security);
  app.footer(kProgramFooter);
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  return RunToExitCode([&arguments] { return Run(arguments); });
}

}  // namespace promptsweep::motifs
