// Proves that a deleted sweep is gone to the last byte in every file, that nothing of other sweeps goes with it, that a deletion
// that was broken off at any write goes on when the store is opened, and that readers and writers meanwhile get clear answers.
#include "store/deletion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "tests/store/fault_fs.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

namespace fs = std::filesystem;

// Sixteen bytes each; those of the vector are eight finite halves.
constexpr char kImagePlant[] = "IMAGE-PLANT-0001";
constexpr char kVectorPlant[] = "EMBED-PLANT-0002";
constexpr char kPromptPlant[] = "PROMPT-PLANT-003";
constexpr char kErrorPlant[] = "ERROR-PLANT-0004";
constexpr char kColumnPlant[] = "COLUMN-PLANT-005";
constexpr char kMotifPlant[] = "MOTIF-PLANT-0006";
constexpr uint64_t kSeeds = 8;
constexpr uint64_t kDone = 12;  // of 16 cells

v1::SweepManifest PlantedManifest() {
  return TestManifest("planted", {TestModel("toy", "null", Sha256Of("toy"))}, {kPromptPlant}, kSeeds,
                      {TestModel("eye", "null-embed", Sha256Of("eye"))});
}

v1::Result Planted(const sweep::Plan& plan, uint64_t ordinal) {
  v1::Result result = MakeResult(plan, ordinal);
  std::string payload;
  // Some images stand in blob files, some in tables.
  while (payload.size() < (ordinal % 3 == 0 ? 800u : 9000u)) payload += absl::StrCat(kImagePlant, "/", ordinal, "/");
  result.set_image(MakePng(8, 8, payload));
  result.set_image_digest(Sha256Of(result.image()));
  result.mutable_embeddings(0)->set_fp16(kVectorPlant);
  v1::Setting& column = *result.add_imported();
  column.set_name("source");
  column.mutable_value()->set_string_value(kColumnPlant);
  return result;
}

// Files of a folder that hold any of the plants.
std::vector<std::string> Grep(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    for (const char* plant : {kImagePlant, kVectorPlant, kPromptPlant, kErrorPlant, kColumnPlant, kMotifPlant}) {
      if (absl::StrContains(content.str(), plant)) {
        found.push_back(absl::StrCat(entry.path().filename().string(), ": ", plant));
      }
    }
  }
  return found;
}

// Rows of a sweep in any family.
int RowsOf(Database& database, uint32_t sweep) {
  int count = 0;
  for (size_t i = 0; i < kFamilies; ++i) {
    const Family family = static_cast<Family>(i);
    if (family == Family::kMeta || family == Family::kByFingerprint) continue;
    if (family == Family::kLabels || family == Family::kProvenance) continue;
    const size_t skip = family == Family::kEmbeddings || family == Family::kEmbeddingChunks ? 2 : 0;
    for (Rows rows(database, family, "", EndOfKeys()); rows.Valid(); rows.Next()) {
      if (absl::StartsWith(rows.key().substr(skip), SweepKey(sweep))) ++count;
    }
  }
  return count;
}

std::unique_ptr<Database> OpenDatabase(const std::string& folder) {
  auto database = Database::Open({.folder = folder, .ballast_bytes = 0});
  PS_CHECK(database.ok()) << database.status();
  return *std::move(database);
}

void Put(Database& database, Family family, const std::string& key, const std::string& value) {
  PS_CHECK(database.db().Put(rocksdb::WriteOptions(), database.family(family), key, value).ok());
}

absl::StatusOr<v1::DeleteSweepResponse> Delete(Store& store, uint32_t sweep) {
  v1::DeleteSweepRequest request;
  request.set_sweep(sweep);
  return Await(store, &Store::DeleteSweep, request);
}

v1::GetResultsRequest Everything(uint32_t sweep) {
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  request.set_with_embeddings(true);
  return request;
}

void SetState(Store& store, uint32_t sweep, v1::SweepState state) {
  v1::SetSweepStateRequest request;
  request.set_sweep(sweep);
  request.set_state(state);
  const auto reply = Await(store, &Store::SetSweepState, request);
  PS_CHECK(reply.ok()) << reply.status();
}

class DeletionTest : public testing::Test {
 protected:
  // Two sweeps whose rows stand in the same tables and blob files, the planted one cancelled.
  void Fill(Store& store) {
    other_ = *Create(store, other_manifest_);
    planted_ = *Create(store, PlantedManifest());
    for (uint64_t i = 0; i < kDone; ++i) {
      ASSERT_EQ(PutOne(store, other_, MakeResult(other_plan_, i, 9000)).code(), v1::PutOutcome::CODE_STORED);
      ASSERT_EQ(PutOne(store, planted_, Planted(planted_plan_, i)).code(), v1::PutOutcome::CODE_STORED);
    }
    // A second result with other content.
    ASSERT_EQ(PutOne(store, planted_, MakeResult(planted_plan_, 1)).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
    v1::PutFailuresRequest failures;
    failures.set_sweep(planted_);
    failures.add_failures()->set_ordinal(kDone + 1);
    failures.mutable_failures(0)->set_error(kErrorPlant);
    ASSERT_TRUE(Await(store, &Store::PutFailures, failures).ok());
    v1::PutMotifsRequest motifs;
    motifs.set_sweep(planted_);
    motifs.set_report(kMotifPlant);
    ASSERT_TRUE(Await(store, &Store::PutMotifs, motifs).ok());
    SetState(store, planted_, v1::SWEEP_STATE_CANCELLED);
  }
  void ExpectOthersIntact(Store& store) {
    const auto rows = ReadAll(store, Everything(other_));
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ(rows->size(), kDone);
    for (uint64_t i = 0; i < kDone; ++i) EXPECT_EQ((*rows)[i].image(), MakeResult(other_plan_, i, 9000).image());
    EXPECT_EQ(Problems(VerifyAll(store, true)), "");
  }
  void ExpectGone(const std::string& folder) {
    EXPECT_THAT(Grep(folder), testing::IsEmpty());
    EXPECT_EQ(RowsOf(*OpenDatabase(folder), planted_), 0);
  }

  TempFolder folder_;
  const v1::SweepManifest other_manifest_ = MakeManifest("other", kSeeds);
  const sweep::Plan other_plan_ = MakePlan(other_manifest_);
  const sweep::Plan planted_plan_ = MakePlan(PlantedManifest());
  uint32_t other_ = 0;
  uint32_t planted_ = 0;
};

TEST_F(DeletionTest, RemovesEveryByteFromTheLog) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  ASSERT_THAT(Grep(folder_.path("store")), testing::Not(testing::IsEmpty()));
  const auto deleted = Delete(*store, planted_);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->results(), kDone);
  EXPECT_THAT(Grep(folder_.path("store")), testing::IsEmpty());
  ExpectOthersIntact(*store);
  store.reset();
  ExpectGone(folder_.path("store"));
  store = OpenStore(folder_.path("store"));
  ExpectOthersIntact(*store);
}

TEST_F(DeletionTest, RemovesEveryByteFromTablesAndSharedBlobFiles) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  store.reset();
  {
    // Tables of one sweep each, which refer to blob files that both share.
    auto database = OpenDatabase(folder_.path("store"));
    for (size_t i = 0; i < kFamilies; ++i) {
      const Family family = static_cast<Family>(i);
      ASSERT_TRUE(database->db().Flush(rocksdb::FlushOptions(), database->family(family)).ok());
    }
    ASSERT_TRUE(database->db()
                    .SetOptions(database->family(Family::kImages), {{"target_file_size_base", "1"},
                                                                    {"block_based_table_factory", "{block_size=128;}"},
                                                                    {"enable_blob_garbage_collection", "false"}})
                    .ok());
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    ASSERT_TRUE(database->db().CompactRange(options, database->family(Family::kImages), nullptr, nullptr).ok());
    std::vector<rocksdb::LiveFileMetaData> tables;
    database->db().GetLiveFilesMetaData(&tables);
    int images = 0;
    for (const auto& table : tables) images += table.column_family_name == FamilyName(Family::kImages);
    ASSERT_GT(images, 2);
  }
  store = OpenStore(folder_.path("store"));
  const auto deleted = Delete(*store, planted_);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_GT(deleted->freed_bytes(), 0u);
  EXPECT_THAT(Grep(folder_.path("store")), testing::IsEmpty());
  ExpectOthersIntact(*store);
  store.reset();
  ExpectGone(folder_.path("store"));
}

TEST_F(DeletionTest, RefusesWhatIsRunningAndWhatIsNotThere) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  EXPECT_EQ(Delete(*store, 99).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Delete(*store, 0).status().code(), absl::StatusCode::kNotFound);
  const auto running = Delete(*store, other_);
  EXPECT_EQ(running.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(running.status().message(), HasSubstr("is running: cancel it first"));
  SetState(*store, other_, v1::SWEEP_STATE_PAUSED);
  EXPECT_EQ(Delete(*store, other_).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Delete(*store, planted_).ok());
  const auto again = Delete(*store, planted_);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kNotFound) << again.status();
  v1::SetSweepStateRequest state;
  state.set_sweep(other_);
  state.set_state(v1::SWEEP_STATE_DELETING);
  EXPECT_EQ(Await(*store, &Store::SetSweepState, state).status().code(), absl::StatusCode::kInvalidArgument);
  ExpectOthersIntact(*store);
}

TEST_F(DeletionTest, AnIdIsNeverUsedAgainButANameIs) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  ASSERT_EQ(planted_, 2u);
  ASSERT_TRUE(Delete(*store, planted_).ok());
  EXPECT_EQ(*Create(*store, PlantedManifest()), 3u);
  SetState(*store, 3, v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Delete(*store, 3).ok());
  store = nullptr;
  store = OpenStore(folder_.path("store"));
  EXPECT_EQ(*Create(*store, PlantedManifest()), 4u);
  SetState(*store, other_, v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Delete(*store, other_).ok());
  EXPECT_EQ(*Create(*store, other_manifest_), 5u);
  EXPECT_EQ(PutOne(*store, 5, MakeResult(other_plan_, 0)).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
}

// Two sweeps that ask the same: the index of fingerprints leads to the one that stays.
TEST_F(DeletionTest, TheIndexLeadsToTheSameCellOfAnotherSweep) {
  auto store = OpenStore(folder_.path("store"));
  const v1::SweepManifest twin = MakeManifest("twin", kSeeds + 2);
  const sweep::Plan twin_plan = MakePlan(twin);
  std::map<std::string, uint64_t> twin_of;
  for (uint64_t i = 0; i < twin_plan.cell_count(); ++i) twin_of[twin_plan.CellAt(i)->fingerprint()] = i;
  const uint32_t first = *Create(*store, other_manifest_);
  const uint32_t second = *Create(*store, twin);
  for (uint64_t i = 0; i < kDone; ++i) PutOne(*store, first, MakeResult(other_plan_, i));
  for (uint64_t i = 0; i < kDone; ++i) PutOne(*store, second, MakeResult(twin_plan, i));
  SetState(*store, second, v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Delete(*store, second).ok());
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
  store.reset();
  auto database = OpenDatabase(folder_.path("store"));
  int rows = 0;
  for (Rows it(*database, Family::kByFingerprint, "", EndOfKeys()); it.Valid(); it.Next(), ++rows) {
    EXPECT_EQ(it.value().substr(1, 4), SweepKey(first));
  }
  EXPECT_EQ(rows, static_cast<int>(kDone));
}

// Cells that show an image of the deleted sweep keep it: the first of them becomes its owner.
TEST_F(DeletionTest, ImagesThatOtherSweepsShowMoveToThem) {
  uint32_t owner = 0;
  std::vector<uint32_t> linkers;
  std::string image;
  {
    auto store = OpenStore(folder_.path("store"));
    owner = *Create(*store, other_manifest_);
    PutOne(*store, owner, MakeResult(other_plan_, 3, 9000));
    image = MakeResult(other_plan_, 3, 9000).image();
    for (const char* name : {"second", "third", "fourth"}) {
      const v1::SweepManifest manifest = MakeManifest(name, kSeeds);
      linkers.push_back(*Create(*store, manifest));
      PutOne(*store, linkers.back(), MakeResult(MakePlan(manifest), 3, 9000));
      SetState(*store, linkers.back(), v1::SWEEP_STATE_CANCELLED);
    }
    SetState(*store, owner, v1::SWEEP_STATE_CANCELLED);
  }
  {
    auto database = OpenDatabase(folder_.path("store"));
    for (const uint32_t linker : linkers) {
      const std::string key = CellKey(linker, 3);
      ResultRow row = *DecodeResultRow(*database->Get(Family::kResults, key));
      v1::Result rest;
      rest.mutable_reused_from()->set_sweep(owner);
      rest.mutable_reused_from()->set_ordinal(3);
      row.rest = rest.SerializeAsString();
      Put(*database, Family::kResults, key, Encode(row));
      Put(*database, Family::kLinks, LinkKey(owner, 3, linker, 3), "");
      CountersRow counters = *DecodeCountersRow(*database->Get(Family::kCounters, SweepKey(linker)));
      counters.reused = 1;
      counters.device_us -= uint64_t{row.generate_us} + row.embed_us;
      Put(*database, Family::kCounters, SweepKey(linker), Encode(counters));
      ASSERT_TRUE(database->db().Delete(rocksdb::WriteOptions(), database->family(Family::kImages), key).ok());
    }
  }
  const auto reused_from = [&](Database& database, uint32_t sweep) {
    v1::Result rest;
    PS_CHECK(rest.ParseFromString(DecodeResultRow(*database.Get(Family::kResults, CellKey(sweep, 3)))->rest));
    return std::make_pair(rest.reused_from().sweep(), rest.reused_from().ordinal());
  };
  const auto links = [](Database& database) {
    std::vector<std::string> keys;
    for (Rows rows(database, Family::kLinks, "", EndOfKeys()); rows.Valid(); rows.Next()) keys.emplace_back(rows.key());
    return keys;
  };
  {
    // A linker that goes takes only its link with it.
    auto store = OpenStore(folder_.path("store"));
    ASSERT_TRUE(Delete(*store, linkers[1]).ok());
  }
  {
    auto database = OpenDatabase(folder_.path("store"));
    EXPECT_THAT(links(*database), testing::ElementsAre(LinkKey(owner, 3, linkers[0], 3), LinkKey(owner, 3, linkers[2], 3)));
    EXPECT_EQ(*database->Get(Family::kImages, CellKey(owner, 3)), image);
  }
  {
    auto store = OpenStore(folder_.path("store"));
    ASSERT_TRUE(Delete(*store, owner).ok());
  }
  {
    auto database = OpenDatabase(folder_.path("store"));
    EXPECT_THAT(links(*database), testing::ElementsAre(LinkKey(linkers[0], 3, linkers[2], 3)));
    EXPECT_EQ(*database->Get(Family::kImages, CellKey(linkers[0], 3)), image);
    EXPECT_FALSE(database->Get(Family::kImages, CellKey(owner, 3)).ok());
    EXPECT_EQ(reused_from(*database, linkers[0]), std::make_pair(linkers[0], uint64_t{3}));
    EXPECT_EQ(reused_from(*database, linkers[2]), std::make_pair(linkers[0], uint64_t{3}));
  }
  {
    auto store = OpenStore(folder_.path("store"));
    ASSERT_TRUE(Delete(*store, linkers[0]).ok());
    const auto rows = ReadAll(*store, Everything(linkers[2]));
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ(rows->size(), 1u);
    EXPECT_EQ(rows->front().image(), image);
    EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
    // The last one takes the image along.
    ASSERT_TRUE(Delete(*store, linkers[2]).ok());
  }
  auto database = OpenDatabase(folder_.path("store"));
  for (const Family family : {Family::kLinks, Family::kImages, Family::kResults, Family::kByFingerprint, Family::kSweeps}) {
    EXPECT_FALSE(Rows(*database, family, "", EndOfKeys()).Valid()) << FamilyName(family);
  }
}

TEST_F(DeletionTest, AScanEndsAsItBeganAndWritersAreTurnedAway) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  auto reader = store->ReadResults(Everything(planted_));
  ASSERT_TRUE(reader.ok()) << reader.status();
  v1::GetResultsResponse message;
  ASSERT_TRUE(*(*reader)->Next(message));

  absl::StatusOr<v1::DeleteSweepResponse> deleted = absl::UnknownError("");
  std::thread deletion([&] { deleted = Delete(*store, planted_); });
  v1::GetSweepRequest by_id;
  by_id.set_sweep(planted_);
  while (store->GetSweep(by_id).ok()) std::this_thread::yield();
  EXPECT_THAT(store->GetSweep(by_id).status().message(), HasSubstr("is being deleted"));
  EXPECT_EQ(store->ListSweeps()->sweeps_size(), 1);
  const v1::PutOutcome outcome = PutOne(*store, planted_, Planted(planted_plan_, kDone));
  EXPECT_EQ(outcome.code(), v1::PutOutcome::CODE_REJECTED);
  EXPECT_THAT(outcome.reason(), HasSubstr("is being deleted"));
  EXPECT_EQ(store->ReadResults(Everything(planted_)).status().code(), absl::StatusCode::kNotFound);
  v1::PutMotifsRequest motifs;
  motifs.set_sweep(planted_);
  EXPECT_EQ(Await(*store, &Store::PutMotifs, motifs).status().code(), absl::StatusCode::kNotFound);
  v1::CompactRequest compact;
  const auto busy = Await(*store, &Store::Compact, compact);
  EXPECT_EQ(busy.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(busy.status().message(), HasSubstr("a deletion is running"));
  // Others are written and read as ever.
  EXPECT_EQ(PutOne(*store, other_, MakeResult(other_plan_, kDone)).code(), v1::PutOutcome::CODE_STORED);

  uint64_t rows = 1;
  while (true) {
    const auto more = (*reader)->Next(message);
    ASSERT_TRUE(more.ok()) << more.status();
    ASSERT_TRUE(*more);
    if (message.has_trailer()) break;
    EXPECT_EQ(message.result().image(), Planted(planted_plan_, rows).image());
    ++rows;
  }
  EXPECT_EQ(rows, kDone);
  EXPECT_EQ(message.trailer().rows(), kDone);
  reader->reset();
  deletion.join();
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->results(), kDone);
  EXPECT_THAT(Grep(folder_.path("store")), testing::IsEmpty());
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
}

TEST_F(DeletionTest, GoesOnWhenTheStoreIsOpenedAgain) {
  auto store = OpenStore(folder_.path("store"));
  Fill(*store);
  // An old reader keeps the deletion from its end until the store is closed.
  auto reader = store->ReadResults(Everything(other_));
  ASSERT_TRUE(reader.ok()) << reader.status();
  absl::StatusOr<v1::DeleteSweepResponse> deleted = absl::UnknownError("");
  std::thread deletion([&] { deleted = Delete(*store, planted_); });
  v1::GetSweepRequest by_id;
  by_id.set_sweep(planted_);
  while (store->GetSweep(by_id).ok()) std::this_thread::yield();
  EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
  store->Close();
  deletion.join();
  EXPECT_EQ(deleted.status().code(), absl::StatusCode::kUnavailable) << deleted.status();
  reader->reset();
  store.reset();

  store = OpenStore(folder_.path("store"));
  const auto again = Delete(*store, planted_);
  EXPECT_TRUE(again.ok() || absl::IsNotFound(again.status())) << again.status();
  EXPECT_THAT(Grep(folder_.path("store")), testing::IsEmpty());
  ExpectOthersIntact(*store);
  store.reset();
  ExpectGone(folder_.path("store"));
}

Files FilesOf(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    files[entry.path()] = std::string(std::istreambuf_iterator<char>(in), {});
  }
  return files;
}

// Breaks a deletion off after its nth change of the disk, as a power cut would, and opens what is left: at each of the first,
// which are the groups of the committer, then at some of those that compaction makes.
TEST_F(DeletionTest, SurvivesAPowerCutAtAnyChange) {
  const std::string folder = folder_.path("store");
  auto store = OpenStore(folder);
  Fill(*store);
  store.reset();
  DiskModel disk(FilesOf(folder));
  auto fault = std::make_shared<FaultFs>();
  Store::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  options.file_system = fault;
  store = OpenStore(std::move(options));
  const uint64_t begun = fault->changes();
  ASSERT_TRUE(Delete(*store, planted_).ok());
  const uint64_t deleted = fault->changes();
  store.reset();
  const std::vector<DiskModel::Change> trace = fault->trace();
  std::mt19937_64 random(7);
  int cuts = 0;
  for (uint64_t change = 1; change <= deleted; ++change) {
    disk.Apply(trace[change - 1]);
    if (change < begun || (change > begun + 40 && change % 13 != 0 && change != deleted)) continue;
    const auto cut = cuts++ % 2 == 0 ? DiskModel::Cut::kDurable : DiskModel::Cut::kTorn;
    const std::string left = folder_.path("left");
    fs::remove_all(left);
    fs::create_directories(left);
    for (const auto& [path, bytes] : disk.After(cut, random)) {
      std::ofstream(left + "/" + fs::path(path).filename().string(), std::ios::binary) << bytes;
    }
    store = OpenStore(left);
    const auto again = Delete(*store, planted_);
    EXPECT_TRUE(again.ok() || absl::IsNotFound(again.status())) << change << " " << again.status();
    if (change == deleted) {
      EXPECT_TRUE(absl::IsNotFound(again.status())) << again.status();
    }
    EXPECT_THAT(Grep(left), testing::IsEmpty()) << change;
    ExpectOthersIntact(*store);
    store.reset();
    EXPECT_EQ(RowsOf(*OpenDatabase(left), planted_), 0) << change;
  }
  EXPECT_GT(cuts, 40);
}

}  // namespace
}  // namespace promptsweep::store
