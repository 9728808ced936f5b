// Proves the promises of the JSON output: 64-bit numbers, hex digests, lower-case enums, typed blanks, absent against zero.
#include "cli/json.h"

#include <gtest/gtest.h>

#include <limits>

#include "cli/output.h"
#include "promptsweep/v1/coordinator.pb.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::cli {
namespace {

TEST(Json, StatusOfASweep) {
  v1::SweepStatus status;
  status.set_sweep(3);
  status.set_name("a\"b");
  status.set_state(v1::SWEEP_STATE_DONE_WITH_FAILURES);
  status.set_planned(std::numeric_limits<uint64_t>::max());
  status.set_digest(std::string("\x00\xab", 2));
  const Json json = ToJson(status);
  EXPECT_EQ(json["planned"].get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json["state"], "done_with_failures");
  EXPECT_EQ(json["digest"], "00ab");
  EXPECT_EQ(json["failed"], 0) << "a zero is printed";
  EXPECT_NE(Dump(json, -1).find("\"planned\":18446744073709551615"), std::string::npos);
}

TEST(Json, BlanksAndSettings) {
  v1::Cell cell;
  cell.mutable_prompt()->set_blank(v1::BLANK_KIND_NULL);
  cell.set_seed(-1);
  auto* setting = cell.add_settings();
  setting->set_name("temperature");
  setting->mutable_value()->set_double_value(0.5);
  Json json = ToJson(cell);
  EXPECT_EQ(json["prompt"], "<blank:null>");
  EXPECT_EQ(json["settings"], (Json{{"temperature", 0.5}}));
  cell.mutable_prompt()->set_text("<blank:null>");
  EXPECT_NE(ToJson(cell)["prompt"], "<blank:null>") << "text is not a blank";
  cell.clear_prompt();
  EXPECT_FALSE(ToJson(cell).contains("prompt")) << "absent is not blank";
}

TEST(Json, OptionalNumbersAndNotNumbers) {
  v1::Motif motif;
  motif.set_tier(v1::MOTIF_TIER_CONFIRMED);
  motif.set_prevalence(std::numeric_limits<double>::quiet_NaN());
  EXPECT_FALSE(ToJson(motif).contains("lift"));
  EXPECT_TRUE(ToJson(motif)["prevalence"].is_null());
  EXPECT_EQ(ToJson(motif)["tier"], "confirmed");
  motif.set_lift(0);
  EXPECT_EQ(ToJson(motif)["lift"], 0.0);
  motif.set_label("\xff");
  EXPECT_NO_THROW(Dump(Json{{"label", std::string("\xff")}}));
}

TEST(Table, AlignsAndEscapes) {
  Table table({{"name", false, true}, {"count", true}});
  table.Add({"=cmd|' /C calc'!A0", "7"});
  table.Add({"a\x1b[2J", "1,000"});
  EXPECT_EQ(table.Render(), "name                count\n=cmd|' /C calc'!A0      7\na\\x1b[2J            1,000\n");
  EXPECT_EQ(table.Csv(), "name,count\n'=cmd|' /C calc'!A0,7\na\x1b[2J,\"1,000\"\n");
}

}  // namespace
}  // namespace promptsweep::cli
