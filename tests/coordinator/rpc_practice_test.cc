// Proves that one server with the real store and the coordinator keeps its manners: a disk that hangs delays no heartbeat
// however many operators wait for it, shutting down takes seconds whatever is half open, and a message that is too large costs
// its sender one call.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"
#include "coordinator/store_client.h"
#include "store/host.h"
#include "tests/store/fixture.h"
#include "tests/store/gated_fs.h"

namespace promptsweep::coordinator {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

// A call that runs on gRPC's threads.
template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
  grpc::Status status;
  absl::Notification answered;

  template <typename Async>
  void Start(Async* async,
             void (Async::*method)(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>)) {
    SetTimeout(context, 2 * kPatience);
    (async->*method)(&context, &request, &response, [this](grpc::Status got) {
      status = std::move(got);
      answered.Notify();
    });
  }
};
using Poll = Call<v1::AcquireLeaseRequest, v1::AcquireLeaseResponse>;

class RpcPracticeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Coordinator::Options options;
    options.restart_grace = absl::ZeroDuration();
    options.max_poll = absl::Minutes(5);
    coordinator_ = std::make_unique<Coordinator>(options);
    worker_service_ = std::make_unique<CoordinatorServiceImpl>(coordinator_.get());
    sweep_service_ = std::make_unique<SweepServiceImpl>(coordinator_.get());
    store::StoreHost::Options host;
    host.store.folder = folder_.path("store");
    host.store.create_if_missing = true;
    host.store.ballast_bytes = 0;
    host.store.file_system = disk_;
    host.address = "127.0.0.1:0";
    host.security = InsecureRpc(false);
    host.services = {worker_service_.get(), sweep_service_.get()};
    host.before_shutdown = [this] { coordinator_->Shutdown(); };
    auto started = store::StoreHost::Start(std::move(host));
    ASSERT_TRUE(started.ok()) << started.status();
    host_ = *std::move(started);
    coordinator_->Start(
        std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(host_->InProcessChannel()), GrpcStoreClient::Options{}));
    ASSERT_TRUE(coordinator_->WaitUntilLoaded(kPatience));
    channel_ = *Connect(absl::StrCat("127.0.0.1:", host_->port()), *InsecureRpc(false));
    workers_ = v1::CoordinatorService::NewStub(channel_);
    sweeps_ = v1::SweepService::NewStub(channel_);
    results_ = v1::StoreService::NewStub(channel_);
  }
  void TearDown() override {
    disk_->Open();
    if (host_) host_->Shutdown();
  }

  template <typename Stub, typename Request, typename Response>
  static grpc::Status Try(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                          const Request& request, Response* response) {
    grpc::ClientContext context;
    SetTimeout(context, kPatience);
    return (stub.*method)(&context, request, response);
  }
  uint32_t Submit(const v1::SweepManifest& manifest) {
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = manifest;
    v1::SubmitSweepResponse response;
    const grpc::Status status = Try(*sweeps_, &v1::SweepService::Stub::SubmitSweep, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.sweep();
  }
  uint64_t Join(const std::string& name) {
    v1::RegisterWorkerRequest request;
    request.set_worker(name);
    *request.mutable_models() = manifest_.models();
    request.mutable_models()->MergeFrom(manifest_.embedders());
    v1::RegisterWorkerResponse response;
    const grpc::Status status = Try(*workers_, &v1::CoordinatorService::Stub::RegisterWorker, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.session();
  }
  std::unique_ptr<Poll> Ask(uint64_t session) {
    auto poll = std::make_unique<Poll>();
    poll->request.set_session(session);
    poll->request.set_sequence(1);
    poll->Start(workers_->async(), &v1::CoordinatorService::Stub::async::AcquireLease);
    return poll;
  }
  void AwaitWaiting(size_t count) {
    const absl::Time give_up = absl::Now() + kPatience;
    while (coordinator_->WaitingForTest() != count && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_EQ(coordinator_->WaitingForTest(), count);
  }
  absl::Duration Beat(uint64_t session, uint64_t sequence) {
    v1::HeartbeatRequest request;
    request.set_session(session);
    request.set_sequence(sequence);
    v1::HeartbeatResponse response;
    const absl::Time start = absl::Now();
    const grpc::Status status = Try(*workers_, &v1::CoordinatorService::Stub::Heartbeat, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.command(), v1::WORKER_COMMAND_UNSPECIFIED);
    return absl::Now() - start;
  }

  store::TempFolder folder_;
  std::shared_ptr<store::GatedFs> disk_ = std::make_shared<store::GatedFs>();
  const v1::SweepManifest manifest_ = store::MakeManifest("first", 1000);
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<CoordinatorServiceImpl> worker_service_;
  std::unique_ptr<SweepServiceImpl> sweep_service_;
  std::unique_ptr<store::StoreHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::CoordinatorService::Stub> workers_;
  std::unique_ptr<v1::SweepService::Stub> sweeps_;
  std::unique_ptr<v1::StoreService::Stub> results_;
};

TEST_F(RpcPracticeTest, Case42_AHangingDiskWithOperatorsBehindItDelaysNoHeartbeat) {
  const uint32_t sweep = Submit(manifest_);
  std::vector<uint64_t> sessions;
  for (int i = 0; i < 8; ++i) sessions.push_back(Join(absl::StrCat("w", i)));
  disk_->Close();
  std::vector<std::unique_ptr<Call<v1::SubmitSweepRequest, v1::SubmitSweepResponse>>> submits;
  std::vector<std::unique_ptr<Call<v1::PauseSweepRequest, v1::PauseSweepResponse>>> pauses;
  std::vector<std::unique_ptr<Call<v1::ResumeSweepRequest, v1::ResumeSweepResponse>>> resumes;
  std::vector<std::unique_ptr<Call<v1::SetLimitsRequest, v1::SetLimitsResponse>>> limits;
  const auto add = [&](auto& calls) -> auto& {
    calls.push_back(std::make_unique<typename std::decay_t<decltype(calls)>::value_type::element_type>());
    return *calls.back();
  };
  for (int i = 0; i < 16; ++i) {
    auto& submit = add(submits);
    *submit.request.mutable_manifest() = store::MakeManifest(absl::StrCat("more", i), 10);
    submit.Start(sweeps_->async(), &v1::SweepService::Stub::async::SubmitSweep);
    if (i == 0) disk_->AwaitHeld();
    auto& pause = add(pauses);
    pause.request.set_sweep(sweep);
    pause.Start(sweeps_->async(), &v1::SweepService::Stub::async::PauseSweep);
    auto& resume = add(resumes);
    resume.request.set_sweep(sweep);
    resume.Start(sweeps_->async(), &v1::SweepService::Stub::async::ResumeSweep);
    auto& limit = add(limits);
    limit.request.set_sweep(sweep);
    limit.request.mutable_limits()->set_priority(i);
    limit.Start(sweeps_->async(), &v1::SweepService::Stub::async::SetLimits);
  }
  // Results wait for the disk, too.
  const sweep::Plan plan = store::MakePlan(manifest_);
  std::vector<std::unique_ptr<Call<v1::PutResultsRequest, v1::PutResultsResponse>>> puts;
  for (uint64_t i = 0; i < 8; ++i) {
    auto& put = add(puts);
    put.request = store::MakePut(sweep, {store::MakeResult(plan, i)});
    put.Start(results_->async(), &v1::StoreService::Stub::async::PutResults);
  }

  absl::Duration slowest = absl::ZeroDuration();
  int beats = 0;
  for (const absl::Time end = absl::Now() + absl::Seconds(3); absl::Now() < end; ++beats) {
    slowest = std::max(slowest, Beat(sessions[beats % sessions.size()], beats + 1));
  }
  EXPECT_GT(beats, 50);
  EXPECT_LT(slowest, absl::Milliseconds(500));
  const auto answered = [](const auto& calls) {
    return std::count_if(calls.begin(), calls.end(), [](const auto& call) { return call->answered.HasBeenNotified(); });
  };
  EXPECT_EQ(answered(submits) + answered(pauses) + answered(resumes) + answered(limits) + answered(puts), 0);

  disk_->Open();
  const auto expect_done = [](const auto& calls) {
    for (const auto& call : calls) {
      ASSERT_TRUE(call->answered.WaitForNotificationWithTimeout(kPatience));
      EXPECT_TRUE(call->status.ok()) << call->status.error_message();
    }
  };
  expect_done(submits);
  expect_done(pauses);
  expect_done(resumes);
  expect_done(limits);
  expect_done(puts);
}

TEST_F(RpcPracticeTest, Case37_DeletingALargeSweepDelaysNoHeartbeat) {
  constexpr uint64_t kCells = 20'000;
  const v1::SweepManifest large = store::MakeManifest("large", kCells);
  const uint32_t sweep = Submit(large);
  const sweep::Plan plan = store::MakePlan(large);
  for (uint64_t at = 0; at < kCells; at += 500) {
    std::vector<v1::Result> results;
    for (uint64_t i = at; i < at + 500; ++i) results.push_back(store::MakeResult(plan, i, 2000));
    v1::PutResultsResponse response;
    ASSERT_TRUE(Try(*results_, &v1::StoreService::Stub::PutResults, store::MakePut(sweep, results), &response).ok());
  }
  v1::CancelSweepRequest cancel;
  cancel.set_sweep(sweep);
  v1::CancelSweepResponse cancelled;
  ASSERT_TRUE(Try(*sweeps_, &v1::SweepService::Stub::CancelSweep, cancel, &cancelled).ok());
  const uint32_t other = Submit(manifest_);
  const uint64_t session = Join("w");
  Call<v1::DeleteSweepRequest, v1::DeleteSweepResponse> remove;
  remove.request.set_sweep(sweep);
  remove.Start(results_->async(), &v1::StoreService::Stub::async::DeleteSweep);
  absl::Duration slowest = absl::ZeroDuration();
  uint64_t beats = 0;
  const sweep::Plan small = store::MakePlan(manifest_);
  while (!remove.answered.HasBeenNotified()) {
    slowest = std::max(slowest, Beat(session, ++beats));
    // Results of other sweeps go on, too.
    v1::PutResultsResponse response;
    const auto put = store::MakePut(other, {store::MakeResult(small, beats % 1000)});
    EXPECT_TRUE(Try(*results_, &v1::StoreService::Stub::PutResults, put, &response).ok());
  }
  ASSERT_TRUE(remove.status.ok()) << remove.status.error_message();
  EXPECT_EQ(remove.response.results(), kCells);
  EXPECT_GT(beats, 5u);
  EXPECT_LT(slowest, absl::Milliseconds(500));
}

TEST_F(RpcPracticeTest, Case41_ShutdownWithEverythingHalfOpenTakesSeconds) {
  const uint32_t sweep = Submit(manifest_);
  const sweep::Plan plan = store::MakePlan(manifest_);
  for (uint64_t begin = 0; begin < 500; begin += 100) {
    std::vector<v1::Result> rows;
    for (uint64_t i = begin; i < begin + 100; ++i) rows.push_back(store::MakeResult(plan, i, 10'000));
    v1::PutResultsResponse response;
    const auto put = store::MakePut(sweep, std::move(rows));
    ASSERT_TRUE(Try(*results_, &v1::StoreService::Stub::PutResults, put, &response).ok());
  }
  v1::PauseSweepRequest pause;
  pause.set_sweep(sweep);
  v1::PauseSweepResponse paused;
  ASSERT_TRUE(Try(*sweeps_, &v1::SweepService::Stub::PauseSweep, pause, &paused).ok());

  std::vector<std::unique_ptr<Poll>> polls;
  for (int i = 0; i < 100; ++i) polls.push_back(Ask(Join(absl::StrCat("w", i))));
  AwaitWaiting(100);
  // A stream that nobody reads further, of more than flow control lets out unread.
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  grpc::ClientContext reading;
  auto reader = results_->GetResults(&reading, request);
  v1::GetResultsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  // A put whose message never comes, on a connection of its own.
  auto other = Connect(absl::StrCat("localhost:", host_->port()), *InsecureRpc(false));
  ASSERT_TRUE(other.ok());
  grpc::GenericStub generic(*other);
  grpc::ClientContext putting;
  grpc::CompletionQueue queue;
  auto put = generic.PrepareCall(&putting, "/promptsweep.v1.StoreService/PutResults", &queue);
  put->StartCall(&putting);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(ok);

  const absl::Time start = absl::Now();
  host_->Shutdown();
  EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  for (auto& poll : polls) {
    ASSERT_TRUE(poll->answered.WaitForNotificationWithTimeout(kPatience));
    EXPECT_EQ(poll->status.error_code(), grpc::StatusCode::UNAVAILABLE) << poll->status.error_message();
  }
  bool complete = false;
  while (reader->Read(&message)) complete = complete || message.has_trailer();
  EXPECT_FALSE(complete);
  EXPECT_FALSE(reader->Finish().ok());
  grpc::Status status;
  put->Finish(&status, &putting);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(status.ok());
}

TEST_F(RpcPracticeTest, Case43_AMessageThatIsTooLargeCostsOneCallAndNotTheConnection) {
  const uint32_t sweep = Submit(manifest_);
  v1::PauseSweepRequest pause;
  pause.set_sweep(sweep);
  v1::PauseSweepResponse paused;
  ASSERT_TRUE(Try(*sweeps_, &v1::SweepService::Stub::PauseSweep, pause, &paused).ok());
  const uint64_t session = Join("patient");
  auto poll = Ask(session);
  AwaitWaiting(1);

  const std::string huge(kMaxMessageBytes + 1, 'x');
  v1::RegisterWorkerRequest worker;
  worker.set_worker("big");
  worker.set_device(huge);
  v1::RegisterWorkerResponse registered;
  EXPECT_EQ(Try(*workers_, &v1::CoordinatorService::Stub::RegisterWorker, worker, &registered).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::HeartbeatRequest beat;
  beat.set_session(session);
  beat.set_sequence(1);
  beat.set_loaded_model(huge);
  v1::HeartbeatResponse answer;
  EXPECT_EQ(Try(*workers_, &v1::CoordinatorService::Stub::Heartbeat, beat, &answer).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::SubmitSweepRequest submit;
  *submit.mutable_manifest() = store::MakeManifest("big", 10);
  submit.mutable_manifest()->mutable_spec()->set_images(huge);
  v1::SubmitSweepResponse submitted;
  EXPECT_EQ(Try(*sweeps_, &v1::SweepService::Stub::SubmitSweep, submit, &submitted).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);

  // The question that waited on the same connection still does, and is answered.
  EXPECT_FALSE(poll->answered.HasBeenNotified());
  EXPECT_LT(Beat(session, 1), kPatience);
  v1::ResumeSweepRequest resume;
  resume.set_sweep(sweep);
  v1::ResumeSweepResponse resumed;
  ASSERT_TRUE(Try(*sweeps_, &v1::SweepService::Stub::ResumeSweep, resume, &resumed).ok());
  ASSERT_TRUE(poll->answered.WaitForNotificationWithTimeout(kPatience));
  EXPECT_TRUE(poll->status.ok()) << poll->status.error_message();
  EXPECT_EQ(poll->response.lease().sweep(), sweep);
}

}  // namespace
}  // namespace promptsweep::coordinator
