// Proves that promptsweep-motifs names motifs by a stored vocabulary: words below the kinds that stand out, kinds where no word
// does; which vocabulary it takes where none is named; and that one that is not there, or not whole, is bad input.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "jobs/vocabularies/stored_vocabulary.h"
#include "promptsweep/v1/motifs.pb.h"
#include "store/digest.h"
#include "tests/jobs_motifs/fake_sweep.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

using ::testing::HasSubstr;

constexpr int kDim = 32;

// 300 blank cells of which 30 % show a motif, then 20 prompts x 15 seeds; labels by embedder and name.
class FakeStore final : public v1::StoreService::Service {
 public:
  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest*, v1::GetSweepResponse* response) override {
    *response->mutable_info() = info;
    return grpc::Status::OK;
  }
  grpc::Status ScanEmbeddings(grpc::ServerContext*, const v1::ScanEmbeddingsRequest*,
                              grpc::ServerWriter<v1::ScanEmbeddingsResponse>* writer) override {
    v1::ScanEmbeddingsResponse message;
    v1::EmbeddingBlock& block = *message.mutable_block();
    for (int64_t i = 0; i < data.x.rows; ++i) block.add_ordinals(i);
    block.set_dim(kDim);
    block.set_fp16(PackHalves(data.x.row(0), data.x.rows * kDim));
    store::ScanDigest digest;
    digest.Add(block);
    writer->Write(message);
    v1::ScanEmbeddingsResponse last;
    last.mutable_trailer()->set_rows(digest.rows());
    last.mutable_trailer()->set_digest(digest.digest());
    writer->Write(last);
    return grpc::Status::OK;
  }
  grpc::Status GetResults(grpc::ServerContext*, const v1::GetResultsRequest*,
                          grpc::ServerWriter<v1::GetResultsResponse>* writer) override {
    store::ScanDigest digest;
    v1::GetResultsResponse message;
    for (int64_t i = 0; i < data.x.rows; ++i) {
      message.mutable_result()->mutable_cell()->set_ordinal(i);
      digest.Add(message.result());
      writer->Write(message);
    }
    message.mutable_trailer()->set_rows(digest.rows());
    message.mutable_trailer()->set_digest(digest.digest());
    writer->Write(message);
    return grpc::Status::OK;
  }
  grpc::Status GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest* request, v1::GetLabelsResponse* response) override {
    *response = labels[{request->embedder_digest(), request->vocabulary()}];
    return grpc::Status::OK;
  }
  grpc::Status PutLabels(grpc::ServerContext*, const v1::PutLabelsRequest* request, v1::PutLabelsResponse*) override {
    v1::GetLabelsResponse& row = labels[{request->embedder_digest(), request->vocabulary()}];
    *row.mutable_labels() = request->labels();
    row.set_dim(request->dim());
    row.set_fp16(request->fp16());
    return grpc::Status::OK;
  }
  grpc::Status GetMotifs(grpc::ServerContext*, const v1::GetMotifsRequest*, v1::GetMotifsResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status PutMotifs(grpc::ServerContext*, const v1::PutMotifsRequest* request, v1::PutMotifsResponse*) override {
    EXPECT_TRUE(stored.ParseFromString(request->report()));
    return grpc::Status::OK;
  }

  const Synthetic data = MakeSynthetic({.target = 300, .baseline = 300, .dim = kDim, .seed = 4, .planted = {0.3}});
  const v1::SweepInfo info = FakeSweep({{{""}, 300}, {SomePrompts(20), 15}});
  std::map<std::pair<std::string, std::string>, v1::GetLabelsResponse> labels;
  v1::MotifReport stored;
};

// Words of four kinds, ten below each, whose vectors share half of their squared length with their kind's.
class VocabularyProgram : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&store_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(port_, 0);
    stub_ = v1::StoreService::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override { server_->Shutdown(); }

  // From an average run to an average member.
  std::vector<double> Away() const {
    std::vector<double> away(kDim, 0);
    double members = 0, square = 0;
    for (int64_t i = 0; i < 300; ++i) members += store_.data.motif[i] == 0;
    for (int64_t i = 0; i < 600; ++i) {
      for (int j = 0; j < kDim; ++j)
        away[j] += store_.data.x.row(i)[j] * (i >= 300 ? -1.0 / 300 : store_.data.motif[i] == 0 ? 1 / members : 0);
    }
    for (const double e : away) square += e * e;
    for (double& e : away) e /= std::sqrt(square);
    return away;
  }

  // "garment" and the words below it point `garments` of the way to the motif, "sari" among them `sari`.
  void Store(const std::string& name, double garments, double sari, bool parents = true, uint64_t seed = 9) {
    const std::vector<double> away = Away();
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    VocabularyFile file;
    std::vector<float> vectors;
    for (const std::string kind : {"garment", "animal", "tool", "food"}) {
      std::vector<double> centre(kDim);
      for (double& e : centre) e = normal(random) / std::sqrt(kDim);
      const int top = static_cast<int>(file.labels.size());
      for (int w = 0; w <= 10; ++w) {
        file.labels.push_back(w == 0 ? kind : kind == "garment" && w == 1 ? "sari" : absl::StrCat(kind, w));
        file.parents.push_back(w == 0 || !parents ? -1 : top);
        const double share = kind != "garment" ? 0 : w == 1 ? sari : garments;
        for (int j = 0; j < kDim; ++j) {
          const double own = (normal(random) / std::sqrt(kDim) + centre[j]) / std::sqrt(2);
          vectors.push_back(static_cast<float>(share * away[j] + std::sqrt(1 - share * share) * own));
        }
      }
    }
    ASSERT_EQ(CutIntoSlices(file, kDim).size(), 1u);
    v1::PutLabelsRequest slice;
    slice.set_embedder_digest(embedder_.digest());
    slice.set_vocabulary(SliceName(name, 0));
    for (size_t l = 0; l < file.labels.size(); ++l) slice.add_labels(LineOf(file, l));
    slice.set_dim(kDim);
    slice.set_fp16(PackHalves(vectors.data(), vectors.size()));
    Put(slice);
    Put(HeadRequest(embedder_.digest(), name, HeadOf(file, kDim)));
    ASSERT_TRUE(ListVocabulary(*stub_, {name, embedder_.id(), embedder_.digest(), {}}).ok());
  }
  void Put(const v1::PutLabelsRequest& request) {
    grpc::ClientContext context;
    v1::PutLabelsResponse response;
    ASSERT_TRUE(stub_->PutLabels(&context, request, &response).ok());
  }
  nlohmann::json Report(const std::string& arguments) {
    const Ended ended = RunProgram(port_, absl::StrCat("--sweep fake ", arguments));
    EXPECT_EQ(ended.code, 0) << ended.err;
    return nlohmann::json::parse(ended.out, nullptr, false);
  }
  std::string WhyNot(const std::string& arguments) {
    const Ended ended = RunProgram(port_, absl::StrCat("--sweep fake ", arguments));
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    return ended.err;
  }

  FakeStore store_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  const v1::ModelRef embedder_ = store_.info.manifest().embedders(0);
  int port_ = 0;
};

TEST_F(VocabularyProgram, AWordIsNamedBelowItsKind) {
  Store("mine", 0.5, 0.95);
  const nlohmann::json json = Report("--vocabulary mine");
  EXPECT_EQ(json["vocabulary"], "mine");
  const nlohmann::json& motif = json["motifs"][0];
  EXPECT_EQ(motif["label"], "sari");
  EXPECT_EQ(motif["labels"][0]["path"], nlohmann::json::parse(R"(["garment"])"));
  EXPECT_EQ(motif["labels"][0]["kind"], false);
  EXPECT_EQ(store_.stored.vocabulary(), "mine");
  ASSERT_EQ(store_.stored.motifs(0).labels(0).path_size(), 1);
  EXPECT_EQ(Report("--vocabulary mine --threads 3"), json);
}

TEST_F(VocabularyProgram, WhereNoWordDoesTheKindGivesTheName) {
  Store("mine", 0.35, 0.35);
  const nlohmann::json motif = Report("--vocabulary mine")["motifs"][0];
  EXPECT_EQ(motif["label"], "garment");
  ASSERT_EQ(motif["labels"].size(), 1u);
  EXPECT_EQ(motif["labels"][0]["kind"], true);
  EXPECT_EQ(motif["labels"][0]["path"], nlohmann::json::array());
  EXPECT_GT(motif["labels"][0]["standing"].get<double>(), 2);
  // Without parents there are no kinds.
  Store("flat", 0.35, 0.35, /*parents=*/false);
  EXPECT_EQ(Report("--vocabulary flat")["motifs"][0]["label"], "");
}

TEST_F(VocabularyProgram, WhereNothingStandsOutThereIsNoName) {
  int named = 0;
  for (uint64_t seed = 20; seed < 25; ++seed) {
    Store("strange", 0, 0, true, seed);
    named += Report("--vocabulary strange")["motifs"][0]["label"] != "";
  }
  EXPECT_LE(named, 1) << "of 5";
}

TEST_F(VocabularyProgram, WithoutANameItIsTheOwnLabelsOrTheOnlyOnes) {
  EXPECT_EQ(Report("")["motifs"][0]["label"], "");
  Store("mine", 0.5, 0.95);
  nlohmann::json json = Report("");
  EXPECT_EQ(json["vocabulary"], "mine");
  EXPECT_EQ(json["motifs"][0]["label"], "sari");
  EXPECT_THAT(json["notes"].dump(), HasSubstr("the one vocabulary stored for it, mine"));
  Store("other", 0.5, 0.95);
  json = Report("");
  EXPECT_EQ(json["vocabulary"], "");
  EXPECT_EQ(json["motifs"][0]["label"], "");
  EXPECT_THAT(json["notes"].dump(), HasSubstr("--vocabulary takes one of: mine, other"));
  // Its own labels come first.
  v1::PutLabelsRequest own;
  own.set_embedder_digest(embedder_.digest());
  own.set_dim(kDim);
  const std::vector<double> away = Away();
  std::vector<float> vector(away.begin(), away.end());
  own.add_labels("own word");
  own.set_fp16(PackHalves(vector.data(), vector.size()));
  Put(own);
  json = Report("");
  EXPECT_EQ(json["vocabulary"], "");
  EXPECT_EQ(json["motifs"][0]["label"], "own word");
  EXPECT_EQ(json["motifs"][0]["labels"][0]["path"], nlohmann::json::array());
}

TEST_F(VocabularyProgram, WhatIsNotThereOrNotWholeIsBadInput) {
  EXPECT_THAT(WhyNot("--vocabulary mine"), HasSubstr("no vocabulary \"mine\" for toy in the store"));
  Store("mine", 0.5, 0.95);
  EXPECT_THAT(WhyNot("--vocabulary mnie"), HasSubstr("did you mean \"mine\"?"));
  EXPECT_THAT(WhyNot("--vocabulary mine/0"), HasSubstr("is no name of a vocabulary"));
  store_.labels.erase({embedder_.digest(), "mine/0"});
  EXPECT_THAT(WhyNot("--vocabulary mine"), HasSubstr("half written"));
}

}  // namespace
}  // namespace promptsweep::motifs
