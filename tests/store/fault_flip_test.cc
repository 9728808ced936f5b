// F4, F5: proves that no flipped bit in any file of a store is served as if nothing were: for every byte of every file but the
// footers of tables, the store with that bit flipped is refused, or its reads or its verification say so, or it shows exactly
// what it showed before and goes on.
//
// PROMPTSWEEP_FLIP_STRIDE: one byte in so many; 1 is every byte, which the long run (label bench) does.
// PROMPTSWEEP_FLIP=FILE/AT/BIT: only that one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/store/crash_life.h"

namespace promptsweep::store {
namespace {

constexpr uint64_t kStride = 16;
// For files that nobody reads: RocksDB's copies of the options and its log of what it does.
constexpr uint64_t kUnreadStride = 4000;
// Of the bytes that are tried, one in so many with all its bits.
constexpr uint64_t kAllBitsEvery = 97;
constexpr uint64_t kGoesOnEvery = 16;
// At the end of every table; it has no checksum. Some flips in it (of the format's version, say) end the process in one of the
// assertions that Debian compiles into RocksDB: noticed, but nothing that a test in the same process can go on from.
constexpr uint64_t kFooterBytes = 53;

struct Flip {
  std::string file;
  uint64_t at = 0;
  int bit = 0;
  std::string Name() const { return absl::StrCat(file, "/", at, "/", bit); }
};

enum class Outcome { kRefused, kReadFails, kVerifyFails, kHarmless, kWrong };
constexpr const char* kOutcomes[] = {"refused to open", "reads fail", "verify finds it", "harmless", "WRONG"};

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// "000012.sst" -> ".sst", "MANIFEST-000005" -> "MANIFEST".
std::string KindOf(const std::string& file) {
  if (absl::StartsWith(file, "LOG")) return "LOG";
  const std::string ending = std::filesystem::path(file).extension();
  return ending.empty() ? file.substr(0, file.find('-')) : ending;
}

class EveryFlip : public testing::Test {
 protected:
  // Two sweeps with rows of every family; some in tables and blob files, the latest in the log only.
  void SetUp() override {
    manifest_ = MakeManifest("flip", 6, {"eye", "ear"});
    const sweep::Plan plan = MakePlan(manifest_);
    {
      // Through RocksDB's own file system once, for the files it writes beside the data.
      Store::Options options = SmallStore(folder_.path("store"), nullptr);
      options.ballast_bytes = 512;
      options.low_water_bytes = 0;
      auto store = OpenStore(options);
      ASSERT_TRUE(Create(*store, manifest_).ok());
      for (uint64_t ordinal = 0; ordinal < 3; ++ordinal) PutOne(*store, 1, MakeResult(plan, ordinal, ordinal == 0 ? 4200 : 150));
      PutOne(*store, 1, MakeResult(plan, 0, 150, 7));
      Fail(*store, 7);
    }
    {
      Database::Options options;
      options.folder = folder_.path("store");
      options.ballast_bytes = 0;
      options.file_system = std::make_shared<FaultFs>();
      auto database = Database::Open(options);
      ASSERT_TRUE(database.ok()) << database.status();
      for (size_t i = 0; i < kFamilies; ++i) {
        ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(static_cast<Family>(i))).ok());
      }
    }
    auto store = Open(folder_.path("store"));
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(Create(**store, MakeManifest("second", 3)).ok());
    PutOne(**store, 1, MakeResult(plan, 3, 150));
    PutOne(**store, 2, MakeResult(MakePlan(MakeManifest("second", 3)), 1, 150));
    Fail(**store, 8);
    PutOne(**store, 1, MakeResult(plan, 4, 150));
    view_ = *Observe(**store);
    store->reset();
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path("store"))) {
      if (entry.is_regular_file()) files_[entry.path().filename()] = ReadFile(entry.path());
    }
    marked_ = files_.contains("acknowledged");
  }

  static void Fail(Store& store, uint64_t ordinal) {
    v1::PutFailuresRequest request;
    request.set_sweep(1);
    request.add_failures()->set_ordinal(ordinal);
    request.mutable_failures(0)->set_attempts(3);
    ASSERT_TRUE(Await(store, &Store::PutFailures, request).ok());
  }

  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder) {
    Store::Options options = SmallStore(folder, std::make_shared<FaultFs>());
    options.create_if_missing = false;
    return Store::Open(options);
  }

  // The store with one bit flipped, in a folder of its own. Files that are only ever read, added or replaced are linked.
  void Harm(const Flip& flip, const std::string& folder) const {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    for (const auto& [name, bytes] : files_) {
      const std::string kind = KindOf(name);
      const bool constant = kind == ".sst" || kind == ".blob" || kind == ".log" || kind == "MANIFEST" || kind == "OPTIONS";
      if (constant && name != flip.file) {
        std::filesystem::create_hard_link(folder_.path("store/" + name), folder + "/" + name);
        continue;
      }
      std::string changed = bytes;
      if (name == flip.file) changed[flip.at] = static_cast<char>(changed[flip.at] ^ (1 << flip.bit));
      std::ofstream(folder + "/" + name, std::ios::binary) << changed;
    }
  }

  std::pair<Outcome, std::string> Try(const Flip& flip, const std::string& folder) const {
    Harm(flip, folder);
    auto store = Open(folder);
    if (!store.ok()) return {Outcome::kRefused, store.status().ToString()};
    const auto view = Observe(**store);
    const std::string problems = Unsound(**store);
    if (!view.ok()) {
      if (!absl::IsDataLoss(view.status())) return {Outcome::kWrong, "a read failed with " + view.status().ToString()};
      if (problems.empty()) return {Outcome::kWrong, "verify missed what a reader met: " + view.status().ToString()};
      return {Outcome::kReadFails, ""};
    }
    if (*view != view_) return {Outcome::kWrong, absl::StrCat("something else was read\n", Difference(*view), problems)};
    if (!problems.empty()) return {Outcome::kVerifyFails, ""};
    if (flip.at % kGoesOnEvery == 0) {
      const auto put = PutAll(**store, 1, {MakeResult(MakePlan(manifest_), 9)});
      if (!put.ok() || put->outcomes(0).code() != v1::PutOutcome::CODE_STORED) {
        return {Outcome::kWrong, "does not go on: " + put.status().ToString()};
      }
    }
    return {Outcome::kHarmless, ""};
  }

  std::string Difference(const View& view) const {
    std::string text;
    for (const auto& [key, value] : view_) {
      const auto it = view.find(key);
      if (it == view.end()) absl::StrAppend(&text, key, " is gone\n");
      if (it != view.end() && it->second != value) absl::StrAppend(&text, key, " changed\n");
    }
    for (const auto& [key, value] : view) {
      if (!view_.contains(key)) absl::StrAppend(&text, key, " came up\n");
    }
    return text;
  }

  std::vector<Flip> Flips(uint64_t stride) const {
    std::vector<Flip> flips;
    for (const auto& [name, bytes] : files_) {
      const uint64_t step = KindOf(name) == "OPTIONS" || KindOf(name) == "LOG" ? kUnreadStride : stride;
      const uint64_t end = KindOf(name) == ".sst" ? bytes.size() - kFooterBytes : bytes.size();
      for (uint64_t at = step / 2; at < end; at += step) {
        const uint64_t dice = Xxh3(absl::StrCat("flip ", at));
        for (int bit = 0; bit < 8; ++bit) {
          if (dice / 8 % kAllBitsEvery == 0 || dice % 8 == static_cast<uint64_t>(bit)) flips.push_back({name, at, bit});
        }
      }
    }
    return flips;
  }

  FastFolder folder_;
  v1::SweepManifest manifest_;
  Files files_;
  View view_;
  // The store keeps a mark of what it acknowledged beside the log.
  bool marked_ = false;
};

TEST_F(EveryFlip, IsNoticedOrHarmless) {
  if (const char* one = std::getenv("PROMPTSWEEP_FLIP")) {
    const std::vector<std::string> parts = absl::StrSplit(one, '/');
    ASSERT_EQ(parts.size(), 3u);
    Flip flip{parts[0]};
    ASSERT_TRUE(absl::SimpleAtoi(parts[1], &flip.at) && absl::SimpleAtoi(parts[2], &flip.bit));
    const auto [outcome, why] = Try(flip, folder_.path("one"));
    std::printf("%s: %s %s\n", one, kOutcomes[static_cast<int>(outcome)], why.c_str());
    EXPECT_NE(outcome, Outcome::kWrong);
    return;
  }
  uint64_t stride = kStride;
  if (const char* text = std::getenv("PROMPTSWEEP_FLIP_STRIDE")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &stride));
  }
  const std::vector<Flip> flips = Flips(stride);
  absl::Mutex mu;
  std::map<std::string, std::array<uint64_t, 5>> table;
  std::vector<std::string> wrong, unmarked;
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::min(4u, std::thread::hardware_concurrency())); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = next++; i < flips.size(); i = next++) {
        const auto [outcome, why] = Try(flips[i], folder_.path(absl::StrCat("harmed", t)));
        absl::MutexLock lock(&mu);
        ++table[KindOf(flips[i].file)][static_cast<int>(outcome)];
        if (outcome != Outcome::kWrong) continue;
        const std::string kind = KindOf(flips[i].file);
        // Without a mark nobody can tell the last acknowledged writes from unfinished ones.
        const bool tail = !marked_ && (kind == ".log" || kind == "MANIFEST");
        (tail ? unmarked : wrong).push_back(absl::StrCat("PROMPTSWEEP_FLIP=", flips[i].Name(), ": ", why));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& [kind, counts] : table) {
    std::string line;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) absl::StrAppend(&line, "  ", kOutcomes[i], " ", counts[i]);
    }
    std::printf("%-10s%s\n", kind.c_str(), line.c_str());
  }
  std::printf("%zu flips of %zu files, one byte in %d\n", flips.size(), files_.size(), static_cast<int>(stride));
  for (const std::string& each : unmarked) std::printf("lost without a mark: %s\n", each.c_str());
  EXPECT_EQ(wrong.size(), 0u) << absl::StrJoin(wrong.begin(), wrong.begin() + std::min<size_t>(wrong.size(), 20), "\n");
}

}  // namespace
}  // namespace promptsweep::store
