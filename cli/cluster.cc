#include "cli/cluster.h"

#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "cli/exit.h"
#include "coordinator/store_client.h"

namespace promptsweep::cli {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(200);
constexpr absl::Duration kLongestPause = absl::Seconds(5);
// A worker that lived for so long has earned a fresh start.
constexpr absl::Duration kHealthyLife = absl::Seconds(30);
// A cell that kills its worker is isolated and given up after a few deaths; more than this in a row is something else.
constexpr int kDeathsWithoutProgress = 20;

uint64_t RandomBits() {
  thread_local std::random_device device;
  return uint64_t{device()} << 32 | device();
}

std::string LastWords(const ChildProcess& process) {
  const std::vector<std::string> lines = process.last_lines();
  return lines.empty() ? "" : std::string(absl::StripPrefix(lines.back(), "promptsweep-worker: "));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(const std::string& folder, const std::string& listen) {
  std::unique_ptr<LocalCluster> cluster(new LocalCluster);
  cluster->listen_host_ = listen.substr(0, listen.rfind(':'));
  coordinator::Coordinator::Options options;
  options.state.epoch = 0;
  // Workers are our children: none outlives us, so after a restart there is nobody to wait for.
  options.restart_grace = absl::ZeroDuration();
  cluster->coordinator_ = std::make_unique<coordinator::Coordinator>(options);
  cluster->worker_service_ = std::make_unique<coordinator::CoordinatorServiceImpl>(cluster->coordinator_.get());
  cluster->sweep_service_ = std::make_unique<coordinator::SweepServiceImpl>(cluster->coordinator_.get());

  store::StoreHost::Options host;
  host.store.folder = folder;
  host.store.create_if_missing = true;
  host.address = listen;
  host.security = InsecureRpc(false);
  host.services = {cluster->worker_service_.get(), cluster->sweep_service_.get()};
  host.before_shutdown = [coordinator = cluster->coordinator_.get()] { coordinator->Shutdown(); };
  PS_ASSIGN_OR_RETURN(cluster->host_, store::StoreHost::Start(std::move(host)));

  const auto channel = cluster->host_->InProcessChannel();
  cluster->store_stub_ = v1::StoreService::NewStub(channel);
  cluster->sweep_stub_ = v1::SweepService::NewStub(channel);
  cluster->coordinator_->Start(std::make_unique<coordinator::GrpcStoreClient>(
      v1::StoreService::NewStub(channel), coordinator::GrpcStoreClient::Options{.random = RandomBits}));
  if (!cluster->coordinator_->WaitUntilLoaded(absl::Minutes(5))) {
    const absl::Status health = cluster->host_->store().health();
    return health.ok() ? absl::UnavailableError("the store's sweeps could not be loaded") : health;
  }
  return cluster;
}

LocalCluster::~LocalCluster() {
  if (host_) host_->Shutdown();
  if (coordinator_) coordinator_->Shutdown();
}

std::string LocalCluster::address() const { return absl::StrCat(listen_host_, ":", host_->port()); }

WorkerPool::WorkerPool(LocalCluster* cluster, Options options) : cluster_(cluster), options_(std::move(options)) {
  slots_.resize(options_.workers);
}

absl::Status WorkerPool::StartWorker(Slot& slot, int index) {
  slot.name = absl::StrCat(options_.name_prefix, "-", index + 1, slot.generation > 0 ? absl::StrCat(".", slot.generation) : "");
  ++slot.generation;
  ChildProcess::Options child;
  child.argv = options_.arguments;
  child.argv.insert(child.argv.end(), {"--name", slot.name});
  child.echo_stderr = options_.echo_stderr;
  slot.started = options_.clock->TimeNow();
  PS_ASSIGN_OR_RETURN(slot.process, ChildProcess::Start(std::move(child)));
  return absl::OkStatus();
}

absl::Status WorkerPool::Ended(Slot& slot) {
  const ExitInfo exit = slot.process->exit_info();
  const std::string words = LastWords(*slot.process);
  const absl::Time now = options_.clock->TimeNow();
  slot.process.reset();
  if (exit.signal == 0 && exit.code == kBadInput) {
    return absl::InvalidArgumentError(words.empty() ? absl::StrCat("worker ", slot.name, " cannot work here") : words);
  }
  if (exit.signal == 0 && exit.code == 127)
    return absl::InvalidArgumentError(absl::StrCat("program ", options_.arguments[0], " cannot be run"));
  cluster_->WorkerDied(slot.name);
  slot.pause = now - slot.started >= kHealthyLife ? kFirstPause : std::clamp(2 * slot.pause, kFirstPause, kLongestPause);
  slot.start_at = now + slot.pause;
  news_.push_back(
      absl::StrCat("worker ", slot.name, " ended with ", exit.InWords(), words.empty() ? "" : ": ", words, "; starting another"));
  if (++deaths_without_progress_ > kDeathsWithoutProgress) {
    return absl::AbortedError(absl::StrCat("workers keep dying (", exit.InWords(), words.empty() ? "" : ": ", words, ")"));
  }
  return absl::OkStatus();
}

absl::Status WorkerPool::Tend(uint64_t progress) {
  if (progress > last_progress_) {
    last_progress_ = progress;
    deaths_without_progress_ = 0;
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.process && slot.process->Poll()) PS_RETURN_IF_ERROR(Ended(slot));
    if (!slot.process && options_.clock->TimeNow() >= slot.start_at) PS_RETURN_IF_ERROR(StartWorker(slot, static_cast<int>(i)));
  }
  return absl::OkStatus();
}

void WorkerPool::Stop(absl::Duration patience) {
  for (Slot& slot : slots_) {
    if (slot.process) slot.process->Signal(SIGTERM);
  }
  const absl::Time deadline = options_.clock->TimeNow() + patience;
  const auto any_left = [&] {
    for (Slot& slot : slots_) {
      if (slot.process && slot.process->Poll()) slot.process.reset();
    }
    return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.process != nullptr; });
  };
  while (any_left() && options_.clock->TimeNow() < deadline) {
    if (IsStopSignal(WaitForSignal(absl::Milliseconds(50)))) break;
  }
  for (Slot& slot : slots_) slot.process.reset();
}

std::vector<std::string> WorkerPool::TakeNews() { return std::exchange(news_, {}); }

}  // namespace promptsweep::cli
