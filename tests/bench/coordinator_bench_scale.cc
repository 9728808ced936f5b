// What large sweeps and many workers cost: memory, the time of a restart, processor time.
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/rpc.h"
#include "tests/bench/coordinator_bench_common.h"
#include "tests/bench/store_bench_common.h"
#include "tests/program.h"
#include "tests/store/fixture.h"

namespace promptsweep::coordinator {
namespace {

constexpr uint64_t kBillion = 1'000'000'000;

double MiB(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// Bytes that are allocated: RSS grows in steps and never shrinks.
uint64_t HeapBytes() { return mallinfo2().uordblks; }

v1::AcquireLeaseResponse Acquire(Coordinator& coordinator, uint64_t session, uint64_t sequence) {
  v1::AcquireLeaseRequest request;
  request.set_session(session);
  request.set_sequence(sequence);
  request.set_cells_per_second(1000);
  v1::AcquireLeaseResponse lease;
  coordinator.AcquireLease(request, &request, [&](absl::StatusOr<v1::AcquireLeaseResponse> answer) {
    PS_CHECK(answer.ok()) << answer.status();
    lease = *std::move(answer);
  });
  PS_CHECK(lease.has_lease());
  return lease;
}

// A sweep of `cells` in a store in memory, with every `period`-th run of `length` cells done, up to `until`.
std::shared_ptr<FakeStore> HalfDone(uint64_t cells, uint64_t until, uint64_t length, uint64_t period) {
  auto store = std::make_shared<FakeStore>();
  PS_CHECK(FakeStoreClient(store).CreateSweep(BenchManifest("half", cells, true), {}).ok());
  for (uint64_t at = 0; at < until; at += period) store->PutResults(1, at, at + length);
  return store;
}

void MeasureRestart(const char* title, uint64_t cells, uint64_t until, uint64_t length, uint64_t period) {
  const auto store = HalfDone(cells, until, length, period);
  const uint64_t pieces = store->Get(1).done.intervals().size();
  const uint64_t before = HeapBytes();
  const auto cluster = BenchCluster::InMemory(store);
  const uint64_t held = HeapBytes() - before;
  PS_CHECK(cluster->Status(1).done() == store->Get(1).done.size());
  std::printf("%s, %llu pieces, from a store in memory: %.3f s, %.1f MiB kept\n", title, static_cast<unsigned long long>(pieces),
              absl::ToDoubleSeconds(cluster->load_time()), MiB(held));
}

// The same with the store on disk: opening it is not counted.
void MeasureRestartOnDisk(const std::string& folder, const char* title, uint64_t cells, uint64_t length) {
  constexpr uint64_t kRound = 64 * 1024;
  const v1::SweepManifest manifest = BenchManifest("half", cells, true);
  {
    const sweep::Plan plan = store::MakePlan(manifest);
    auto store = store::OpenStore(folder);
    const uint32_t sweep = store::Create(*store, manifest).value();
    for (uint64_t round = 0; round < cells; round += kRound) {
      std::vector<v1::PutResultsRequest> requests;
      std::vector<v1::Result> rows;
      for (uint64_t at = round; at < std::min(cells, round + kRound); ++at) {
        if (length == 0 ? at >= cells / 2 : at / length % 2 == 1) continue;
        rows.push_back(store::MakeResult(plan, at, 32));
        if (rows.size() == 256) requests.push_back(store::MakePut(sweep, std::exchange(rows, {})));
      }
      if (!rows.empty()) requests.push_back(store::MakePut(sweep, std::move(rows)));
      store::PutEvery(*store, requests, 64);
    }
  }
  const absl::Time start = absl::Now();
  const auto cluster = BenchCluster::OnDisk(folder);
  const absl::Duration all = absl::Now() - start;
  PS_CHECK(cluster->Status(1).done() == cells / 2);
  std::printf("%s, from a store on disk: %.3f s, after %.3f s for opening the store\n", title,
              absl::ToDoubleSeconds(cluster->load_time()), absl::ToDoubleSeconds(all - cluster->load_time()));
}

}  // namespace

void BenchMemory(const BenchOptions& options) {
  const int workers = options.brief ? 100 : 1000;
  const v1::SweepManifest manifest = BenchManifest("billion", kBillion, true);
  Coordinator::Options settings;
  settings.state.epoch = 0;
  Coordinator coordinator(settings);
  coordinator.Start(std::make_unique<FakeStoreClient>(std::make_shared<FakeStore>()));
  PS_CHECK(coordinator.WaitUntilLoaded(absl::Seconds(20)));
  std::vector<uint64_t> sessions;
  uint64_t before = HeapBytes();
  for (int i = 0; i < workers; ++i) {
    v1::RegisterWorkerRequest request;
    request.set_worker(absl::StrCat("worker-", i));
    *request.mutable_models() = manifest.models();
    request.mutable_models()->MergeFrom(manifest.embedders());
    sessions.push_back(coordinator.RegisterWorker(request)->session());
  }
  std::printf("%d workers: %.0f bytes each\n", workers, static_cast<double>(HeapBytes() - before) / workers);
  before = HeapBytes();
  absl::Notification submitted;
  v1::SubmitSweepRequest request;
  *request.mutable_manifest() = manifest;
  coordinator.SubmitSweep(request, [&](absl::StatusOr<v1::SubmitSweepResponse> response) {
    PS_CHECK(response.ok()) << response.status();
    submitted.Notify();
  });
  submitted.WaitForNotification();
  std::printf("a sweep of 10^9 cells, none run: %.1f KiB\n", static_cast<double>(HeapBytes() - before) / 1024);
  for (int round = 1; round <= 2; ++round) {
    before = HeapBytes();
    const absl::Time start = absl::Now();
    for (uint64_t session : sessions) (void)Acquire(coordinator, session, round);
    const absl::Duration time = absl::Now() - start;
    std::printf("lease %d of each worker: %.0f bytes a lease, %.1f us to grant it; the process: %.1f MiB\n", round,
                static_cast<double>(HeapBytes() - before) / workers, absl::ToDoubleMicroseconds(time) / workers,
                MiB(store::ProcessBytes("VmRSS")));
  }
  coordinator.Shutdown();
}

void BenchRestart(const BenchOptions& options) {
  const uint64_t cells = options.brief ? 200'000 : 10'000'000;
  MeasureRestart("10^9 cells, half done in a row", kBillion, kBillion / 2, kBillion / 2, kBillion / 2);
  MeasureRestart("10^9 cells, one in 10,000 missing of half", kBillion, kBillion / 2, 9'999, 10'000);
  MeasureRestart(options.brief ? "200,000 cells, half done in a row" : "10^7 cells, half done in a row", cells, cells / 2,
                 cells / 2, cells / 2);
  MeasureRestart("as many, in runs of 64", cells, cells, 64, 128);
  MeasureRestart("as many, every other cell", cells, cells, 1, 2);
  const uint64_t stored = options.cells > 0 ? options.cells : options.brief ? 20'000 : 1'000'000;
  const std::string count = absl::StrCat(stored, " cells");
  MeasureRestartOnDisk(options.folder + "/row", (count + ", half done in a row").c_str(), stored, 0);
  MeasureRestartOnDisk(options.folder + "/other", (count + ", every other cell").c_str(), stored, 1);
}

void BenchWorkers(const BenchOptions& options) {
  const int count = options.brief ? 100 : 1000;
  const int seconds = options.brief ? 6 : 20;
  rlimit files;
  PS_CHECK(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  files.rlim_cur = files.rlim_max;
  PS_CHECK(::setrlimit(RLIMIT_NOFILE, &files) == 0);
  auto cluster = BenchCluster::InMemory(std::make_shared<FakeStore>());
  // Paused: there is work, but nobody gets any.
  cluster->Pause(cluster->Submit(BenchManifest("waiting", 1000, true)));
  const uint64_t before = store::ProcessBytes("VmRSS");
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  PS_CHECK(length > 0);
  Program drive(std::string(self, static_cast<size_t>(length)),
                {"--drive", cluster->address(), absl::StrCat(count), absl::StrCat(seconds)});
  PS_CHECK(drive.Line() == "waiting");
  PS_CHECK(cluster->coordinator().WaitingForTest() == static_cast<size_t>(count));
  const absl::Time start = absl::Now();
  const absl::Duration processor = ProcessorTime();
  const std::string heartbeats = drive.Line();
  const absl::Duration time = absl::Now() - start;
  const absl::Duration used = ProcessorTime() - processor;
  std::printf("%d workers on connections of their own, each with a question that waits, for %.0f s\n", count,
              absl::ToDoubleSeconds(time));
  std::printf("  %s\n", heartbeats.c_str());
  std::printf("  the coordinator's process: %.2f s of processor time, %.1f %% of a core; %.1f MiB, %.1f KiB a worker\n",
              absl::ToDoubleSeconds(used), 100 * absl::FDivDuration(used, time), MiB(store::ProcessBytes("VmRSS")),
              static_cast<double>(store::ProcessBytes("VmRSS") - before) / 1024 / count);
  PS_CHECK(drive.Exit() == 0);
}

int DriveWorkers(const std::string& address, int count, int seconds) {
  const v1::SweepManifest manifest = BenchManifest("waiting", 1000, true);
  constexpr absl::Duration kInterval = absl::Seconds(5);
  struct Worker {
    std::unique_ptr<v1::CoordinatorService::Stub> stub;
    uint64_t session = 0;
    uint64_t sequence = 0;
    uint64_t beats = 0;
  };
  struct Question {
    grpc::ClientContext context;
    v1::AcquireLeaseRequest request;
    v1::AcquireLeaseResponse response;
  };
  std::vector<Worker> workers(count);
  std::atomic<bool> stop{false};
  std::atomic<int> waiting{0};
  std::function<void(Worker*)> ask = [&](Worker* worker) {
    auto question = std::make_shared<Question>();
    question->request.set_session(worker->session);
    question->request.set_sequence(++worker->sequence);
    SetTimeout(question->context, absl::Minutes(1));
    ++waiting;
    worker->stub->async()->AcquireLease(&question->context, &question->request, &question->response,
                                        [&ask, &stop, &waiting, worker, question](const grpc::Status& status) {
                                          if (status.ok() && !stop) ask(worker);
                                          --waiting;
                                        });
  };
  for (int i = 0; i < count; ++i) {
    workers[i].stub = v1::CoordinatorService::NewStub(OwnConnection(address));
    workers[i].session = Join(*workers[i].stub, absl::StrCat("worker-", i), manifest);
    ask(&workers[i]);
  }
  // A question that was sent has arrived once a later call on its connection was answered.
  std::vector<absl::Duration> times;
  const auto beat = [&](Worker& worker) {
    v1::HeartbeatRequest request;
    request.set_session(worker.session);
    request.set_sequence(++worker.beats);
    v1::HeartbeatResponse response;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    const absl::Time start = absl::Now();
    const grpc::Status status = worker.stub->Heartbeat(&context, request, &response);
    PS_CHECK(status.ok()) << status.error_message();
    times.push_back(absl::Now() - start);
  };
  for (Worker& worker : workers) beat(worker);
  std::printf("waiting\n");
  std::fflush(stdout);
  times.clear();
  const absl::Time start = absl::Now();
  for (int i = 0; absl::Now() < start + absl::Seconds(seconds); ++i) {
    absl::SleepFor(start + i * kInterval / count - absl::Now());
    beat(workers[i % count]);
  }
  std::sort(times.begin(), times.end());
  std::printf("%zu heartbeats: %.2f ms, p99 %.2f ms, slowest %.1f ms; %d questions wait\n", times.size(),
              absl::ToDoubleMilliseconds(store::Quantile(times, 0.5)), absl::ToDoubleMilliseconds(store::Quantile(times, 0.99)),
              absl::ToDoubleMilliseconds(times.back()), waiting.load());
  std::fflush(stdout);
  // Questions that wait are not worth waiting for.
  ::_exit(0);
}

}  // namespace promptsweep::coordinator
