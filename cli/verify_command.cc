// promptsweep verify: does the ledger add up?
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  bool deep = false;
  bool accept_loss = false;
};

absl::StatusOr<int> Verify(const Options& options, const Common& common) {
  if (options.accept_loss) {
    Source source = common.source;
    source.Complete();
    if (source.remote()) {
      return absl::InvalidArgumentError(
          "--accept-loss is for a store folder; a server is started with promptsweep-store --accept-loss");
    }
  }
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .accept_loss = options.accept_loss}));
  v1::VerifyRequest request;
  request.set_deep(options.deep);
  if (!options.sweep.empty()) {
    PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
    request.set_sweep(info.sweep());
  }
  PS_ASSIGN_OR_RETURN(const v1::VerifyResponse response,
                      Call(client->store(), &v1::StoreService::StubInterface::Verify, request, absl::Hours(240)));
  size_t problems = response.problems_size();
  Table table({{"sweep", true},
               {"name", false, true},
               {"planned", true},
               {"done", true},
               {"failed", true},
               {"remaining", true},
               {"divergent", true},
               {"images_checked", true},
               {"problems", true}});
  for (const v1::SweepVerdict& verdict : response.sweeps()) {
    problems += verdict.problems_size();
    table.Add({absl::StrCat(verdict.sweep()), verdict.name(), absl::StrCat(verdict.counts().planned()),
               absl::StrCat(verdict.counts().done()), absl::StrCat(verdict.counts().failed()), absl::StrCat(verdict.remaining()),
               absl::StrCat(verdict.counts().divergent()), absl::StrCat(verdict.images_checked()),
               absl::StrCat(verdict.problems_size())});
  }
  if (common.output != OutputFormat::kTable) {
    Json json = ToJson(response);
    json["sound"] = problems == 0;
    PS_RETURN_IF_ERROR(Print(common.output, table, json));
    return problems == 0 ? kOk : kWorkFailed;
  }
  std::string text;
  for (const v1::SweepVerdict& verdict : response.sweeps()) {
    absl::StrAppend(&text, "sweep ", verdict.sweep(), " (", OneLine(verdict.name()), "): ", Grouped(verdict.counts().planned()),
                    " planned = ", Grouped(verdict.counts().done()), " done + ", Grouped(verdict.counts().failed()), " failed");
    if (verdict.remaining() > 0) absl::StrAppend(&text, " + ", Grouped(verdict.remaining()), " remaining");
    if (verdict.counts().divergent() > 0)
      absl::StrAppend(&text, "; ", Grouped(verdict.counts().divergent()), " came twice with other content");
    if (options.deep) absl::StrAppend(&text, "; ", Grouped(verdict.images_checked()), " images read, digests equal");
    text += "\n";
    for (const std::string& problem : verdict.problems()) absl::StrAppend(&text, "  problem: ", OneLine(problem), "\n");
  }
  for (const std::string& problem : response.problems()) absl::StrAppend(&text, "problem: ", OneLine(problem), "\n");
  absl::StrAppend(&text, problems == 0 ? "no problems\n" : absl::StrCat(problems, problems == 1 ? " problem\n" : " problems\n"));
  PS_RETURN_IF_ERROR(WriteStdout(text));
  return problems == 0 ? kOk : kWorkFailed;
}

}  // namespace

void AddVerify(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("verify", "Prove that planned = done + failed + remaining and that nothing is damaged",
                               Commands::Needs::kSource, [options](const Common& common) { return Verify(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest; every sweep without it");
  app->add_flag("--deep", options->deep, "Also read every byte: file checksums, image and embedding digests");
  app->add_flag(
      "--accept-loss", options->accept_loss,
      "First accept that the store folder came back shorter than what it acknowledged; what is there becomes the truth");
}

}  // namespace promptsweep::cli
