// Proves that vocabulary files are read as written, that every bad line is refused with its place, and that the shipped ones are
// sound.
#include "jobs/vocabularies/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace promptsweep::motifs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(VocabularyFile, LabelsAndParentsInAnyOrder) {
  const auto file = ParseVocabulary("# made up\n\nsari\tgarment\r\n garment \nöl\ngown\tgarment", "v.txt");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->labels, ElementsAre("sari", "garment", "öl", "gown"));
  EXPECT_THAT(file->parents, ElementsAre(1, -1, -1, 1));
  EXPECT_TRUE(file->has_parents());
  EXPECT_FALSE(ParseVocabulary("a\nb\n", "v.txt")->has_parents());
}

TEST(VocabularyFile, BadLinesAreRefusedWithTheirPlace) {
  const auto why = [](const std::string& text) {
    const auto file = ParseVocabulary(text, "v.txt");
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(file.status().message());
  };
  EXPECT_THAT(why("a\nb\na\n"), HasSubstr("v.txt:3: \"a\" is listed twice, first in line 1"));
  EXPECT_THAT(why("a\nb\tc\n"), HasSubstr("v.txt:2: the parent \"c\" is not a label"));
  EXPECT_THAT(why("x\na\tb\nb\tc\nc\ta\n"), HasSubstr("is its own ancestor"));
  EXPECT_THAT(why("a\ta\n"), HasSubstr("v.txt:1: "));
  EXPECT_THAT(why("a\tb\tc\n"), HasSubstr("v.txt:1: more than one tab"));
  EXPECT_THAT(why("a\n\tb\n"), HasSubstr("v.txt:2: an empty label"));
  EXPECT_THAT(why("a\t\n"), HasSubstr("v.txt:1: an empty label"));
  EXPECT_THAT(why("a\nb\x01z\n"), HasSubstr("v.txt:2: a control character"));
  for (const char* control : {"\x7f", "\xC2\x85", "\xC2\x9B", "\xE2\x80\xA8", "\xE2\x80\xAE", "\xE2\x81\xA6"}) {
    EXPECT_THAT(why(std::string("a\nb") + control + "z\n"), HasSubstr("v.txt:2: a control character"));
  }
  EXPECT_TRUE(ParseVocabulary("caf\xC3\xA9\n\xE2\x80\x8D\n\xC2\xA0x\n\xE2\x80\xAF\n", "v.txt").ok());
  EXPECT_THAT(why("\xff\n"), HasSubstr("v.txt:1: not UTF-8"));
  EXPECT_THAT(why("\xed\xa0\x80\n"), HasSubstr("v.txt:1: not UTF-8"));
  EXPECT_THAT(why(std::string(kLongestLabel + 1, 'a')), HasSubstr("v.txt:1: a label is too long"));
  EXPECT_THAT(why("# nothing\n"), HasSubstr("v.txt: no labels"));
  EXPECT_EQ(ReadVocabulary("/no/such/file").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadVocabulary("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadVocabulary("/tmp").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(VocabularyFile, TheShippedOnesAreSound) {
  for (const char* name : {"nouns", "emoji"}) {
    const auto file = ReadVocabulary(std::string(PROMPTSWEEP_SOURCE_DIR "/jobs/vocabularies/") + name + ".txt");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_GT(file->labels.size(), 1000u);
    const size_t roots = std::count(file->parents.begin(), file->parents.end(), -1);
    EXPECT_LT(roots, file->labels.size() / 10) << "of " << file->labels.size();
  }
}

}  // namespace
}  // namespace promptsweep::motifs
