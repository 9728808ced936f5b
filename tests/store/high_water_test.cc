// Proves that a store which came back shorter than what it acknowledged is refused and stays refused, whatever was lost: a log,
// its end, a flipped bit that RocksDB would forgive, the whole folder's newer half; and that nothing else is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/utilities/checkpoint.h>

#include <filesystem>
#include <fstream>

#include "store/high_water.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  PS_CHECK(out.good());
}

class HighWaterTest : public testing::Test {
 protected:
  HighWaterTest() : plan_(MakePlan(manifest_)) {}
  std::string store() const { return folder_.path("store"); }
  std::string mark() const { return store() + "/" + kHighWaterFile; }
  // Stores the cells [begin, end) and closes.
  void Fill(uint64_t begin, uint64_t end) {
    auto store = OpenStore(this->store());
    sweep_ = Create(*store, manifest_).value();
    for (uint64_t i = begin; i < end; ++i)
      ASSERT_EQ(PutOne(*store, sweep_, MakeResult(plan_, i)).code(), v1::PutOutcome::CODE_STORED);
  }
  absl::Status Opens(const std::string& folder, bool accept_loss = false) {
    Store::Options options;
    options.folder = folder;
    options.ballast_bytes = 0;
    options.accept_loss = accept_loss;
    return Store::Open(options).status();
  }
  uint64_t Done(const std::string& folder) {
    auto store = OpenStore(folder);
    EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
    v1::GetSweepRequest request;
    request.set_sweep(sweep_);
    const auto info = store->GetSweep(request);
    return info.ok() ? info->info().counts().done() : 0;
  }
  // Refused, twice, in one clear line.
  void ExpectRefused(const std::string& folder, const std::string& why) {
    for (int i = 0; i < 2; ++i) {
      const absl::Status status = Opens(folder);
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      const std::string text(status.message());
      EXPECT_THAT(text, HasSubstr("lost acknowledged writes: "));
      EXPECT_THAT(text, HasSubstr(why));
      EXPECT_THAT(text, HasSubstr("restore a backup"));
      EXPECT_THAT(text, HasSubstr("--accept-loss"));
      EXPECT_EQ(text.find('\n'), std::string::npos);
    }
  }
  void Copy(const std::string& to) {
    std::filesystem::remove_all(folder_.path(to));
    std::filesystem::copy(store(), folder_.path(to), std::filesystem::copy_options::recursive);
  }
  std::vector<std::string> Files(const std::string& folder, const std::string& part) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().filename().string().find(part) != std::string::npos) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  std::string OnlyLog() {
    const auto logs = Files(store(), ".log");
    PS_CHECK(logs.size() == 1);
    return logs[0];
  }
  // Two logs: the second begins where the meta family was flushed, the first still holds everything else.
  void FillTwoLogs() {
    Fill(0, 3);
    Database::Options options;
    options.folder = store();
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status();
    rocksdb::WriteOptions synced;
    synced.sync = true;
    for (const char* key : {"one", "two"}) {
      ASSERT_TRUE((*database)->db().Put(synced, (*database)->family(Family::kDefault), key, std::string(300, 'x')).ok());
      ASSERT_TRUE((*database)->Acknowledge().ok());
      if (key == std::string("one")) {
        ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(Family::kMeta)).ok());
        ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(Family::kDefault)).ok());
      }
    }
    database->reset();
    ASSERT_GE(Files(store(), ".log").size(), 2u);
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("mark", 20);
  const sweep::Plan plan_;
  uint32_t sweep_ = 0;
};

TEST_F(HighWaterTest, IsOnTheWayToTheDiskBeforeAnyoneIsToldOk) {
  auto store = OpenStore(this->store());
  sweep_ = Create(*store, manifest_).value();
  for (uint64_t i = 0; i < 5; ++i) {
    PutOne(*store, sweep_, MakeResult(plan_, i));
    // Read through the page cache, as a process sees it that starts after a kill -9.
    const auto mark = ReadHighWaterMark(this->store());
    ASSERT_TRUE(mark.ok()) << mark.status();
    EXPECT_EQ(mark->uuid, store->uuid());
    EXPECT_EQ(mark->sequence, store->database().acknowledged());
    EXPECT_GT(mark->sequence, 5 * i);
  }
}

TEST_F(HighWaterTest, RefusesALostLog) {
  Fill(0, 4);
  std::filesystem::remove(OnlyLog());
  ExpectRefused(store(), "is gone");
}

TEST_F(HighWaterTest, RefusesALostLogThatIsNotTheLast) {
  FillTwoLogs();
  const auto logs = Files(store(), ".log");
  for (const std::string& log : logs) {
    if (std::filesystem::file_size(log) == 0) continue;
    Copy("copy");
    std::filesystem::remove(folder_.path("copy/") + std::filesystem::path(log).filename().string());
    ExpectRefused(folder_.path("copy"), "is gone");
    Copy("copy");
    const std::string in_copy = folder_.path("copy/") + std::filesystem::path(log).filename().string();
    std::filesystem::resize_file(in_copy, std::filesystem::file_size(log) - 3);
    ExpectRefused(folder_.path("copy"), "bytes");
  }
  EXPECT_EQ(Done(store()), 3u);
}

TEST_F(HighWaterTest, RefusesATruncatedLogAtEveryLength) {
  Fill(0, 3);
  const std::string log = OnlyLog();
  const std::string whole = ReadFile(log);
  for (size_t length = 0; length < whole.size(); length += 7) {
    std::filesystem::resize_file(log, length);
    const absl::Status status = Opens(store());
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << length << " of " << whole.size() << ": " << status;
    WriteFile(log, whole);
  }
  EXPECT_EQ(Done(store()), 3u);
}

TEST_F(HighWaterTest, RefusesEveryFlippedByteOfLogAndManifest) {
  Fill(0, 2);
  std::vector<std::string> files = {OnlyLog()};
  for (const std::string& manifest : Files(store(), "MANIFEST-")) files.push_back(manifest);
  ASSERT_EQ(files.size(), 2u);
  for (const std::string& file : files) {
    const std::string whole = ReadFile(file);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string harmed = whole;
      harmed[at] = static_cast<char>(harmed[at] ^ (1 << (at % 8)));
      WriteFile(file, harmed);
      const absl::Status status = Opens(store());
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << file << " at " << at << " of " << whole.size() << ": " << status;
    }
    WriteFile(file, whole);
  }
  EXPECT_EQ(Done(store()), 2u);
}

TEST_F(HighWaterTest, AnUnacknowledgedTailOfAnyKindIsDropped) {
  Fill(0, 3);
  const std::string name = std::filesystem::path(OnlyLog()).filename();
  const std::string whole = ReadFile(OnlyLog());
  std::string noise;
  for (int i = 0; noise.size() < 3000; ++i) noise += Sha256Of(absl::StrCat(i));
  // RocksDB's records: checksum (4), length (2, little-endian), type (1 for a whole one), batch. Parts of one, one of which only
  // the length is right, zeros for pages that were never written, and noise.
  const std::string header("\x01\x02\x03\x04\xe8\x03\x01", 7);
  const std::string whole_record = header + noise.substr(0, 1000);
  for (const std::string& tail : {header.substr(0, 3), header, header + noise.substr(0, 500), whole_record,
                                  whole_record + whole_record, std::string(5000, '\0'), noise}) {
    Copy("copy");
    WriteFile(folder_.path("copy/") + name, whole + tail);
    // Twice, with a write in between: the log with the bad tail is then no longer the last.
    for (uint64_t round = 0; round < 3; ++round) {
      auto store = Store::Open({.folder = folder_.path("copy"), .ballast_bytes = 0});
      ASSERT_TRUE(store.ok()) << store.status() << " with a tail of " << tail.size();
      v1::GetSweepRequest request;
      request.set_sweep(sweep_);
      EXPECT_EQ((*store)->GetSweep(request)->info().counts().done(), 3 + round);
      EXPECT_EQ(PutOne(**store, sweep_, MakeResult(plan_, 10 + round)).code(), v1::PutOutcome::CODE_STORED);
      EXPECT_EQ(Problems(VerifyAll(**store, true)), "");
      store->reset();
      // One family moves past the bad record, the others do not.
      Database::Options options;
      options.folder = folder_.path("copy");
      options.ballast_bytes = 0;
      auto database = Database::Open(options);
      ASSERT_TRUE(database.ok()) << database.status() << " with a tail of " << tail.size();
      const Family family = round == 0 ? Family::kMeta : Family::kResults;
      ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(family)).ok());
    }
  }
}

// What a log gave back was perhaps never synced, and the next client to ask is told that it is stored.
TEST_F(HighWaterTest, RecoveredLogsAreSyncedBeforeAnythingIsServed) {
  Fill(0, 3);
  class Spy final : public rocksdb::FileSystemWrapper {
   public:
    Spy() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
    const char* Name() const override { return "Spy"; }
    rocksdb::IOStatus ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                         std::unique_ptr<rocksdb::FSWritableFile>* file,
                                         rocksdb::IODebugContext* debug) override {
      std::unique_ptr<rocksdb::FSWritableFile> inner;
      rocksdb::IOStatus status = FileSystemWrapper::ReopenWritableFile(name, options, &inner, debug);
      if (status.ok()) *file = std::make_unique<File>(*this, name, std::move(inner));
      return status;
    }
    std::vector<std::string> synced;

   private:
    class File final : public rocksdb::FSWritableFileOwnerWrapper {
     public:
      File(Spy& spy, std::string name, std::unique_ptr<rocksdb::FSWritableFile> file)
          : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), spy_(spy), name_(std::move(name)) {}
      rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
        rocksdb::IOStatus status = FSWritableFileOwnerWrapper::Fsync(options, debug);
        if (status.ok()) spy_.synced.push_back(name_);
        return status;
      }
      Spy& spy_;
      const std::string name_;
    };
  };
  const std::string log = OnlyLog();
  auto spy = std::make_shared<Spy>();
  Store::Options options;
  options.folder = store();
  options.ballast_bytes = 0;
  options.file_system = spy;
  auto store = Store::Open(options);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT(spy->synced, testing::Contains(log));
}

TEST_F(HighWaterTest, RefusesAManifestThatForgotAFlush) {
  FillTwoLogs();
  const auto manifests = Files(store(), "MANIFEST-");
  const std::string manifest = manifests.back();
  std::filesystem::resize_file(manifest, std::filesystem::file_size(manifest) - 1);
  const auto before = Files(store(), "");
  ExpectRefused(store(), "MANIFEST-");
  // Nothing was deleted that a repair may need.
  EXPECT_EQ(Files(store(), ""), before);
}

TEST_F(HighWaterTest, RefusesAnOlderCopyOfTheFolder) {
  Fill(0, 3);
  Copy("older");
  Fill(3, 6);
  EXPECT_EQ(Done(folder_.path("older")), 3u) << "a whole older copy is a store";
  Copy("newer");
  std::filesystem::remove_all(store());
  std::filesystem::copy(folder_.path("older"), store());
  // The same files, but for the logs and the manifest, which are named in the mark: take those checks away too.
  const auto mark = ReadHighWaterMark(folder_.path("newer"));
  ASSERT_TRUE(mark.ok());
  ASSERT_TRUE(WriteHighWaterMark(store(), mark->uuid, mark->sequence).ok());
  ExpectRefused(store(), absl::StrCat("write ", mark->sequence, " was acknowledged, the last one there is "));
}

TEST_F(HighWaterTest, RefusesWhereNothingIsLeft) {
  Fill(0, 3);
  for (const auto& entry : std::filesystem::directory_iterator(store())) {
    if (entry.path().filename() != kHighWaterFile) std::filesystem::remove(entry.path());
  }
  Store::Options options;
  options.folder = store();
  options.ballast_bytes = 0;
  options.create_if_missing = true;
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = Store::Open(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  }
}

TEST_F(HighWaterTest, AMarkTornInOneSlotIsStillOne) {
  Fill(0, 4);
  const std::string whole = ReadFile(mark());
  ASSERT_EQ(whole.size() % 3, 0u);
  const size_t slot = whole.size() / 3;
  for (int i = 0; i < 3; ++i) {
    Copy("copy");
    std::string torn = whole;
    torn.replace(i * slot + 20, 20, 20, '\xee');
    WriteFile(folder_.path("copy/") + kHighWaterFile, torn);
    EXPECT_EQ(Done(folder_.path("copy")), 4u) << i;
    EXPECT_TRUE(Opens(folder_.path("copy")).ok());
  }
  WriteFile(mark(), std::string(whole.size(), '\0'));
  ExpectRefused(store(), "cannot be read");
  WriteFile(mark(), "");
  ExpectRefused(store(), "cannot be read");
}

TEST_F(HighWaterTest, RefusesAMissingMarkAndAnotherStores) {
  Fill(0, 2);
  const std::string whole = ReadFile(mark());
  std::filesystem::remove(mark());
  ExpectRefused(store(), "is gone");
  ASSERT_TRUE(WriteHighWaterMark(store(), std::string(16, 'u'), 1).ok());
  ExpectRefused(store(), "another store's");
  WriteFile(mark(), whole);
  EXPECT_EQ(Done(store()), 2u);
}

TEST_F(HighWaterTest, AKillBetweenTheGroupAndTheMarkLosesNothing) {
  {
    auto store = OpenStore(this->store());
    sweep_ = Create(*store, manifest_).value();
    PutOne(*store, sweep_, MakeResult(plan_, 0));
    const std::string before = ReadFile(mark());
    PutOne(*store, sweep_, MakeResult(plan_, 1));
    Copy("copy");
    WriteFile(folder_.path("copy/") + kHighWaterFile, before);
  }
  const auto lagging = ReadHighWaterMark(folder_.path("copy"));
  EXPECT_EQ(Done(folder_.path("copy")), 2u);
  // What was recovered counts as acknowledged from then on.
  const auto mark = ReadHighWaterMark(folder_.path("copy"));
  ASSERT_TRUE(mark.ok() && lagging.ok());
  EXPECT_GT(mark->sequence, lagging->sequence);
}

TEST_F(HighWaterTest, AKillBetweenMakingTheStoreAndTheMarkLosesNothing) {
  {
    auto store = OpenStore(this->store());
  }
  std::filesystem::remove(mark());
  EXPECT_TRUE(Opens(store()).ok());
  EXPECT_TRUE(ReadHighWaterMark(store()).ok());
}

TEST_F(HighWaterTest, AcceptingTheLossMakesWhatIsThereTheTruth) {
  FillTwoLogs();
  Fill(3, 6);
  const auto logs = Files(store(), ".log");
  std::filesystem::remove(logs.back());
  ExpectRefused(store(), "is gone");
  EXPECT_TRUE(Opens(store(), /*accept_loss=*/true).ok());
  EXPECT_TRUE(Opens(store()).ok());
  EXPECT_LT(Done(store()), 6u);
  // And it is guarded again.
  Fill(10, 12);
  const auto mark = ReadHighWaterMark(store());
  ASSERT_TRUE(mark.ok());
  std::filesystem::resize_file(Files(store(), ".log").back(), 10);
  ExpectRefused(store(), "bytes");
}

TEST_F(HighWaterTest, AcceptingTheLossOfAHarmedLogKeepsWhatStandsBeforeTheHarm) {
  Fill(0, 6);
  const std::string log = OnlyLog();
  std::string bytes = ReadFile(log);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteFile(log, bytes);
  ExpectRefused(store(), "is harmed");
  EXPECT_TRUE(Opens(store(), /*accept_loss=*/true).ok());
  const uint64_t left = Done(store());
  EXPECT_GT(left, 0u);
  EXPECT_LT(left, 6u);
}

TEST_F(HighWaterTest, AcceptingTheLossOfTheMark) {
  Fill(0, 2);
  WriteFile(mark(), "nonsense");
  EXPECT_EQ(Opens(store()).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Opens(store(), /*accept_loss=*/true).ok());
  EXPECT_EQ(Done(store()), 2u);
}

TEST_F(HighWaterTest, AStoreOfVersionOneGetsAMark) {
  Fill(0, 3);
  {
    Database::Options options;
    options.folder = store();
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(
        (*database)
            ->db()
            .Put(rocksdb::WriteOptions(), (*database)->family(Family::kMeta), ToSlice(kSchemaVersionKey), ToSlice(EncodeU32(1)))
            .ok());
  }
  std::filesystem::remove(mark());
  EXPECT_EQ(Done(store()), 3u);
  ASSERT_TRUE(ReadHighWaterMark(store()).ok());
  std::filesystem::remove(mark());
  ExpectRefused(store(), "is gone");
}

TEST_F(HighWaterTest, ACopyCarriesItsOwnMark) {
  Fill(0, 3);
  const auto mark = ReadHighWaterMark(store());
  ASSERT_TRUE(mark.ok());
  Copy("copy");
  std::filesystem::remove(folder_.path("copy/") + kHighWaterFile);
  ASSERT_TRUE(WriteHighWaterMark(folder_.path("copy"), mark->uuid, mark->sequence).ok());
  EXPECT_EQ(Done(folder_.path("copy")), 3u);
  ASSERT_TRUE(WriteHighWaterMark(folder_.path("copy"), mark->uuid, mark->sequence + 1000).ok());
  ExpectRefused(folder_.path("copy"), "was acknowledged");
}

// RocksDB copies logs and manifests into a checkpoint under the names they have in the store.
TEST_F(HighWaterTest, ACheckpointBesideItChangesNothing) {
  Fill(0, 3);
  std::string uuid;
  uint64_t sequence = 0;
  {
    Database::Options options;
    options.folder = store() + "/";
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status();
    uuid = (*database)->uuid();
    sequence = (*database)->acknowledged();
    rocksdb::Checkpoint* raw = nullptr;
    ASSERT_TRUE(rocksdb::Checkpoint::Create(&(*database)->db(), &raw).ok());
    std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
    ASSERT_TRUE(checkpoint->CreateCheckpoint(folder_.path("checkpoint"), /*log_size_for_flush=*/uint64_t{1} << 40).ok());
  }
  const auto mark = ReadHighWaterMark(store());
  ASSERT_TRUE(mark.ok());
  for (const FileMark& file : mark->files) {
    if (file.kind != FileMark::Kind::kLog) continue;
    const std::string log = absl::StrCat(store(), "/", absl::Dec(file.number, absl::kZeroPad6), ".log");
    EXPECT_EQ(file.bytes, std::filesystem::file_size(log));
  }
  EXPECT_EQ(Done(store()), 3u);
  EXPECT_EQ(Opens(folder_.path("checkpoint")).code(), absl::StatusCode::kDataLoss) << "a copy needs its own mark";
  ASSERT_TRUE(WriteHighWaterMark(folder_.path("checkpoint"), uuid, sequence).ok());
  EXPECT_EQ(Done(folder_.path("checkpoint")), 3u);
}

// Logs come and go while families are flushed; the mark follows, so that no opening sees a deletion as a loss.
TEST_F(HighWaterTest, FollowsFlushesAndReopenings) {
  for (int round = 0; round < 4; ++round) {
    Fill(round * 2, round * 2 + 2);
    Database::Options options;
    options.folder = store();
    options.ballast_bytes = 0;
    for (size_t i = round; i < kFamilies; i += 4) {
      auto database = Database::Open(options);
      ASSERT_TRUE(database.ok()) << round << " " << i << ": " << database.status();
      ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(static_cast<Family>(i))).ok());
    }
  }
  EXPECT_EQ(Done(store()), 8u);
}

}  // namespace
}  // namespace promptsweep::store
