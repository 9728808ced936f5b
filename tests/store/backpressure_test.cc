// Proves that results which do not fit into the queue are refused before their bytes are read, with a time to come again, that
// room is given back exactly once, that memory stays bounded, and that a failed sync shows in the health service.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/backpressure.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/host.h"
#include "tests/store/fixture.h"
#include "tests/store/gated_fs.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

constexpr char kPut[] = "/promptsweep.v1.StoreService/PutResults";
constexpr size_t kLimit = 8 << 20;
constexpr size_t kLarge = kMaxImageBytes - 4096;

TEST(Admission, HasRoomUpToItsLimit) {
  SimulatedClock clock;
  Admission admission(&clock, 100);
  auto first = admission.Reserve(60);
  ASSERT_TRUE(first);
  EXPECT_FALSE(admission.Reserve(41));
  auto second = admission.Reserve(40);
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->Resize(41));
  EXPECT_EQ(admission.taken(), 100u);
  ASSERT_TRUE(second->Resize(10));
  ASSERT_TRUE(second->Resize(30));
  EXPECT_EQ(admission.taken(), 90u);
  second.reset();
  EXPECT_EQ(admission.taken(), 60u);
  first.reset();
  EXPECT_EQ(admission.taken(), 0u);
  // A message larger than the limit must get through some time.
  auto huge = admission.Reserve(1000);
  ASSERT_TRUE(huge);
  ASSERT_TRUE(huge->Resize(2000));
  EXPECT_FALSE(admission.Reserve(1));
}

TEST(Admission, SaysWhenThereWillBeRoomAtTheRateItDrains) {
  SimulatedClock clock;
  Admission admission(&clock, 1'000'000);
  EXPECT_EQ(admission.RetryAfter(1), Admission::kShortestRetry);
  // 1 MB/s, measured while something waited; idle time does not count.
  for (int i = 0; i < 200; ++i) {
    auto room = admission.Reserve(100'000);
    clock.AdvanceTime(absl::Milliseconds(100));
    room.reset();
    clock.AdvanceTime(absl::Seconds(i % 3));
  }
  auto room = admission.Reserve(1'000'000);
  EXPECT_NEAR(absl::ToDoubleSeconds(admission.RetryAfter(500'000)), 0.5, 0.05);
  EXPECT_EQ(admission.RetryAfter(1), Admission::kShortestRetry);
  // A queue that stands still is worth an ever longer wait, up to a limit.
  clock.AdvanceTime(absl::Seconds(1));
  EXPECT_GT(admission.RetryAfter(500'000), absl::Milliseconds(700));
  clock.AdvanceTime(absl::Seconds(60));
  EXPECT_EQ(admission.RetryAfter(500'000), Admission::kLongestRetry);
}

class BackpressureTest : public testing::Test {
 protected:
  void SetUp() override {
    StoreHost::Options options;
    options.store.folder = folder_.path("store");
    options.store.create_if_missing = true;
    options.store.ballast_bytes = 0;
    options.store.max_queued_bytes = kLimit;
    options.store.file_system = disk_;
    options.address = "127.0.0.1:0";
    options.security = InsecureRpc(false);
    options.grace = absl::Milliseconds(200);
    auto host = StoreHost::Start(std::move(options));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
    channel_ = *Connect(absl::StrCat("127.0.0.1:", host_->port()), *InsecureRpc(false));
    stub_ = v1::StoreService::NewStub(channel_);
    sweep_ = Create(host_->store(), manifest_).value();
    large_ = MakePut(sweep_, {MakeResult(plan_, 0, kLarge)});
  }
  void TearDown() override {
    disk_->Open();
    for (std::thread& thread : waiting_) thread.join();
    if (!host_) return;
    EXPECT_EQ(host_->store().admission().taken(), 0u) << "room was not given back";
    host_.reset();
  }
  // Puts that wait for a disk that does not sync, until no further message of 3 MiB fits.
  void FillQueue() {
    disk_->Close();
    Admission& admission = host_->store().admission();
    for (uint64_t ordinal = 1; admission.taken() + kLarge < kLimit; ++ordinal) {
      const size_t before = admission.taken();
      waiting_.emplace_back([this, ordinal] {
        const auto reply = PutAll(host_->store(), sweep_, {MakeResult(plan_, ordinal, kLarge / 2)});
        EXPECT_TRUE(reply.ok() && reply->outcomes(0).code() == v1::PutOutcome::CODE_STORED) << reply.status();
      });
      while (admission.taken() == before) std::this_thread::yield();
    }
    disk_->AwaitHeld();
  }
  struct Answer {
    grpc::Status status;
    absl::Duration retry_after;
    std::string pushback;
  };
  // A call that announces `bytes` (or nothing) and sends no message at all.
  Answer AnnounceOnly(std::optional<uint64_t> bytes) {
    grpc::GenericStub generic(channel_);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    if (bytes) SetRequestBytes(context, *bytes);
    auto call = generic.PrepareCall(&context, kPut, &queue);
    Answer answer;
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(this);
    queue.Next(&tag, &ok);
    call->Finish(&answer.status, this);
    queue.Next(&tag, &ok);
    answer.retry_after = RetryAfter(context);
    const auto& trailers = context.GetServerTrailingMetadata();
    if (const auto it = trailers.find(kRetryPushbackKey); it != trailers.end()) {
      answer.pushback = std::string(it->second.data(), it->second.size());
    }
    return answer;
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("pressure", 100);
  const sweep::Plan plan_ = MakePlan(manifest_);
  std::shared_ptr<GatedFs> disk_ = std::make_shared<GatedFs>();
  std::unique_ptr<StoreHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  uint32_t sweep_ = 0;
  v1::PutResultsRequest large_;
  std::vector<std::thread> waiting_;
};

TEST_F(BackpressureTest, RefusesBeforeTheMessageIsSent) {
  FillQueue();
  for (const std::optional<uint64_t> bytes : {std::optional<uint64_t>(kLarge), std::optional<uint64_t>(), {uint64_t{1} << 60}}) {
    const size_t taken = host_->store().admission().taken();
    const Answer answer = AnnounceOnly(bytes);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << answer.status.error_message();
    EXPECT_THAT(answer.status.error_message(), HasSubstr("busy"));
    EXPECT_GE(answer.retry_after, Admission::kShortestRetry);
    EXPECT_LE(answer.retry_after, Admission::kLongestRetry);
    EXPECT_EQ(answer.pushback, absl::StrCat(absl::ToInt64Milliseconds(answer.retry_after)));
    EXPECT_EQ(host_->store().admission().taken(), taken);
  }
  // Small ones still fit.
  v1::PutResultsResponse response;
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(20));
  const auto request = MakePut(sweep_, {MakeResult(plan_, 50)});
  SetRequestBytes(context, request.ByteSizeLong());
  std::thread small([&] { EXPECT_TRUE(stub_->PutResults(&context, request, &response).ok()); });
  disk_->Open();
  small.join();
  EXPECT_EQ(response.outcomes(0).code(), v1::PutOutcome::CODE_STORED);
}

TEST_F(BackpressureTest, WhatIsLargerThanAnnouncedIsRefusedOnceItIsThere) {
  FillQueue();
  const size_t taken = host_->store().admission().taken();
  for (int i = 0; i < 5; ++i) {
    v1::PutResultsResponse response;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    SetRequestBytes(context, 10);
    const grpc::Status status = stub_->PutResults(&context, large_, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_EQ(host_->store().admission().taken(), taken);
  }
}

TEST_F(BackpressureTest, RoomOfACallThatGoesAwayIsGivenBack) {
  Admission& admission = host_->store().admission();
  for (int i = 0; i < 20; ++i) {
    grpc::GenericStub generic(channel_);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    SetRequestBytes(context, kLarge);
    auto call = generic.PrepareCall(&context, kPut, &queue);
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(this);
    queue.Next(&tag, &ok);
    while (admission.taken() == 0) std::this_thread::yield();
    if (i % 2 == 0) {
      context.TryCancel();
    } else {
      call->WritesDone(this);
      queue.Next(&tag, &ok);
    }
    grpc::Status status;
    call->Finish(&status, this);
    queue.Next(&tag, &ok);
    EXPECT_FALSE(status.ok());
    while (admission.taken() != 0) std::this_thread::yield();
  }
}

TEST_F(BackpressureTest, TwoHundredLargePutsAtOnceAreStoredInBoundedMemory) {
  FillQueue();
  // One buffer, so that what grows is the server's.
  grpc::Slice slice(large_.SerializeAsString());
  const grpc::ByteBuffer message(&slice, 1);
  struct Call {
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    grpc::Status status;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  };
  const auto resident = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      uint64_t kib = 0;
      if (absl::StartsWith(line, "VmHWM:") &&
          absl::SimpleAtoi(static_cast<std::vector<std::string>>(absl::StrSplit(line, ' ', absl::SkipEmpty()))[1], &kib)) {
        return kib << 10;
      }
    }
    return uint64_t{0};
  };
  const uint64_t before = resident();
  ASSERT_GT(before, 0u);
  grpc::GenericStub generic(channel_);
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 200; ++i) {
    auto call = std::make_unique<Call>();
    SetTimeout(call->context, absl::Seconds(60));
    SetRequestBytes(call->context, message.Length());
    call->reader = generic.PrepareUnaryCall(&call->context, kPut, message, &queue);
    call->reader->StartCall();
    call->reader->Finish(&call->reply, &call->status, call.get());
    calls.push_back(std::move(call));
  }
  for (int i = 0; i < 200; ++i) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    const Call& call = *static_cast<Call*>(tag);
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << call.status.error_message();
    EXPECT_GT(RetryAfter(call.context), absl::ZeroDuration());
    EXPECT_LE(host_->store().admission().taken(), kLimit);
  }
  EXPECT_LT(resident() - before, 100u << 20) << "600 MB were offered";

  // All get through once the disk works, coming again when they were told to.
  disk_->Open();
  std::vector<std::thread> clients;
  std::atomic<int> stored{0};
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        auto request = MakePut(sweep_, {MakeResult(plan_, 100 + t * 5 + i, kLarge)});
        while (true) {
          v1::PutResultsResponse response;
          grpc::ClientContext context;
          SetTimeout(context, absl::Seconds(60));
          SetRequestBytes(context, request.ByteSizeLong());
          const grpc::Status status = stub_->PutResults(&context, request, &response);
          if (status.ok()) {
            stored += response.outcomes(0).code() == v1::PutOutcome::CODE_STORED;
            break;
          }
          ASSERT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
          absl::SleepFor(RetryAfter(context));
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(stored, 20);
}

TEST_F(BackpressureTest, TheInProcessChannelIsTheSame) {
  auto inside = v1::StoreService::NewStub(host_->InProcessChannel());
  {
    v1::PutResultsResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(inside->PutResults(&context, MakePut(sweep_, {MakeResult(plan_, 60)}), &response).ok());
    EXPECT_EQ(response.outcomes(0).code(), v1::PutOutcome::CODE_STORED);
  }
  FillQueue();
  for (int i = 0; i < 20; ++i) {
    v1::PutResultsResponse response;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    const grpc::Status status = inside->PutResults(&context, large_, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_GT(RetryAfter(context), absl::ZeroDuration());
  }
}

// grpc.health.v1.Health.Watch, read by hand: the reply's only field is its status, 1 SERVING, 2 NOT_SERVING.
TEST_F(BackpressureTest, Case50_AFailedSyncIsNotServingAndNobodyIsToldOk) {
  grpc::GenericStub generic(channel_);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(20));
  auto watch = generic.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto step = [&] {
    queue.Next(&tag, &ok);
    return ok;
  };
  watch->StartCall(this);
  ASSERT_TRUE(step());
  grpc::Slice nothing;
  watch->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions(), this);
  ASSERT_TRUE(step());
  const auto next = [&] {
    grpc::ByteBuffer reply;
    watch->Read(&reply, this);
    if (!step()) return std::string("ended");
    grpc::Slice slice;
    EXPECT_TRUE(reply.DumpToSingleSlice(&slice).ok());
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  };
  EXPECT_EQ(next(), "\x08\x01");

  disk_->Close();
  v1::PutResultsResponse response;
  grpc::Status put;
  std::thread writer([&] {
    grpc::ClientContext put_context;
    SetTimeout(put_context, absl::Seconds(20));
    put = stub_->PutResults(&put_context, MakePut(sweep_, {MakeResult(plan_, 70)}), &response);
  });
  disk_->AwaitHeld();
  disk_->Break();
  writer.join();
  EXPECT_EQ(put.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(next(), "\x08\x02");
  // And it stays so: a sync that would work now is not tried.
  grpc::ClientContext again;
  SetTimeout(again, absl::Seconds(20));
  EXPECT_EQ(stub_->PutResults(&again, MakePut(sweep_, {MakeResult(plan_, 71)}), &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  context.TryCancel();
  grpc::Status status;
  watch->Finish(&status, this);
  step();
}

}  // namespace
}  // namespace promptsweep::store
