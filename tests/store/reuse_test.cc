// Proves that a cell which another sweep has made already is linked and not made again: equal in every reply, counted, found
// sound by verify, never from an origin that is damaged or about to go; and that verify finds every disagreement between the two.
#include "store/reuse.h"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rpc.h"
#include "jobs/sweep/image_location.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using ::testing::HasSubstr;

v1::OrdinalRange Range(uint64_t begin, uint64_t end) {
  v1::OrdinalRange range;
  range.set_begin(begin);
  range.set_end(end);
  return range;
}

std::string Text(const google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges) {
  std::string text;
  for (const auto& range : ranges) absl::StrAppend(&text, "[", range.begin(), ",", range.end(), ")");
  return text;
}

// Like MakeResult, with another vector for every embedder and content that depends on what is asked, not on the sweep.
v1::Result Make(const sweep::Plan& plan, uint64_t ordinal, uint64_t salt = 0) {
  v1::Result result = MakeResult(plan, ordinal, 600, salt);
  const uint64_t asked = Xxh3(result.cell().fingerprint(), salt);
  result.set_image(MakePng(8, 8, Sha256Of(absl::StrCat(asked)) + std::string(5000, 'x')));
  result.set_image_digest(Sha256Of(result.image()));
  for (v1::Embedding& embedding : *result.mutable_embeddings()) {
    embedding.set_fp16(MakeVector(Xxh3(embedding.embedder().substr(0, 3), asked), 8));
  }
  return result;
}

class ReuseTest : public ::testing::Test {
 protected:
  ReuseTest() : store_(OpenStore(folder_.path("store"))) {}

  uint32_t Add(const v1::SweepManifest& manifest) {
    const auto id = Create(*store_, manifest);
    PS_CHECK(id.ok()) << id.status();
    return *id;
  }
  // A sweep with a result for each of its cells.
  uint32_t AddFull(const v1::SweepManifest& manifest) {
    const uint32_t id = Add(manifest);
    const sweep::Plan plan = MakePlan(manifest);
    std::vector<v1::Result> results;
    for (uint64_t i = 0; i < plan.cell_count(); ++i) results.push_back(Make(plan, i));
    const auto reply = PutAll(*store_, id, std::move(results));
    PS_CHECK(reply.ok()) << reply.status();
    for (const auto& outcome : reply->outcomes()) PS_CHECK(outcome.code() == v1::PutOutcome::CODE_STORED) << outcome.reason();
    return id;
  }
  absl::StatusOr<v1::ReuseResultsResponse> Reuse(uint32_t sweep, std::vector<v1::OrdinalRange> ranges) {
    v1::ReuseResultsRequest request;
    request.set_sweep(sweep);
    for (const auto& range : ranges) *request.add_ranges() = range;
    return Await(*store_, &Store::ReuseResults, request);
  }
  // How many cells of [0, cells) could be linked; -1 on an error.
  int Linked(uint32_t sweep, uint64_t cells) {
    const auto reply = Reuse(sweep, {Range(0, cells)});
    return reply.ok() ? static_cast<int>(reply->reused()) : -1;
  }
  v1::SweepCounts Counts(uint32_t sweep) {
    v1::GetSweepRequest request;
    request.set_sweep(sweep);
    const auto reply = store_->GetSweep(request);
    PS_CHECK(reply.ok()) << reply.status();
    return reply->info().counts();
  }
  std::vector<v1::Result> Everything(uint32_t sweep) {
    v1::GetResultsRequest request;
    request.set_sweep(sweep);
    request.set_with_images(true);
    request.set_with_embeddings(true);
    auto rows = ReadAll(*store_, request);
    PS_CHECK(rows.ok()) << rows.status();
    return *std::move(rows);
  }
  std::string Sound() { return Problems(VerifyAll(*store_, true)); }
  void Reopen() {
    store_.reset();
    store_ = OpenStore(folder_.path("store"));
  }
  // Changes rows behind the store's back.
  void Plant(const std::function<void(Database&)>& change) {
    store_.reset();
    {
      Database::Options options;
      options.folder = folder_.path("store");
      options.ballast_bytes = 0;
      auto database = Database::Open(options);
      PS_CHECK(database.ok()) << database.status();
      change(**database);
    }
    store_ = OpenStore(folder_.path("store"));
  }
  static void PutRow(Database& database, Family family, const std::string& key, const std::string& value) {
    PS_CHECK(database.db().Put(rocksdb::WriteOptions(), database.family(family), ToSlice(key), ToSlice(value)).ok());
  }
  static void DeleteRow(Database& database, Family family, const std::string& key) {
    PS_CHECK(database.db().Delete(rocksdb::WriteOptions(), database.family(family), ToSlice(key)).ok());
  }
  static ResultRow RowOf(Database& database, uint32_t sweep, uint64_t ordinal) {
    const auto value = database.Get(Family::kResults, CellKey(sweep, ordinal));
    PS_CHECK(value.ok()) << value.status();
    return *DecodeResultRow(*value);
  }
  static void SetReusedFrom(Database& database, uint32_t sweep, uint64_t ordinal, uint32_t from, uint64_t from_ordinal) {
    ResultRow row = RowOf(database, sweep, ordinal);
    v1::Result rest;
    PS_CHECK(rest.ParseFromString(row.rest));
    rest.mutable_reused_from()->set_sweep(from);
    rest.mutable_reused_from()->set_ordinal(from_ordinal);
    row.rest = rest.SerializeAsString();
    PutRow(database, Family::kResults, CellKey(sweep, ordinal), Encode(row));
  }
  static void SetState(Database& database, uint32_t sweep, v1::SweepState state) {
    SweepRow row = *DecodeSweepRow(*database.Get(Family::kSweeps, SweepKey(sweep)));
    row.state = state;
    PutRow(database, Family::kSweeps, SweepKey(sweep), Encode(row));
  }

  TempFolder folder_;
  std::unique_ptr<Store> store_;
};

// first: 2 prompts x 5 seeds; second: the same and three seeds more, so [0,5) and [8,13) of it are known.
TEST_F(ReuseTest, ALinkedCellIsTheOriginalInEveryReply) {
  const uint32_t first = AddFull(MakeManifest("first", 5));
  const v1::SweepManifest manifest = MakeManifest("second", 8);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t second = Add(manifest);
  const auto reply = Reuse(second, {Range(0, 3), Range(3, 16)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->reused(), 10u);
  EXPECT_EQ(Text(reply->linked()), "[0,5)[8,13)");
  EXPECT_EQ(Text(reply->done()), "[0,5)[8,13)");
  EXPECT_EQ(Counts(second).done(), 10u);
  EXPECT_EQ(Counts(second).reused(), 10u);
  EXPECT_EQ(Counts(first).reused(), 0u);

  const auto again = Reuse(second, {Range(2, 9)});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->reused(), 0u);
  EXPECT_EQ(again->linked_size(), 0);
  EXPECT_EQ(Text(again->done()), "[2,5)[8,9)");

  for (int round = 0; round < 2; ++round) {
    const auto originals = Everything(first);
    const auto rows = Everything(second);
    ASSERT_EQ(rows.size(), 10u);
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].cell().ordinal(), i < 5 ? i : i + 3);
      EXPECT_EQ(rows[i].cell().fingerprint(), originals[i].cell().fingerprint());
      EXPECT_EQ(rows[i].reused_from().sweep(), first);
      EXPECT_EQ(rows[i].reused_from().ordinal(), i);
      EXPECT_EQ(rows[i].image(), originals[i].image());
      EXPECT_EQ(rows[i].image_bytes(), rows[i].image().size());
      EXPECT_EQ(rows[i].embeddings(0).fp16(), originals[i].embeddings(0).fp16());
      EXPECT_EQ(rows[i].provenance().worker(), "worker-1");
      EXPECT_EQ(rows[i].generate_us(), originals[i].generate_us());
      EXPECT_FALSE(originals[i].has_reused_from());
      EXPECT_EQ(originals[i].image_bytes(), originals[i].image().size());
    }
    EXPECT_EQ(Counts(second).reused(), 10u);
    const auto verdict = VerifyAll(*store_, true);
    EXPECT_EQ(Problems(verdict), "");
    EXPECT_EQ(verdict.sweeps(1).counts().reused(), 10u);
    EXPECT_EQ(verdict.sweeps(1).images_checked(), 10u);
    EXPECT_EQ(verdict.sweeps(1).remaining(), 6u);
    v1::ScanEmbeddingsRequest scan;
    scan.set_sweep(second);
    scan.set_embedder("eye");
    EXPECT_EQ(ScanAll(*store_, scan)->size(), 10u);
    Reopen();
  }
  // The rest is made as ever; what was linked and is made all the same is known.
  EXPECT_EQ(PutOne(*store_, second, Make(plan, 4)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  EXPECT_EQ(PutOne(*store_, second, Make(plan, 4, 1)).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  EXPECT_EQ(PutOne(*store_, second, Make(plan, 5)).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(Counts(second).reused(), 10u);
  EXPECT_EQ(Counts(second).done(), 11u);
  EXPECT_EQ(Counts(second).divergent(), 1u);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, EmbeddersAreMatchedByDigestInAnyOrder) {
  AddFull(MakeManifest("first", 3, {"eye", "ear"}));
  const uint32_t turned = Add(MakeManifest("turned", 3, {"ear", "eye"}));
  const uint32_t fewer = Add(MakeManifest("fewer", 3, {"ear"}));
  const uint32_t none = Add(MakeManifest("none", 3, {}));
  const uint32_t more = Add(MakeManifest("more", 3, {"eye", "ear", "nose"}));
  const uint32_t other = Add(MakeManifest("other", 3, {"nose"}));
  v1::SweepManifest renamed_manifest = MakeManifest("renamed", 3, {"ear"});
  renamed_manifest.mutable_spec()->set_embedders(0, "earring");
  renamed_manifest.mutable_embedders(0)->set_id("earring");
  const uint32_t renamed = Add(renamed_manifest);
  EXPECT_EQ(Linked(turned, 6), 6);
  EXPECT_EQ(Linked(fewer, 6), 6);
  EXPECT_EQ(Linked(none, 6), 6);
  EXPECT_EQ(Linked(renamed, 6), 6);
  EXPECT_EQ(Linked(more, 6), 0);
  EXPECT_EQ(Linked(other, 6), 0);
  const v1::Result a = Everything(1)[2];
  const v1::Result b = Everything(turned)[2];
  ASSERT_EQ(b.embeddings_size(), 2);
  EXPECT_EQ(b.embeddings(0).embedder(), "ear");
  EXPECT_EQ(b.embeddings(0).fp16(), a.embeddings(1).fp16());
  EXPECT_EQ(b.embeddings(1).fp16(), a.embeddings(0).fp16());
  EXPECT_NE(b.embeddings(0).fp16(), b.embeddings(1).fp16());
  EXPECT_EQ(Everything(renamed)[2].embeddings(0).embedder(), "earring");
  EXPECT_EQ(Everything(none)[2].embeddings_size(), 0);
  EXPECT_EQ(Sound(), "");
  // As a worker would send them: the same content.
  const sweep::Plan plan = MakePlan(MakeManifest("turned", 3, {"ear", "eye"}));
  EXPECT_EQ(PutOne(*store_, turned, Make(plan, 1)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
}

TEST_F(ReuseTest, ChainsAreFlat) {
  const uint32_t first = AddFull(MakeManifest("first", 3));
  const uint32_t second = Add(MakeManifest("second", 3));
  ASSERT_EQ(Linked(second, 6), 6);
  const std::string fingerprint = MakePlan(MakeManifest("x", 3)).CellAt(4)->fingerprint();
  Plant([&](Database& database) { PutRow(database, Family::kByFingerprint, fingerprint, Versioned(CellKey(second, 4))); });
  const uint32_t third = Add(MakeManifest("third", 3));
  ASSERT_EQ(Linked(third, 6), 6);
  EXPECT_EQ(Everything(third)[4].reused_from().sweep(), first);
  EXPECT_EQ(Everything(third)[4].image(), Everything(first)[4].image());
  EXPECT_EQ(Sound(), "");
}

// What is left of a chain whose origin's sweep was deleted.
TEST_F(ReuseTest, ACellThatOwnsAnImageItOnceTookOverIsAnOwner) {
  AddFull(MakeManifest("first", 1));
  const uint32_t second = Add(MakeManifest("second", 1));
  ASSERT_EQ(Linked(second, 2), 2);
  const std::string fingerprint = MakePlan(MakeManifest("x", 1)).CellAt(0)->fingerprint();
  Plant([&](Database& database) {
    SetReusedFrom(database, second, 0, second, 0);
    PutRow(database, Family::kImages, CellKey(second, 0), *database.Get(Family::kImages, CellKey(1, 0)));
    DeleteRow(database, Family::kLinks, LinkKey(1, 0, second, 0));
    PutRow(database, Family::kByFingerprint, fingerprint, Versioned(CellKey(second, 0)));
  });
  EXPECT_EQ(Sound(), "");
  const uint32_t third = Add(MakeManifest("third", 1));
  ASSERT_EQ(Linked(third, 2), 2);
  EXPECT_EQ(Everything(third)[0].reused_from().sweep(), second);
  EXPECT_EQ(Everything(third)[1].reused_from().sweep(), 1u);
  EXPECT_EQ(Everything(third)[0].image(), Everything(1)[0].image());
  EXPECT_EQ(Everything(second)[0].image(), Everything(1)[0].image());
  EXPECT_EQ(Counts(second).reused(), 2u);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, ACellAskedTwiceInOneSweepIsMadeOnce) {
  v1::SweepManifest manifest = MakeManifest("twice", 2);
  const v1::CellNode once = manifest.spec().cells();
  v1::Chain& chain = *manifest.mutable_spec()->mutable_cells()->mutable_chain();
  *chain.add_parts() = once;
  *chain.add_parts() = once;
  manifest.set_cell_count(8);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t id = Add(manifest);
  ASSERT_EQ(PutOne(*store_, id, Make(plan, 1)).code(), v1::PutOutcome::CODE_STORED);
  ASSERT_EQ(PutOne(*store_, id, Make(plan, 6)).code(), v1::PutOutcome::CODE_STORED);
  const auto reply = Reuse(id, {Range(0, 8)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(Text(reply->linked()), "[2,3)[5,6)");
  EXPECT_EQ(Text(reply->done()), "[1,3)[5,7)");
  EXPECT_EQ(Everything(id)[2].reused_from().ordinal(), 1u);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, AFailureIsForgotten) {
  AddFull(MakeManifest("first", 3));
  const uint32_t second = Add(MakeManifest("second", 4));
  v1::PutFailuresRequest put;
  put.set_sweep(second);
  for (const uint64_t ordinal : {1, 3}) {
    v1::FailureRecord& record = *put.add_failures();
    record.set_ordinal(ordinal);
    record.set_attempts(3);
  }
  ASSERT_TRUE(Await(*store_, &Store::PutFailures, put).ok());
  ASSERT_EQ(Linked(second, 8), 6);
  EXPECT_EQ(Counts(second).failed(), 1u);
  Reopen();
  EXPECT_EQ(Counts(second).failed(), 1u);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, ImportsTakePartInNothing) {
  v1::SweepManifest imported = MakeManifest("imported", 3);
  imported.set_imported_from("elsewhere");
  AddFull(imported);
  const uint32_t second = Add(MakeManifest("second", 3));
  EXPECT_EQ(Linked(second, 6), 0);
  AddFull(MakeManifest("third", 3));
  imported.mutable_spec()->set_name("imported-again");
  EXPECT_EQ(Linked(Add(imported), 6), 0);
  EXPECT_EQ(Linked(second, 6), 6);
}

TEST_F(ReuseTest, ImagesStayWhereTheSweepWantsThem) {
  AddFull(MakeManifest("inside", 1));
  v1::SweepManifest manifest = MakeManifest("outside", 1);
  manifest.mutable_spec()->set_images("s3://bucket/prefix");
  EXPECT_EQ(Linked(Add(manifest), 2), 0) << "the bucket would lack these images";
  // A result whose image is outside serves every sweep, without a link.
  std::string uri;
  Plant([&](Database& database) {
    ResultRow row = RowOf(database, 1, 0);
    v1::Result rest;
    uri = sweep::ImageUri("s3://bucket/prefix", row.image_digest, row.format);
    rest.set_image_uri(uri);
    row.rest = rest.SerializeAsString();
    PutRow(database, Family::kResults, CellKey(1, 0), Encode(row));
    DeleteRow(database, Family::kImages, CellKey(1, 0));
  });
  const uint32_t inside = Add(MakeManifest("inside-again", 1));
  EXPECT_EQ(Linked(2, 2), 1);
  EXPECT_EQ(Linked(inside, 2), 2);
  v1::GetResultsRequest request;
  request.set_sweep(inside);
  const auto rows = ReadAll(*store_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0].image_uri(), uri);
  EXPECT_EQ((*rows)[0].reused_from().sweep(), 1u);
  EXPECT_GT((*rows)[0].image_bytes(), 0u);
  EXPECT_EQ((*rows)[1].image_uri(), "");
  EXPECT_EQ(Problems(VerifyAll(*store_, false)), "");
  Plant([&](Database& database) {
    Rows links(database, Family::kLinks, "", EndOfKeys());
    ASSERT_TRUE(links.Valid());
    EXPECT_EQ(links.key(), LinkKey(1, 1, inside, 1));
    links.Next();
    EXPECT_FALSE(links.Valid()) << "only the image in this store needs one";
  });
}

TEST_F(ReuseTest, NothingIsTakenFromOrForASweepThatIsBeingDeleted) {
  AddFull(MakeManifest("first", 3));
  const uint32_t second = Add(MakeManifest("second", 3));
  v1::SetSweepStateRequest cancel;
  cancel.set_sweep(1);
  cancel.set_state(v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, cancel).ok());
  v1::DeleteSweepRequest remove;
  remove.set_sweep(1);
  absl::Status removed;
  // A reader keeps the deletion from ending.
  auto snapshot = store_->TakeSnapshot();
  std::thread deletion([&] { removed = Await(*store_, &Store::DeleteSweep, remove).status(); });
  v1::GetSweepRequest first;
  first.set_sweep(1);
  while (store_->GetSweep(first).ok()) std::this_thread::yield();
  EXPECT_EQ(Linked(second, 6), 0);
  EXPECT_EQ(Reuse(1, {Range(0, 6)}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Counts(second).done(), 0u);
  snapshot.reset();
  deletion.join();
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_EQ(Linked(second, 6), 0);
}

TEST_F(ReuseTest, ADamagedOriginIsMadeAgain) {
  AddFull(MakeManifest("first", 5, {"eye", "ear"}));
  const std::string fingerprint = MakePlan(MakeManifest("x", 5)).CellAt(7)->fingerprint();
  Plant([&](Database& database) {
    DeleteRow(database, Family::kImages, CellKey(1, 0));
    std::string image = *database.Get(Family::kImages, CellKey(1, 1));
    image[image.size() / 2] ^= 1;
    PutRow(database, Family::kImages, CellKey(1, 1), image);
    std::string vector = *database.Get(Family::kEmbeddings, EmbeddingKey(1, 1, 2));
    vector[3] ^= 1;
    PutRow(database, Family::kEmbeddings, EmbeddingKey(1, 1, 2), vector);
    DeleteRow(database, Family::kEmbeddings, EmbeddingKey(0, 1, 3));
    PutRow(database, Family::kResults, CellKey(1, 4), "garbage");
    DeleteRow(database, Family::kResults, CellKey(1, 5));
    ResultRow row = RowOf(database, 1, 6);
    row.rest = "\xff\xff";
    PutRow(database, Family::kResults, CellKey(1, 6), Encode(row));
    PutRow(database, Family::kByFingerprint, fingerprint, "garbage");
  });
  const uint32_t second = Add(MakeManifest("second", 5, {"eye"}));
  const auto reply = Reuse(second, {Range(0, 10)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(Text(reply->linked()), "[8,10)");
  const auto verdict = VerifyAll(*store_, true);
  EXPECT_EQ(verdict.sweeps(1).problems_size(), 0);
}

TEST_F(ReuseTest, AnIndexThatLeadsToSomethingElseIsDataLoss) {
  AddFull(MakeManifest("first", 5));
  const std::string fingerprint = MakePlan(MakeManifest("x", 5)).CellAt(7)->fingerprint();
  Plant([&](Database& database) { PutRow(database, Family::kByFingerprint, fingerprint, Versioned(CellKey(1, 2))); });
  const uint32_t second = Add(MakeManifest("second", 5));
  const auto reply = Reuse(second, {Range(0, 10)});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("sweep 1 cell 2"));
  EXPECT_THAT(Sound(), HasSubstr("cell 7: by_fingerprint leads to a cell that is not the same"));
}

TEST_F(ReuseTest, VerifyFindsEveryDisagreement) {
  const uint32_t first = AddFull(MakeManifest("first", 5));
  const uint32_t second = Add(MakeManifest("second", 5));
  ASSERT_EQ(Linked(second, 10), 10);
  ASSERT_EQ(Sound(), "");
  const auto finds = [&](const std::string& problem, bool deep, const std::function<void(Database&)>& change) {
    SCOPED_TRACE(problem);
    Plant(change);
    EXPECT_THAT(Problems(VerifyAll(*store_, deep)), HasSubstr(problem));
  };
  const std::string of_first = absl::StrCat("sweep ", first, " ");
  const std::string of_second = absl::StrCat("sweep ", second, " ");
  finds(of_second + "cell 0: shows the image of sweep 1 cell 0 but no link leads to it", false,
        [&](Database& database) { DeleteRow(database, Family::kLinks, LinkKey(first, 0, second, 0)); });
  finds(of_first + "cell 1: a link leads from it to sweep 2 cell 0, which does not show its image", false,
        [&](Database& database) { PutRow(database, Family::kLinks, LinkKey(first, 1, second, 0), ""); });
  finds(of_second + "cell 2: a link starts at it but it owns no image", false,
        [&](Database& database) { PutRow(database, Family::kLinks, LinkKey(second, 2, first, 3), ""); });
  finds(of_second + "cell 3: has an image of its own but its record names another", false, [&](Database& database) {
    PutRow(database, Family::kImages, CellKey(second, 3), *database.Get(Family::kImages, CellKey(first, 3)));
  });
  finds(of_second + "cell 4: its image, that of sweep 1 cell 4, is missing", false,
        [&](Database& database) { DeleteRow(database, Family::kImages, CellKey(first, 4)); });
  finds(of_second + "cell 5: its image, that of sweep 1 cell 5, has another size", false,
        [&](Database& database) { PutRow(database, Family::kImages, CellKey(first, 5), "short"); });
  finds(of_second + "cell 6: its image, that of sweep 1 cell 6, is another", true, [&](Database& database) {
    std::string image = *database.Get(Family::kImages, CellKey(first, 6));
    image[image.size() / 2] ^= 1;
    PutRow(database, Family::kImages, CellKey(first, 6), image);
  });
  finds(of_second + "cell 7: shows the image of sweep 1 cell 8 but no link leads to it", false,
        [&](Database& database) { SetReusedFrom(database, second, 7, first, 8); });
  finds(of_second + "10 results are counted as reused, 9 are", false, [&](Database& database) {
    ResultRow row = RowOf(database, second, 9);
    row.rest.clear();
    PutRow(database, Family::kResults, CellKey(second, 9), Encode(row));
  });
  finds(of_second + "77 results are counted as reused, 9 are", false,
        [&](Database& database) { PutRow(database, Family::kCounters, SweepKey(second), Encode(CountersRow{.reused = 77})); });
  finds(of_first + "unreadable row", false, [&](Database& database) { PutRow(database, Family::kLinks, CellKey(first, 1), ""); });
  finds("rows of an unknown sweep 9 in links", false,
        [&](Database& database) { PutRow(database, Family::kLinks, LinkKey(9, 1, second, 0), ""); });
}

TEST_F(ReuseTest, AskingForNonsenseIsRefused) {
  const uint32_t id = Add(MakeManifest("first", 50'000));
  const auto code = [&](std::vector<v1::OrdinalRange> ranges) { return Reuse(id, std::move(ranges)).status().code(); };
  EXPECT_EQ(code({}), absl::StatusCode::kOk);
  EXPECT_EQ(code({Range(5, 5)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Range(5, 9), Range(8, 10)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Range(99'999, 100'001)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Range(0, 65'537)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Range(0, UINT64_MAX)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Range(0, 65'536)}), absl::StatusCode::kOk);
  EXPECT_EQ(Reuse(77, {Range(0, 1)}).status().code(), absl::StatusCode::kNotFound);
}

// Workers store the cells while others ask for them: every cell ends once, and nothing is counted twice.
TEST_F(ReuseTest, PutsAndReuseOfTheSameCellsMeet) {
  constexpr uint64_t kCells = 400;
  AddFull(MakeManifest("first", kCells / 2));
  const v1::SweepManifest manifest = MakeManifest("second", kCells / 2);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t second = Add(manifest);
  std::atomic<uint64_t> stored{0}, same{0}, reused{0}, wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kCells; ++i) {
        const auto code = PutOne(*store_, second, Make(plan, (i * 7 + t * 200) % kCells)).code();
        stored += code == v1::PutOutcome::CODE_STORED;
        same += code == v1::PutOutcome::CODE_DUPLICATE_SAME;
        wrong += code != v1::PutOutcome::CODE_STORED && code != v1::PutOutcome::CODE_DUPLICATE_SAME;
      }
    });
    threads.emplace_back([&, t] {
      for (uint64_t i = t; i < kCells / 10; ++i) {
        const auto reply = Reuse(second, {Range(i * 10, i * 10 + 10)});
        wrong += !reply.ok() || reply->done_size() != 1 || reply->done(0).end() - reply->done(0).begin() != 10;
        if (reply.ok()) reused += reply->reused();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(stored + reused, kCells);
  EXPECT_EQ(stored + same, 2 * kCells);
  EXPECT_EQ(Counts(second).done(), kCells);
  EXPECT_EQ(Counts(second).reused(), reused);
  EXPECT_EQ(Counts(second).divergent(), 0u);
  Reopen();
  EXPECT_EQ(Counts(second).reused(), reused);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, ManyCellsWithNothingToFindCostLittle) {
  AddFull(MakeManifest("first", 5));
  v1::SweepManifest manifest = MakeManifest("second", 32'768);
  manifest.mutable_models(0)->set_digest(Sha256Of("another toy"));
  const uint32_t second = Add(manifest);
  const absl::Time start = absl::Now();
  EXPECT_EQ(Linked(second, 65'536), 0);
  const absl::Duration took = absl::Now() - start;
  std::printf("65,536 cells looked up in %s\n", absl::FormatDuration(took).c_str());
  EXPECT_LT(took, absl::Seconds(5));
}

TEST_F(ReuseTest, ALongRangeIsLinkedInSeveralGroups) {
  constexpr uint64_t kCells = 3000;
  const v1::SweepManifest manifest = MakeManifest("first", kCells / 2);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t first = Add(manifest);
  for (uint64_t begin = 0; begin < kCells; begin += 500) {
    std::vector<v1::Result> results;
    for (uint64_t i = begin; i < begin + 500; ++i) {
      // Every tenth is missing.
      if (i % 10 != 0) results.push_back(Make(plan, i));
    }
    ASSERT_TRUE(PutAll(*store_, first, std::move(results)).ok());
  }
  const uint32_t second = Add(MakeManifest("second", kCells / 2));
  const uint64_t groups = store_->groups();
  const auto reply = Reuse(second, {Range(0, 1000), Range(1001, kCells)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->reused(), kCells / 10 * 9);
  EXPECT_EQ(reply->done_size(), static_cast<int>(kCells / 10));
  EXPECT_GT(store_->groups(), groups + 3);
  EXPECT_EQ(Sound(), "");
}

TEST_F(ReuseTest, Case53_DuplicatesAreListedWithBothSides) {
  const v1::SweepManifest manifest = MakeManifest("first", 2000);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t id = Add(manifest);
  ASSERT_EQ(PutOne(*store_, id, Make(plan, 3)).code(), v1::PutOutcome::CODE_STORED);
  v1::PutResultsRequest later = MakePut(id, {Make(plan, 3, 1)});
  later.mutable_provenance()->set_device("cuda: test");
  ASSERT_TRUE(Await(*store_, &Store::PutResults, later).ok());
  v1::ListDuplicatesRequest request;
  request.set_sweep(id);
  const auto list = store_->ListDuplicates(request);
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->duplicates_size(), 1);
  const v1::DuplicateRecord& record = list->duplicates(0);
  const auto content = [&](const v1::Result& result) { return ContentDigest(result.image_digest(), EmbeddingsDigest(result)); };
  EXPECT_EQ(record.ordinal(), 3u);
  EXPECT_EQ(record.first_content(), content(Make(plan, 3)));
  EXPECT_EQ(record.later_content(), content(Make(plan, 3, 1)));
  EXPECT_EQ(record.first_provenance().device(), "cpu: test");
  EXPECT_EQ(record.later_provenance().device(), "cuda: test");
  EXPECT_GT(record.at_ms(), 0u);
  EXPECT_EQ(list->next(), 0u);
  request.set_sweep(99);
  EXPECT_EQ(store_->ListDuplicates(request).status().code(), absl::StatusCode::kNotFound);

  // Pages: large provenances, several contents for each cell.
  request.set_sweep(id);
  std::vector<v1::Result> firsts;
  for (uint64_t i = 10; i < 210; ++i) firsts.push_back(Make(plan, i));
  v1::PutResultsRequest put = MakePut(id, std::move(firsts));
  put.mutable_provenance()->set_device(std::string(3000, 'd'));
  ASSERT_TRUE(Await(*store_, &Store::PutResults, put).ok());
  for (uint64_t salt = 1; salt <= 3; ++salt) {
    std::vector<v1::Result> others;
    for (uint64_t i = 10; i < 210; ++i) others.push_back(Make(plan, i, salt));
    v1::PutResultsRequest again = MakePut(id, std::move(others));
    again.mutable_provenance()->set_device(std::string(3000, 'e'));
    ASSERT_TRUE(Await(*store_, &Store::PutResults, again).ok());
  }
  std::map<uint64_t, int> seen;
  int pages = 0;
  do {
    const auto page = store_->ListDuplicates(request);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LT(page->ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
    for (const auto& duplicate : page->duplicates()) ++seen[duplicate.ordinal()];
    request.set_begin(page->next());
    ++pages;
  } while (request.begin() != 0);
  EXPECT_GT(pages, 1);
  EXPECT_EQ(seen.size(), 201u);
  for (uint64_t i = 10; i < 210; ++i) EXPECT_EQ(seen[i], 3) << i;
}

}  // namespace
}  // namespace promptsweep::store
