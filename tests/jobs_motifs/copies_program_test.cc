// Proves that promptsweep-motifs reads the pictures of a motif's members from the store, says which are copies of each other and
// of which prompt, survives pictures that cannot be decoded, and says so where there are none; that a copy detector among the
// sweep's embedders is asked, too.
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
  grpc::Status ScanEmbeddings(grpc::ServerContext*, const v1::ScanEmbeddingsRequest* request,
                              grpc::ServerWriter<v1::ScanEmbeddingsResponse>* writer) override {
    EXPECT_EQ(request->embedder(), "toy");
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
    std::vector<v1::OrdinalRange> ranges(request->ranges().begin(), request->ranges().end());
    if (request->limit() > 0) ranges.emplace_back().set_end(request->limit());
    for (const v1::OrdinalRange& range : ranges) {
      for (uint64_t i = range.begin(); i < range.end(); ++i) {
        v1::Result& result = *message.mutable_result();
        result.mutable_cell()->set_ordinal(i);
        result.mutable_cell()->set_seed(i < 400 ? i : i % 20);
        result.mutable_cell()->mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
        result.clear_embeddings();
        if (request->with_embeddings() && dim_of_detector > 0) {
          v1::Embedding& embedding = *result.add_embeddings();
          embedding.set_embedder("other");
          embedding.set_fp16(std::string(8, 'x'));
          v1::Embedding& detected = *result.add_embeddings();
          detected.set_embedder("sscd");
          const std::vector<float> vector = DescriptorOf(i);
          detected.set_fp16(PackHalves(vector.data(), vector.size()));
        }
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
  // Values of the detector's vectors; 0 without one. Of every other member of the motif they are nearly equal.
  int dim_of_detector = 0;

  void AddDetector(int dim) {
    dim_of_detector = dim;
    for (const auto& [id, architecture] : {std::pair("other", "clip"), std::pair("sscd", "sscd")}) {
      v1::ModelRef& embedder = *info.mutable_manifest()->add_embedders();
      embedder.set_id(id);
      embedder.set_architecture(architecture);
      embedder.set_digest(std::string(32, 'd'));
      info.mutable_manifest()->mutable_spec()->add_embedders(id);
    }
  }
  std::vector<float> DescriptorOf(uint64_t i) const {
    std::vector<float> vector(dim_of_detector);
    std::mt19937_64 random(i);
    for (float& v : vector) v = std::normal_distribution<float>(0, 0.02)(random);
    const bool copied = i < 400 && data.motif[i] == 0 && i % 2 == 0;
    vector[copied ? 0 : 1 + random() % (dim_of_detector - 1)] += 3;
    return vector;
  }

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

TEST_F(Copies, ADetectorOfTheSweepIsAskedToo) {
  store_.show = FakeStore::Show::kOneKind;
  store_.AddDetector(40);
  const nlohmann::json json = Report("--pictures 60");
  EXPECT_EQ(json["copy_detector"], "sscd");
  EXPECT_EQ(json["copy_cosine"], 0.75);
  const nlohmann::json& copies = json["motifs"][0]["copies"];
  EXPECT_EQ(copies["verdict"], "verbatim");
  EXPECT_EQ(copies["detector"], "sscd");
  EXPECT_EQ(copies["detector_decides"], true);
  EXPECT_EQ(copies["pictures"], 60);
  EXPECT_EQ(copies["detector_pictures"], 60);
  EXPECT_EQ(copies["detector_links"], copies["links"]);
  const uint64_t clique = copies["clique"];
  EXPECT_GT(clique, 15u);
  EXPECT_GE(copies["links"].get<uint64_t>(), clique * (clique - 1) / 2);
  EXPECT_EQ(copies["vectors_alone"], 0);
  for (const auto& ordinal : copies["clique_ordinals"]) EXPECT_EQ(ordinal.get<uint64_t>() % 2, 0u);
  ASSERT_EQ(json["prompt_copies"].size(), 1u);
  EXPECT_EQ(json["prompt_copies"][0]["copies"]["detector_decides"], true);

  const nlohmann::json without = Report("--pictures 60 --copy-embedder none");
  EXPECT_EQ(without["motifs"][0]["copies"]["verdict"], "semantic");
  EXPECT_EQ(without["motifs"][0]["copies"]["detector"], nullptr);
  EXPECT_EQ(without["copy_detector"], nullptr);
  const auto [code, out] = Run("--copy-embedder sscf");
  EXPECT_EQ(code, 3);
  EXPECT_NE(out.find("sscd"), std::string::npos) << out;
}

TEST_F(Copies, AnEmbedderCalledADetectorIsOneWhateverMadeIt) {
  store_.show = FakeStore::Show::kOneKind;
  store_.AddDetector(40);
  for (v1::ModelRef& embedder : *store_.info.mutable_manifest()->mutable_embedders()) embedder.set_architecture("imported");
  EXPECT_EQ(Report("--pictures 40")["copy_detector"], nullptr);
  const nlohmann::json json = Report("--pictures 40 --copy-embedder sscd --copy-threshold 0.99999");
  EXPECT_EQ(json["copy_cosine"], 0.99999);
  EXPECT_EQ(json["motifs"][0]["copies"]["detector"], "sscd");
  EXPECT_EQ(json["motifs"][0]["copies"]["detector_pictures"], 40);
  EXPECT_EQ(json["motifs"][0]["copies"]["verdict"], "semantic");
}

TEST_F(Copies, VectorsOfADetectorDoWithoutPictures) {
  store_.AddDetector(40);
  const nlohmann::json json = Report();
  const nlohmann::json& copies = json["motifs"][0]["copies"];
  EXPECT_EQ(copies["verdict"], "verbatim");
  EXPECT_EQ(copies["vectors_alone"], json["motifs"][0]["members"]);
  EXPECT_EQ(copies["identical"], 0);
  EXPECT_NE(json["notes"].dump().find("by the vectors of sscd alone"), std::string::npos);
}

TEST_F(Copies, AReferenceIsComparedInTheSpaceItIsOf) {
  store_.AddDetector(40);
  const std::string folder = absl::StrCat(testing::TempDir(), "/spaces-", getpid());
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::vector<float>& values, uint32_t dim) {
    const std::string path = folder + "/" + name;
    std::ofstream(path, std::ios::binary) << NpyHalfHeader(values.size() / dim, dim) + PackHalves(values.data(), values.size());
    return path;
  };
  std::vector<float> axis(40, 0);
  axis[0] = 1;
  const std::string detected = write("detected.npy", axis, 40);
  nlohmann::json json = Report("--pictures 0 --reference " + detected);
  EXPECT_EQ(json["reference"]["embedder"], "sscd");
  EXPECT_EQ(json["reference"]["least_cosine"], 0.75);
  const nlohmann::json& match = json["motifs"][0]["reference"];
  EXPECT_EQ(match["compared"], json["motifs"][0]["members"]);
  EXPECT_NEAR(match["share"].get<double>(), 0.5, 0.15);
  for (const auto& pair : match["nearest"]) EXPECT_EQ(pair["ordinal"].get<uint64_t>() % 2, 0u);
  EXPECT_EQ(Run("--reference-embedder toy --reference " + detected).first, 2);

  // As long as the motifs' own: those are meant, unless it is said otherwise.
  const std::string mined = write("mined.npy", std::vector<float>(32, 1), 32);
  store_.dim_of_detector = 32;
  json = Report("--pictures 0 --reference " + mined);
  EXPECT_EQ(json["reference"]["embedder"], "toy");
  EXPECT_EQ(json["reference"]["least_cosine"], 0.95);
  EXPECT_NE(json["notes"].dump().find("--reference-embedder"), std::string::npos);
  json = Report("--pictures 0 --reference-embedder sscd --reference " + mined);
  EXPECT_EQ(json["reference"]["embedder"], "sscd");
  EXPECT_EQ(json["reference"]["least_cosine"], 0.75);
  EXPECT_EQ(Run("--reference-embedder nobody --reference " + mined).first, 3);
  std::filesystem::remove_all(folder);
}

TEST_F(Copies, AHarmedStreamIsNoAnswer) {
  store_.show = FakeStore::Show::kOneKind;
  store_.harmed = 1;
  EXPECT_EQ(Run().first, 1);
}

}  // namespace
}  // namespace promptsweep::motifs
