// Proves how texts at the edges (blank, long, other scripts, special tokens) become token rows, and that broken vocabularies are
// refused. Agreement with the reference tokenizers on thousands of texts is tests/parity's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "worker/text/bpe.h"
#include "worker/text/clip_tokenizer.h"
#include "worker/text/dalle_normalizer.h"
#include "worker/text/dalle_tokenizer.h"

namespace promptsweep::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
constexpr DalleTextForm kMinDalle = DalleTextForm::kMinDalle, kFlax = DalleTextForm::kFlax;

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

TEST(DalleTokenizer, BlanksAreStartAndEndInMinDalle) {
  const auto tokenizer = DalleTokenizer::Load(kFixtures + "tiny-dalle", 8, false).value();
  for (const char* blank : {"", " ", "     ", "\u200d\ufe0f", "東京 タワー"}) {
    EXPECT_THAT(tokenizer.Tokenize(kMinDalle, blank), ElementsAre(0, 2)) << blank;
    const DalleText rows = tokenizer.Rows(kMinDalle, blank);
    EXPECT_THAT(rows.conditional.tokens, ElementsAre(0, 2, 1, 1, 1, 1, 1, 1));
    EXPECT_THAT(rows.conditional.read, ElementsAre(true, true, false, false, false, false, false, false));
    EXPECT_EQ(rows.conditional, rows.unconditional);
  }
  EXPECT_THAT(tokenizer.PaddingRows().conditional.tokens, ElementsAre(1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(tokenizer.PaddingRows().conditional.read, testing::Each(false));
  EXPECT_THAT(tokenizer.PaddingRows().unconditional.tokens, ElementsAre(0, 2, 1, 1, 1, 1, 1, 1));
  // A tab is a character of a word here, and an unknown one; it is not white space.
  EXPECT_NE(tokenizer.Tokenize(kMinDalle, "\t"), tokenizer.Tokenize(kMinDalle, ""));
  EXPECT_EQ(tokenizer.Tokenize(kMinDalle, "a 🥻"), tokenizer.Tokenize(kMinDalle, "a sari"));
}

// The published Flax model cleans its prompts, and what cleaning leaves of nothing is a space.
TEST(DalleTokenizer, BlanksAreASpaceInFlaxWhereItNormalises) {
  const std::string folder = kFixtures + "tiny-dalle";
  const auto cleaning = DalleTokenizer::Load(folder, 6, true).value(), plain = DalleTokenizer::Load(folder, 6, false).value();
  const int64_t space = cleaning.bpe().Find("\u0120");
  for (const char* blank : {"", " ", "\t\n", "東京", ",,", "<b></b>", "http://a.b"}) {
    EXPECT_THAT(cleaning.Rows(kFlax, blank).conditional.tokens, ElementsAre(0, space, 2, 1, 1, 1)) << blank;
    EXPECT_THAT(cleaning.Rows(kFlax, blank).unconditional.tokens, ElementsAre(0, 2, 1, 1, 1, 1)) << blank;
  }
  EXPECT_EQ(plain.Rows(kFlax, "").conditional, plain.Rows(kFlax, "").unconditional);
  EXPECT_THAT(plain.Rows(kFlax, " ").conditional.tokens, ElementsAre(0, space, 2, 1, 1, 1));
  // Padding that is written is read.
  EXPECT_THAT(plain.Rows(kFlax, "<pad>").conditional.tokens, ElementsAre(0, 1, 2, 1, 1, 1));
  EXPECT_THAT(plain.Rows(kFlax, "<pad>").conditional.read, ElementsAre(true, true, true, false, false, false));
}

TEST(DalleNormalizer, Steps) {
  for (const auto& [text, expected] :
       std::vector<std::pair<std::string, std::string>>{{"", " "},
                                                        {"A Photo, of  the\tCAFÉ!", " a photo, of the cafe"},
                                                        {"1,000,000 cats; 3.5 dogs on 12/25", " 1000000 cats, 3.5 dogs on 12/25"},
                                                        {"don't 'quote' \"me\"", " don't \" quote \" me \""},
                                                        {"&lt;i&gt;x&amp;lt;y #snow_man", " x<y snow man"},
                                                        {"wowwww!!!! 100%", " wow, 100 %"},
                                                        {"🥻", " sari"},
                                                        {"<person> and <person>", " people"},
                                                        {"<person>", " a person"},
                                                        {"[1] ref [2]", " ref"},
                                                        {std::string(1 << 16, '_'), " "},
                                                        {"<person>" + std::string(1 << 16, ' '), " a person"},
                                                        {std::string(1 << 16, '"'), " \""}}) {
    EXPECT_EQ(NormaliseDalleText(text), expected) << text.substr(0, 40);
  }
}

TEST(DalleTokenizer, LongTextLosesItsEndInMinDalleOnly) {
  const auto tokenizer = DalleTokenizer::Load(kFixtures + "tiny-dalle", 8, false).value();
  std::string text;
  for (int i = 0; i < 300; ++i) text += "sari ";
  const DalleText rows = tokenizer.Rows(kMinDalle, text);
  EXPECT_EQ(rows.conditional.tokens.size(), 8u);
  EXPECT_NE(rows.conditional.tokens.back(), 2);
  EXPECT_EQ(rows.unconditional.tokens[1], rows.conditional.tokens.back());
  const DalleText flax = tokenizer.Rows(kFlax, text);
  EXPECT_EQ(flax.conditional.tokens.back(), 2);
  EXPECT_THAT(flax.conditional.read, testing::Each(true));
  EXPECT_EQ(flax.unconditional.tokens[1], 2);
}

TEST(DalleTokenizer, NeedsItsMarks) {
  const auto tokenizer = DalleTokenizer::Load(Folder(R"({"<s>": 0, "</s>": 1})", "#\n"), 8, false);
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
