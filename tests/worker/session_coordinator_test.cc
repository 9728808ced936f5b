// Proves that a worker's session and the real coordinator agree on who holds what when replies to AcquireLease are lost or
// spoilt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "base/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/fake_store_client.h"
#include "tests/coordinator/bench.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/session.h"

namespace promptsweep::worker {
namespace {

// Hands calls to a coordinator; replies to AcquireLease can be lost or spoilt after it granted.
class Wire final : public v1::CoordinatorService::Service {
 public:
  explicit Wire(coordinator::Coordinator* coordinator) : coordinator_(*coordinator) {}
  int lose = 0;   // replies to come
  int spoil = 0;  // likewise: the range arrives empty

  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override {
    return Give(coordinator_.RegisterWorker(*request), response);
  }
  grpc::Status AcquireLease(grpc::ServerContext*, const v1::AcquireLeaseRequest* request,
                            v1::AcquireLeaseResponse* response) override {
    absl::Notification answered;
    absl::StatusOr<v1::AcquireLeaseResponse> answer;
    coordinator_.AcquireLease(*request, &answered, [&](absl::StatusOr<v1::AcquireLeaseResponse> got) {
      answer = std::move(got);
      answered.Notify();
    });
    answered.WaitForNotification();
    if (lose > 0 && lose-- > 0) return {grpc::StatusCode::UNAVAILABLE, "the reply was lost"};
    if (answer.ok() && spoil > 0 && spoil-- > 0) answer->mutable_lease()->mutable_range()->set_end(0);
    return Give(std::move(answer), response);
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request, v1::HeartbeatResponse* response) override {
    return Give(coordinator_.Heartbeat(*request), response);
  }

 private:
  template <typename Response>
  static grpc::Status Give(absl::StatusOr<Response> result, Response* response) {
    if (result.ok()) *response = *std::move(result);
    return ToGrpc(result.status());
  }
  coordinator::Coordinator& coordinator_;
};

class SessionCoordinatorTest : public coordinator::Bench {
 protected:
  SessionCoordinatorTest() {
    Start();
    Submit(coordinator::Manifest("s", 1000));
    wire_ = std::make_unique<Wire>(coordinator_.get());
    server_ = std::make_unique<FakeServer>(std::vector<grpc::Service*>{wire_.get()});
    stub_ = server_->coordinator();
    Session::Options options;
    options.coordinator = stub_.get();
    options.worker = "w";
    options.models = {coordinator::Model("a"), coordinator::Model("e")};
    options.clock = &clock_;
    session_ = std::make_unique<Session>(options);
    EXPECT_TRUE(session_->Connect(absl::Seconds(5)).ok());
  }
  uint64_t Leased() {
    Settle();
    return Status(1).leased();
  }

  std::unique_ptr<Wire> wire_;
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<v1::CoordinatorService::Stub> stub_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionCoordinatorTest, ALeaseWhoseReplyWasLostIsKeptAndDeliveredAgain) {
  wire_->lose = 1;
  EXPECT_EQ(session_->Acquire().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Leased(), 64u);
  EXPECT_TRUE(session_->HeartbeatOnce().ok());
  EXPECT_EQ(Leased(), 64u) << "the heartbeat says that the reply has not been seen: it may be on its way";
  const auto acquired = session_->Acquire();
  ASSERT_TRUE(acquired.ok() && acquired->lease.has_value());
  EXPECT_EQ(acquired->lease->range().begin(), 0u);
  EXPECT_EQ(Leased(), 64u) << "no second lease was granted";
  EXPECT_TRUE(session_->HeartbeatOnce().ok());
  EXPECT_TRUE(session_->Holds(acquired->lease->lease()));
}

TEST_F(SessionCoordinatorTest, ALeaseThatTheWorkerSawAndDoesNotHoldIsFreeAtItsNextHeartbeat) {
  wire_->spoil = 1;
  EXPECT_EQ(session_->Acquire().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Leased(), 64u);
  EXPECT_TRUE(session_->HeartbeatOnce().ok());
  EXPECT_EQ(Leased(), 0u) << "no need to wait for the ttl";
  const auto acquired = session_->Acquire();
  ASSERT_TRUE(acquired.ok() && acquired->lease.has_value());
  EXPECT_EQ(acquired->lease->range().begin(), 0u);
  EXPECT_EQ(acquired->lease->attempt(), 1u) << "nobody was blamed";
}

}  // namespace
}  // namespace promptsweep::worker
