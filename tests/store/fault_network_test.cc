// F11: proves that a client which sends again what was not answered stores every cell exactly once over a network that cuts,
// resets in the middle of messages, goes silent, delays and dribbles bytes, and that the server holds nothing for connections
// gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "store/host.h"
#include "tests/store/crash_life.h"
#include "tests/store/store_process.h"
#include "tests/store/tcp_proxy.h"

namespace promptsweep::store {
namespace {

class Network : public testing::Test {
 protected:
  void SetUp() override {
    StoreHost::Options options;
    options.store = SmallStore(folder_.path("store"), std::make_shared<FaultFs>());
    options.address = "127.0.0.1:0";
    options.security = InsecureRpc(false);
    host_ = *StoreHost::Start(std::move(options));
    ASSERT_EQ(Create(host_->store(), manifest_).value(), 1u);
    proxy_ = std::make_unique<TcpProxy>(host_->port());
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    stub_ = v1::StoreService::NewStub(
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", proxy_->port()), grpc::InsecureChannelCredentials(), arguments));
  }

  // Sends until it is answered, as a worker does. How often it was sent.
  int PutUntilAnswered(uint64_t ordinal, size_t bytes, absl::Duration timeout) {
    for (int attempt = 1;; ++attempt) {
      const auto code = PutOver(*stub_, 1, MakeResult(plan_, ordinal, bytes), timeout);
      if (!code.ok()) continue;
      // Only an attempt whose answer was lost may have stored it before.
      EXPECT_TRUE(*code == v1::PutOutcome::CODE_STORED || (attempt > 1 && *code == v1::PutOutcome::CODE_DUPLICATE_SAME)) << *code;
      return attempt;
    }
  }

  // Cells [0, done) are there, once, with the bytes that were sent.
  void ExpectExactly(uint64_t done, size_t bytes) {
    EXPECT_EQ(Problems(VerifyAll(host_->store(), true)), "");
    const auto view = Observe(host_->store());
    ASSERT_TRUE(view.ok()) << view.status();
    for (uint64_t ordinal = 0; ordinal < done; ++ordinal) {
      ASSERT_TRUE(view->contains(CellName(1, ordinal))) << ordinal;
      EXPECT_EQ(view->at(CellName(1, ordinal)), ContentName(MakeResult(plan_, ordinal, bytes)));
    }
    EXPECT_EQ(view->size(), done + 2) << "a sweep, its state, and nothing but these cells";
  }

  FastFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("network", 100);
  const sweep::Plan plan_ = MakePlan(manifest_);
  std::unique_ptr<StoreHost> host_;
  std::unique_ptr<TcpProxy> proxy_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(Network, Case48_F11CutsAndResetsInTheMiddleOfMessages) {
  static constexpr size_t kBytes = 20'000;
  std::mt19937_64 random(1);
  for (uint64_t ordinal = 0; ordinal < 60; ++ordinal) {
    // Within the request, at its end, while it is answered, or between two.
    if (ordinal % 3 == 0) proxy_->ResetAfter(static_cast<int64_t>(1 + random() % (kBytes + 2000)));
    if (ordinal % 7 == 0) proxy_->Cut();
    PutUntilAnswered(ordinal, kBytes, absl::Seconds(5));
  }
  EXPECT_GT(proxy_->resets(), 10);
  EXPECT_GT(proxy_->connections(), 10);
  ExpectExactly(60, kBytes);
}

TEST_F(Network, F11SeveralClientsWhileTheNetworkComesAndGoes) {
  static constexpr size_t kBytes = 3000;
  std::atomic<uint64_t> next{0}, done{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      for (uint64_t ordinal = next++; ordinal < 160; ordinal = next++, ++done) {
        PutUntilAnswered(ordinal, kBytes, absl::Seconds(5));
      }
    });
  }
  std::mt19937_64 random(2);
  while (done < 160) {
    proxy_->ResetAfter(static_cast<int64_t>(1 + random() % 30'000));
    // Until then it must carry something.
    const int resets = proxy_->resets();
    while (proxy_->resets() == resets && done < 160) std::this_thread::yield();
  }
  for (std::thread& client : clients) client.join();
  ExpectExactly(160, kBytes);
}

TEST_F(Network, F11HalfOpenConnectionsCostADeadlineAndNothingElse) {
  static constexpr size_t kBytes = 1000;
  uint64_t ordinal = 0;
  for (; ordinal < 3; ++ordinal) PutUntilAnswered(ordinal, kBytes, absl::Seconds(5));
  for (int round = 0; round < 4; ++round) {
    proxy_->SetMode(TcpProxy::Mode::kHold);
    const auto lost = PutOver(*stub_, 1, MakeResult(plan_, ordinal, kBytes), absl::Milliseconds(200));
    EXPECT_EQ(lost.status().code(), absl::StatusCode::kDeadlineExceeded) << lost.status();
    // Silent for good, or only late: then the request arrives after its client gave up.
    if (round % 2) proxy_->Cut();
    proxy_->SetMode(TcpProxy::Mode::kForward);
    const auto code = PutOver(*stub_, 1, MakeResult(plan_, ordinal, kBytes), absl::Seconds(10));
    while (!code.ok() && PutUntilAnswered(ordinal, kBytes, absl::Seconds(5)) == 0) {
    }
    ++ordinal;
  }
  ExpectExactly(ordinal, kBytes);
}

TEST_F(Network, F11BytesThatDribbleMakeWholeMessages) {
  proxy_->SetMode(TcpProxy::Mode::kSlice);
  for (uint64_t ordinal = 0; ordinal < 5; ++ordinal) EXPECT_EQ(PutUntilAnswered(ordinal, 3000, absl::Seconds(60)), 1);
  v1::GetResultsRequest request;
  request.set_sweep(1);
  request.set_with_images(true);
  const auto rows = ReadOver(*stub_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->size(), 5u);
  ExpectExactly(5, 3000);
}

TEST_F(Network, F11AStreamThatIsCutIsNeverTakenForWhole) {
  for (uint64_t ordinal = 0; ordinal < 60; ++ordinal) PutOne(host_->store(), 1, MakeResult(plan_, ordinal, 50'000));
  v1::GetResultsRequest request;
  request.set_sweep(1);
  request.set_with_images(true);
  int cut = 0;
  for (int round = 0; round < 10; ++round) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(10));
    auto stream = stub_->GetResults(&context, request);
    v1::GetResultsResponse message;
    bool trailer = false;
    for (int row = 0; stream->Read(&message); ++row) {
      trailer = message.has_trailer();
      if (row == round * 2) proxy_->Cut();
    }
    const bool whole = stream->Finish().ok();
    EXPECT_EQ(whole, trailer);
    cut += !whole;
  }
  EXPECT_GT(cut, 0);
  while (!ReadOver(*stub_, request).ok()) {
  }
  EXPECT_EQ(ReadOver(*stub_, request)->size(), 60u);
}

}  // namespace
}  // namespace promptsweep::store
