// promptsweep: ask image models the same thing thousands of times, and see what they keep drawing.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>

#include "cli/command.h"
#include "cli/exit.h"
#include "cli/process.h"

namespace {

int Run(int argc, char** argv) {
  using namespace promptsweep::cli;
  // gRPC's own log lines would break the promise of one clear line an error.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  EndOnSignals();
  CLI::App app("Asks image models the same thing thousands of times and tells what they keep drawing.", "promptsweep");
  app.set_version_flag("--version", std::string("promptsweep ") + PROMPTSWEEP_VERSION);
  app.require_subcommand(1);
  app.footer(std::string(kExitCodesHelp));
  Commands commands(app);
  AddRun(commands);
  AddPlan(commands);
  AddSweepCommands(commands);
  AddQuery(commands);
  AddShow(commands);
  AddVerify(commands);
  AddMotifs(commands);
  AddReport(commands);
  AddExport(commands);
  AddImport(commands);
  AddCompletion(commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    PrintNote(std::string(error.what()) + " (see --help)");
    return kBadInput;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_mt("promptsweep"));
  spdlog::set_level(commands.common().verbose ? spdlog::level::info : spdlog::level::off);
  const absl::StatusOr<int> code = commands.RunChosen();
  if (code.ok()) return *code;
  PrintError(code.status());
  return ExitCodeOf(code.status(), commands.common().source.remote());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    promptsweep::cli::PrintNote(error.what());
    return promptsweep::cli::kBadInput;
  }
}
