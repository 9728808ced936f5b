// Proves what a store answers: idempotent sweeps and results, every bad field refused, failures, coverage, scans with trailers,
// and that a restart or a copy of the folder of a live store keeps everything that was acknowledged.
#include "store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/rpc.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    store_ = OpenStore(folder_.path("store"));
    manifest_ = MakeManifest("first", 50);
    const auto id = Create(*store_, manifest_);
    ASSERT_TRUE(id.ok()) << id.status();
    sweep_ = *id;
    plan_ = std::make_unique<sweep::Plan>(MakePlan(manifest_));
  }
  void Reopen() {
    store_.reset();
    store_ = OpenStore(folder_.path("store"));
  }
  v1::SweepInfo Info(uint32_t sweep) {
    v1::GetSweepRequest request;
    request.set_sweep(sweep);
    const auto reply = store_->GetSweep(request);
    PS_CHECK(reply.ok()) << reply.status();
    return reply->info();
  }
  v1::GetResultsRequest Everything(uint32_t sweep) {
    v1::GetResultsRequest request;
    request.set_sweep(sweep);
    request.set_with_images(true);
    request.set_with_embeddings(true);
    return request;
  }
  std::string Coverage(uint32_t sweep) {
    v1::GetCoverageRequest request;
    request.set_sweep(sweep);
    const auto reply = store_->GetCoverage(request);
    PS_CHECK(reply.ok()) << reply.status();
    std::string text;
    for (const auto& range : reply->done()) absl::StrAppend(&text, "[", range.begin(), ",", range.end(), ")");
    return text;
  }

  TempFolder folder_;
  std::unique_ptr<Store> store_;
  v1::SweepManifest manifest_;
  uint32_t sweep_ = 0;
  std::unique_ptr<sweep::Plan> plan_;
};

TEST_F(StoreTest, SweepIdsStartAtOneAndTheSameManifestIsTheSameSweep) {
  EXPECT_EQ(sweep_, 1u);
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest_;
  request.set_state(v1::SWEEP_STATE_RUNNING);
  const auto again = Await(*store_, &Store::CreateSweep, request);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->sweep(), 1u);
  EXPECT_TRUE(again->existed());
  const auto other = Create(*store_, MakeManifest("second", 5));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(*other, 2u);
  EXPECT_EQ(Info(1).digest(), sweep::ManifestDigest(manifest_));
  EXPECT_EQ(Info(1).manifest().SerializeAsString(), manifest_.SerializeAsString());
  EXPECT_EQ(Info(1).counts().planned(), 100u);
}

TEST_F(StoreTest, ManyThreadsCreateOneSweep) {
  std::vector<std::thread> threads;
  std::vector<uint32_t> ids(8);
  const v1::SweepManifest manifest = MakeManifest("race", 3);
  for (size_t i = 0; i < ids.size(); ++i) {
    threads.emplace_back([&, i] { ids[i] = Create(*store_, manifest).value_or(0); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(ids, testing::Each(2u));
}

TEST_F(StoreTest, AnUnfinishedNameCannotAskSomethingElse) {
  v1::SweepManifest changed = manifest_;
  changed.set_compute_dtype("bfloat16");
  const auto refused = Create(*store_, changed);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("compute_dtype: float32 -> bfloat16"));
  v1::SetSweepStateRequest request;
  request.set_sweep(sweep_);
  request.set_state(v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, request).ok());
  const auto taken = Create(*store_, changed);
  ASSERT_TRUE(taken.ok()) << taken.status();
  v1::GetSweepRequest by_name;
  by_name.set_name("first");
  EXPECT_EQ(store_->GetSweep(by_name)->info().sweep(), *taken);
  by_name.set_name("1");
  EXPECT_EQ(store_->GetSweep(by_name)->info().sweep(), 1u);
  by_name.set_name(ToHex(sweep::ManifestDigest(manifest_)).substr(0, 12));
  EXPECT_EQ(store_->GetSweep(by_name)->info().sweep(), 1u);
  by_name.set_name("nowhere");
  EXPECT_EQ(store_->GetSweep(by_name).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, IncompleteManifestsAreRefused) {
  const auto refused = [&](auto change) {
    v1::SweepManifest manifest = MakeManifest("bad", 5);
    change(manifest);
    return Create(*store_, manifest).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](auto& m) { m.mutable_models(0)->clear_digest(); }));
  EXPECT_TRUE(refused([](auto& m) { m.mutable_embedders(0)->set_digest("short"); }));
  EXPECT_TRUE(refused([](auto& m) { m.set_cell_count(11); }));
  EXPECT_TRUE(refused([](auto& m) { m.mutable_spec()->clear_name(); }));
  EXPECT_TRUE(refused([](auto& m) { m.mutable_spec()->clear_cells(); }));
  EXPECT_TRUE(refused([](auto& m) { m.mutable_spec()->add_embedders("other"); }));
  EXPECT_TRUE(refused([](auto& m) { *m.add_embedders() = m.embedders(0); }));
  EXPECT_TRUE(refused([](auto& m) { m.Clear(); }));
  v1::CreateSweepRequest stateless;
  *stateless.mutable_manifest() = MakeManifest("bad", 5);
  EXPECT_EQ(Await(*store_, &Store::CreateSweep, stateless).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StoreTest, AResultIsStoredOnceAndTheFirstIsKept) {
  const v1::Result first = MakeResult(*plan_, 7);
  EXPECT_EQ(PutOne(*store_, sweep_, first).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(PutOne(*store_, sweep_, first).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  const v1::Result other = MakeResult(*plan_, 7, 600, /*salt=*/1);
  EXPECT_EQ(PutOne(*store_, sweep_, other).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  EXPECT_EQ(PutOne(*store_, sweep_, other).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  EXPECT_EQ(Info(sweep_).counts().done(), 1u);
  EXPECT_EQ(Info(sweep_).counts().divergent(), 1u);
  // Other timings are not other content; other embeddings are.
  v1::Result slower = first;
  slower.set_generate_us(999);
  EXPECT_EQ(PutOne(*store_, sweep_, slower).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  v1::Result turned = first;
  turned.mutable_embeddings(0)->set_fp16(MakeVector(12345, 8));
  EXPECT_EQ(PutOne(*store_, sweep_, turned).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  const auto rows = ReadAll(*store_, Everything(sweep_));
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->front().image(), first.image());
  EXPECT_EQ(rows->front().embeddings(0).fp16(), first.embeddings(0).fp16());
  Reopen();
  EXPECT_EQ(Info(sweep_).counts().divergent(), 2u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(StoreTest, DuplicatesInsideOneRequest) {
  const auto reply = PutAll(*store_, sweep_,
                            {MakeResult(*plan_, 3), MakeResult(*plan_, 3), MakeResult(*plan_, 3, 600, 1), MakeResult(*plan_, 4)});
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->outcomes(0).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(reply->outcomes(1).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  EXPECT_EQ(reply->outcomes(2).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  EXPECT_EQ(reply->outcomes(3).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(reply->outcomes(3).ordinal(), 4u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

struct BadResult {
  const char* name;
  std::function<void(v1::Result&)> change;
  const char* reason;
};

class Rejection : public StoreTest, public testing::WithParamInterface<BadResult> {};

TEST_P(Rejection, NamesTheReasonAndLeavesNothing) {
  v1::Result result = MakeResult(*plan_, 7);
  GetParam().change(result);
  const v1::PutOutcome outcome = PutOne(*store_, sweep_, result);
  EXPECT_EQ(outcome.code(), v1::PutOutcome::CODE_REJECTED);
  EXPECT_THAT(outcome.reason(), HasSubstr(GetParam().reason));
  EXPECT_EQ(Info(sweep_).counts().done(), 0u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
  EXPECT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 7)).code(), v1::PutOutcome::CODE_STORED);
}

void Reimage(v1::Result& result, std::string image) {
  result.set_image(std::move(image));
  result.set_image_digest(Sha256Of(result.image()));
}

INSTANTIATE_TEST_SUITE_P(
    EachField, Rejection,
    testing::Values(
        BadResult{"NoCell", [](auto& r) { r.clear_cell(); }, "no cell"},
        BadResult{"Ordinal", [](auto& r) { r.mutable_cell()->set_ordinal(100); }, "beyond"},
        BadResult{"HugeOrdinal", [](auto& r) { r.mutable_cell()->set_ordinal(UINT64_MAX); }, "beyond"},
        BadResult{"OtherCell", [](auto& r) { r.mutable_cell()->set_ordinal(8); }, "fingerprint"},
        BadResult{"NoFingerprint", [](auto& r) { r.mutable_cell()->clear_fingerprint(); }, "fingerprint"},
        BadResult{"NoImage", [](auto& r) { r.clear_image(); }, "no image"},
        BadResult{"Digest", [](auto& r) { r.mutable_image_digest()->at(0) ^= 1; }, "digest"},
        BadResult{"NoDigest", [](auto& r) { r.clear_image_digest(); }, "digest"},
        BadResult{"Format", [](auto& r) { r.set_image_format(v1::IMAGE_FORMAT_WEBP); }, "WebP"},
        BadResult{"NoFormat", [](auto& r) { r.set_image_format(v1::IMAGE_FORMAT_UNSPECIFIED); }, "format"},
        BadResult{"UnknownFormat", [](auto& r) { r.set_image_format(static_cast<v1::ImageFormat>(77)); }, "format"},
        BadResult{"Magic", [](auto& r) { Reimage(r, "x" + r.image()); }, "not a PNG"},
        BadResult{"Truncated", [](auto& r) { Reimage(r, r.image().substr(0, r.image().size() - 1)); }, "truncated"},
        BadResult{"Trailing", [](auto& r) { Reimage(r, r.image() + "<?php"); }, "truncated or has trailing"},
        BadResult{"Width", [](auto& r) { r.set_width(9); }, "said to be"},
        BadResult{"Height", [](auto& r) { r.set_height(0); }, "said to be"},
        BadResult{"TooWide",
                  [](auto& r) {
                    Reimage(r, MakePng(8193, 8, "x"));
                    r.set_width(8193);
                  },
                  "sides"},
        BadResult{"Flat",
                  [](auto& r) {
                    Reimage(r, MakePng(0, 8, "x"));
                    r.set_width(0);
                  },
                  "sides"},
        BadResult{"TooLarge", [](auto& r) { Reimage(r, MakePng(8, 8, std::string(kMaxImageBytes, 'x'))); }, "bytes"},
        BadResult{"NoEmbeddings", [](auto& r) { r.clear_embeddings(); }, "embedders"},
        BadResult{"TooManyEmbeddings", [](auto& r) { *r.add_embeddings() = r.embeddings(0); }, "embedders"},
        BadResult{"OtherEmbedder", [](auto& r) { r.mutable_embeddings(0)->set_embedder("ear"); }, "ear"},
        BadResult{"EmptyVector", [](auto& r) { r.mutable_embeddings(0)->clear_fp16(); }, "vector"},
        BadResult{"OddVector", [](auto& r) { r.mutable_embeddings(0)->mutable_fp16()->pop_back(); }, "vector"},
        BadResult{"LongVector", [](auto& r) { r.mutable_embeddings(0)->set_fp16(std::string(2 * 8193, 1)); }, "vector"},
        BadResult{"Nan", [](auto& r) { r.mutable_embeddings(0)->set_fp16(std::string("\x01\x7e", 2)); }, "finite"},
        BadResult{"Infinity", [](auto& r) { r.mutable_embeddings(0)->set_fp16(std::string("\x00\xfc", 2)); }, "finite"},
        BadResult{"Zero", [](auto& r) { r.mutable_embeddings(0)->set_fp16(std::string("\0\x80\0\0", 4)); }, "zero"},
        BadResult{"Imported", [](auto& r) { r.add_imported()->set_name(std::string(100'000, 'x')); }, "imported"}),
    [](const auto& info) { return info.param.name; });

TEST_F(StoreTest, UnknownSweepIsRejectedPerResult) {
  const auto reply = PutAll(*store_, 9, {MakeResult(*plan_, 1), MakeResult(*plan_, 2)});
  ASSERT_TRUE(reply.ok());
  ASSERT_EQ(reply->outcomes_size(), 2);
  EXPECT_EQ(reply->outcomes(1).code(), v1::PutOutcome::CODE_REJECTED);
  EXPECT_THAT(reply->outcomes(1).reason(), HasSubstr("no sweep 9"));
}

TEST_F(StoreTest, DimensionsStayWhatTheFirstResultMadeThem) {
  EXPECT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 1, 600, 0, 8)).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_THAT(PutOne(*store_, sweep_, MakeResult(*plan_, 2, 600, 0, 9)).reason(), HasSubstr("9 dimensions, earlier ones have 8"));
  Reopen();
  EXPECT_THAT(PutOne(*store_, sweep_, MakeResult(*plan_, 2, 600, 0, 9)).reason(), HasSubstr("9 dimensions, earlier ones have 8"));
  EXPECT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 2, 600, 0, 8)).code(), v1::PutOutcome::CODE_STORED);
}

TEST_F(StoreTest, ImportedRowsMayHaveNoImage) {
  v1::SweepManifest manifest = MakeManifest("import", 3);
  manifest.set_imported_from("elsewhere");
  const auto id = Create(*store_, manifest, v1::SWEEP_STATE_DONE);
  ASSERT_TRUE(id.ok()) << id.status();
  v1::Result result = MakeResult(MakePlan(manifest), 2);
  result.clear_image();
  result.clear_image_digest();
  result.clear_image_format();
  result.clear_width();
  result.clear_height();
  result.add_imported()->set_name("photographer");
  result.mutable_imported(0)->mutable_value()->set_string_value("unknown");
  EXPECT_EQ(PutOne(*store_, *id, result).code(), v1::PutOutcome::CODE_STORED);
  const auto rows = ReadAll(*store_, Everything(*id));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->at(0).imported(0).value().string_value(), "unknown");
  EXPECT_EQ(rows->at(0).image_digest(), "");
  // Said to be finished, so the rest is missing.
  EXPECT_THAT(Problems(VerifyAll(*store_, true)), HasSubstr("5 cells have neither result nor failure"));
}

TEST_F(StoreTest, ReadersGetTheWholeCellAndItsProvenance) {
  ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 60)).code(), v1::PutOutcome::CODE_STORED);
  auto request = Everything(sweep_);
  request.set_with_images(false);
  request.set_with_embeddings(false);
  const auto rows = ReadAll(*store_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  const v1::Result& row = rows->at(0);
  EXPECT_EQ(row.cell().SerializeAsString(), plan_->CellAt(60)->SerializeAsString());
  EXPECT_EQ(row.cell().prompt().text(), "a cat");
  EXPECT_EQ(row.provenance().worker(), "worker-1");
  EXPECT_EQ(row.generate_us(), 100u);
  EXPECT_GT(row.stored_at_ms(), 0u);
  EXPECT_EQ(row.image(), "");
  EXPECT_EQ(row.embeddings_size(), 0);
  EXPECT_EQ(row.image_digest(), MakeResult(*plan_, 60).image_digest());
}

TEST_F(StoreTest, RangesLimitsAndScans) {
  std::vector<v1::Result> results;
  for (uint64_t ordinal = 0; ordinal < 100; ordinal += 3) results.push_back(MakeResult(*plan_, ordinal));
  ASSERT_TRUE(PutAll(*store_, sweep_, results).ok());
  auto request = Everything(sweep_);
  const auto add = [&](uint64_t begin, uint64_t end) {
    request.add_ranges()->set_begin(begin);
    request.mutable_ranges(request.ranges_size() - 1)->set_end(end);
  };
  add(0, 4);
  add(4, 7);
  add(90, 1000);
  std::vector<uint64_t> ordinals;
  const auto rows = ReadAll(*store_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  for (const v1::Result& row : *rows) ordinals.push_back(row.cell().ordinal());
  EXPECT_THAT(ordinals, testing::ElementsAre(0, 3, 6, 90, 93, 96, 99));
  request.set_limit(2);
  EXPECT_EQ(ReadAll(*store_, request)->size(), 2u);
  add(95, 96);
  EXPECT_EQ(ReadAll(*store_, request).status().code(), absl::StatusCode::kInvalidArgument);

  v1::ScanEmbeddingsRequest scan;
  scan.set_sweep(sweep_);
  scan.set_embedder("eye");
  auto vectors = ScanAll(*store_, scan);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  ASSERT_EQ(vectors->size(), results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(vectors->at(i).first, 3 * i);
    EXPECT_EQ(vectors->at(i).second, results[i].embeddings(0).fp16());
  }
  scan.set_begin(4);
  scan.set_end(9);
  EXPECT_EQ(ScanAll(*store_, scan)->size(), 1u);
  scan.set_begin(UINT64_MAX);
  scan.set_end(0);
  EXPECT_EQ(ScanAll(*store_, scan)->size(), 0u);
  scan.set_embedder("ear");
  EXPECT_EQ(ScanAll(*store_, scan).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, ALongScanIsManyBlocks) {
  const v1::SweepManifest manifest = MakeManifest("long", 1500, {"eye", "ear"});
  const auto id = Create(*store_, manifest);
  ASSERT_TRUE(id.ok()) << id.status();
  const sweep::Plan plan = MakePlan(manifest);
  for (uint64_t begin = 0; begin < 3000; begin += 500) {
    std::vector<v1::Result> results;
    for (uint64_t ordinal = begin; ordinal < begin + 500; ++ordinal) results.push_back(MakeResult(plan, ordinal, 32, 0, 256));
    ASSERT_TRUE(PutAll(*store_, *id, results).ok());
  }
  v1::ScanEmbeddingsRequest scan;
  scan.set_sweep(*id);
  scan.set_embedder("ear");
  auto reader = store_->ScanEmbeddings(scan);
  ASSERT_TRUE(reader.ok());
  int blocks = 0;
  v1::ScanEmbeddingsResponse message;
  for (absl::StatusOr<bool> more = true; (more = (*reader)->Next(message)).ok() && *more;) {
    blocks += message.has_block();
    EXPECT_LT(message.ByteSizeLong(), size_t{1} << 20);
  }
  EXPECT_GT(blocks, 1);
  EXPECT_EQ(ScanAll(*store_, scan)->size(), 3000u);
}

TEST_F(StoreTest, Case56_AReaderSeesOneMoment) {
  ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 0)).code(), v1::PutOutcome::CODE_STORED);
  auto reader = store_->ReadResults(Everything(sweep_));
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 1)).code(), v1::PutOutcome::CODE_STORED);
  v1::GetResultsResponse message;
  ASSERT_TRUE((*reader)->Next(message).ok());
  ASSERT_TRUE((*reader)->Next(message).ok());
  ASSERT_TRUE(message.has_trailer());
  EXPECT_EQ(message.trailer().rows(), 1u);
  reader->reset();
}

TEST_F(StoreTest, CoverageIsRangesAcrossChunks) {
  const v1::SweepManifest manifest = MakeManifest("wide", 1'000'000'000'000);
  const auto id = Create(*store_, manifest);
  ASSERT_TRUE(id.ok()) << id.status();
  const sweep::Plan plan = MakePlan(manifest);
  EXPECT_EQ(Coverage(*id), "");
  for (const uint64_t ordinal : {uint64_t{65535}, uint64_t{65536}, uint64_t{0}, uint64_t{2}, uint64_t{1'999'999'999'999}}) {
    ASSERT_EQ(PutOne(*store_, *id, MakeResult(plan, ordinal)).code(), v1::PutOutcome::CODE_STORED);
  }
  const std::string expected = "[0,1)[2,3)[65535,65537)[1999999999999,2000000000000)";
  EXPECT_EQ(Coverage(*id), expected);
  Reopen();
  EXPECT_EQ(Coverage(*id), expected);
  EXPECT_EQ(Info(*id).counts().done(), 5u);
  v1::GetCoverageRequest request;
  request.set_sweep(*id);
  request.set_begin(65536);
  EXPECT_EQ(store_->GetCoverage(request)->done(0).begin(), 65536u);
  request.set_sweep(77);
  EXPECT_EQ(store_->GetCoverage(request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, FailuresKeepTheMostAttemptsAndGiveWayToResults) {
  v1::PutFailuresRequest put;
  put.set_sweep(sweep_);
  const auto add = [&](uint64_t ordinal, uint32_t attempts, const std::string& error) {
    v1::FailureRecord& record = *put.add_failures();
    record.set_ordinal(ordinal);
    record.set_attempts(attempts);
    record.set_error(error);
  };
  ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 1)).code(), v1::PutOutcome::CODE_STORED);
  add(5, 3, "out of\nmemory");
  add(5, 2, "older");
  add(6, 1, std::string(5000, 'e') + "\xc3\xa9");
  add(1, 9, "already done");
  ASSERT_TRUE(Await(*store_, &Store::PutFailures, put).ok());
  const auto list = [&] {
    v1::ListFailuresRequest request;
    request.set_sweep(sweep_);
    return store_->ListFailures(request).value();
  };
  ASSERT_EQ(list().failures_size(), 2);
  EXPECT_EQ(list().failures(0).attempts(), 3u);
  EXPECT_EQ(list().failures(0).error(), "out of memory");
  EXPECT_EQ(list().failures(1).error().size(), 1000u);
  EXPECT_EQ(Info(sweep_).counts().failed(), 2u);
  EXPECT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 5)).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(Info(sweep_).counts().failed(), 1u);
  Reopen();
  ASSERT_EQ(list().failures_size(), 1);
  EXPECT_EQ(list().failures(0).ordinal(), 6u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
  v1::ClearFailuresRequest clear;
  clear.set_sweep(sweep_);
  clear.add_ordinals(99);
  EXPECT_EQ(Await(*store_, &Store::ClearFailures, clear)->cleared(), 0u);
  clear.clear_ordinals();
  EXPECT_EQ(Await(*store_, &Store::ClearFailures, clear)->cleared(), 1u);
  EXPECT_EQ(Info(sweep_).counts().failed(), 0u);
  put.mutable_failures(0)->set_ordinal(100);
  EXPECT_EQ(Await(*store_, &Store::PutFailures, put).status().code(), absl::StatusCode::kInvalidArgument);
  put.set_sweep(8);
  EXPECT_EQ(Await(*store_, &Store::PutFailures, put).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, ManyFailuresComeInPages) {
  const v1::SweepManifest manifest = MakeManifest("broken", 2000);
  const auto id = Create(*store_, manifest);
  ASSERT_TRUE(id.ok());
  v1::PutFailuresRequest put;
  put.set_sweep(*id);
  for (uint64_t ordinal = 0; ordinal < 3000; ++ordinal) {
    v1::FailureRecord& record = *put.add_failures();
    record.set_ordinal(ordinal);
    record.set_attempts(1);
    record.set_error(std::string(990, 'e'));
  }
  ASSERT_TRUE(Await(*store_, &Store::PutFailures, put).ok());
  v1::ListFailuresRequest request;
  request.set_sweep(*id);
  uint64_t seen = 0;
  int pages = 0;
  do {
    const auto page = store_->ListFailures(request);
    ASSERT_TRUE(page.ok());
    EXPECT_LT(page->ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
    for (const v1::FailureRecord& record : page->failures()) EXPECT_EQ(record.ordinal(), seen++);
    request.set_begin(page->next());
    ++pages;
  } while (request.begin() != 0);
  EXPECT_EQ(seen, 3000u);
  EXPECT_GT(pages, 1);
}

TEST_F(StoreTest, LabelsAndMotifs) {
  v1::PutLabelsRequest labels;
  labels.set_embedder_digest(Sha256Of("eye"));
  labels.add_labels("sari");
  labels.add_labels("cat");
  labels.set_dim(8);
  labels.set_fp16(MakeVector(1, 8) + MakeVector(2, 8));
  ASSERT_TRUE(Await(*store_, &Store::PutLabels, labels).ok());
  v1::PutLabelsRequest bad = labels;
  bad.set_dim(7);
  EXPECT_EQ(Await(*store_, &Store::PutLabels, bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = labels;
  bad.set_embedder_digest("x");
  EXPECT_EQ(Await(*store_, &Store::PutLabels, bad).status().code(), absl::StatusCode::kInvalidArgument);
  v1::PutMotifsRequest motifs;
  motifs.set_sweep(sweep_);
  motifs.set_report("opaque");
  ASSERT_TRUE(Await(*store_, &Store::PutMotifs, motifs).ok());
  motifs.set_sweep(5);
  EXPECT_EQ(Await(*store_, &Store::PutMotifs, motifs).status().code(), absl::StatusCode::kNotFound);
  Reopen();
  v1::GetLabelsRequest get;
  get.set_embedder_digest(labels.embedder_digest());
  EXPECT_EQ(store_->GetLabels(get)->labels(1), "cat");
  EXPECT_EQ(store_->GetLabels(get)->fp16(), labels.fp16());
  get.set_embedder_digest("unknown");
  EXPECT_EQ(store_->GetLabels(get)->labels_size(), 0);
  v1::GetMotifsRequest report;
  report.set_sweep(sweep_);
  EXPECT_EQ(store_->GetMotifs(report)->report(), "opaque");
}

TEST_F(StoreTest, ListSweepsLeavesTheCellsOut) {
  const auto list = store_->ListSweeps();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->sweeps_size(), 1);
  EXPECT_FALSE(list->sweeps(0).manifest().spec().has_cells());
  EXPECT_EQ(list->sweeps(0).manifest().cell_count(), 100u);
  EXPECT_EQ(list->sweeps(0).manifest().embedders(0).id(), "eye");
}

TEST_F(StoreTest, ManyThreadsPutTheSameCells) {
  constexpr int kThreads = 8;
  std::vector<std::thread> threads;
  std::atomic<int> stored{0}, same{0}, different{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 100; ++i) {
        const uint64_t ordinal = (i * 37 + t * 11) % 100;
        // Cells divisible by ten come out differently on odd threads.
        const auto outcome = PutOne(*store_, sweep_, MakeResult(*plan_, ordinal, 5000, ordinal % 10 == 0 ? t % 2 : 0));
        stored += outcome.code() == v1::PutOutcome::CODE_STORED;
        same += outcome.code() == v1::PutOutcome::CODE_DUPLICATE_SAME;
        different += outcome.code() == v1::PutOutcome::CODE_DUPLICATE_DIFFERENT;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored, 100);
  EXPECT_EQ(different, 10 * kThreads / 2);
  EXPECT_EQ(stored + same + different, 100 * kThreads);
  EXPECT_EQ(Info(sweep_).counts().divergent(), 10u);
  EXPECT_EQ(Coverage(sweep_), "[0,100)");
  const auto verdict = VerifyAll(*store_, true);
  EXPECT_EQ(Problems(verdict), "");
  EXPECT_EQ(verdict.sweeps(0).images_checked(), 100u);
  EXPECT_EQ(verdict.sweeps(0).remaining(), 0u);
  EXPECT_LT(store_->groups(), 100u * kThreads) << "writes were never grouped";
}

TEST_F(StoreTest, TooMuchQueuedIsRefusedAndAdmittedLater) {
  Store::Options options;
  options.folder = folder_.path("small");
  options.max_queued_bytes = 1;
  options.ballast_bytes = 0;
  auto store = OpenStore(options);
  const auto id = Create(*store, manifest_);
  ASSERT_TRUE(id.ok());
  // A callback holds the committer, so that what follows stays queued.
  absl::Notification entered, leave;
  const auto first = MakePut(*id, {MakeResult(*plan_, 0)});
  absl::Notification first_done;
  store->PutResults(&first, [&](auto) {
    entered.Notify();
    leave.WaitForNotification();
    first_done.Notify();
  });
  entered.WaitForNotification();
  const auto second = MakePut(*id, {MakeResult(*plan_, 1)});
  absl::Notification second_done;
  store->PutResults(&second, [&](auto reply) {
    EXPECT_TRUE(reply.ok());
    second_done.Notify();
  });
  const auto refused = PutAll(*store, *id, {MakeResult(*plan_, 2)});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  leave.Notify();
  first_done.WaitForNotification();
  second_done.WaitForNotification();
  EXPECT_EQ(PutOne(*store, *id, MakeResult(*plan_, 2)).code(), v1::PutOutcome::CODE_STORED);
}

TEST_F(StoreTest, ARequestBeyondTheLimitIsRefused) {
  v1::PutResultsRequest request = MakePut(sweep_, {});
  for (uint64_t ordinal = 0; ordinal < 4; ++ordinal) *request.add_results() = MakeResult(*plan_, ordinal, 1'000'000);
  EXPECT_EQ(Await(*store_, &Store::PutResults, request).status().code(), absl::StatusCode::kInvalidArgument);
  request = MakePut(sweep_, {MakeResult(*plan_, 0)});
  request.mutable_provenance()->set_device(std::string(5000, 'x'));
  EXPECT_EQ(Await(*store_, &Store::PutResults, request).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(PutAll(*store_, sweep_, {}).ok());
}

TEST_F(StoreTest, ACopyOfALiveFolderHoldsEverythingAcknowledged) {
  for (uint64_t ordinal = 0; ordinal < 40; ++ordinal) {
    ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, ordinal, ordinal * 300)).code(), v1::PutOutcome::CODE_STORED);
  }
  const std::string uuid = store_->uuid();
  // What kill -9 leaves.
  std::filesystem::copy(folder_.path("store"), folder_.path("copy"));
  auto copy = OpenStore(folder_.path("copy"));
  EXPECT_EQ(copy->uuid(), uuid);
  const auto rows = ReadAll(*copy, Everything(sweep_));
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 40u);
  for (const v1::Result& row : *rows) {
    const uint64_t ordinal = row.cell().ordinal();
    EXPECT_EQ(row.image(), MakeResult(*plan_, ordinal, ordinal * 300).image());
  }
  EXPECT_EQ(Problems(VerifyAll(*copy, true)), "");
}

TEST_F(StoreTest, RestartsKeepEverything) {
  for (int round = 0; round < 4; ++round) {
    for (uint64_t ordinal = round * 10; ordinal < static_cast<uint64_t>(round) * 10 + 15; ++ordinal) {
      const auto code = PutOne(*store_, sweep_, MakeResult(*plan_, ordinal)).code();
      EXPECT_EQ(code, round > 0 && ordinal < static_cast<uint64_t>(round) * 10 + 5 ? v1::PutOutcome::CODE_DUPLICATE_SAME
                                                                                   : v1::PutOutcome::CODE_STORED);
    }
    Reopen();
    EXPECT_EQ(Coverage(sweep_), absl::StrCat("[0,", round * 10 + 15, ")"));
  }
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(StoreTest, TheSameCellOfTwoSweepsIsIndexedByFingerprint) {
  v1::SweepManifest larger = MakeManifest("larger", 60);
  const auto id = Create(*store_, larger);
  ASSERT_TRUE(id.ok());
  const v1::Result result = MakeResult(MakePlan(larger), 3);
  ASSERT_EQ(result.cell().fingerprint(), plan_->CellAt(3)->fingerprint());
  EXPECT_EQ(PutOne(*store_, *id, result).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 3)).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(StoreTest, CallsAfterCloseAreRefused) {
  store_->Close();
  EXPECT_EQ(PutAll(*store_, sweep_, {MakeResult(*plan_, 0)}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->ListSweeps().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Create(*store_, manifest_).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace promptsweep::store
