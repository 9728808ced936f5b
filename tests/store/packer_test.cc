// Proves that packing embeddings never shows: whatever was packed when, by whom and across which crash, every vector is in
// exactly one place and scans give the same rows.
#include "store/packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "tests/store/fault_fs.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using ::testing::HasSubstr;
using Vectors = std::vector<std::pair<uint64_t, std::string>>;

constexpr int kDim = 4;

Store::Options Unpacked(const std::string& folder, std::shared_ptr<rocksdb::FileSystem> file_system = nullptr) {
  Store::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  options.pack_in_background = false;
  options.file_system = std::move(file_system);
  return options;
}

v1::ScanEmbeddingsRequest ScanOf(uint32_t sweep, const std::string& embedder, uint64_t begin = 0, uint64_t end = 0) {
  v1::ScanEmbeddingsRequest request;
  request.set_sweep(sweep);
  request.set_embedder(embedder);
  request.set_begin(begin);
  request.set_end(end);
  return request;
}

// Rows of one family, counted behind the store's back.
uint64_t CountRows(const std::string& folder, Family family) {
  Database::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  auto database = Database::Open(options);
  PS_CHECK(database.ok()) << database.status();
  uint64_t count = 0;
  Rows rows(**database, family, "", EndOfKeys());
  for (; rows.Valid(); rows.Next()) ++count;
  PS_CHECK(rows.status().ok());
  return count;
}

class Packing : public testing::Test {
 protected:
  void Open(uint64_t seeds, std::vector<std::string> embedders = {"eye"},
            std::shared_ptr<rocksdb::FileSystem> file_system = nullptr) {
    file_system_ = std::move(file_system);
    manifest_ = MakeManifest("pack", seeds, std::move(embedders));
    plan_.emplace(MakePlan(manifest_));
    Reopen();
    sweep_ = Create(*store_, manifest_).value();
  }
  void Reopen() {
    store_.reset();
    store_ = OpenStore(Unpacked(folder(), file_system_));
  }
  std::string folder() const { return folder_.path("store"); }
  void Put(const std::vector<uint64_t>& ordinals) {
    for (size_t at = 0; at < ordinals.size(); at += 500) {
      std::vector<v1::Result> results;
      for (size_t i = at; i < std::min(ordinals.size(), at + 500); ++i) {
        results.push_back(MakeResult(*plan_, ordinals[i], 40, 0, kDim));
        for (int e = 0; e < results.back().embeddings_size(); ++e) {
          results.back().mutable_embeddings(e)->set_fp16(Vector(ordinals[i], e));
        }
        done_.insert(ordinals[i]);
      }
      const auto reply = PutAll(*store_, sweep_, std::move(results));
      ASSERT_TRUE(reply.ok()) << reply.status();
      for (const v1::PutOutcome& outcome : reply->outcomes()) ASSERT_EQ(outcome.code(), v1::PutOutcome::CODE_STORED);
    }
  }
  void PutRange(uint64_t begin, uint64_t end) {
    std::vector<uint64_t> ordinals;
    for (uint64_t ordinal = begin; ordinal < end; ++ordinal) ordinals.push_back(ordinal);
    Put(ordinals);
  }
  // Embedders differ in size, too.
  static std::string Vector(uint64_t ordinal, int embedder) { return MakeVector(ordinal * 10 + embedder, kDim + embedder); }
  Vectors Expected(int embedder, uint64_t begin = 0, uint64_t end = UINT64_MAX) const {
    Vectors rows;
    for (const uint64_t ordinal : done_) {
      if (ordinal >= begin && ordinal < end) rows.emplace_back(ordinal, Vector(ordinal, embedder));
    }
    return rows;
  }
  void ExpectWhole(Store& store) {
    for (int e = 0; e < manifest_.embedders_size(); ++e) {
      const auto rows = ScanAll(store, ScanOf(sweep_, manifest_.embedders(e).id()));
      ASSERT_TRUE(rows.ok()) << rows.status();
      ASSERT_EQ(*rows, Expected(e)) << "embedder " << e;
    }
    ASSERT_EQ(Problems(VerifyAll(store, /*deep=*/true)), "");
  }
  void SetState(v1::SweepState state) {
    v1::SetSweepStateRequest request;
    request.set_sweep(sweep_);
    request.set_state(state);
    ASSERT_TRUE(Await(*store_, &Store::SetSweepState, request).ok());
  }
  uint64_t PackReady() {
    const auto moved = store_->packer().PackReady();
    EXPECT_TRUE(moved.ok()) << moved.status();
    return moved.value_or(0);
  }
  uint64_t PackEverything() {
    const auto moved = store_->packer().PackAll();
    EXPECT_TRUE(moved.ok()) << moved.status();
    return moved.value_or(0);
  }
  // Rows in staging, chunks.
  std::pair<uint64_t, uint64_t> Layout() {
    store_.reset();
    const auto layout = std::make_pair(CountRows(folder(), Family::kEmbeddings), CountRows(folder(), Family::kEmbeddingChunks));
    Reopen();
    return layout;
  }

  TempFolder folder_;
  std::shared_ptr<rocksdb::FileSystem> file_system_;
  v1::SweepManifest manifest_;
  std::optional<sweep::Plan> plan_;
  std::unique_ptr<Store> store_;
  uint32_t sweep_ = 0;
  std::set<uint64_t> done_;
};

TEST_F(Packing, AChunkIsPackedOnceAllItsCellsAreDone) {
  Open(1500);  // 3000 cells: two chunks and a last one of 952
  PutRange(0, 1023);
  EXPECT_EQ(PackReady(), 0u);
  EXPECT_EQ(store_->packer().staged_vectors(), 1023u);
  PutRange(1023, 2900);
  EXPECT_EQ(PackReady(), 2048u);
  EXPECT_EQ(store_->packer().staged_vectors(), 852u);
  ExpectWhole(*store_);
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{852}, uint64_t{2}));
  // After a restart it is known again what is staged, and the last chunk is complete at 952.
  PutRange(2900, 3000);
  EXPECT_EQ(PackReady(), 952u);
  EXPECT_EQ(store_->packer().staged_vectors(), 0u);
  ExpectWhole(*store_);
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{0}, uint64_t{3}));
  EXPECT_EQ(PackEverything(), 0u);
}

TEST_F(Packing, AnEndedSweepIsPackedWithWhatItHas) {
  for (const v1::SweepState state :
       {v1::SWEEP_STATE_DONE_WITH_FAILURES, v1::SWEEP_STATE_CANCELLED, v1::SWEEP_STATE_DONE, v1::SWEEP_STATE_PAUSED}) {
    done_.clear();
    store_.reset();
    std::filesystem::remove_all(folder());
    Open(1000);
    Put({3, 5, 700, 1024, 1999});
    EXPECT_EQ(PackReady(), 0u);
    SetState(state);
    EXPECT_EQ(PackReady(), state == v1::SWEEP_STATE_PAUSED ? 0u : 5u);
    const auto rows = ScanAll(*store_, ScanOf(sweep_, "eye"));
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ(*rows, Expected(0));
  }
}

TEST_F(Packing, LateRowsWaitUntilTheyAreManyOrTheLast) {
  Open(1024);  // two chunks
  PutRange(0, 300);
  EXPECT_EQ(PackEverything(), 300u);
  PutRange(400, 655);
  EXPECT_EQ(PackReady(), 0u);
  ExpectWhole(*store_);
  PutRange(655, 656);
  EXPECT_EQ(PackReady(), 256u);
  ExpectWhole(*store_);
  PutRange(656, 1024);
  EXPECT_EQ(PackReady(), 368u);
  PutRange(300, 399);
  EXPECT_EQ(PackReady(), 0u);
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{99}, uint64_t{1}));
  // The last one, as it happens the first to be missing; after a restart.
  PutRange(399, 400);
  EXPECT_EQ(PackReady(), 100u);
  ExpectWhole(*store_);
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{0}, uint64_t{1}));
}

TEST_F(Packing, EveryEmbedderHasItsOwnChunks) {
  Open(700, {"eye", "ear", "nose"});
  PutRange(0, 1024);
  EXPECT_EQ(PackReady(), 3 * 1024u);
  PutRange(1100, 1200);
  ExpectWhole(*store_);
  v1::GetResultsRequest request;
  request.set_sweep(sweep_);
  request.set_with_embeddings(true);
  const auto rows = ReadAll(*store_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), done_.size());
  for (const v1::Result& row : *rows) {
    ASSERT_EQ(row.embeddings_size(), 3);
    for (int e = 0; e < 3; ++e) ASSERT_EQ(row.embeddings(e).fp16(), Vector(row.cell().ordinal(), e));
  }
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{300}, uint64_t{3}));
  // Dimensions are still known after a restart, by chunks alone and by staged rows alone.
  v1::Result wrong = MakeResult(*plan_, 1300, 40, 0, kDim + 9);
  EXPECT_EQ(PutOne(*store_, sweep_, wrong).code(), v1::PutOutcome::CODE_REJECTED);
}

TEST_F(Packing, RandomHistoriesScanAlike) {
  std::mt19937_64 random(20240602);
  Open(3000, {"eye", "ear"});  // 6000 cells
  std::vector<uint64_t> order(6000);
  for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  // In waves, as leases come back, with stragglers.
  for (size_t at = 0; at < order.size(); at += 1500) {
    std::shuffle(order.begin() + at, order.begin() + std::min(order.size(), at + 2500), random);
  }
  const auto before = store_->TakeSnapshot();
  for (size_t at = 0; at < order.size();) {
    const size_t n = 1 + random() % 700;
    Put({order.begin() + at, order.begin() + std::min(order.size(), at + n)});
    at += n;
    if (random() % 3 == 0) PackReady();
    if (random() % 5 == 0) PackEverything();
    for (int e = 0; e < 2; ++e) {
      const uint64_t begin = random() % 6000;
      const uint64_t end = begin + random() % 6000;
      const auto rows = ScanAll(*store_, ScanOf(sweep_, manifest_.embedders(e).id(), begin, end + 1));
      ASSERT_TRUE(rows.ok()) << rows.status();
      ASSERT_EQ(*rows, Expected(e, begin, end + 1));
    }
    if (random() % 6 == 0) ExpectWhole(*store_);
  }
  PackEverything();
  ExpectWhole(*store_);
}

TEST_F(Packing, ScansOfRangesSideBySideShowOneMoment) {
  Open(4000);
  PutRange(0, 5000);
  PackReady();
  const Vectors then = Expected(0);
  SharedSnapshot snapshot = store_->TakeSnapshot();
  PutRange(5000, 8000);
  PackEverything();
  for (const int parts : {1, 2, 3, 7, 100}) {
    Vectors rows;
    uint64_t at = 0;
    for (const v1::OrdinalRange& range : SplitAtChunks(0, 8000, parts)) {
      EXPECT_EQ(range.begin(), at);
      EXPECT_TRUE(range.end() == 8000 || range.end() % kChunkOrdinals == 0);
      at = range.end();
      auto reader = store_->ScanEmbeddings(ScanOf(sweep_, "eye", range.begin(), range.end()), snapshot);
      ASSERT_TRUE(reader.ok());
      v1::ScanEmbeddingsResponse message;
      while (true) {
        const auto more = (*reader)->Next(message);
        ASSERT_TRUE(more.ok()) << more.status();
        if (message.has_trailer()) break;
        const size_t stride = size_t{2} * message.block().dim();
        for (int i = 0; i < message.block().ordinals_size(); ++i) {
          rows.emplace_back(message.block().ordinals(i), message.block().fp16().substr(i * stride, stride));
        }
      }
    }
    EXPECT_EQ(at, 8000u);
    EXPECT_EQ(rows, then) << parts;
  }
  snapshot.reset();
  EXPECT_TRUE(SplitAtChunks(5, 5, 3).empty());
  EXPECT_EQ(SplitAtChunks(5, 6, 3).size(), 1u);
}

TEST_F(Packing, BlocksAreAsLargeAsMessagesLike) {
  Open(1500);  // 3000 cells, of which the last chunk stays staged
  for (const uint64_t begin : {uint64_t{0}, uint64_t{1500}}) {
    std::vector<v1::Result> results;
    for (uint64_t ordinal = begin; ordinal < std::min<uint64_t>(begin + 1500, 2990); ++ordinal) {
      results.push_back(MakeResult(*plan_, ordinal, 40, 0, 900));
    }
    ASSERT_TRUE(PutAll(*store_, sweep_, std::move(results)).ok());
  }
  EXPECT_EQ(PackReady(), 2048u);
  auto reader = store_->ScanEmbeddings(ScanOf(sweep_, "eye"));
  ASSERT_TRUE(reader.ok());
  v1::ScanEmbeddingsResponse message;
  uint64_t rows = 0;
  for (; (*reader)->Next(message).value() && message.has_block();) {
    rows += message.block().ordinals_size();
    EXPECT_GE(message.block().fp16().size(), rows < 2990 ? size_t{512} << 10 : size_t{1});
    EXPECT_LE(message.block().fp16().size(), size_t{1} << 20);
  }
  EXPECT_EQ(rows, 2990u);
  EXPECT_EQ(message.trailer().rows(), 2990u);
}

// A crash at every append and every sync of packing, and between any two: each vector is in one place.
TEST_F(Packing, ACrashAtAnyMomentLeavesEachVectorOnce) {
  for (const FaultFs::Op op : {FaultFs::Op::kAppend, FaultFs::Op::kSync}) {
    bool reached_the_end = false;
    for (int nth = 1; nth < 40 && !reached_the_end; ++nth) {
      TempFolder folder;
      done_.clear();
      auto fs = std::make_shared<FaultFs>();
      manifest_ = MakeManifest("pack", 1100, {"eye", "ear"});
      plan_.emplace(MakePlan(manifest_));
      store_ = OpenStore(Unpacked(folder.path("store"), fs));
      sweep_ = Create(*store_, manifest_).value();
      PutRange(0, 1300);
      ASSERT_TRUE(store_->packer().PackAll().ok());
      PutRange(1300, 1500);
      fs->CopyDurable(folder.path("store"), folder.path("before"));
      fs->FailFrom(op, nth, rocksdb::IOStatus::IOError("injected"));
      const auto moved = store_->packer().PackAll();
      reached_the_end = moved.ok();
      fs->CopyDurable(folder.path("store"), folder.path("after"));
      // Killed rather than cut off: what reached the kernel is there, synced or not.
      std::filesystem::copy(folder.path("store"), folder.path("killed"));
      store_.reset();
      for (const char* left : {"before", "after", "killed"}) {
        auto store = OpenStore(Unpacked(folder.path(left)));
        ExpectWhole(*store);
        ASSERT_TRUE(store->packer().PackAll().ok());
        ExpectWhole(*store);
        store.reset();
        EXPECT_EQ(CountRows(folder.path(left), Family::kEmbeddings), 0u);
        EXPECT_EQ(CountRows(folder.path(left), Family::kEmbeddingChunks), 4u);
      }
      if (HasFatalFailure()) return;
    }
    EXPECT_TRUE(reached_the_end);
  }
}

TEST_F(Packing, GoesOnBehindWritersAndScans) {
  Store::Options options = Unpacked(folder());
  options.pack_in_background = true;
  manifest_ = MakeManifest("pack", 4096, {"eye", "ear"});
  plan_.emplace(MakePlan(manifest_));
  store_ = OpenStore(options);
  sweep_ = Create(*store_, manifest_).value();
  std::atomic<bool> written{false};
  std::thread scanner([&] {
    size_t last = 0;
    while (!written) {
      const auto rows = ScanAll(*store_, ScanOf(sweep_, "ear"));
      ASSERT_TRUE(rows.ok()) << rows.status();
      ASSERT_GE(rows->size(), last);
      last = rows->size();
      for (const auto& [ordinal, vector] : *rows) ASSERT_EQ(vector, Vector(ordinal, 1));
    }
  });
  std::vector<std::thread> writers;
  for (uint64_t w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      for (uint64_t begin = w * 64; begin < 8192; begin += 128) {
        std::vector<v1::Result> results;
        for (uint64_t ordinal = begin; ordinal < begin + 64; ++ordinal) {
          results.push_back(MakeResult(*plan_, ordinal, 40, 0, kDim));
          for (int e = 0; e < 2; ++e) results.back().mutable_embeddings(e)->set_fp16(Vector(ordinal, e));
        }
        ASSERT_TRUE(PutAll(*store_, sweep_, std::move(results)).ok());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  written = true;
  scanner.join();
  for (uint64_t ordinal = 0; ordinal < 8192; ++ordinal) done_.insert(ordinal);
  ExpectWhole(*store_);
  // What the thread did not come to, or is just about to do, is left to this call.
  ASSERT_TRUE(store_->packer().PackAll().ok());
  ExpectWhole(*store_);
  EXPECT_EQ(store_->packer().staged_vectors(), 0u);
  EXPECT_EQ(Layout(), std::make_pair(uint64_t{0}, uint64_t{16}));
}

TEST_F(Packing, WaitsWhereTheDiskIsFullAndStopsWithTheStore) {
  auto fs = std::make_shared<FaultFs>();
  Open(1024, {"eye"}, fs);
  PutRange(0, 1024);
  fs->SetFreeSpace(1 << 20);
  EXPECT_EQ(store_->packer().PackAll().status().code(), absl::StatusCode::kResourceExhausted);
  fs->SetFreeSpace(1 << 30);
  fs->FailFrom(FaultFs::Op::kSync, 1, rocksdb::IOStatus::IOError("injected"));
  EXPECT_THAT(std::string(store_->packer().PackAll().status().message()), HasSubstr("injected"));
  EXPECT_FALSE(store_->packer().PackAll().ok());
  store_->Close();
  EXPECT_EQ(store_->packer().PackAll().status().code(), absl::StatusCode::kUnavailable);
}

// Rows that no packer would leave behind.
class HarmedLayout : public Packing {
 protected:
  // What a scan, a lookup and verification say after a change.
  void After(const std::function<void(rocksdb::WriteBatch&, Database&)>& change, const std::string& scan,
             const std::string& verification) {
    std::filesystem::remove_all(folder_.path("copy"));
    std::filesystem::copy(folder(), folder_.path("copy"));
    {
      Database::Options options;
      options.folder = folder_.path("copy");
      options.ballast_bytes = 0;
      auto database = Database::Open(options);
      ASSERT_TRUE(database.ok());
      rocksdb::WriteBatch batch;
      change(batch, **database);
      ASSERT_TRUE((*database)->db().Write(rocksdb::WriteOptions(), &batch).ok());
    }
    auto store = OpenStore(Unpacked(folder_.path("copy")));
    const auto rows = ScanAll(*store, ScanOf(sweep_, "eye"));
    EXPECT_EQ(rows.status().code(), scan.empty() ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss) << rows.status();
    EXPECT_THAT(std::string(rows.status().message()), HasSubstr(scan));
    EXPECT_THAT(Problems(VerifyAll(*store, /*deep=*/false)), HasSubstr(verification));
  }
  std::string Chunk(uint64_t number) {
    Database::Options options;
    options.folder = folder();
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    PS_CHECK(database.ok());
    return (*database)->Get(Family::kEmbeddingChunks, EmbeddingChunkKey(0, sweep_, number)).value();
  }
};

TEST_F(HarmedLayout, IsNamedByScansAndByVerification) {
  Open(2000);  // 4000 cells
  PutRange(0, 2048);
  ASSERT_EQ(PackReady(), 2048u);
  PutRange(2048, 2100);
  store_.reset();
  const std::string first = Chunk(0);
  const auto put = [&](Family family, const std::string& key, const std::string& value) {
    return [=](rocksdb::WriteBatch& batch, Database& database) { (void)batch.Put(database.family(family), key, value); };
  };
  const auto remove = [&](Family family, const std::string& key) {
    return [=](rocksdb::WriteBatch& batch, Database& database) { (void)batch.Delete(database.family(family), key); };
  };
  const std::string key = EmbeddingChunkKey(0, sweep_, 0);
  for (const size_t at : {size_t{5}, size_t{20}, size_t{60}, size_t{100}, size_t{5000}}) {
    std::string flipped = first;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    After(put(Family::kEmbeddingChunks, key, flipped), "cell 0 and on: unreadable chunk",
          "sweep 1 cell 0 and on: unreadable chunk");
  }
  After(put(Family::kEmbeddingChunks, EmbeddingChunkKey(0, sweep_, 1), first), "it belongs under another key",
        "cell 1024: its embedding of eye is missing");
  After(remove(Family::kEmbeddingChunks, EmbeddingChunkKey(0, sweep_, 1)), "cell 1024: its embedding is missing",
        "cell 1024: its embedding of eye is missing");
  After(remove(Family::kEmbeddings, EmbeddingKey(0, sweep_, 2070)), "cell 2070: its embedding is missing",
        "cell 2070: its embedding of eye is missing");
  After(remove(Family::kEmbeddings, EmbeddingKey(0, sweep_, 2099)), "cell 2099: its embedding is missing",
        "cell 2099: its embedding of eye is missing");
  After(put(Family::kEmbeddings, EmbeddingKey(0, sweep_, 7), Vector(7, 0)), "", "cell 7: its embedding is stored twice");
  After(put(Family::kEmbeddings, EmbeddingKey(0, sweep_, 2070), "xy"), "cell 2070: its embedding has another size",
        "cell 2070: its embedding of eye has other dimensions");
  After(put(Family::kEmbeddingChunks, EmbeddingChunkKey(0, 77, 0), first), "", "unknown sweep 77 in embedding_chunks");
  {
    // More than what is done, and fewer.
    EmbeddingChunkBuilder more(0, sweep_, 2, kDim);
    more.Add(2048, Vector(2048, 0));
    more.Add(2500, Vector(2500, 0));
    After(put(Family::kEmbeddingChunks, EmbeddingChunkKey(0, sweep_, 2), more.Finish()),
          "cell 2500: has an embedding but is not marked done", "cell 2500: has an image or an embedding but no record");
    EmbeddingChunkBuilder fewer(0, sweep_, 1, kDim);
    for (uint64_t ordinal = 1024; ordinal < 2047; ++ordinal) fewer.Add(ordinal, Vector(ordinal, 0));
    After(put(Family::kEmbeddingChunks, EmbeddingChunkKey(0, sweep_, 1), fewer.Finish()), "cell 2047: its embedding is missing",
          "cell 2047: its embedding of eye is missing");
  }
  After(remove(Family::kCoverage, CoverageKey(sweep_, 0)), "", "is not marked done");
}

TEST_F(HarmedLayout, ResultsThatAreMissingEndTheStream) {
  Open(20);
  PutRange(0, 30);
  store_.reset();
  const auto read = [&](const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
    v1::GetResultsRequest request;
    request.set_sweep(sweep_);
    for (const auto& [begin, end] : ranges) {
      request.add_ranges()->set_begin(begin);
      request.mutable_ranges()->rbegin()->set_end(end);
    }
    auto store = OpenStore(Unpacked(folder()));
    return ReadAll(*store, request);
  };
  EXPECT_EQ(read({})->size(), 30u);
  EXPECT_EQ(read({{3, 5}, {29, 40}})->size(), 3u);
  {
    Database::Options options;
    options.folder = folder();
    options.ballast_bytes = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok());
    rocksdb::WriteBatch batch;
    for (const uint64_t ordinal : {4, 29}) {
      (void)batch.Delete((*database)->family(Family::kResults), CellKey(sweep_, ordinal));
    }
    ASSERT_TRUE((*database)->db().Write(rocksdb::WriteOptions(), &batch).ok());
  }
  for (const auto& ranges : std::vector<std::vector<std::pair<uint64_t, uint64_t>>>{{}, {{3, 5}}, {{4, 5}}, {{5, 6}, {20, 40}}}) {
    const auto rows = read(ranges);
    EXPECT_EQ(rows.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(rows.status().message()), HasSubstr("its record is missing"));
  }
  EXPECT_EQ(read({{5, 29}})->size(), 24u);
}

}  // namespace
}  // namespace promptsweep::store
