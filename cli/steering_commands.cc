// promptsweep limits, priority, extend, drain: what an operator changes of a sweep, or of a worker, while it runs.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/limits.h"
#include "cli/text.h"
#include "jobs/sweep/extension.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::cli {
namespace {

using SweepStub = v1::SweepService::StubInterface;
using StoreStub = v1::StoreService::StubInterface;

absl::StatusOr<v1::SweepLimits> SetLimits(Client& client, uint32_t sweep, const v1::SweepLimits& limits) {
  if (client.sweeps()) {
    v1::SetLimitsRequest request;
    request.set_sweep(sweep);
    *request.mutable_limits() = limits;
    PS_ASSIGN_OR_RETURN(auto response, Call(*client.sweeps(), &SweepStub::SetLimits, request));
    return response.limits();
  }
  v1::SetSweepLimitsRequest request;
  request.set_sweep(sweep);
  *request.mutable_limits() = limits;
  PS_ASSIGN_OR_RETURN(auto response, Call(client.store(), &StoreStub::SetSweepLimits, request));
  return response.limits();
}

absl::StatusOr<int> Limits(const std::string& key, const v1::SweepLimits& change, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(key));
  v1::SweepLimits limits = info.limits();
  if (change.ByteSizeLong() > 0) {
    PS_ASSIGN_OR_RETURN(limits, SetLimits(*client, info.sweep(), change));
  }
  Table table({{"sweep", true},
               {"name", false, true},
               {"priority", true},
               {"max_parallel", true},
               {"images", true},
               {"gpu_hours", true},
               {"fail_on_error", true}});
  const auto or_none = [](bool given, const std::string& text) { return given ? text : std::string("none"); };
  table.Add({absl::StrCat(info.sweep()), info.manifest().spec().name(), absl::StrCat(limits.priority()),
             or_none(limits.max_parallel() > 0, absl::StrCat(limits.max_parallel())),
             or_none(limits.images() > 0, absl::StrCat(limits.images())),
             or_none(limits.gpu_hours() > 0, absl::StrFormat("%g", limits.gpu_hours())),
             or_none(limits.has_fail_on_error() && limits.fail_on_error() < 1, absl::StrFormat("%g", limits.fail_on_error()))});
  Json json = ToJson(limits);
  json["sweep"] = info.sweep();
  json["name"] = info.manifest().spec().name();
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

struct ExtendOptions {
  std::string sweep;
  std::string spec;
  std::vector<std::string> models;
};

// The extended manifest: what was pinned stays pinned, whatever lies in this machine's folders.
absl::StatusOr<v1::SweepManifest> ExtendedManifest(const ExtendOptions& options, const Client& client,
                                                   const v1::SweepManifest& before) {
  auto loaded = sweep::LoadSpec(options.spec);
  if (!loaded.ok()) return AsBadInput(loaded.status());
  auto spec = sweep::ExtendSpec(before.spec(), loaded->spec);
  if (!spec.ok()) return AsBadInput(spec.status());
  PrintNotes(*loaded);
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(ModelFolders(options.models)));
  auto manifest = sweep::Freeze(*spec, catalog,
                                {.noise_dtype = before.noise_dtype(),
                                 .compute_dtype = before.compute_dtype(),
                                 .allow_unknown_models = client.remote(),
                                 .where = &loaded->where});
  if (!manifest.ok()) return AsBadInput(manifest.status());
  *manifest->mutable_embedders() = before.embedders();
  for (v1::ModelRef& model : *manifest->mutable_models()) {
    for (const v1::ModelRef& pinned : before.models()) {
      if (pinned.id() == model.id()) model = pinned;
    }
  }
  PS_RETURN_IF_ERROR(
      AsBadInput(manifest->cell_count() == before.cell_count() ? absl::OkStatus() : sweep::CheckExtension(before, *manifest)));
  return manifest;
}

absl::StatusOr<int> Extend(const ExtendOptions& options, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  PS_ASSIGN_OR_RETURN(const v1::SweepManifest manifest, ExtendedManifest(options, *client, info.manifest()));
  uint64_t added = 0;
  if (manifest.cell_count() > info.manifest().cell_count()) {
    if (client->sweeps()) {
      v1::ExtendRequest request;
      request.set_sweep(info.sweep());
      request.set_from_digest(info.digest());
      *request.mutable_manifest() = manifest;
      PS_ASSIGN_OR_RETURN(const auto response, Call(*client->sweeps(), &SweepStub::Extend, request));
      added = response.added();
    } else {
      v1::ExtendSweepRequest request;
      request.set_sweep(info.sweep());
      request.set_from_digest(info.digest());
      *request.mutable_manifest() = manifest;
      PS_ASSIGN_OR_RETURN(const auto response, Call(client->store(), &StoreStub::ExtendSweep, request));
      added = response.added();
    }
  }
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo after, client->FindSweep(absl::StrCat(info.sweep())));
  if (!common.quiet && added == 0) PrintNote("the spec asks nothing that the sweep does not ask already");
  Table table({{"sweep", true}, {"name", false, true}, {"added", true}, {"planned", true}});
  table.Add(
      {absl::StrCat(after.sweep()), after.manifest().spec().name(), absl::StrCat(added), absl::StrCat(after.counts().planned())});
  PS_RETURN_IF_ERROR(Print(common.output, table,
                           Json{{"sweep", after.sweep()},
                                {"name", after.manifest().spec().name()},
                                {"added", added},
                                {"planned", after.counts().planned()},
                                {"digest", ToHex(after.digest())}}));
  return kOk;
}

absl::StatusOr<int> Drain(const std::string& worker, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  if (!client->sweeps())
    return absl::FailedPreconditionError("nothing schedules here: ask the coordinator that knows the worker");
  v1::DrainWorkerRequest request;
  request.set_worker(worker);
  PS_ASSIGN_OR_RETURN(const auto response, Call(*client->sweeps(), &SweepStub::DrainWorker, request));
  Table table({{"worker", false, true}, {"state"}, {"leases", true}});
  table.Add({worker, "draining", absl::StrCat(response.leases())});
  PS_RETURN_IF_ERROR(Print(common.output, table, Json{{"worker", worker}, {"state", "draining"}, {"leases", response.leases()}}));
  return kOk;
}

}  // namespace

void AddSteeringCommands(Commands& commands) {
  const auto source = Commands::Needs::kSource;
  auto key = std::make_shared<std::string>();
  auto limits = std::make_shared<LimitOptions>();
  CLI::App* app = commands.Add("limits", "Show or change what a sweep may use", source,
                               [key, limits](const Common& common) { return Limits(*key, limits->Over({}), common); });
  app->add_option("SWEEP", *key, "Id, name or at least 6 digits of the digest")->required();
  limits->AddTo(*app);

  auto ranked = std::make_shared<std::pair<std::string, int32_t>>();
  app = commands.Add("priority", "Serve a sweep before those of a lower number", source, [ranked](const Common& common) {
    v1::SweepLimits change;
    change.set_priority(ranked->second);
    return Limits(ranked->first, change, common);
  });
  app->add_option("SWEEP", ranked->first, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("N", ranked->second, "From -1000 to 1000; 0 at first")->required();

  auto extend = std::make_shared<ExtendOptions>();
  app = commands.Add("extend", "Add what the spec asks by now to a sweep; no cell that it has changes", source,
                     [extend](const Common& common) { return Extend(*extend, common); });
  app->add_option("SWEEP", extend->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("SPEC", extend->spec, "Its spec, with more seeds, prompts or parts in it")->required();
  app->add_option("--models", extend->models, "Folders with models; the server's workers may have others")->type_name("DIR");

  auto worker = std::make_shared<std::string>();
  app = commands.Add("drain", "Let a worker finish and stop; nobody is blamed for what it gives back", source,
                     [worker](const Common& common) { return Drain(*worker, common); });
  app->add_option("WORKER", *worker, "Its name, as `workers` shows it")->required();
}

}  // namespace promptsweep::cli
