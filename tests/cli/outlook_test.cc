// Proves that what a report says of runs not made comes out in words, with its numbers, and that old reports without it stay
// whole.
#include "cli/outlook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/report/page.h"

namespace promptsweep::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::MotifReport Report() {
  v1::MotifReport report;
  report.add_target()->set_axis("prompt");
  report.set_target_runs(2000);
  report.set_baseline_runs(2000);
  report.set_unseen_below(0.0139);
  v1::Motif& motif = *report.add_motifs();
  motif.set_id(1);
  motif.set_label("<b>sari");
  v1::RunsNeeded& needed = *motif.mutable_runs_needed();
  needed.set_to_find(88);
  needed.set_to_one_point(8212);
  needed.set_to_quarter(137);
  needed.set_to_decide(0);
  v1::Novelty& novelty = *report.mutable_novelty();
  novelty.set_runs(2000);
  novelty.set_rate(0.2);
  novelty.set_low(0.18);
  novelty.set_high(0.22);
  novelty.set_kinds(700);
  novelty.set_kinds_at_least(1250.4);
  novelty.set_new_if_doubled(199.7);
  v1::Diversity& target = *report.mutable_target_diversity();
  target.set_vendi(5.31);
  target.set_vendi_low(5.1);
  target.set_vendi_high(5.6);
  target.set_rke(2.2);
  *report.mutable_baseline_diversity() = target;
  return report;
}

TEST(Outlook, SaysWhatMoreRunsWouldTell) {
  EXPECT_THAT(
      OutlookInWords(Report()),
      ElementsAre(
          "A motif in 1.4 % of blank runs or more would almost surely (95 %) have shown often enough to be found; rarer ones "
          "may be missing.",
          "20 % of blank runs (95 % CI 18–22 %) are unlike every other; so often the next one would show something new. Of 2,000 "
          "runs there are 700 kinds of picture, and at least 1,250 with those not seen; as many runs again would show about 200 "
          "new ones.",
          "The pictures are as various as 5.3 (95 % CI 5.1 to 5.6; by RKE 2.2) that differ entirely (Vendi score); those on "
          "prompts as 5.3 (95 % CI 5.1 to 5.6; by RKE 2.2)."));
  const std::string text = OutlookText(Report());
  EXPECT_THAT(text, HasSubstr("8,212"));
  EXPECT_THAT(text, HasSubstr("of which there are 2,000"));
  EXPECT_EQ(text.back(), '\n');
}

TEST(Outlook, StandsOnThePageEscaped) {
  ReportInput input;
  input.mined = true;
  input.motifs = Report();
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr("What more runs would tell"));
  EXPECT_THAT(page, HasSubstr("&lt;b&gt;sari"));
  EXPECT_THAT(page, Not(HasSubstr("<b>sari")));
  EXPECT_THAT(page, HasSubstr("8,212"));
}

TEST(Outlook, OldReportsHaveNone) {
  v1::MotifReport report;
  report.add_motifs()->set_id(1);
  EXPECT_TRUE(OutlookInWords(report).empty());
  EXPECT_TRUE(RunsNeededTable(report).empty());
  EXPECT_EQ(OutlookText(report), "");
  EXPECT_EQ(OutlookSection(report), "");
}

}  // namespace
}  // namespace promptsweep::cli
