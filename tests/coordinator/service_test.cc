// Proves the gRPC face: calls travel, questions wait without holding a thread, shutting down with waiting questions takes seconds
// at most, a caller that hangs up frees its place, and the store is reached through the in-process channel of the same server.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"
#include "coordinator/store_client.h"
#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

// The store's service over a FakeStore: enough to prove GrpcStoreClient.
class TinyStore final : public v1::StoreService::Service {
 public:
  explicit TinyStore(std::shared_ptr<FakeStore> store) : client_(std::move(store)) {}
  std::atomic<int> refuse{0};  // that many calls are answered UNAVAILABLE first
  std::atomic<bool> hang{false};
  absl::Notification hanging;

  grpc::Status ListSweeps(grpc::ServerContext* context, const v1::ListSweepsRequest*, v1::ListSweepsResponse* response) override {
    if (Refuse(context)) return {grpc::StatusCode::UNAVAILABLE, "not yet"};
    const std::vector<v1::SweepInfo> sweeps = *client_.ListSweeps();
    for (const v1::SweepInfo& info : sweeps) *response->add_sweeps() = info;
    return grpc::Status::OK;
  }
  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest* request, v1::GetSweepResponse* response) override {
    const auto info = client_.GetSweep(request->sweep());
    if (info.ok()) *response->mutable_info() = *info;
    return ToGrpc(info.status());
  }
  grpc::Status CreateSweep(grpc::ServerContext*, const v1::CreateSweepRequest* request,
                           v1::CreateSweepResponse* response) override {
    *response = *client_.CreateSweep(request->manifest(), request->limits());
    return grpc::Status::OK;
  }
  grpc::Status SetSweepState(grpc::ServerContext* context, const v1::SetSweepStateRequest* request,
                             v1::SetSweepStateResponse*) override {
    if (Refuse(context)) return {grpc::StatusCode::UNAVAILABLE, "not now"};
    return ToGrpc(client_.SetSweepState(request->sweep(), request->state()));
  }
  grpc::Status GetCoverage(grpc::ServerContext*, const v1::GetCoverageRequest* request,
                           v1::GetCoverageResponse* response) override {
    const OrdinalSet done = *client_.GetCoverage(request->sweep());
    for (const auto& [begin, end] : done.intervals()) {
      if (end <= request->begin()) continue;
      if (response->done_size() == 2) {  // small pages
        response->set_next(begin);
        break;
      }
      response->add_done()->set_begin(begin);
      response->mutable_done(response->done_size() - 1)->set_end(end);
    }
    return grpc::Status::OK;
  }
  grpc::Status PutFailures(grpc::ServerContext*, const v1::PutFailuresRequest* request, v1::PutFailuresResponse*) override {
    return ToGrpc(client_.PutFailures(request->sweep(), {request->failures().begin(), request->failures().end()}));
  }
  grpc::Status ListFailures(grpc::ServerContext*, const v1::ListFailuresRequest* request,
                            v1::ListFailuresResponse* response) override {
    const OrdinalSet failed = *client_.ListFailures(request->sweep());
    for (const auto& [begin, end] : failed.intervals()) {
      for (uint64_t at = std::max(begin, request->begin()); at < end && response->next() == 0; ++at) {
        if (response->failures_size() == 2) {
          response->set_next(at);
        } else {
          response->add_failures()->set_ordinal(at);
        }
      }
    }
    return grpc::Status::OK;
  }
  grpc::Status ClearFailures(grpc::ServerContext*, const v1::ClearFailuresRequest* request,
                             v1::ClearFailuresResponse* response) override {
    response->set_cleared(*client_.ClearFailures(request->sweep(), {request->ordinals().begin(), request->ordinals().end()}));
    return grpc::Status::OK;
  }

 private:
  bool Refuse(grpc::ServerContext* context) {
    if (hang && !hanging.HasBeenNotified()) hanging.Notify();
    while (hang && !context->IsCancelled()) std::this_thread::yield();
    return refuse.fetch_sub(1) > 0 || (refuse = 0, false);
  }
  FakeStoreClient client_;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Coordinator::Options options;
    options.tick = absl::Milliseconds(50);
    options.state.store_retry = absl::Milliseconds(50);
    coordinator_ = std::make_unique<Coordinator>(options);
    workers_ = std::make_unique<CoordinatorServiceImpl>(coordinator_.get());
    sweeps_ = std::make_unique<SweepServiceImpl>(coordinator_.get());
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(workers_.get());
    builder.RegisterService(sweeps_.get());
    builder.RegisterService(&tiny_store_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    coordinator_->Start(
        std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(server_->InProcessChannel(InProcessArguments())),
                                          GrpcStoreClient::Options{.first_pause = absl::Milliseconds(5)}));
    ASSERT_TRUE(coordinator_->WaitUntilLoaded(absl::Seconds(20)));
    channel_ = *Connect(absl::StrCat("127.0.0.1:", port_), *InsecureRpc(false));
    stub_ = v1::CoordinatorService::NewStub(channel_);
    admin_ = v1::SweepService::NewStub(channel_);
  }
  void TearDown() override { Stop(); }
  void Stop() {
    tiny_store_.hang = false;
    coordinator_->Shutdown();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    server_->Wait();
  }

  uint64_t Join(const std::string& name) {
    grpc::ClientContext context;
    v1::RegisterWorkerRequest request;
    request.set_worker(name);
    for (const char* model : {"a", "e"}) *request.add_models() = Model(model);
    v1::RegisterWorkerResponse response;
    const grpc::Status status = stub_->RegisterWorker(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.lease_ttl().seconds(), 30);
    EXPECT_EQ(response.heartbeat_interval().seconds(), 5);
    return response.session();
  }
  grpc::Status Submit(const v1::SweepManifest& manifest, v1::SubmitSweepResponse* response) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = manifest;
    return admin_->SubmitSweep(&context, request, response);
  }
  struct Question {
    grpc::ClientContext context;
    v1::AcquireLeaseRequest request;
    v1::AcquireLeaseResponse response;
    grpc::Status status;
    absl::Notification answered;
  };
  std::unique_ptr<Question> Ask(uint64_t session, uint64_t sequence) {
    auto question = std::make_unique<Question>();
    SetTimeout(question->context, absl::Seconds(60));
    question->request.set_session(session);
    question->request.set_sequence(sequence);
    Question* raw = question.get();
    stub_->async()->AcquireLease(&raw->context, &raw->request, &raw->response, [raw](grpc::Status status) {
      raw->status = std::move(status);
      raw->answered.Notify();
    });
    return question;
  }

  // Until so many questions wait in the coordinator.
  void AwaitWaiting(size_t count) {
    const absl::Time give_up = absl::Now() + absl::Seconds(20);
    while (coordinator_->WaitingForTest() != count && absl::Now() < give_up) std::this_thread::yield();
    ASSERT_EQ(coordinator_->WaitingForTest(), count);
  }

  std::shared_ptr<FakeStore> store_ = std::make_shared<FakeStore>();
  TinyStore tiny_store_{store_};
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<CoordinatorServiceImpl> workers_;
  std::unique_ptr<SweepServiceImpl> sweeps_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::CoordinatorService::Stub> stub_;
  std::unique_ptr<v1::SweepService::Stub> admin_;
};

TEST_F(ServiceTest, ASweepRunsOverTheWire) {
  const uint64_t session = Join("w1");
  auto waiting = Ask(session, 1);
  v1::SubmitSweepResponse submitted;
  tiny_store_.refuse = 2;
  ASSERT_TRUE(Submit(Manifest("s", 10), &submitted).ok());
  ASSERT_TRUE(waiting->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
  ASSERT_TRUE(waiting->status.ok()) << waiting->status.error_message();
  ASSERT_TRUE(waiting->response.has_lease());
  EXPECT_EQ(waiting->response.lease().range().end(), 10u);
  store_->PutResults(submitted.sweep(), 0, 10);
  {
    grpc::ClientContext context;
    v1::ReportProgressRequest request;
    request.set_session(session);
    request.set_lease(waiting->response.lease().lease());
    request.set_sweep(submitted.sweep());
    request.add_stored()->set_end(10);
    request.set_finished(true);
    v1::ReportProgressResponse response;
    ASSERT_TRUE(stub_->ReportProgress(&context, request, &response).ok());
    EXPECT_TRUE(response.lease_valid());
  }
  // Idle is told as soon as the end is stored.
  bool idle = false;
  for (uint64_t sequence = 2; !idle && sequence < 20; ++sequence) {
    auto question = Ask(session, sequence);
    ASSERT_TRUE(question->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
    ASSERT_TRUE(question->status.ok());
    idle = question->response.idle();
  }
  EXPECT_TRUE(idle);
  EXPECT_EQ(store_->Get(1).info.state(), v1::SWEEP_STATE_DONE);
  grpc::ClientContext context;
  v1::ListSweepStatusResponse list;
  ASSERT_TRUE(admin_->ListSweepStatus(&context, {}, &list).ok());
  ASSERT_EQ(list.sweeps_size(), 1);
  EXPECT_EQ(list.sweeps(0).done(), 10u);
}

TEST_F(ServiceTest, Case41_ShutdownWithWaitingQuestionsTakesSeconds) {
  std::vector<std::unique_ptr<Question>> questions;
  for (int i = 0; i < 50; ++i) questions.push_back(Ask(Join(absl::StrCat("w", i)), 1));
  AwaitWaiting(50);
  const absl::Time start = absl::Now();
  Stop();
  EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  for (auto& question : questions) {
    ASSERT_TRUE(question->answered.WaitForNotificationWithTimeout(absl::Seconds(5)));
    EXPECT_EQ(question->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST_F(ServiceTest, Case41_ShutdownWithAStoreThatHangsTakesSeconds) {
  Join("w1");
  v1::SubmitSweepResponse submitted;
  ASSERT_TRUE(Submit(Manifest("s", 10), &submitted).ok());
  tiny_store_.hang = true;
  std::thread pausing([&] {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(60));
    v1::PauseSweepRequest request;
    request.set_sweep(1);
    v1::PauseSweepResponse response;
    EXPECT_EQ(admin_->PauseSweep(&context, request, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  });
  ASSERT_TRUE(tiny_store_.hanging.WaitForNotificationWithTimeout(absl::Seconds(20)));
  const absl::Time start = absl::Now();
  coordinator_->Shutdown();
  EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  pausing.join();
}

TEST_F(ServiceTest, Case42_ManyWaitingQuestionsDelayNobody) {
  std::vector<std::unique_ptr<Question>> questions;
  for (int i = 0; i < 200; ++i) questions.push_back(Ask(Join(absl::StrCat("w", i)), 1));
  AwaitWaiting(200);
  const uint64_t session = Join("busy");
  const absl::Time start = absl::Now();
  for (int i = 1; i <= 50; ++i) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(5));
    v1::HeartbeatRequest request;
    request.set_session(session);
    request.set_sequence(i);
    v1::HeartbeatResponse response;
    ASSERT_TRUE(stub_->Heartbeat(&context, request, &response).ok());
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(10)) << "50 heartbeats behind 200 waiting questions";
  for (auto& question : questions) question->context.TryCancel();
  for (auto& question : questions) ASSERT_TRUE(question->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
}

TEST_F(ServiceTest, ACallerThatHungUpTakesNoLease) {
  const uint64_t session = Join("w1");
  auto question = Ask(session, 1);
  AwaitWaiting(1);
  question->context.TryCancel();
  ASSERT_TRUE(question->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_EQ(question->status.error_code(), grpc::StatusCode::CANCELLED);
  AwaitWaiting(0);
  v1::SubmitSweepResponse submitted;
  ASSERT_TRUE(Submit(Manifest("s", 10), &submitted).ok());
  EXPECT_EQ(coordinator_->ListSweepStatus({})->sweeps(0).leased(), 0u);
  auto again = Ask(session, 1);
  ASSERT_TRUE(again->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_TRUE(again->response.has_lease());
}

TEST_F(ServiceTest, UnknownSweepsAndSessionsHaveTheirCodes) {
  grpc::ClientContext context;
  v1::GetSweepStatusRequest request;
  request.set_sweep(9);
  v1::GetSweepStatusResponse response;
  EXPECT_EQ(admin_->GetSweepStatus(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  auto question = Ask(12345, 1);
  ASSERT_TRUE(question->answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_EQ(question->status.error_code(), grpc::StatusCode::NOT_FOUND);
  v1::SubmitSweepResponse submitted;
  EXPECT_EQ(Submit({}, &submitted).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(StoreClientTest, RetriesWhatIsUnavailableAndNothingElse) {
  auto store = std::make_shared<FakeStore>();
  TinyStore service(store);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  const auto client = [&](int tries) {
    return std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(server->InProcessChannel(InProcessArguments())),
                                             GrpcStoreClient::Options{.tries = tries, .first_pause = absl::Milliseconds(1)});
  };
  service.refuse = 2;
  EXPECT_TRUE(client(3)->ListSweeps().ok());
  service.refuse = 3;
  EXPECT_EQ(client(3)->ListSweeps().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client(3)->GetSweep(7).status().code(), absl::StatusCode::kNotFound);
  auto stopped = client(3);
  stopped->Shutdown();
  EXPECT_EQ(stopped->ListSweeps().status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(client(1)->CreateSweep(Manifest("s", 10), {}).ok());
  for (uint64_t at : {0, 2, 4, 6, 9}) store->PutResults(1, at, at + 1);
  EXPECT_EQ(client(1)->GetCoverage(1)->intervals().size(), 5u) << "over several pages";
  std::vector<v1::FailureRecord> failures(4);
  for (int i = 0; i < 4; ++i) failures[i].set_ordinal(2 * i + 1);
  failures[3].set_ordinal(8);
  ASSERT_TRUE(client(1)->PutFailures(1, failures).ok());
  EXPECT_EQ(client(1)->ListFailures(1)->size(), 4u) << "over several pages";
  EXPECT_EQ(*client(1)->ClearFailures(1, {7, 8}), 1u);
  ASSERT_TRUE(client(1)->SetSweepState(1, v1::SWEEP_STATE_PAUSED).ok());
  EXPECT_EQ(client(1)->GetSweep(1)->state(), v1::SWEEP_STATE_PAUSED);
  server->Shutdown();
}

// Case 46: a client never pings oftener than the server allows.
static_assert(kClientKeepalive >= kServerMinPingInterval);

}  // namespace
}  // namespace promptsweep::coordinator
