// Proves which cells a filter selects, and how filters are written.
#include "jobs/sweep/filter.h"

#include "gmock/gmock.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kAxes = {"model", "prompt", "seed", "temperature", "style"};

v1::Cell CellOf(const v1::Value& prompt, int64_t seed, const std::string& model = "m") {
  v1::Cell cell;
  cell.set_model(model);
  *cell.mutable_prompt() = prompt.prompt_value();
  cell.set_seed(seed);
  return cell;
}

bool Matches(const std::string& filter, const v1::Cell& cell) {
  auto parsed = ParseFilters(filter, kAxes);
  EXPECT_TRUE(parsed.ok()) << filter << parsed.status();
  return parsed.ok() && sweep::Matches(cell, *parsed);
}

const v1::Value kEmpty = BlankOf(v1::BLANK_KIND_EMPTY), kPadding = BlankOf(v1::BLANK_KIND_PADDING);

TEST(Filter, AnEscapedValueReadsBackAsItWas) {
  for (const std::string text : {"plain", "a, b", "a|b", "a,seed=1", "\\", "\\,", "\\|x\\\\,", ",", "|", "a\\b"}) {
    auto filter = ParseFilters("prompt=" + EscapeFilterValue(text) + ",seed=1", {"prompt", "seed"});
    ASSERT_TRUE(filter.ok()) << text << ": " << filter.status();
    v1::Cell cell;
    cell.set_seed(1);
    cell.mutable_prompt()->set_text(text);
    EXPECT_TRUE(Matches(cell, *filter)) << text;
    cell.mutable_prompt()->set_text(text + "x");
    EXPECT_FALSE(Matches(cell, *filter)) << text;
    EXPECT_EQ(filter->axes.at("prompt").shown, std::vector<std::string>{text});
  }
}

TEST(Filter, BlankIsAnyKindUnlessNamed) {
  EXPECT_TRUE(Matches("prompt=", CellOf(kEmpty, 1)));
  EXPECT_TRUE(Matches("prompt=", CellOf(kPadding, 1)));
  EXPECT_FALSE(Matches("prompt=", CellOf(PromptOf("x"), 1)));
  EXPECT_TRUE(Matches("prompt=<blank:padding>", CellOf(kPadding, 1)));
  EXPECT_FALSE(Matches("prompt=<blank:padding>", CellOf(kEmpty, 1)));
  EXPECT_FALSE(Matches("prompt=<blank:padding>", CellOf(PromptOf("<blank:padding>"), 1)));
  EXPECT_TRUE(Matches("prompt=\\<blank:padding>", CellOf(PromptOf("<blank:padding>"), 1)));
  EXPECT_TRUE(Matches("prompt=|x", CellOf(PromptOf("x"), 1)));
  EXPECT_TRUE(Matches("prompt=|x", CellOf(kEmpty, 1)));
}

TEST(Filter, AxesAreAndedAlternativesOred) {
  EXPECT_TRUE(Matches("prompt=,seed=0..999", CellOf(kEmpty, 999)));
  EXPECT_FALSE(Matches("prompt=,seed=0..999", CellOf(kEmpty, 1000)));
  EXPECT_TRUE(Matches("seed=5|7..9,model=m", CellOf(kEmpty, 8)));
  EXPECT_FALSE(Matches("seed=5|7..9,model=m", CellOf(kEmpty, 6)));
  EXPECT_FALSE(Matches("seed=5,model=n", CellOf(kEmpty, 5)));
  EXPECT_TRUE(Matches("seed=1,seed=2", CellOf(kEmpty, 2)));
  EXPECT_TRUE(Matches("", CellOf(kEmpty, 2)));
  EXPECT_TRUE(Matches("model=5", CellOf(kEmpty, 2, "5")));
}

TEST(Filter, ValuesMayHoldCommasAndBars) {
  EXPECT_TRUE(Matches("prompt=a dog, a cat,seed=1", CellOf(PromptOf("a dog, a cat"), 1)));
  EXPECT_TRUE(Matches("prompt=x\\,seed=1", CellOf(PromptOf("x,seed=1"), 7)));
  EXPECT_TRUE(Matches("prompt=a\\|b", CellOf(PromptOf("a|b"), 7)));
  EXPECT_TRUE(Matches("prompt=1+1=2", CellOf(PromptOf("1+1=2"), 7)));
}

TEST(Filter, SettingsCompareAsNumbers) {
  v1::Cell cell = CellOf(kEmpty, 1);
  EXPECT_FALSE(Matches("temperature=1", cell));
  v1::Setting* setting = cell.add_settings();
  setting->set_name("temperature");
  *setting->mutable_value() = Double(1);
  EXPECT_TRUE(Matches("temperature=1", cell));
  EXPECT_TRUE(Matches("temperature=1.0", cell));
  EXPECT_TRUE(Matches("temperature=0..2", cell));
  EXPECT_FALSE(Matches("temperature=1.5", cell));
  setting->set_name("style");
  *setting->mutable_value() = Text("5");
  EXPECT_TRUE(Matches("style=5", cell));
  EXPECT_FALSE(Matches("style=0..9", cell));
}

TEST(Filter, MistakesAreNamed) {
  auto problem = [](const std::string& text) {
    auto parsed = ParseFilters(text, kAxes);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(problem("sede=1"), HasSubstr("\"seed\""));
  EXPECT_THAT(problem("seed=1,promt="), HasSubstr("\"prompt\""));
  EXPECT_THAT(problem("blank"), HasSubstr("axis=value"));
  EXPECT_THAT(problem("seed="), HasSubstr("no value"));
  EXPECT_THAT(problem("seed=x"), HasSubstr("not a number"));
  EXPECT_THAT(problem("seed=9..1"), HasSubstr("empty"));
  EXPECT_THAT(problem("prompt=<blank:emty>"), HasSubstr("\"empty\""));
}

TEST(Filter, NamesComeFromTheManifestAndTextIsReadable) {
  v1::SweepManifest manifest;
  *manifest.mutable_spec()->mutable_cells() = Range("top_k", 0, 1, 2);
  manifest.mutable_spec()->add_defaults()->set_name("temperature");
  EXPECT_THAT(AxisNames(manifest), ElementsAre("model", "prompt", "seed", "temperature", "top_k"));
  EXPECT_EQ(FilterText(*ParseFilters("prompt=,seed=0..9|12", kAxes)), "prompt blank, seed 0..9 or 12");
  EXPECT_EQ(FilterText({}), "all cells");
}

}  // namespace
}  // namespace promptsweep::sweep
