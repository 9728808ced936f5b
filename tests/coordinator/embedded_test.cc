// Proves that the coordinator and the real store work in one server: the coordinator's calls go over the in-process channel, what
// it decides is on disk, and a new process over the same folder goes on where the last one was killed.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"
#include "coordinator/store_client.h"
#include "store/host.h"
#include "tests/store/fixture.h"

namespace promptsweep::coordinator {
namespace {

class EmbeddedTest : public ::testing::Test {
 protected:
  EmbeddedTest() { spdlog::set_level(spdlog::level::off); }

  // What `promptsweep run` hosts.
  struct Process {
    explicit Process(const std::string& folder) : coordinator(MakeOptions()), workers(&coordinator), sweeps(&coordinator) {
      store::StoreHost::Options options;
      options.store.folder = folder;
      options.store.create_if_missing = true;
      options.address = "127.0.0.1:0";
      options.security = InsecureRpc(false);
      options.services = {&workers, &sweeps};
      options.before_shutdown = [this] { coordinator.Shutdown(); };
      auto started = store::StoreHost::Start(std::move(options));
      PS_CHECK(started.ok()) << started.status();
      host = *std::move(started);
      coordinator.Start(
          std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(host->InProcessChannel()), GrpcStoreClient::Options{}));
      PS_CHECK(coordinator.WaitUntilLoaded(absl::Seconds(20)));
      channel = *Connect(absl::StrCat("127.0.0.1:", host->port()), *InsecureRpc(false));
      worker = v1::CoordinatorService::NewStub(channel);
      admin = v1::SweepService::NewStub(channel);
      results = v1::StoreService::NewStub(channel);
    }
    static Coordinator::Options MakeOptions() {
      Coordinator::Options options;
      options.state.epoch = 0;
      options.restart_grace = absl::ZeroDuration();
      options.tick = absl::Milliseconds(20);
      options.idle_poll = absl::Milliseconds(20);
      return options;
    }
    Coordinator coordinator;
    CoordinatorServiceImpl workers;
    SweepServiceImpl sweeps;
    std::unique_ptr<store::StoreHost> host;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::CoordinatorService::Stub> worker;
    std::unique_ptr<v1::SweepService::Stub> admin;
    std::unique_ptr<v1::StoreService::Stub> results;
  };

  template <typename Stub, typename Request, typename Response>
  static Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                       const Request& request) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(30));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  static uint32_t Submit(Process& process, const v1::SweepManifest& manifest) {
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = manifest;
    return Call(*process.admin, &v1::SweepService::Stub::SubmitSweep, request).sweep();
  }
  static uint64_t Join(Process& process, const v1::SweepManifest& manifest) {
    v1::RegisterWorkerRequest request;
    request.set_worker("w1");
    for (const v1::ModelRef& model : manifest.models()) *request.add_models() = model;
    for (const v1::ModelRef& model : manifest.embedders()) *request.add_models() = model;
    return Call(*process.worker, &v1::CoordinatorService::Stub::RegisterWorker, request).session();
  }
  // Runs what is granted until every sweep ended or `cells` were stored; the ordinals of `bad` fail for good.
  static uint64_t Work(Process& process, const v1::SweepManifest& manifest, const std::vector<uint64_t>& bad,
                       uint64_t cells = UINT64_MAX) {
    const sweep::Plan plan = *sweep::Plan::FromManifest(manifest);
    const uint64_t session = Join(process, manifest);
    uint64_t stored = 0;
    for (uint64_t sequence = 1; stored < cells; ++sequence) {
      v1::AcquireLeaseRequest ask;
      ask.set_session(session);
      ask.set_sequence(sequence);
      const v1::AcquireLeaseResponse answer = Call(*process.worker, &v1::CoordinatorService::Stub::AcquireLease, ask);
      if (answer.idle()) break;
      if (!answer.has_lease()) continue;
      v1::PutResultsRequest put;
      put.set_sweep(answer.lease().sweep());
      put.mutable_provenance()->set_worker("w1");
      v1::ReportProgressRequest report;
      report.set_session(session);
      report.set_lease(answer.lease().lease());
      report.set_sweep(answer.lease().sweep());
      for (uint64_t at = answer.lease().range().begin(); at < answer.lease().range().end() && stored < cells; ++at) {
        if (std::count(answer.lease().skip().begin(), answer.lease().skip().end(), at) > 0) continue;
        if (std::count(bad.begin(), bad.end(), at) > 0) {
          v1::CellFailure& failure = *report.add_failures();
          failure.set_ordinal(at);
          failure.set_error("cannot be made");
          failure.set_final(true);
          continue;
        }
        *put.add_results() = store::MakeResult(plan, at);
        report.add_stored()->set_begin(at);
        report.mutable_stored(report.stored_size() - 1)->set_end(at + 1);
        ++stored;
      }
      const v1::PutResultsResponse stored_now = Call(*process.results, &v1::StoreService::Stub::PutResults, put);
      for (const v1::PutOutcome& outcome : stored_now.outcomes()) {
        EXPECT_EQ(outcome.code(), v1::PutOutcome::CODE_STORED) << outcome.ordinal() << " was run twice: " << outcome.reason();
      }
      if (stored == cells) break;  // killed before it could report
      report.set_finished(true);
      Call(*process.worker, &v1::CoordinatorService::Stub::ReportProgress, report);
    }
    return stored;
  }
  static v1::SweepInfo Stored(Process& process, uint32_t sweep) {
    v1::GetSweepRequest request;
    request.set_sweep(sweep);
    return Call(*process.results, &v1::StoreService::Stub::GetSweep, request).info();
  }

  store::TempFolder folder_;
};

TEST_F(EmbeddedTest, RunsFailsRetriesAndEnds) {
  Process process(folder_.path("store"));
  const v1::SweepManifest manifest = store::MakeManifest("s", 50);
  const uint32_t sweep = Submit(process, manifest);
  EXPECT_EQ(Work(process, manifest, {7, 50}), 98u);
  v1::SweepInfo info = Stored(process, sweep);
  EXPECT_EQ(info.state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(info.counts().done(), 98u);
  EXPECT_EQ(info.counts().failed(), 2u);
  v1::RetryFailedRequest retry;
  retry.set_sweep(sweep);
  EXPECT_EQ(Call(*process.admin, &v1::SweepService::Stub::RetryFailed, retry).retried(), 2u);
  EXPECT_EQ(Work(process, manifest, {}), 2u);
  info = Stored(process, sweep);
  EXPECT_EQ(info.state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(info.counts().done(), 100u);
  EXPECT_EQ(info.counts().failed(), 0u);
}

TEST_F(EmbeddedTest, GoesOnAfterAKillWithoutRunningACellTwice) {
  const v1::SweepManifest manifest = store::MakeManifest("s", 100);
  uint64_t stored = 0;
  for (uint64_t part : {30, 1, 90}) {
    Process process(folder_.path("store"));
    EXPECT_EQ(Submit(process, manifest), 1u);
    stored += Work(process, manifest, {3}, part);
  }
  Process process(folder_.path("store"));
  stored += Work(process, manifest, {3});
  EXPECT_EQ(stored, 199u);
  EXPECT_EQ(Stored(process, 1).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(Stored(process, 1).counts().done(), 199u);
}

TEST_F(EmbeddedTest, AnEndedSweepSubmittedAgainIsIdleAtOnce) {
  const v1::SweepManifest manifest = store::MakeManifest("s", 10);
  for (uint64_t expected : {20, 0}) {
    Process process(folder_.path("store"));
    EXPECT_EQ(Submit(process, manifest), 1u);
    EXPECT_EQ(Work(process, manifest, {}), expected);
    EXPECT_EQ(Stored(process, 1).state(), v1::SWEEP_STATE_DONE);
  }
}

TEST_F(EmbeddedTest, ADeletedSweepSubmittedAgainIsANewOne) {
  Process process(folder_.path("store"));
  const v1::SweepManifest manifest = store::MakeManifest("deleted", 2);
  const uint32_t sweep = Submit(process, manifest);
  v1::DeleteSweepRequest remove;
  remove.set_sweep(sweep);
  v1::DeleteSweepResponse removed;
  grpc::ClientContext running;
  EXPECT_EQ(process.results->DeleteSweep(&running, remove, &removed).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::CancelSweepRequest cancel;
  cancel.set_sweep(sweep);
  Call(*process.admin, &v1::SweepService::Stub::CancelSweep, cancel);
  Call(*process.results, &v1::StoreService::Stub::DeleteSweep, remove);
  const uint32_t again = Submit(process, manifest);
  EXPECT_GT(again, sweep);
  v1::GetSweepRequest get;
  get.set_sweep(again);
  EXPECT_EQ(Call(*process.results, &v1::StoreService::Stub::GetSweep, get).info().state(), v1::SWEEP_STATE_RUNNING);
}

TEST_F(EmbeddedTest, Case57_AnotherSweepOfTheSameNameIsRefusedWhileTheFirstRuns) {
  Process process(folder_.path("store"));
  Submit(process, store::MakeManifest("s", 10));
  grpc::ClientContext context;
  v1::SubmitSweepRequest request;
  *request.mutable_manifest() = store::MakeManifest("s", 11);
  v1::SubmitSweepResponse response;
  EXPECT_EQ(process.admin->SubmitSweep(&context, request, &response).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

}  // namespace
}  // namespace promptsweep::coordinator
