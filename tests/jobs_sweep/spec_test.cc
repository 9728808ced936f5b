// Proves the YAML grammar: what each form means, and that every mistake is answered with its place and the nearest right name.
#include "jobs/sweep/spec.h"

#include <sys/resource.h>

#include <ctime>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/prompt_text.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char kHead[] = "version: 1\nname: t\nembedders: [micro-clip]\n";

absl::StatusOr<LoadedSpec> Parse(const std::string& rest, const std::string& base = "/nonexistent") {
  return ParseSpec(kHead + rest, "s.yaml", base);
}

std::string Message(const std::string& rest, const std::string& base = "/nonexistent") {
  auto loaded = Parse(rest, base);
  if (loaded.ok()) return "ok";
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(loaded.status().message().find('\n'), absl::string_view::npos);
  return std::string(loaded.status().message());
}

// The values of one axis, for display.
std::vector<std::string> Values(const absl::StatusOr<LoadedSpec>& loaded, const std::string& name) {
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  std::vector<std::string> values;
  if (!loaded.ok()) return values;
  ForEachAxis(loaded->spec.cells(), [&](const v1::Axis& axis) {
    if (axis.name() != name) return;
    for (const v1::Value& value : axis.list().values()) values.push_back(ValueText(value));
    for (uint64_t k = 0; k < axis.range().count(); ++k) values.push_back(std::to_string(RangeValue(axis.range(), k)));
  });
  return values;
}

std::string CellsWith(const std::string& axes) { return "cells: {model: m, " + axes + "}\n"; }

TEST(Spec, TheIssuedForm) {
  TempFolder folder;
  folder.Write("prompts/everyday.txt", "a dog\na cat\n");
  auto loaded = ParseSpec(
      "version: 1\nname: blank-prompt\nembedders: [micro-clip]\ncells:\n  chain:\n"
      "    - product: {model: [micro-dalle], prompt: [{blank: empty}], seed: 0..1999}\n"
      "    - product: {model: [micro-dalle], prompt: {file: prompts/everyday.txt}, seed: 0..49}\n",
      "s.yaml", folder.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*CellTree::Compile(loaded->spec.cells()))->count(), 2100u);
  EXPECT_EQ(loaded->spec.name(), "blank-prompt");
  EXPECT_THAT(loaded->spec.embedders(), ElementsAre("micro-clip"));
  EXPECT_THAT(Values(loaded, "prompt"), ElementsAre("<blank:empty>", "a dog", "a cat"));
  EXPECT_THAT(loaded->files, ElementsAre(folder.path() + "/prompts/everyday.txt"));
}

TEST(Spec, SeedsAndSettings) {
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: 5")), "seed"), ElementsAre("5"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: 3..6")), "seed"), ElementsAre("3", "4", "5", "6"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: {range: [0, 10, 4]}")), "seed"), ElementsAre("0", "4", "8"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: {range: [2, 4]}")), "seed"), ElementsAre("2", "3"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: {range: [6, -1, -3]}")), "seed"), ElementsAre("6", "3", "0"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: [9, 1..3, {range: [20, 22]}]")), "seed"),
              ElementsAre("9", "1", "2", "3", "20", "21"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: x, seed: 1, temperature: [0.5, 2]")), "temperature"), ElementsAre("0.5", "2"));
  auto loaded = Parse("settings: {top_k: 50, temperature: 1}\n" + CellsWith("prompt: x, seed: 1"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->spec.defaults_size(), 2);
  EXPECT_EQ(loaded->spec.defaults(0).name(), "temperature");
  EXPECT_TRUE(loaded->spec.defaults(0).value().has_double_value());
}

TEST(Spec, BlankIsTypedAndNeverText) {
  EXPECT_THAT(Values(Parse(CellsWith("prompt: [{blank: empty}, {blank: whitespace}, {blank: padding}, {blank: null}], seed: 1")),
                     "prompt"),
              ElementsAre("<blank:empty>", "<blank:whitespace>", "<blank:padding>", "<blank:null>"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: {blank: [empty, null]}, seed: 1")), "prompt"),
              ElementsAre("<blank:empty>", "<blank:null>"));
  EXPECT_THAT(Values(Parse(CellsWith("prompt: ['null', '<blank:empty>', 42, yes], seed: 1")), "prompt"),
              ElementsAre("null", "\\<blank:empty>", "42", "yes"));
  for (const char* nothing : {"\"\"", "''", "~", "null", "", "[\"\"]", "[~]"}) {
    EXPECT_THAT(Message(CellsWith(std::string("seed: 1, prompt: ") + nothing)),
                AllOf(HasSubstr("s.yaml:4:"), HasSubstr("{blank: empty}")))
        << nothing;
  }
  EXPECT_THAT(Message(CellsWith("seed: 1, prompt: ' '")), HasSubstr("{blank: whitespace}"));
  EXPECT_THAT(Message(CellsWith("seed: 1, prompt: {blank: emty}")),
              AllOf(HasSubstr("s.yaml:4:44"), HasSubstr("did you mean \"empty\"")));
  EXPECT_THAT(Message(CellsWith("seed: 1")), AllOf(HasSubstr("no prompt"), HasSubstr("{blank: empty}")));
}

TEST(Spec, TemplatesAreEnumeratedInOrder) {
  TempFolder folder;
  folder.Write("wildcards/colours.txt", "# a comment\nteal\r\npink\r\n");
  folder.Write("adj.txt", "old\nnew");
  EXPECT_THAT(
      Values(Parse(CellsWith("seed: 1, prompt: {template: 'a {red|blue} {{adj}} __colours__', vars: {adj: [big, small]}}"),
                   folder.path()),
             "prompt"),
      ElementsAre("a red big teal", "a red big pink", "a red small teal", "a red small pink", "a blue big teal",
                  "a blue big pink", "a blue small teal", "a blue small pink"));
  EXPECT_THAT(Values(Parse("vars: {adj: {file: adj.txt}}\n" +
                               CellsWith("seed: 1, prompt: [{template: '{{adj}} and {{ adj }}{| too}'}, 'plain {a|b}']"),
                           folder.path()),
                     "prompt"),
              ElementsAre("old and old", "old and old too", "new and new", "new and new too", "plain {a|b}"));
}

TEST(Spec, OperatorsNestAndShorthandIsAProduct) {
  auto loaded = Parse(
      "cells:\n  exclude:\n    from:\n      model: [a, b]\n      zip: {top_k: [1, 2], temperature: [0.5, 1.5]}\n      prompt: "
      "[x, y]\n      seed: 0..9\n"
      "    rules:\n      - {model: a, prompt: x}\n      - {top_k: 2, seed: 3..4}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  // 2 models x 2 zipped x 2 prompts x 10 seeds = 80; the first rule takes 20, the second 8, of which 2 were gone already.
  EXPECT_EQ((*CellTree::Compile(loaded->spec.cells()))->count(), 80u - 20 - 8 + 2);
  auto listed = Parse("cells:\n  product:\n    - {seed: 0..1}\n    - product: [{prompt: x}, {model: [a]}]\n");
  ASSERT_TRUE(listed.ok()) << listed.status();
  auto mapped = Parse("cells: {model: a, prompt: x, seed: 0..1}\n");
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(listed->spec.SerializeAsString(), mapped->spec.SerializeAsString());
}

TEST(Spec, OrderOfKeysDoesNotMatter) {
  auto a = Parse("cells: {seed: 0..3, prompt: [x, y], model: [a, b], temperature: [1, 2]}\n");
  auto b = Parse("cells: {temperature: [1, 2], model: [a, b], prompt: [x, y], seed: 0..3}\n");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->spec.SerializeAsString(), b->spec.SerializeAsString());
}

TEST(Spec, RangesInRulesStayRanges) {
  auto loaded = Parse(
      "cells:\n  exclude:\n    from: {model: m, prompt: x, seed: 0..999999999}\n    rules:\n"
      "      - {seed: 0..899999999}\n      - {seed: [900000005, 900000010..900000019, {range: [999999999, 999999990, -3]}]}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*CellTree::Compile(loaded->spec.cells()))->count(), 100'000'000u - 1 - 10 - 3);
  EXPECT_LT(loaded->spec.ByteSizeLong(), 300u);
  EXPECT_THAT(
      Message("cells:\n  exclude: {from: {model: m, prompt: x, seed: 0..9}, rules: [{seed: {range: [0, 2000000, 2]}}]}\n"),
      AllOf(HasSubstr("s.yaml:5:3"), HasSubstr("with a step")));
}

TEST(Spec, ARuleThatExcludesNothingIsNoted) {
  auto loaded = Parse(
      "cells:\n  exclude:\n    from: {model: m, prompt: [x, y], seed: 0..9}\n    rules:\n"
      "      - {prompt: x, seed: 3}\n      - {prompt: z}\n      - {seed: 10..20, prompt: y}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*CellTree::Compile(loaded->spec.cells()))->count(), 19u);
  EXPECT_THAT(loaded->notes, ElementsAre("s.yaml:9:9: this rule excludes no cell", "s.yaml:10:9: this rule excludes no cell"));
}

TEST(Spec, AValueLeftOutIsReportedWhereItsKeyStands) {
  EXPECT_THAT(Message("cells:\n  model: m\n  prompt:\n  seed: 1\n"), HasSubstr("s.yaml:6:3: "));
  EXPECT_THAT(Message("cells:\n  model: m\n  prompt: x\n  seed:\n\n\n"), HasSubstr("s.yaml:7:3: seed has no value"));
  EXPECT_THAT(Message("cells:\n  model: m\n  prompt:\n    - x\n    -\n\n  seed: 1\n"), HasSubstr("s.yaml:8:5: "));
  EXPECT_THAT(Message("cells:\n  model: m\n  seed: 1\n  prompt:\n    - # nothing\n    - x\n"), HasSubstr("s.yaml:"));
  EXPECT_THAT(Message("cells:\n"), HasSubstr("s.yaml:4:1: "));
  EXPECT_THAT(std::string(ParseSpec("version: 1\nname: t\nembedders:\ncells: {}\n", "s.yaml", "/").status().message()),
              HasSubstr("s.yaml:3:1: embedder has no value"));
}

TEST(Spec, TextThatOnlyLooksBlankIsRefused) {
  TempFolder folder;
  for (const char* invisible : {"\xC2\xA0", "\xE2\x80\x8B", "\xE3\x80\x80", "\xEF\xBB\xBF", "\xE2\x80\x83 \t"}) {
    EXPECT_THAT(Message(CellsWith(absl::StrCat("seed: 1, prompt: \"", invisible, "\""))),
                AllOf(HasSubstr("s.yaml:4:"), HasSubstr("invisible"), HasSubstr("{blank: whitespace}")));
    folder.Write("p.txt", absl::StrCat("a\n", invisible, "\n"));
    EXPECT_THAT(Message(CellsWith("seed: 1, prompt: {file: p.txt}"), folder.path()),
                AllOf(HasSubstr("p.txt:2:1"), HasSubstr("{blank: empty}")));
  }
  EXPECT_THAT(Values(Parse(CellsWith("seed: 1, prompt: \"\xC2\xA0.\"")), "prompt"), ElementsAre("\xC2\xA0."));
}

TEST(Spec, TextThatLooksLikeATemplateIsNotedOnce) {
  auto loaded = Parse(CellsWith("seed: 1, prompt: ['a {red|blue} dog', 'a __cat__', {template: '{a|b}'}]"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(Values(loaded, "prompt"), ElementsAre("a {red|blue} dog", "a __cat__", "a", "b"));
  EXPECT_THAT(loaded->notes, ElementsAre(AllOf(HasSubstr("s.yaml:4:"), HasSubstr("a {red|blue} dog"), HasSubstr("template:"))));
  for (const char* plain : {"'a {red} dog'", "'a|b'", "'snake_case__'", "'{'", "'{{A}}'"}) {
    auto other = Parse(CellsWith(std::string("seed: 1, prompt: ") + plain));
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_THAT(other->notes, ElementsAre()) << plain;
  }
}

TEST(Spec, MistakesAreAnsweredWithPlaceAndNearestName) {
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {rnage: [1, 3]}")),
              AllOf(HasSubstr("s.yaml:4:37: unknown key \"rnage\""), HasSubstr("did you mean \"range\"?")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {range: [1, 3], step: 2}")), HasSubstr("s.yaml:4:52: unknown key \"step\""));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {}")), HasSubstr("a range is"));
  EXPECT_THAT(Message("cels: {}\n"), AllOf(HasSubstr("s.yaml:4:1: unknown key \"cels\""), HasSubstr("\"cells\"")));
  EXPECT_THAT(Message("cells: {modle: m}\n"), AllOf(HasSubstr("s.yaml:4:9: unknown axis \"modle\""), HasSubstr("\"model\"")));
  EXPECT_THAT(Message("cells:\n  prodcut: {model: m}\n"), AllOf(HasSubstr("s.yaml:5:3"), HasSubstr("\"product\"")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, temprature: 1")),
              AllOf(HasSubstr("s.yaml:4:39"), HasSubstr("\"temperature\"")));
  EXPECT_THAT(Message("settings: {topk: 1}\n" + CellsWith("prompt: x, seed: 1")),
              AllOf(HasSubstr("s.yaml:4:12"), HasSubstr("\"top_k\"")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: []")), AllOf(HasSubstr("s.yaml:4:"), HasSubstr("axis \"seed\" is empty")));
  EXPECT_THAT(Message(CellsWith("prompt: [], seed: 1")), HasSubstr("axis \"prompt\" is empty"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: -1")), AllOf(HasSubstr("s.yaml:4:"), HasSubstr("random seed")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 9..3")), HasSubstr("is empty"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {range: [3, 3]}")), HasSubstr("is empty"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {range: [3, 9, 0]}")), HasSubstr("step 0"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: {range: [3, -9, -4]}")), HasSubstr("below 0"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 99999999999999999999")), HasSubstr("64 bits"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: one")), HasSubstr("not a whole number"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1.5")), HasSubstr("not a whole number"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: [1, 2, 1]")),
              AllOf(HasSubstr("s.yaml:4:"), HasSubstr("seed 1 appears twice (first at s.yaml:4:")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, temperature: [1, 1.0]")), HasSubstr("appears twice"));
  EXPECT_THAT(Message("cells: {model: [m, m], prompt: x, seed: 1}\n"), HasSubstr("model m appears twice"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, temperature: 1000")),
              AllOf(HasSubstr("s.yaml:4:"), HasSubstr("from 0.01 to 100")));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, top_k: 1.5")), HasSubstr("a whole number"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, top_k: '1'")), HasSubstr("a whole number"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, top_p: 0")), HasSubstr("above 0"));
  EXPECT_THAT(Message(CellsWith("prompt: x, seed: 1, temperature: .inf")), HasSubstr("takes"));
  EXPECT_THAT(Message("cells:\n  zip: {seed: 0..3, prompt: [x, y], model: [a, b]}\n"),
              AllOf(HasSubstr("s.yaml:5:3"), HasSubstr("differ in length")));
  EXPECT_THAT(Message("cells:\n  product: [{model: a}, {model: b}]\n"),
              AllOf(HasSubstr("s.yaml:5:3"), HasSubstr("\"model\" appears twice")));
  EXPECT_THAT(Message("cells:\n  chain:\n    - {model: a, prompt: x, seed: 1}\n    - {model: a, seed: 1}\n"),
              AllOf(HasSubstr("s.yaml:7:7"), HasSubstr("without a prompt")));
  EXPECT_THAT(Message("cells: {chain: {model: a}}\n"), HasSubstr("list of parts"));
  EXPECT_THAT(Message("cells: [1]\n"), HasSubstr("map of axes"));
  EXPECT_THAT(Message("cells:\n  exclude: {from: {model: a, prompt: x, seed: 1..3}, rules: [{sede: 1}]}\n"),
              AllOf(HasSubstr("s.yaml:5:"), HasSubstr("\"seed\"")));
  EXPECT_THAT(Message("cells:\n  exclude: {from: {model: a, prompt: x, seed: 1..3}, rules: [{seed: 1..3}]}\n"),
              HasSubstr("leaves no cell"));
  EXPECT_THAT(Message("cells:\n  exclude: {form: {model: a}}\n"), HasSubstr("\"from\""));
  EXPECT_THAT(Message("cells:\n  product: {seed: 0..9223372036854775807, top_k: 0..1000, prompt: x, model: m}\n"),
              AllOf(HasSubstr("s.yaml:5:3"), HasSubstr("2^64")));
}

TEST(Spec, TheFrameIsChecked) {
  auto message = [](const std::string& text) { return std::string(ParseSpec(text, "s.yaml", "/").status().message()); };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message("just text"), HasSubstr("is a map"));
  EXPECT_THAT(message("name: t\ncells: {}\n"), HasSubstr("version"));
  EXPECT_THAT(message("version: 2\nname: t\n"), HasSubstr("s.yaml:1:10: version is not 1"));
  EXPECT_THAT(message("version: 1\nname: Bad Name\n"), HasSubstr("s.yaml:2:7: name \"Bad Name\""));
  EXPECT_THAT(message("version: 1\nname: t\n"), HasSubstr("\"cells\" is missing"));
  EXPECT_THAT(message("version: 1\nname: t\nembedders: []\n"), HasSubstr("embedders is empty"));
  EXPECT_THAT(message("version: 1\nname: t\nembedders: [a, a]\n"), HasSubstr("embedder \"a\" appears twice"));
  EXPECT_THAT(message("version: 1\nversion: 1\n"), HasSubstr("s.yaml:2:1: key \"version\" appears twice"));
  EXPECT_THAT(message("a: &x 1\n"), AllOf(HasSubstr("s.yaml:1:"), HasSubstr("anchors")));
  EXPECT_THAT(message("a: &x 1\nb: *x\n"), HasSubstr("anchors"));
  EXPECT_THAT(message("a: *x\n"), AllOf(HasSubstr("s.yaml:1:"), HasSubstr("aliases (*) are not allowed")));
  EXPECT_THAT(message("<<: {a: 1}\n"), HasSubstr("merge keys"));
  EXPECT_THAT(message("a: !!int 1\n"), HasSubstr("tags"));
  EXPECT_THAT(message("a: !mine {}\n"), HasSubstr("tags"));
  EXPECT_THAT(message("a: 1\n---\nb: 1\n"), HasSubstr("second document"));
  EXPECT_THAT(message("[a]: 1\n"), HasSubstr("key"));
  EXPECT_THAT(message("a: [1, 2\n"), HasSubstr("not YAML"));
  EXPECT_THAT(message("a: \xff\n"), HasSubstr("s.yaml:1:4: not UTF-8"));
  EXPECT_THAT(message("a: 1\nb: x\xc3\n"), HasSubstr("s.yaml:2:5: not UTF-8"));
  EXPECT_THAT(message(std::string("a: x\0y\n", 7)), HasSubstr("NUL"));
  EXPECT_THAT(message("a: \"\\0\"\n"), HasSubstr("NUL"));
  EXPECT_THAT(message(std::string((1 << 20) + 1, '#')), HasSubstr("over 1 MB"));
  EXPECT_THAT(message(std::string(17, '[') + std::string(17, ']')), HasSubstr("nested"));
  EXPECT_THAT(message(std::string(400'000, '[')), HasSubstr("s.yaml:1:1: "));
  std::string many = "a: [";
  for (int i = 0; i < 100'001; ++i) many += "1,";
  EXPECT_THAT(message(many + "1]"), HasSubstr("more than 100000 values"));
}

TEST(Spec, PromptFilesAreChecked) {
  TempFolder folder;
  const std::string use = CellsWith("seed: 1, prompt: {file: p.txt}");
  EXPECT_THAT(Message(use, folder.path()), AllOf(HasSubstr("s.yaml:4:"), HasSubstr("does not exist")));
  folder.Write("p.txt", "# note\n#hashtag\na dog\n");
  EXPECT_THAT(Values(Parse(use, folder.path()), "prompt"), ElementsAre("#hashtag", "a dog"));
  folder.Write("p.txt", "\xEF\xBB\xBFone\r\n two ");
  EXPECT_THAT(Values(Parse(use, folder.path()), "prompt"), ElementsAre("one", " two "));
  folder.Write("p.txt", "one\n\ntwo\n");
  EXPECT_THAT(Message(use, folder.path()), AllOf(HasSubstr("p.txt:2:1"), HasSubstr("{blank: empty}"), HasSubstr("s.yaml:4:")));
  folder.Write("p.txt", "one\rtwo\r");
  EXPECT_THAT(Message(use, folder.path()), AllOf(HasSubstr("p.txt:1:4"), HasSubstr("carriage return")));
  EXPECT_THAT(Message(CellsWith("seed: 1, prompt: {file: pp.txt}"), folder.path()),
              AllOf(HasSubstr("does not exist; did you mean"), HasSubstr("/p.txt\"?")));
  folder.Write("p.txt", "one\ntwo\none\n");
  EXPECT_THAT(Message(use, folder.path()),
              AllOf(HasSubstr("p.txt:3:1"), HasSubstr("appears twice (first at"), HasSubstr("p.txt:1:1")));
  EXPECT_THAT(Message(CellsWith("seed: 1, prompt: [two, {file: p.txt}]"), folder.path()), HasSubstr("appears twice"));
  folder.Write("p.txt", "ok\nbad \xff\n");
  EXPECT_THAT(Message(use, folder.path()), AllOf(HasSubstr("p.txt:2:5"), HasSubstr("not UTF-8")));
  folder.Write("p.txt", "");
  EXPECT_THAT(Message(use, folder.path()), HasSubstr("has no lines"));
  folder.Write("p.txt", "# only a comment\n");
  EXPECT_THAT(Message(use, folder.path()), HasSubstr("has no lines"));
  EXPECT_THAT(Message(CellsWith("seed: 1, prompt: {file: .}"), folder.path()), HasSubstr("is not a file"));
}

TEST(Spec, TemplateMistakes) {
  TempFolder folder;
  auto message = [&](const std::string& prompt) {
    return Message(CellsWith("seed: 1, prompt: {template: " + prompt + "}"), folder.path());
  };
  EXPECT_THAT(message("'a {red'"), AllOf(HasSubstr("s.yaml:4:"), HasSubstr("character 3"), HasSubstr("{ without }")));
  EXPECT_THAT(message("'a red}'"), HasSubstr("} without {"));
  EXPECT_THAT(message("'a {red} b'"), HasSubstr("one alternative"));
  EXPECT_THAT(message("'{{adj}}', vars: {ajd: [x]}"), HasSubstr("\"ajd\""));
  EXPECT_THAT(message("'a', vars: {adj: [x]}"), HasSubstr("in no template"));
  EXPECT_THAT(message("'{a|a}'"), HasSubstr("appears twice"));
  EXPECT_THAT(message("'{a|}'"), HasSubstr("{blank: empty}"));
  EXPECT_THAT(message("'__none__'"), HasSubstr("wildcards/none.txt"));
  folder.Write("wildcards/animal.txt", "cat\n");
  EXPECT_THAT(message("'__anima__'"), HasSubstr("wildcards/animal.txt\"?"));
  EXPECT_THAT(message("'{{adj}}', vars: {adj: ~}"), HasSubstr("s.yaml:4:"));
  EXPECT_THAT(message("'{{adj}}', vars: {adj: [a, null]}"), HasSubstr("in quotes"));
  std::string bomb = "'";
  for (int i = 0; i < 21; ++i) bomb += "{a|b}";
  EXPECT_THAT(message(bomb + "'"), HasSubstr("more than 1000000 prompts"));
}

TEST(Spec, ABillionCellsPlanInATenthOfASecondAndFiftyMegabytes) {
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  const std::clock_t start = std::clock();
  auto loaded =
      Parse("cells: {model: [a, b], prompt: [{blank: empty}, x, y, z], temperature: [0.5, 1, 2, 4, 8], seed: 0..24999999}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  auto tree = CellTree::Compile(loaded->spec.cells());
  ASSERT_TRUE(tree.ok());
  EXPECT_EQ((*tree)->count(), 1'000'000'000u);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 10);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 50'000);
}

TEST(Spec, PlacesAreRememberedForLaterChecks) {
  auto loaded = Parse("cells:\n  model: [a, b]\n  prompt: x\n  seed: 1\n");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ((loaded->where[{"model", "sb"}]), "s.yaml:5:14");
  EXPECT_EQ((loaded->where[{"embedders", "smicro-clip"}]), "s.yaml:3:13");
}

TEST(LoadSpec, ReadsFilesAndSaysWhatIsMissing) {
  TempFolder folder;
  folder.Write("p.txt", "a dog\n");
  const std::string path = folder.Write("s.yaml", std::string(kHead) + CellsWith("seed: 1, prompt: {file: p.txt}"));
  EXPECT_TRUE(LoadSpec(path).ok()) << LoadSpec(path).status();
  EXPECT_EQ(LoadSpec(folder.path() + "/none.yaml").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadSpec(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(LoadSpec(folder.Write("big.yaml", std::string(2 << 20, '\n'))).status().message()),
              HasSubstr("over 1 MB"));
}

}  // namespace
}  // namespace promptsweep::sweep
