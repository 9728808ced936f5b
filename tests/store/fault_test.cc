// Proves that no acknowledged result is lost and nothing unacknowledged is half there: failing appends and syncs, power cuts
// that drop unsynced bytes, torn and harmed files, a full disk, two openers, a newer schema, folders that are no store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/store/fault_fs.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

Store::Options Faulty(const std::string& folder, std::shared_ptr<FaultFs> fs) {
  Store::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  options.file_system = std::move(fs);
  return options;
}

// Every ordinal of `acknowledged` is in the folder with the bytes that were sent, and the folder is sound.
void ExpectHolds(const std::string& folder, const sweep::Plan& plan, uint32_t sweep, const std::set<uint64_t>& acknowledged,
                 size_t image_bytes) {
  auto store = OpenStore(folder);
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
  for (const uint64_t ordinal : acknowledged) {
    ASSERT_EQ(PutOne(*store, sweep, MakeResult(plan, ordinal, image_bytes)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME)
        << "acknowledged cell " << ordinal << " is gone";
  }
  // And the rest can still be stored.
  for (uint64_t ordinal = 0; ordinal < plan.cell_count(); ++ordinal) {
    const auto code = PutOne(*store, sweep, MakeResult(plan, ordinal, image_bytes)).code();
    ASSERT_TRUE(code == v1::PutOutcome::CODE_STORED || code == v1::PutOutcome::CODE_DUPLICATE_SAME);
  }
  const auto verdict = VerifyAll(*store, true);
  EXPECT_EQ(Problems(verdict), "");
  EXPECT_EQ(verdict.sweeps(0).counts().done(), plan.cell_count());
}

struct Fault {
  FaultFs::Op op;
  int nth;
  bool no_space;
};

class FailingDisk : public testing::TestWithParam<Fault> {};

TEST_P(FailingDisk, LosesNothingThatWasAcknowledged) {
  const Fault& fault = GetParam();
  static constexpr size_t kImageBytes = 6000;
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("fault", 15);
  const sweep::Plan plan = MakePlan(manifest);
  auto fs = std::make_shared<FaultFs>();
  Store::Options options = Faulty(folder.path("store"), fs);
  std::atomic<int> fatal{0};
  options.on_fatal = [&](const absl::Status& status) {
    EXPECT_FALSE(status.ok());
    ++fatal;
  };
  auto store = OpenStore(options);
  const auto sweep = Create(*store, manifest);
  ASSERT_TRUE(sweep.ok());
  fs->FailFrom(fault.op, fault.nth,
               fault.no_space ? rocksdb::IOStatus::NoSpace("injected") : rocksdb::IOStatus::IOError("injected"));

  absl::Mutex mu;
  std::set<uint64_t> acknowledged;
  const absl::StatusCode expected = fault.no_space ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t ordinal = t; ordinal < plan.cell_count(); ordinal += 3) {
        const auto reply = PutAll(*store, *sweep, {MakeResult(plan, ordinal, kImageBytes)});
        if (!reply.ok()) {
          EXPECT_EQ(reply.status().code(), expected) << reply.status();
          continue;
        }
        ASSERT_EQ(reply->outcomes(0).code(), v1::PutOutcome::CODE_STORED);
        absl::MutexLock lock(&mu);
        acknowledged.insert(ordinal);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_LT(acknowledged.size(), plan.cell_count()) << "the fault never fired";
  EXPECT_EQ(store->health().code(), expected);
  EXPECT_EQ(store->ListSweeps().status().code(), expected);
  EXPECT_EQ(PutAll(*store, *sweep, {MakeResult(plan, 0, kImageBytes)}).status().code(), expected);

  // The process dies and the machine loses power at once.
  fs->CopyDurable(folder.path("store"), folder.path("after"));
  store.reset();
  EXPECT_EQ(fatal, 1);
  ExpectHolds(folder.path("after"), plan, *sweep, acknowledged, kImageBytes);
  // Only the process dies.
  ExpectHolds(folder.path("store"), plan, *sweep, acknowledged, kImageBytes);
}

std::vector<Fault> Faults() {
  std::vector<Fault> faults;
  for (const int nth : {1, 2, 3, 5, 8}) {
    for (const bool no_space : {false, true}) {
      faults.push_back({FaultFs::Op::kSync, nth, no_space});
      faults.push_back({FaultFs::Op::kAppend, nth, no_space});
    }
  }
  return faults;
}

INSTANTIATE_TEST_SUITE_P(NthOperation, FailingDisk, testing::ValuesIn(Faults()), [](const auto& info) {
  return absl::StrCat(info.param.op == FaultFs::Op::kSync ? "Sync" : "Append", info.param.nth,
                      info.param.no_space ? "Full" : "Broken");
});

TEST(PowerCut, Case55_AtEveryAcknowledgement) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("cut", 12);
  const sweep::Plan plan = MakePlan(manifest);
  auto fs = std::make_shared<FaultFs>();
  auto store = OpenStore(Faulty(folder.path("store"), fs));
  fs->CopyDurable(folder.path("store"), folder.path("empty"));
  {
    auto empty = OpenStore(folder.path("empty"));
  }
  const auto sweep = Create(*store, manifest);
  ASSERT_TRUE(sweep.ok());
  std::set<uint64_t> acknowledged;
  for (uint64_t ordinal = 0; ordinal < plan.cell_count(); ++ordinal) {
    ASSERT_EQ(PutOne(*store, *sweep, MakeResult(plan, ordinal, 5000)).code(), v1::PutOutcome::CODE_STORED);
    acknowledged.insert(ordinal);
    if (ordinal % 4 != 1) continue;
    fs->CopyDurable(folder.path("store"), folder.path("after"));
    ExpectHolds(folder.path("after"), plan, *sweep, acknowledged, 5000);
  }
}

TEST(PowerCut, WhileManyWrite) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("storm", 150);
  const sweep::Plan plan = MakePlan(manifest);
  auto fs = std::make_shared<FaultFs>();
  auto store = OpenStore(Faulty(folder.path("store"), fs));
  const auto sweep = Create(*store, manifest);
  ASSERT_TRUE(sweep.ok());
  absl::Mutex mu;
  std::set<uint64_t> acknowledged;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t ordinal = t; ordinal < plan.cell_count(); ordinal += 4) {
        ASSERT_EQ(PutOne(*store, *sweep, MakeResult(plan, ordinal, 5000)).code(), v1::PutOutcome::CODE_STORED);
        absl::MutexLock lock(&mu);
        acknowledged.insert(ordinal);
      }
    });
  }
  for (int cut = 1; cut <= 3; ++cut) {
    std::set<uint64_t> before;
    {
      const size_t enough = cut * 70;
      const auto reached = [&] { return acknowledged.size() >= enough; };
      absl::MutexLock lock(&mu);
      mu.Await(absl::Condition(&reached));
      before = acknowledged;
    }
    fs->CopyDurable(folder.path("store"), folder.path("after"));
    ExpectHolds(folder.path("after"), plan, *sweep, before, 5000);
  }
  for (std::thread& thread : threads) thread.join();
}

// A store of 40 cells whose rows were moved from the log to table and blob files.
class HarmedFiles : public testing::Test {
 protected:
  void SetUp() override {
    manifest_ = MakeManifest("harm", 20);
    auto store = OpenStore(folder_.path("store"));
    sweep_ = Create(*store, manifest_).value();
    const sweep::Plan plan = MakePlan(manifest_);
    for (uint64_t ordinal = 0; ordinal < 40; ++ordinal) PutOne(*store, sweep_, MakeResult(plan, ordinal, 9000, 0, 256));
  }
  void Flush() {
    Database::Options options;
    options.folder = folder_.path("store");
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status();
    for (size_t i = 0; i < kFamilies; ++i) {
      ASSERT_TRUE((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(static_cast<Family>(i))).ok());
    }
  }
  std::vector<std::string> Files(const std::string& ending) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path("store"))) {
      if (entry.path().extension() == ending) files.push_back(entry.path());
    }
    return files;
  }
  void FlipBit(const std::string& file, uint64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(stream.get() ^ 4);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte);
    ASSERT_TRUE(stream.good());
  }
  // True where the harm was noticed by opening, by a full read or by verification; a full read must never end well short.
  bool Noticed(const std::string& folder) {
    Store::Options options;
    options.folder = folder;
    options.ballast_bytes = 0;
    auto store = Store::Open(options);
    if (!store.ok()) return true;
    v1::GetResultsRequest results;
    results.set_sweep(sweep_);
    results.set_with_images(true);
    const auto rows = ReadAll(**store, results);
    EXPECT_TRUE(!rows.ok() || rows->size() == 40) << "a short stream ended as if it were whole";
    v1::ScanEmbeddingsRequest scan;
    scan.set_sweep(sweep_);
    scan.set_embedder("eye");
    const auto vectors = ScanAll(**store, scan);
    EXPECT_TRUE(!vectors.ok() || vectors->size() == 40) << "a short scan ended as if it were whole";
    const bool verified = Problems(VerifyAll(**store, true)).empty();
    EXPECT_TRUE(!verified || (rows.ok() && vectors.ok())) << "verification missed what a reader met";
    return !verified;
  }

  TempFolder folder_;
  v1::SweepManifest manifest_;
  uint32_t sweep_ = 0;
};

TEST_F(HarmedFiles, EveryFlippedBitOfDataIsNoticed) {
  Flush();
  std::vector<std::string> files = Files(".sst");
  for (const std::string& blob : Files(".blob")) files.push_back(blob);
  ASSERT_GT(Files(".blob").size(), 0u);
  // An opened store may compact, so every opening gets its own copy.
  const auto fresh = [&] {
    std::filesystem::remove_all(folder_.path("copy"));
    std::filesystem::copy(folder_.path("store"), folder_.path("copy"));
    return folder_.path("copy");
  };
  ASSERT_FALSE(Noticed(fresh()));
  for (const std::string& file : files) {
    const uint64_t size = std::filesystem::file_size(file);
    // Data blocks and blob records stand at the front; tails hold properties that nothing reads.
    for (const uint64_t at : {uint64_t{100}, size / 3, size / 2}) {
      if (!file.ends_with(".blob") && at > 400 && at > size / 2) continue;
      const std::string copy = fresh();
      FlipBit(copy + "/" + std::filesystem::path(file).filename().string(), at);
      EXPECT_TRUE(Noticed(copy)) << file << " at " << at << " of " << size;
    }
  }
}

TEST_F(HarmedFiles, AFlippedBitInTheLogRefusesToOpen) {
  const auto logs = Files(".log");
  ASSERT_EQ(logs.size(), 1u);
  FlipBit(logs[0], std::filesystem::file_size(logs[0]) / 2);
  Store::Options options;
  options.folder = folder_.path("store");
  const auto store = Store::Open(options);
  ASSERT_FALSE(store.ok()) << "acknowledged results behind the harm would have been dropped in silence";
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
}

TEST_F(HarmedFiles, ATornTailOfTheLogIsAnUnfinishedWrite) {
  const auto logs = Files(".log");
  ASSERT_EQ(logs.size(), 1u);
  // A record header that promises more than follows.
  std::ofstream(logs[0], std::ios::app | std::ios::binary) << std::string("\x01\x02\x03\x04\x00\x10\x01half a record", 20);
  auto store = OpenStore(folder_.path("store"));
  v1::GetSweepRequest request;
  request.set_sweep(sweep_);
  EXPECT_EQ(store->GetSweep(request)->info().counts().done(), 40u);
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
}

TEST(Opening, AFolderHasOneOpener) {
  TempFolder folder;
  auto first = OpenStore(folder.path("store"));
  Store::Options options;
  options.folder = folder.path("store");
  const auto second = Store::Open(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("is in use by another process"));
  first.reset();
  EXPECT_TRUE(Store::Open(options).ok());
}

TEST(Opening, SaysWhyThereIsNoStore) {
  TempFolder folder;
  Store::Options options;
  options.folder = folder.path("none");
  EXPECT_EQ(Store::Open(options).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(options.folder));
  std::filesystem::create_directory(options.folder);
  EXPECT_EQ(Store::Open(options).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(std::filesystem::is_empty(options.folder));
  std::ofstream(folder.path("file")) << "x";
  options.folder = folder.path("file");
  options.create_if_missing = true;
  EXPECT_EQ(Store::Open(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Opening, NeverMakesAStoreOverAnotherOnesRemains) {
  TempFolder folder;
  {
    auto store = OpenStore(folder.path("store"));
    ASSERT_TRUE(Create(*store, MakeManifest("first", 2)).ok());
  }
  std::filesystem::remove(folder.path("store/CURRENT"));
  Store::Options options;
  options.folder = folder.path("store");
  options.create_if_missing = true;
  const auto status = Store::Open(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("damaged"));
}

TEST(Opening, RefusesANewerSchema) {
  TempFolder folder;
  {
    Database::Options options;
    options.folder = folder.path("store");
    options.create_if_missing = true;
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE((*database)
                    ->db()
                    .Put(rocksdb::WriteOptions(), (*database)->family(Family::kMeta), ToSlice(kSchemaVersionKey),
                         ToSlice(EncodeU32(kSchemaVersion + 1)))
                    .ok());
    rocksdb::ColumnFamilyHandle* later = nullptr;
    ASSERT_TRUE((*database)->db().CreateColumnFamily(rocksdb::ColumnFamilyOptions(), "from_the_future", &later).ok());
    ASSERT_TRUE((*database)->db().DestroyColumnFamilyHandle(later).ok());
  }
  Store::Options options;
  options.folder = folder.path("store");
  const auto status = Store::Open(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("schema version ", kSchemaVersion + 1, ", this program knows ", kSchemaVersion)));
}

TEST(FullDisk, IsRefusedBeforeItIsFull) {
  TempFolder folder;
  auto fs = std::make_shared<FaultFs>();
  auto store = OpenStore(Faulty(folder.path("store"), fs));
  const v1::SweepManifest manifest = MakeManifest("full", 5);
  const sweep::Plan plan = MakePlan(manifest);
  const auto sweep = Create(*store, manifest);
  ASSERT_TRUE(sweep.ok());
  fs->SetFreeSpace(1 << 20);
  const auto refused = PutAll(*store, *sweep, {MakeResult(plan, 0)});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("disk full"));
  EXPECT_EQ(Create(*store, MakeManifest("more", 5)).status().code(), absl::StatusCode::kResourceExhausted);
  // Reading and steering go on, and so does writing once there is room.
  EXPECT_TRUE(store->ListSweeps().ok());
  v1::SetSweepStateRequest pause;
  pause.set_sweep(*sweep);
  pause.set_state(v1::SWEEP_STATE_PAUSED);
  EXPECT_TRUE(Await(*store, &Store::SetSweepState, pause).ok());
  fs->SetFreeSpace(1 << 30);
  EXPECT_EQ(PutOne(*store, *sweep, MakeResult(plan, 0)).code(), v1::PutOutcome::CODE_STORED);
}

TEST(FullDisk, TheBallastLetsAFullStoreOpen) {
  TempFolder folder;
  auto fs = std::make_shared<FaultFs>();
  fs->SetFreeSpace(1 << 30);
  Store::Options options = Faulty(folder.path("store"), fs);
  options.ballast_bytes = 1 << 20;
  options.create_if_missing = true;
  {
    auto store = OpenStore(options);
  }
  ASSERT_EQ(std::filesystem::file_size(folder.path("store/ballast")), 1u << 20);
  // Full until the ballast goes: the first opening fails at its first append.
  class FullUntilFreed final : public rocksdb::FileSystemWrapper {
   public:
    explicit FullUntilFreed(std::string ballast)
        : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()), ballast_(std::move(ballast)) {}
    const char* Name() const override { return "FullUntilFreed"; }
    rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& file_options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file, rocksdb::IODebugContext* debug) override {
      if (std::filesystem::exists(ballast_)) return rocksdb::IOStatus::NoSpace("injected");
      return FileSystemWrapper::NewWritableFile(name, file_options, file, debug);
    }

   private:
    const std::string ballast_;
  };
  options.file_system = std::make_shared<FullUntilFreed>(folder.path("store/ballast"));
  options.low_water_bytes = uint64_t{1} << 60;
  auto store = Store::Open(options);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_FALSE(std::filesystem::exists(folder.path("store/ballast")));
  EXPECT_TRUE((*store)->ListSweeps().ok());
}

// Rows that no store would write, written behind its back.
class Disagreement : public testing::Test {
 protected:
  void SetUp() override {
    manifest_ = MakeManifest("wrong", 5);
    auto store = OpenStore(folder_.path("store"));
    sweep_ = Create(*store, manifest_).value();
    const sweep::Plan plan = MakePlan(manifest_);
    for (uint64_t ordinal = 0; ordinal < 8; ++ordinal) PutOne(*store, sweep_, MakeResult(plan, ordinal));
  }
  std::string After(const std::function<void(rocksdb::WriteBatch&, Database&)>& change) {
    {
      Database::Options options;
      options.folder = folder_.path("store");
      options.ballast_bytes = 0;
      auto database = Database::Open(options);
      PS_CHECK(database.ok());
      rocksdb::WriteBatch batch;
      change(batch, **database);
      PS_CHECK((*database)->db().Write(rocksdb::WriteOptions(), &batch).ok());
    }
    auto store = OpenStore(folder_.path("store"));
    return Problems(VerifyAll(*store, true));
  }
  TempFolder folder_;
  v1::SweepManifest manifest_;
  uint32_t sweep_ = 0;
};

TEST_F(Disagreement, EachIsNamed) {
  const auto remove = [&](Family family, const std::string& key) {
    return After([&](rocksdb::WriteBatch& batch, Database& database) { (void)batch.Delete(database.family(family), key); });
  };
  const auto put = [&](Family family, const std::string& key, const std::string& value) {
    return After([&](rocksdb::WriteBatch& batch, Database& database) { (void)batch.Put(database.family(family), key, value); });
  };
  EXPECT_THAT(remove(Family::kImages, CellKey(sweep_, 1)), HasSubstr("cell 1: its image is missing"));
  EXPECT_THAT(remove(Family::kEmbeddings, EmbeddingKey(0, sweep_, 2)), HasSubstr("cell 2: its embedding of eye is missing"));
  EXPECT_THAT(remove(Family::kResults, CellKey(sweep_, 3)), HasSubstr("cell 3: has an image or an embedding but no record"));
  EXPECT_THAT(put(Family::kImages, CellKey(sweep_, 9), "orphan"),
              HasSubstr("cell 9: has an image or an embedding but no record"));
  EXPECT_THAT(put(Family::kEmbeddings, EmbeddingKey(0, sweep_, 4), "xy"),
              HasSubstr("cell 4: its embedding of eye has other dimensions"));
  EXPECT_THAT(put(Family::kEmbeddings, EmbeddingKey(0, sweep_, 5), MakeVector(99, 8)),
              HasSubstr("cell 5: its embeddings are not the ones that were stored"));
  v1::FailureRecord failure;
  failure.set_ordinal(6);
  EXPECT_THAT(put(Family::kFailures, CellKey(sweep_, 6), Versioned(failure.SerializeAsString())),
              HasSubstr("cell 6: is both done and failed"));
  EXPECT_THAT(remove(Family::kByFingerprint, MakePlan(manifest_).CellAt(7)->fingerprint()),
              HasSubstr("cell 7: is missing in by_fingerprint"));
  EXPECT_THAT(put(Family::kImages, CellKey(77, 0), "orphan"), HasSubstr("unknown sweep 77 in images"));
  EXPECT_THAT(put(Family::kEmbeddings, EmbeddingKey(3, 78, 0), "orphan"), HasSubstr("unknown sweep 78 in embeddings"));
  const std::string swapped = MakeResult(MakePlan(manifest_), 0).image();
  EXPECT_THAT(put(Family::kImages, CellKey(sweep_, 5), swapped), HasSubstr("cell 5: its image is not the one that was stored"));
  EXPECT_THAT(remove(Family::kCoverage, CoverageKey(sweep_, 0)), HasSubstr("cell 0: has a record but is not marked done"));
}

}  // namespace
}  // namespace promptsweep::store
