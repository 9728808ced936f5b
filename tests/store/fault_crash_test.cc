// F2: proves that a power cut at any moment costs nothing that was acknowledged. Short lives of a store, made up from seeds, are
// cut at every change of the disk, each in several ways, and so is the recovery from some of these cuts; every time the store
// must open, be sound, hold what was acknowledged and nothing that was never asked, and go on.
//
// PROMPTSWEEP_CRASHES: how many crashes to run; PROMPTSWEEP_SEED: the first seed; PROMPTSWEEP_CRASH: replays the one named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/store/crash_life.h"

namespace promptsweep::store {
namespace {

using Cut = DiskModel::Cut;

constexpr int kSteps = 40;
// Of the crashes of a life, one in so many is followed by every crash of the recovery from it.
constexpr uint64_t kRecoveryEvery = 200;
constexpr Cut kCuts[] = {Cut::kDurable, Cut::kTorn, Cut::kGarbage};

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t number = otherwise;
  if (text) PS_CHECK(absl::SimpleAtoi(text, &number)) << name;
  return number;
}

// One crash: of a life, and then perhaps of the recovery from it.
struct Crash {
  uint64_t seed = 0;
  uint64_t point = 0;
  Cut cut = Cut::kDurable;
  bool twice = false;
  uint64_t recovery_point = 0;
  Cut recovery_cut = Cut::kDurable;

  std::string Name() const {
    std::string name = absl::StrCat(seed, "/", point, "/", static_cast<int>(cut));
    if (twice) absl::StrAppend(&name, "/", recovery_point, "/", static_cast<int>(recovery_cut));
    return name;
  }
  static Crash Parse(const std::string& name) {
    std::vector<uint64_t> numbers;
    for (const auto part : absl::StrSplit(name, '/')) {
      numbers.push_back(0);
      PS_CHECK(absl::SimpleAtoi(part, &numbers.back())) << name;
    }
    PS_CHECK(numbers.size() == 3 || numbers.size() == 5) << name;
    Crash crash{numbers[0], numbers[1], static_cast<Cut>(numbers[2])};
    if (numbers.size() == 5) {
      crash.twice = true;
      crash.recovery_point = numbers[3];
      crash.recovery_cut = static_cast<Cut>(numbers[4]);
    }
    return crash;
  }
  std::mt19937_64 random() const {
    return std::mt19937_64(Xxh3(absl::StrCat("first ", seed, "/", point, "/", static_cast<int>(cut))));
  }
  std::mt19937_64 recovery_random() const { return std::mt19937_64(Xxh3(Name())); }
};

// What is wrong with the store that comes up from `left`; empty where nothing is. `recovery` gets what opening did to the disk.
std::string Examine(const Files& left, const Crash& crash, const Journal& journal, const std::string& folder,
                    std::vector<DiskModel::Change>* recovery) {
  WriteFiles(left, folder);
  auto fs = std::make_shared<FaultFs>();
  Store::Options options = SmallStore(folder, fs);
  options.create_if_missing = journal.Promised(crash.point) == 0;
  auto store = Store::Open(options);
  if (recovery) *recovery = fs->trace();
  if (!store.ok()) return absl::StrCat("does not open: ", store.status().ToString(), "\n");
  const auto view = Observe(**store);
  if (!view.ok()) return absl::StrCat("cannot be read: ", view.status().ToString(), "\n");
  std::string problems = journal.Disagreement(*view, crash.point);
  absl::StrAppend(&problems, Unsound(**store));
  if (!problems.empty()) return problems;

  // And it goes on.
  const v1::SweepManifest manifest = MakeManifest("afterwards", 2);
  const auto sweep = Create(**store, manifest);
  if (!sweep.ok()) return absl::StrCat("takes no sweep: ", sweep.status().ToString(), "\n");
  const v1::Result result = MakeResult(MakePlan(manifest), 1, 5000);
  const auto put = PutAll(**store, *sweep, {result});
  if (!put.ok() || put->outcomes(0).code() != v1::PutOutcome::CODE_STORED) return "takes no result\n";
  if (crash.point % 8 != 0) return "";
  store->reset();
  options.create_if_missing = false;
  store = Store::Open(options);
  if (!store.ok()) return absl::StrCat("does not open again: ", store.status().ToString(), "\n");
  auto again = Observe(**store);
  if (!again.ok()) return absl::StrCat("cannot be read again: ", again.status().ToString(), "\n");
  if (again->extract(CellName(*sweep, 1)).empty()) return "what was put after the crash is gone\n";
  for (const char* key : {"sweep ", "state "}) again->erase(absl::StrCat(key, *sweep));
  return *again == *view ? "" : "another opening shows something else\n";
}

Files In(const std::string& folder, const Files& files) {
  Files moved;
  for (const auto& [path, bytes] : files) moved[folder + "/" + std::filesystem::path(path).filename().string()] = bytes;
  return moved;
}

class Enumeration {
 public:
  explicit Enumeration(uint64_t crashes) : crashes_(crashes) {}

  // Lives `seed` and crashes it everywhere.
  void Run(uint64_t seed) {
    FastFolder scratch;
    const Life life(seed, kSteps, /*dies=*/true, scratch.path("life"), std::make_shared<FaultFs>());
    EXPECT_TRUE(life.failure().ok()) << "seed " << seed << ": " << life.failure();
    const std::vector<DiskModel::Change> trace = life.trace();
    Count(trace);
    DiskModel disk;
    std::map<Cut, std::pair<size_t, Files>> last;
    for (uint64_t point = 0; point <= trace.size() && !Enough(); ++point) {
      if (point > 0) disk.Apply(trace[point - 1]);
      const size_t promised = life.journal().Promised(point);
      for (const Cut cut : kCuts) {
        const Crash crash{seed, point, cut};
        auto random = crash.random();
        auto state = std::pair(promised, disk.After(cut, random));
        if (point > 0 && last[cut] == state) continue;  // nothing that could matter happened
        std::vector<DiskModel::Change> recovery;
        Report(crash, state.second, Examine(state.second, crash, life.journal(), scratch.path("store"), &recovery));
        if (Xxh3(crash.Name()) % kRecoveryEvery == 0) CrashAgain(crash, state.second, recovery, life.journal(), scratch);
        last[cut] = std::move(state);
      }
    }
  }

  void Replay(const Crash& crash) {
    FastFolder scratch;
    const Life life(crash.seed, kSteps, /*dies=*/true, scratch.path("life"), std::make_shared<FaultFs>());
    const std::vector<DiskModel::Change> trace = life.trace();
    DiskModel disk;
    for (uint64_t point = 0; point < crash.point && point < trace.size(); ++point) disk.Apply(trace[point]);
    auto random = crash.random();
    Files left = disk.After(crash.cut, random);
    std::vector<DiskModel::Change> recovery;
    const std::string problems = Examine(left, crash, life.journal(), scratch.path("store"), &recovery);
    if (!crash.twice) return Report(crash, left, problems);
    DiskModel again(In(scratch.path("store"), left));
    for (uint64_t point = 0; point < crash.recovery_point && point < recovery.size(); ++point) again.Apply(recovery[point]);
    random = crash.recovery_random();
    left = again.After(crash.recovery_cut, random);
    Report(crash, left, Examine(left, crash, life.journal(), scratch.path("store"), nullptr));
  }

  bool Enough() const { return done_ >= crashes_ || failed_ >= 5; }
  std::string Summary() const {
    return absl::StrCat(done_.load(), " crashes, ", in_recovery_.load(), " of them while recovering from another, of ",
                        lives_.load(), " lives with ", changes_.load(), " changes of the disk, ", tables_.load(), " tables, ",
                        blobs_.load(), " blob files and ", dropped_.load(), " dropped by compactions: ", failed_.load(),
                        " failed");
  }
  bool LivedWell() const { return tables_ > 0 && blobs_ > 0; }

 private:
  void CrashAgain(Crash crash, const Files& left, const std::vector<DiskModel::Change>& recovery, const Journal& journal,
                  const FastFolder& scratch) {
    crash.twice = true;
    DiskModel disk(In(scratch.path("store"), left));
    Files last;
    for (uint64_t point = 0; point <= recovery.size() && !Enough(); ++point) {
      if (point > 0) disk.Apply(recovery[point - 1]);
      crash.recovery_point = point;
      for (const Cut cut : kCuts) {
        crash.recovery_cut = cut;
        auto random = crash.recovery_random();
        Files again = disk.After(cut, random);
        if (again == last) continue;
        Report(crash, again, Examine(again, crash, journal, scratch.path("store"), nullptr));
        last = std::move(again);
      }
    }
  }

  void Report(const Crash& crash, const Files& left, const std::string& problems) {
    ++done_;
    if (crash.twice) ++in_recovery_;
    if (problems.empty() || ++failed_ > 5) return;
    const std::string kept = absl::StrCat(testing::TempDir(), "/crash-", absl::StrJoin(absl::StrSplit(crash.Name(), '/'), "-"));
    WriteFiles(left, kept);
    ADD_FAILURE() << "crash " << crash.Name() << "\n"
                  << problems << "what was left is in " << kept << "\nreplay: PROMPTSWEEP_CRASH=" << crash.Name()
                  << " build/release/tests/store_fault_crash_test";
  }

  void Count(const std::vector<DiskModel::Change>& trace) {
    ++lives_;
    changes_ += trace.size();
    for (const DiskModel::Change& change : trace) {
      const bool table = change.path.ends_with(".sst");
      if (change.kind == DiskModel::Change::Kind::kCreate && table) ++tables_;
      if (change.kind == DiskModel::Change::Kind::kCreate && change.path.ends_with(".blob")) ++blobs_;
      if (change.kind == DiskModel::Change::Kind::kDelete && table) ++dropped_;
    }
  }

  const uint64_t crashes_;
  std::atomic<uint64_t> done_{0}, in_recovery_{0}, failed_{0}, lives_{0}, changes_{0}, tables_{0}, blobs_{0}, dropped_{0};
};

TEST(F2PowerCut, Case33_AtEveryChangeOfTheDisk) {
  if (const char* one = std::getenv("PROMPTSWEEP_CRASH")) {
    Enumeration(1).Replay(Crash::Parse(one));
    return;
  }
  Enumeration enumeration(Number("PROMPTSWEEP_CRASHES", 10'000));
  std::atomic<uint64_t> seed{Number("PROMPTSWEEP_SEED", 1)};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::min(4u, std::thread::hardware_concurrency())); ++t) {
    threads.emplace_back([&] {
      while (!enumeration.Enough()) enumeration.Run(seed++);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%s\n", enumeration.Summary().c_str());
  EXPECT_TRUE(enumeration.LivedWell()) << "the lives are too short to prove much";
}

// The process outlives its disk: from some change on everything fails. Whatever is answered with OK must be there afterwards.
TEST(F2PowerCut, NothingIsAcknowledgedOnceTheDiskFails) {
  for (uint64_t seed = 100; seed < 124; ++seed) {
    FastFolder scratch;
    auto fs = std::make_shared<FaultFs>();
    fs->FailFromChange(1 + Xxh3(absl::StrCat(seed)) % 200, rocksdb::IOStatus::IOError("injected"));
    const Life life(seed, kSteps, /*dies=*/false, scratch.path("life"), fs);
    ASSERT_FALSE(life.failure().ok()) << "seed " << seed << ": the fault never fired";
    const Crash crash{seed, fs->changes()};
    DiskModel disk;
    for (const DiskModel::Change& change : life.trace()) disk.Apply(change);
    for (const Cut cut : kCuts) {
      std::mt19937_64 random(seed);
      EXPECT_EQ(Examine(disk.After(cut, random), crash, life.journal(), scratch.path("store"), nullptr), "") << "seed " << seed;
    }
    // Only the process ends.
    Store::Options options = SmallStore(life.folder(), std::make_shared<FaultFs>());
    options.create_if_missing = life.journal().Promised(UINT64_MAX - 1) == 0;
    auto store = Store::Open(options);
    ASSERT_TRUE(store.ok()) << "seed " << seed << ": " << store.status();
    const auto view = Observe(**store);
    ASSERT_TRUE(view.ok()) << "seed " << seed << ": " << view.status();
    EXPECT_EQ(life.journal().Disagreement(*view, fs->changes()), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace promptsweep::store
