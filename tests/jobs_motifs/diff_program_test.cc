// Proves that `promptsweep-motifs diff` compares two stored sweeps by their stored motifs, each once, in pairs where it can, with
// the same bytes on any number of threads, and ends with the documented exit code where something is wrong.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
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

using testing::HasSubstr;

constexpr int kRuns = 400, kDim = 32;

// Sweeps 3 and 4: 400 blank cells, then 20 prompts x 20 seeds; motif 0 in 30 % of the blank runs of the one and 10 % of the
// other, motif 1 in 10 % of the first alone.
class FakeStore final : public v1::StoreService::Service {
 public:
  FakeStore() {
    SyntheticOptions options{
        .target = kRuns, .baseline = kRuns, .dim = kDim, .seed = 9, .planted = {0.3, 0.1}, .within_cosine = 0.9};
    const Synthetic first = MakeSynthetic(options);
    options.target = 2 * kRuns;
    options.seed = 9;
    options.planted = {0.1, 0.0};
    const Synthetic second = MakeSynthetic(options);
    Add(3, "before", first, 0);
    Add(4, "after", second, kRuns);
  }

  grpc::Status GetSweep(grpc::ServerContext*, const v1::GetSweepRequest* request, v1::GetSweepResponse* response) override {
    for (const auto& [id, sweep] : sweeps) {
      if (request->name() != absl::StrCat(id) && request->name() != sweep.info.manifest().spec().name()) continue;
      *response->mutable_info() = sweep.info;
      return grpc::Status::OK;
    }
    return {grpc::StatusCode::NOT_FOUND, "no sweep named " + request->name()};
  }
  grpc::Status ScanEmbeddings(grpc::ServerContext*, const v1::ScanEmbeddingsRequest* request,
                              grpc::ServerWriter<v1::ScanEmbeddingsResponse>* writer) override {
    const Matrix& x = sweeps.at(request->sweep()).x;
    store::ScanDigest digest;
    for (int64_t begin = 0; begin < x.rows; begin += 300) {
      v1::ScanEmbeddingsResponse message;
      v1::EmbeddingBlock& block = *message.mutable_block();
      const int64_t end = std::min(x.rows, begin + 300);
      for (int64_t i = begin; i < end; ++i) block.add_ordinals(i);
      block.set_dim(kDim);
      block.set_fp16(PackHalves(x.row(begin), (end - begin) * kDim));
      digest.Add(block);
      writer->Write(message);
    }
    v1::ScanEmbeddingsResponse last;
    last.mutable_trailer()->set_rows(digest.rows());
    last.mutable_trailer()->set_digest(digest.digest());
    writer->Write(last);
    return grpc::Status::OK;
  }
  grpc::Status GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest*, v1::GetLabelsResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status PutMotifs(grpc::ServerContext*, const v1::PutMotifsRequest* request, v1::PutMotifsResponse*) override {
    sweeps.at(request->sweep()).report = request->report();
    return grpc::Status::OK;
  }
  grpc::Status GetMotifs(grpc::ServerContext*, const v1::GetMotifsRequest* request, v1::GetMotifsResponse* response) override {
    response->set_report(sweeps.at(request->sweep()).report);
    return grpc::Status::OK;
  }

  struct Sweep {
    v1::SweepInfo info;
    Matrix x;
    std::vector<int> motif;
    std::string report;
  };
  std::map<uint32_t, Sweep> sweeps;

 private:
  // The rows from `skip` on that are target, then the baseline's.
  void Add(uint32_t id, const std::string& name, const Synthetic& s, int skip) {
    Sweep& sweep = sweeps[id];
    sweep.info = FakeSweep({{{""}, kRuns}, {SomePrompts(20), kRuns / 20}});
    sweep.info.set_sweep(id);
    sweep.info.mutable_manifest()->mutable_spec()->set_name(name);
    RowSet rows;
    for (uint32_t i = skip; i < s.x.rows; ++i) rows.push_back(i);
    sweep.x = Gather(s.x, rows);
    for (const uint32_t i : rows) sweep.motif.push_back(s.motif[i]);
  }
};

// One store for all tests; both sweeps are mined once.
class DiffProgram : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    store_ = new FakeStore();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(store_);
    server_ = builder.BuildAndStart().release();
    ASSERT_NE(port_, 0);
    for (const char* sweep : {"3", "4"}) {
      const Ended ended = RunProgram(port_, absl::StrCat("--pictures 0 --sweep ", sweep));
      ASSERT_EQ(ended.code, 0) << ended.err;
    }
  }
  static void TearDownTestSuite() {
    server_->Shutdown();
    delete server_;
    delete store_;
  }

  Ended Diff(const std::string& arguments) { return RunProgram(port_, arguments, "diff"); }
  nlohmann::json DiffOf(const std::string& arguments) {
    const Ended ended = Diff(arguments);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return nlohmann::json::parse(ended.out, nullptr, false);
  }
  uint64_t Drawn(uint32_t sweep, int motif) const {
    const std::vector<int>& all = store_->sweeps.at(sweep).motif;
    return std::count(all.begin(), all.begin() + kRuns, motif);
  }

  static FakeStore* store_;
  static grpc::Server* server_;
  static int port_;
};
FakeStore* DiffProgram::store_ = nullptr;
grpc::Server* DiffProgram::server_ = nullptr;
int DiffProgram::port_ = 0;

constexpr char kBoth[] = "--from-sweep before --to-sweep after";

TEST_F(DiffProgram, ComparesEachMotifOnceInPairs) {
  const nlohmann::json diff = DiffOf(kBoth);
  EXPECT_EQ(diff["from"]["sweep"], 3);
  EXPECT_EQ(diff["to"]["name"], "after");
  EXPECT_EQ(diff["blank_only"], true);
  EXPECT_EQ(diff["paired"], true);
  EXPECT_EQ(diff["pairs"], kRuns);
  EXPECT_EQ(diff["unpaired_runs"], 0);
  ASSERT_EQ(diff["motifs"].size(), 2u) << diff;
  std::map<std::string, nlohmann::json> by_verdict;
  for (const auto& motif : diff["motifs"]) by_verdict[motif["verdict"].get<std::string>()] = motif;
  ASSERT_EQ(by_verdict.count("more_in_from"), 1u) << diff;
  ASSERT_EQ(by_verdict.count("gone"), 1u) << diff;
  const nlohmann::json &both = by_verdict["more_in_from"], &gone = by_verdict["gone"];
  EXPECT_TRUE(both["id_from"].is_number());
  EXPECT_TRUE(both["id_to"].is_number());
  EXPECT_NEAR(both["from"]["members"].get<double>(), static_cast<double>(Drawn(3, 0)), 2);
  EXPECT_NEAR(both["to"]["members"].get<double>(), static_cast<double>(Drawn(4, 0)), 2);
  EXPECT_TRUE(gone["id_to"].is_null());
  EXPECT_NEAR(gone["from"]["members"].get<double>(), static_cast<double>(Drawn(3, 1)), 2);
  EXPECT_EQ(gone["to"]["members"], 0);
  EXPECT_EQ(gone["exemplars_to"].size(), 0u);
  ASSERT_EQ(both["exemplars_from"].size(), 8u);
  for (const auto& ordinal : both["exemplars_from"]) EXPECT_EQ(store_->sweeps.at(3).motif[ordinal.get<size_t>()], 0);
  for (const auto& ordinal : both["exemplars_to"]) EXPECT_EQ(store_->sweeps.at(4).motif[ordinal.get<size_t>()], 0);
  EXPECT_EQ(Diff(absl::StrCat(kBoth, " --threads 1")).out, Diff(absl::StrCat(kBoth, " --threads 3")).out);
}

TEST_F(DiffProgram, FiltersDecideWhatIsCompared) {
  EXPECT_EQ(DiffOf(absl::StrCat(kBoth, " --all"))["pairs"], 2 * kRuns);
  const nlohmann::json prompts = DiffOf(absl::StrCat(kBoth, " --only 'prompt=prompt 1|prompt 2'"));
  EXPECT_EQ(prompts["blank_only"], false);
  EXPECT_EQ(prompts["pairs"], 2 * kRuns / 20);
  // Other seeds: groups.
  const nlohmann::json seeds = DiffOf(absl::StrCat(kBoth, " --from seed=0..199 --to seed=200..399"));
  EXPECT_EQ(seeds["paired"], false);
  EXPECT_TRUE(seeds["motifs"][0]["pairs"].is_null());
  // Parts of one sweep: its own motifs, halves alike.
  const nlohmann::json halves = DiffOf("--from-sweep 3 --to-sweep 3 --from seed=0..199 --to seed=200..399");
  EXPECT_EQ(halves["motifs"].size(), 2u);
  for (const auto& motif : halves["motifs"]) {
    EXPECT_EQ(motif["id_from"], motif["id_to"]);
    EXPECT_EQ(motif["verdict"], "no_difference_shown");
  }
  // Other prompts on the same seeds are not the same question.
  EXPECT_EQ(DiffOf("--from-sweep 3 --to-sweep 3 --from 'prompt=prompt 1' --to 'prompt=prompt 2'")["pairs"], 0);
}

TEST_F(DiffProgram, BadInputEndsWithTwoAndOneLine) {
  const FakeStore::Sweep kept = store_->sweeps.at(4);
  store_->sweeps.at(4).report.clear();
  const Ended unmined = Diff(kBoth);
  EXPECT_THAT(unmined.err, HasSubstr("sweep \"after\" was not mined"));
  EXPECT_EQ(unmined.code, 2);
  store_->sweeps.at(4) = kept;
  for (const std::string arguments :
       {"--from-sweep 3 --to-sweep before", "--from-sweep 3 --to-sweep 4 --embedder clip",
        "--from-sweep 3 --to-sweep 4 --only colour=red", "--from-sweep 3 --to-sweep 4 --from seed=900",
        "--from-sweep 3 --to-sweep 3 --from seed=0..9 --to seed=5..20", "--from-sweep 3 --to-sweep 4 --to nonsense",
        "--from-sweep 3", "--from-sweep 3 --to-sweep 4 --no-such-flag"}) {
    const Ended ended = Diff(arguments);
    EXPECT_EQ(ended.code, 2) << arguments << ended.err;
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    EXPECT_EQ(ended.out, "");
  }
  EXPECT_EQ(Diff("--from-sweep 3 --to-sweep nowhere").code, 3);
  store_->sweeps.at(4).info.mutable_manifest()->mutable_embedders(0)->set_digest(std::string(32, 'f'));
  const Ended other = Diff(kBoth);
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("different weights"));
  store_->sweeps.at(4) = kept;
}

}  // namespace
}  // namespace promptsweep::motifs
