// promptsweep-worker: takes leases from a coordinator, runs models, stores results. `import` fills an imported sweep instead,
// `words` stores a vocabulary.
//
// Exit codes: 0 done or drained; 1 internal error; 2 bad arguments or unusable models; 3 import: some rows failed; 4 coordinator
// or store out of reach; 130 import, reproduce or words interrupted.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "base/command_line.h"
#include "base/rpc.h"
#include "base/security_flags.h"
#include "base/status.h"
#include "jobs/sweep/catalog.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/import.h"
#include "worker/pipeline/model_host.h"
#include "worker/pipeline/pipeline.h"
#include "worker/pipeline/reproduce.h"
#include "worker/pipeline/session.h"
#include "worker/pipeline/words.h"
#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

constexpr char kProgram[] = "promptsweep-worker";

enum ExitCode { kOk = 0, kInternal = 1, kUnusable = kExitBadInput, kRowsFailed = 3, kUnreachable = 4, kInterrupted = 130 };

struct Flags {
  std::string coordinator;
  std::string store;
  std::vector<std::string> models;
  std::string name;
  int threads = 0;
  int encoder_threads = 0;
  std::string device = "cpu";
  int batch = 0;
  std::string dtype;
  bool exit_when_idle = false;
  bool exit_with_parent = false;
  SecurityFlags security;
  double connect_timeout = 60;
  double drain_grace = 20;
  size_t spool_mib = 256;
  // import, reproduce and words
  std::string sweep;
  std::string cells;
  std::string rows;
  std::string embedder;
  std::string vocabulary;
  std::string file;
};

int Report(const absl::Status& status) {
  SayError(kProgram, status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
      return kUnusable;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kUnreachable;
    case absl::StatusCode::kCancelled:
      return kInterrupted;
    default:
      return kInternal;
  }
}

std::string DefaultName() {
  if (const char* pod = std::getenv("POD_NAME"); pod != nullptr && *pod != '\0') return pod;
  char host[256] = "worker";
  (void)gethostname(host, sizeof host - 1);
  return absl::StrCat(host, "-", getpid());
}

// Waits for SIGTERM and SIGINT on a thread of its own; they are blocked everywhere else. The first calls `stop`, the second ends
// the process. With `with_parent`, the parent's death counts as the first.
class Signals {
 public:
  Signals(bool with_parent, std::function<void()> stop) {
    thread_ = std::thread([this, with_parent, parent = getppid(), stop = std::move(stop)] {
      const sigset_t set = StopSignals();
      bool stopping = false;
      while (!done_) {
        const timespec wait{0, 200'000'000};
        const bool orphaned = with_parent && getppid() != parent;
        const int signal = sigtimedwait(&set, nullptr, &wait);
        if (signal <= 0 && (!orphaned || stopping)) continue;
        if (stopping) _exit(128 + signal);
        stopping = true;
        stop();
      }
    });
  }
  ~Signals() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

absl::StatusOr<sweep::ModelCatalog> OpenCatalog(const Flags& flags) {
  for (const std::string& folder : flags.models) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error))
      return absl::InvalidArgumentError(absl::StrCat(folder, " is not a folder"));
  }
  return sweep::ModelCatalog::Open(flags.models.empty() ? std::vector<std::string>{"models"} : flags.models);
}

// What this worker offers. A broken folder is named and left out; where that leaves nothing but what is built in, the worker is
// of no use.
absl::StatusOr<std::vector<v1::ModelRef>> UsableModels(const sweep::ModelCatalog& catalog) {
  std::vector<v1::ModelRef> usable;
  std::vector<std::pair<std::string, absl::Status>> broken;
  bool any_folder = false;
  for (const std::string& id : catalog.Ids()) {
    const absl::StatusOr<sweep::ModelFolder> folder = catalog.Find(id);
    if (!folder.ok()) {
      broken.emplace_back(id, folder.status());
      continue;
    }
    any_folder |= !folder->path.empty();
    v1::ModelRef& ref = usable.emplace_back();
    ref.set_id(folder->id);
    ref.set_architecture(folder->architecture);
    ref.set_digest(folder->digest);
    ref.set_harmless(folder->harmless);
  }
  if (!broken.empty() && !any_folder) return broken.front().second;
  for (const auto& [id, status] : broken) spdlog::error("{} is left out: {}", id, std::string(status.message()));
  return usable;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Flags& flags, ModelHost* host, const std::string& name) {
  return Engine::Create(
      {.models = host, .device = flags.device, .batch_shape = flags.batch, .threads = flags.threads, .worker = name});
}

int Work(const Flags& flags) {
  const std::string name = flags.name.empty() ? DefaultName() : flags.name;
  const auto opened = OpenSecurity(flags.security);
  if (!opened.ok()) return Report(opened.status());
  const std::shared_ptr<const RpcSecurity> security = *opened;
  const absl::StatusOr<sweep::ModelCatalog> catalog = OpenCatalog(flags);
  if (!catalog.ok()) return Report(absl::InvalidArgumentError(catalog.status().message()));
  const absl::StatusOr<std::vector<v1::ModelRef>> models = UsableModels(*catalog);
  if (!models.ok()) return Report(absl::InvalidArgumentError(models.status().message()));
  const std::unique_ptr<ModelHost> host = CatalogHost(&*catalog);
  const auto engine = MakeEngine(flags, host.get(), name);
  if (!engine.ok()) return Report(engine.status());
  const auto channel = Connect(flags.coordinator, *security);
  if (!channel.ok()) return Report(channel.status());
  const auto coordinator = v1::CoordinatorService::NewStub(*channel);
  const uint64_t seed = std::random_device()();
  Session session({.coordinator = coordinator.get(),
                   .worker = name,
                   .device = (*engine)->device(),
                   .models = *models,
                   .give_up_after = std::max(absl::Minutes(10), absl::Seconds(flags.connect_timeout)),
                   .jitter_seed = seed});
  absl::Mutex mu;
  Pipeline* running = nullptr;
  bool stopped = false;
  const Signals signals(flags.exit_with_parent, [&] {
    spdlog::info("stopping: the batch on the device is finished, the rest given back");
    absl::MutexLock lock(&mu);
    stopped = true;
    session.Drain();
    if (running != nullptr) running->Drain();
  });
  if (const absl::Status connected = session.Connect(absl::Seconds(flags.connect_timeout)); !connected.ok()) {
    return session.draining() ? kOk : Report(connected);
  }
  std::string store_address = !flags.store.empty() ? flags.store : session.store_address();
  if (store_address.empty()) store_address = flags.coordinator;
  const auto store_channel = store_address == flags.coordinator ? channel : Connect(store_address, *security);
  if (!store_channel.ok()) return Report(store_channel.status());
  const auto store = v1::StoreService::NewStub(*store_channel);
  session.Start();
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  Pipeline pipeline({.session = &session,
                     .store = store.get(),
                     .models = host.get(),
                     .engine = engine->get(),
                     .compute_dtype = flags.dtype,
                     .encoder_threads = flags.encoder_threads > 0 ? flags.encoder_threads : std::clamp(cores / 4, 1, 8),
                     .spool_bytes = flags.spool_mib << 20,
                     .exit_when_idle = flags.exit_when_idle,
                     .drain_grace = absl::Seconds(flags.drain_grace),
                     .jitter_seed = seed});
  {
    absl::MutexLock lock(&mu);
    running = &pipeline;
    if (stopped) pipeline.Drain();
  }
  const absl::Status status = pipeline.Run();
  {
    absl::MutexLock lock(&mu);
    running = nullptr;
  }
  session.Stop();
  return status.ok() ? kOk : Report(status);
}

// What import, reproduce and words work with.
struct StoreTools {
  sweep::ModelCatalog catalog;
  std::unique_ptr<ModelHost> host;
  std::unique_ptr<Engine> engine;
  std::shared_ptr<const RpcSecurity> security;
  std::unique_ptr<v1::StoreService::Stub> store;
};

absl::StatusOr<std::unique_ptr<StoreTools>> OpenStoreTools(const Flags& flags) {
  absl::StatusOr<sweep::ModelCatalog> catalog = OpenCatalog(flags);
  if (!catalog.ok()) return absl::InvalidArgumentError(catalog.status().message());
  auto tools = std::make_unique<StoreTools>(StoreTools{.catalog = *std::move(catalog)});
  tools->host = CatalogHost(&tools->catalog);
  PS_ASSIGN_OR_RETURN(tools->engine, MakeEngine(flags, tools->host.get(), flags.name.empty() ? DefaultName() : flags.name));
  PS_ASSIGN_OR_RETURN(tools->security, OpenSecurity(flags.security));
  PS_ASSIGN_OR_RETURN(const auto channel, Connect(flags.store, *tools->security));
  if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                 std::chrono::milliseconds(static_cast<int64_t>(flags.connect_timeout * 1000)))) {
    return absl::UnavailableError(absl::StrCat("no store at ", flags.store));
  }
  tools->store = v1::StoreService::NewStub(channel);
  return tools;
}

int ImportRows(const Flags& flags) {
  const absl::StatusOr<std::vector<ImportRow>> rows = ReadImportRows(flags.rows);
  if (!rows.ok()) return Report(rows.status());
  const auto tools = OpenStoreTools(flags);
  if (!tools.ok()) return Report(tools.status());
  absl::Notification stop;
  const Signals signals(flags.exit_with_parent, [&] { stop.Notify(); });
  ImportOptions options{.store = (*tools)->store.get(),
                        .models = (*tools)->host.get(),
                        .engine = (*tools)->engine.get(),
                        .sweep = flags.sweep,
                        .embedder = flags.embedder,
                        .stop = &stop};
  if (flags.batch > 0) options.batch = flags.batch;
  const absl::StatusOr<ImportCounts> counts = Import(*rows, options);
  if (!counts.ok()) return Report(counts.status());
  std::cout << "{\"present\":" << counts->present << ",\"stored\":" << counts->stored << ",\"failed\":" << counts->failed << "}"
            << std::endl;
  return counts->failed == 0 ? kOk : kRowsFailed;
}

// One ordinal a line, ascending.
absl::StatusOr<std::vector<uint64_t>> ReadCells(const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  std::vector<uint64_t> cells;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    uint64_t cell = 0;
    if (!absl::SimpleAtoi(line, &cell) || (!cells.empty() && cell <= cells.back())) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": expected cells in ascending order, one a line"));
    }
    cells.push_back(cell);
  }
  return cells;
}

int ReproduceCells(const Flags& flags) {
  const auto cells = ReadCells(flags.cells);
  if (!cells.ok()) return Report(cells.status());
  const auto tools = OpenStoreTools(flags);
  if (!tools.ok()) return Report(tools.status());
  absl::Notification stop;
  const Signals signals(flags.exit_with_parent, [&] { stop.Notify(); });
  const ReproduceOptions options{.store = (*tools)->store.get(),
                                 .models = (*tools)->host.get(),
                                 .engine = (*tools)->engine.get(),
                                 .sweep = flags.sweep,
                                 .stop = &stop};
  const absl::Status status =
      Reproduce(*cells, options, [](const Reproduced& reproduced) { std::cout << ReproducedJson(reproduced) << std::endl; });
  return status.ok() ? kOk : Report(status);
}

int StoreVocabulary(const Flags& flags) {
  const auto file = motifs::ReadVocabulary(flags.file);
  if (!file.ok()) return Report(file.status());
  const auto tools = OpenStoreTools(flags);
  if (!tools.ok()) return Report(tools.status());
  absl::Notification stop;
  const Signals signals(flags.exit_with_parent, [&] { stop.Notify(); });
  const auto print = [](uint64_t done, uint64_t total) {
    std::cout << "{\"done\":" << done << ",\"of\":" << total << "}" << std::endl;
  };
  const absl::StatusOr<WordsOutcome> outcome = StoreWords(*file, {.store = (*tools)->store.get(),
                                                                  .models = (*tools)->host.get(),
                                                                  .engine = (*tools)->engine.get(),
                                                                  .embedder = flags.embedder,
                                                                  .vocabulary = flags.vocabulary,
                                                                  .progress = print,
                                                                  .stop = &stop});
  if (!outcome.ok()) return Report(outcome.status());
  std::cout << "{\"labels\":" << outcome->head.labels << ",\"embedded\":" << outcome->embedded << "}" << std::endl;
  return kOk;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  spdlog::set_default_logger(spdlog::stderr_logger_mt("worker"));
  Flags flags;
  CLI::App app("Runs models for a promptsweep coordinator.", kProgram);
  app.add_option("--coordinator", flags.coordinator, "HOST:PORT of the coordinator");
  app.add_flag("--exit-when-idle", flags.exit_when_idle, "Stop once every sweep has ended");
  app.add_option("--dtype", flags.dtype, "Only run sweeps that compute in this type")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_option("--encoder-threads", flags.encoder_threads, "Threads that encode images; default: a quarter of the cores")
      ->check(CLI::Range(1, 256));
  app.add_option("--drain-grace", flags.drain_grace, "Seconds for results on their way when stopping")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--spool-mib", flags.spool_mib, "MiB of results that may wait for the store")->check(CLI::Range(1, 1 << 20));
  CLI::App* import = app.add_subcommand("import", "Embeds pictures made elsewhere and stores them in an imported sweep.");
  import->add_option("--sweep", flags.sweep, "Id, name or digest of the sweep")->required();
  import->add_option("--rows", flags.rows, "JSON lines or CSV: ordinal, path, further columns")->required();
  import->add_option("--embedder", flags.embedder, "Must be among the sweep's embedders");
  CLI::App* reproduce =
      app.add_subcommand("reproduce", "Makes stored results again and prints how far the new ones are from them.");
  reproduce->add_option("--sweep", flags.sweep, "Id, name or digest of the sweep")->required();
  reproduce->add_option("--cells", flags.cells, "File with one cell a line, ascending")->required();
  CLI::App* words = app.add_subcommand("words", "Stores the vectors of a vocabulary's labels, for naming motifs by.");
  words->add_option("--vocabulary", flags.vocabulary, "Name to store it under")->required();
  words->add_option("--file", flags.file, "LABEL or LABEL<TAB>PARENT a line")->required();
  words->add_option("--embedder", flags.embedder, "Whose text tower makes the vectors")->required();
  for (CLI::App* command : {&app, import, reproduce, words}) {
    command->add_option("--store", flags.store, "HOST:PORT of the store; default: what the coordinator says");
    command->add_option("--models", flags.models, "Folder of model folders; may stand several times; default: models");
    command->add_option("--name", flags.name, "Unique and stable; default: POD_NAME, or host name and process id");
    command->add_option("--threads", flags.threads, "Threads of one operation; default: one per core")
        ->check(CLI::Range(1, 1024));
    command->add_option("--device", flags.device, "cpu, or cuda:N where libtorch has it");
    command->add_option("--batch", flags.batch, "Images per batch; default: the model's own")->check(CLI::Range(1, 4096));
    command->add_option("--connect-timeout", flags.connect_timeout, "Seconds to wait for a connection")
        ->check(CLI::Range(0.0, 86400.0));
    AddSecurityFlags(*command, flags.security);
    command->add_flag("--exit-with-parent", flags.exit_with_parent, "Stop when the process that started this one ends");
  }
  app.final_callback([&] {
    const bool tool = import->parsed() || reproduce->parsed() || words->parsed();
    if (!tool && flags.coordinator.empty()) throw CLI::RequiredError("--coordinator");
    if (tool && flags.store.empty()) throw CLI::RequiredError("--store");
  });
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  if (import->parsed()) return ImportRows(flags);
  if (words->parsed()) return StoreVocabulary(flags);
  return reproduce->parsed() ? ReproduceCells(flags) : Work(flags);
}

}  // namespace
}  // namespace promptsweep::worker

int main(int argc, char** argv) {
  promptsweep::worker::SettleEnvironment(argv);
  return promptsweep::worker::Main(argc, argv);
}
