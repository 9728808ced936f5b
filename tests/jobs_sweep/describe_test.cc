// Proves what `plan` says: exact counts, honest samples, sizes, and a prompt form that reads back as the same prompt.
#include "jobs/sweep/describe.h"

#include <random>

#include "gmock/gmock.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/prompt_text.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::HasSubstr;

PlanSummary Summary(const std::string& cells, int count = 3) {
  auto loaded = ParseSpec("version: 1\nname: t\nembedders: [null-embed]\n" + cells, "s.yaml", "/");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  auto catalog = ModelCatalog::Open({});
  auto manifest = Freeze(loaded->spec, *catalog, {});
  EXPECT_TRUE(manifest.ok()) << manifest.status();
  auto summary = Describe(*manifest, *catalog, count);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return *summary;
}

TEST(Describe, CountsPartsAxesAndBytes) {
  PlanSummary summary = Summary(
      "cells:\n  chain:\n    - {model: null, prompt: {blank: empty}, seed: 0..199, width: 10, height: 20}\n    - {model: null, "
      "prompt: [a, b], seed: 100..299, width: 10, height: 20}\n");
  EXPECT_EQ(summary.cells, 600u);
  ASSERT_EQ(summary.parts.size(), 2u);
  EXPECT_EQ(summary.parts[1].first, 200u);
  EXPECT_EQ(summary.parts[1].cells, 400u);
  ASSERT_EQ(summary.axes.size(), 5u);
  EXPECT_EQ(summary.axes[0].name, "model");
  EXPECT_EQ(summary.axes.back().name, "seed");
  EXPECT_EQ(summary.axes.back().values, 300u);
  EXPECT_EQ(summary.axes[3].values, 3u);
  EXPECT_EQ(summary.embedding_bytes, 600u * 16 * 2);
  EXPECT_EQ(summary.image_bytes, static_cast<uint64_t>(600 * (kSmallestImage + 200 * kBytesPerPixel)));
  EXPECT_EQ(summary.record_bytes, 600 * kRecordBytes);
  ASSERT_EQ(summary.first.size(), 3u);
  EXPECT_EQ(summary.last.back().ordinal(), 599u);
  EXPECT_TRUE(summary.models[0].found);
}

TEST(Describe, SamplesNeverRepeatCells) {
  for (int cells = 1; cells < 12; ++cells) {
    PlanSummary summary = Summary("cells: {model: null, prompt: x, seed: 1.." + std::to_string(cells) + "}\n");
    std::set<uint64_t> seen;
    for (const auto* list : {&summary.first, &summary.sample, &summary.last}) {
      for (const v1::Cell& cell : *list) EXPECT_TRUE(seen.insert(cell.ordinal()).second) << cells;
    }
    EXPECT_EQ(*seen.begin(), 0u);
    EXPECT_EQ(*seen.rbegin(), static_cast<uint64_t>(cells - 1));
  }
}

TEST(Describe, JsonHoldsExactNumbersAndTextIsForPeople) {
  PlanSummary summary = Summary("cells: {model: null, prompt: [x, {blank: empty}], seed: 0..4611686018427387903}\n");
  nlohmann::json json = ToJson(summary);
  EXPECT_EQ(json["cells"].get<uint64_t>(), uint64_t{1} << 63);
  EXPECT_THAT(json.dump(), HasSubstr("\"cells\":9223372036854775808"));
  EXPECT_EQ(json["last"].back()["prompt"], "<blank:empty>");
  EXPECT_EQ(json["last"].back()["blank"], "empty");
  EXPECT_TRUE(json["first"][0]["blank"].is_null());
  EXPECT_EQ(json["first"][0]["fingerprint"].get<std::string>().size(), 64u);
  EXPECT_EQ(json["bytes"]["total"].get<uint64_t>(), ~uint64_t{0});
  EXPECT_THAT(ToText(summary), HasSubstr("sweep t: 9,223,372,036,854,775,808 cells"));
  EXPECT_THAT(ToText(summary), HasSubstr("<blank:empty>"));
}

TEST(PromptText, ReadsBackAsTheSamePrompt) {
  std::vector<v1::Prompt> prompts;
  for (int kind = 1; kind <= 4; ++kind) prompts.push_back(BlankOf(static_cast<v1::BlankKind>(kind)).prompt_value());
  for (const char* text : {"a dog", " ", "<blank:empty>", "\\<blank:empty>", "\\\\<blank:null>", "<blank:", "<blank:x>",
                           "<absent>", "\\<absent>", "\\", "a,\"b\"\nc", "<b>"}) {
    prompts.push_back(PromptOf(text).prompt_value());
  }
  std::mt19937 random(6);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int n = 1 + static_cast<int>(random() % 6); n > 0; --n)
      text += std::vector<std::string>{"\\", "<blank:", "empty", ">", "<absent>", "x"}[random() % 6];
    prompts.push_back(PromptOf(text).prompt_value());
  }
  std::map<std::string, std::string> seen;
  for (const v1::Prompt& prompt : prompts) {
    const std::string text = PromptText(prompt);
    auto back = ParsePromptText(text);
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(back->SerializeAsString(), prompt.SerializeAsString()) << text;
    auto [other, fresh] = seen.emplace(text, prompt.SerializeAsString());
    EXPECT_EQ(other->second, prompt.SerializeAsString()) << text;
  }
  EXPECT_EQ(PromptText(v1::Prompt()), "<absent>");
  EXPECT_FALSE(ParsePromptText("").ok());
  EXPECT_FALSE(ParsePromptText("<absent>").ok());
  EXPECT_THAT(std::string(ParsePromptText("<blank:emty>").status().message()), HasSubstr("\"empty\""));
}

}  // namespace
}  // namespace promptsweep::sweep
