// Proves that a sweep that grows by its stop rule keeps the proportions in which its seeds were asked.
#include "jobs/sweep/growth.h"

#include <gtest/gtest.h>

#include "jobs/sweep/spec.h"

namespace promptsweep::sweep {
namespace {

// Asked 100 to 1, grown twelve times: rounding up from the seeds there are would end at 37 or more to 893.
TEST(Growth, KeepsTheProportionsThatWereAsked) {
  const auto loaded = ParseSpec(
      "version: 1\nname: a\nembedders: [null-embed]\nstop: {decide_at: 0.1}\ncells:\n  chain:\n"
      "    - product: {model: [null], prompt: [a], seed: 0..99}\n    - product: {model: [null], prompt: [b], seed: 0..0}\n",
      "a.yaml", ".");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  v1::SweepManifest manifest;
  *manifest.mutable_spec() = loaded->spec;
  manifest.set_cell_count(101);
  const auto seeds = [&](const std::string& prompt) {
    uint64_t sum = 0;
    for (const v1::CellNode& part : manifest.spec().cells().chain().parts()) {
      uint64_t count = 0;
      bool asked = false;
      for (const v1::CellNode& factor : part.product().factors()) {
        if (factor.axis().name() == "seed") count = factor.axis().range().count();
        if (factor.axis().name() == "prompt") asked = factor.axis().list().values(0).prompt_value().text() == prompt;
      }
      if (asked) sum += count;
    }
    return sum;
  };
  for (int look = 0; look < 12; ++look) {
    const auto grown = GrowSeeds(manifest, {.target = true, .factor = 1.2, .max_cells = 100'000});
    ASSERT_TRUE(grown.ok()) << grown.status();
    manifest = *grown;
    EXPECT_EQ(seeds("a") + seeds("b"), manifest.cell_count());
    EXPECT_EQ(seeds("b"), (seeds("a") + 99) / 100) << seeds("a");
  }
  // Its author asks 50 times as much of the one: that is the proportion from now on, and nothing is made up for.
  v1::CellNode more = manifest.spec().cells().chain().parts(1);
  for (v1::CellNode& factor : *more.mutable_product()->mutable_factors()) {
    if (factor.axis().name() != "seed") continue;
    factor.mutable_axis()->mutable_range()->set_first(1'000'000);
    factor.mutable_axis()->mutable_range()->set_count(5000);
  }
  *manifest.mutable_spec()->mutable_cells()->mutable_chain()->add_parts() = more;
  manifest.set_cell_count(manifest.cell_count() + 5000);
  const uint64_t a = seeds("a"), b = seeds("b");
  const auto grown = GrowSeeds(manifest, {.target = true, .factor = 1.5, .max_cells = 100'000});
  ASSERT_TRUE(grown.ok()) << grown.status();
  manifest = *grown;
  EXPECT_NEAR(static_cast<double>(seeds("a")), 1.5 * static_cast<double>(a), 1);
  EXPECT_NEAR(static_cast<double>(seeds("b")), 1.5 * static_cast<double>(b), 1);
}

}  // namespace
}  // namespace promptsweep::sweep
