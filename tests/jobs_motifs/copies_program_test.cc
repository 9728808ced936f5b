// Proves that promptsweep-motifs reads the pictures of a motif's members from the store, says which are copies of each other and
// of which prompt, survives pictures that cannot be decoded, and says so where there are none.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/npy.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/digest.h"
#include "tests/jobs_motifs/fake_sweep.h"
#include "tests/jobs_motifs/pictures.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

// 400 blank cells, 30 % of them a motif, then 20 prompts x 20 seeds; pictures of 64 pixels for the blank ones.
class FakeStore final : public v1::StoreService::Service {
 public:
  enum class Show { kNothing, kOnePicture, kOneFrame, kOneKind, kRubbish };

  FakeStore() : data(MakeSynthetic({.target = 400, .baseline = 400, .dim = 32, .seed = 4, .planted = {0.3}})) {}

  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest*, v1::GetSweepResponse* response) override {
    *response->mutable_info() = info;
    return grpc::Status::OK;
  }
  grpc::Status ScanEmbeddings(grpc::ServerContext*, const v1::ScanEmbeddingsRequest*,
                              grpc::ServerWriter<v1::ScanEmbeddingsResponse>* writer) override {
    store::ScanDigest digest;
    v1::ScanEmbeddingsResponse message;
    v1::EmbeddingBlock& block = *message.mutable_block();
    for (int64_t i = 0; i < data.x.rows; ++i) block.add_ordinals(i);
    block.set_dim(32);
    block.set_fp16(PackHalves(data.x.row(0), data.x.rows * 32));
    digest.Add(block);
    writer->Write(message);
    message.mutable_trailer()->set_rows(digest.rows());
    message.mutable_trailer()->set_digest(digest.digest());
    writer->Write(message);
    return grpc::Status::OK;
  }
  grpc::Status GetResults(grpc::ServerContext*, const v1::GetResultsRequest* request,
                          grpc::ServerWriter<v1::GetResultsResponse>* writer) override {
    store::ScanDigest digest;
    v1::GetResultsResponse message;
    for (const v1::OrdinalRange& range : request->ranges()) {
      for (uint64_t i = range.begin(); i < range.end(); ++i) {
        v1::Result& result = *message.mutable_result();
        result.mutable_cell()->set_ordinal(i);
        result.mutable_cell()->set_seed(i < 400 ? i : i % 20);
        result.mutable_cell()->mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
        result.set_image(request->with_images() && i < 400 ? PictureOf(i) : "");
        digest.Add(result);
        writer->Write(message);
      }
    }
    if (unreachable) return {grpc::StatusCode::UNAVAILABLE, "s3://gone is out of reach"};
    message.mutable_trailer()->set_rows(digest.rows());
    message.mutable_trailer()->set_digest(digest.digest() + harmed);
    writer->Write(message);
    return grpc::Status::OK;
  }
  grpc::Status GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest*, v1::GetLabelsResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status GetMotifs(grpc::ServerContext*, const v1::GetMotifsRequest*, v1::GetMotifsResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status PutMotifs(grpc::ServerContext*, const v1::PutMotifsRequest* request, v1::PutMotifsResponse*) override {
    EXPECT_TRUE(stored.ParseFromString(request->report()));
    return grpc::Status::OK;
  }

  Synthetic data;
  v1::SweepInfo info = FakeSweep({{{""}, 400}, {SomePrompts(20), 20}});
  v1::MotifReport stored;
  Show show = Show::kNothing;
  uint64_t harmed = 0;
  bool unreachable = false;

 private:
  std::string PictureOf(uint64_t i) const {
    const uint32_t own = static_cast<uint32_t>(i) + 1;
    Image image = Scene(64, 64, own);
    if (data.motif[i] == 0) {
      std::mt19937_64 random(i);
      if (show == Show::kOnePicture) image = Noisy(Scene(64, 64, 7000), 0.02, random);
      if (show == Show::kOneFrame) image = Framed(Scene(64, 64, 7000), Scene(64, 64, own), 0.2);
    }
    if (show == Show::kNothing) return "";
    if (show == Show::kRubbish && i % 3 == 0) return "no picture at all";
    return *worker::EncodePng(image.rgb, 64, 64);
  }
};

class Copies : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&store_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(port_, 0);
  }
  void TearDown() override { server_->Shutdown(); }

  // Exit code, and what the program said.
  std::pair<int, std::string> Run(const std::string& arguments = "") {
    const Ended ended = RunProgram(port_, absl::StrCat("--sweep fake ", arguments));
    return {ended.code, ended.out + ended.err};
  }
  nlohmann::json Report(const std::string& arguments = "") {
    const auto [code, out] = Run(arguments);
    EXPECT_EQ(code, 0) << out;
    return code == 0 ? nlohmann::json::parse(out) : nlohmann::json();
  }

  FakeStore store_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(Copies, OnePictureDrawnAgainIsVerbatim) {
  store_.show = FakeStore::Show::kOnePicture;
  const nlohmann::json json = Report();
  const nlohmann::json& motif = json["motifs"][0];
  const nlohmann::json& copies = motif["copies"];
  EXPECT_EQ(copies["verdict"], "verbatim");
  EXPECT_EQ(copies["pictures"], motif["members"]);
  EXPECT_EQ(copies["seeds"], motif["members"]);
  EXPECT_GT(copies["share"].get<double>(), 0.95);
  EXPECT_LE(copies["share_low"].get<double>(), copies["share"].get<double>());
  EXPECT_GE(copies["clique"].get<uint64_t>(), 100u);
  EXPECT_EQ(copies["clique_ordinals"].size(), 16u);
  for (const auto& ordinal : copies["clique_ordinals"]) EXPECT_EQ(store_.data.motif[ordinal.get<uint64_t>()], 0);
  EXPECT_EQ(json["prompts_looked_at"], 1);
  ASSERT_EQ(json["prompt_copies"].size(), 1u);
  EXPECT_EQ(json["prompt_copies"][0]["prompt"], "<blank:empty>");
  EXPECT_NEAR(json["prompt_copies"][0]["copies"]["share"].get<double>(), 0.3, 0.05);
  EXPECT_EQ(store_.stored.motifs(0).copies().verdict(), v1::COPY_VERDICT_VERBATIM);
  EXPECT_EQ(Report("--threads 3"), json);
}

TEST_F(Copies, AFrameIsATemplateAndAKindIsSemantic) {
  store_.show = FakeStore::Show::kOneFrame;
  EXPECT_EQ(Report()["motifs"][0]["copies"]["verdict"], "template");
  store_.show = FakeStore::Show::kOneKind;
  const nlohmann::json json = Report();
  EXPECT_EQ(json["motifs"][0]["copies"]["verdict"], "semantic");
  EXPECT_EQ(json["prompts_verbatim"], 0);
}

TEST_F(Copies, AtMostSoManyPicturesAreDrawn) {
  store_.show = FakeStore::Show::kOnePicture;
  EXPECT_EQ(Report("--pictures 40")["motifs"][0]["copies"]["pictures"], 40);
  EXPECT_EQ(Report("--pictures 0")["motifs"][0]["copies"], nullptr);
  EXPECT_EQ(Run("--pictures 5000").first, 2);
}

TEST_F(Copies, WhatCannotBeDecodedIsCounted) {
  store_.show = FakeStore::Show::kRubbish;
  const nlohmann::json json = Report();
  const nlohmann::json& motif = json["motifs"][0];
  EXPECT_GT(motif["copies"]["undecodable"].get<int>(), 0);
  EXPECT_EQ(motif["copies"]["undecodable"].get<int>() + motif["copies"]["pictures"].get<int>(), motif["members"].get<int>());
  EXPECT_NE(json["notes"].dump().find("could not be decoded"), std::string::npos);
}

TEST_F(Copies, WithoutPicturesOnlyEqualVectorsCount) {
  const nlohmann::json before = Report();
  EXPECT_EQ(before["motifs"][0]["copies"]["verdict"], "unknown");
  EXPECT_EQ(before["motifs"][0]["copies"]["equal_vectors"], 0);
  EXPECT_NE(before["notes"].dump().find("only equal vectors"), std::string::npos);
  int set = 0;
  int64_t first = -1;
  for (int64_t i = 0; i < 400 && set < 12; ++i) {
    if (store_.data.motif[i] != 0) continue;
    if (first < 0) first = i;
    std::copy_n(store_.data.x.row(first), 32, store_.data.x.row(i));
    ++set;
  }
  const nlohmann::json after = Report();
  EXPECT_EQ(after["motifs"][0]["copies"]["equal_vectors"], 12);
  EXPECT_EQ(after["motifs"][0]["copies"]["largest_equal"], 12);
}

TEST_F(Copies, PicturesOutOfReachAreNoted) {
  store_.show = FakeStore::Show::kOneKind;
  store_.unreachable = true;
  const nlohmann::json json = Report();
  EXPECT_EQ(json["motifs"][0]["copies"], nullptr);
  EXPECT_EQ(json["motifs"][0]["tier"], "confirmed");
  EXPECT_NE(json["notes"].dump().find("s3://gone is out of reach"), std::string::npos);
}

TEST_F(Copies, MembersAreComparedWithAReference) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/copies-", getpid());
  std::filesystem::create_directories(folder + "/pictures");
  const auto write = [&](const std::string& name, const std::string& bytes) {
    std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
    return folder + "/" + name;
  };
  // The first member's vector among drawn ones.
  uint64_t first = 0;
  while (store_.data.motif[first] != 0) ++first;
  std::mt19937_64 random(9);
  std::normal_distribution<float> normal;
  std::vector<float> values(100 * 32);
  for (float& v : values) v = normal(random);
  std::copy_n(store_.data.x.row(first), 32, values.begin() + 77 * 32);
  const std::string vectors = write("r.npy", NpyHalfHeader(100, 32) + PackHalves(values.data(), values.size()));
  nlohmann::json json = Report("--pictures 0 --reference " + vectors);
  EXPECT_EQ(json["reference"]["rows"], 100);
  EXPECT_EQ(json["reference"]["least_cosine"], 0.95);
  nlohmann::json match = json["motifs"][0]["reference"];
  EXPECT_EQ(match["compared"], json["motifs"][0]["members"]);
  EXPECT_GE(match["matches"], 1);
  EXPECT_EQ(match["nearest"][0]["reference"], vectors + " row 77");
  EXPECT_EQ(match["nearest"][0]["ordinal"], first);
  json = Report("--pictures 0 --reference-threshold=-1 --reference " + vectors);
  EXPECT_EQ(json["motifs"][0]["reference"]["matches"], json["motifs"][0]["members"]);

  store_.show = FakeStore::Show::kOnePicture;
  write("pictures/source.png", *worker::EncodePng(Scene(64, 64, 7000).rgb, 64, 64));
  json = Report("--pictures 60 --reference " + folder + "/pictures");
  match = json["motifs"][0]["reference"];
  EXPECT_EQ(match["compared"], 60);
  EXPECT_GT(match["share_low"].get<double>(), 0.8);
  EXPECT_EQ(match["nearest"][0]["reference"], folder + "/pictures/source.png");

  const auto [code, out] = Run("--reference " + write("r.parquet", "PAR1"));
  EXPECT_EQ(code, 2);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1) << out;
  EXPECT_EQ(Run("--pictures 0 --reference " + folder + "/pictures").first, 2);
  std::filesystem::remove_all(folder);
}

TEST_F(Copies, AHarmedStreamIsNoAnswer) {
  store_.show = FakeStore::Show::kOneKind;
  store_.harmed = 1;
  EXPECT_EQ(Run().first, 1);
}

}  // namespace
}  // namespace promptsweep::motifs
