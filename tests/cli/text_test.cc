// Proves that what reaches a terminal or a sentence is safe, short and readable: escapes, widths, percentages, plurals, prompts.
#include "cli/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace promptsweep::cli {
namespace {

TEST(Text, OneLineTakesTheTeethOutOfControlSequences) {
  EXPECT_EQ(OneLine("a\x1b[31mred\nnext\ttab\x7f"), "a\\x1b[31mred next tab\\x7f");
  EXPECT_EQ(OneLine("caf\xc3\xa9"), "café");
  EXPECT_EQ(OneLine("bad\xff\xc3"), "bad\\xff\\xc3");
  EXPECT_EQ(OneLine("\xe2\x80\xae"
                    "evil"),
            "\\xe2\\x80\\xae"
            "evil")
      << "a right-to-left override must be visible";
}

TEST(Text, Utf8IsCheckedStrictly) {
  EXPECT_TRUE(IsUtf8("साड़ी 🥻"));
  EXPECT_FALSE(IsUtf8("\xc0\x80")) << "overlong";
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80")) << "surrogate";
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80")) << "beyond U+10FFFF";
  EXPECT_FALSE(IsUtf8("\xe2\x82"));
}

TEST(Text, TruncateCountsColumnsNotBytes) {
  EXPECT_EQ(Truncate("abcdef", 6), "abcdef");
  EXPECT_EQ(Truncate("abcdefg", 6), "abcde…");
  EXPECT_EQ(DisplayWidth("日本"), 4u);
  EXPECT_EQ(Truncate("日本語", 5), "日本…");
}

TEST(Text, SharesKeepTwoDigits) {
  EXPECT_EQ(Percent(0.3104), "31 %");
  EXPECT_EQ(Percent(0.0231), "2.3 %");
  EXPECT_EQ(Percent(0.00231), "0.23 %");
  EXPECT_EQ(Percent(0.000041), "0.004 %");
  EXPECT_EQ(Percent(0), "0 %");
  EXPECT_EQ(Percent(1), "100 %");
  EXPECT_EQ(PercentRange(0.29, 0.33), "29–33 %");
  EXPECT_EQ(PercentRange(0.301, 0.304), "30.1–30.4 %");
  EXPECT_EQ(Times(14.2), "14x");
  EXPECT_EQ(Times(2.345), "2.3x");
}

TEST(Text, NumbersForPeople) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(4000), "4,000");
  EXPECT_EQ(Grouped(std::numeric_limits<uint64_t>::max()), "18,446,744,073,709,551,615");
  EXPECT_EQ(Bytes(999), "999 B");
  EXPECT_EQ(Bytes(1234567), "1.2 MB");
  EXPECT_EQ(DurationWords(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(DurationWords(absl::InfiniteDuration()), "?");
  EXPECT_EQ(ShortDouble(0.1), "0.1");
}

TEST(Text, Plurals) {
  EXPECT_EQ(Plural("sari"), "saris");
  EXPECT_EQ(Plural("a sari"), "saris");
  EXPECT_EQ(Plural("woman in a sari"), "women in a sari");
  EXPECT_EQ(Plural("dress"), "dresses");
  EXPECT_EQ(Plural("trousers"), "trousers");
  EXPECT_EQ(Plural("city"), "cities");
  EXPECT_EQ(Plural("monkey"), "monkeys");
  EXPECT_EQ(Plural("human"), "humans");
  EXPECT_EQ(Plural("firewoman"), "firewomen");
  EXPECT_EQ(Plural("fox"), "foxes");
  EXPECT_EQ(Plural("field of wheat"), "fields of wheat");
}

TEST(Text, States) {
  EXPECT_EQ(StateName(v1::SWEEP_STATE_DONE_WITH_FAILURES), "done_with_failures");
  EXPECT_TRUE(HasEnded(v1::SWEEP_STATE_CANCELLED));
  EXPECT_FALSE(HasEnded(v1::SWEEP_STATE_PAUSED));
}

}  // namespace
}  // namespace promptsweep::cli
