// Proves the coordinator's program: arguments are checked whole, what it cannot use is one line and exit code 2, and without its
// store it serves, says that it waits, and ends on SIGTERM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
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
