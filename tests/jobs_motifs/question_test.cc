// Proves that each question sets the right runs against each other, refuses sweeps that cannot answer it, and that its test holds
// its level where nothing differs and sees what does.
#include "jobs/motifs/question.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "jobs/motifs/statistics/inference.h"

namespace promptsweep::motifs {
namespace {

using testing::HasSubstr;

const SweepFacts kFacts{{"model", "prompt", "seed", "temperature"}, {"old", "new", "x|y"}, true};

v1::Cell CellOf(const std::string& model, const std::string& prompt, int64_t seed = 0) {
  v1::Cell cell;
  cell.set_model(model);
  cell.set_seed(seed);
  if (prompt.empty()) {
    cell.mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
  } else {
    cell.mutable_prompt()->set_text(prompt);
  }
  return cell;
}

// 'T', 'B', '!' for both, '-' for neither.
char SideOf(const Sides& sides, const v1::Cell& cell) {
  const bool target = InTarget(cell, sides), baseline = InBaseline(cell, sides);
  return target && baseline ? '!' : target ? 'T' : baseline ? 'B' : '-';
}

// Sides of blank and "a cat" and "a dog" of old, new and x|y, in this order.
std::string SidesOf(Question question, const std::string& target, const std::string& baseline, const SweepFacts& facts = kFacts) {
  const auto sides = ChooseSides(question, target, baseline, facts);
  if (!sides.ok()) return std::string(sides.status().message());
  std::string all;
  for (const char* model : {"old", "new", "x|y"}) {
    for (const char* prompt : {"", "a cat", "a dog"}) all += SideOf(*sides, CellOf(model, prompt));
  }
  return all;
}

TEST(Question, EachSetsItsOwnRunsAgainstEachOther) {
  EXPECT_EQ(SidesOf(Question::kCompared, "", ""), "TBBTBBTBB");
  EXPECT_EQ(SidesOf(Question::kCompared, "", "model=old"), "!BBT--T--");
  EXPECT_EQ(SidesOf(Question::kCollapsed, "", ""), "TBBTBBTBB");
  EXPECT_EQ(SidesOf(Question::kCollapsed, "model=new", ""), "BBBTTTBBB");
  EXPECT_EQ(SidesOf(Question::kUnasked, "", ""), "T--B--B--");
  EXPECT_EQ(SidesOf(Question::kUnasked, "model=new", ""), "B--T--B--");
  EXPECT_EQ(SidesOf(Question::kUnasked, "model=new", "model=old"), "B--T-----");
  EXPECT_EQ(SidesOf(Question::kUnasked, "", "model=x\\|y"), "T-----B--");
  EXPECT_EQ(SidesOf(Question::kLeak, "prompt=a cat", ""), "-TB-TB-TB");
  EXPECT_EQ(SidesOf(Question::kLeak, "prompt=a cat,model=new", ""), "----TB---");
  EXPECT_EQ(SidesOf(Question::kLeak, "prompt=a cat", "prompt="), "BT-BT-BT-");
  EXPECT_EQ(SidesOf(Question::kChanged, "model=new", "model=old"), "BBBTTT---");
  const SweepFacts two{kFacts.axes, {"old", "new"}, true};
  EXPECT_EQ(SidesOf(Question::kChanged, "", "", two), "BBBTTT---");
}

TEST(Question, ASweepThatCannotAnswerIsToldWhy) {
  const SweepFacts asked{kFacts.axes, {"old", "new"}, false}, one{kFacts.axes, {"old"}, true};
  EXPECT_THAT(SidesOf(Question::kUnasked, "", "", asked), HasSubstr("asks none"));
  EXPECT_THAT(SidesOf(Question::kUnasked, "", "", one), HasSubstr("has one"));
  EXPECT_THAT(SidesOf(Question::kLeak, "", ""), HasSubstr("--target prompt="));
  EXPECT_THAT(SidesOf(Question::kLeak, "prompt=", ""), HasSubstr("--target prompt="));
  EXPECT_THAT(SidesOf(Question::kLeak, "seed=1..5", ""), HasSubstr("--target prompt="));
  EXPECT_THAT(SidesOf(Question::kChanged, "", ""), HasSubstr("has 3"));
  EXPECT_THAT(SidesOf(Question::kChanged, "model=new", ""), HasSubstr("--baseline"));
  EXPECT_THAT(SidesOf(Question::kCompared, "modle=new", ""), HasSubstr("model"));
  EXPECT_EQ(ParseQuestion("unasked").value(), Question::kUnasked);
  EXPECT_EQ(ParseQuestion("").value(), Question::kCompared);
  EXPECT_THAT(std::string(ParseQuestion("leek").status().message()), HasSubstr("leak"));
}

// `pairs` pairs of runs, target first, of `prompts` prompts; `members` of the region: of half of all pairs both runs or none, of
// the rest each by itself, the target's with chance `share`, the baseline's with .2.
struct Drawn {
  Runs runs;
  RowSet members;
};
Drawn DrawPairs(int pairs, int prompts, double share, uint64_t seed) {
  Drawn drawn;
  std::mt19937_64 random(seed);
  const auto chance = [&](double p) { return std::uniform_real_distribution<>()(random) < p; };
  for (int i = 0; i < pairs; ++i) {
    const bool alike = chance(0.5), both = chance(0.2);
    for (const bool target : {true, false}) {
      const auto row = static_cast<uint32_t>(drawn.runs.size());
      drawn.runs.ordinal.push_back(row);
      drawn.runs.is_target.push_back(target);
      drawn.runs.prompt.push_back(i % prompts);
      drawn.runs.fold.push_back(i % kFolds);
      drawn.runs.stratum.push_back(i);
      if (alike ? both : chance(target ? share : 0.2)) drawn.members.push_back(row);
    }
  }
  drawn.runs.comparison = Comparison::kPaired;
  return drawn;
}

TEST(Question, PairsAreComparedAsMcNemarDoes) {
  const Drawn drawn = DrawPairs(400, 4, 0.35, 1);
  const Design design(drawn.runs);
  EXPECT_EQ(design.exchangeable(), Exchangeable::kPairs);
  EXPECT_THAT(design.NullInWords(), HasSubstr("pairs"));
  int target_only = 0, baseline_only = 0;
  std::vector<int> in(400, 0);
  for (const uint32_t i : drawn.members) in[i / 2] |= i % 2 == 0 ? 1 : 2;
  for (const int which : in) target_only += which == 1, baseline_only += which == 2;
  double expected = 0;  // P(X >= target_only), X binomial with one half
  const int n = target_only + baseline_only;
  for (int k = target_only; k <= n; ++k)
    expected += std::exp(std::lgamma(n + 1.) - std::lgamma(k + 1.) - std::lgamma(n - k + 1.) - n * std::log(2.));
  EXPECT_NEAR(design.PValue(drawn.members), expected, 1e-9 + 1e-6 * expected);
  const Counts counts = design.Count(drawn.members);
  EXPECT_EQ(counts.target, 400u);
  EXPECT_EQ(counts.target_in + counts.baseline_in, drawn.members.size());
}

TEST(Question, PairsHoldTheirLevelAndSeeMoreThanRunsDo) {
  constexpr int kSets = 2000;
  int wrong = 0, seen = 0, seen_as_runs = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    const Drawn null = DrawPairs(300, 3, 0.2, set);
    wrong += Design(null.runs).PValue(null.members) <= 0.05;
    Drawn more = DrawPairs(300, 3, 0.32, set);
    seen += Design(more.runs).PValue(more.members) <= 0.05;
    more.runs.stratum.clear();
    const Design within(more.runs);
    ASSERT_EQ(within.exchangeable(), Exchangeable::kRunsWithinPrompt);
    seen_as_runs += within.PValue(more.members) <= 0.05;
  }
  EXPECT_LE(wrong, 0.05 * kSets + 3 * std::sqrt(0.05 * 0.95 * kSets));
  EXPECT_GT(seen, seen_as_runs);
  EXPECT_GT(seen, 0.5 * kSets);
}

TEST(Question, RunsWithoutPartnersAreNotCalledPairs) {
  Drawn drawn = DrawPairs(200, 2, 0.2, 3);
  for (size_t i = 0; i < 100; i += 2) drawn.runs.stratum[i] = static_cast<uint32_t>(1000 + i);  // an eighth of the target's
  EXPECT_EQ(Design(drawn.runs).exchangeable(), Exchangeable::kRunsWithinPrompt);
  // Strata that are too few to compare still count as members of their prompts.
  EXPECT_EQ(Design(drawn.runs).Count(drawn.members).baseline, 200u);
  EXPECT_GT(Design(drawn.runs).PValue(drawn.members), 0);
}

Runs PromptRuns(int target_prompts, int baseline_prompts, Comparison comparison) {
  Runs runs;
  for (int p = 0; p < target_prompts + baseline_prompts; ++p) {
    for (int s = 0; s < 10; ++s) {
      runs.ordinal.push_back(runs.ordinal.size());
      runs.is_target.push_back(p < target_prompts);
      runs.prompt.push_back(p);
      runs.fold.push_back(s % kFolds);
    }
  }
  runs.comparison = comparison;
  return runs;
}

TEST(Question, PromptsArePermutedWhereTheyWereDrawnAndThereAreEnough) {
  EXPECT_EQ(Design(PromptRuns(3, 50, Comparison::kPrompts)).exchangeable(), Exchangeable::kPrompts);
  EXPECT_EQ(Design(PromptRuns(1, 50, Comparison::kPrompts)).exchangeable(), Exchangeable::kRuns);
  EXPECT_EQ(Design(PromptRuns(3, 50, Comparison::kAsDrawn)).exchangeable(), Exchangeable::kRuns);
}

TEST(Question, WhatIsKnownToDifferIsNotTested) {
  const Design design(PromptRuns(1, 50, Comparison::kUntested));
  EXPECT_EQ(design.exchangeable(), Exchangeable::kNothing);
  EXPECT_EQ(design.baseline_runs(), 500u);
  EXPECT_THAT(design.NullInWords(), HasSubstr("nothing is tested"));
}

}  // namespace
}  // namespace promptsweep::motifs
