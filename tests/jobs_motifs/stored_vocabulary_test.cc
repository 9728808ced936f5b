// Proves that a vocabulary comes out of a store as it went in, however many slices it takes, and that one that is half written,
// of another size, of another embedder or misnamed is not used and says why.
#include "jobs/vocabularies/stored_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "store/host.h"
#include "tests/store/fixture.h"

namespace promptsweep::motifs {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint32_t kDim = 256;

// "label 7" below "label 3" and so on, some at the top.
VocabularyFile SomeLabels(size_t count, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  VocabularyFile file;
  for (size_t l = 0; l < count; ++l) {
    file.labels.push_back(absl::StrCat("label ", l, std::string(random() % 40, 'x')));
    file.parents.push_back(l == 0 || random() % 5 == 0 ? -1 : static_cast<int>(random() % l));
  }
  return file;
}

std::string VectorOf(const std::string& label) {
  std::mt19937_64 random(Xxh3(label));
  std::vector<float> values(kDim);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000 - 1;
  return PackHalves(values.data(), values.size());
}

class StoredVocabularyTest : public testing::Test {
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
    eye_.set_id("eye");
    eye_.set_digest(Sha256Of("eye"));
  }
  void TearDown() override { host_->Shutdown(); }

  void Put(const v1::PutLabelsRequest& request) {
    grpc::ClientContext context;
    v1::PutLabelsResponse response;
    const grpc::Status status = stub_->PutLabels(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void PutSlice(const VocabularyFile& file, const std::string& name, size_t s) {
    const auto [begin, end] = CutIntoSlices(file, kDim)[s];
    v1::PutLabelsRequest request;
    request.set_embedder_digest(eye_.digest());
    request.set_vocabulary(SliceName(name, s));
    request.set_dim(kDim);
    for (size_t l = begin; l < end; ++l) {
      request.add_labels(LineOf(file, l));
      request.mutable_fp16()->append(VectorOf(file.labels[l]));
    }
    EXPECT_LT(request.ByteSizeLong(), kSliceBytes + 200);
    Put(request);
  }
  void Write(const VocabularyFile& file, const std::string& name) {
    for (size_t s = 0; s < CutIntoSlices(file, kDim).size(); ++s) PutSlice(file, name, s);
    Put(HeadRequest(eye_.digest(), name, HeadOf(file, kDim)));
    ASSERT_TRUE(ListVocabulary(*stub_, {name, "eye", eye_.digest(), {}}).ok());
  }
  absl::StatusOr<VocabularyVectors> Read(const std::string& name) {
    const auto head = RequireHead(*stub_, eye_, name);
    if (!head.ok()) return head.status();
    return ReadStored(*stub_, eye_.digest(), name, *head);
  }
  std::string WhyNot(const std::string& name, const v1::ModelRef& embedder) {
    const auto head = RequireHead(*stub_, embedder, name);
    EXPECT_EQ(head.status().code(), absl::StatusCode::kInvalidArgument) << head.status();
    return std::string(head.status().message());
  }

  store::TempFolder folder_;
  std::unique_ptr<store::StoreHost> host_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  v1::ModelRef eye_;
};

TEST_F(StoredVocabularyTest, ComesOutAsItWentInWhateverItsSize) {
  for (const size_t count : {1, 3, 1900, 6000}) {
    const VocabularyFile file = SomeLabels(count, count);
    const std::string name = absl::StrCat("words-", count);
    Write(file, name);
    const auto read = Read(name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->file.labels, file.labels);
    EXPECT_EQ(read->file.parents, file.parents);
    EXPECT_EQ(read->dim, kDim);
    ASSERT_EQ(read->fp16.size(), count * kDim * 2);
    for (const size_t l : {size_t{0}, count / 2, count - 1}) {
      EXPECT_EQ(read->fp16.substr(l * kDim * 2, kDim * 2), VectorOf(file.labels[l])) << l;
    }
    EXPECT_EQ(RequireHead(*stub_, eye_, name)->bytes, HeadOf(file, kDim).bytes);
  }
  EXPECT_GT(CutIntoSlices(SomeLabels(6000), kDim).size(), 2u);
}

TEST_F(StoredVocabularyTest, SlicesHoldEveryLabelOnceAndFitOneMessage) {
  for (const uint32_t dim : {1u, 512u, 8192u}) {
    const VocabularyFile file = SomeLabels(2000);
    size_t next = 0;
    for (const auto& [begin, end] : CutIntoSlices(file, dim)) {
      EXPECT_EQ(begin, next);
      EXPECT_LT(begin, end);
      size_t bytes = 0;
      for (size_t l = begin; l < end; ++l) bytes += LineOf(file, l).size() + 4 + 2 * dim;
      EXPECT_LE(bytes, kSliceBytes);
      next = end;
    }
    EXPECT_EQ(next, file.labels.size());
  }
}

TEST_F(StoredVocabularyTest, WithoutAHeadSlicesAreNothing) {
  const VocabularyFile file = SomeLabels(3000);
  PutSlice(file, "half", 0);
  PutSlice(file, "half", 1);
  EXPECT_FALSE(FindHead(*stub_, eye_.digest(), "half")->has_value());
  EXPECT_THAT(WhyNot("half", eye_), HasSubstr("no vocabulary \"half\" for eye"));
  EXPECT_THAT(*ListVocabularies(*stub_), SizeIs(0));
}

TEST_F(StoredVocabularyTest, WhatIsBeingReplacedIsNotUsed) {
  const VocabularyFile old = SomeLabels(3000, 1), other = SomeLabels(3000, 2);
  Write(old, "w");
  VocabularyHead replacing = HeadOf(other, kDim);
  replacing.slices = 0;
  Put(HeadRequest(eye_.digest(), "w", replacing));
  EXPECT_FALSE(FindHead(*stub_, eye_.digest(), "w")->has_value());
  EXPECT_THAT(WhyNot("w", eye_), HasSubstr("half written"));
  ASSERT_THAT(*ListVocabularies(*stub_), SizeIs(1));
  EXPECT_FALSE((*ListVocabularies(*stub_))[0].head.has_value());
  // Were the head whole, the digest would tell.
  Put(HeadRequest(eye_.digest(), "w", HeadOf(old, kDim)));
  EXPECT_TRUE(Read("w").ok());
  PutSlice(other, "w", 1);
  EXPECT_EQ(Read("w").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Read("w").status().message()), HasSubstr("half written"));
}

TEST_F(StoredVocabularyTest, WhatIsOfAnotherSizeOrNoVocabularyIsDataLoss) {
  const VocabularyFile file = SomeLabels(50);
  Write(file, "w");
  VocabularyHead wider = HeadOf(file, kDim);
  wider.dim = kDim + 1;
  Put(HeadRequest(eye_.digest(), "w", wider));
  EXPECT_EQ(Read("w").status().code(), absl::StatusCode::kDataLoss);
  VocabularyHead more = HeadOf(file, kDim);
  more.labels = 51;
  Put(HeadRequest(eye_.digest(), "w", more));
  EXPECT_EQ(Read("w").status().code(), absl::StatusCode::kDataLoss);
  v1::PutLabelsRequest plain;
  plain.set_embedder_digest(eye_.digest());
  plain.set_vocabulary("w");
  plain.set_dim(kDim);
  plain.add_labels("sari");
  plain.set_fp16(VectorOf("sari"));
  Put(plain);
  EXPECT_EQ(FindHead(*stub_, eye_.digest(), "w").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StoredVocabularyTest, AWrongNameGetsTheOneThatWasMeant) {
  EXPECT_THAT(WhyNot("nouns", eye_), HasSubstr("promptsweep words NAME|FILE --embedder eye stores one"));
  Write(SomeLabels(30), "nouns");
  Write(SomeLabels(30, 2), "garments");
  EXPECT_THAT(WhyNot("nuons", eye_), HasSubstr("did you mean \"nouns\"?"));
  EXPECT_THAT(WhyNot("buildings", eye_), HasSubstr("which has garments, nouns"));
  EXPECT_THAT(WhyNot("No/uns", eye_), HasSubstr("is no name of a vocabulary"));
  v1::ModelRef trained_anew = eye_, other = eye_;
  trained_anew.set_digest(Sha256Of("other weights"));
  EXPECT_THAT(WhyNot("nouns", trained_anew), HasSubstr("stored for another eye, of digest "));
  other.set_digest(Sha256Of("other"));
  other.set_id("ear");
  EXPECT_THAT(WhyNot("nouns", other), HasSubstr("no vocabulary \"nouns\" for ear"));
  EXPECT_TRUE(Read("nouns").ok());
}

TEST_F(StoredVocabularyTest, TheListHasEachOnceInOrder) {
  Write(SomeLabels(30), "b");
  Write(SomeLabels(20), "a");
  Write(SomeLabels(25), "b");
  const auto listed = ListVocabularies(*stub_);
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_THAT(*listed, SizeIs(2));
  EXPECT_EQ((*listed)[0].name, "a");
  EXPECT_EQ((*listed)[0].embedder, "eye");
  EXPECT_EQ((*listed)[1].head->labels, 25u);
}

TEST(VocabularyNames, AreShortAndPlain) {
  const std::string longest(kLongestVocabularyName, 'n');
  for (const std::string& name : std::vector<std::string>{"nouns", "a", "my-words.2", "0_x", longest}) {
    EXPECT_TRUE(CheckVocabularyName(name).ok()) << name;
  }
  for (const std::string& name : std::vector<std::string>{"", "Nouns", "a/0", "a b", "-a", "\xff", "a\n", longest + "n"}) {
    EXPECT_FALSE(CheckVocabularyName(name).ok()) << name;
  }
}

TEST(VocabularyDigest, CountsLabelsParentsAndOrder) {
  const auto digest = [](const std::string& text) { return DigestOf(*ParseVocabulary(text, "v")); };
  EXPECT_EQ(digest("# c\n a \nb\ta\r\n"), digest("a\n\nb\ta"));
  EXPECT_NE(digest("a\nb\ta"), digest("a\nb"));
  EXPECT_NE(digest("a\nb"), digest("b\na"));
}

}  // namespace
}  // namespace promptsweep::motifs
