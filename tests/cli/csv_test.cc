// Proves that CSV goes out without formulas and comes back as it was, and that malformed files are refused with their line.
#include "cli/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace promptsweep::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Csv, FormulasAreNeutralised) {
  for (const char* text : {"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "'=1"})
    EXPECT_EQ(CsvText(text)[CsvText(text)[0] == '"'], '\'') << text;
  EXPECT_EQ(CsvText("a=1"), "a=1");
  EXPECT_EQ(CsvText("'tis"), "'tis");
  EXPECT_EQ(CsvText("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
}

TEST(Csv, AnyTextComesBack) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int n = random() % 8; n > 0; --n) text += "'=+-@\t\r\n,\"ab "[random() % 12];
    const auto file = ParseCsv("x,y\n" + CsvText(text) + ",1\n", "f");
    ASSERT_TRUE(file.ok()) << file.status() << " for " << CsvText(text);
    ASSERT_EQ(file->rows.size(), 1u);
    EXPECT_EQ(CsvUnguard(file->rows[0][0]), text);
  }
}

TEST(Csv, ReadsWhatOthersWrite) {
  const auto file = ParseCsv(
      "\xef\xbb\xbf"
      "prompt,seed\r\n\"two\nlines\",1\r\n,2",
      "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->header, ElementsAre("prompt", "seed"));
  EXPECT_THAT(file->rows, ElementsAre(ElementsAre("two\nlines", "1"), ElementsAre("", "2")));
  EXPECT_THAT(file->lines, ElementsAre(2, 4));
  EXPECT_EQ(file->Column("seed"), 1);
  EXPECT_EQ(file->Column("nothing"), -1);
}

TEST(Csv, SpacesInTheHeaderAndEmptyLinesAreNothing) {
  const auto file = ParseCsv("prompt , seed\r\n\r\na,1\r\n\r\n", "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->header, ElementsAre("prompt", "seed"));
  EXPECT_THAT(file->rows, ElementsAre(ElementsAre("a", "1")));
  EXPECT_THAT(file->lines, ElementsAre(3));
  // With one column an empty line is an empty field: a blank prompt, perhaps.
  EXPECT_THAT(ParseCsv("prompt\n\na\n", "f")->rows, ElementsAre(ElementsAre(""), ElementsAre("a")));
}

TEST(Csv, OtherSeparatorsAreNamed) {
  EXPECT_THAT(ParseCsv("file;prompt\na;b\n", "f").status().message(), HasSubstr("f:1: the fields are separated by semicolons"));
  EXPECT_THAT(ParseCsv("file\tprompt\na\tb\n", "f").status().message(), HasSubstr("tabs"));
}

TEST(Csv, RefusesWithTheLine) {
  EXPECT_THAT(ParseCsv("", "f").status().message(), HasSubstr("f:1: the file is empty"));
  EXPECT_THAT(ParseCsv("a,b\n1,2\n3\n", "f").status().message(), HasSubstr("f:3: 1 fields where the header has 2"));
  EXPECT_THAT(ParseCsv("a,a\n", "f").status().message(), HasSubstr("twice"));
  EXPECT_THAT(ParseCsv("a,\n", "f").status().message(), HasSubstr("no name"));
  EXPECT_THAT(ParseCsv("a\n\"x\n", "f").status().message(), HasSubstr("f:2: a quote is never closed"));
  EXPECT_THAT(ParseCsv("a\n\"x\"y\n", "f").status().message(), HasSubstr("after a closing quote"));
  EXPECT_THAT(ParseCsv("a\nx\"y\n", "f").status().message(), HasSubstr("a quote inside"));
  EXPECT_THAT(ParseCsv("a\n\xff\n", "f").status().message(), HasSubstr("f:2: column \"a\" is not UTF-8"));
}

}  // namespace
}  // namespace promptsweep::cli
