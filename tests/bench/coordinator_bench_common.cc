#include "tests/bench/coordinator_bench_common.h"

#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "coordinator/store_client.h"
#include "tests/manifest.h"

namespace promptsweep::coordinator {
namespace {

// As the store on disk pages them.
constexpr int kPageRanges = 100'000;

template <typename Stub, typename Request, typename Response>
Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request) {
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(60));
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  PS_CHECK(status.ok()) << status.error_message();
  return response;
}

// One worker, on the thread that calls Run.
class BenchWorker {
 public:
  BenchWorker(const std::string& address, const std::string& name, const v1::SweepManifest& manifest, const BenchWork& work)
      : work_(work),
        channel_(OwnConnection(address)),
        workers_(v1::CoordinatorService::NewStub(channel_)),
        store_(v1::StoreService::NewStub(channel_)),
        session_(Join(*workers_, name, manifest)) {}

  // Until the coordinator has no more.
  void Run() {
    while (true) {
      v1::AcquireLeaseRequest request;
      request.set_session(session_);
      request.set_sequence(++questions_);
      request.set_loaded_model(model_);
      if (work_.tell_rate && busy_ > absl::ZeroDuration()) request.set_cells_per_second(cells_ / absl::ToDoubleSeconds(busy_));
      const absl::Time start = absl::Now();
      const auto answer = Call(*workers_, &v1::CoordinatorService::Stub::AcquireLease, request);
      ++calls_;
      if (answer.idle()) return;
      if (!answer.has_lease()) continue;
      acquire_times_.push_back(absl::Now() - start);
      model_ = answer.lease().model();
      Work(answer.lease());
    }
  }
  void AddTo(BenchRun& run) const {
    run.leases += acquire_times_.size();
    run.calls += calls_;
    run.acquire_times.insert(run.acquire_times.end(), acquire_times_.begin(), acquire_times_.end());
  }

 private:
  void Work(const v1::Lease& lease) {
    const absl::Time start = absl::Now();
    uint64_t end = lease.range().end();
    for (uint64_t at = lease.range().begin(); at < end;) {
      const uint64_t next = std::min(end, at + work_.batch);
      work_.put(*store_, lease.sweep(), at, next);
      v1::ReportProgressRequest request;
      request.set_session(session_);
      request.set_lease(lease.lease());
      request.set_sweep(lease.sweep());
      request.add_stored()->set_begin(at);
      request.mutable_stored(0)->set_end(next);
      request.set_finished(next == end);
      ++calls_;
      cells_ += static_cast<double>(next - at);
      at = next;
      if (!Call(*workers_, &v1::CoordinatorService::Stub::ReportProgress, request).lease_valid()) break;
      if (at < end && absl::Now() - last_beat_ > absl::Seconds(5)) end = std::max(at, Beat(lease, at, end));
    }
    busy_ += absl::Now() - start;
  }
  // The lease's end by now.
  uint64_t Beat(const v1::Lease& lease, uint64_t at, uint64_t end) {
    last_beat_ = absl::Now();
    v1::HeartbeatRequest request;
    request.set_session(session_);
    request.set_sequence(++beats_);
    request.set_acquired_sequence(questions_);
    request.set_loaded_model(model_);
    v1::HeldLease& held = *request.add_held();
    held.set_lease(lease.lease());
    held.set_sweep(lease.sweep());
    held.mutable_range()->set_begin(lease.range().begin());
    held.mutable_range()->set_end(end);
    held.set_current_ordinal(at);
    held.set_stored(at - lease.range().begin());
    ++calls_;
    const auto response = Call(*workers_, &v1::CoordinatorService::Stub::Heartbeat, request);
    for (const v1::LeaseCut& cut : response.cuts()) end = std::min(end, cut.end());
    return end;
  }

  const BenchWork& work_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::CoordinatorService::Stub> workers_;
  const std::unique_ptr<v1::StoreService::Stub> store_;
  const uint64_t session_;
  uint64_t questions_ = 0, beats_ = 0, calls_ = 0;
  std::string model_;
  double cells_ = 0;
  absl::Duration busy_;
  absl::Time last_beat_ = absl::Now();
  std::vector<absl::Duration> acquire_times_;
};

}  // namespace

v1::SweepManifest BenchManifest(const std::string& name, uint64_t cells, bool embedded) {
  std::vector<v1::ModelRef> embedders;
  if (embedded) embedders.push_back(TestModel("eye", "null-embed", Sha256Of("eye")));
  return TestManifest(name, {TestModel("toy", "null", Sha256Of("toy"))}, {"a cat"}, cells / 2, embedders);
}

std::shared_ptr<grpc::Channel> OwnConnection(const std::string& address) {
  grpc::ChannelArguments arguments = InProcessArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

uint64_t Join(v1::CoordinatorService::Stub& stub, const std::string& name, const v1::SweepManifest& manifest) {
  v1::RegisterWorkerRequest request;
  request.set_worker(name);
  *request.mutable_models() = manifest.models();
  request.mutable_models()->MergeFrom(manifest.embedders());
  return Call(stub, &v1::CoordinatorService::Stub::RegisterWorker, request).session();
}

absl::Duration ProcessorTime() {
  rusage usage;
  PS_CHECK(::getrusage(RUSAGE_SELF, &usage) == 0);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

grpc::Status MemoryStore::ListSweeps(grpc::ServerContext*, const v1::ListSweepsRequest*, v1::ListSweepsResponse* response) {
  const auto sweeps = client_.ListSweeps();
  for (const v1::SweepInfo& info : *sweeps) *response->add_sweeps() = info;
  return grpc::Status::OK;
}

grpc::Status MemoryStore::GetSweep(grpc::ServerContext*, const v1::GetSweepRequest* request, v1::GetSweepResponse* response) {
  const auto info = client_.GetSweep(request->sweep());
  if (info.ok()) *response->mutable_info() = *info;
  return ToGrpc(info.status());
}

grpc::Status MemoryStore::CreateSweep(grpc::ServerContext*, const v1::CreateSweepRequest* request,
                                      v1::CreateSweepResponse* response) {
  *response = *client_.CreateSweep(request->manifest(), request->limits());
  return grpc::Status::OK;
}

grpc::Status MemoryStore::SetSweepState(grpc::ServerContext*, const v1::SetSweepStateRequest* request,
                                        v1::SetSweepStateResponse*) {
  return ToGrpc(client_.SetSweepState(request->sweep(), request->state()));
}

grpc::Status MemoryStore::GetCoverage(grpc::ServerContext*, const v1::GetCoverageRequest* request,
                                      v1::GetCoverageResponse* response) {
  store_->With([&](auto& sweeps) {
    const auto& done = sweeps.at(request->sweep()).done.intervals();
    for (auto it = done.lower_bound(request->begin()); it != done.end(); ++it) {
      if (response->done_size() == kPageRanges) {
        response->set_next(it->first);
        break;
      }
      v1::OrdinalRange& range = *response->add_done();
      range.set_begin(it->first);
      range.set_end(it->second);
    }
    return 0;
  });
  return grpc::Status::OK;
}

grpc::Status MemoryStore::ListFailures(grpc::ServerContext*, const v1::ListFailuresRequest*, v1::ListFailuresResponse*) {
  return grpc::Status::OK;
}

BenchCluster::BenchCluster(Coordinator::Options options) {
  options.state.epoch = 0;
  options.restart_grace = absl::ZeroDuration();
  coordinator_ = std::make_unique<Coordinator>(std::move(options));
  workers_ = std::make_unique<CoordinatorServiceImpl>(coordinator_.get());
  sweeps_ = std::make_unique<SweepServiceImpl>(coordinator_.get());
}

std::unique_ptr<BenchCluster> BenchCluster::OnDisk(const std::string& folder, Coordinator::Options options) {
  std::unique_ptr<BenchCluster> cluster(new BenchCluster(std::move(options)));
  store::StoreHost::Options host;
  host.store.folder = folder;
  host.store.create_if_missing = true;
  host.address = "127.0.0.1:0";
  host.security = InsecureRpc(false);
  host.services = {cluster->workers_.get(), cluster->sweeps_.get()};
  host.before_shutdown = [coordinator = cluster->coordinator_.get()] { coordinator->Shutdown(); };
  auto started = store::StoreHost::Start(std::move(host));
  PS_CHECK(started.ok()) << started.status();
  cluster->host_ = *std::move(started);
  cluster->port_ = cluster->host_->port();
  cluster->Load(cluster->host_->InProcessChannel());
  return cluster;
}

std::unique_ptr<BenchCluster> BenchCluster::InMemory(std::shared_ptr<FakeStore> store, Coordinator::Options options) {
  std::unique_ptr<BenchCluster> cluster(new BenchCluster(std::move(options)));
  cluster->memory_ = std::make_unique<MemoryStore>(std::move(store));
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &cluster->port_);
  builder.RegisterService(cluster->workers_.get());
  builder.RegisterService(cluster->sweeps_.get());
  builder.RegisterService(cluster->memory_.get());
  cluster->server_ = builder.BuildAndStart();
  PS_CHECK(cluster->server_ != nullptr);
  cluster->Load(cluster->server_->InProcessChannel(InProcessArguments()));
  return cluster;
}

void BenchCluster::Load(const std::shared_ptr<grpc::Channel>& store) {
  const absl::Time start = absl::Now();
  coordinator_->Start(std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(store), GrpcStoreClient::Options{}));
  PS_CHECK(coordinator_->WaitUntilLoaded(absl::Minutes(5)));
  load_time_ = absl::Now() - start;
}

BenchCluster::~BenchCluster() {
  if (host_) host_->Shutdown();
  coordinator_->Shutdown();
  if (server_) {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    server_->Wait();
  }
}

std::string BenchCluster::address() const { return absl::StrCat("127.0.0.1:", port_); }

uint32_t BenchCluster::Submit(const v1::SweepManifest& manifest) {
  v1::SubmitSweepRequest request;
  *request.mutable_manifest() = manifest;
  absl::Notification done;
  uint32_t sweep = 0;
  coordinator_->SubmitSweep(request, [&](absl::StatusOr<v1::SubmitSweepResponse> response) {
    PS_CHECK(response.ok()) << response.status();
    sweep = response->sweep();
    done.Notify();
  });
  done.WaitForNotification();
  return sweep;
}

void BenchCluster::Pause(uint32_t sweep) {
  v1::PauseSweepRequest request;
  request.set_sweep(sweep);
  absl::Notification done;
  coordinator_->PauseSweep(request, [&](absl::StatusOr<v1::PauseSweepResponse> response) {
    PS_CHECK(response.ok()) << response.status();
    done.Notify();
  });
  done.WaitForNotification();
}

v1::SweepStatus BenchCluster::Status(uint32_t sweep) {
  v1::GetSweepStatusRequest request;
  request.set_sweep(sweep);
  const auto response = coordinator_->GetSweepStatus(request);
  PS_CHECK(response.ok()) << response.status();
  return response->status();
}

BenchRun RunToTheEnd(BenchCluster& cluster, uint32_t sweep, const v1::SweepManifest& manifest, const BenchWork& work) {
  std::vector<std::unique_ptr<BenchWorker>> workers;
  for (int i = 0; i < work.workers; ++i) {
    workers.push_back(std::make_unique<BenchWorker>(cluster.address(), absl::StrCat("bench-", i), manifest, work));
  }
  BenchRun run;
  const absl::Time start = absl::Now();
  const absl::Duration processor = ProcessorTime();
  std::vector<std::thread> threads;
  for (auto& worker : workers) threads.emplace_back([&worker] { worker->Run(); });
  while (cluster.Status(sweep).state() != v1::SWEEP_STATE_DONE) absl::SleepFor(absl::Milliseconds(5));
  run.time = absl::Now() - start;
  run.processor_time = ProcessorTime() - processor;
  for (std::thread& thread : threads) thread.join();
  for (const auto& worker : workers) worker->AddTo(run);
  PS_CHECK(cluster.Status(sweep).done() == manifest.cell_count());
  return run;
}

}  // namespace promptsweep::coordinator
