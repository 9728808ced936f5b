// promptsweep run: a spec from nothing to its motifs in one command, and the same command goes on after any end.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/adaptive.h"
#include "cli/cluster.h"
#include "cli/command.h"
#include "cli/headline.h"
#include "cli/limits.h"
#include "cli/mining.h"
#include "cli/progress.h"
#include "cli/report_command.h"
#include "cli/text.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/spec.h"
#include "jobs/vocabularies/stored_vocabulary.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string spec;
  std::string store;
  int workers = 0;
  int threads = 0;
  std::string device = "cpu";
  std::vector<std::string> models;
  bool no_motifs = false;
  std::string report;
  std::string vocabulary;
  CopyDetection copies;
  std::string listen = "127.0.0.1:0";
  LimitOptions limits;
};

// A small model gains little from threads that wait for each other at every step: below this weight each core gets a worker of
// its own. A large one is not worth loading twice.
constexpr uint64_t kSmallModelBytes = 256 << 20;
constexpr int kMostOwnWorkers = 8;
constexpr uint64_t kCellsWorthAWorker = 64;

uint64_t WeightBytes(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".safetensors") bytes += it->file_size(error);
  }
  return bytes;
}

constexpr absl::Duration kDrainPatience = absl::Seconds(30);
// Where results cannot be stored, workers have nothing to finish.
constexpr absl::Duration kHopelessPatience = absl::Seconds(2);

class RunCommand {
 public:
  RunCommand(const Options& options, const Common& common)
      : options_(options), common_(common), progress_(Progress::DetectStyle(common.quiet), Clock::Real()) {}

  absl::StatusOr<int> Run() {
    PS_ASSIGN_OR_RETURN(v1::SweepManifest manifest, Manifest());
    PS_RETURN_IF_ERROR(CheckCopyEmbedder(options_.copies, manifest));
    TakeOverSignals();
    PS_ASSIGN_OR_RETURN(const std::string worker, FindProgram("promptsweep-worker"));
    // The server may not run beyond this machine: its workers are here.
    PS_RETURN_IF_ERROR(InsecureRpc(false)->CheckAddress(options_.listen));
    auto cluster = LocalCluster::Start(common_.source.store, options_.listen);
    if (!cluster.ok()) return AsBadInput(cluster.status());
    cluster_ = *std::move(cluster);
    if (!options_.vocabulary.empty() && manifest.embedders_size() > 0) {
      PS_RETURN_IF_ERROR(motifs::RequireHead(cluster_->store(), manifest.embedders(0), options_.vocabulary).status());
    }
    PS_RETURN_IF_ERROR(Submit(std::move(manifest)));
    PS_ASSIGN_OR_RETURN(v1::SweepStatus status, Status());
    if (HasEnded(status.state())) {
      Note(absl::StrCat("sweep ", sweep_, " (", status.name(), ") is complete already: ", Grouped(status.done()), " of ",
                        Grouped(status.planned()), " cells stored"));
    }
    while (true) {
      if (!HasEnded(status.state())) {
        Announce(status);
        absl::StatusOr<v1::SweepStatus> end = Generate(worker);
        progress_.Clear();
        if (absl::IsCancelled(end.status())) return Interrupted();
        PS_RETURN_IF_ERROR(end.status());
        status = *end;
      }
      if (!adaptive_ || options_.no_motifs || !HasEnded(status.state()) || status.done() == 0) break;
      auto looked = LookAndGrow(cluster_->store(), &cluster_->sweeps(),
                                {.address = cluster_->address(),
                                 .sweep = sweep_,
                                 .vocabulary = options_.vocabulary,
                                 .copies = options_.copies,
                                 .verbose = common_.verbose});
      if (absl::IsCancelled(looked.status())) return Interrupted();
      PS_RETURN_IF_ERROR(looked.status());
      Note(looked->words);
      if (looked->stopped) {
        look_json_ = std::move(looked->json);
        break;
      }
      PS_ASSIGN_OR_RETURN(status, Status());
    }
    return Conclude(status);
  }

 private:
  void Announce(const v1::SweepStatus& status) {
    Note(absl::StrCat("sweep ", sweep_, " (", status.name(), "), ", Grouped(status.planned()), " cells",
                      status.done() > 0 ? absl::StrCat(", ", Grouped(status.done()), " stored already") : "", "; store ",
                      common_.source.store, ", while it runs also --server ", cluster_->address()));
  }

  void Note(absl::string_view text) {
    progress_.Clear();
    if (!common_.quiet) PrintNote(text);
  }

  absl::StatusOr<v1::SweepManifest> Manifest() {
    auto loaded = sweep::LoadSpec(options_.spec);
    if (!loaded.ok()) return AsBadInput(loaded.status());
    model_folders_ = ModelFolders(options_.models);
    PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(model_folders_));
    auto manifest = sweep::Freeze(loaded->spec, catalog, {.where = &loaded->where});
    if (!manifest.ok()) return AsBadInput(manifest.status());
    limits_ = options_.limits.Over(loaded->limits);
    PrintNotes(*loaded);
    PS_RETURN_IF_ERROR(ShareOut(*manifest, catalog));
    return manifest;
  }

  // How many workers of how many threads, where not all was said.
  absl::Status ShareOut(const v1::SweepManifest& manifest, const sweep::ModelCatalog& catalog) {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    workers_ = options_.workers;
    if (workers_ == 0) {
      uint64_t bytes = 0;
      for (const auto* refs : {&manifest.models(), &manifest.embedders()}) {
        for (const v1::ModelRef& ref : *refs) {
          PS_ASSIGN_OR_RETURN(const sweep::ModelFolder folder, catalog.Find(ref.id()));
          if (!folder.path.empty()) bytes += WeightBytes(folder.path);
        }
      }
      const bool small = options_.device == "cpu" && options_.threads == 0 && bytes <= kSmallModelBytes;
      const uint64_t useful = manifest.cell_count() / kCellsWorthAWorker + 1;
      workers_ = small ? static_cast<int>(std::min<uint64_t>(useful, std::min(cores, kMostOwnWorkers))) : 1;
    }
    threads_ = options_.threads > 0 ? options_.threads : std::max(1, cores / workers_);
    return absl::OkStatus();
  }

  absl::Status Submit(v1::SweepManifest manifest) {
    embeds_ = manifest.embedders_size() > 0;
    adaptive_ = manifest.spec().has_stop();
    v1::SubmitSweepRequest request;
    request.mutable_manifest()->Swap(&manifest);
    if (limits_.ByteSizeLong() > 0) *request.mutable_limits() = limits_;
    auto submitted = Call(cluster_->sweeps(), &v1::SweepService::StubInterface::SubmitSweep, request);
    if (!submitted.ok()) return AsBadInput(submitted.status());
    sweep_ = submitted->sweep();
    PS_ASSIGN_OR_RETURN(const v1::SweepStatus status, Status());
    if (status.state() == v1::SWEEP_STATE_CANCELLED) {
      return absl::FailedPreconditionError(
          absl::StrCat("sweep ", sweep_, " (", status.name(), ") was cancelled; run it in another store, or change its spec"));
    }
    if (status.state() == v1::SWEEP_STATE_PAUSED) {
      v1::ResumeSweepRequest resume;
      resume.set_sweep(sweep_);
      PS_RETURN_IF_ERROR(Call(cluster_->sweeps(), &v1::SweepService::StubInterface::ResumeSweep, resume).status());
      Note(absl::StrCat("sweep ", sweep_, " was paused and goes on"));
    }
    PS_ASSIGN_OR_RETURN(const auto all, Call(cluster_->sweeps(), &v1::SweepService::StubInterface::ListSweepStatus,
                                             v1::ListSweepStatusRequest()));
    for (const v1::SweepStatus& other : all.sweeps()) {
      if (other.sweep() != sweep_ && other.state() == v1::SWEEP_STATE_RUNNING) {
        Note(absl::StrCat("sweep ", other.sweep(), " (", other.name(),
                          ") in the same store is unfinished, too, and shares the workers"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<v1::SweepStatus> Status() {
    v1::GetSweepStatusRequest request;
    request.set_sweep(sweep_);
    PS_ASSIGN_OR_RETURN(auto response, Call(cluster_->sweeps(), &v1::SweepService::StubInterface::GetSweepStatus, request));
    return response.status();
  }

  // Runs workers until the sweep has ended. CANCELLED on Ctrl-C.
  absl::StatusOr<v1::SweepStatus> Generate(const std::string& worker) {
    WorkerPool::Options pool_options;
    pool_options.workers = workers_;
    pool_options.name_prefix = absl::StrCat("run-", getpid());
    pool_options.echo_stderr = common_.verbose;
    pool_options.arguments = {worker, "--coordinator", cluster_->address()};
    for (const std::string& folder : model_folders_)
      pool_options.arguments.insert(pool_options.arguments.end(), {"--models", folder});
    pool_options.arguments.insert(pool_options.arguments.end(),
                                  {"--threads", absl::StrCat(threads_), "--device", options_.device});
    WorkerPool pool(cluster_.get(), std::move(pool_options));
    while (true) {
      if (absl::Status health = cluster_->health(); !health.ok()) {
        pool.Stop(kHopelessPatience);
        return absl::ResourceExhaustedError(
            absl::StrCat(health.message(), "; what is stored is safe, and the same command goes on once this is mended"));
      }
      PS_ASSIGN_OR_RETURN(const v1::SweepStatus status, Status());
      if (HasEnded(status.state())) {
        pool.Stop(kDrainPatience);
        return status;
      }
      if (!status.held().empty() && status.leased() == 0) {
        pool.Stop(kDrainPatience);
        Note(absl::StrCat("sweep ", sweep_, " is held: ", status.held(), "; with higher limits the same command goes on"));
        return status;
      }
      PS_RETURN_IF_ERROR(pool.Tend(status.done() + status.failed()));
      for (const std::string& line : pool.TakeNews()) Note(line);
      progress_.Update(status);
      if (IsStopSignal(WaitForSignal(absl::Milliseconds(200)))) {
        Note("stopping: waiting for the workers to store what they have (again to stop at once)");
        pool.Stop(kDrainPatience);
        return absl::CancelledError("interrupted");
      }
    }
  }

  int Interrupted() {
    Note("interrupted; the same command goes on where this one stopped");
    return kInterrupted;
  }

  absl::StatusOr<int> Conclude(const v1::SweepStatus& status) {
    v1::GetSweepRequest get;
    get.set_sweep(sweep_);
    PS_ASSIGN_OR_RETURN(auto found, Call(cluster_->store(), &v1::StoreService::StubInterface::GetSweep, get));
    const v1::SweepInfo& info = found.info();
    const uint64_t reused = info.counts().reused();
    Json json = {{"sweep", sweep_},
                 {"name", status.name()},
                 {"state", StateName(status.state())},
                 {"planned", status.planned()},
                 {"done", status.done()},
                 {"failed", status.failed()},
                 {"reused", reused},
                 {"store", common_.source.store}};
    std::string text;
    if (reused > 0) absl::StrAppend(&text, Grouped(status.planned()), " cells, ", Grouped(reused), " reused\n");
    if (status.failed() > 0) {
      absl::StrAppend(&text, Grouped(status.failed()), " of ", Grouped(status.planned()), " cells failed: promptsweep query ",
                      sweep_, " ", common_.source.Flags(), " --failed\n");
    }
    if (embeds_ && status.done() > 0 && !options_.no_motifs) {
      if (look_json_.empty()) Note(absl::StrCat("looking for motifs in ", Grouped(status.done()), " pictures"));
      auto mined = look_json_.empty() ? RunMiner({.address = cluster_->address(),
                                                  .sweep = sweep_,
                                                  .vocabulary = options_.vocabulary,
                                                  .copies = options_.copies,
                                                  .verbose = common_.verbose})
                                      : absl::StatusOr<std::string>(look_json_);
      if (absl::IsCancelled(mined.status())) return Interrupted();
      PS_RETURN_IF_ERROR(mined.status());
      PS_ASSIGN_OR_RETURN(const v1::MotifReport report, StoredMotifs(cluster_->store(), sweep_));
      const std::string headline = Headline(report, std::max(1, info.manifest().models_size()));
      json["headline"] = headline;
      json["motifs"] = Json::parse(*mined, nullptr, false);
      const Table table = MotifTable(report);
      absl::StrAppend(&text, headline, "\n", table.empty() ? "" : "\n", table.empty() ? "" : table.Render());
    }
    const std::string page_path = options_.report.empty()
                                      ? absl::StrCat(common_.source.store, "/report-", info.manifest().spec().name(), ".html")
                                      : options_.report;
    PS_ASSIGN_OR_RETURN(const std::string page, BuildReport(cluster_->store(), info, common_.source.Flags()));
    PS_RETURN_IF_ERROR(WriteFileAtomically(page_path, page));
    json["report"] = page_path;
    absl::StrAppend(&text, text.empty() ? "" : "\n", "pictures: ", page_path, "\n");
    absl::StrAppend(&text, "files:    promptsweep export ", sweep_, " ", common_.source.Flags(), " --out DIR\n");
    if (progress_.overall_rate() > 0) json["images_per_second"] = progress_.overall_rate();

    Table summary({{"sweep", true},
                   {"name", false, true},
                   {"state"},
                   {"planned", true},
                   {"done", true},
                   {"failed", true},
                   {"reused", true}});
    summary.Add({absl::StrCat(sweep_), status.name(), StateName(status.state()), absl::StrCat(status.planned()),
                 absl::StrCat(status.done()), absl::StrCat(status.failed()), absl::StrCat(reused)});
    PS_RETURN_IF_ERROR(common_.output == OutputFormat::kTable ? WriteStdout(text) : Print(common_.output, summary, json));
    return status.state() == v1::SWEEP_STATE_DONE ? kOk : kWorkFailed;
  }

  const Options& options_;
  const Common& common_;
  Progress progress_;
  std::vector<std::string> model_folders_;
  v1::SweepLimits limits_;
  int workers_ = 1;
  int threads_ = 1;
  std::unique_ptr<LocalCluster> cluster_;
  uint32_t sweep_ = 0;
  bool embeds_ = false;
  bool adaptive_ = false;
  std::string look_json_;  // of the look that stopped an adaptive sweep
};

}  // namespace

void AddRun(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add(
      "run", "Run a spec on this machine to its end, motifs included; run it again to go on", Commands::Needs::kSource,
      [options](const Common& common) -> absl::StatusOr<int> {
        if (common.source.remote()) {
          return absl::InvalidArgumentError("run works in a store folder of this machine; submit hands a spec to a server");
        }
        return RunCommand(*options, common).Run();
      });
  app->add_option("SPEC", options->spec, "Experiment in YAML")->required();
  app->add_option("--workers", options->workers, "Worker processes; 0: one, or one for each core where the models are small")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  app->add_option("--threads", options->threads, "Threads of each worker; 0: the machine's, shared out")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app->add_option("--models", options->models, "Folders with models [$PROMPTSWEEP_MODELS, else those that come with the program]")
      ->type_name("DIR");
  app->add_option("--device", options->device, "cpu, or cuda:N where libtorch has it")->capture_default_str();
  app->add_flag("--no-motifs", options->no_motifs, "Stop when every cell has run");
  app->add_option("--report", options->report, "Where to write the page [STORE/report-NAME.html]")->type_name("FILE");
  AddVocabularyOption(*app, options->vocabulary);
  AddCopyOptions(*app, options->copies);
  options->limits.AddTo(*app);
  app->add_option("--listen", options->listen, "Loopback address for workers, and for other commands meanwhile")
      ->type_name("HOST:PORT")
      ->capture_default_str();
}

}  // namespace promptsweep::cli
