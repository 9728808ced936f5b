// Proves that what passes for an extension moves no ordinal and no fingerprint, that extended specs pass, and what else is said.
#include "jobs/sweep/extension.h"

#include <functional>

#include "gmock/gmock.h"
#include "jobs/sweep/difference.h"
#include "jobs/sweep/plan.h"
#include "tests/jobs_sweep/random_cells.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::HasSubstr;

v1::SweepManifest ManifestOf(const v1::SweepSpec& spec) {
  v1::SweepManifest manifest;
  *manifest.mutable_spec() = spec;
  for (const char* id : {"a", "b", "c"}) {
    v1::ModelRef* model = manifest.add_models();
    model->set_id(id);
    model->set_architecture("null");
    model->set_digest(std::string(32, id[0]));
  }
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  auto tree = CellTree::Compile(spec.cells());
  manifest.set_cell_count(tree.ok() ? (*tree)->count() : 0);
  return manifest;
}

// True if every old ordinal names the same cell, and there are more.
bool KeepsOrdinals(const v1::SweepManifest& before, const v1::SweepManifest& after) {
  auto old_plan = Plan::FromManifest(before), plan = Plan::FromManifest(after);
  if (!old_plan.ok() || !plan.ok() || plan->cell_count() <= old_plan->cell_count()) return false;
  for (uint64_t i = 0; i < old_plan->cell_count(); ++i) {
    if (plan->CellAt(i)->SerializeAsString() != old_plan->CellAt(i)->SerializeAsString()) return false;
  }
  return true;
}

TEST(CheckExtension, ExtendedSpecsPassAndKeepEveryOrdinal) {
  Random random(74);
  int passed = 0;
  for (int round = 0; round < 1500; ++round) {
    const std::vector<std::string> axes = {"model", "prompt", "seed", "top_k"};
    v1::SweepSpec before = WithRandomDefaults(random, RandomOfCount(random, axes, 1 + Below(random, 8))), grown = before;
    if (Below(random, 2))
      *before.mutable_cells() = Chain({before.cells(), RandomTree(random, {"model", "prompt", "seed"}, 0, 2)});
    *grown.mutable_cells() = Chain({RandomOfCount(random, axes, 1 + Below(random, 12)), RandomTree(random, axes, 0, 2)});
    auto extended = ExtendSpec(before, grown);
    ASSERT_TRUE(extended.ok()) << extended.status();
    const v1::SweepManifest old_manifest = ManifestOf(before), manifest = ManifestOf(*extended);
    const absl::Status status = CheckExtension(old_manifest, manifest);
    if (manifest.cell_count() == old_manifest.cell_count()) {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(KeepsOrdinals(old_manifest, manifest)) << manifest.ShortDebugString();
    ++passed;
  }
  EXPECT_GT(passed, 1000);
}

TEST(CheckExtension, WhatPassesKeepsEveryOrdinal) {
  Random random(75);
  const std::vector<std::string> axes = {"model", "prompt", "seed", "top_k"};
  int passed = 0, refused = 0;
  for (int round = 0; round < 6000; ++round) {
    v1::CellNode cells = RandomOfCount(random, axes, 1 + Below(random, 6));
    if (Below(random, 2)) cells = Chain({cells, RandomOfCount(random, axes, 1 + Below(random, 3))});
    const v1::SweepManifest before = ManifestOf(WithRandomDefaults(random, cells));
    v1::CellNode more = Below(random, 3) == 0 || !cells.has_chain() ? Chain({cells}) : cells;
    if (Below(random, 4)) *more.mutable_chain()->add_parts() = RandomOfCount(random, axes, 1 + Below(random, 4));
    v1::SweepManifest after = before;
    *after.mutable_spec()->mutable_cells() = more;
    for (int n = Below(random, 2); n > 0; --n) {
      switch (Below(random, 8)) {
        case 0:
          Mutate(random, *after.mutable_spec()->mutable_cells());
          break;
        case 1:
          after.mutable_models(Below(random, 3))->set_digest(std::string(32, 'z'));
          break;
        case 2:
          after.mutable_spec()->clear_defaults();
          break;
        case 3:
          AddDefault(*after.mutable_spec(), "zeta", Int(1));
          break;
        case 4:
          after.set_compute_dtype("bfloat16");
          break;
        case 5:
          after.mutable_spec()->mutable_cells()->mutable_chain()->mutable_parts()->SwapElements(
              0, after.spec().cells().chain().parts_size() - 1);
          break;
        case 6:
          after.add_models()->set_id("d");
          break;
        default:
          after.mutable_models()->DeleteSubrange(Below(random, 3), 1);
      }
    }
    auto tree = CellTree::Compile(after.spec().cells());
    after.set_cell_count(tree.ok() ? (*tree)->count() : 0);
    const absl::Status status = CheckExtension(before, after);
    if (status.ok()) {
      ASSERT_TRUE(KeepsOrdinals(before, after)) << before.ShortDebugString() << "\n" << after.ShortDebugString();
      ++passed;
    } else {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      ASSERT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
      ++refused;
    }
  }
  EXPECT_GT(passed, 1500);
  EXPECT_GT(refused, 1500);
}

TEST(CheckExtension, SaysWhatDiffers) {
  const v1::CellNode part = Product({Models({"a"}), Prompts({"x"}), Range("seed", 0, 1, 5)}),
                     more = Product({Models({"b"}), Prompts({"x"}), Range("seed", 0, 1, 5)});
  v1::SweepManifest before = ManifestOf(SpecOf(part));
  before.mutable_models()->DeleteSubrange(1, 2);
  auto message = [&](const std::function<void(v1::SweepManifest&)>& change) {
    v1::SweepManifest after = ManifestOf(SpecOf(Chain({part, more})));
    change(after);
    return std::string(CheckExtension(before, after).message());
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& after) { after.mutable_models(2)->clear_digest(); }), "");
  EXPECT_THAT(message([](auto& after) { after.mutable_models(0)->set_digest(std::string(32, 'z')); }),
              HasSubstr("models.a: weights 616161616161 -> 7a7a7a7a7a7a"));
  EXPECT_THAT(message([](auto& after) { after.mutable_models(0)->set_harmless(true); }), HasSubstr("models.a"));
  EXPECT_THAT(message([](auto& after) { after.set_compute_dtype("bfloat16"); }), HasSubstr("compute_dtype: float32 -> bfloat16"));
  EXPECT_THAT(message([](auto& after) { after.mutable_spec()->set_images("file:///x"); }),
              HasSubstr("images: (store) -> file:///x"));
  EXPECT_THAT(message([](auto& after) { AddDefault(*after.mutable_spec(), "top_k", Int(1)); }), HasSubstr("defaults.top_k"));
  EXPECT_THAT(message([](auto& after) { after.mutable_spec()->add_embedders("e"); }), HasSubstr("embedders"));
  EXPECT_THAT(message([](auto& after) { after.add_embedders()->set_id("e"); }), HasSubstr("embedders.e"));
  EXPECT_THAT(message([](auto& after) { after.set_imported_from("somewhere"); }), HasSubstr("imported"));
  EXPECT_THAT(message([](auto& after) { after.set_cell_count(11); }), HasSubstr("11 cells"));
  EXPECT_THAT(message([&](auto& after) { after = before; }), HasSubstr("nothing new"));
  EXPECT_THAT(message([&](auto& after) { after = ManifestOf(SpecOf(Chain({part}))); }), HasSubstr("nothing new"));
  EXPECT_THAT(message([&](auto& after) { after = ManifestOf(SpecOf(Chain({more, part}))); }),
              HasSubstr("do not begin with those of the sweep: cells.model: [a] -> [b]"));
  EXPECT_THAT(
      message([&](auto& after) { after = ManifestOf(SpecOf(Product({Models({"a"}), Prompts({"x"}), Range("seed", 0, 1, 9)}))); }),
      HasSubstr("cells.seed: 0..4 -> 0..8"));
  // A chain goes on with its own parts, or is the first part of another.
  before = ManifestOf(SpecOf(Chain({part, more})));
  EXPECT_EQ(message([&](auto& after) { after = ManifestOf(SpecOf(Chain({part, more, part}))); }), "");
  EXPECT_EQ(message([&](auto& after) { after = ManifestOf(SpecOf(Chain({Chain({part, more}), part}))); }), "");
  EXPECT_THAT(message([&](auto& after) { after = ManifestOf(SpecOf(Chain({part}))); }), HasSubstr("cells.chain[1]"));
}

// Manifests come over the wire from whoever may submit.
TEST(CheckExtension, NoBytesCrashIt) {
  Random random(76);
  const std::vector<std::string> axes = {"model", "prompt", "seed", "top_k"};
  int parsed = 0;
  for (int round = 0; round < 4000; ++round) {
    const v1::SweepManifest before = ManifestOf(WithRandomDefaults(random, RandomTree(random, axes, 3, 3)));
    std::string bytes = before.SerializeAsString();
    for (int edits = 1 + Below(random, 4); edits > 0; --edits) {
      const size_t at = random() % bytes.size();
      if (Below(random, 2)) {
        bytes[at] = static_cast<char>(random() % 128);
      } else {
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 30));
      }
    }
    v1::SweepManifest after;
    if (!after.ParseFromString(bytes)) continue;
    ++parsed;
    for (const absl::Status& status :
         {CheckExtension(before, after), CheckExtension(after, before), ExtendSpec(before.spec(), after.spec()).status(),
          ExtendSpec(after.spec(), before.spec()).status()}) {
      ASSERT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    }
    ASSERT_EQ(Differences(before, after).empty(), before.SerializeAsString() == after.SerializeAsString());
  }
  EXPECT_GT(parsed, 300);
}

}  // namespace
}  // namespace promptsweep::sweep
