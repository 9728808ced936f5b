// Proves the instruments: what the model of a disk keeps and loses in a power cut, and that the file system over it fails on cue,
// counts its room and flips what it is told to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/store/crash_life.h"

namespace promptsweep::store {
namespace {

using Cut = DiskModel::Cut;
using Op = FaultFs::Op;

// Everything that cuts of many seeds leave.
std::set<Files> Outcomes(const DiskModel& disk, Cut cut) {
  std::set<Files> all;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    all.insert(disk.After(cut, random));
  }
  return all;
}

TEST(DiskModel, KeepsWhatWasSyncedAndAnyPartOfTheRest) {
  DiskModel disk;
  const auto file = disk.Apply({.kind = Op::kCreate, .path = "d/a.log"});
  disk.Apply({.kind = Op::kAppend, .file = file, .bytes = "safe"});
  disk.Apply({.kind = Op::kSync, .file = file});
  EXPECT_EQ(Outcomes(disk, Cut::kDurable), std::set<Files>{Files{}}) << "its folder was not synced";
  disk.Apply({.kind = Op::kSyncFolder, .path = "d"});
  disk.Apply({.kind = Op::kAppend, .file = file, .bytes = "xyz"});
  EXPECT_EQ(Outcomes(disk, Cut::kDurable), (std::set<Files>{{{"d/a.log", "safe"}}}));
  EXPECT_EQ(Outcomes(disk, Cut::kTorn),
            (std::set<Files>{{{"d/a.log", "safe"}}, {{"d/a.log", "safex"}}, {{"d/a.log", "safexy"}}, {{"d/a.log", "safexyz"}}}));
  bool noise = false;
  for (const Files& files : Outcomes(disk, Cut::kGarbage)) {
    const std::string& bytes = files.at("d/a.log");
    EXPECT_EQ(bytes.substr(0, 4), "safe");
    EXPECT_LE(bytes.size(), 7u);
    noise = noise || !std::string("safexyz").starts_with(bytes);
  }
  EXPECT_TRUE(noise);
}

TEST(DiskModel, ChangesOfAFolderAreDurableInOrderOnceItIsSynced) {
  DiskModel disk(Files{{"d/CURRENT", "old"}, {"d/gone", "g"}});
  const auto file = disk.Apply({.kind = Op::kCreate, .path = "d/new"});
  disk.Apply({.kind = Op::kAppend, .file = file, .bytes = "new"});
  disk.Apply({.kind = Op::kSync, .file = file});
  disk.Apply({.kind = Op::kRename, .path = "d/new", .to = "d/CURRENT"});
  disk.Apply({.kind = Op::kDelete, .path = "d/gone"});
  const Files before{{"d/CURRENT", "old"}, {"d/gone", "g"}};
  const Files made{{"d/CURRENT", "old"}, {"d/gone", "g"}, {"d/new", "new"}};
  const Files renamed{{"d/CURRENT", "new"}, {"d/gone", "g"}};
  const Files after{{"d/CURRENT", "new"}};
  EXPECT_EQ(Outcomes(disk, Cut::kDurable), std::set<Files>{before});
  EXPECT_EQ(Outcomes(disk, Cut::kTorn), (std::set<Files>{before, made, renamed, after}));
  disk.Apply({.kind = Op::kSyncFolder, .path = "other"});
  EXPECT_EQ(Outcomes(disk, Cut::kDurable), std::set<Files>{before});
  disk.Apply({.kind = Op::kSyncFolder, .path = "d"});
  EXPECT_EQ(Outcomes(disk, Cut::kTorn), std::set<Files>{after});
}

class Faulty : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_.path("d"));
    Make();
  }
  void Make() { ASSERT_TRUE(fs_.NewWritableFile(folder_.path("d/a"), {}, &file_, nullptr).ok()); }
  rocksdb::IOStatus Append(const std::string& bytes) { return file_->Append(bytes, {}, nullptr); }
  rocksdb::IOStatus Sync() { return file_->Sync({}, nullptr); }

  FastFolder folder_;
  FaultFs fs_;
  std::unique_ptr<rocksdb::FSWritableFile> file_;
};

TEST_F(Faulty, FailsOnceOrForGoodAndCountsSecondTries) {
  const rocksdb::IOStatus broken = rocksdb::IOStatus::IOError("injected");
  fs_.FailOnce(Op::kSync, 2, broken);
  EXPECT_TRUE(Sync().ok());
  EXPECT_TRUE(Sync().IsIOError());
  EXPECT_EQ(fs_.retried_syncs(), 0);
  EXPECT_TRUE(Sync().ok());
  EXPECT_EQ(fs_.retried_syncs(), 1);
  const uint64_t changes = fs_.changes();
  fs_.FailFromChange(2, broken);
  EXPECT_TRUE(Append("x").ok());
  EXPECT_TRUE(Append("y").IsIOError());
  EXPECT_TRUE(Sync().IsIOError());
  EXPECT_TRUE(fs_.DeleteFile(folder_.path("d/a"), {}, nullptr).IsIOError());
  EXPECT_EQ(fs_.changes(), changes + 1);
  fs_.Heal();
  EXPECT_TRUE(Append("z").ok());
  EXPECT_EQ(std::filesystem::file_size(folder_.path("d/a")), 2u);
}

TEST_F(Faulty, RoomIsUsedUpAndGivenBack) {
  fs_.SetFreeSpace(10);
  EXPECT_TRUE(Append("1234567").ok());
  EXPECT_TRUE(Append("8901").IsNoSpace());
  uint64_t free = 0;
  ASSERT_TRUE(fs_.GetFreeSpace(folder_.path("d"), {}, &free, nullptr).ok());
  EXPECT_EQ(free, 3u);
  ASSERT_TRUE(fs_.DeleteFile(folder_.path("d/a"), {}, nullptr).ok());
  ASSERT_TRUE(fs_.GetFreeSpace(folder_.path("d"), {}, &free, nullptr).ok());
  EXPECT_EQ(free, 10u);
  Make();
  EXPECT_TRUE(Append("1234567890").ok());
}

TEST_F(Faulty, CopiesWhatACutLeavesWithFilesItDidNotWrite) {
  ASSERT_TRUE(Append("lost").ok());
  std::ofstream(folder_.path("d/foreign")) << "kept";
  fs_.CopyDurable(folder_.path("d"), folder_.path("copy"));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path("copy"))) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::ElementsAre("foreign"));
}

TEST_F(Faulty, FlipsTheBitOfWhoeverReadsIt) {
  ASSERT_TRUE(Append("abcdef").ok());
  fs_.FlipOnRead("/a", 2, 0);
  char scratch[8];
  rocksdb::Slice got;
  std::unique_ptr<rocksdb::FSRandomAccessFile> random;
  ASSERT_TRUE(fs_.NewRandomAccessFile(folder_.path("d/a"), {}, &random, nullptr).ok());
  ASSERT_TRUE(random->Read(1, 3, {}, &got, scratch, nullptr).ok());
  EXPECT_EQ(got.ToString(), "bbd");
  std::unique_ptr<rocksdb::FSSequentialFile> in;
  ASSERT_TRUE(fs_.NewSequentialFile(folder_.path("d/a"), {}, &in, nullptr).ok());
  ASSERT_TRUE(in->Read(2, {}, &got, scratch, nullptr).ok());
  EXPECT_EQ(got.ToString(), "ab");
  ASSERT_TRUE(in->Read(2, {}, &got, scratch, nullptr).ok());
  EXPECT_EQ(got.ToString(), "bd");
}

}  // namespace
}  // namespace promptsweep::store
