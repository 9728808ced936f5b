// Proves that a vocabulary's labels are embedded as an embedder's own, stored whole or not at all, and that a store that holds
// some of it already gets only the rest.
#include "worker/pipeline/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "store/host.h"
#include "tests/store/fixture.h"
#include "tests/worker/fakes.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

motifs::VocabularyFile Labels(size_t count, const std::string& word = "word") {
  motifs::VocabularyFile file;
  for (size_t l = 0; l < count; ++l) {
    file.labels.push_back(absl::StrCat(word, l));
    file.parents.push_back(l == 0 ? -1 : 0);
  }
  return file;
}

class WordsTest : public ::testing::Test {
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
    models_.on_texts = [this](size_t texts) {
      embedded_ += texts;
      if (embedded_ >= stop_after_ && !stop_.HasBeenNotified()) stop_.Notify();
    };
  }
  void TearDown() override { host_->Shutdown(); }

  absl::StatusOr<WordsOutcome> Store(const motifs::VocabularyFile& file, const absl::Notification* stop = nullptr) {
    return StoreWords(file, {.store = stub_.get(),
                             .models = &models_host_,
                             .engine = engine_.get(),
                             .embedder = embedder_,
                             .vocabulary = "words",
                             .progress = [this](uint64_t done, uint64_t total) { progress_.emplace_back(done, total); },
                             .stop = stop});
  }
  std::string Digest() const { return models_host_.Find("fake-embed")->digest; }
  absl::StatusOr<motifs::VocabularyVectors> Read() {
    const auto head = motifs::FindHead(*stub_, Digest(), "words");
    if (!head.ok() || !head->has_value()) return absl::NotFoundError("no head");
    return motifs::ReadStored(*stub_, Digest(), "words", **head);
  }

  store::TempFolder folder_;
  std::unique_ptr<store::StoreHost> host_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  FakeModels models_;
  FakeHost models_host_{&models_};
  std::unique_ptr<Engine> engine_;
  std::string embedder_ = "fake-embed";
  std::vector<std::pair<uint64_t, uint64_t>> progress_;
  size_t embedded_ = 0, stop_after_ = size_t{1} << 40;
  absl::Notification stop_;
};

TEST_F(WordsTest, VectorsAreThoseOfTheEmbeddersOwnLabels) {
  const motifs::VocabularyFile file = Labels(300);
  const auto stored = Store(file);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->embedded, 300u);
  EXPECT_EQ(progress_.back(), std::make_pair(uint64_t{300}, uint64_t{300}));
  const auto read = Read();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->file.labels, file.labels);
  EXPECT_EQ(read->file.parents, file.parents);

  models_.labels = file.labels;
  ModelSetup setup;
  setup.embedders = {*models_host_.Find("fake-embed")};
  setup.stored_labels.resize(1);
  ASSERT_TRUE(engine_->PrepareEmbedders(setup).ok());
  const std::vector<v1::PutLabelsRequest> own = engine_->NewLabels(setup);
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0].fp16(), read->fp16);
  EXPECT_THAT(*motifs::ListVocabularies(*stub_), ElementsAre(testing::Field(&motifs::ListedVocabulary::name, "words")));
}

TEST_F(WordsTest, WhatIsStoppedIsNotUsedAndGoesOnBehindWholeSlices) {
  // Long labels, so that there are several slices.
  const motifs::VocabularyFile file = Labels(20'000, std::string(150, 'w'));
  const size_t slices = motifs::CutIntoSlices(file, 8).size();
  ASSERT_GT(slices, 2u);
  stop_after_ = 10'000;
  EXPECT_EQ(Store(file, &stop_).status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(motifs::FindHead(*stub_, Digest(), "words")->has_value());
  embedded_ = 0;
  const auto again = Store(file);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_LT(again->embedded, 20'000u);
  EXPECT_GT(again->embedded, 0u);
  EXPECT_TRUE(Read().ok());
  EXPECT_EQ(Store(file)->embedded, 0u);
}

TEST_F(WordsTest, AnotherContentReplacesItAndAHalfReplacedOneIsNotUsed) {
  ASSERT_TRUE(Store(Labels(400)).ok());
  stop_.Notify();
  EXPECT_EQ(Store(Labels(400, "other"), &stop_).status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(motifs::FindHead(*stub_, Digest(), "words")->has_value());
  ASSERT_TRUE(Store(Labels(350, "other")).ok());
  EXPECT_EQ(Read()->file.labels.size(), 350u);
  EXPECT_EQ(Read()->file.labels[7], "other7");
}

TEST_F(WordsTest, WhatCannotBeEmbeddedLeavesNothing) {
  models_.texts_error = absl::UnimplementedError("this embedder has no text tower");
  EXPECT_EQ(Store(Labels(40)).status().code(), absl::StatusCode::kUnimplemented);
  models_.texts_error = absl::OkStatus();
  embedder_ = "fake";
  EXPECT_THAT(std::string(Store(Labels(40)).status().message()), HasSubstr("fake is no embedder"));
  embedder_ = "none";
  EXPECT_EQ(Store(Labels(40)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(motifs::FindHead(*stub_, Digest(), "words")->has_value());
  EXPECT_TRUE(motifs::ListVocabularies(*stub_)->empty());
}

}  // namespace
}  // namespace promptsweep::worker
