// F1, F15: proves with real processes that kill -9 under load loses nothing that was acknowledged and leaves no cell half
// written, that a store comes back within seconds, and that a folder has one process and a copy of it is a store of its own.
//
// PROMPTSWEEP_KILLS: how many kills; PROMPTSWEEP_SEED: when they come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "tests/store/observe.h"
#include "tests/store/store_process.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

constexpr int kClients = 3;
constexpr int kFullCheckEvery = 20;
constexpr size_t kImageBytes = 5000;

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t number = otherwise;
  if (text) PS_CHECK(absl::SimpleAtoi(text, &number)) << name;
  return number;
}

// What clients were told, written down before they ask for anything else. Thread-safe.
class AckJournal {
 public:
  explicit AckJournal(const std::string& path) : path_(path), out_(path, std::ios::app) {}
  void Acknowledged(uint64_t ordinal, const std::string& content) {
    absl::MutexLock lock(&mu_);
    out_ << ordinal << " " << content << std::endl;
  }
  std::map<uint64_t, std::string> Read() {
    absl::MutexLock lock(&mu_);
    std::map<uint64_t, std::string> all;
    std::ifstream in(path_);
    std::string content;
    for (uint64_t ordinal = 0; in >> ordinal >> content;) all[ordinal] = content;
    return all;
  }

 private:
  const std::string path_;
  absl::Mutex mu_;
  std::ofstream out_ ABSL_GUARDED_BY(mu_);
};

// Puts its own cells one request after the other, and goes on where it was stopped: the request under way at the end is sent
// again.
class Client {
 public:
  Client(const sweep::Plan& plan, AckJournal& journal, int index) : plan_(plan), journal_(journal), next_(index) {}
  void Run(const std::string& line) {
    auto stub = Dial(line);
    while (true) {
      std::vector<v1::Result> results;
      for (uint64_t i = 0; i <= next_ / kClients % 3; ++i)
        results.push_back(MakeResult(plan_, next_ + i * kClients, kImageBytes));
      const auto reply = CallStore(*stub, &Stub::PutResults, MakePut(1, results));
      if (!reply.ok()) {
        EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable) << reply.status();
        return;
      }
      for (int i = 0; i < reply->outcomes_size(); ++i) {
        const auto code = reply->outcomes(i).code();
        EXPECT_TRUE(code == v1::PutOutcome::CODE_STORED || code == v1::PutOutcome::CODE_DUPLICATE_SAME) << code;
        journal_.Acknowledged(results[i].cell().ordinal(), ContentName(results[i]));
      }
      next_ += results.size() * kClients;
    }
  }

 private:
  const sweep::Plan& plan_;
  AckJournal& journal_;
  uint64_t next_;
};

// Everything acknowledged is there with the bytes that were sent, nothing is there that no client sent, every cell is whole,
// counts are recounts.
void CheckAll(Stub& stub, AckJournal& journal, const sweep::Plan& plan) {
  EXPECT_EQ(ProblemsOver(stub, true), "");
  v1::GetResultsRequest request;
  request.set_sweep(1);
  request.set_with_images(true);
  request.set_with_embeddings(true);
  const auto rows = ReadOver(stub, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  auto acknowledged = journal.Read();
  for (const v1::Result& row : *rows) {
    const uint64_t ordinal = row.cell().ordinal();
    EXPECT_EQ(ContentName(row), ContentName(MakeResult(plan, ordinal, kImageBytes))) << ordinal;
    acknowledged.erase(ordinal);
  }
  EXPECT_EQ(acknowledged.size(), 0u) << "the first cell that was acknowledged and is gone: " << acknowledged.begin()->first;
  v1::GetSweepRequest sweep;
  sweep.set_sweep(1);
  const auto info = CallStore(stub, &Stub::GetSweep, sweep);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->info().counts().done(), rows->size());
}

TEST(F1KillNine, UnderLoadLosesNothingAcknowledged) {
  const uint64_t kills = Number("PROMPTSWEEP_KILLS", 200);
  const uint64_t seed = Number("PROMPTSWEEP_SEED", std::random_device()());
  std::printf("%s\n", absl::StrCat(kills, " kills; the same moments again: PROMPTSWEEP_SEED=", seed).c_str());
  std::mt19937_64 random(seed);
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("kill", 1'000'000);
  const sweep::Plan plan = MakePlan(manifest);
  AckJournal journal(folder.path("journal"));
  std::vector<Client> clients;
  for (int c = 0; c < kClients; ++c) clients.emplace_back(plan, journal, c);
  absl::Duration slowest;
  for (uint64_t kill = 0; kill <= kills && !HasFailure(); ++kill) {
    const absl::Time started = absl::Now();
    StoreProcess program(StoreProcess::Arguments(folder.path("store")));
    const std::string line = program.Line();
    ASSERT_THAT(line, HasSubstr("listening on ")) << "after kill " << kill << ": " << program.Errors();
    slowest = std::max(slowest, absl::Now() - started);
    auto stub = Dial(line);
    if (kill == 0) {
      ASSERT_EQ(CreateOver(*stub, manifest).value(), 1u);
    }
    if (kill % kFullCheckEvery == 0) CheckAll(*stub, journal, plan);
    if (kill == kills) {
      program.Signal(SIGTERM);
      EXPECT_EQ(program.Exit(), 0);
      break;
    }
    std::vector<std::thread> threads;
    for (Client& client : clients) threads.emplace_back([&] { client.Run(line); });
    // The fault itself: a moment that nothing in the store chose.
    absl::SleepFor(absl::Milliseconds(10 + random() % 290));
    program.Signal(SIGKILL);
    EXPECT_EQ(program.Exit(), 128 + SIGKILL);
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_LT(slowest, absl::Seconds(5));
  const size_t acknowledged = journal.Read().size();
  EXPECT_GT(acknowledged, kills) << "too little was written to prove much";
  std::printf("%d results were acknowledged, 0 lost; the slowest start took %d ms\n", static_cast<int>(acknowledged),
              static_cast<int>(absl::ToInt64Milliseconds(slowest)));
}

TEST(F15TwoProcesses, Case31_TheSecondIsRefusedAndTheFirstGoesOn) {
  TempFolder folder;
  StoreProcess first(StoreProcess::Arguments(folder.path("store")));
  auto stub = Dial(first.Line());
  const v1::SweepManifest manifest = MakeManifest("two", 10);
  const sweep::Plan plan = MakePlan(manifest);
  ASSERT_TRUE(CreateOver(*stub, manifest).ok());
  for (uint64_t ordinal = 0; ordinal < 5; ++ordinal) {
    StoreProcess second(StoreProcess::Arguments(folder.path("store")));
    EXPECT_THAT(second.Errors(), HasSubstr("is in use by another process"));
    EXPECT_EQ(second.Exit(), 2);
    EXPECT_EQ(PutOver(*stub, 1, MakeResult(plan, ordinal)).value(), v1::PutOutcome::CODE_STORED);
  }
  first.Signal(SIGKILL);
  EXPECT_EQ(first.Exit(), 128 + SIGKILL);
  // The lock goes with the process, whatever ended it.
  StoreProcess third(StoreProcess::Arguments(folder.path("store")));
  auto again = Dial(third.Line());
  EXPECT_EQ(ProblemsOver(*again, true), "");
  EXPECT_EQ(PutOver(*again, 1, MakeResult(plan, 4)).value(), v1::PutOutcome::CODE_DUPLICATE_SAME);
}

TEST(F15TwoProcesses, ACopiedFolderIsAStoreOfItsOwn) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("copy", 10);
  const sweep::Plan plan = MakePlan(manifest);
  {
    auto store = OpenStore(folder.path("store"));
    ASSERT_TRUE(Create(*store, manifest).ok());
    PutOne(*store, 1, MakeResult(plan, 0));
  }
  std::filesystem::copy(folder.path("store"), folder.path("copy"), std::filesystem::copy_options::recursive);
  StoreProcess first(StoreProcess::Arguments(folder.path("store")));
  StoreProcess second(StoreProcess::Arguments(folder.path("copy")));
  auto stub = Dial(first.Line());
  auto copy = Dial(second.Line());
  EXPECT_EQ(PutOver(*stub, 1, MakeResult(plan, 1)).value(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(PutOver(*copy, 1, MakeResult(plan, 0)).value(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  EXPECT_EQ(PutOver(*copy, 1, MakeResult(plan, 2)).value(), v1::PutOutcome::CODE_STORED);
  for (Stub* each : {stub.get(), copy.get()}) EXPECT_EQ(ProblemsOver(*each, true), "");
  v1::GetResultsRequest request;
  request.set_sweep(1);
  EXPECT_EQ(ReadOver(*stub, request)->size(), 2u);
  EXPECT_EQ(ReadOver(*copy, request)->back().cell().ordinal(), 2u);
}

}  // namespace
}  // namespace promptsweep::store
