// F3, F4, F5: proves that a torn or noisy tail of the log costs nothing acknowledged, that harm before it is refused, and that
// harmed, cut and missing files are never read as if they were whole. (fault_flip_test.cc does the same for every byte.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/store/crash_life.h"

namespace promptsweep::store {
namespace {

class Harmed : public testing::Test {
 protected:
  static constexpr uint64_t kCells = 24;
  void SetUp() override {
    manifest_ = MakeManifest("harm", kCells / 2);
    fs_ = std::make_shared<FaultFs>();
    store_ = OpenStore(SmallStore(folder_.path("store"), fs_));
    sweep_ = Create(*store_, manifest_).value();
  }
  void PutCells(uint64_t begin, uint64_t end, size_t bytes) {
    const sweep::Plan plan = MakePlan(manifest_);
    for (uint64_t ordinal = begin; ordinal < end; ++ordinal) {
      ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(plan, ordinal, bytes)).code(), v1::PutOutcome::CODE_STORED);
    }
  }
  std::vector<std::filesystem::path> FilesOf(const std::string& folder, const std::string& ending) {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ending) found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  static absl::StatusOr<std::unique_ptr<Store>> OpenWith(const std::string& folder, std::shared_ptr<FaultFs> fs) {
    Store::Options options = SmallStore(folder, std::move(fs));
    options.create_if_missing = false;
    return Store::Open(options);
  }
  // True where opening, reading or verifying says that something is wrong. Reads must not end short, whatever happens.
  bool Noticed(const std::string& folder, std::shared_ptr<FaultFs> fs) {
    auto store = OpenWith(folder, std::move(fs));
    if (!store.ok()) return true;
    const auto view = Observe(**store);
    const std::string problems = Unsound(**store);
    if (view.ok()) {
      EXPECT_EQ(*view, view_) << "something else was read as if it were right";
    } else {
      EXPECT_NE(problems, "") << "verification missed what a reader met: " << view.status();
    }
    return !problems.empty();
  }

  FastFolder folder_;
  v1::SweepManifest manifest_;
  std::shared_ptr<FaultFs> fs_;
  std::unique_ptr<Store> store_;
  uint32_t sweep_ = 0;
  View view_;
};

TEST_F(Harmed, Case34_F3TornAndNoisyTailsOfTheLogLoseOnlyWhatWasNotAcknowledged) {
  PutCells(0, 5, 600);
  view_ = *Observe(*store_);
  // Some more reaches the log but never the disk.
  fs_->FailFrom(FaultFs::Op::kSync, 1, rocksdb::IOStatus::IOError("injected"));
  const sweep::Plan plan = MakePlan(manifest_);
  EXPECT_FALSE(PutAll(*store_, sweep_, {MakeResult(plan, 5, 600), MakeResult(plan, 6, 600)}).ok());
  int kept = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    const auto cut = seed % 2 ? FaultFs::Cut::kTorn : FaultFs::Cut::kGarbage;
    fs_->CopyDurable(folder_.path("store"), folder_.path("after"), cut, seed);
    auto after = OpenWith(folder_.path("after"), std::make_shared<FaultFs>());
    ASSERT_TRUE(after.ok()) << "seed " << seed << ": " << after.status();
    auto view = Observe(**after);
    ASSERT_TRUE(view.ok()) << "seed " << seed << ": " << view.status();
    EXPECT_EQ(Unsound(**after), "") << "seed " << seed;
    // The unfinished write is there as a whole or not at all.
    const bool first = view->erase(CellName(sweep_, 5)) > 0;
    EXPECT_EQ(view->erase(CellName(sweep_, 6)) > 0, first) << "seed " << seed;
    EXPECT_EQ(*view, view_) << "seed " << seed;
    kept += first;
  }
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, 150);
}

TEST_F(Harmed, Case34_F4HarmBeforeTheLogsLastWriteIsRefused) {
  PutCells(0, 10, 600);
  const auto logs = FilesOf(folder_.path("store"), ".log");
  ASSERT_EQ(logs.size(), 1u);
  // The tenth is the last write.
  const uint64_t size = std::filesystem::file_size(logs[0]) * 8 / 10;
  store_.reset();
  for (uint64_t i = 0; i < 60; ++i) {
    const uint64_t at = Xxh3(absl::StrCat("flip ", i)) % size;
    auto fs = std::make_shared<FaultFs>();
    fs->FlipOnRead(logs[0].filename(), at, static_cast<int>(i % 8));
    const auto store = OpenWith(folder_.path("store"), fs);
    ASSERT_FALSE(store.ok()) << "at " << at << ": acknowledged results behind the harm would be dropped in silence";
    EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
  }
}

TEST_F(Harmed, F5HarmedCutAndMissingTablesAndBlobsAreNoticed) {
  PutCells(0, kCells, 9000);
  view_ = *Observe(*store_);
  store_.reset();
  // All rows into files.
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
  auto files = FilesOf(folder_.path("store"), ".sst");
  const auto blobs = FilesOf(folder_.path("store"), ".blob");
  ASSERT_GT(blobs.size(), 0u);
  files.insert(files.end(), blobs.begin(), blobs.end());
  const auto fresh = [&] {
    std::filesystem::remove_all(folder_.path("copy"));
    std::filesystem::copy(folder_.path("store"), folder_.path("copy"));
    return folder_.path("copy");
  };
  ASSERT_FALSE(Noticed(fresh(), std::make_shared<FaultFs>()));
  for (const auto& file : files) {
    const std::string name = file.filename();
    const uint64_t size = std::filesystem::file_size(file);
    for (uint64_t i = 0; i < 3; ++i) {
      // Data stands at the front; what follows it holds statistics that nothing reads.
      const uint64_t at = Xxh3(absl::StrCat(name, i)) % std::max<uint64_t>(1, size / 8);
      auto fs = std::make_shared<FaultFs>();
      fs->FlipOnRead(name, at, static_cast<int>(i));
      EXPECT_TRUE(Noticed(fresh(), fs)) << name << " at " << at << " of " << size;
    }
    for (const uint64_t left : {uint64_t{0}, size / 2, size - 1}) {
      const std::string copy = fresh();
      std::filesystem::resize_file(copy + "/" + name, left);
      EXPECT_TRUE(Noticed(copy, std::make_shared<FaultFs>())) << name << " cut to " << left << " of " << size;
    }
    const std::string copy = fresh();
    std::filesystem::remove(copy + "/" + name);
    EXPECT_TRUE(Noticed(copy, std::make_shared<FaultFs>())) << name << " deleted";
  }
}

}  // namespace
}  // namespace promptsweep::store
