// Proves that promptsweep-motifs reads a sweep from a store over gRPC, decides the sides, stores and prints the report, and
// ends with the documented exit code where something is wrong.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/digest.h"
#include "tests/jobs_motifs/fake_sweep.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {
namespace {

// Serves one sweep: 600 blank cells, then 20 prompts x 30 seeds.
class FakeStore final : public v1::StoreService::Service {
 public:
  FakeStore() : data(MakeSynthetic({.target = 600, .baseline = 600, .dim = 32, .seed = 4, .planted = {0.3}})) {}

  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest* request, v1::GetSweepResponse* response) override {
    if (request->name() != "fake" && request->name() != "3")
      return {grpc::StatusCode::NOT_FOUND, "no sweep named " + request->name()};
    *response->mutable_info() = info;
    return grpc::Status::OK;
  }
  grpc::Status ScanEmbeddings(grpc::ServerContext*, const v1::ScanEmbeddingsRequest* request,
                              grpc::ServerWriter<v1::ScanEmbeddingsResponse>* writer) override {
    EXPECT_EQ(request->sweep(), 3u);
    EXPECT_EQ(request->embedder(), "toy");
    store::ScanDigest digest;
    for (int64_t begin = 0; begin < rows; begin += 500) {
      v1::ScanEmbeddingsResponse message;
      v1::EmbeddingBlock& block = *message.mutable_block();
      const int64_t end = std::min(rows, begin + 500);
      for (int64_t i = begin; i < end; ++i) block.add_ordinals(i);
      block.set_dim(32);
      block.set_fp16(PackHalves(data.x.row(begin), (end - begin) * 32));
      digest.Add(block);
      writer->Write(message);
    }
    v1::ScanEmbeddingsResponse last;
    last.mutable_trailer()->set_rows(digest.rows());
    last.mutable_trailer()->set_digest(digest.digest() + harmed);
    if (!cut_short) writer->Write(last);
    return grpc::Status::OK;
  }
  // Rows of an imported sweep, with one more column.
  grpc::Status GetResults(grpc::ServerContext*, const v1::GetResultsRequest* request,
                          grpc::ServerWriter<v1::GetResultsResponse>* writer) override {
    store::ScanDigest digest;
    v1::GetResultsResponse message;
    for (int64_t i = 0; i < data.x.rows; ++i) {
      v1::Result& result = *message.mutable_result();
      result.mutable_cell()->set_ordinal(i);
      result.clear_imported();
      v1::Setting& column = *result.add_imported();
      column.set_name("group");
      column.mutable_value()->set_string_value(i < 600 ? "new" : "old");
      if (two_models) {
        AddColumn(result, "model", i < 600 ? "a" : "b");
        AddColumn(result, "prompt", absl::StrCat("prompt ", i % 40));
        v1::Setting& seed = *result.add_imported();
        seed.set_name("seed");
        seed.mutable_value()->set_int_value(i % 600 / 40);
      }
      if (one_seed) {
        v1::Setting& seed = *result.add_imported();
        seed.set_name("seed");
        seed.mutable_value()->set_int_value(7);
      }
      digest.Add(result);
      writer->Write(message);
    }
    message.mutable_trailer()->set_rows(digest.rows());
    message.mutable_trailer()->set_digest(digest.digest());
    writer->Write(message);
    return grpc::Status::OK;
  }
  grpc::Status GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest* request, v1::GetLabelsResponse* response) override {
    if (!with_labels) return grpc::Status::OK;
    EXPECT_EQ(request->embedder_digest(), std::string(32, 'e'));
    // "saris" points from an average run to an average member.
    std::vector<double> away(32, 0);
    double members = 0;
    for (int64_t i = 0; i < 600; ++i) members += data.motif[i] == 0;
    for (int64_t i = 0; i < 1200; ++i) {
      for (int j = 0; j < 32; ++j) away[j] += data.x.row(i)[j] * (i >= 600 ? -1.0 / 600 : data.motif[i] == 0 ? 1 / members : 0);
    }
    std::vector<float> words;
    for (const double e : away) words.push_back(static_cast<float>(e));
    for (const double e : away) words.push_back(static_cast<float>(-e));
    response->add_labels("sari");
    response->add_labels("no sari");
    std::mt19937_64 random(5);
    for (int l = 0; l < more_words; ++l) {
      for (int j = 0; j < 32; ++j) words.push_back(static_cast<float>(random() % 2001) / 1000 - 1);
      response->add_labels("word" + std::to_string(l));
    }
    response->set_dim(32);
    response->set_fp16(PackHalves(words.data(), words.size()));
    return grpc::Status::OK;
  }
  grpc::Status PutMotifs(grpc::ServerContext*, const v1::PutMotifsRequest* request, v1::PutMotifsResponse*) override {
    EXPECT_EQ(request->sweep(), 3u);
    EXPECT_TRUE(stored.ParseFromString(request->report()));
    EXPECT_EQ(request->question().size(), 32u);
    by_question[request->question()] = request->report();
    return grpc::Status::OK;
  }
  grpc::Status GetMotifs(grpc::ServerContext*, const v1::GetMotifsRequest* request, v1::GetMotifsResponse* response) override {
    const auto it = by_question.find(request->question());
    if (it != by_question.end()) response->set_report(it->second);
    return grpc::Status::OK;
  }

  Synthetic data;
  v1::SweepInfo info = FakeSweep({{{""}, 600}, {SomePrompts(20), 30}});
  v1::MotifReport stored;
  std::map<std::string, std::string> by_question;
  int64_t rows = 1200;  // that are stored
  bool cut_short = false, with_labels = true;
  int more_words = 0;
  // Models a and b, each 40 prompts x 15 seeds.
  bool two_models = false;
  // A column seed that says the same of every row.
  bool one_seed = false;
  uint64_t harmed = 0;

 private:
  static void AddColumn(v1::Result& result, const std::string& name, const std::string& value) {
    v1::Setting& column = *result.add_imported();
    column.set_name(name);
    column.mutable_value()->set_string_value(value);
  }
};

class Program : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&store_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(port_, 0);
  }
  void TearDown() override { server_->Shutdown(); }

  Ended Run(const std::string& arguments, int port = 0) { return RunProgram(port == 0 ? port_ : port, arguments); }

  FakeStore store_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(Program, FindsNamesPrintsAndStoresThePlantedMotif) {
  const Ended ended = Run("--sweep fake --json");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["sweep"], 3);
  EXPECT_EQ(json["target"], nlohmann::json::parse(R"([{"axis":"prompt","value":""}])"));
  EXPECT_EQ(json["baseline"], nlohmann::json::array());
  EXPECT_EQ(json["target_runs"], 600);
  EXPECT_EQ(json["baseline_runs"], 600);
  ASSERT_FALSE(json["motifs"].empty());
  const nlohmann::json& motif = json["motifs"][0];
  EXPECT_EQ(motif["id"], 1);
  EXPECT_EQ(motif["tier"], "confirmed");
  EXPECT_EQ(motif["label"], "sari");
  EXPECT_LE(motif["ci_low"].get<double>(), 0.3);
  EXPECT_GE(motif["ci_high"].get<double>(), 0.3);
  EXPECT_GT(motif["lift_low"].get<double>(), 1);
  EXPECT_LE(motif["q_value"].get<double>(), 0.05);
  ASSERT_EQ(motif["exemplars"].size(), 9u);
  for (const auto& ordinal : motif["exemplars"]) {
    ASSERT_TRUE(ordinal.is_number_unsigned());
    EXPECT_EQ(store_.data.motif[ordinal.get<uint64_t>()], 0);
  }
  EXPECT_EQ(store_.stored.motifs(0).label(), "sari");
  EXPECT_EQ(store_.stored.motifs(0).members(), motif["members"].get<uint64_t>());
  EXPECT_EQ(store_.stored.motifs(0).centre().size(), 64u);
}

TEST_F(Program, SaysWhatMoreRunsWouldTell) {
  const nlohmann::json json = nlohmann::json::parse(Run("--sweep fake").out);
  const nlohmann::json& motif = json["motifs"][0];
  const nlohmann::json& sequence = motif["sequence"];
  EXPECT_LT(sequence["low"].get<double>(), motif["ci_low"].get<double>());
  EXPECT_GT(sequence["high"].get<double>(), motif["ci_high"].get<double>());
  EXPECT_DOUBLE_EQ(sequence["error"].get<double>(), 0.05 / json["motifs"].size());
  EXPECT_GT(sequence["lift_low"].get<double>(), 1);
  const nlohmann::json& needed = motif["runs_needed"];
  const double p = motif["prevalence"].get<double>();
  EXPECT_NEAR(needed["to_one_point"].get<double>(), 38416 * p * (1 - p), 20);
  EXPECT_NEAR(needed["to_quarter"].get<double>(), 61.5 * (1 - p) / p, 15);
  EXPECT_GT(needed["to_quarter_anytime"].get<double>(), needed["to_quarter"].get<double>());
  EXPECT_NEAR(needed["to_find"].get<double>(), 27.9 / p, 10);
  EXPECT_LT(needed["to_decide"].get<double>(), 600);
  EXPECT_NEAR(json["unseen_below"].get<double>(), 27.9 / 600, .002);
  const nlohmann::json& novelty = json["novelty"];
  EXPECT_EQ(novelty["runs"], 600);
  EXPECT_LE(novelty["low"].get<double>(), novelty["rate"].get<double>());
  EXPECT_GE(novelty["kinds_at_least"].get<double>(), novelty["kinds"].get<double>());
  EXPECT_LT(json["target_diversity"]["vendi"].get<double>(), json["baseline_diversity"]["vendi"].get<double>());
  EXPECT_EQ(json["baseline_diversity"]["runs"], 600);
  EXPECT_DOUBLE_EQ(store_.stored.target_diversity().rke(), json["target_diversity"]["rke"].get<double>());
}

TEST_F(Program, TellsTheConceptsOfAMotif) {
  store_.more_words = 60;
  const Ended ended = Run("--sweep fake");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json motif = nlohmann::json::parse(ended.out)["motifs"][0];
  ASSERT_TRUE(motif["concepts"].is_object()) << motif;
  EXPECT_EQ(motif["concepts"]["words"][0]["label"], "sari");
  EXPECT_GT(motif["concepts"]["words"][0]["weight"].get<double>(), 0.5);
  EXPECT_GT(motif["concepts"]["cosine"].get<double>(), 0.9);
  EXPECT_LE(motif["concepts"]["words"].size(), 20u);
  EXPECT_EQ(store_.stored.motifs(0).concepts().concepts(0).label(), "sari");
  EXPECT_EQ(Run("--sweep fake --threads 3").out, ended.out);
  store_.more_words = 0;  // too few words to tell
  EXPECT_TRUE(nlohmann::json::parse(Run("--sweep fake").out)["motifs"][0]["concepts"].is_null());
}

TEST_F(Program, PrintsTheSameBytesForAnyNumberOfThreads) {
  const std::string one = Run("--sweep 3 --threads 1").out;
  EXPECT_FALSE(one.empty());
  EXPECT_EQ(one, Run("--sweep 3 --threads 3").out);
}

TEST_F(Program, WhatDoesNotFitMemoryIsSampledAndCountedWhole) {
  const nlohmann::json whole = nlohmann::json::parse(Run("--sweep fake").out);
  const Ended ended = Run("--sweep fake --memory 300K");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["target_runs"], 600);
  EXPECT_EQ(json["baseline_runs"], 600);
  EXPECT_NE(json["notes"].dump().find("counted in all"), std::string::npos) << json["notes"];
  EXPECT_EQ(whole["notes"].dump().find("counted in all"), std::string::npos);
  const nlohmann::json& motif = json["motifs"][0];
  EXPECT_EQ(motif["tier"], "confirmed");
  // The regions were fitted to fewer runs; the count is of all of them.
  EXPECT_NEAR(motif["members"].get<double>(), whole["motifs"][0]["members"].get<double>(), 6);
  EXPECT_EQ(Run("--sweep fake --memory 300K --threads 3").out, ended.out);
  EXPECT_EQ(Run("--sweep fake --memory 12X").code, 2);
}

TEST_F(Program, SidesFollowTheFilters) {
  // Blank runs against blank runs: disjoint seed ranges of one prompt, so nothing may be confirmed.
  const Ended ended = Run("--sweep fake --target 'prompt=,seed=0..299' --baseline 'prompt=,seed=300..599'");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["target_runs"], 300);
  EXPECT_EQ(json["baseline_runs"], 300);
  for (const auto& motif : json["motifs"]) EXPECT_NE(motif["tier"], "confirmed");
}

TEST_F(Program, SidesMayBeNamedByAColumnOfAnImportedSweep) {
  store_.info.mutable_manifest()->set_imported_from("rows.csv");
  const Ended ended = Run("--sweep fake --target group=new --baseline group=old");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["target_runs"], 600);
  EXPECT_EQ(json["motifs"][0]["tier"], "confirmed");
  EXPECT_EQ(Run("--sweep fake --target group=newer").code, 2);
}

TEST_F(Program, RowsImportedWithOneSeedAreCountedLikeAnyOthers) {
  store_.info.mutable_manifest()->set_imported_from("rows.csv");
  store_.one_seed = true;
  const Ended ended = Run("--sweep fake --target group=new --baseline group=old");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json motif = nlohmann::json::parse(ended.out)["motifs"][0];
  EXPECT_EQ(motif["tier"], "confirmed");
  EXPECT_NEAR(motif["prevalence"].get<double>(), 0.3, 0.06);
}

TEST_F(Program, CountsMotifsInEveryModelAndPrompt) {
  store_.info.mutable_manifest()->set_imported_from("rows.csv");
  store_.two_models = true;
  const Ended ended = Run("--sweep fake --target model=a --baseline model=b");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json json = nlohmann::json::parse(ended.out);
  const nlohmann::json& motif = json["motifs"][0];
  ASSERT_EQ(motif["models"].size(), 2u);
  const nlohmann::json &a = motif["models"][0], &b = motif["models"][1];
  EXPECT_EQ(a["model"], "a");
  EXPECT_EQ(b["model"], "b");
  EXPECT_EQ(a["runs"], 600);
  EXPECT_EQ(a["members"], motif["members"]);
  EXPECT_EQ(a["prevalence"], motif["prevalence"]);
  EXPECT_EQ(b["runs"], 600);
  EXPECT_EQ(b["prevalence"], motif["baseline_prevalence"]);
  EXPECT_EQ(motif["spread"], "unique");
  EXPECT_LT(motif["models_q"].get<double>(), 1e-6);
  EXPECT_EQ(a["reach"]["prompts"], 40);
  EXPECT_GE(a["reach"]["reached"].get<int>(), 36);
  EXPECT_GT(a["reach"]["entropy"].get<double>(), 0.9);
  EXPECT_EQ(a["reach"]["top"].size(), 5u);
  EXPECT_EQ(a["reach"]["top"][0]["runs"], 15);
  // Those on neither side are counted too.
  const Ended some = Run("--sweep fake --target model=a,seed=0..6 --baseline model=a,seed=7..14");
  ASSERT_EQ(some.code, 0) << some.err;
  for (const auto& motif : nlohmann::json::parse(some.out)["motifs"]) {
    ASSERT_EQ(motif["models"].size(), 2u);
    EXPECT_EQ(motif["models"][0]["runs"], 600);
    EXPECT_EQ(motif["models"][1]["runs"], 600);
  }
}

TEST_F(Program, TheQuestionChoosesSidesAndTest) {
  store_.info.mutable_manifest()->set_imported_from("rows.csv");
  store_.two_models = true;
  // b came second, so it is the new one.
  const nlohmann::json back = nlohmann::json::parse(Run("--sweep fake --question changed").out);
  EXPECT_EQ(back["question"], "changed");
  EXPECT_EQ(back["target"], (nlohmann::json::array({{{"axis", "model"}, {"value", "b"}}})));
  EXPECT_THAT(back["null_hypothesis"].get<std::string>(), testing::HasSubstr("pairs"));
  EXPECT_EQ(back["target_runs"], 600);
  const nlohmann::json changed =
      nlohmann::json::parse(Run("--sweep fake --question changed --target model=a --baseline model=b").out);
  EXPECT_EQ(changed["motifs"][0]["tier"], "confirmed");
  EXPECT_THAT(changed["null_hypothesis"].get<std::string>(), testing::HasSubstr("pairs"));
  const nlohmann::json collapsed =
      nlohmann::json::parse(Run("--sweep fake --question collapsed --target model=a --baseline model=b").out);
  EXPECT_THAT(collapsed["null_hypothesis"].get<std::string>(), testing::HasSubstr("nothing is tested"));
  EXPECT_EQ(collapsed["motifs"][0]["tier"], "descriptive");
  EXPECT_TRUE(collapsed["motifs"][0]["q_value"].is_null());
  EXPECT_GT(collapsed["motifs"][0]["lift"].get<double>(), 10);
  const nlohmann::json leak = nlohmann::json::parse(Run("--sweep fake --question leak --target 'prompt=prompt 1,model=a'").out);
  EXPECT_EQ(leak["target_runs"], 15);
  EXPECT_EQ(leak["baseline_runs"], 585);
  EXPECT_EQ(Run("--sweep fake --question unasked").code, 2);  // no blank prompt
  EXPECT_EQ(Run("--sweep fake --question leak").code, 2);
  EXPECT_EQ(Run("--sweep fake --question why").code, 2);
}

TEST_F(Program, MotifsKeepTheirKeysAndMayBeCountedOn) {
  // The blank runs, and half of the prompts'.
  store_.rows = 900;
  const auto first = nlohmann::json::parse(Run("--sweep fake").out)["motifs"];
  ASSERT_GE(first.size(), 1u);
  EXPECT_EQ(first[0]["key"].get<std::string>().size(), 16u);
  EXPECT_EQ(first[0]["history"].size(), 1u);
  EXPECT_EQ(first[0]["history"][0]["change"], "found");
  EXPECT_EQ(first[0]["history"][0]["members"], first[0]["members"]);
  // Counted on: the same motif, by the same regions, in all there is now.
  store_.rows = 1200;
  const auto kept = nlohmann::json::parse(Run("--sweep fake --keep").out);
  ASSERT_GE(kept["motifs"].size(), 1u);
  EXPECT_EQ(kept["baseline_runs"], 600);
  EXPECT_EQ(kept["motifs"][0]["key"], first[0]["key"]);
  EXPECT_EQ(kept["motifs"][0]["members"], first[0]["members"]);  // all target runs were there before
  EXPECT_EQ(kept["motifs"][0]["radius_cosine"], first[0]["radius_cosine"]);
  EXPECT_EQ(kept["motifs"][0]["history"].size(), 1u);  // as many target runs, as many members: nothing to add
  const std::string again = Run("--sweep fake --keep").out;
  EXPECT_EQ(nlohmann::json::parse(again)["motifs"][0]["baseline_prevalence"], kept["motifs"][0]["baseline_prevalence"]);
  // Sampled and counted in a stream it is the same count.
  const auto streamed = nlohmann::json::parse(Run("--sweep fake --keep --memory 200000").out);
  EXPECT_EQ(streamed["motifs"][0]["members"], first[0]["members"]);
  EXPECT_EQ(streamed["motifs"][0]["baseline_prevalence"], kept["motifs"][0]["baseline_prevalence"]);
  // Sought anew it is found again, under its key.
  store_.rows = 1100;
  const auto sought = nlohmann::json::parse(Run("--sweep fake").out)["motifs"];
  EXPECT_EQ(sought[0]["key"], first[0]["key"]);
  EXPECT_EQ(sought[0]["history"].size(), 1u);
  // --fresh forgets; another question has its own motifs.
  const auto fresh = nlohmann::json::parse(Run("--sweep fake --fresh").out)["motifs"];
  EXPECT_EQ(fresh[0]["history"].size(), 1u);
  EXPECT_EQ(nlohmann::json::parse(Run("--sweep fake --question collapsed").out)["motifs"][0]["history"].size(), 1u);
}

TEST_F(Program, WithoutAReportThereIsNothingToKeep) {
  const Ended ended = Run("--sweep fake --keep");
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.err, testing::HasSubstr("without --keep"));
  EXPECT_EQ(Run("--sweep fake --keep --fresh").code, 2);
}

TEST_F(Program, OneModelIsNotCompared) {
  const nlohmann::json motif = nlohmann::json::parse(Run("--sweep fake").out)["motifs"][0];
  ASSERT_EQ(motif["models"].size(), 1u);
  EXPECT_EQ(motif["models"][0]["runs"], 1200);
  EXPECT_EQ(motif["spread"], "");
  EXPECT_TRUE(motif["models_p"].is_null());
  EXPECT_EQ(motif["models"][0]["reach"]["prompts"], 20);
}

TEST_F(Program, WithoutLabelsMotifsAreUnnamed) {
  store_.with_labels = false;
  const nlohmann::json json = nlohmann::json::parse(Run("--sweep fake").out);
  EXPECT_EQ(json["motifs"][0]["label"], "");
}

TEST_F(Program, BadInputEndsWithTwoAndOneLine) {
  for (const std::string arguments : {"--sweep fake --target 'colour=red'", "--sweep fake --target 'prompt=unheard of'",
                                      "--sweep fake --target prompt= --baseline seed=0..5", "--sweep fake --target nonsense"}) {
    const Ended ended = Run(arguments);
    EXPECT_EQ(ended.code, 2) << arguments << ended.err;
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    EXPECT_EQ(ended.out, "");
  }
  EXPECT_EQ(Run("--no-such-flag").code, 2);
}

TEST_F(Program, UnknownSweepOrEmbedderEndsWithThree) {
  EXPECT_EQ(Run("--sweep other").code, 3);
  EXPECT_EQ(Run("--sweep fake --embedder clip").code, 3);
}

TEST_F(Program, UnreachableStoreEndsWithFour) {
  server_->Shutdown();
  EXPECT_EQ(Run("--sweep fake").code, 4);
}

TEST_F(Program, AStreamCutShortOrHarmedIsNotAnAnswer) {
  store_.cut_short = true;
  EXPECT_EQ(Run("--sweep fake").code, 1);
  store_.cut_short = false;
  store_.harmed = 1;
  EXPECT_EQ(Run("--sweep fake").code, 1);
  EXPECT_EQ(store_.stored.motifs_size(), 0);
}

}  // namespace
}  // namespace promptsweep::motifs
