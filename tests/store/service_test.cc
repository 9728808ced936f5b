// Proves the store over gRPC: the same answers through a port and in process, streams with trailers, errors as statuses,
// hostile bytes refused, and a shutdown that ends with calls and half-read streams still open.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/host.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override { Start(); }
  void Start() {
    StoreHost::Options options;
    options.store.folder = folder_.path("store");
    options.store.create_if_missing = true;
    options.store.ballast_bytes = 0;
    options.address = "127.0.0.1:0";
    options.security = InsecureRpc(false);
    options.grace = absl::Milliseconds(200);
    auto host = StoreHost::Start(std::move(options));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
    auto channel = Connect(absl::StrCat("127.0.0.1:", host_->port()), *InsecureRpc(false));
    ASSERT_TRUE(channel.ok());
    channel_ = *channel;
    stub_ = v1::StoreService::NewStub(channel_);
  }
  uint32_t CreateSweep(v1::StoreService::StubInterface& stub, const v1::SweepManifest& manifest) {
    v1::CreateSweepRequest request;
    *request.mutable_manifest() = manifest;
    request.set_state(v1::SWEEP_STATE_RUNNING);
    v1::CreateSweepResponse response;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    const grpc::Status status = stub.CreateSweep(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.sweep();
  }
  grpc::Status Put(v1::StoreService::StubInterface& stub, const v1::PutResultsRequest& request,
                   v1::PutResultsResponse& response) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    return stub.PutResults(&context, request, &response);
  }
  void Fill(uint32_t sweep, const v1::SweepManifest& manifest, uint64_t cells, size_t image_bytes, int dim) {
    const sweep::Plan plan = MakePlan(manifest);
    for (uint64_t begin = 0; begin < cells; begin += 100) {
      std::vector<v1::Result> results;
      for (uint64_t i = begin; i < std::min(cells, begin + 100); ++i) results.push_back(MakeResult(plan, i, image_bytes, 0, dim));
      v1::PutResultsResponse response;
      ASSERT_TRUE(Put(*stub_, MakePut(sweep, std::move(results)), response).ok());
    }
  }

  TempFolder folder_;
  std::unique_ptr<StoreHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::StoreService::StubInterface> stub_;
};

TEST_F(ServiceTest, APortAndAnInProcessChannelAreTheSameStore) {
  const v1::SweepManifest manifest = MakeManifest("both", 30);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t sweep = CreateSweep(*stub_, manifest);
  auto inside = v1::StoreService::NewStub(host_->InProcessChannel());
  EXPECT_EQ(CreateSweep(*inside, manifest), sweep);
  v1::PutResultsResponse response;
  ASSERT_TRUE(Put(*stub_, MakePut(sweep, {MakeResult(plan, 0), MakeResult(plan, 1)}), response).ok());
  EXPECT_EQ(response.outcomes(1).code(), v1::PutOutcome::CODE_STORED);
  ASSERT_TRUE(Put(*inside, MakePut(sweep, {MakeResult(plan, 1), MakeResult(plan, 2)}), response).ok());
  EXPECT_EQ(response.outcomes(0).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);

  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  grpc::ClientContext context;
  auto reader = inside->GetResults(&context, request);
  ScanDigest digest;
  bool complete = false;
  for (v1::GetResultsResponse message; reader->Read(&message);) {
    if (message.has_result()) digest.Add(message.result());
    if (message.has_trailer()) complete = digest.Matches(message.trailer());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(complete);
  EXPECT_EQ(digest.rows(), 3u);
}

TEST_F(ServiceTest, AScanStreamsEveryVector) {
  const v1::SweepManifest manifest = MakeManifest("scan", 1500);
  const uint32_t sweep = CreateSweep(*stub_, manifest);
  Fill(sweep, manifest, 3000, 32, 256);
  v1::ScanEmbeddingsRequest request;
  request.set_sweep(sweep);
  request.set_embedder("eye");
  grpc::ClientContext context;
  auto reader = stub_->ScanEmbeddings(&context, request);
  ScanDigest digest;
  bool complete = false;
  for (v1::ScanEmbeddingsResponse message; reader->Read(&message);) {
    EXPECT_FALSE(complete) << "a message after the trailer";
    if (message.has_block()) digest.Add(message.block());
    if (message.has_trailer()) complete = digest.Matches(message.trailer());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(complete);
  EXPECT_EQ(digest.rows(), 3000u);
}

TEST_F(ServiceTest, ErrorsAreStatuses) {
  grpc::ClientContext missing, unknown;
  v1::GetSweepResponse response;
  EXPECT_EQ(stub_->GetSweep(&missing, v1::GetSweepRequest(), &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::ScanEmbeddingsRequest scan;
  scan.set_sweep(42);
  auto reader = stub_->ScanEmbeddings(&unknown, scan);
  v1::ScanEmbeddingsResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, EveryMethodAnswersEmptyAndHostileRequests) {
  const auto* service = v1::PutOutcome::descriptor()->file()->FindServiceByName("StoreService");
  ASSERT_NE(service, nullptr);
  grpc::GenericStub generic(channel_);
  const auto call = [&](const std::string& method, const grpc::ByteBuffer& request) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    grpc::CompletionQueue queue;
    auto rpc = generic.PrepareUnaryCall(&context, method, request, &queue);
    rpc->StartCall();
    grpc::ByteBuffer reply;
    grpc::Status status;
    rpc->Finish(&reply, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  };
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string method = absl::StrCat("/", service->full_name(), "/", service->method(i)->name());
    for (const std::string& bytes : {std::string(), std::string("\xff\xff\xff\xff\xff", 5), std::string(100'000, '\x0a'),
                                     std::string("\x0a\xff\xff\xff\x7f", 5)}) {
      grpc::Slice slice(bytes);
      const grpc::Status status = call(method, grpc::ByteBuffer(&slice, 1));
      EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << method;
      // gRPC answers UNIMPLEMENTED to bytes that are no message of that type.
      EXPECT_FALSE(bytes.empty() && status.error_code() == grpc::StatusCode::UNIMPLEMENTED) << method;
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << method;
    }
  }
  grpc::Slice huge(std::string(kMaxMessageBytes + 1, 'x'));
  EXPECT_EQ(call("/promptsweep.v1.StoreService/PutResults", grpc::ByteBuffer(&huge, 1)).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext context;
  v1::ListSweepsResponse list;
  EXPECT_TRUE(stub_->ListSweeps(&context, v1::ListSweepsRequest(), &list).ok());
}

TEST_F(ServiceTest, ShutdownEndsWithHalfReadStreamsAndWaitingClients) {
  const v1::SweepManifest manifest = MakeManifest("half", 1500);
  const uint32_t sweep = CreateSweep(*stub_, manifest);
  Fill(sweep, manifest, 3000, 5000, 256);
  // More than flow control lets out unread.
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  request.set_with_embeddings(true);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderInterface<v1::GetResultsResponse>>> readers;
  auto inside = v1::StoreService::NewStub(host_->InProcessChannel());
  for (int i = 0; i < 6; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(
        (i % 2 ? *stub_ : static_cast<v1::StoreService::StubInterface&>(*inside)).GetResults(contexts.back().get(), request));
    v1::GetResultsResponse message;
    ASSERT_TRUE(readers.back()->Read(&message));
  }
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    const sweep::Plan plan = MakePlan(manifest);
    while (!stop) {
      v1::PutResultsResponse response;
      if (!Put(*stub_, MakePut(sweep, {MakeResult(plan, 5)}), response).ok()) break;
    }
  });
  const absl::Time start = absl::Now();
  host_->Shutdown();
  EXPECT_LT(absl::Now() - start, absl::Seconds(6));
  stop = true;
  writer.join();
  for (auto& reader : readers) {
    bool trailer = false;
    for (v1::GetResultsResponse message; reader->Read(&message);) trailer = trailer || message.has_trailer();
    EXPECT_FALSE(trailer && !reader->Finish().ok());
    EXPECT_FALSE(trailer);
  }
  readers.clear();
  // The folder is free again and whole.
  host_.reset();
  Start();
  grpc::ClientContext context;
  v1::VerifyRequest verify;
  verify.set_deep(true);
  v1::VerifyResponse verdict;
  ASSERT_TRUE(stub_->Verify(&context, verify, &verdict).ok());
  EXPECT_EQ(Problems(verdict), "");
}

TEST_F(ServiceTest, CancelledStreamsFreeTheirPlaces) {
  const v1::SweepManifest manifest = MakeManifest("cancel", 50);
  const uint32_t sweep = CreateSweep(*stub_, manifest);
  Fill(sweep, manifest, 100, 20'000, 8);
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  for (int i = 0; i < 3 * StoreService::kMaxStreams; ++i) {
    // A place is free again once the server has seen the cancellation, which the client cannot observe but by asking.
    while (true) {
      grpc::ClientContext context;
      auto reader = stub_->GetResults(&context, request);
      v1::GetResultsResponse message;
      const bool read = reader->Read(&message);
      context.TryCancel();
      const grpc::Status status = reader->Finish();
      if (read) break;
      ASSERT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    }
  }
}

TEST_F(ServiceTest, TwoHostsCannotShareAFolderOrAPort) {
  StoreHost::Options options;
  options.store.folder = folder_.path("store");
  const auto folder = StoreHost::Start(options);
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kFailedPrecondition);
  options.store.folder = folder_.path("other");
  options.store.create_if_missing = true;
  options.address = absl::StrCat("127.0.0.1:", host_->port());
  options.security = InsecureRpc(false);
  EXPECT_EQ(StoreHost::Start(options).status().code(), absl::StatusCode::kUnavailable);
  options.address = "0.0.0.0:0";
  EXPECT_EQ(StoreHost::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(InProcess, AHostNeedsNoPort) {
  TempFolder folder;
  StoreHost::Options options;
  options.store.folder = folder.path("store");
  options.store.create_if_missing = true;
  options.store.ballast_bytes = 0;
  auto host = StoreHost::Start(options);
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_EQ((*host)->port(), 0);
  auto stub = v1::StoreService::NewStub((*host)->InProcessChannel());
  grpc::ClientContext context;
  v1::ListSweepsResponse response;
  EXPECT_TRUE(stub->ListSweeps(&context, v1::ListSweepsRequest(), &response).ok());
}

}  // namespace
}  // namespace promptsweep::store
