// Proves the keepalive of both sides over real connections: an idle client is never told that it pings too often, and a
// connection that has silently died ends its waiting calls within 30 s and a little.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/rpc.h"
#include "tests/store/tcp_proxy.h"

namespace promptsweep {
namespace {

// Answers "peer" with the caller's address at once, and "wait" never.
class Echo final : public grpc::CallbackGenericService {
 public:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(grpc::GenericCallbackServerContext* context) : context_(context) {
      const std::string peer = context->peer();
      const grpc::Slice slice(peer);
      reply_ = grpc::ByteBuffer(&slice, 1);
      if (context->method() == "/wait") return;
      StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnCancel() override {
      if (context_->method() == "/wait") Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    grpc::GenericCallbackServerContext* const context_;
    grpc::ByteBuffer reply_;
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Reactor(context);
  }
};

class KeepaliveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.AddListeningPort("127.0.0.1:0", InsecureRpc(false)->ServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&echo_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override { server_->Shutdown(std::chrono::system_clock::now()); }

  // A call and its reply; no deadline: nothing but the connection ends it.
  static grpc::Status Ask(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, std::string* reply) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    const grpc::Slice nothing;
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    absl::Notification answered;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response, [&](grpc::Status got) {
      status = std::move(got);
      answered.Notify();
    });
    answered.WaitForNotification();
    grpc::Slice slice;
    if (status.ok() && response.DumpToSingleSlice(&slice).ok()) {
      reply->assign(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    return status;
  }

  Echo echo_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(KeepaliveTest, Case46_TwoIdleWindowsKeepOneConnection) {
  const auto channel = Connect(absl::StrCat("127.0.0.1:", port_), *InsecureRpc(false));
  ASSERT_TRUE(channel.ok()) << channel.status();
  std::string before, after;
  ASSERT_TRUE(Ask(*channel, "/peer", &before).ok());
  ASSERT_EQ((*channel)->GetState(false), GRPC_CHANNEL_READY);
  const auto end = std::chrono::system_clock::now() + absl::ToChronoMilliseconds(2 * kClientKeepalive + absl::Seconds(3));
  EXPECT_FALSE((*channel)->WaitForStateChange(GRPC_CHANNEL_READY, end)) << "the server hung up";
  const grpc::Status status = Ask(*channel, "/peer", &after);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(before, after) << "the same connection";
}

TEST_F(KeepaliveTest, Case49_ADeadConnectionEndsItsWaitingCalls) {
  store::TcpProxy proxy(port_);
  const auto channel = Connect(absl::StrCat("127.0.0.1:", proxy.port()), *InsecureRpc(false));
  ASSERT_TRUE(channel.ok()) << channel.status();
  std::string peer;
  ASSERT_TRUE(Ask(*channel, "/peer", &peer).ok());
  proxy.SetMode(store::TcpProxy::Mode::kHold);
  const absl::Time start = absl::Now();
  const grpc::Status status = Ask(*channel, "/wait", &peer);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_LT(absl::Now() - start, absl::Seconds(35));
  // And a new one is made once the network is back.
  proxy.Cut();
  proxy.SetMode(store::TcpProxy::Mode::kForward);
  grpc::Status again = Ask(*channel, "/peer", &peer);
  for (int i = 0; i < 100 && !again.ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    again = Ask(*channel, "/peer", &peer);
  }
  EXPECT_TRUE(again.ok()) << again.error_message();
}

}  // namespace
}  // namespace promptsweep
