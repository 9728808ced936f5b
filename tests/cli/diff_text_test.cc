// Proves that a comparison of two groups reads as a sentence per motif and as rows, whatever its labels hold.
#include "cli/diff_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace promptsweep::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

Json Side(uint64_t members, double prevalence, double low, double high) {
  return {{"members", members}, {"runs", 2000}, {"prevalence", prevalence}, {"ci_low", low}, {"ci_high", high}};
}

Json Fewer() {
  return {{"id_from", 1},
          {"id_to", 3},
          {"label", "sari"},
          {"from", Side(620, 0.31, 0.29, 0.33)},
          {"to", Side(240, 0.12, 0.1, 0.14)},
          {"difference", -0.19},
          {"difference_low", -0.21},
          {"difference_high", -0.17},
          {"pairs", {{"both", 100}, {"from_only", 520}, {"to_only", 140}, {"neither", 1240}}},
          {"p_value", 1e-40},
          {"q_value", 3e-40},
          {"verdict", "more_in_from"},
          {"exemplars_from", {1, 2}},
          {"exemplars_to", {5}}};
}

Json Diff(Json motif) {
  return {{"from", {{"sweep", 1}, {"name", "before"}, {"filter", ""}, {"runs", 2000}, {"unpaired_runs", 0}}},
          {"to", {{"sweep", 2}, {"name", "after"}, {"filter", ""}, {"runs", 2000}, {"unpaired_runs", 0}}},
          {"blank_only", true},
          {"paired", true},
          {"pairs", 2000},
          {"unpaired_runs", 0},
          {"motifs", Json::array({std::move(motif)})},
          {"notes", {"a note"}}};
}

TEST(DiffTextTest, SaysWhichWayAndHowSurely) {
  const std::string text = DiffText(Diff(Fewer()));
  EXPECT_THAT(text, HasSubstr("before (2,000 blank runs) against after (2,000 blank runs)"));
  EXPECT_THAT(
      text,
      HasSubstr("sari: 31 % (29–33 %) in before, 12 % (10–14 %) in after: 19 points fewer (17–21), q 3e-40, 2,000 pairs\n"));
  EXPECT_THAT(text, HasSubstr("note: a note"));
  Json sure = Fewer();
  sure["q_value"] = 0.0;
  EXPECT_THAT(DiffText(Diff(sure)), HasSubstr(", q < 1e-300, "));
}

TEST(DiffTextTest, NamesEveryVerdict) {
  Json motif = Fewer();
  motif["verdict"] = "gone";
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("gone from after, 19 points fewer (17–21)"));
  motif["verdict"] = "new";
  motif["difference"] = 0.19;
  motif["difference_low"] = 0.17;
  motif["difference_high"] = 0.21;
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("new in after, 19 points more (17–21)"));
  motif["verdict"] = "more_in_to";
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("after: 19 points more (17–21)"));
  motif["verdict"] = "no_difference_shown";
  motif["difference_low"] = -0.01;
  motif["difference_high"] = 0.03;
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("no difference shown (1.0 fewer to 3.0 more)"));
}

TEST(DiffTextTest, TellsSidesApart) {
  Json diff = Diff(Fewer());
  diff["to"]["name"] = "before";
  EXPECT_THAT(DiffText(diff), HasSubstr("in before (sweep 1), 12 % (10–14 %) in before (sweep 2)"));
  diff["to"]["sweep"] = 1;
  diff["from"]["filter"] = "model=a";
  diff["to"]["filter"] = "model=b";
  diff["paired"] = false;
  EXPECT_THAT(DiffText(diff), HasSubstr("in model=a, 12 % (10–14 %) in model=b"));
  EXPECT_THAT(DiffText(diff), HasSubstr(", unpaired\n"));
  diff["motifs"][0]["label"] = "";
  EXPECT_THAT(DiffText(diff), HasSubstr("\nunnamed motif 1: 31 %"));
  diff["motifs"] = Json::array();
  EXPECT_THAT(DiffText(diff), HasSubstr("neither side has a motif to compare"));
  EXPECT_TRUE(DiffRows(diff).empty());
}

TEST(DiffTextTest, UnnamedAndOddLabels) {
  Json motif = Fewer();
  motif["label"] = "";
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("unnamed motif 1 of before: 31 %"));
  motif["id_from"] = nullptr;
  EXPECT_THAT(DiffText(Diff(motif)), HasSubstr("unnamed motif 3 of after: 31 %"));
  motif["label"] = "=cmd\x1b[31m";
  EXPECT_THAT(DiffText(Diff(motif)), Not(HasSubstr("\x1b")));
  const std::string csv = DiffRows(Diff(motif)).Csv();
  EXPECT_THAT(csv, HasSubstr("id_from,id_to,label,from_members,from_runs,from_prevalence,from_ci_low,from_ci_high,to_members,"));
  EXPECT_THAT(csv, HasSubstr("\n,3,'=cmd"));
  EXPECT_THAT(csv, HasSubstr(",620,2000,0.31,0.29,0.33,240,2000,0.12,0.1,0.14,-0.19,-0.21,-0.17,1e-40,3e-40,more_in_from"));
}

}  // namespace
}  // namespace promptsweep::cli
