// Proves that an adaptive sweep's end is told as it is: answered, out of cells, without room for one more seed, or still going
// on; and that what stays open is named.
#include "cli/stop_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "jobs/sweep/growth.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// 20 cells, both prompts in one part.
v1::SweepManifest Manifest() {
  const auto loaded = sweep::ParseSpec(
      "version: 1\nname: a\nembedders: [null-embed]\nstop: {decide_at: 0.1, max_cells: 21}\n"
      "cells:\n  product: {model: [null], prompt: [a dog, a cat], seed: 0..9}\n",
      "a.yaml", ".");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  v1::SweepManifest manifest;
  *manifest.mutable_spec() = loaded->spec;
  manifest.set_cell_count(20);
  return manifest;
}

v1::StopState State(v1::StopReason reason) {
  v1::StopState stop;
  *stop.mutable_rule() = sweep::WithDefaults(Manifest().spec().stop(), 20);
  v1::StopLook& look = *stop.add_looks();
  look.set_number(1);
  look.set_cells(20);
  look.set_target_runs(20);
  look.set_reason(reason);
  look.set_grow_target(reason == v1::STOP_REASON_GO_ON);
  look.set_words("look 1 at 20 target runs");
  v1::FrozenMotif& sure = *stop.add_frozen();
  sure.set_label("hat");
  sure.set_decided(true);
  for (int m = 0; m < 7; ++m) {
    v1::FrozenMotif& open = *stop.add_frozen();
    open.set_id(2 + m);
    open.set_label(m == 0 ? "sari\x1b[2J" : "");
    open.set_verdict("open: 3 % to 9 %");
  }
  return stop;
}

TEST(StopWords, TellsWhyItEnded) {
  v1::SweepManifest manifest = Manifest();
  EXPECT_THAT(EndInWords(State(v1::STOP_REASON_DECIDED), manifest), HasSubstr("stopped at look 1, after 20 runs: the rule has"));
  EXPECT_THAT(EndInWords(State(v1::STOP_REASON_MAX_CELLS), manifest), HasSubstr("no more cells are allowed"));
  // 21 cells leave no room for a seed of both prompts; 22 do.
  v1::StopState stop = State(v1::STOP_REASON_GO_ON);
  EXPECT_TRUE(absl::IsResourceExhausted(GrowAsAsked(stop, manifest).status()));
  EXPECT_THAT(EndInWords(stop, manifest), testing::AllOf(HasSubstr("It stopped"), HasSubstr("no room for one more seed")));
  EXPECT_THAT(LookInWords(stop, manifest), testing::AllOf(HasSubstr("cannot grow"), HasSubstr("still open: sari")));
  stop.mutable_rule()->set_max_cells(22);
  ASSERT_TRUE(GrowAsAsked(stop, manifest).ok());
  EXPECT_EQ(GrowAsAsked(stop, manifest)->cell_count(), 22u);
  EXPECT_THAT(EndInWords(stop, manifest), HasSubstr("more seeds are asked"));
  EXPECT_EQ(LookInWords(stop, manifest), "look 1 at 20 target runs");
  manifest.set_cell_count(22);
  EXPECT_THAT(EndInWords(stop, manifest), HasSubstr("2 cells were added"));
}

TEST(StopWords, TellsWhatWasNotFound) {
  v1::StopState stop = State(v1::STOP_REASON_DECIDED);
  stop.set_unseen_asked(.1);
  stop.set_unseen_below(.0512);
  EXPECT_EQ(UnseenInWords(stop), "");
  stop.clear_frozen();
  EXPECT_THAT(EndInWords(stop, Manifest()),
              HasSubstr("answers. No motif was found; one in more than 5.1 % of runs would have been"));
  stop = State(v1::STOP_REASON_MAX_CELLS);
  stop.set_unseen_asked(.1);
  stop.set_unseen_below(.2);
  EXPECT_THAT(EndInWords(stop, Manifest()), HasSubstr("open. A further motif in up to 20 % of runs may have gone unseen."));
  stop.clear_frozen();
  EXPECT_THAT(EndInWords(stop, Manifest()), HasSubstr("No motif was found; one in up to 20 % of runs may"));
  stop.set_unseen_below(1);
  EXPECT_THAT(EndInWords(stop, Manifest()), HasSubstr("too few runs to find a motif"));
  stop.set_unseen_asked(0);  // a rule of novelty alone
  stop.set_unseen_below(0);
  EXPECT_EQ(UnseenInWords(stop), "");
}

TEST(StopWords, NamesWhatStaysOpen) {
  v1::StopState stop = State(v1::STOP_REASON_MAX_CELLS);
  EXPECT_EQ(
      OpenInWords(stop),
      "sari\\x1b[2J (3 % to 9 %), motif 3, unnamed (3 % to 9 %), motif 4, unnamed (3 % to 9 %), motif 5, unnamed (3 % to 9 %), "
      "motif 6, unnamed (3 % to 9 %), and 2 more");
  EXPECT_THAT(LookInWords(stop, Manifest()), Not(HasSubstr("hat")));
  for (v1::FrozenMotif& motif : *stop.mutable_frozen()) motif.set_decided(true);
  EXPECT_EQ(OpenInWords(stop), "");
  EXPECT_EQ(LookInWords(stop, Manifest()), "look 1 at 20 target runs");
}

}  // namespace
}  // namespace promptsweep::cli
