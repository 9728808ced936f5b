// Proves that the headline says no more than the analysis does: every tier, with and without a name, a baseline or a motif.
#include "cli/headline.h"

#include <gtest/gtest.h>

namespace promptsweep::cli {
namespace {

v1::MotifReport Report(v1::MotifTier tier) {
  v1::MotifReport report;
  auto* target = report.add_target();
  target->set_axis("prompt");
  report.set_target_runs(2000);
  report.set_baseline_runs(2000);
  v1::Motif* motif = report.add_motifs();
  motif->set_id(1);
  motif->set_tier(tier);
  motif->set_label("sari");
  motif->set_prevalence(0.31);
  motif->set_ci_low(0.29);
  motif->set_ci_high(0.33);
  motif->set_lift(14.2);
  return report;
}

TEST(Headline, Confirmed) {
  v1::MotifReport report = Report(v1::MOTIF_TIER_CONFIRMED);
  EXPECT_EQ(Headline(report, 1),
            "this model keeps drawing saris: 31 % of blank runs (95 % CI 29–33 %), 14x more than on prompts");
  EXPECT_EQ(Headline(report, 2),
            "these models keep drawing saris: 31 % of blank runs (95 % CI 29–33 %), 14x more than on prompts");
  report.mutable_motifs(0)->clear_label();
  EXPECT_EQ(Headline(report, 1),
            "this model keeps drawing one kind of picture (motif 1, unnamed): 31 % of blank runs (95 % CI 29–33 %), 14x more "
            "than on prompts");
}

TEST(Headline, AWordBelowItsKindsAndAKindAlone) {
  v1::MotifReport report = Report(v1::MOTIF_TIER_CONFIRMED);
  v1::Motif& motif = *report.mutable_motifs(0);
  v1::MotifLabel& label = *motif.add_labels();
  label.set_label("sari");
  EXPECT_EQ(NameInWords(motif), "sari");
  EXPECT_EQ(MotifInWords(motif), "saris");
  label.add_path("clothing");
  label.add_path("gar\x1b[2Jment");
  EXPECT_EQ(NameInWords(motif), "clothing > gar\\x1b[2Jment > sari");
  label.set_path(1, "garment");
  EXPECT_EQ(NameInWords(motif), "clothing > garment > sari");
  EXPECT_EQ(Headline(report, 1),
            "this model keeps drawing saris (clothing > garment > sari): 31 % of blank runs (95 % CI 29–33 %), 14x more than on "
            "prompts");
  motif.set_label("garment");
  label.set_label("garment");
  label.mutable_path()->RemoveLast();
  label.set_kind(true);
  EXPECT_EQ(NameInWords(motif), "clothing > garment (a kind)");
  EXPECT_EQ(MotifInWords(motif), "some kind of garment (clothing > garment)");
  label.clear_path();
  EXPECT_EQ(MotifInWords(motif), "some kind of garment");
  motif.clear_label();
  motif.clear_labels();
  EXPECT_EQ(NameInWords(motif), "(unnamed)");
}

// The ratio was 14,885 where no baseline run was inside: the half that smoothing adds, not an estimate.
TEST(Headline, WhereNoBaselineRunIsInsideTheLowerEndSpeaks) {
  v1::MotifReport report = Report(v1::MOTIF_TIER_CONFIRMED);
  v1::Motif& motif = *report.mutable_motifs(0);
  motif.set_lift(620);
  motif.set_lift_low(39);
  motif.set_baseline_prevalence(0);
  EXPECT_EQ(Headline(report, 1),
            "this model keeps drawing saris: 31 % of blank runs (95 % CI 29–33 %), at least 39x more than on prompts");
  motif.set_baseline_prevalence(0.0005);
  EXPECT_EQ(LiftInWords(motif), "620x");
}

TEST(Headline, WeakerTiersUseWeakerWords) {
  EXPECT_EQ(Headline(Report(v1::MOTIF_TIER_CANDIDATE), 1),
            "nothing is confirmed; this model may keep drawing saris: 31 % of blank runs (95 % CI 29–33 %), not proven to be "
            "more than on "
            "prompts");
  v1::MotifReport report = Report(v1::MOTIF_TIER_DESCRIPTIVE);
  report.clear_baseline();
  report.set_baseline_runs(0);
  EXPECT_EQ(Headline(report, 1),
            "this model draws saris in 31 % of blank runs (95 % CI 29–33 %); there is no baseline to compare with");
  report.clear_motifs();
  EXPECT_EQ(Headline(report, 1), "nothing recurs: no motif stands out in 2,000 blank runs");
  report.set_target_runs(0);
  EXPECT_EQ(Headline(report, 1), "there are no blank runs to look at");
}

TEST(Headline, TargetsAndBaselinesInWords) {
  v1::MotifReport report = Report(v1::MOTIF_TIER_CONFIRMED);
  report.mutable_target(0)->set_value("Japanese girl");
  EXPECT_EQ(RunsInWords(report.target()), "runs of “Japanese girl”");
  EXPECT_EQ(BaselineInWords(report), "the other runs");
  auto* filter = report.add_target();
  filter->set_axis("model");
  filter->set_value("b");
  EXPECT_EQ(RunsInWords(report.target()), "runs of “Japanese girl” with model=b");
  report.add_baseline()->set_axis("prompt");
  EXPECT_EQ(BaselineInWords(report), "blank runs");
}

}  // namespace
}  // namespace promptsweep::cli
