// Proves that results made again are compared as they are: equal ones are equal to the byte, another model, device or encoding is
// seen and measured, and what cannot be compared says why.
#include "worker/pipeline/reproduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/half.h"
#include "base/hash.h"
#include "jobs/sweep/plan.h"
#include "store/host.h"
#include "tests/store/fixture.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A real store with a sweep that the fake model made.
class ReproduceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store::StoreHost::Options host;
    host.store.folder = folder_.path("store");
    host.store.create_if_missing = true;
    host.store.ballast_bytes = 0;
    auto started = store::StoreHost::Start(std::move(host));
    ASSERT_TRUE(started.ok()) << started.status();
    host_ = *std::move(started);
    stub_ = v1::StoreService::NewStub(host_->InProcessChannel());
    engine_ = *Engine::Create({.models = &models_host_, .worker = "w"});
    v1::CreateSweepRequest create;
    *create.mutable_manifest() = manifest_;
    create.set_state(v1::SWEEP_STATE_RUNNING);
    v1::CreateSweepResponse created;
    grpc::ClientContext context;
    const grpc::Status status = stub_->CreateSweep(&context, create, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
    sweep_ = created.sweep();
  }
  void TearDown() override { host_->Shutdown(); }

  // Stores what the model makes of these cells; `change` may alter it first.
  void Make(const std::vector<uint64_t>& ordinals, const std::function<void(v1::Result&)>& change = {}) {
    const auto plan = sweep::Plan::FromManifest(manifest_);
    SweepCache sweeps({.store = stub_.get(), .models = &models_host_});
    const auto context = sweeps.Get(sweep_, sweep::ManifestDigest(manifest_));
    ASSERT_TRUE(context.ok()) << context.status();
    ASSERT_TRUE(engine_->Prepare(*(*context)->setups.begin()->second).ok());
    v1::PutResultsRequest put;
    put.set_sweep(sweep_);
    for (const uint64_t ordinal : ordinals) {
      const v1::Cell cell = *plan->CellAt(ordinal);
      const auto made = engine_->Run(absl::MakeConstSpan(&cell, 1));
      ASSERT_TRUE(made[0].ok()) << made[0].status();
      v1::Result& result = *put.add_results();
      *result.mutable_cell() = cell;
      result.set_image(*EncodeWebp(made[0]->rgb, made[0]->width, made[0]->height));
      result.set_image_format(v1::IMAGE_FORMAT_WEBP);
      result.set_width(static_cast<uint32_t>(made[0]->width));
      result.set_height(static_cast<uint32_t>(made[0]->height));
      for (const v1::Embedding& embedding : made[0]->embeddings) *result.add_embeddings() = embedding;
      if (change) change(result);
      result.set_image_digest(Sha256Of(result.image()));
    }
    *put.mutable_provenance() = *engine_->provenance();
    v1::PutResultsResponse response;
    grpc::ClientContext call;
    ASSERT_TRUE(stub_->PutResults(&call, put, &response).ok());
    for (const auto& outcome : response.outcomes()) ASSERT_EQ(outcome.code(), v1::PutOutcome::CODE_STORED) << outcome.reason();
  }
  absl::Status Run(const std::vector<uint64_t>& ordinals) {
    all_.clear();
    return Reproduce(ordinals, {.store = stub_.get(), .models = &models_host_, .engine = engine_.get(), .sweep = "fake-sweep"},
                     [this](const Reproduced& one) { all_.push_back(one); });
  }

  store::TempFolder folder_;
  FakeModels models_;
  FakeHost models_host_{&models_};
  const v1::SweepManifest manifest_ = FakeManifest(40);
  std::unique_ptr<store::StoreHost> host_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  std::unique_ptr<Engine> engine_;
  uint32_t sweep_ = 0;
  std::vector<Reproduced> all_;
};

TEST_F(ReproduceTest, EqualResultsAreEqualToTheByte) {
  Make({0, 1, 2, 3, 7, 20, 21, 39});
  const absl::Status status = Run({0, 2, 7, 20, 39});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_THAT(all_, SizeIs(5));
  for (const Reproduced& one : all_) {
    EXPECT_TRUE(one.same()) << one.ordinal;
    EXPECT_TRUE(one.same_pixels && one.same_size);
    EXPECT_THAT(one.vectors, SizeIs(1));
    EXPECT_THAT(one.other, IsEmpty());
  }
}

TEST_F(ReproduceTest, AnotherImageIsMeasured) {
  Make({5}, [](v1::Result& result) {
    Image image = *DecodeImage(result.image());
    for (int i = 0; i < 3 * 10; ++i) image.rgb[static_cast<size_t>(i)] = static_cast<char>(image.rgb[static_cast<size_t>(i)] ^ 4);
    result.set_image(*EncodeWebp(image.rgb, image.width, image.height));
  });
  ASSERT_TRUE(Run({5}).ok());
  const Reproduced& one = all_.at(0);
  EXPECT_FALSE(one.same());
  EXPECT_FALSE(one.same_pixels);
  EXPECT_EQ(one.largest_step, 4);
  EXPECT_DOUBLE_EQ(one.changed, 10.0 / (16 * 16));
  EXPECT_DOUBLE_EQ(one.mean_step, 4 * 30.0 / (16 * 16 * 3));
  EXPECT_TRUE(one.vectors.at(0).same);
}

TEST_F(ReproduceTest, OtherVectorsSizesAndEncodingsAreTold) {
  Make({0}, [](v1::Result& result) {
    std::vector<float> values = UnpackHalves(result.embeddings(0).fp16());
    std::rotate(values.begin(), values.begin() + 1, values.end());
    result.mutable_embeddings(0)->set_fp16(PackHalves(values.data(), values.size()));
  });
  Make({1}, [](v1::Result& result) {
    const Image image = *DecodeImage(result.image());
    result.set_image(*EncodePng(image.rgb, image.width, image.height));
    result.set_image_format(v1::IMAGE_FORMAT_PNG);
  });
  Make({2}, [](v1::Result& result) {
    result.set_image(*EncodeWebp(std::string(3 * 8 * 8, 'x'), 8, 8));
    result.set_width(8);
    result.set_height(8);
  });
  ASSERT_TRUE(Run({0, 1, 2}).ok());
  EXPECT_TRUE(all_.at(0).same_bytes);
  EXPECT_FALSE(all_.at(0).same());
  EXPECT_LT(all_.at(0).vectors.at(0).cosine, 1);
  EXPECT_FALSE(all_.at(1).same_bytes);
  EXPECT_TRUE(all_.at(1).same_pixels);
  EXPECT_FALSE(all_.at(2).same_size);
  const auto json = nlohmann::json::parse(ReproducedJson(all_.at(2)));
  EXPECT_EQ(json.at("same"), false);
  EXPECT_FALSE(json.contains("mean_step"));
}

TEST_F(ReproduceTest, WhatFailsNowSaysWhyAndOthersGoOn) {
  Make({0, 1, 2});
  models_.broken = {1};
  ASSERT_TRUE(Run({0, 1, 2}).ok());
  ASSERT_THAT(all_, SizeIs(3));
  EXPECT_TRUE(all_[0].same());
  EXPECT_FALSE(all_[1].status.ok());
  EXPECT_TRUE(all_[2].same());
  EXPECT_TRUE(nlohmann::json::parse(ReproducedJson(all_[1])).contains("error"));
}

TEST_F(ReproduceTest, WhatWasNotMadeHereIsRefused) {
  Make({0});
  EXPECT_EQ(Run({3}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Run({4000}).code(), absl::StatusCode::kNotFound);
  models_.digest_suffix = "other weights";
  const absl::Status other = Run({0});
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("model folder differs"));
}

TEST(Compare, CosineOfHalves) {
  const auto pack = [](std::vector<float> values) { return PackHalves(values.data(), values.size()); };
  EXPECT_DOUBLE_EQ(CosineOfHalves(pack({1, 0}), pack({1, 0})), 1);
  EXPECT_DOUBLE_EQ(CosineOfHalves(pack({1, 0}), pack({0, 1})), 0);
  EXPECT_DOUBLE_EQ(CosineOfHalves(pack({1, 0}), pack({-2, 0})), -1);
  EXPECT_DOUBLE_EQ(CosineOfHalves(pack({0, 0}), pack({1, 0})), 0);
  EXPECT_DOUBLE_EQ(CosineOfHalves(pack({1}), pack({1, 0})), 0);
}

}  // namespace
}  // namespace promptsweep::worker
