// Proves the program when the disk fails it: exit code 70 and nothing acknowledged lost, a folder that came back shorter refused
// with one line and opened with --accept-loss, and a memory budget that is checked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <set>

#include "base/rpc.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "tests/program.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

class LossProgramTest : public testing::Test {
 protected:
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"--folder", folder_.path("store"), "--listen", "127.0.0.1:0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::unique_ptr<v1::StoreService::Stub> Dial(const std::string& line) {
    PS_CHECK(line.starts_with("listening on ")) << line;
    return v1::StoreService::NewStub(*Connect(line.substr(13), *InsecureRpc(false)));
  }
  void CreateSweep(v1::StoreService::Stub& stub) {
    v1::CreateSweepRequest request;
    *request.mutable_manifest() = manifest_;
    request.set_state(v1::SWEEP_STATE_RUNNING);
    v1::CreateSweepResponse response;
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    ASSERT_TRUE(stub.CreateSweep(&context, request, &response).ok());
    ASSERT_EQ(response.sweep(), 1u);
  }
  grpc::Status Put(v1::StoreService::Stub& stub, uint64_t ordinal, v1::PutResultsResponse& response) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(20));
    return stub.PutResults(&context, MakePut(1, {MakeResult(plan_, ordinal, 60'000)}), &response);
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("loss", 500);
  const sweep::Plan plan_ = MakePlan(manifest_);
};

TEST_F(LossProgramTest, EndsWithSeventyWhenAWriteFailsAndLosesNothing) {
  std::set<uint64_t> acknowledged;
  {
    // Files of the program end at 1 MB: a write beyond that is an error of the disk.
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit small = before;
    small.rlim_cur = 1 << 20;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    Program program("promptsweep-store", Arguments({"--init"}));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    auto stub = Dial(program.Line());
    CreateSweep(*stub);
    for (uint64_t ordinal = 0; ordinal < 100; ++ordinal) {
      v1::PutResultsResponse response;
      const grpc::Status status = Put(*stub, ordinal, response);
      if (!status.ok()) {
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
        break;
      }
      acknowledged.insert(ordinal);
    }
    EXPECT_EQ(program.Exit(), 70);
    EXPECT_THAT(program.Errors(), HasSubstr("writing to the store failed"));
  }
  EXPECT_GT(acknowledged.size(), 5u);
  EXPECT_LT(acknowledged.size(), 30u);
  auto store = OpenStore(folder_.path("store"));
  for (const uint64_t ordinal : acknowledged) {
    EXPECT_EQ(PutOne(*store, 1, MakeResult(plan_, ordinal, 60'000)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME) << ordinal;
  }
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
}

TEST_F(LossProgramTest, AShorterFolderIsRefusedUntilTheLossIsAccepted) {
  {
    Program program("promptsweep-store", Arguments({"--init"}));
    auto stub = Dial(program.Line());
    CreateSweep(*stub);
    for (uint64_t ordinal = 0; ordinal < 5; ++ordinal) {
      v1::PutResultsResponse response;
      ASSERT_TRUE(Put(*stub, ordinal, response).ok());
    }
    program.Signal(SIGKILL);
    program.Exit();
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path("store"))) {
    if (entry.path().extension() == ".log") std::filesystem::resize_file(entry.path(), entry.file_size() - 100);
  }
  Program refused("promptsweep-store", Arguments());
  const std::string errors = refused.Errors();
  EXPECT_EQ(refused.Exit(), 2);
  EXPECT_THAT(errors, HasSubstr("lost acknowledged writes"));
  EXPECT_THAT(errors, HasSubstr("--accept-loss"));
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--accept-loss"}, {}}) {
    Program program("promptsweep-store", Arguments(more));
    auto stub = Dial(program.Line());
    v1::GetSweepRequest request;
    request.set_sweep(1);
    v1::GetSweepResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->GetSweep(&context, request, &response).ok());
    EXPECT_EQ(response.info().counts().done(), 4u);
    program.Signal(SIGTERM);
    EXPECT_EQ(program.Exit(), 0);
  }
}

TEST_F(LossProgramTest, TheMemoryBudgetHasUnitsAndAFloor) {
  {
    Program program("promptsweep-store", Arguments({"--init", "--memory", "64MiB"}));
    EXPECT_THAT(program.Line(), HasSubstr("listening on "));
    program.Signal(SIGTERM);
    EXPECT_EQ(program.Exit(), 0);
  }
  Program small("promptsweep-store", Arguments({"--memory", "1MiB"}));
  EXPECT_THAT(small.Errors(), HasSubstr("--memory must be at least 64MiB"));
  EXPECT_EQ(small.Exit(), 2);
}

}  // namespace
}  // namespace promptsweep::store
