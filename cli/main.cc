// promptsweep: ask image models the same thing thousands of times, and see what they keep drawing.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/exit.h"
#include "cli/process.h"
#include "jobs/sweep/names.h"

namespace {

// `unknown command "x"; did you mean ...` where the first word is none of them; else empty.
std::string UnknownCommand(const CLI::App& app, int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  if (word.empty() || word[0] == '-') return "";
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), word) != names.end()) return "";
  return absl::StrCat("unknown command ", promptsweep::sweep::Quoted(word), promptsweep::sweep::Hint(word, names));
}

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
  AddSteeringCommands(commands);
  AddQuery(commands);
  AddShow(commands);
  AddVerify(commands);
  AddReproduce(commands);
  AddWords(commands);
  AddMotifs(commands);
  AddDiff(commands);
  AddReport(commands);
  AddExport(commands);
  AddImport(commands);
  AddStoreCommands(commands);
  AddWeightsCommands(commands);
  AddCompletion(commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const std::string unknown = UnknownCommand(app, argc, argv);
    PrintNote((unknown.empty() ? std::string(error.what()) : unknown) + " (see --help)");
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
