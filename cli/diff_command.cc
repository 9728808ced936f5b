// promptsweep diff: how motifs differ between two sweeps, or two parts of one.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/diff_text.h"
#include "cli/mining.h"
#include "cli/process.h"
#include "jobs/sweep/names.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string from_sweep, to_sweep;
  std::vector<std::string> only, from, to;
  std::string embedder;
  bool all = false;
};

std::string NameOf(const v1::SweepInfo& info) { return sweep::Quoted(info.manifest().spec().name()); }

const v1::ModelRef* EmbedderOf(const v1::SweepInfo& info, const std::string& id) {
  const auto& embedders = info.manifest().embedders();
  const auto at = std::find_if(embedders.begin(), embedders.end(), [&id](const v1::ModelRef& e) { return e.id() == id; });
  return at == embedders.end() ? nullptr : &*at;
}

bool InBoth(const v1::SweepInfo& from, const v1::SweepInfo& to, const std::string& id) {
  const v1::ModelRef *one = EmbedderOf(from, id), *two = EmbedderOf(to, id);
  return one != nullptr && two != nullptr && one->digest() == two->digest();
}

// One side, and its stored report where there is one.
struct Side {
  v1::SweepInfo info;
  v1::MotifReport report;
  bool mined = false;
};

absl::StatusOr<Side> FindSide(Client& client, const std::string& key) {
  Side side;
  PS_ASSIGN_OR_RETURN(side.info, client.FindSweep(key));
  auto report = StoredMotifs(client.store(), side.info.sweep());
  side.mined = report.ok();
  if (report.ok()) {
    side.report = *std::move(report);
  } else if (!absl::IsNotFound(report.status())) {
    return report.status();
  }
  return side;
}

// The embedder of a stored report that both sweeps have, else the first both have.
absl::StatusOr<std::string> ChooseEmbedder(const Options& options, const Side& from, const Side& to) {
  if (!options.embedder.empty()) {
    for (const Side* side : {&from, &to}) {
      if (EmbedderOf(side->info, options.embedder) != nullptr) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("sweep ", NameOf(side->info), " has no embedder ", sweep::Quoted(options.embedder)));
    }
    if (!InBoth(from.info, to.info, options.embedder)) {
      return absl::InvalidArgumentError(absl::StrCat("the two sweeps' embedders ", sweep::Quoted(options.embedder),
                                                     " have different weights, so their vectors do not compare"));
    }
    return options.embedder;
  }
  std::vector<std::string> ids = {from.report.embedder(), to.report.embedder()};
  for (const v1::ModelRef& embedder : from.info.manifest().embedders()) ids.push_back(embedder.id());
  for (const std::string& id : ids) {
    if (InBoth(from.info, to.info, id)) return id;
  }
  return absl::InvalidArgumentError(absl::StrCat("sweeps ", NameOf(from.info), " and ", NameOf(to.info),
                                                 " have no embedder in common, so their vectors do not compare"));
}

absl::Status MineWhereNeeded(const Side& side, const std::string& embedder, const Common& common, Client& client) {
  if (side.mined && side.report.embedder() == embedder) return absl::OkStatus();
  if (side.info.counts().done() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("sweep ", NameOf(side.info), " has no stored run yet"));
  }
  if (!common.quiet) PrintNote(absl::StrCat("mining sweep ", NameOf(side.info), " for motifs first"));
  const absl::Status status = RunMiner({.address = client.address(),
                                        .security = client.SecurityArguments(),
                                        .sweep = side.info.sweep(),
                                        .embedder = embedder,
                                        .verbose = common.verbose})
                                  .status();
  return status.ok() ? status : Annotate(status, absl::StrCat("sweep ", NameOf(side.info)));
}

absl::StatusOr<int> Diff(const Options& options, const Common& common) {
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .listen = true}));
  PS_ASSIGN_OR_RETURN(const Side from, FindSide(*client, options.from_sweep));
  PS_ASSIGN_OR_RETURN(const Side to, FindSide(*client, options.to_sweep.empty() ? options.from_sweep : options.to_sweep));
  const bool one_sweep = from.info.sweep() == to.info.sweep();
  if (one_sweep && options.from.empty() && options.to.empty()) {
    const auto& models = from.info.manifest().models();
    const bool several = models.size() > 1 && from.info.manifest().imported_from().empty();
    return absl::InvalidArgumentError(
        absl::StrCat("sweep ", NameOf(from.info), " is on both sides: name another one, or two parts of it (--from model=",
                     several ? models[0].id() : "a", " --to model=", several ? models[1].id() : "b", ")"));
  }
  PS_ASSIGN_OR_RETURN(const std::string embedder, ChooseEmbedder(options, from, to));
  PS_RETURN_IF_ERROR(MineWhereNeeded(from, embedder, common, *client));
  if (!one_sweep) PS_RETURN_IF_ERROR(MineWhereNeeded(to, embedder, common, *client));
  PS_ASSIGN_OR_RETURN(const std::string text, RunDiff({.address = client->address(),
                                                       .security = client->SecurityArguments(),
                                                       .from_sweep = from.info.sweep(),
                                                       .to_sweep = to.info.sweep(),
                                                       .only = options.only,
                                                       .from = options.from,
                                                       .to = options.to,
                                                       .embedder = embedder,
                                                       .all_prompts = options.all,
                                                       .verbose = common.verbose}));
  if (common.output == OutputFormat::kJson) {
    PS_RETURN_IF_ERROR(WriteStdout(text));
    return kOk;
  }
  const Json diff = Json::parse(text, nullptr, false);
  if (diff.is_discarded()) return absl::InternalError("promptsweep-motifs printed no JSON");
  PS_RETURN_IF_ERROR(WriteStdout(common.output == OutputFormat::kCsv ? DiffRows(diff).Csv() : DiffText(diff)));
  return kOk;
}

}  // namespace

void AddDiff(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("diff", "How often motifs are drawn in one sweep against another, or in two parts of one",
                               Commands::Needs::kSource, [options](const Common& common) { return Diff(*options, common); });
  app->add_option("A", options->from_sweep, "Sweep: id, name or at least 6 digits of the digest")->required();
  app->add_option("B", options->to_sweep, "The sweep to compare it with [A]");
  const auto filter = [app](const char* name, std::vector<std::string>& values, const char* description) {
    app->add_option(name, values, description)->type_name("FILTER")->expected(1)->take_all();
  };
  filter("--only", options->only, "Runs of both to compare, axis=value,... [blank ones where both ask blank prompts, else all]");
  filter("--from", options->from, "Runs of A [all that --only takes]");
  filter("--to", options->to, "Runs of B [all that --only takes]");
  app->add_flag("--all", options->all, "All runs where no filter names prompts, not the blank ones alone");
  app->add_option("--embedder", options->embedder, "Embedder whose vectors count [that of the stored motifs]")->type_name("ID");
}

}  // namespace promptsweep::cli
