// Proves the program: one line when it listens, a clean end on SIGTERM, one clear line and exit code 2 where it cannot start,
// and that kill -9 under load loses nothing that was acknowledged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <thread>

#include "absl/strings/str_split.h"
#include "tests/store/store_process.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

TEST(StoreProgram, ListensAndEndsOnSigterm) {
  TempFolder folder;
  StoreProcess program({"--folder", folder.path("store"), "--listen", "127.0.0.1:0", "--init"});
  auto stub = Dial(program.Line());
  grpc::ClientContext context;
  v1::ListSweepsResponse response;
  EXPECT_TRUE(stub->ListSweeps(&context, v1::ListSweepsRequest(), &response).ok());
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Exit(), 0);
  EXPECT_EQ(program.Errors(), "");
}

TEST(StoreProgram, OneClearLineAndExitCodeTwo) {
  TempFolder folder;
  const auto fails = [](std::vector<std::string> arguments, const std::string& why) {
    StoreProcess program(std::move(arguments));
    const std::string errors = program.Errors();
    EXPECT_EQ(program.Exit(), 2) << errors;
    EXPECT_THAT(errors, HasSubstr(why));
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  };
  fails({"--folder", folder.path("none"), "--listen", "127.0.0.1:0"}, "no store folder");
  fails({"--folder", folder.path("store"), "--init", "--listen", "0.0.0.0:0"}, "--insecure");
  StoreProcess first({"--folder", folder.path("store"), "--init", "--listen", "127.0.0.1:0"});
  const std::string line = first.Line();
  ASSERT_THAT(line, HasSubstr("listening on "));
  fails({"--folder", folder.path("other"), "--init", "--listen", line.substr(13)}, "cannot listen on");
  fails({"--folder", folder.path("store"), "--listen", "127.0.0.1:0"}, "is in use by another process");
  fails({"--no-such-flag"}, "--folder");
}

TEST(StoreProgram, KillNineLosesNothingAcknowledged) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("kill", 100'000);
  const sweep::Plan plan = MakePlan(manifest);
  const std::vector<std::string> arguments = {"--folder", folder.path("store"), "--init", "--listen", "127.0.0.1:0"};
  std::set<uint64_t> acknowledged;
  uint64_t next = 0;
  for (int round = 0; round < 4; ++round) {
    StoreProcess program(arguments);
    auto stub = Dial(program.Line());
    v1::CreateSweepRequest create;
    *create.mutable_manifest() = manifest;
    create.set_state(v1::SWEEP_STATE_RUNNING);
    v1::CreateSweepResponse created;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->CreateSweep(&context, create, &created).ok());
    ASSERT_EQ(created.sweep(), 1u);
    for (const uint64_t ordinal : acknowledged) {
      if (ordinal % 7 != static_cast<uint64_t>(round)) continue;
      EXPECT_EQ(PutOver(*stub, 1, MakeResult(plan, ordinal, 5000)).value(), v1::PutOutcome::CODE_DUPLICATE_SAME);
    }
    // Three writers until the kill, which comes once enough was acknowledged, with writes under way.
    absl::Mutex mu;
    const size_t enough = acknowledged.size() + 40 + 13 * round;
    std::vector<std::thread> writers;
    for (int t = 0; t < 3; ++t) {
      writers.emplace_back([&] {
        while (true) {
          uint64_t ordinal = 0;
          {
            absl::MutexLock lock(&mu);
            ordinal = next++;
          }
          if (!PutOver(*stub, 1, MakeResult(plan, ordinal, 5000)).ok()) return;
          absl::MutexLock lock(&mu);
          acknowledged.insert(ordinal);
        }
      });
    }
    {
      const auto reached = [&] { return acknowledged.size() >= enough; };
      absl::MutexLock lock(&mu);
      mu.Await(absl::Condition(&reached));
    }
    program.Signal(SIGKILL);
    EXPECT_EQ(program.Exit(), 128 + SIGKILL);
    for (std::thread& writer : writers) writer.join();
  }
  auto store = OpenStore(folder.path("store"));
  for (const uint64_t ordinal : acknowledged) {
    EXPECT_EQ(PutOne(*store, 1, MakeResult(plan, ordinal, 5000)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME) << ordinal;
  }
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
}

}  // namespace
}  // namespace promptsweep::store
