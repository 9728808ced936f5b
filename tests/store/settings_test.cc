// Proves that what operators grant a sweep, and what it was before it was extended, is as durable as its results: set field by
// field, there after reopening, gone with the sweep; and that an extension changes no cell, happens once, and nothing else does
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest() : store_(OpenStore(folder_.path("store"))) {}
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
  absl::StatusOr<v1::SetSweepLimitsResponse> SetLimits(uint32_t sweep, const v1::SweepLimits& limits) {
    v1::SetSweepLimitsRequest request;
    request.set_sweep(sweep);
    *request.mutable_limits() = limits;
    return Await(*store_, &Store::SetSweepLimits, request);
  }
  absl::StatusOr<v1::ExtendSweepResponse> Extend(uint32_t sweep, const v1::SweepManifest& before,
                                                 const v1::SweepManifest& after) {
    v1::ExtendSweepRequest request;
    request.set_sweep(sweep);
    request.set_from_digest(sweep::ManifestDigest(before));
    *request.mutable_manifest() = after;
    return Await(*store_, &Store::ExtendSweep, request);
  }
  TempFolder folder_;
  std::unique_ptr<Store> store_;
  const v1::SweepManifest before_ = MakeManifest("s", 5);         // 10 cells
  const v1::SweepManifest after_ = WithMoreSeeds(before_, 5, 3);  // 6 more
};

TEST_F(SettingsTest, LimitsAreSetFieldByFieldAndLast) {
  v1::CreateSweepRequest create;
  *create.mutable_manifest() = before_;
  create.set_state(v1::SWEEP_STATE_RUNNING);
  create.mutable_limits()->set_images(7);
  ASSERT_TRUE(Await(*store_, &Store::CreateSweep, create).ok());
  v1::SweepLimits change;
  change.set_priority(-3);
  change.set_fail_on_error(0.25);
  const auto reply = SetLimits(1, change);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->limits().images(), 7u);
  Reopen();
  const v1::SweepLimits limits = Info(1).limits();
  EXPECT_EQ(limits.images(), 7u);
  EXPECT_EQ(limits.priority(), -3);
  EXPECT_EQ(limits.fail_on_error(), 0.25);
  EXPECT_FALSE(limits.has_gpu_hours());
  change.set_fail_on_error(2);
  EXPECT_EQ(SetLimits(1, change).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SetLimits(9, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(SettingsTest, DeviceTimeIsCountedOnceForEachResult) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  const sweep::Plan plan = MakePlan(before_);
  v1::Result result = MakeResult(plan, 0);
  result.set_generate_us(1000);
  result.set_embed_us(20);
  PutOne(*store_, 1, result);
  PutOne(*store_, 1, result);
  result = MakeResult(plan, 1);
  result.set_generate_us(4'000'000'000);
  result.set_embed_us(4'000'000'000);
  PutOne(*store_, 1, result);
  EXPECT_EQ(Info(1).counts().device_us(), 8'000'001'020u);
  Reopen();
  EXPECT_EQ(Info(1).counts().device_us(), 8'000'001'020u);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
  store_.reset();
  {
    auto database = Database::Open({.folder = folder_.path("store"), .ballast_bytes = 0});
    ASSERT_TRUE(database.ok()) << database.status();
    const std::string row = Encode(CountersRow{.device_us = 5});
    ASSERT_TRUE((*database)->db().Put({}, (*database)->family(Family::kCounters), ToSlice(SweepKey(1)), ToSlice(row)).ok());
  }
  store_ = OpenStore(folder_.path("store"));
  EXPECT_THAT(Problems(VerifyAll(*store_, false)), HasSubstr("5 microseconds of device time are counted"));
}

TEST_F(SettingsTest, AnExtensionKeepsEveryCellAndTakesMore) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  const sweep::Plan old_plan = MakePlan(before_);
  const sweep::Plan new_plan = MakePlan(after_);
  for (uint64_t ordinal = 0; ordinal < 10; ++ordinal) {
    EXPECT_EQ(PutOne(*store_, 1, MakeResult(old_plan, ordinal)).code(), v1::PutOutcome::CODE_STORED);
  }
  EXPECT_EQ(PutOne(*store_, 1, MakeResult(new_plan, 12)).code(), v1::PutOutcome::CODE_REJECTED) << "no such cell yet";
  v1::SetSweepStateRequest done;
  done.set_sweep(1);
  done.set_state(v1::SWEEP_STATE_DONE);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, done).ok());
  ASSERT_TRUE(store_->packer().PackAll().ok());

  const auto extended = Extend(1, before_, after_);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ(extended->added(), 6u);
  for (int opening = 0; opening < 2; ++opening) {
    const v1::SweepInfo info = Info(1);
    EXPECT_EQ(info.state(), v1::SWEEP_STATE_RUNNING);
    EXPECT_EQ(info.counts().planned(), 16u);
    EXPECT_EQ(info.counts().done(), 10 + static_cast<uint64_t>(opening));
    EXPECT_EQ(info.digest(), sweep::ManifestDigest(after_));
    EXPECT_THAT(info.earlier_digests(), ElementsAre(sweep::ManifestDigest(before_)));
    EXPECT_EQ(PutOne(*store_, 1, MakeResult(old_plan, 3)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
    EXPECT_EQ(PutOne(*store_, 1, MakeResult(new_plan, 12 + static_cast<uint64_t>(opening))).code(), v1::PutOutcome::CODE_STORED);
    EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
    Reopen();
  }
  // Old and new vectors of one chunk.
  ASSERT_TRUE(store_->packer().PackAll().ok());
  v1::ScanEmbeddingsRequest scan;
  scan.set_sweep(1);
  scan.set_embedder("eye");
  EXPECT_EQ(ScanAll(*store_, scan)->size(), 12u);
}

TEST_F(SettingsTest, EveryDigestItHadNamesIt) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  ASSERT_TRUE(Extend(1, before_, after_).ok());
  const v1::SweepManifest third = WithMoreSeeds(after_, 8, 1);
  ASSERT_TRUE(Extend(1, after_, third).ok());
  for (const v1::SweepManifest& manifest : {before_, after_, third}) {
    EXPECT_EQ(*Create(*store_, manifest), 1u);
    v1::GetSweepRequest request;
    request.set_name(ToHex(sweep::ManifestDigest(manifest)).substr(0, 10));
    const auto found = store_->GetSweep(request);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->info().sweep(), 1u);
  }
  EXPECT_EQ(store_->ListSweeps()->sweeps_size(), 1);
}

TEST_F(SettingsTest, AnExtensionHappensOnceAndOnlyFromWhatThereIs) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  ASSERT_TRUE(Extend(1, before_, after_).ok());
  const auto again = Extend(1, before_, after_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->existed());
  EXPECT_EQ(Extend(1, before_, WithMoreSeeds(before_, 50, 2)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Info(1).counts().planned(), 16u);
  // What is no extension.
  v1::SweepManifest other = WithMoreSeeds(after_, 8, 1);
  other.set_compute_dtype("float16");
  EXPECT_EQ(Extend(1, after_, other).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Extend(1, after_, MakeManifest("s", 9)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Extend(7, after_, other).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SettingsTest, TheExtendedSweepWrittenInOnePieceIsTheSameSweep) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  ASSERT_TRUE(Extend(1, before_, after_).ok());
  EXPECT_EQ(*Create(*store_, MakeManifest("s", 8)), 1u) << "seeds 0..7 are 0..4 and 5..7";
  const auto more = Create(*store_, MakeManifest("s", 9));
  EXPECT_EQ(more.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(more.status().message(), HasSubstr("seed"));
}

TEST_F(SettingsTest, AChangedSpecUnderTheNameIsRefusedFieldByField) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  v1::SweepManifest other = MakeManifest("s", 6, {"eye", "ear"});
  other.set_compute_dtype("float16");
  const absl::Status status = Create(*store_, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("0..4 -> 0..5"));
  EXPECT_THAT(status.message(), HasSubstr("embedders"));
  EXPECT_THAT(status.message(), HasSubstr("compute_dtype: float32 -> float16"));
}

TEST_F(SettingsTest, AreGoneWithTheSweep) {
  ASSERT_EQ(*Create(*store_, before_), 1u);
  ASSERT_TRUE(Extend(1, before_, after_).ok());
  v1::SetSweepStateRequest cancel;
  cancel.set_sweep(1);
  cancel.set_state(v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, cancel).ok());
  v1::DeleteSweepRequest request;
  request.set_sweep(1);
  ASSERT_TRUE(Await(*store_, &Store::DeleteSweep, request).ok());
  Reopen();
  EXPECT_EQ(*Create(*store_, before_), 2u);
  EXPECT_EQ(Info(2).earlier_digests_size(), 0);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

}  // namespace
}  // namespace promptsweep::store
