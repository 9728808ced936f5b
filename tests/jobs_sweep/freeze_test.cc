// Proves that a manifest pins what it names, and that every value is checked against the models it will reach.
#include "jobs/sweep/freeze.h"

#include "gmock/gmock.h"
#include "jobs/sweep/plan.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FreezeTest : public ::testing::Test {
 protected:
  FreezeTest() {
    WriteDalle(folder_, "micro-dalle", R"({"harmless": true})");
    WriteClip(folder_, "micro-clip");
    catalog_ = *ModelCatalog::Open({folder_.path()});
  }
  absl::StatusOr<v1::SweepManifest> Frozen(const std::string& rest, bool allow_unknown = false) {
    auto loaded = ParseSpec("version: 1\nname: t\n" + rest, "s.yaml", folder_.path());
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (!loaded.ok()) return loaded.status();
    FreezeOptions options;
    options.allow_unknown_models = allow_unknown;
    options.where = &loaded->where;
    return Freeze(loaded->spec, catalog_, options);
  }
  std::string Problem(const std::string& rest, bool allow_unknown = false) {
    auto manifest = Frozen(rest, allow_unknown);
    EXPECT_EQ(manifest.status().code(), absl::StatusCode::kInvalidArgument) << rest;
    return std::string(manifest.status().message());
  }
  TempFolder folder_;
  ModelCatalog catalog_;
};

TEST_F(FreezeTest, PinsModelsAndCounts) {
  auto manifest =
      Frozen("embedders: [micro-clip, null-embed]\ncells: {model: [null, micro-dalle], prompt: {blank: empty}, seed: 0..9}\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->cell_count(), 20u);
  ASSERT_EQ(manifest->models_size(), 2);
  EXPECT_EQ(manifest->models(0).id(), "micro-dalle");
  EXPECT_EQ(manifest->models(0).digest(), catalog_.Find("micro-dalle")->digest);
  EXPECT_TRUE(manifest->models(0).harmless());
  EXPECT_EQ(manifest->models(1).architecture(), "null");
  ASSERT_EQ(manifest->embedders_size(), 2);
  EXPECT_EQ(manifest->embedders(0).id(), "micro-clip");
  EXPECT_EQ(manifest->noise_dtype(), "float32");
  auto plan = Plan::FromManifest(*manifest);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->CellAt(0)->fingerprint().size(), 32u);
}

TEST_F(FreezeTest, AskingForTheSameIsTheSame) {
  auto a = Frozen("cells: {model: micro-dalle, prompt: x, seed: 0..9, temperature: 1}\n");
  auto b = Frozen("cells: {seed: 0..9, temperature: 1.0, prompt: [x], model: [micro-dalle]}\n");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(ManifestDigest(*a), ManifestDigest(*b));
  auto other = Frozen("cells: {model: micro-dalle, prompt: x, seed: 0..9, temperature: 1.5}\n");
  EXPECT_NE(ManifestDigest(*a), ManifestDigest(*other));
}

TEST_F(FreezeTest, AModelByPathKeepsItsPathAsName) {
  auto manifest = Frozen("cells: {model: " + folder_.path() + "/micro-dalle, prompt: x, seed: 0..9}\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->models(0).id(), folder_.path() + "/micro-dalle");
  EXPECT_EQ(manifest->models(0).digest(), catalog_.Find("micro-dalle")->digest);
}

TEST_F(FreezeTest, UnknownModelsAreNamedWithPlaceAndNearest) {
  EXPECT_THAT(
      Problem("cells:\n  model: [micro-dale]\n  prompt: x\n  seed: 1\n"),
      AllOf(HasSubstr("s.yaml:4:11: unknown model \"micro-dale\""), HasSubstr("\"micro-dalle\""), HasSubstr(folder_.path())));
  EXPECT_THAT(Problem("embedders: [micro-clap]\ncells: {model: null, prompt: x, seed: 1}\n"),
              AllOf(HasSubstr("s.yaml:3:13"), HasSubstr("\"micro-clip\"")));
}

TEST_F(FreezeTest, ModelsStandWhereTheyCanWork) {
  EXPECT_THAT(Problem("cells: {model: micro-clip, prompt: x, seed: 1}\n"),
              AllOf(HasSubstr("s.yaml:3:16"), HasSubstr("does not generate")));
  EXPECT_THAT(Problem("embedders: [micro-dalle]\ncells: {model: null, prompt: x, seed: 1}\n"), HasSubstr("does not embed"));
}

TEST_F(FreezeTest, SettingsAreThoseOfTheModelsTheyReach) {
  EXPECT_THAT(Problem("cells: {model: null, prompt: x, seed: 1, temperature: [0.5]}\n"),
              AllOf(HasSubstr("s.yaml:3:56"), HasSubstr("architecture null has no setting")));
  EXPECT_THAT(Problem("cells: {model: [null, micro-dalle], prompt: x, seed: 1, temperature: 2}\n"), HasSubstr("no setting"));
  EXPECT_THAT(Problem("settings: {width: 8}\ncells: {model: micro-dalle, prompt: x, seed: 1}\n"),
              HasSubstr("no setting \"width\""));
  EXPECT_THAT(Problem("cells: {model: micro-dalle, prompt: x, seed: 1, top_k: [5, 513]}\n"),
              AllOf(HasSubstr("s.yaml:3:"), HasSubstr("from 0 to 512")));
  EXPECT_THAT(Problem("cells: {model: micro-dalle, prompt: x, seed: 1, top_k: 500..600}\n"), HasSubstr("from 0 to 512"));
  // In a chain each part meets only its own models.
  EXPECT_TRUE(Frozen("cells:\n  chain:\n    - {model: null, prompt: x, seed: 1, width: 4}\n    - {model: micro-dalle, prompt: x, "
                     "seed: 1, temperature: 2}\n")
                  .ok());
  // A model outside a chain reaches into it.
  EXPECT_THAT(
      Problem(
          "cells:\n  model: null\n  chain:\n    - {prompt: x, seed: 1, width: 4}\n    - {prompt: x, seed: 1, temperature: 2}\n"),
      HasSubstr("no setting"));
}

TEST_F(FreezeTest, SettingsGetTheirType) {
  auto manifest = Frozen("settings: {top_k: 50.0}\ncells: {model: micro-dalle, prompt: x, seed: 1, temperature: 1..3}\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  auto plan = Plan::FromManifest(*manifest);
  ASSERT_TRUE(plan.ok());
  auto cell = plan->CellAt(1);
  EXPECT_EQ(cell->settings(0).value().double_value(), 2.0);
  EXPECT_TRUE(cell->settings(0).value().has_double_value());
  EXPECT_EQ(cell->settings(1).value().int_value(), 50);
}

TEST_F(FreezeTest, PlansWithoutTheWeightsWhereAllowed) {
  auto manifest = Frozen("embedders: [clip-b32]\ncells: {model: dalle-mini, prompt: x, seed: 0..4, temperature: 2}\n", true);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->models(0).digest(), "");
  auto plan = Plan::FromManifest(*manifest);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->CellAt(0)->fingerprint(), "");
  folder_.Write("micro-dalle/encoder.safetensors", "broken");
  auto catalog = ModelCatalog::Open({folder_.path()});
  catalog_ = *catalog;
  EXPECT_THAT(Problem("cells: {model: micro-dalle, prompt: x, seed: 1}\n", true), HasSubstr("encoder.safetensors"));
}

TEST_F(FreezeTest, SweepsThatNoMessageHoldsAreRefused) {
  std::string prompts;
  for (int i = 0; i < 90'000; ++i)
    prompts += "a rather long prompt about nothing in particular, number " + std::to_string(i) + "\n";
  folder_.Write("p.txt", prompts);
  EXPECT_THAT(Problem("cells: {model: null, prompt: {file: p.txt}, seed: 1}\n"),
              AllOf(HasSubstr("s.yaml:3:8: "), HasSubstr("split its prompts")));
}

TEST_F(FreezeTest, DtypesAreChecked) {
  auto loaded = ParseSpec("version: 1\nname: t\ncells: {model: null, prompt: x, seed: 1}\n", "s.yaml", "/");
  ASSERT_TRUE(loaded.ok());
  FreezeOptions options;
  options.compute_dtype = "bfloat61";
  EXPECT_THAT(std::string(Freeze(loaded->spec, catalog_, options).status().message()), HasSubstr("\"bfloat16\""));
  options.compute_dtype = "float32";
  options.noise_dtype = "float64";
  EXPECT_FALSE(Freeze(loaded->spec, catalog_, options).ok());
  EXPECT_FALSE(Freeze(v1::SweepSpec(), catalog_, {}).ok());
}

}  // namespace
}  // namespace promptsweep::sweep
