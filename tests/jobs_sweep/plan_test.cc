// Proves what a plan hands to coordinators and workers: complete cells, fingerprints, stretches of one model, a stable digest.
#include "jobs/sweep/plan.h"

#include <atomic>
#include <ctime>
#include <random>
#include <thread>

#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

v1::SweepManifest ManifestOf(const v1::CellNode& cells, const std::vector<std::string>& models) {
  v1::SweepManifest manifest;
  manifest.mutable_spec()->set_version(1);
  manifest.mutable_spec()->set_name("test");
  *manifest.mutable_spec()->mutable_cells() = cells;
  for (const std::string& id : models) {
    v1::ModelRef* model = manifest.add_models();
    model->set_id(id);
    model->set_digest(std::string(32, id[0]));
  }
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  auto tree = CellTree::Compile(cells);
  manifest.set_cell_count(tree.ok() ? (*tree)->count() : 0);
  return manifest;
}

v1::CellNode Prompts() { return List("prompt", {BlankOf(v1::BLANK_KIND_EMPTY), PromptOf("a dog")}); }

TEST(Plan, CellsAreComplete) {
  v1::SweepManifest manifest =
      ManifestOf(Chain({Product({List("model", {Text("a")}), Prompts(), Range("seed", 10, 1, 3)}),
                        Product({List("model", {Text("b")}), List("top_k", {Int(5)}), Prompts(), Range("seed", 0, 1, 2)})}),
                 {"a", "b"});
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, v1::Value>>{{"temperature", Double(2)}, {"top_k", Int(9)}}) {
    v1::Setting* setting = manifest.mutable_spec()->add_defaults();
    setting->set_name(name);
    *setting->mutable_value() = value;
  }
  auto plan = Plan::FromManifest(manifest);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->cell_count(), 10u);
  auto cell = plan->CellAt(4);
  ASSERT_TRUE(cell.ok());
  EXPECT_EQ(cell->ordinal(), 4u);
  EXPECT_EQ(cell->model(), "a");
  EXPECT_EQ(cell->prompt().text(), "a dog");
  EXPECT_EQ(cell->seed(), 11);
  ASSERT_EQ(cell->settings_size(), 2);
  EXPECT_EQ(cell->settings(0).name(), "temperature");
  EXPECT_EQ(cell->settings(1).value().int_value(), 9);
  EXPECT_EQ(cell->fingerprint(), CellFingerprint(*cell, std::string(32, 'a'), "float32", "float32"));
  EXPECT_EQ(plan->CellAt(0)->prompt().blank(), v1::BLANK_KIND_EMPTY);
  // An axis of the cell's own wins over the default.
  EXPECT_EQ(plan->CellAt(6)->settings(1).value().int_value(), 5);
  EXPECT_EQ(plan->CellAt(10).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(Plan, SameModelEndIsExact) {
  std::vector<v1::CellNode> trees = {
      Product({List("model", {Text("a"), Text("a"), Text("b")}), Prompts(), Range("seed", 0, 1, 3)}),
      Product({Range("seed", 0, 1, 4), List("model", {Text("a"), Text("b"), Text("a")}), Prompts()}),
      Chain({Product({List("model", {Text("a")}), Prompts(), Range("seed", 0, 1, 2)}),
             Product({List("model", {Text("a"), Text("b")}), Prompts(), Range("seed", 0, 1, 2)}),
             Exclude(Product({List("model", {Text("b"), Text("c")}), Prompts(), Range("seed", 0, 1, 5)}),
                     {{{"model", {Text("b")}}, {"seed", {Int(0), Int(4)}}},
                      {{"model", {Text("c")}}, {"prompt", {PromptOf("a dog")}}}})}),
      Zip({List("model", {Text("a"), Text("a"), Text("b"), Text("a")}), Range("seed", 0, 1, 4),
           List("prompt", {PromptOf("x"), PromptOf("x"), PromptOf("y"), PromptOf("z")})}),
  };
  for (const v1::CellNode& tree : trees) {
    auto plan = Plan::FromManifest(ManifestOf(tree, {"a", "b", "c"}));
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (uint64_t begin = 0; begin < plan->cell_count(); ++begin) {
      EXPECT_EQ(plan->ModelAt(begin), plan->CellAt(begin)->model());
      uint64_t expected = begin;
      while (expected < plan->cell_count() && plan->ModelAt(expected) == plan->ModelAt(begin)) ++expected;
      EXPECT_EQ(plan->SameModelEnd(begin, ~uint64_t{0}), expected) << begin << " of " << tree.ShortDebugString();
      EXPECT_EQ(plan->SameModelEnd(begin, begin + 1), begin + 1);
    }
  }
}

TEST(Plan, OneModelInnermostIsStillOneStretch) {
  auto plan =
      Plan::FromManifest(ManifestOf(Product({Range("seed", 0, 1, 1'000'000'000), Prompts(), List("model", {Text("a")})}), {"a"}));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->SameModelEnd(5, ~uint64_t{0}), 2'000'000'000u);
}

TEST(Plan, WrongManifestsAreRefused) {
  v1::CellNode cells = Product({List("model", {Text("a")}), Prompts(), Range("seed", 0, 1, 3)});
  auto refused = [](const v1::SweepManifest& manifest, const std::string& word) {
    auto plan = Plan::FromManifest(manifest);
    ASSERT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << word;
    EXPECT_NE(plan.status().message().find(word), absl::string_view::npos) << plan.status();
  };
  refused(ManifestOf(cells, {"b"}), "not in the manifest");
  refused(ManifestOf(cells, {"a", "a"}), "twice");
  refused(ManifestOf(Product({List("model", {Text("a")}), Prompts()}), {"a"}), "seed");
  refused(ManifestOf(Chain({cells, Product({List("model", {Text("a")}), Range("seed", 0, 1, 3)})}), {"a"}), "prompt");
  v1::SweepManifest manifest = ManifestOf(cells, {"a"});
  manifest.set_cell_count(7);
  refused(manifest, "7 cells");
  manifest = ManifestOf(cells, {"a"});
  manifest.mutable_models(0)->set_digest("short");
  refused(manifest, "32 bytes");
  manifest = ManifestOf(cells, {"a"});
  manifest.mutable_spec()->add_defaults()->set_name("seed");
  refused(manifest, "default");
  refused(v1::SweepManifest(), "empty");
}

TEST(Plan, DigestNamesTheContent) {
  v1::SweepManifest manifest = ManifestOf(Product({List("model", {Text("a")}), Prompts(), Range("seed", 0, 1, 3)}), {"a"});
  v1::SweepManifest copy;
  ASSERT_TRUE(copy.ParseFromString(manifest.SerializeAsString()));
  EXPECT_EQ(ManifestDigest(copy), ManifestDigest(manifest));
  EXPECT_EQ(ManifestDigest(manifest).size(), 32u);
  copy.mutable_models(0)->set_digest(std::string(32, 'z'));
  EXPECT_NE(ManifestDigest(copy), ManifestDigest(manifest));
}

TEST(Plan, ABillionCellsCostNothing) {
  v1::SweepManifest manifest =
      ManifestOf(Product({List("model", {Text("a")}), Prompts(), Range("seed", 0, 1, 500'000'000)}), {"a"});
  const std::clock_t start = std::clock();
  auto plan = Plan::FromManifest(manifest);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->CellAt(999'999'999)->seed(), 499'999'999);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 10);
}

TEST(Plan, IsSharedByThreads) {
  auto plan = Plan::FromManifest(
      ManifestOf(Product({List("model", {Text("a"), Text("b")}), Prompts(), Range("seed", 0, 1, 500)}), {"a", "b"}));
  ASSERT_TRUE(plan.ok());
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([copy = *plan, &wrong] {
      for (uint64_t i = 0; i < copy.cell_count(); ++i) wrong += copy.CellAt(i)->seed() != static_cast<int64_t>(i % 500);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace promptsweep::sweep
