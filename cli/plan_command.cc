// promptsweep plan: what a spec asks for, before anything runs.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/command.h"
#include "jobs/sweep/describe.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/prompt_text.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string spec;
  std::vector<std::string> models;
  bool allow_missing = false;
  int cells = 3;
};

absl::StatusOr<int> Plan(const Options& options, const Common& common) {
  auto loaded = sweep::LoadSpec(options.spec);
  if (!loaded.ok()) return AsBadInput(loaded.status());
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(ModelFolders(options.models)));
  auto manifest = sweep::Freeze(loaded->spec, catalog, {.allow_unknown_models = options.allow_missing, .where = &loaded->where});
  if (!manifest.ok()) return AsBadInput(manifest.status());
  PrintNotes(*loaded);
  PS_ASSIGN_OR_RETURN(const sweep::PlanSummary summary, sweep::Describe(*manifest, catalog, options.cells));
  switch (common.output) {
    case OutputFormat::kJson:
      PS_RETURN_IF_ERROR(
          WriteStdout(sweep::ToJson(summary).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"));
      break;
    case OutputFormat::kCsv: {
      Table table({{"ordinal"},
                   {"model", false, true},
                   {"prompt", false, true},
                   {"blank"},
                   {"seed"},
                   {"settings", false, true},
                   {"fingerprint"}});
      for (const auto* cells : {&summary.first, &summary.sample, &summary.last}) {
        for (const v1::Cell& cell : *cells) {
          const auto setting = [](std::string* out, const v1::Setting& s) {
            absl::StrAppend(out, s.name(), "=", sweep::ValueText(s.value()));
          };
          table.Add({absl::StrCat(cell.ordinal()), cell.model(), sweep::PromptText(cell.prompt()),
                     sweep::BlankName(cell.prompt().blank()), absl::StrCat(cell.seed()),
                     absl::StrJoin(cell.settings(), " ", setting), ToHex(cell.fingerprint())});
        }
      }
      PS_RETURN_IF_ERROR(WriteStdout(table.Csv()));
      break;
    }
    case OutputFormat::kTable:
      PS_RETURN_IF_ERROR(WriteStdout(sweep::ToText(summary)));
      break;
  }
  return kOk;
}

}  // namespace

void AddPlan(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("plan", "Check a spec and show what it asks for; nothing runs, no data is opened",
                               Commands::Needs::kSource, [options](const Common& common) { return Plan(*options, common); });
  app->add_option("SPEC", options->spec, "Experiment in YAML")->required();
  app->add_option("--models", options->models, "Folders with models [$PROMPTSWEEP_MODELS, else those that come with the program]")
      ->type_name("DIR");
  app->add_flag("--allow-missing-models", options->allow_missing, "Plan away from the weights");
  app->add_option("--cells", options->cells, "First, last and sample cells to show, each")->check(CLI::Range(0, 1000));
}

}  // namespace promptsweep::cli
