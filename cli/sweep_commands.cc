// The operator's verbs: submit, status, watch, pause, resume, cancel, retry, explain, workers. With a store folder, where nobody
// schedules anything, they change what is stored and the next run goes by it.
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/adaptive.h"
#include "cli/command.h"
#include "cli/duplicates.h"
#include "cli/limits.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::cli {
namespace {

using SweepStub = v1::SweepService::StubInterface;
using StoreStub = v1::StoreService::StubInterface;

v1::SweepStatus StatusOf(const v1::SweepInfo& info) {
  v1::SweepStatus status;
  status.set_sweep(info.sweep());
  status.set_name(info.manifest().spec().name());
  status.set_state(info.state());
  status.set_digest(info.digest());
  status.set_planned(info.counts().planned());
  status.set_done(info.counts().done());
  status.set_failed(info.counts().failed());
  status.set_reused(info.counts().reused());
  status.set_pending(status.planned() - std::min(status.planned(), status.done() + status.failed()));
  return status;
}

// What a coordinator says of a sweep and what only the store knows.
struct Shown {
  v1::SweepStatus status;
  uint64_t divergent = 0;

  // The store counts what was reused, the coordinator only what it heard of.
  void Add(const v1::SweepInfo& info) {
    status.set_reused(info.counts().reused());
    divergent = info.counts().divergent();
  }
};

absl::StatusOr<Shown> GetStatus(Client& client, const std::string& key) {
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client.FindSweep(key));
  Shown shown;
  if (!client.sweeps()) {
    shown.status = StatusOf(info);
  } else {
    v1::GetSweepStatusRequest request;
    request.set_sweep(info.sweep());
    PS_ASSIGN_OR_RETURN(v1::GetSweepStatusResponse response, Call(*client.sweeps(), &SweepStub::GetSweepStatus, request));
    shown.status = std::move(*response.mutable_status());
  }
  shown.Add(info);
  return shown;
}

absl::StatusOr<std::vector<v1::DuplicateRecord>> ListDuplicates(Client& client, uint32_t sweep) {
  std::vector<v1::DuplicateRecord> duplicates;
  v1::ListDuplicatesRequest request;
  request.set_sweep(sweep);
  do {
    PS_ASSIGN_OR_RETURN(v1::ListDuplicatesResponse page, Call(client.store(), &StoreStub::ListDuplicates, request));
    std::move(page.mutable_duplicates()->begin(), page.mutable_duplicates()->end(), std::back_inserter(duplicates));
    request.set_begin(page.next());
  } while (request.begin() != 0);
  return duplicates;
}

absl::Status PrintStatuses(const Common& common, const std::vector<Shown>& sweeps, bool one) {
  Table table({{"id", true},
               {"name", false, true},
               {"state"},
               {"planned", true},
               {"done", true},
               {"failed", true},
               {"leased", true},
               {"pending", true},
               {"per_second", true},
               {"workers", true},
               {"reused", true},
               {"divergent", true},
               {"digest", false, false, 13}});
  Json json = Json::array();
  for (const auto& [status, divergent] : sweeps) {
    const bool people = common.output == OutputFormat::kTable;
    const auto number = [&](uint64_t n) { return people ? Grouped(n) : absl::StrCat(n); };
    table.Add({absl::StrCat(status.sweep()), status.name(), status.held().empty() ? StateName(status.state()) : "held",
               number(status.planned()), number(status.done()), number(status.failed()), number(status.leased()),
               number(status.pending()), absl::StrFormat("%.1f", status.cells_per_second()), absl::StrCat(status.workers()),
               number(status.reused()), number(divergent), ToHex(status.digest())});
    json.push_back(ToJson(status));
    json.back()["divergent"] = divergent;
  }
  PS_RETURN_IF_ERROR(Print(common.output, table, one ? json[0] : json));
  for (const auto& [status, divergent] : sweeps) {
    if (status.held().empty() || common.quiet) continue;
    PrintNote(absl::StrCat("sweep ", status.sweep(), " (", status.name(), ") is held: ", status.held(),
                           "; promptsweep limits changes that"));
  }
  return absl::OkStatus();
}

struct StatusOptions {
  std::string sweep;
  bool duplicates = false;
  bool watch = false;
};

absl::StatusOr<int> StatusOfOne(const StatusOptions& options, Client& client, const Common& common) {
  PS_ASSIGN_OR_RETURN(const Shown shown, GetStatus(client, options.sweep));
  std::vector<v1::DuplicateRecord> duplicates;
  if (options.duplicates || (shown.divergent > 0 && common.output == OutputFormat::kTable)) {
    PS_ASSIGN_OR_RETURN(duplicates, ListDuplicates(client, shown.status.sweep()));
  }
  if (options.duplicates) {
    PS_RETURN_IF_ERROR(Print(common.output, DuplicateTable(duplicates), DuplicateJson(duplicates)));
    return kOk;
  }
  PS_RETURN_IF_ERROR(PrintStatuses(common, {shown}, true));
  if (!duplicates.empty()) PS_RETURN_IF_ERROR(WriteStdout(DuplicateWords(duplicates)));
  return kOk;
}

absl::StatusOr<std::vector<Shown>> StatusOfAll(Client& opened) {
  Client* const client = &opened;
  std::vector<Shown> sweeps;
  PS_ASSIGN_OR_RETURN(const auto stored, Call(client->store(), &StoreStub::ListSweeps, v1::ListSweepsRequest()));
  if (client->sweeps()) {
    PS_ASSIGN_OR_RETURN(const auto response, Call(*client->sweeps(), &SweepStub::ListSweepStatus, v1::ListSweepStatusRequest()));
    // A coordinator is not told of deletions; its store knows.
    for (const v1::SweepStatus& status : response.sweeps()) {
      const auto info = std::find_if(stored.sweeps().begin(), stored.sweeps().end(),
                                     [&](const v1::SweepInfo& each) { return each.sweep() == status.sweep(); });
      if (info != stored.sweeps().end()) sweeps.emplace_back(Shown{status}).Add(*info);
    }
  } else {
    for (const v1::SweepInfo& info : stored.sweeps()) sweeps.emplace_back(Shown{StatusOf(info)}).Add(info);
  }
  return sweeps;
}

// `once`: one look at an adaptive sweep, or the status of one that still runs, and no waiting.
absl::StatusOr<int> Watch(const std::string& key, bool once, const Common& common) {
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .listen = true}));
  Progress progress(Progress::DetectStyle(common.quiet), Clock::Real());
  while (true) {
    PS_ASSIGN_OR_RETURN(const Shown shown, GetStatus(*client, key));
    const v1::SweepStatus& status = shown.status;
    if (HasEnded(status.state())) {
      progress.Clear();
      PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(key));
      if (info.manifest().spec().has_stop() && status.state() != v1::SWEEP_STATE_CANCELLED && status.done() > 0) {
        const auto looked = LookAndGrow(client->store(), client->sweeps(),
                                        {.address = client->address(),
                                         .security = client->SecurityArguments(),
                                         .sweep = info.sweep(),
                                         .verbose = common.verbose});
        if (absl::IsCancelled(looked.status())) return kInterrupted;
        PS_RETURN_IF_ERROR(looked.status());
        if (!common.quiet) PrintNote(looked->words);
        if (!looked->stopped && !once) continue;
        if (!looked->stopped) {
          PS_ASSIGN_OR_RETURN(const Shown grown, GetStatus(*client, key));
          PS_RETURN_IF_ERROR(PrintStatuses(common, {grown}, true));
          return kOk;
        }
      }
      PS_RETURN_IF_ERROR(PrintStatuses(common, {shown}, true));
      return status.state() == v1::SWEEP_STATE_DONE ? kOk : kWorkFailed;
    }
    if (once) {
      PS_RETURN_IF_ERROR(PrintStatuses(common, {shown}, true));
      return kOk;
    }
    if (!client->remote()) {
      return absl::FailedPreconditionError(absl::StrCat("nothing works on sweep ", status.sweep(), " (", status.name(), ", ",
                                                        StateName(status.state()), ", ", status.pending(),
                                                        " cells to do): promptsweep run with its spec goes on with it"));
    }
    if (!status.held().empty() && status.leased() == 0) {
      progress.Clear();
      PS_RETURN_IF_ERROR(PrintStatuses(common, {shown}, true));
      return kWorkFailed;
    }
    progress.Update(status);
    if (IsStopSignal(WaitForSignal(absl::Seconds(1)))) return kInterrupted;
  }
}

// The table again and again until nothing is left that could move.
absl::StatusOr<int> WatchAll(Client& client, const Common& common) {
  TakeOverSignals();
  const bool clears = isatty(STDOUT_FILENO) != 0 && common.output == OutputFormat::kTable;
  while (true) {
    PS_ASSIGN_OR_RETURN(const std::vector<Shown> sweeps, StatusOfAll(client));
    if (clears) PS_RETURN_IF_ERROR(WriteStdout("\x1b[H\x1b[2J"));
    PS_RETURN_IF_ERROR(PrintStatuses(common, sweeps, false));
    const bool moves = std::any_of(sweeps.begin(), sweeps.end(), [](const Shown& shown) {
      return shown.status.state() == v1::SWEEP_STATE_RUNNING && (shown.status.held().empty() || shown.status.leased() > 0);
    });
    if (!moves || !client.sweeps()) return kOk;
    if (IsStopSignal(WaitForSignal(absl::Seconds(2)))) return kInterrupted;
  }
}

absl::StatusOr<int> Status(const StatusOptions& options, const Common& common) {
  if (options.sweep.empty() && options.duplicates) return absl::InvalidArgumentError("--duplicates needs a SWEEP");
  if (options.watch && options.duplicates) return absl::InvalidArgumentError("--watch and --duplicates exclude each other");
  if (options.watch && !options.sweep.empty()) return Watch(options.sweep, false, common);
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  if (!options.sweep.empty()) return StatusOfOne(options, *client, common);
  if (options.watch) return WatchAll(*client, common);
  PS_ASSIGN_OR_RETURN(const std::vector<Shown> sweeps, StatusOfAll(*client));
  PS_RETURN_IF_ERROR(PrintStatuses(common, sweeps, false));
  return kOk;
}

struct SubmitOptions {
  std::string spec;
  std::vector<std::string> models;
  LimitOptions limits;
};

absl::StatusOr<int> Submit(const SubmitOptions& options, const Common& common) {
  auto loaded = sweep::LoadSpec(options.spec);
  if (!loaded.ok()) return AsBadInput(loaded.status());
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(ModelFolders(options.models)));
  // The workers of a server may have models that are not on this machine; its coordinator knows.
  auto manifest = sweep::Freeze(loaded->spec, catalog, {.allow_unknown_models = common.source.remote(), .where = &loaded->where});
  if (!manifest.ok()) return AsBadInput(manifest.status());
  PrintNotes(*loaded);
  const v1::SweepLimits limits = options.limits.Over(loaded->limits);
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .create = true}));
  v1::SubmitSweepResponse response;
  if (client->sweeps()) {
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = *std::move(manifest);
    if (limits.ByteSizeLong() > 0) *request.mutable_limits() = limits;
    auto submitted = Call(*client->sweeps(), &SweepStub::SubmitSweep, request);
    if (absl::IsNotFound(submitted.status())) return AsBadInput(submitted.status());
    PS_RETURN_IF_ERROR(submitted.status());
    response = *submitted;
  } else {
    v1::CreateSweepRequest request;
    *request.mutable_manifest() = *std::move(manifest);
    request.set_state(v1::SWEEP_STATE_RUNNING);
    *request.mutable_limits() = limits;
    PS_ASSIGN_OR_RETURN(const auto created, Call(client->store(), &StoreStub::CreateSweep, request));
    response.set_sweep(created.sweep());
    response.set_existed(created.existed());
    if (created.existed() && limits.ByteSizeLong() > 0) {
      v1::SetSweepLimitsRequest change;
      change.set_sweep(created.sweep());
      *change.mutable_limits() = limits;
      PS_RETURN_IF_ERROR(Call(client->store(), &StoreStub::SetSweepLimits, change).status());
    }
  }
  Table table({{"sweep", true}, {"name", false, true}, {"existed"}});
  table.Add({absl::StrCat(response.sweep()), loaded->spec.name(), response.existed() ? "true" : "false"});
  PS_RETURN_IF_ERROR(Print(common.output, table,
                           Json{{"sweep", response.sweep()}, {"name", loaded->spec.name()}, {"existed", response.existed()}}));
  return kOk;
}

enum class Verb { kPause, kResume, kCancel, kRetry };

// The same rules as the coordinator's, on a store that nobody schedules from.
absl::StatusOr<uint64_t> ChangeStored(Client& client, const v1::SweepInfo& info, Verb verb) {
  const v1::SweepState state = info.state();
  const auto refuse = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat("sweep ", info.sweep(), " is ", StateName(state), ": it cannot be ", what));
  };
  v1::SetSweepStateRequest request;
  request.set_sweep(info.sweep());
  uint64_t retried = 0;
  switch (verb) {
    case Verb::kPause:
      if (state == v1::SWEEP_STATE_PAUSED) return 0;
      if (state != v1::SWEEP_STATE_RUNNING) return refuse("paused");
      request.set_state(v1::SWEEP_STATE_PAUSED);
      break;
    case Verb::kResume:
      if (state == v1::SWEEP_STATE_RUNNING) return 0;
      if (state != v1::SWEEP_STATE_PAUSED) return refuse("resumed");
      request.set_state(v1::SWEEP_STATE_RUNNING);
      break;
    case Verb::kCancel:
      if (state == v1::SWEEP_STATE_CANCELLED) return 0;
      if (HasEnded(state)) return refuse("cancelled");
      request.set_state(v1::SWEEP_STATE_CANCELLED);
      break;
    case Verb::kRetry: {
      if (state == v1::SWEEP_STATE_CANCELLED) return refuse("retried");
      v1::ClearFailuresRequest clear;
      clear.set_sweep(info.sweep());
      PS_ASSIGN_OR_RETURN(const auto cleared, Call(client.store(), &StoreStub::ClearFailures, clear));
      retried = cleared.cleared();
      if (state != v1::SWEEP_STATE_DONE_WITH_FAILURES) return retried;
      request.set_state(v1::SWEEP_STATE_RUNNING);
      break;
    }
  }
  PS_RETURN_IF_ERROR(Call(client.store(), &StoreStub::SetSweepState, request).status());
  return retried;
}

template <typename Request, typename Response>
absl::StatusOr<Response> Ask(Client& client, uint32_t sweep,
                             grpc::Status (SweepStub::*method)(grpc::ClientContext*, const Request&, Response*)) {
  Request request;
  request.set_sweep(sweep);
  return Call(*client.sweeps(), method, request);
}

absl::StatusOr<int> Change(Verb verb, const std::string& key, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(key));
  uint64_t retried = 0;
  if (!client->sweeps()) {
    PS_ASSIGN_OR_RETURN(retried, ChangeStored(*client, info, verb));
  } else if (verb == Verb::kPause) {
    PS_RETURN_IF_ERROR(Ask(*client, info.sweep(), &SweepStub::PauseSweep).status());
  } else if (verb == Verb::kResume) {
    PS_RETURN_IF_ERROR(Ask(*client, info.sweep(), &SweepStub::ResumeSweep).status());
  } else if (verb == Verb::kCancel) {
    PS_RETURN_IF_ERROR(Ask(*client, info.sweep(), &SweepStub::CancelSweep).status());
  } else {
    PS_ASSIGN_OR_RETURN(const auto response, Ask(*client, info.sweep(), &SweepStub::RetryFailed));
    retried = response.retried();
  }
  if (verb == Verb::kRetry && !common.quiet) PrintNote(absl::StrCat(retried, " failed cells will run again"));
  PS_ASSIGN_OR_RETURN(const Shown shown, GetStatus(*client, absl::StrCat(info.sweep())));
  PS_RETURN_IF_ERROR(PrintStatuses(common, {shown}, true));
  return kOk;
}

absl::StatusOr<int> Explain(const std::string& key, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(key));
  std::vector<std::string> reasons;
  if (client->sweeps()) {
    PS_ASSIGN_OR_RETURN(const auto response, Ask(*client, info.sweep(), &SweepStub::ExplainSweep));
    reasons.assign(response.reasons().begin(), response.reasons().end());
  } else {
    reasons.push_back(HasEnded(info.state()) ? absl::StrCat("it has ended: ", StateName(info.state()))
                                             : "no process works on this store: promptsweep run with its spec goes on with it");
  }
  Table table({{"reason", false, true, 0}});
  for (const std::string& reason : reasons) table.Add({reason});
  PS_RETURN_IF_ERROR(Print(common.output, table, Json{{"sweep", info.sweep()}, {"reasons", reasons}}));
  return kOk;
}

absl::StatusOr<int> Workers(const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  v1::ListWorkersResponse response;
  if (client->sweeps()) {
    PS_ASSIGN_OR_RETURN(response, Call(*client->sweeps(), &SweepStub::ListWorkers, v1::ListWorkersRequest()));
  }
  Table table({{"worker", false, true},
               {"state"},
               {"device", false, true},
               {"leases", true},
               {"stored", true},
               {"per_second", true},
               {"heartbeat_s", true},
               {"loaded", false, true},
               {"models", false, true}});
  Json json = Json::array();
  for (const v1::WorkerInfo& worker : response.workers()) {
    const double since = static_cast<double>(worker.since_heartbeat().seconds()) + worker.since_heartbeat().nanos() * 1e-9;
    table.Add({worker.worker(), worker.state(), worker.device(), absl::StrCat(worker.leases()), absl::StrCat(worker.stored()),
               absl::StrFormat("%.1f", worker.cells_per_second()), absl::StrFormat("%.1f", since), worker.loaded_model(),
               absl::StrJoin(worker.models(), " ")});
    json.push_back(ToJson(worker));
  }
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

}  // namespace

void AddSweepCommands(Commands& commands) {
  const auto with_key = [&](const std::string& name, const std::string& description, bool required, auto action) {
    auto key = std::make_shared<std::string>();
    CLI::App* app = commands.Add(name, description, Commands::Needs::kSource,
                                 [key, action](const Common& common) { return action(*key, common); });
    app->add_option("SWEEP", *key, "Id, name or at least 6 digits of the digest")->required(required);
  };
  auto submit = std::make_shared<SubmitOptions>();
  CLI::App* app = commands.Add("submit", "Hand a spec to a server; asking again attaches to the same sweep",
                               Commands::Needs::kSource, [submit](const Common& common) { return Submit(*submit, common); });
  app->add_option("SPEC", submit->spec, "Experiment in YAML")->required();
  app->add_option("--models", submit->models, "Folders with models; the server's workers may have others")->type_name("DIR");
  submit->limits.AddTo(*app);
  auto status = std::make_shared<StatusOptions>();
  app = commands.Add("status", "Progress of every sweep, or of one", Commands::Needs::kSource,
                     [status](const Common& common) { return Status(*status, common); });
  app->add_option("SWEEP", status->sweep, "Id, name or at least 6 digits of the digest");
  app->add_flag("--watch", status->watch, "Go on until the sweep ends, or all of them");
  app->add_flag("--duplicates", status->duplicates, "List the results that arrived again with other content");
  auto watch = std::make_shared<std::pair<std::string, bool>>();
  app = commands.Add(
      "watch",
      "Progress until the sweep ends, with its looks and more seeds where it has a stop rule; exit code 1 where it failed",
      Commands::Needs::kSource, [watch](const Common& common) { return Watch(watch->first, watch->second, common); });
  app->add_option("SWEEP", watch->first, "Id, name or at least 6 digits of the digest")->required();
  app->add_flag("--once", watch->second, "At most one look, no waiting: for a scheduler such as cron");
  const std::tuple<const char*, const char*, Verb> kVerbs[] = {{"pause", "Grant no more work; what runs finishes", Verb::kPause},
                                                               {"resume", "Undo pause", Verb::kResume},
                                                               {"cancel", "Give a sweep up; its results stay", Verb::kCancel}};
  for (const auto& [name, description, verb] : kVerbs) {
    with_key(name, description, true,
             [verb = verb](const std::string& key, const Common& common) { return Change(verb, key, common); });
  }
  auto retry = std::make_shared<std::pair<std::string, bool>>();
  app = commands.Add("retry", "Run failed cells again", Commands::Needs::kSource,
                     [retry](const Common& common) { return Change(Verb::kRetry, retry->first, common); });
  app->add_option("SWEEP", retry->first, "Id, name or at least 6 digits of the digest")->required();
  app->add_flag("--failed", retry->second, "Those that failed for good: the default, and all there is to retry");
  with_key("explain", "Why a sweep is not moving", true, &Explain);
  commands.Add("workers", "Workers the server knows", Commands::Needs::kSource, &Workers);
}

}  // namespace promptsweep::cli
