// Proves that folders of every schema version open, read back exactly what was written into them, are sound and are written on,
// and that a folder of a newer version is refused with nothing in it changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "tests/store/golden.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

std::map<std::string, std::string> FilesOf(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    files[entry.path().filename()] = content.str();
  }
  return files;
}

void ExpectResults(Store& store, uint32_t sweep, const v1::SweepManifest& manifest, uint64_t done) {
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  request.set_with_embeddings(true);
  const auto rows = ReadAll(store, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), done);
  for (uint64_t i = 0; i < done; ++i) {
    const v1::Result& row = (*rows)[i];
    const v1::Result wanted = golden::ResultOf(manifest, i);
    EXPECT_EQ(row.cell().ordinal(), i);
    EXPECT_EQ(row.cell().fingerprint(), wanted.cell().fingerprint());
    EXPECT_EQ(row.image(), wanted.image());
    EXPECT_EQ(row.image_digest(), wanted.image_digest());
    EXPECT_EQ(row.width(), 8u);
    EXPECT_EQ(row.generate_us(), 100u);
    EXPECT_GT(row.stored_at_ms(), 1'000'000'000'000u);
    EXPECT_EQ(row.provenance().worker(), "worker-1");
    ASSERT_EQ(row.embeddings_size(), wanted.embeddings_size());
    for (int e = 0; e < row.embeddings_size(); ++e) {
      EXPECT_EQ(row.embeddings(e).SerializeAsString(), wanted.embeddings(e).SerializeAsString());
    }
    ASSERT_EQ(row.imported_size(), wanted.imported_size());
    for (int c = 0; c < row.imported_size(); ++c) {
      EXPECT_EQ(row.imported(c).SerializeAsString(), wanted.imported(c).SerializeAsString());
    }
  }
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    v1::ScanEmbeddingsRequest scan;
    scan.set_sweep(sweep);
    scan.set_embedder(embedder.id());
    const auto vectors = ScanAll(store, scan);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    EXPECT_EQ(vectors->size(), done);
  }
}

class GoldenTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    std::filesystem::copy(absl::StrCat(PROMPTSWEEP_SOURCE_DIR, "/tests/data/store_v", GetParam()), folder_.path("store"));
  }
  TempFolder folder_;
};

TEST_P(GoldenTest, Case38_HoldsWhatWasWrittenIntoItAndIsWrittenOn) {
  for (int opening = 0; opening < 2; ++opening) {
    Store::Options options;
    options.folder = folder_.path("store");
    options.ballast_bytes = 0;
    auto opened = Store::Open(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    Store& store = **opened;
    ExpectResults(store, 1, golden::First(), golden::kFirstDone);
    ExpectResults(store, 2, golden::Second(), golden::kSecondDone + opening);
    const uint32_t sweeps = GetParam() == 1 ? 2 : 3;
    if (sweeps == 3) {
      ExpectResults(store, 3, golden::Third(), golden::kSecondDone);
      v1::GetSweepRequest third;
      third.set_sweep(3);
      EXPECT_EQ(store.GetSweep(third)->info().counts().reused(), golden::kSecondDone);
    }

    v1::GetSweepRequest by_name;
    by_name.set_name("golden");
    const auto sweep = store.GetSweep(by_name);
    ASSERT_TRUE(sweep.ok()) << sweep.status();
    EXPECT_EQ(sweep->info().manifest().SerializeAsString(), golden::First().SerializeAsString());
    EXPECT_EQ(sweep->info().state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
    EXPECT_EQ(sweep->info().counts().divergent(), 1u);

    v1::ListFailuresRequest list;
    list.set_sweep(1);
    const auto failures = store.ListFailures(list);
    ASSERT_TRUE(failures.ok()) << failures.status();
    ASSERT_EQ(failures->failures_size(), 1);
    EXPECT_EQ(failures->failures(0).ordinal(), golden::kFailed);
    EXPECT_EQ(failures->failures(0).attempts(), 3u);
    EXPECT_EQ(failures->failures(0).error(), golden::kFailure);

    v1::GetLabelsRequest labels;
    labels.set_embedder_digest(Sha256Of("eye"));
    const auto vocabulary = store.GetLabels(labels);
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    EXPECT_EQ(vocabulary->labels(0), "sari");
    EXPECT_EQ(vocabulary->fp16(), golden::Labels().fp16());

    v1::GetMotifsRequest motifs;
    motifs.set_sweep(1);
    EXPECT_EQ(store.GetMotifs(motifs)->report(), golden::kMotifs);
    EXPECT_EQ(Problems(VerifyAll(store, true)), "");

    // The same again is known, other content was seen before, what is new is stored.
    EXPECT_EQ(PutOne(store, 1, golden::ResultOf(golden::First(), 3)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
    EXPECT_EQ(PutOne(store, 1, golden::ResultOf(golden::First(), golden::kDuplicate, 7)).code(),
              v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
    EXPECT_EQ(store.GetSweep(by_name)->info().counts().divergent(), 1u);
    EXPECT_EQ(PutOne(store, 2, golden::ResultOf(golden::Second(), golden::kSecondDone + opening)).code(),
              v1::PutOutcome::CODE_STORED);
    EXPECT_EQ(*Create(store, MakeManifest(absl::StrCat("new", opening), 1)), sweeps + 1 + opening);
    EXPECT_EQ(Problems(VerifyAll(store, true)), "");
  }
}

TEST_P(GoldenTest, IsOfTheCurrentVersionOnceOpened) {
  OpenStore(folder_.path("store"));
  auto database = Database::Open({.folder = folder_.path("store"), .ballast_bytes = 0});
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(*(*database)->Get(Family::kMeta, kSchemaVersionKey), EncodeU32(kSchemaVersion));
}

std::vector<int> AllVersions() {
  std::vector<int> versions;
  for (uint32_t version = 1; version <= kSchemaVersion; ++version) versions.push_back(static_cast<int>(version));
  return versions;
}
INSTANTIATE_TEST_SUITE_P(Versions, GoldenTest, testing::ValuesIn(AllVersions()), testing::PrintToStringParamName());

// What a program of version 1 says of a folder of version 2, too: the sentence is the same since version 1.
TEST(NewerStoreTest, Case38_IsRefusedAndNothingInItChanges) {
  TempFolder folder;
  const std::string path = folder.path("store");
  const v1::SweepManifest manifest = MakeManifest("newer", 2);
  {
    auto store = OpenStore(path);
    PutOne(*store, *Create(*store, manifest), MakeResult(MakePlan(manifest), 0, 6000));
  }
  {
    auto database = Database::Open({.folder = path, .ballast_bytes = 0});
    ASSERT_TRUE(database.ok()) << database.status();
    rocksdb::ColumnFamilyHandle* newer = nullptr;
    ASSERT_TRUE((*database)->db().CreateColumnFamily(rocksdb::ColumnFamilyOptions(), "of_version_99", &newer).ok());
    ASSERT_TRUE((*database)->db().Put(rocksdb::WriteOptions(), newer, "key", "value").ok());
    ASSERT_TRUE((*database)->db().DestroyColumnFamilyHandle(newer).ok());
    rocksdb::WriteOptions options;
    options.sync = true;
    ASSERT_TRUE((*database)
                    ->db()
                    .Put(options, (*database)->family(Family::kMeta), ToSlice(kSchemaVersionKey), ToSlice(EncodeU32(99)))
                    .ok());
  }
  const auto before = FilesOf(path);
  for (const bool create : {false, true}) {
    Store::Options options;
    options.folder = path;
    options.create_if_missing = create;
    const auto opened = Store::Open(std::move(options));
    ASSERT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition) << opened.status();
    EXPECT_THAT(opened.status().message(),
                HasSubstr(absl::StrCat("has schema version 99, this program knows ", kSchemaVersion, ": use a newer program")));
  }
  EXPECT_EQ(FilesOf(path), before);
}

}  // namespace
}  // namespace promptsweep::store
