// Proves that motifs keep their keys from report to report, that splits, merges and losses are told, and that a frozen motif read
// back judges runs as it did.
#include "jobs/motifs/history.h"

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/half.h"

namespace promptsweep::motifs {
namespace {

using testing::ElementsAre;

constexpr int kDim = 8;

// A motif around an angle, in degrees, in the plane of the first two axes, `wide` degrees to either side.
v1::Motif At(double angle, double wide, uint64_t members, const std::string& label = "") {
  v1::Motif motif;
  std::vector<float> centre(kDim, 0);
  centre[0] = static_cast<float>(std::cos(angle * M_PI / 180));
  centre[1] = static_cast<float>(std::sin(angle * M_PI / 180));
  motif.set_centre(PackHalves(centre.data(), centre.size()));
  motif.set_radius_cosine(static_cast<float>(std::cos(wide * M_PI / 180)));
  motif.set_members(members);
  motif.set_label(label);
  for (int fold = 0; fold < kFolds; ++fold) {
    v1::MotifLook& look = *motif.add_folds()->add_regions();
    look.set_centre(motif.centre());
    look.set_radius_cosine(motif.radius_cosine());
  }
  return motif;
}

v1::MotifReport Report(const std::optional<v1::MotifReport>& before, const std::vector<v1::Motif>& motifs, uint64_t runs = 1000) {
  v1::MotifReport report;
  report.set_target_runs(runs);
  for (const v1::Motif& motif : motifs) *report.add_motifs() = motif;
  CarryOn(before, /*counted=*/false, report);
  return report;
}

std::vector<v1::MotifChange> ChangesOf(const google::protobuf::RepeatedPtrField<v1::MotifEvent>& history) {
  std::vector<v1::MotifChange> changes;
  for (const v1::MotifEvent& event : history) changes.push_back(event.change());
  return changes;
}

TEST(History, AMotifThatIsFoundAgainKeepsItsKey) {
  const v1::MotifReport one = Report(std::nullopt, {At(0, 10, 50), At(60, 10, 40)});
  EXPECT_EQ(one.motifs(0).key().size(), 8u);
  EXPECT_NE(one.motifs(0).key(), one.motifs(1).key());
  EXPECT_THAT(ChangesOf(one.motifs(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND));
  // The other order, a little elsewhere, and a new one.
  const v1::MotifReport two = Report(one, {At(62, 9, 80), At(3, 12, 70), At(120, 5, 9)}, 2000);
  EXPECT_EQ(two.motifs(0).key(), one.motifs(1).key());
  EXPECT_EQ(two.motifs(1).key(), one.motifs(0).key());
  EXPECT_THAT(ChangesOf(two.motifs(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_KEPT));
  EXPECT_EQ(two.motifs(0).history(0).members(), 40u);
  EXPECT_EQ(two.motifs(0).history(1).members(), 80u);
  EXPECT_EQ(two.motifs(0).history(1).runs(), 2000u);
  EXPECT_THAT(ChangesOf(two.motifs(2).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND));
  EXPECT_EQ(two.former_size(), 0);
}

TEST(History, TheSameRunsMinedAgainGiveTheSameReport) {
  const v1::MotifReport one = Report(Report(std::nullopt, {At(0, 20, 100), At(70, 9, 30)}, 500), {At(-12, 6, 30), At(12, 6, 60)});
  const v1::MotifReport again = Report(one, {At(-12, 6, 30), At(12, 6, 60)});
  EXPECT_EQ(again.SerializeAsString(), one.SerializeAsString());
}

TEST(History, CountingOnIsTold) {
  const v1::MotifReport one = Report(std::nullopt, {At(0, 10, 50), At(60, 10, 40)});
  v1::MotifReport two;
  two.set_target_runs(2000);
  *two.add_motifs() = At(60, 10, 90);  // the other is no motif any more
  two.mutable_motifs(0)->set_key(one.motifs(1).key());
  CarryOn(one, /*counted=*/true, two);
  EXPECT_THAT(ChangesOf(two.motifs(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_COUNTED));
  ASSERT_EQ(two.former_size(), 1);
  EXPECT_EQ(two.former(0).key(), one.motifs(0).key());
  EXPECT_THAT(ChangesOf(two.former(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_LOST));
}

TEST(History, TheLargestPartOfASplitGoesOn) {
  const v1::MotifReport one = Report(std::nullopt, {At(0, 20, 100)});
  const v1::MotifReport two = Report(one, {At(-12, 6, 30), At(12, 6, 60)});
  EXPECT_EQ(two.motifs(1).key(), one.motifs(0).key());
  EXPECT_NE(two.motifs(0).key(), one.motifs(0).key());
  EXPECT_THAT(ChangesOf(two.motifs(0).history()), ElementsAre(v1::MOTIF_CHANGE_SPLIT));
  EXPECT_THAT(two.motifs(0).history(0).keys(), ElementsAre(one.motifs(0).key()));
  EXPECT_EQ(two.former_size(), 0);
}

TEST(History, WhatIsMergedGoesOnUnderTheLargestKey) {
  const v1::MotifReport one = Report(std::nullopt, {At(-12, 6, 30, "small"), At(12, 6, 60)});
  const v1::MotifReport two = Report(one, {At(0, 20, 100)});
  EXPECT_EQ(two.motifs(0).key(), one.motifs(1).key());
  EXPECT_THAT(ChangesOf(two.motifs(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_MERGED));
  EXPECT_THAT(two.motifs(0).history(1).keys(), ElementsAre(one.motifs(0).key()));
  ASSERT_EQ(two.former_size(), 1);
  EXPECT_EQ(two.former(0).key(), one.motifs(0).key());
  EXPECT_EQ(two.former(0).label(), "small");
  EXPECT_THAT(ChangesOf(two.former(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_ABSORBED));
  EXPECT_THAT(two.former(0).history(1).keys(), ElementsAre(two.motifs(0).key()));
}

TEST(History, WhatIsLostIsRememberedAndItsKeyNotGivenAgain) {
  const v1::MotifReport one = Report(std::nullopt, {At(0, 10, 50)});
  const v1::MotifReport two = Report(one, {});
  ASSERT_EQ(two.former_size(), 1);
  EXPECT_THAT(ChangesOf(two.former(0).history()), ElementsAre(v1::MOTIF_CHANGE_FOUND, v1::MOTIF_CHANGE_LOST));
  const v1::MotifReport three = Report(two, {At(0, 10, 50)});
  EXPECT_NE(three.motifs(0).key(), one.motifs(0).key());
  EXPECT_EQ(three.former_size(), 1);
}

TEST(History, KeysAreUniqueWhateverMatchesWhat) {
  std::optional<v1::MotifReport> before;
  for (int round = 0; round < 30; ++round) {
    std::vector<v1::Motif> motifs;
    for (int m = 0; m < 1 + round % 7; ++m)
      motifs.push_back(At(17 * m + 5 * round, 4 + 3 * ((m + round) % 5), 10 + (m * 37 + round) % 50));
    const v1::MotifReport report = Report(before, motifs);
    std::set<std::string> keys;
    for (const v1::Motif& motif : report.motifs()) EXPECT_TRUE(keys.insert(motif.key()).second) << round;
    for (const v1::FormerMotif& former : report.former()) EXPECT_TRUE(keys.insert(former.key()).second) << round;
    // Each that there was is there, or is a former one.
    if (before) {
      for (const v1::Motif& motif : before->motifs()) EXPECT_EQ(keys.count(motif.key()), 1u) << round;
    }
    before = report;
  }
}

TEST(History, AFrozenMotifComesBackAsItWas) {
  Finding finding;
  finding.region = RegionOf(At(0, 10, 1).centre(), 0.5);
  for (int fold = 0; fold < kFolds; ++fold) {
    Region region = RegionOf(At(fold, 10, 1).centre(), 0.9 + 0.01 * fold);
    RoundCentre(region);
    finding.frozen.by_fold[fold].push_back(region);
  }
  finding.frozen.by_fold[2].clear();  // a fold whose fit failed holds nothing
  v1::Motif motif = At(0, 10, 1);
  motif.clear_folds();
  motif.set_key("12345678");
  motif.set_q_value(0.01);
  SetFolds(finding.frozen, motif);
  const auto back = FindingOf(motif);
  ASSERT_TRUE(back.ok()) << back.status();
  for (int fold = 0; fold < kFolds; ++fold) {
    ASSERT_EQ(back->frozen.by_fold[fold].size(), finding.frozen.by_fold[fold].size());
    for (size_t r = 0; r < finding.frozen.by_fold[fold].size(); ++r) {
      EXPECT_EQ(back->frozen.by_fold[fold][r].centre, finding.frozen.by_fold[fold][r].centre);
      EXPECT_EQ(back->frozen.by_fold[fold][r].threshold, finding.frozen.by_fold[fold][r].threshold);
    }
  }
  EXPECT_EQ(*back->q, 0.01);
  motif.clear_folds();
  EXPECT_EQ(FindingOf(motif).status().code(), absl::StatusCode::kDataLoss);  // of a report by an older program
}

TEST(History, QuestionsAreToldApart) {
  v1::MotifReport report;
  report.set_embedder("clip");
  const std::string plain = QuestionDigest(report);
  EXPECT_EQ(plain.size(), 32u);
  report.set_target_runs(7);
  EXPECT_EQ(QuestionDigest(report), plain);
  report.set_question("leak");
  EXPECT_NE(QuestionDigest(report), plain);
  report.clear_question();
  report.add_target()->set_axis("prompt");
  EXPECT_NE(QuestionDigest(report), plain);
}

}  // namespace
}  // namespace promptsweep::motifs
