// Proves that two sweeps differ in no line exactly if they are equal, and what the lines say, whatever stands in the manifests.
#include "jobs/sweep/difference.h"

#include <functional>

#include "gmock/gmock.h"
#include "jobs/sweep/names.h"
#include "tests/jobs_sweep/random_cells.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::SweepManifest Base() {
  v1::SweepManifest manifest;
  manifest.mutable_spec()->set_version(1);
  manifest.mutable_spec()->set_name("t");
  manifest.mutable_spec()->add_embedders("micro-clip");
  *manifest.mutable_spec()->mutable_cells() =
      Product({List("model", {Text("m")}), List("prompt", {PromptOf("a dog"), BlankOf(v1::BLANK_KIND_EMPTY)}),
               Range("seed", 0, 1, 2000)});
  v1::Setting& setting = *manifest.mutable_spec()->add_defaults();
  setting.set_name("temperature");
  setting.mutable_value()->set_double_value(1);
  for (v1::ModelRef* ref : {manifest.add_models(), manifest.add_embedders()}) {
    ref->set_id(ref == &manifest.models(0) ? "m" : "micro-clip");
    ref->set_architecture("null");
    ref->set_digest(std::string(32, 'a'));
  }
  manifest.set_cell_count(4000);
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  return manifest;
}

std::vector<std::string> Changed(const std::function<void(v1::SweepManifest&)>& change) {
  v1::SweepManifest after = Base();
  change(after);
  return Differences(Base(), after);
}

v1::CellNode& Factor(v1::SweepManifest& manifest, int factor) {
  return *manifest.mutable_spec()->mutable_cells()->mutable_product()->mutable_factors(factor);
}

TEST(Difference, SaysEachFieldInTheWordsOfTheSpec) {
  EXPECT_THAT(Changed([](auto&) {}), IsEmpty());
  EXPECT_THAT(Changed([](auto& m) { m.mutable_spec()->set_name("u"); }), ElementsAre("name: t -> u"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_spec()->add_embedders("clip"); }),
              ElementsAre("embedders: [micro-clip] -> [micro-clip, clip]"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_spec()->set_images("s3://bucket/prefix"); }),
              ElementsAre("images: (store) -> s3://bucket/prefix"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_spec()->mutable_defaults(0)->mutable_value()->set_double_value(0.9); }),
              ElementsAre("defaults.temperature: 1 -> 0.9"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_spec()->clear_defaults(); }), ElementsAre("defaults.temperature: 1 -> (none)"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_models(0)->set_digest(std::string(32, 'b')); }),
              ElementsAre("models.m: weights 616161616161 -> 626262626262"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_models(0)->clear_digest(); }),
              ElementsAre("models.m: weights 616161616161 -> unknown"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_embedders(0)->set_architecture("clip"); }),
              ElementsAre("embedders.micro-clip: architecture null -> clip"));
  EXPECT_THAT(Changed([](auto& m) { m.add_models()->set_id("n"); }), ElementsAre("models.n: (none) -> unknown, weights unknown"));
  EXPECT_THAT(Changed([](auto& m) { m.mutable_models(0)->set_harmless(true); }),
              ElementsAre("models.m: not harmless -> harmless"));
  EXPECT_THAT(Changed([](auto& m) { m.set_compute_dtype("bfloat16"); }), ElementsAre("compute_dtype: float32 -> bfloat16"));
  EXPECT_THAT(Changed([](auto& m) { m.set_cell_count(1); }), ElementsAre("cell_count: 4000 -> 1"));
  EXPECT_THAT(Changed([](auto& m) { m.set_imported_from("a table"); }), ElementsAre("imported_from: (none) -> \"a table\""));
  EXPECT_THAT(Changed([](auto& m) { m.clear_spec(); }),
              ::testing::Contains("cells: {model: [m], prompt: [\"a dog\", <blank:empty>], "
                                  "seed: 0..1999} -> (none)"));
}

TEST(Difference, SaysWhichAxisGrew) {
  EXPECT_THAT(Changed([](auto& m) { Factor(m, 2).mutable_axis()->mutable_range()->set_count(4000); }),
              ElementsAre("cells.seed: 0..1999 -> 0..3999"));
  EXPECT_THAT(Changed([](auto& m) { Factor(m, 2).mutable_axis()->mutable_range()->set_step(10); }),
              ElementsAre("cells.seed: 0..1999 -> 0..19990 by 10"));
  EXPECT_THAT(Changed([](auto& m) { *Factor(m, 0).mutable_axis()->mutable_list()->add_values() = Text("n"); }),
              ElementsAre("cells.model: [m] -> [m, n]"));
  EXPECT_THAT(Changed([](auto& m) { *Factor(m, 1).mutable_axis()->mutable_list()->add_values() = PromptOf("a cat"); }),
              ElementsAre("cells.prompt: 2 values -> 3 values (new: \"a cat\")"));
  EXPECT_THAT(Changed([](auto& m) { *Factor(m, 1).mutable_axis()->mutable_list()->mutable_values(0) = PromptOf("x"); }),
              ElementsAre("cells.prompt: 2 values -> 2 values (new: \"x\"; gone: \"a dog\")"));
  EXPECT_THAT(Changed([](auto& m) { Factor(m, 1).mutable_axis()->mutable_list()->mutable_values()->SwapElements(0, 1); }),
              ElementsAre("cells.prompt: 2 values -> 2 values (in another order or form)"));
  EXPECT_THAT(
      Changed([](auto& m) { *m.mutable_spec()->mutable_cells()->mutable_product()->add_factors() = List("top_k", {Int(5)}); }),
      ElementsAre("cells.top_k: (none) -> [5]"));
  EXPECT_THAT(
      Changed([](auto& m) { m.mutable_spec()->mutable_cells()->mutable_product()->mutable_factors()->SwapElements(0, 2); }),
      ElementsAre(HasSubstr("(in another order)")));
  EXPECT_THAT(Changed([](auto& m) {
                const v1::CellNode cells = m.spec().cells();
                *m.mutable_spec()->mutable_cells() =
                    Chain({cells, Product({List("model", {Text("n")}), Range("seed", 0, 1, 3)})});
              }),
              ElementsAre("cells.chain[1]: (none) -> {model: [n], seed: 0..2}"));
  v1::SweepSpec before, after;
  *before.mutable_cells() = Chain({Exclude(Product({Range("seed", 0, 1, 9), Zip({Range("a", 0, 1, 2), Range("b", 0, 1, 2)})}),
                                           {{{"seed", {Int(1)}}}, {{"a", {Int(1)}}}})});
  *after.mutable_cells() = Chain({Exclude(Product({Range("seed", 0, 1, 8), Zip({Range("a", 0, 1, 2), Range("b", 5, 1, 2)})}),
                                          {{{"seed", {Int(2), Int(3)}}}})});
  EXPECT_THAT(Differences(before, after),
              ElementsAre("cells.chain[0].exclude.from.seed: 0..8 -> 0..7", "cells.chain[0].exclude.from.zip.b: 0..1 -> 5..6",
                          "cells.chain[0].exclude.rules[0]: [seed: [1]] -> [seed: [2, 3]]",
                          "cells.chain[0].exclude.rules[1]: [a: [1]] -> (none)"));
}

bool IsSafe(const std::string& line) {
  if (!IsUtf8Text(line) || line.size() > 2000) return false;
  for (const char* bad : {"\n", "\x1b", "\r", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\xe2\x80\x8b", "\xe2\x80\xa8"}) {
    if (line.find(bad) != std::string::npos) return false;
  }
  return true;
}

TEST(Difference, HostileTextIsEscapedAndCut) {
  const std::string evil = "x\x1b[2J\n\r\x7f\xc2\x9b\xe2\x80\xae\xe2\x80\x8b\xe2\x80\xa8", longest(100'000, 'y');
  for (const std::string& text : {evil, longest, std::string("a\0b", 3)}) {
    std::vector<std::function<void(v1::SweepManifest&)>> changes = {
        [&](auto& m) { *Factor(m, 1).mutable_axis()->mutable_list()->add_values() = PromptOf(text); },
        [&](auto& m) { *Factor(m, 0).mutable_axis()->mutable_list()->add_values() = Text(text); },
        [&](auto& m) { Factor(m, 2).mutable_axis()->set_name(text); },
        [&](auto& m) { m.mutable_spec()->mutable_defaults(0)->set_name(text); },
        [&](auto& m) { m.mutable_spec()->mutable_defaults(0)->mutable_value()->set_string_value(text); },
        [&](auto& m) { m.mutable_spec()->add_embedders(text); },
        [&](auto& m) { m.mutable_spec()->set_images(text); },
        [&](auto& m) { m.mutable_spec()->set_name(text); },
        [&](auto& m) { m.mutable_models(0)->set_id(text); },
        [&](auto& m) { m.mutable_models(0)->set_architecture(text); },
        [&](auto& m) { m.mutable_models(0)->set_digest(text); },
        [&](auto& m) { m.set_compute_dtype(text); },
        [&](auto& m) { m.set_imported_from(text); },
    };
    for (size_t i = 0; i < changes.size(); ++i) {
      const std::vector<std::string> lines = Changed(changes[i]);
      EXPECT_FALSE(lines.empty()) << i;
      for (const std::string& line : lines) EXPECT_TRUE(IsSafe(line)) << i << ": " << line;
    }
  }
}

TEST(Difference, IsEmptyExactlyIfEqual) {
  Random random(81);
  int equal = 0;
  for (int round = 0; round < 6000; ++round) {
    v1::SweepManifest before = Base(), after = Base();
    *before.mutable_spec()->mutable_cells() = RandomTree(random, {"model", "prompt", "seed", "top_k"}, round % 3, 2);
    *after.mutable_spec()->mutable_cells() =
        Below(random, 3) == 0 ? before.spec().cells() : RandomTree(random, {"model", "prompt", "seed", "top_k"}, round % 3, 2);
    const bool same = before.SerializeAsString() == after.SerializeAsString();
    const std::vector<std::string> lines = Differences(before, after);
    ASSERT_EQ(lines.empty(), same) << before.ShortDebugString() << "\n" << after.ShortDebugString();
    ASSERT_EQ(Differences(before.spec(), after.spec()).empty(), same);
    for (const std::string& line : lines) ASSERT_TRUE(IsSafe(line)) << line;
    equal += same;
  }
  EXPECT_GT(equal, 1000);
  // A field that this version does not know.
  v1::SweepManifest after = Base();
  ASSERT_TRUE(after.MergeFromString(std::string("\xa0\x3f\x07", 3)));
  EXPECT_EQ(Differences(Base(), after).size(), 1u);
  after = Base();
  ASSERT_TRUE(after.mutable_spec()->MergeFromString(std::string("\xa0\x3f\x07", 3)));
  EXPECT_EQ(Differences(Base(), after).size(), 1u);
  // Equal but for the type of a number.
  after = Base();
  after.mutable_spec()->mutable_defaults(0)->mutable_value()->set_int_value(1);
  EXPECT_THAT(Differences(Base(), after), ElementsAre("defaults.temperature: 1 -> 1 (not alike)"));
}

TEST(Difference, SaysHowManyLinesAreLeftOut) {
  v1::SweepSpec before, after;
  for (int p = 0; p < 50; ++p) {
    *before.mutable_cells()->mutable_chain()->add_parts() = Range("seed", p, 1, 2);
    *after.mutable_cells()->mutable_chain()->add_parts() = Range("seed", p, 1, 3);
  }
  EXPECT_EQ(Differences(before, after, 50).size(), 50u);
  EXPECT_EQ(Differences(before, after).size(), 20u);
  EXPECT_EQ(Differences(before, after).back(), "and 31 more");
  EXPECT_THAT(Differences(before, after, 1), ElementsAre("and 50 more"));
  EXPECT_EQ(Differences(before, after, 0).size(), 1u);
}

}  // namespace
}  // namespace promptsweep::sweep
