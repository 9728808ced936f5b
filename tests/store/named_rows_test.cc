// Proves that motif reports are kept by question and vocabularies by name beside the last report and the embedder's own, and that
// a deleted sweep takes its reports with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/checks.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

class NamedRowsTest : public testing::Test {
 protected:
  void SetUp() override {
    store_ = OpenStore(folder_.path("store"));
    sweep_ = *Create(*store_, manifest_);
  }
  absl::Status PutReport(const std::string& report, const std::string& question) {
    v1::PutMotifsRequest request;
    request.set_sweep(sweep_);
    request.set_report(report);
    request.set_question(question);
    return Await(*store_, &Store::PutMotifs, request).status();
  }
  std::string Report(const std::string& question) {
    v1::GetMotifsRequest request;
    request.set_sweep(sweep_);
    request.set_question(question);
    const auto response = store_->GetMotifs(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response->report();
  }
  v1::PutLabelsRequest Words(const std::string& vocabulary, const std::string& word) {
    v1::PutLabelsRequest request;
    request.set_embedder_digest(Sha256Of("eye"));
    request.set_vocabulary(vocabulary);
    request.add_labels(word);
    request.set_dim(4);
    request.set_fp16(MakeVector(1, 4));
    return request;
  }
  std::string Word(const std::string& vocabulary) {
    v1::GetLabelsRequest request;
    request.set_embedder_digest(Sha256Of("eye"));
    request.set_vocabulary(vocabulary);
    const auto response = store_->GetLabels(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response->labels_size() == 1 ? response->labels(0) : "";
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("named", 4);
  std::unique_ptr<Store> store_;
  uint32_t sweep_ = 0;
};

TEST_F(NamedRowsTest, TheLastReportOfEachQuestionIsKept) {
  const std::string one = Sha256Of("one"), other = Sha256Of("other");
  ASSERT_TRUE(PutReport("a", one).ok());
  ASSERT_TRUE(PutReport("b", other).ok());
  ASSERT_TRUE(PutReport("c", one).ok());
  ASSERT_TRUE(PutReport("d", "").ok());
  EXPECT_EQ(Report(one), "c");
  EXPECT_EQ(Report(other), "b");
  EXPECT_EQ(Report(""), "d");
  EXPECT_EQ(Report(Sha256Of("never asked")), "");
  EXPECT_EQ(PutReport("e", "short").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(NamedRowsTest, ADeletedSweepTakesItsReportsWithIt) {
  ASSERT_TRUE(PutReport("a", Sha256Of("one")).ok());
  v1::SetSweepStateRequest cancel;
  cancel.set_sweep(sweep_);
  cancel.set_state(v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, cancel).ok());
  v1::DeleteSweepRequest request;
  request.set_sweep(sweep_);
  ASSERT_TRUE(Await(*store_, &Store::DeleteSweep, request).ok());
  sweep_ = *Create(*store_, manifest_);
  EXPECT_EQ(Report(Sha256Of("one")), "");
  EXPECT_EQ(Problems(VerifyAll(*store_, true)), "");
}

TEST_F(NamedRowsTest, VocabulariesDoNotTouchEachOther) {
  ASSERT_TRUE(Await(*store_, &Store::PutLabels, Words("", "own")).ok());
  ASSERT_TRUE(Await(*store_, &Store::PutLabels, Words("nouns", "sari")).ok());
  EXPECT_EQ(Word(""), "own");
  EXPECT_EQ(Word("nouns"), "sari");
  EXPECT_EQ(Word("emoji"), "");
  const auto refused = Await(*store_, &Store::PutLabels, Words(std::string(kMaxVocabularyName + 1, 'n'), "x"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace promptsweep::store
