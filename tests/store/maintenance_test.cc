// Proves checkpoints, backups, restores, compaction and statistics: copies taken under load hold every result acknowledged before
// and nothing half, damage in a backup is found, nothing is overwritten, and long work is broken off when the store ends.
#include "store/maintenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "store/host.h"
#include "store/snapshots.h"
#include "tests/store/fixture.h"
#include "tests/store/gated_fs.h"

namespace promptsweep::store {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;

namespace fs = std::filesystem;

class MaintenanceTest : public testing::Test {
 protected:
  void SetUp() override {
    Store::Options options;
    options.folder = folder_.path("store");
    options.ballast_bytes = 0;
    options.any_path = true;
    store_ = OpenStore(std::move(options));
    sweep_ = *Create(*store_, manifest_);
  }
  void Put(uint64_t begin, uint64_t end, size_t image_bytes = 6000) {
    for (uint64_t i = begin; i < end; ++i) {
      ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(plan_, i, image_bytes)).code(), v1::PutOutcome::CODE_STORED);
    }
  }
  absl::StatusOr<v1::CheckpointResponse> Checkpoint(const std::string& folder) {
    v1::CheckpointRequest request;
    request.set_folder(folder);
    return Await(*store_, &Store::Checkpoint, request);
  }
  absl::StatusOr<v1::BackupResponse> Backup(Store& store, const std::string& folder) {
    v1::BackupRequest request;
    request.set_folder(folder);
    return Await(store, &Store::Backup, request);
  }
  // Results of the sweep in another folder, each read whole; the folder is sound.
  uint64_t CountIn(const std::string& folder) {
    auto store = OpenStore(folder);
    v1::GetResultsRequest request;
    request.set_sweep(sweep_);
    request.set_with_images(true);
    request.set_with_embeddings(true);
    const auto rows = ReadAll(*store, request);
    EXPECT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ(Problems(VerifyAll(*store, true)), "");
    return rows.ok() ? rows->size() : 0;
  }
  static void Flip(const fs::path& file, uint64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(stream.get() ^ 0x20);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte);
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("m", 500);
  const sweep::Plan plan_ = MakePlan(manifest_);
  std::unique_ptr<Store> store_;
  uint32_t sweep_ = 0;
};

TEST_F(MaintenanceTest, CheckpointOpensAsAStoreAndStaysAsItWas) {
  Put(0, 20);
  const auto made = Checkpoint(folder_.path("copy"));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->folder(), folder_.path("copy"));
  EXPECT_EQ(made->bytes(), FolderBytes(folder_.path("copy")));
  EXPECT_GT(made->bytes(), 20u * 6000);
  EXPECT_GT(made->files(), 5u);
  Put(20, 30);
  v1::CompactRequest compact;
  ASSERT_TRUE(Await(*store_, &Store::Compact, compact).ok());
  EXPECT_EQ(CountIn(folder_.path("copy")), 20u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
  for (const auto& entry : fs::directory_iterator(folder_.path("."))) {
    EXPECT_THAT(entry.path().filename().string(), testing::AnyOf("store", "copy"));
  }
}

TEST_F(MaintenanceTest, CheckpointUnderLoadHoldsWhatWasAcknowledgedBefore) {
  Put(0, 10);
  std::atomic<uint64_t> acknowledged{10};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t i = 10; i < plan_.cell_count() && !stop; ++i) {
      PutOne(*store_, sweep_, MakeResult(plan_, i, 6000));
      ++acknowledged;
    }
  });
  std::vector<std::pair<uint64_t, uint64_t>> bounds;
  for (int i = 0; i < 4; ++i) {
    const uint64_t before = acknowledged;
    const auto made = Checkpoint(folder_.path(absl::StrCat("copy", i)));
    ASSERT_TRUE(made.ok()) << made.status();
    bounds.emplace_back(before, acknowledged + 1);
  }
  stop = true;
  writer.join();
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(CountIn(folder_.path(absl::StrCat("copy", i))), AllOf(Ge(bounds[i].first), Le(bounds[i].second)));
  }
}

TEST_F(MaintenanceTest, NothingIsOverwritten) {
  Put(0, 2);
  fs::create_directories(folder_.path("full"));
  std::ofstream(folder_.path("full") + "/mine") << "mine";
  EXPECT_EQ(Checkpoint(folder_.path("full")).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Backup(*store_, folder_.path("full")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Checkpoint(folder_.path("store") + "/inside").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Checkpoint(folder_.path("store")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Backup(*store_, folder_.path("store") + "/").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Checkpoint("").status().code(), absl::StatusCode::kInvalidArgument);
  fs::create_directories(folder_.path("empty"));
  EXPECT_TRUE(Checkpoint(folder_.path("empty") + "/").ok());
  EXPECT_EQ(Checkpoint(folder_.path("empty")).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(Backup(*store_, folder_.path("backups")).ok());
  EXPECT_EQ(RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("full")}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FolderBytes(folder_.path("full")), 4u);
}

TEST_F(MaintenanceTest, BackupsAreIncrementalAndEachRestores) {
  Put(0, 50);
  const auto first = Backup(*store_, folder_.path("backups"));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->backup(), 1u);
  EXPECT_GT(first->bytes(), 50u * 6000);
  EXPECT_GE(first->copied_bytes(), first->bytes());
  Put(50, 55);
  const auto second = Backup(*store_, folder_.path("backups"));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->backup(), 2u);
  EXPECT_GT(second->bytes(), first->bytes());
  EXPECT_LT(second->copied_bytes(), second->bytes() / 2);

  auto restored = RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("newest")});
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->backup, 2u);
  EXPECT_EQ(restored->facts.uuid, store_->uuid());
  EXPECT_EQ(restored->facts.done.at(sweep_), 55u);
  EXPECT_EQ(CountIn(folder_.path("newest")), 55u);
  restored = RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("older"), .number = 1});
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(CountIn(folder_.path("older")), 50u);
  EXPECT_EQ(RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("none"), .number = 3}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(RestoreStore({.backup = folder_.path("no"), .folder = folder_.path("none")}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(folder_.path("none")));
}

TEST_F(MaintenanceTest, AnotherStoreMayNotUseTheSameBackupFolder) {
  Put(0, 2);
  ASSERT_TRUE(Backup(*store_, folder_.path("backups")).ok());
  Store::Options options;
  options.folder = folder_.path("other");
  options.ballast_bytes = 0;
  options.any_path = true;
  auto other = OpenStore(std::move(options));
  const auto refused = Backup(*other, folder_.path("backups"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("another store"));
}

// A flipped byte in any file of a backup, and a file that is cut or gone, is found by restoring it, and by the next backup where
// that one shares the file.
TEST_F(MaintenanceTest, DamageInABackupIsFound) {
  Put(0, 10);
  ASSERT_TRUE(Backup(*store_, folder_.path("whole")).ok());
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path("whole"))) {
    if (entry.is_regular_file() && entry.file_size() > 0) files.push_back(fs::relative(entry.path(), folder_.path("whole")));
  }
  ASSERT_GT(files.size(), 5u);
  for (size_t i = 0; i < files.size(); ++i) {
    for (const int harm : {0, 1, 2}) {
      const std::string backups = folder_.path("damaged");
      fs::remove_all(backups);
      fs::copy(folder_.path("whole"), backups, fs::copy_options::recursive);
      const fs::path file = fs::path(backups) / files[i];
      const uint64_t size = fs::file_size(file);
      if (harm == 0) Flip(file, size * (i % 7) / 7);
      if (harm == 1) fs::resize_file(file, size - 1);
      if (harm == 2) fs::remove(file);
      const auto restored = RestoreStore({.backup = backups, .folder = folder_.path("restored")});
      if (restored.ok() && harm == 0 && files[i].string().find("meta/") == 0) {
        // When it was made is nothing that a checksum covers, nor anything that matters.
        EXPECT_EQ(CountIn(folder_.path("restored")), 10u);
        fs::remove_all(folder_.path("restored"));
        continue;
      }
      EXPECT_FALSE(restored.ok()) << files[i] << " " << harm;
      EXPECT_FALSE(fs::exists(folder_.path("restored"))) << files[i] << " " << harm;
      if (harm == 0 && files[i].string().find("shared_checksum") == 0) {
        EXPECT_EQ(restored.status().code(), absl::StatusCode::kDataLoss) << restored.status();
        const auto again = Backup(*store_, backups);
        EXPECT_EQ(again.status().code(), absl::StatusCode::kDataLoss) << files[i] << " " << again.status();
      }
    }
  }
}

TEST_F(MaintenanceTest, ADamagedNewestBackupIsNotPassedOverInSilence) {
  Put(0, 5);
  ASSERT_TRUE(Backup(*store_, folder_.path("backups")).ok());
  Put(5, 8);
  ASSERT_TRUE(Backup(*store_, folder_.path("backups")).ok());
  fs::resize_file(folder_.path("backups/meta/2"), 10);
  const auto restored = RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("restored")});
  EXPECT_EQ(restored.status().code(), absl::StatusCode::kDataLoss) << restored.status();
  EXPECT_THAT(restored.status().message(), HasSubstr("the newest whole one is 1"));
  ASSERT_TRUE(RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("restored"), .number = 1}).ok());
  EXPECT_EQ(CountIn(folder_.path("restored")), 5u);
}

TEST_F(MaintenanceTest, CompactGivesBytesBackAndLosesNothing) {
  Put(0, 40);
  // A vocabulary that was replaced many times over.
  for (int i = 0; i < 20; ++i) {
    v1::PutLabelsRequest labels;
    labels.set_embedder_digest(Sha256Of("eye"));
    for (uint64_t k = 0; k < 100; ++k) {
      labels.add_labels(absl::StrCat(i, "-", k));
      labels.mutable_fp16()->append(MakeVector(i * 1000 + k, 256));
    }
    labels.set_dim(256);
    ASSERT_TRUE(Await(*store_, &Store::PutLabels, labels).ok());
  }
  v1::CompactRequest request;
  const auto compacted = Await(*store_, &Store::Compact, request);
  ASSERT_TRUE(compacted.ok()) << compacted.status();
  EXPECT_LT(compacted->bytes_after() + 19 * 100 * 256, compacted->bytes_before());
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
  store_.reset();
  EXPECT_EQ(CountIn(folder_.path("store")), 40u);
}

// The family that was being written out when the next log began held on to its own, and on a store at rest a deletion waited for
// ever.
TEST_F(MaintenanceTest, ALogThatAFlushHeldWhenItEndedGoesToo) {
  auto gate = std::make_shared<GatedFs>(".sst");
  const std::string folder = folder_.path("gated");
  const auto database = Database::Open({.folder = folder, .create_if_missing = true, .file_system = gate, .ballast_bytes = 0});
  ASSERT_TRUE(database.ok()) << database.status();
  rocksdb::DB& db = (*database)->db();
  const auto put = [&](Family family) {
    return db.Put(rocksdb::WriteOptions(), (*database)->family(family), "key", "value").ok();
  };
  const auto logs = [&] {
    return std::count_if(fs::directory_iterator(folder), fs::directory_iterator(),
                         [](const fs::directory_entry& file) { return file.path().extension() == ".log"; });
  };
  gate->Close();
  ASSERT_TRUE(put(Family::kImages));
  rocksdb::FlushOptions later;
  later.wait = false;
  ASSERT_TRUE(db.Flush(later, (*database)->family(Family::kImages)).ok());
  gate->AwaitHeld();
  const auto before = logs();
  ASSERT_TRUE(put(Family::kResults));
  Cancellation cancellation;
  absl::Status purged;
  std::thread purge([&] { purged = Purge(**database, AllKeys(), cancellation); });
  while (logs() == before) absl::SleepFor(absl::Milliseconds(1));
  gate->Open();
  purge.join();
  EXPECT_TRUE(purged.ok()) << purged;
  EXPECT_EQ(logs(), 1);
}

TEST_F(MaintenanceTest, StatsAddUp) {
  Put(0, 30);
  auto stats = store_->GetStats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->sweeps(), 1u);
  EXPECT_EQ(stats->results(), 30u);
  EXPECT_EQ(stats->staged_vectors(), 30u);
  EXPECT_GT(stats->log_bytes(), 30u * 6000);
  EXPECT_GE(stats->folder_bytes(), stats->log_bytes());
  EXPECT_GT(stats->free_bytes(), 0u);
  EXPECT_GT(stats->memory_bytes(), 30u * 6000);
  EXPECT_EQ(stats->memory_limit_bytes(), 144u << 20);
  EXPECT_EQ(stats->groups(), store_->groups());
  EXPECT_THAT(stats->accepted_bytes(), AllOf(Ge(30u * 6000), Le(30u * 7000)));
  EXPECT_THAT(stats->written_bytes(), AllOf(Ge(stats->accepted_bytes()), Le(2 * stats->accepted_bytes())));
  const uint64_t acknowledged = stats->acknowledged();

  v1::CompactRequest request;
  ASSERT_TRUE(Await(*store_, &Store::Compact, request).ok());
  stats = store_->GetStats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  std::map<std::string, v1::FamilyStats> families;
  for (const auto& family : stats->families()) families[family.name()] = family;
  EXPECT_EQ(families.at("results").rows(), 30u);
  EXPECT_GT(families.at("results").table_bytes(), 0u);
  EXPECT_GT(families.at("images").blob_bytes(), 30u * 6000);
  EXPECT_EQ(families.at("images").memory_bytes(), 0u);
  EXPECT_FALSE(families.contains("failures"));
  EXPECT_GE(stats->acknowledged(), acknowledged);
  // Once to the log, once to blobs and tables; a double count would be three times.
  EXPECT_THAT(stats->written_bytes(), AllOf(Ge(2u * 30 * 6000), Le(stats->accepted_bytes() * 27 / 10)));
  EXPECT_LT(stats->log_bytes(), 6000u);
}

TEST_F(MaintenanceTest, OneAtATimeAndTheOthersHearWhatRuns) {
  Put(0, 5);
  // Holds the maintenance thread in the callback of the first, which must be over for the second by then.
  std::atomic<int> running{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const auto made = Checkpoint(folder_.path(absl::StrCat("copy", t)));
      if (made.ok()) {
        ++running;
      } else {
        EXPECT_EQ(made.status().code(), absl::StatusCode::kResourceExhausted) << made.status();
        EXPECT_THAT(made.status().message(), HasSubstr("a checkpoint is running"));
        ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(running, 1);
  EXPECT_EQ(running + refused, 8);
}

TEST_F(MaintenanceTest, BrokenOffWorkLeavesNothingBehind) {
  Put(0, 5);
  store_->CancelMaintenance();
  const auto made = Checkpoint(folder_.path("copy"));
  EXPECT_EQ(made.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(fs::exists(folder_.path("copy")));
  Cancellation cancellation;
  auto database = [&] {
    store_.reset();
    return *Database::Open({.folder = folder_.path("store"), .ballast_bytes = 0});
  }();
  const SnapshotSource source{*database, [] { return std::map<uint32_t, uint64_t>(); }, cancellation};
  ASSERT_TRUE(MakeBackup(source, folder_.path("backups")).ok());
  cancellation.Cancel();
  EXPECT_EQ(MakeBackup(source, folder_.path("backups")).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(MakeCheckpoint(source, folder_.path("copy")).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(fs::exists(folder_.path("copy")));
  database.reset();
  ASSERT_TRUE(RestoreStore({.backup = folder_.path("backups"), .folder = folder_.path("restored")}).ok());
  EXPECT_EQ(CountIn(folder_.path("restored")), 5u);
}

TEST_F(MaintenanceTest, OverAServerAFolderIsABareName) {
  for (const char* name : {"daily", "2026-01-31", "a.b_c-D"}) EXPECT_TRUE(CheckSnapshotName(name).ok()) << name;
  for (const char* name : {"", ".", "..", "a..b", "/tmp/x", "a/b", "a b", "x~unfinished", "\xc3\xa9", "a\n"}) {
    EXPECT_EQ(CheckSnapshotName(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  store_.reset();
  StoreHost::Options options;
  options.store.folder = folder_.path("store");
  options.store.ballast_bytes = 0;
  auto host = StoreHost::Start(std::move(options));
  ASSERT_TRUE(host.ok()) << host.status();
  auto stub = v1::StoreService::NewStub((*host)->InProcessChannel());
  v1::CheckpointRequest request;
  v1::CheckpointResponse response;
  request.set_folder(folder_.path("elsewhere"));
  grpc::ClientContext refused;
  EXPECT_EQ(stub->Checkpoint(&refused, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_folder("daily");
  grpc::ClientContext taken;
  const grpc::Status status = stub->Checkpoint(&taken, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.folder(), folder_.path("store.snapshots/daily"));
  EXPECT_EQ(CountIn(response.folder()), 0u);
}

}  // namespace
}  // namespace promptsweep::store
