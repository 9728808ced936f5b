// Proves that every shipped spec parses, has the size it promises, and asks what the literature asked.
#include <filesystem>
#include <set>

#include "jobs/sweep/algebra.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/plan.h"
#include "jobs/sweep/prompt_text.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

const std::string kSpecs = PROMPTSWEEP_SOURCE_DIR "/jobs/specs/";

uint64_t CountOf(const std::string& name) {
  auto loaded = LoadSpec(kSpecs + name);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? (*CellTree::Compile(loaded->spec.cells()))->count() : 0;
}

TEST(ShippedSpecs, AllFreezeWithoutWeights) {
  auto catalog = ModelCatalog::Open({});
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kSpecs)) {
    if (entry.path().extension() != ".yaml") continue;
    auto loaded = LoadSpec(entry.path().string());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(names.insert(loaded->spec.name()).second);
    FreezeOptions options;
    options.allow_unknown_models = true;
    options.where = &loaded->where;
    auto manifest = Freeze(loaded->spec, *catalog, options);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_TRUE(Plan::FromManifest(*manifest).ok());
    EXPECT_EQ(manifest->embedders_size(), 1);
  }
  EXPECT_GE(names.size(), 7u);
}

TEST(ShippedSpecs, BlankPromptIsTwoThousandBlankAgainstFortyTimesFifty) {
  EXPECT_EQ(CountOf("blank_prompt.yaml"), 4000u);
  auto loaded = LoadSpec(kSpecs + "blank_prompt.yaml");
  ASSERT_TRUE(loaded.ok());
  auto tree = CellTree::Compile(loaded->spec.cells());
  int blank = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    (*tree)->Visit(i, [&](const std::string& axis, const v1::Value& value) {
      blank += axis == "prompt" && value.prompt_value().blank() == v1::BLANK_KIND_EMPTY;
    });
  }
  EXPECT_EQ(blank, 2000);
}

TEST(ShippedSpecs, Sizes) {
  EXPECT_EQ(CountOf("cetinic2022.yaml"), 700u);
  EXPECT_EQ(CountOf("friedrich2023.yaml"), 400u);
  EXPECT_EQ(CountOf("occupations.yaml"), 50u * 20 + 200);
  EXPECT_EQ(CountOf("blank_kinds.yaml"), 1000u);
  EXPECT_EQ(CountOf("null_smoke.yaml"), 400u);
}

TEST(ShippedSpecs, NullSmokeNeedsNoWeights) {
  auto loaded = LoadSpec(kSpecs + "null_smoke.yaml");
  ASSERT_TRUE(loaded.ok());
  auto manifest = Freeze(loaded->spec, *ModelCatalog::Open({}), {});
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(Plan::FromManifest(*manifest)->CellAt(399)->fingerprint().size(), 32u);
}

}  // namespace
}  // namespace promptsweep::sweep
