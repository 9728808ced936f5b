// The shape of a subcommand: options of its own, the options all have in common, and an action that ends in an exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/exit.h"
#include "cli/output.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::cli {

// What every subcommand takes.
struct Common {
  Source source;
  OutputFormat output = OutputFormat::kTable;
  bool quiet = false;    // no progress
  bool verbose = false;  // logs and the workers' stderr, too
};

using Action = std::function<absl::StatusOr<int>(const Common&)>;

// The command line being put together, then the subcommand that was chosen.
class Commands {
 public:
  enum class Needs { kNothing, kSource };

  explicit Commands(CLI::App& root) : root_(root) {}
  // A subcommand with the common options (without --store and --server where it needs no data).
  CLI::App* Add(const std::string& name, const std::string& description, Needs needs, Action action);
  // Sets `common` from what was parsed. Call after parsing.
  [[nodiscard]] absl::StatusOr<int> RunChosen();
  const Common& common() const { return *common_; }
  CLI::App& root() { return root_; }

 private:
  CLI::App& root_;
  Action chosen_;
  std::shared_ptr<Common> common_ = std::make_shared<Common>();
  bool json_ = false;
  std::string output_ = "table";
};

void AddRun(Commands& commands);
void AddPlan(Commands& commands);
void AddSweepCommands(Commands& commands);     // submit status watch pause resume cancel retry explain workers
void AddSteeringCommands(Commands& commands);  // limits priority extend drain
void AddQuery(Commands& commands);
void AddShow(Commands& commands);
void AddVerify(Commands& commands);
void AddReproduce(Commands& commands);
void AddWords(Commands& commands);
void AddMotifs(Commands& commands);
void AddDiff(Commands& commands);
void AddReport(Commands& commands);
void AddExport(Commands& commands);
void AddImport(Commands& commands);
void AddStoreCommands(Commands& commands);    // checkpoint backup restore delete compact stats
void AddWeightsCommands(Commands& commands);  // convert-weights models
void AddCompletion(Commands& commands);

// Folders searched for models: `given`, else $PROMPTSWEEP_MODELS (joined by colons), else those that come with the program:
// models/ of the source tree it was built in, or share/promptsweep/models beside its bin/.
[[nodiscard]] std::vector<std::string> ModelFolders(const std::vector<std::string>& given);

// What a spec's author may not have meant, on stderr.
void PrintNotes(const sweep::LoadedSpec& spec);

// Writes a file so that it is never seen half written. INVALID_ARGUMENT where it cannot be.
[[nodiscard]] absl::Status WriteFileAtomically(const std::string& path, absl::string_view content);
// A whole file. INVALID_ARGUMENT where it cannot be read or is larger than `limit`.
[[nodiscard]] absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t limit);

}  // namespace promptsweep::cli
