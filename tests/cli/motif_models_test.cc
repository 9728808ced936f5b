// Proves that motifs by model and the prompts that reach them are told in words and figures, escaped, and only where there is
// something to compare.
#include "cli/motif_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace promptsweep::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::MotifReport TwoModels() {
  v1::MotifReport report;
  report.add_models("a<b");
  report.add_models("c");
  v1::Motif& motif = *report.add_motifs();
  motif.set_id(1);
  motif.set_label("sari");
  motif.set_spread("unique");
  motif.set_models_q(0.0004);
  v1::MotifInModel& first = *motif.add_models();
  first.set_model("a<b");
  first.set_members(300);
  first.set_runs(1000);
  first.set_prevalence(0.3);
  first.set_ci_low(0.27);
  first.set_ci_high(0.33);
  v1::MotifReach& reach = *first.mutable_reach();
  reach.set_prompts(50);
  reach.set_reached(10);
  reach.set_share_low(0.11);
  reach.set_share_high(0.33);
  reach.set_expected(0.9);
  reach.set_excess(-0.7);
  reach.set_excess_low(-0.79);
  reach.set_excess_high(-0.57);
  reach.set_entropy(0.55);
  v1::MotifPrompt& top = *reach.add_top();
  top.set_prompt("a woman\nin <Delhi>");
  top.set_members(19);
  top.set_runs(20);
  v1::MotifInModel& second = *motif.add_models();
  second.set_model("c");
  second.set_runs(500);
  second.set_ci_high(0.007);
  return report;
}

TEST(MotifModelsTest, ModelsStandSideBySide) {
  const std::string text = ModelTable(TwoModels()).Render();
  EXPECT_THAT(text, HasSubstr("one model's own"));
  EXPECT_THAT(text, HasSubstr("0.0004"));
  const std::string html = ModelSection(TwoModels());
  EXPECT_THAT(html, HasSubstr("a&lt;b"));
  EXPECT_THAT(html, HasSubstr("&lt;Delhi&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<Delhi>")));
}

TEST(MotifModelsTest, ReachIsOneLineAMotif) {
  const std::string lines = ReachLines(TwoModels());
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1);
  EXPECT_THAT(lines, HasSubstr("10 of 50 prompts reach it"));
  EXPECT_THAT(lines, HasSubstr("some prompts hold it"));
  EXPECT_THAT(lines, HasSubstr("19 of 20 runs"));
}

TEST(MotifModelsTest, NothingToCompareSaysNothing) {
  v1::MotifReport report = TwoModels();
  report.mutable_models()->RemoveLast();
  report.mutable_motifs(0)->mutable_models()->RemoveLast();
  report.mutable_motifs(0)->mutable_models(0)->clear_reach();
  EXPECT_TRUE(ModelTable(report).empty());
  EXPECT_EQ(ReachLines(report), "");
  EXPECT_EQ(ModelSection(report), "");
  EXPECT_EQ(ModelSection(v1::MotifReport()), "");
}

}  // namespace
}  // namespace promptsweep::cli
