// Proves the worker's program on the built-in model: its exit codes and its one clear line, that it waits for a coordinator that
// is not there yet, and that on SIGTERM it reports what is stored, gives the rest back and ends well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "jobs/sweep/catalog.h"
#include "tests/manifest.h"
#include "tests/program.h"
#include "tests/worker/fakes.h"

namespace promptsweep::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class Worker : public Program {
 public:
  explicit Worker(std::vector<std::string> arguments) : Program("promptsweep-worker", std::move(arguments)) {}
};

v1::SweepManifest NullManifest(uint64_t cells) {
  const auto catalog = sweep::ModelCatalog::Open({});
  return TestManifest("null-sweep", {catalog->Find(sweep::kNullModel)->Ref()}, {}, cells,
                      {catalog->Find(sweep::kNullEmbedder)->Ref()});
}

// A coordinator and a store that listen, and what a worker needs to be told.
struct Cluster {
  Cluster(uint64_t cells, uint64_t lease_cells, const std::string& address = "127.0.0.1:0")
      : manifest(NullManifest(cells)),
        coordinator(manifest, lease_cells),
        store(manifest),
        server({&coordinator, &store}, address),
        arguments({"--coordinator", absl::StrCat("127.0.0.1:", server.port()), "--models", models.path(), "--threads", "1"}) {}

  struct EmptyFolder {
    EmptyFolder() {
      std::string pattern = (std::filesystem::temp_directory_path() / "ps-worker-XXXXXX").string();
      path_ = mkdtemp(pattern.data());
    }
    ~EmptyFolder() { std::filesystem::remove_all(path_); }
    std::string path() const { return path_; }

   private:
    std::string path_;
  };
  EmptyFolder models;
  v1::SweepManifest manifest;
  FakeCoordinator coordinator;
  FakeStore store;
  FakeServer server;
  std::vector<std::string> arguments;
};

std::set<uint64_t> Ordinals(const FakeStore& store) {
  std::set<uint64_t> ordinals;
  for (const auto& [ordinal, result] : store.results()) ordinals.insert(ordinal);
  return ordinals;
}

TEST(WorkerProgram, ChecksItsArgumentsAndEnds) {
  const auto exit_of = [](std::vector<std::string> arguments) {
    Worker worker(std::move(arguments));
    return worker.Exit();
  };
  EXPECT_EQ(exit_of({"--coordinator", "127.0.0.1:1", "--check-args"}), 0);
  EXPECT_EQ(exit_of({"--check-args"}), 2);
  EXPECT_EQ(exit_of({"--coordinator", "127.0.0.1:1", "--threads", "0", "--check-args"}), 2);
  EXPECT_EQ(exit_of({"--check-args", "import", "--store", "127.0.0.1:1", "--sweep", "1", "--rows", "r.csv"}), 0);
  EXPECT_EQ(exit_of({"--check-args", "import", "--sweep", "1", "--rows", "r.csv"}), 2);
}

TEST(WorkerProgram, WhatItCannotUseIsOneLineAndExitCodeTwo) {
  const auto fails = [](std::vector<std::string> arguments, const std::string& why) {
    Worker worker(std::move(arguments));
    const std::string errors = worker.Errors();
    EXPECT_EQ(worker.Exit(), 2) << errors;
    EXPECT_THAT(errors, HasSubstr(why));
    EXPECT_THAT(errors, StartsWith("promptsweep-worker: "));
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  };
  Cluster::EmptyFolder folder;
  std::filesystem::create_directory(folder.path() + "/broken");
  std::ofstream(folder.path() + "/broken/config.json") << R"({"model_type": "clip")";
  fails({"--coordinator", "127.0.0.1:1", "--models", folder.path() + "/none"}, "/none is not a folder");
  fails({"--coordinator", "127.0.0.1:1", "--models", folder.path()}, "broken/config.json");
  Cluster::EmptyFolder empty;
  fails({"--coordinator", "192.0.2.1:1", "--models", empty.path()}, "--insecure");
  fails({"--coordinator", "127.0.0.1:1", "--models", empty.path(), "--device", "tpu"}, "device tpu");
  fails({"--no-such-flag"}, "--no-such-flag");
}

TEST(WorkerProgram, RunsWhatThereIsAndEndsWhenIdle) {
  Cluster cluster(100, 30);
  cluster.arguments.push_back("--exit-when-idle");
  Worker worker(cluster.arguments);
  EXPECT_EQ(worker.Exit(), 0) << worker.Errors();
  EXPECT_THAT(cluster.coordinator.stored(), SizeIs(100));
  EXPECT_EQ(cluster.coordinator.reported_twice(), 0u);
  EXPECT_THAT(cluster.coordinator.failed(), IsEmpty());
}

TEST(WorkerProgram, SigtermReportsWhatIsStoredAndGivesTheRestBack) {
  Cluster cluster(1'000'000, 1'000'000);
  Worker worker(cluster.arguments);
  ASSERT_TRUE(cluster.store.WaitFor([&] { return cluster.store.puts() > 0; }));
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Exit(), 0) << worker.Errors();
  EXPECT_EQ(cluster.coordinator.releases(), 1);
  const std::set<uint64_t> stored = Ordinals(cluster.store);
  EXPECT_GT(stored.size(), 0u);
  EXPECT_LT(stored.size(), 1'000'000u);
  EXPECT_EQ(cluster.coordinator.stored(), stored);
  EXPECT_THAT(cluster.coordinator.failed(), IsEmpty());
}

TEST(WorkerProgram, ASecondSignalEndsItAtOnce) {
  Cluster cluster(100, 100);
  cluster.store.Hold(true);  // the first result is never acknowledged
  Worker worker(cluster.arguments);
  ASSERT_TRUE(cluster.store.WaitFor([&] { return cluster.store.waiting() > 0; }));
  worker.Signal(SIGTERM);
  for (std::string line = worker.ErrorLine(); line.find("stopping") == std::string::npos; line = worker.ErrorLine()) {
    ASSERT_NE(line, "") << "it ended before it said that it stops";
  }
  worker.Signal(SIGINT);
  EXPECT_EQ(worker.Exit(), 128 + SIGINT);
  cluster.store.Hold(false);
}

TEST(WorkerProgram, AnUnreachableCoordinatorIsExitCodeFourAfterTheTimeout) {
  Cluster::EmptyFolder folder;
  Worker worker({"--coordinator", "127.0.0.1:1", "--models", folder.path(), "--connect-timeout", "0.5"});
  const std::string errors = worker.Errors();
  EXPECT_EQ(worker.Exit(), 4);
  EXPECT_THAT(errors, HasSubstr("no coordinator yet, trying for another 1s"));
  EXPECT_THAT(errors, HasSubstr("promptsweep-worker: no coordinator: "));
}

TEST(WorkerProgram, ACoordinatorThatComesLaterIsFound) {
  // A port that was free a moment ago.
  const std::string address = absl::StrCat("127.0.0.1:", Cluster(1, 1).server.port());
  Cluster::EmptyFolder folder;
  Worker worker({"--coordinator", address, "--models", folder.path(), "--threads", "1", "--exit-when-idle"});
  EXPECT_THAT(worker.ErrorLine(), HasSubstr("no coordinator yet"));
  Cluster cluster(50, 50, address);
  EXPECT_EQ(worker.Exit(), 0) << worker.Errors();
  EXPECT_THAT(cluster.coordinator.stored(), SizeIs(50));
}

}  // namespace
}  // namespace promptsweep::worker
