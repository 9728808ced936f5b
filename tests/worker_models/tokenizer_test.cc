// Proves how texts at the edges (blank, long, other scripts, special tokens) become token rows, and that broken vocabularies are
// refused. Agreement with the reference tokenizers on thousands of texts is tests/parity's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "worker/text/bpe.h"
#include "worker/text/clip_tokenizer.h"
#include "worker/text/dalle_tokenizer.h"

namespace promptsweep::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kFixtures = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/";

std::string Folder(const std::string& vocab, const std::string& merges) {
  static int count = 0;
  const std::string folder = testing::TempDir() + "tokenizer_test_" + std::to_string(count++);
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/vocab.json") << vocab;
  std::ofstream(folder + "/merges.txt") << merges;
  return folder;
}

TEST(Bpe, LowestRankThenLeftmost) {
  const std::string folder = Folder(R"({"a": 0, "b": 1, "aa": 2, "ab": 3, "aab": 4})", "#version\na a\na b\naa b\n");
  const Bpe bpe = Bpe::Load(folder + "/vocab.json", folder + "/merges.txt").value();
  EXPECT_THAT(bpe.Merge({"a", "a", "a", "b"}), ElementsAre("aa", "ab"));
  EXPECT_THAT(bpe.Merge({"a", "a", "b"}), ElementsAre("aab"));
  EXPECT_THAT(bpe.Merge({}), ElementsAre());
  EXPECT_THAT(bpe.Merge({"b"}), ElementsAre("b"));
}

TEST(Bpe, BrokenFilesAreNamed) {
  EXPECT_THAT(std::string(Bpe::Load("/nowhere/vocab.json", "/nowhere/merges.txt").status().message()),
              HasSubstr("/nowhere/vocab.json"));
  const std::string deep = "{\"a\": " + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  for (const std::string& vocab : std::vector<std::string>{"", "[]", "{\"a\": -1}", "{\"a\": 1.5}", "{\"a\": 99999999999}",
                                                           "{\"a\nb\": -1}", "{\"\xff\": 1}", deep}) {
    const std::string folder = Folder(vocab, "");
    EXPECT_THAT(std::string(Bpe::Load(folder + "/vocab.json", folder + "/merges.txt").status().message()),
                testing::AllOf(HasSubstr(folder + "/vocab.json"), testing::Not(HasSubstr("\n"))))
        << vocab.substr(0, 20);
  }
}

TEST(DalleTokenizer, BlanksAreStartAndEnd) {
  const auto tokenizer = DalleTokenizer::Load(kFixtures + "tiny-dalle", 8).value();
  for (const char* blank : {"", " ", "     ", "🥻", "東京 タワー"}) {
    EXPECT_THAT(tokenizer.Tokenize(blank), ElementsAre(0, 2)) << blank;
    const DalleText rows = tokenizer.Rows(blank);
    EXPECT_THAT(rows.conditional, ElementsAre(0, 2, 1, 1, 1, 1, 1, 1));
    EXPECT_EQ(rows.conditional, rows.unconditional);
  }
  EXPECT_THAT(tokenizer.PaddingRows().conditional, ElementsAre(1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(tokenizer.PaddingRows().unconditional, ElementsAre(0, 2, 1, 1, 1, 1, 1, 1));
  // A tab is a character of a word here, and an unknown one; it is not white space.
  EXPECT_NE(tokenizer.Tokenize("\t"), tokenizer.Tokenize(""));
}

TEST(DalleTokenizer, LongTextLosesItsEndAsInTheReference) {
  const auto tokenizer = DalleTokenizer::Load(kFixtures + "tiny-dalle", 8).value();
  std::string text;
  for (int i = 0; i < 300; ++i) text += "sari ";
  const DalleText rows = tokenizer.Rows(text);
  EXPECT_EQ(rows.conditional.size(), 8u);
  EXPECT_NE(rows.conditional.back(), 2);
  EXPECT_EQ(rows.unconditional[1], rows.conditional.back());
}

TEST(DalleTokenizer, NeedsItsMarks) {
  const auto tokenizer = DalleTokenizer::Load(Folder(R"({"<s>": 0, "</s>": 1})", "#\n"), 8);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("<unk>"));
}

TEST(ClipTokenizer, BlankLongAndSpecial) {
  const auto tokenizer = ClipTokenizer::Load(kFixtures + "tiny-clip-quick", 10).value();
  const int64_t end = tokenizer.end(), start = tokenizer.Tokenize("")[0];
  for (const char* blank : {"", " ", "\t\n", "\xC2\xA0"})
    EXPECT_THAT(tokenizer.Tokenize(blank), ElementsAre(start, end)) << blank;
  EXPECT_EQ(tokenizer.Row(""), (std::vector<int64_t>{start, end, end, end, end, end, end, end, end, end}));
  std::string text;
  for (int i = 0; i < 300; ++i) text += "sari ";
  const auto row = tokenizer.Row(text);
  EXPECT_EQ(row.size(), 10u);
  EXPECT_EQ(row.back(), end);
  EXPECT_NE(row[8], end);
  EXPECT_THAT(tokenizer.Tokenize("<|endoftext|><|startoftext|>"), ElementsAre(start, end, start, end));
}

TEST(ClipTokenizer, PadTokenComesFromItsFile) {
  EXPECT_EQ(ClipTokenizer::Load(kFixtures + "tiny-clip-quick", 10)->pad(),
            ClipTokenizer::Load(kFixtures + "tiny-clip-quick", 10)->end());
  const auto other = ClipTokenizer::Load(kFixtures + "tiny-clip-gelu", 10).value();
  EXPECT_EQ(other.pad(), other.bpe().Find("!"));
  EXPECT_EQ(other.Row("").back(), other.pad());
}

TEST(ClipTokenizer, LowerCasesAndComposes) {
  const auto tokenizer = ClipTokenizer::Load(kFixtures + "tiny-clip-quick", 10).value();
  EXPECT_EQ(tokenizer.Tokenize("CAFÉ"), tokenizer.Tokenize("cafe\xCC\x81"));
  EXPECT_EQ(tokenizer.Tokenize("a  b\n\tc"), tokenizer.Tokenize("a b c"));
  EXPECT_NE(tokenizer.Tokenize("ab"), tokenizer.Tokenize("a b"));
}

// Ten thousand letters without a space: merging must not be quadratic.
TEST(ClipTokenizer, OneVeryLongWord) {
  const auto tokenizer = ClipTokenizer::Load(kFixtures + "tiny-clip-quick", 10).value();
  EXPECT_EQ(tokenizer.Row(std::string(1 << 20, 'a')).size(), 10u);
}

}  // namespace
}  // namespace promptsweep::worker
