// Proves the coordinator's program: arguments are checked whole, what it cannot use is one line and exit code 2, and without its
// store it serves, says that it waits, and ends on SIGTERM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/rpc.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "tests/program.h"

namespace promptsweep::coordinator {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class CoordinatorProcess : public Program {
 public:
  explicit CoordinatorProcess(std::vector<std::string> arguments) : Program("promptsweep-coordinator", std::move(arguments)) {}
};

TEST(CoordinatorProgram, ChecksItsArgumentsAndEnds) {
  const auto exit_of = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "--check-args");
    CoordinatorProcess program(std::move(arguments));
    return program.Exit();
  };
  EXPECT_EQ(exit_of({"--store", "s:1"}), 0);
  EXPECT_EQ(exit_of({"--store", "s:1", "--lease-ttl", "90s", "--lease-target", "1500ms", "--attempts", "5"}), 0);
  EXPECT_EQ(exit_of({}), 2);
  EXPECT_EQ(exit_of({"--store", "s:1", "--lease-ttl", "30"}), 2);
  EXPECT_EQ(exit_of({"--store", "s:1", "--lease-ttl", "0.5s"}), 2);
  EXPECT_EQ(exit_of({"--store", "s:1", "--lease-target", "25h"}), 2);
  EXPECT_EQ(exit_of({"--store", "s:1", "--attempts", "0"}), 2);
}

TEST(CoordinatorProgram, OneClearLineAndExitCodeTwo) {
  const auto fails = [](std::vector<std::string> arguments, const std::string& why) {
    CoordinatorProcess program(std::move(arguments));
    const std::string errors = program.Errors();
    EXPECT_EQ(program.Exit(), 2) << errors;
    EXPECT_THAT(errors, StartsWith("promptsweep-coordinator: "));
    EXPECT_THAT(errors, HasSubstr(why));
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  };
  fails({"--store", "127.0.0.1:1", "--lease-ttl", "soon"}, "soon is no duration from 1s to 24h");
  fails({"--store", "127.0.0.1:1", "--listen", "0.0.0.0:0"}, "--insecure");
  fails({"--store", "192.0.2.1:1", "--listen", "127.0.0.1:0"}, "--insecure");
  fails({"--listen", "127.0.0.1:0"}, "--store");
}

// grpc.health.v1.Health.Check, read by hand: the reply's only field is its status, 1 SERVING, 2 NOT_SERVING.
std::string Health(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(30));
  grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer reply;
  absl::Notification answered;
  grpc::Status status;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &reply, [&](grpc::Status got) {
    status = std::move(got);
    answered.Notify();
  });
  answered.WaitForNotification();
  grpc::Slice slice;
  if (!status.ok() || !reply.DumpToSingleSlice(&slice).ok() || slice.size() != 2) return status.error_message();
  return slice.begin()[1] == 1 ? "SERVING" : "NOT_SERVING";
}

TEST(CoordinatorProgram, Case50_IsNotServingUntilItHasReadTheStore) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / absl::StrCat("coordinator-", ::getpid());
  const auto serve = [&](const std::string& listen) {
    return std::make_unique<Program>("promptsweep-store",
                                     std::vector<std::string>{"--folder", folder, "--init", "--listen", listen});
  };
  // A port for the store, which is not there yet.
  std::string address;
  {
    const auto store = serve("127.0.0.1:0");
    address = store->Line().substr(std::string("listening on ").size());
    store->Signal(SIGTERM);
    EXPECT_EQ(store->Exit(), 0);
  }
  CoordinatorProcess program({"--store", address, "--listen", "127.0.0.1:0"});
  const auto channel = Connect(program.Line().substr(13), *InsecureRpc(false));
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_EQ(Health(*channel), "NOT_SERVING");
  const auto store = serve(address);
  ASSERT_THAT(store->Line(), StartsWith("listening on "));
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (Health(*channel) != "SERVING" && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(Health(*channel), "SERVING");
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Exit(), 0);
  store->Signal(SIGTERM);
  EXPECT_EQ(store->Exit(), 0);
  std::filesystem::remove_all(folder);
}

TEST(CoordinatorProgram, WithoutItsStoreItWaitsAndEndsOnSigterm) {
  CoordinatorProcess program({"--store", "127.0.0.1:1", "--listen", "127.0.0.1:0"});
  const std::string line = program.Line();
  ASSERT_THAT(line, StartsWith("listening on 127.0.0.1:"));
  const auto channel = Connect(line.substr(13), *InsecureRpc(false));
  ASSERT_TRUE(channel.ok()) << channel.status();
  const auto stub = v1::SweepService::NewStub(*channel);
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  SetTimeout(context, absl::Seconds(30));
  v1::ListSweepStatusResponse response;
  const grpc::Status status = stub->ListSweepStatus(&context, v1::ListSweepStatusRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("still reading the store"));
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Exit(), 0);
}

}  // namespace
}  // namespace promptsweep::coordinator
