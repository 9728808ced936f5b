// Proves that an extended spec asks exactly what its grown spec asks beyond it, behind what was there: random trees against sets
// of cells by naive expansion, and the growths people write.
#include <ctime>
#include <functional>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "jobs/sweep/algebra_difference.h"
#include "jobs/sweep/extension.h"
#include "jobs/sweep/freeze.h"
#include "tests/jobs_sweep/random_cells.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Cells in order, defaults filled in.
std::vector<Cell> CellsOf(const v1::SweepSpec& spec, const v1::CellNode& node) {
  std::vector<Cell> cells = Expand(node);
  for (Cell& cell : cells) {
    for (const v1::Setting& setting : spec.defaults()) cell.emplace(setting.name(), CanonicalValue(setting.value()));
  }
  return cells;
}

// Those of `grown` that are not in `before`, each once, in order.
std::vector<Cell> Beyond(const std::vector<Cell>& before, const std::vector<Cell>& grown) {
  std::set<Cell> had(before.begin(), before.end());
  std::vector<Cell> fresh;
  for (const Cell& cell : grown) {
    if (had.insert(cell).second) fresh.push_back(cell);
  }
  return fresh;
}

struct Counts {
  int compared = 0, grew = 0, nothing = 0, begun = 0;
};

// Checks one growth against sets of cells; the extended spec, if there is one.
std::optional<v1::SweepSpec> Check(const v1::SweepSpec& before, const v1::SweepSpec& grown, Counts& counts) {
  if (!CellTree::Compile(before.cells()).ok() || !CellTree::Compile(grown.cells()).ok()) return std::nullopt;
  const std::vector<Cell> had = CellsOf(before, before.cells()), asked = CellsOf(grown, grown.cells());
  if (had.size() > 600 || asked.size() > 600) return std::nullopt;
  auto both = [&] { return before.ShortDebugString() + "\n" + grown.ShortDebugString(); };
  const std::vector<Cell> expected = Beyond(had, asked);
  auto beyond = CellsBeyond(grown.cells(), before.cells(), before.defaults());
  EXPECT_TRUE(beyond.ok()) << beyond.status() << "\n" << both();
  if (!beyond.ok()) return std::nullopt;
  EXPECT_EQ(beyond->has_value(), !expected.empty()) << both();
  if (beyond->has_value()) {
    auto tree = CellTree::Compile(**beyond);
    EXPECT_TRUE(tree.ok()) << tree.status() << "\n" << both();
    EXPECT_EQ(CellsOf(before, **beyond), expected) << both() << "\n" << (*beyond)->ShortDebugString();
  }
  auto extended = ExtendSpec(before, grown);
  EXPECT_TRUE(extended.ok()) << extended.status() << "\n" << both();
  if (!extended.ok()) return std::nullopt;
  std::vector<Cell> all = CellsOf(before, extended->cells());
  EXPECT_TRUE(all.size() >= had.size() && std::equal(had.begin(), had.end(), all.begin())) << both();
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), had.size())));
  const bool verbatim = all != expected;
  // Then it can only be the author's own parts, which may ask again.
  if (verbatim) {
    EXPECT_TRUE(grown.cells().has_chain()) << both();
    EXPECT_EQ(CellsOf(grown, extended->cells()), asked) << both();
    ++counts.begun;
  }
  if (expected.empty() && !verbatim) {
    EXPECT_EQ(extended->SerializeAsString(), before.SerializeAsString()) << both();
    ++counts.nothing;
  }
  auto again = ExtendSpec(*extended, grown);
  EXPECT_TRUE(again.ok()) << again.status() << "\n" << both();
  if (again.ok()) {
    EXPECT_EQ(again->SerializeAsString(), extended->SerializeAsString()) << both();
  }
  ++counts.compared;
  counts.grew += !expected.empty();
  return *extended;
}

TEST(Extend, RandomTreesGrowByExactlyWhatIsMissing) {
  Random random(71);
  Counts counts;
  for (int round = 0; round < 2000 && !::testing::Test::HasFailure(); ++round) {
    v1::SweepSpec before = WithRandomDefaults(random, RandomTree(random, {"model", "prompt", "seed", "top_k"}, 3, 3)),
                  grown = before;
    *grown.mutable_cells() = RandomTree(random, {"model", "prompt", "seed", "top_k"}, 3, 3);
    Check(before, grown, counts);
  }
  EXPECT_GT(counts.compared, 1200);
  EXPECT_GT(counts.grew, 1000);
}

TEST(Extend, GrownSpecsGrowAgainAndAgain) {
  Random random(72);
  Counts counts;
  for (int round = 0; round < 800 && !::testing::Test::HasFailure(); ++round) {
    v1::SweepSpec before = WithRandomDefaults(random, RandomTree(random, {"model", "prompt", "seed", "top_k"}, 2 + round % 2, 3));
    v1::SweepSpec grown = before;
    for (int time = 0; time < 3; ++time) {
      Mutate(random, *grown.mutable_cells());
      if (Below(random, 5) == 0) {
        *grown.mutable_cells() = Chain({grown.cells(), RandomTree(random, {"model", "prompt", "seed", "top_k"}, 1, 2)});
      }
      auto extended = Check(before, grown, counts);
      if (!extended.has_value()) break;
      before = *extended;
    }
  }
  EXPECT_GT(counts.compared, 1000);
  EXPECT_GT(counts.grew, 450);
  EXPECT_GT(counts.nothing, 50);
  EXPECT_GT(counts.begun, 5);
}

std::string Shown(const v1::CellNode& node) {
  auto all = [](const auto& nodes) {
    std::vector<std::string> texts;
    for (const v1::CellNode& child : nodes) texts.push_back(Shown(child));
    return absl::StrJoin(texts, " ");
  };
  if (node.has_product()) return "(" + all(node.product().factors()) + ")";
  if (node.has_chain()) return "chain[" + all(node.chain().parts()) + "]";
  if (node.has_zip()) return "zip[" + all(node.zip().parts()) + "]";
  if (node.has_exclude()) return "exclude";
  const v1::Axis& axis = node.axis();
  if (axis.has_range())
    return axis.name() + "=" + std::to_string(axis.range().first()) + "+" + std::to_string(axis.range().count());
  return axis.name() + "=" + absl::StrJoin(axis.list().values(), ",", [](std::string* out, const v1::Value& value) {
           *out += value.has_prompt_value()   ? value.prompt_value().text()
                   : value.has_string_value() ? value.string_value()
                                              : value.ShortDebugString();
         });
}

std::string Extended(const v1::CellNode& before, const v1::CellNode& grown) {
  auto spec = ExtendSpec(SpecOf(before), SpecOf(grown));
  return spec.ok() ? Shown(spec->cells()) : std::string(spec.status().message());
}

TEST(Extend, GrowthIsWrittenAsPlainProducts) {
  const v1::CellNode old = Product({Models({"m"}), Prompts({"a", "b"}), Range("seed", 0, 1, 2000)});
  const std::string was = "(model=m prompt=a,b seed=0+2000)";
  EXPECT_EQ(Extended(old, old), was);
  EXPECT_EQ(Extended(old, Product({Models({"m"}), Prompts({"a", "b"}), Range("seed", 0, 1, 4000)})),
            "chain[" + was + " (model=m prompt=a,b seed=2000+2000)]");
  EXPECT_EQ(Extended(old, Product({Models({"m"}), Prompts({"a", "b", "c"}), Range("seed", 0, 1, 4000)})),
            "chain[" + was + " (model=m chain[(prompt=a,b seed=2000+2000) (prompt=c seed=0+4000)])]");
  EXPECT_EQ(Extended(old, Product({Models({"m", "n"}), Prompts({"a", "b"}), Range("seed", 0, 1, 2000)})),
            "chain[" + was + " (model=n prompt=a,b seed=0+2000)]");
  // Before and after what was there.
  EXPECT_EQ(Extended(Product({Models({"m"}), Prompts({"a"}), Range("seed", 1000, 1, 1000)}),
                     Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, 1, 3000)})),
            "chain[(model=m prompt=a seed=1000+1000) (model=m prompt=a chain[seed=0+1000 seed=2000+1000])]");
  // A range with a step goes on with it.
  EXPECT_EQ(Extended(Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, 10, 100)}),
                     Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, 10, 300)})),
            "chain[(model=m prompt=a seed=0+100) (model=m prompt=a seed=1000+200)]");
  // A part that was appended by hand stays as it is, though it asks some cells again.
  EXPECT_EQ(Extended(old, Chain({old, Product({Models({"m"}), Prompts({"a"}), Range("seed", 1999, 1, 2)})})),
            "chain[" + was + " (model=m prompt=a seed=1999+2)]");
  // What is no longer asked stays.
  EXPECT_EQ(Extended(old, Product({Models({"m"}), Prompts({"b", "c"}), Range("seed", 0, 1, 2000)})),
            "chain[" + was + " (model=m prompt=c seed=0+2000)]");
  EXPECT_EQ(Extended(old, Product({Models({"m"}), Prompts({"b"}), Range("seed", 0, 1, 10)})), was);
}

TEST(Extend, TheExampleOfTheReadmeHolds) {
  EXPECT_EQ(Extended(Product({Models({"m"}), Prompts({"dog", "cat"}), Range("seed", 0, 1, 1000)}),
                     Product({Models({"m", "n"}), Prompts({"dog", "cat", "owl"}), Range("seed", 0, 1, 2000)})),
            "chain[(model=m prompt=dog,cat seed=0+1000) "
            "(model=m chain[(prompt=dog,cat seed=1000+1000) (prompt=owl seed=0+2000)]) "
            "(model=n prompt=dog,cat,owl seed=0+2000)]");
}

TEST(Extend, ASettingThatStandsInTheDefaultsIsTheSameCell) {
  v1::SweepSpec before = SpecOf(Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, 1, 5)})), grown = before;
  AddDefault(before, "temperature", Double(1));
  AddDefault(grown, "temperature", Int(1));
  *grown.mutable_cells() =
      Product({Models({"m"}), List("temperature", {Double(0.5), Double(1)}), Prompts({"a"}), Range("seed", 0, 1, 5)});
  auto extended = ExtendSpec(before, grown);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ(Shown(extended->cells()),
            "chain[(model=m prompt=a seed=0+5) (model=m temperature=double_value: 0.5 prompt=a seed=0+5)]");
  // Without the default, no temperature and temperature 1 are different cells.
  before.clear_defaults();
  grown.clear_defaults();
  extended = ExtendSpec(before, grown);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ((*CellTree::Compile(extended->cells()))->count(), 15u);
}

TEST(Extend, FrozenAndWrittenFormsAreTheSame) {
  auto parse = [](const std::string& cells) {
    auto loaded = ParseSpec("version: 1\nname: t\nsettings: {supercondition: 4}\ncells:\n" + cells, "s.yaml", "/");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded->spec;
  };
  const std::string part = "    - {model: null, prompt: a, delay_ms: 0..3, seed: 0..9}\n";
  auto catalog = ModelCatalog::Open({});
  v1::SweepSpec before = parse("  chain:\n" + part);
  before.clear_defaults();
  auto frozen = Freeze(before, *catalog, {});
  ASSERT_TRUE(frozen.ok()) << frozen.status();
  v1::SweepSpec grown = parse("  chain:\n" + part + "    - {model: null, prompt: b, seed: 0..9}\n");
  grown.clear_defaults();
  auto extended = ExtendSpec(frozen->spec(), grown);
  ASSERT_TRUE(extended.ok()) << extended.status();
  auto refrozen = Freeze(*extended, *catalog, {});
  ASSERT_TRUE(refrozen.ok()) << refrozen.status();
  EXPECT_TRUE(CheckExtension(*frozen, *refrozen).ok()) << CheckExtension(*frozen, *refrozen);
  EXPECT_EQ(refrozen->cell_count(), 50u);
}

TEST(Extend, ZipsGrow) {
  auto zip = [](int n) {
    std::vector<v1::Value> ks;
    for (int k = 0; k < n; ++k) ks.push_back(Int(k * k));
    return Product({Models({"m"}), Zip({List("top_k", ks), Range("width", 5, 1, n)}), Prompts({"a"}), Range("seed", 0, 1, 10)});
  };
  EXPECT_EQ(Extended(zip(2), zip(3)),
            "chain[(model=m zip[top_k=int_value: 0,int_value: 1 width=5+2] prompt=a seed=0+10) "
            "(model=m zip[top_k=int_value: 4 width=7+1] prompt=a seed=0+10)]");
  // Long ones are compared by their rows, the longest only with themselves.
  auto seeds = [](uint64_t n, const std::vector<std::string>& models) {
    return Product({Models(models), Zip({Range("top_k", 1, 1, n), Range("seed", 0, 1, n)}), Prompts({"a"})});
  };
  EXPECT_EQ(Extended(seeds(5000, {"m"}), seeds(9000, {"m"})),
            "chain[(model=m zip[top_k=1+5000 seed=0+5000] prompt=a) (model=m zip[top_k=5001+4000 seed=5000+4000] prompt=a)]");
  EXPECT_EQ(
      Extended(seeds(1 << 20, {"m"}), seeds(1 << 20, {"m", "n"})),
      "chain[(model=m zip[top_k=1+1048576 seed=0+1048576] prompt=a) (model=n zip[top_k=1+1048576 seed=0+1048576] prompt=a)]");
  EXPECT_THAT(Extended(seeds(1 << 20, {"m"}), seeds(1 << 21, {"m"})),
              AllOf(HasSubstr("too long to compare"), HasSubstr("append a part with them to the chain of cells instead")));
  EXPECT_THAT(
      Extended(seeds(5000, {"m"}), Product({Models({"m"}), Range("top_k", 1, 1, 9), Prompts({"a"}), Range("seed", 0, 1, 9)})),
      HasSubstr("append a part"));
}

TEST(Extend, ExclusionsGrow) {
  auto cells = [](uint64_t seeds) {
    return Exclude(Product({Models({"m", "n"}), Prompts({"a", "b"}), Range("seed", 0, 1, seeds)}),
                   {{{"model", {Text("m")}}, {"prompt", {PromptOf("a")}}}, {{"model", {Text("n")}}, {"seed", {Int(7)}}}});
  };
  EXPECT_EQ(Extended(cells(1000), cells(2000)),
            "chain[exclude (model=m prompt=b seed=1000+1000) (model=n prompt=a,b seed=1000+1000)]");
  // A rule that is dropped brings its cells.
  EXPECT_EQ(Extended(cells(1000), cells(1000).exclude().from()),
            "chain[exclude (model=m prompt=a seed=0+1000) (model=n prompt=a,b seed=7+1)]");
  EXPECT_EQ(Extended(cells(1000).exclude().from(), cells(1000)), Shown(cells(1000).exclude().from()));
}

TEST(Extend, ARuleOfTheGrownSpecTakesNothingFromWhatIsUnsaid) {
  // The excluded top_k 1 is what the second part's cells have by default; those are asked.
  v1::SweepSpec before = SpecOf(Range("seed", 100, 1, 3)), grown = before;
  *grown.mutable_cells() =
      Exclude(Chain({Product({List("top_k", {Int(1), Int(2)}), Range("seed", 0, 1, 3)}), Range("seed", 0, 1, 3)}),
              {{{"top_k", {Int(1)}}}});
  for (v1::SweepSpec* spec : {&before, &grown}) AddDefault(*spec, "top_k", Int(1));
  Counts counts;
  auto extended = Check(before, grown, counts);
  ASSERT_TRUE(extended.has_value());
  EXPECT_EQ((*CellTree::Compile(extended->cells()))->count(), 9u);
}

TEST(Extend, LongListsAndManyPartsAreNoTrouble) {
  std::vector<v1::Value> some, all;
  for (int k = 0; k < 60'000; ++k) {
    all.push_back(PromptOf(absl::StrCat("prompt ", k)));
    if (k < 40'000) some.push_back(all.back());
  }
  std::clock_t start = std::clock();
  auto extended = ExtendSpec(SpecOf(Product({Models({"m"}), List("prompt", some), Range("seed", 0, 1, 100)})),
                             SpecOf(Product({Models({"m", "n"}), List("prompt", all), Range("seed", 0, 1, 200)})));
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ((*CellTree::Compile(extended->cells()))->count(), 2u * 60'000 * 200);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC * 10);
  start = std::clock();
  v1::SweepSpec before = SpecOf(Chain({})), grown = before;
  for (int p = 0; p < 500; ++p) {
    for (auto [spec, seeds] : {std::pair(&before, 10), std::pair(&grown, 20)}) {
      *spec->mutable_cells()->mutable_chain()->add_parts() =
          Product({Models({absl::StrCat("m", p % 7)}), Prompts({absl::StrCat("p", p)}), Range("seed", 0, 1, seeds)});
    }
  }
  extended = ExtendSpec(before, grown);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ((*CellTree::Compile(extended->cells()))->count(), 500u * 20);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC * 10);
}

TEST(Extend, ABillionCellsCostNothing) {
  auto cells = [](const std::vector<std::string>& models, const std::vector<std::string>& prompts, int64_t first,
                  uint64_t seeds) { return Product({Models(models), Prompts(prompts), Range("seed", first, 1, seeds)}); };
  const uint64_t giga = 1'000'000'000;
  const std::clock_t start = std::clock();
  v1::SweepSpec spec = SpecOf(cells({"m"}, {"a"}, 0, giga));
  std::vector<std::string> models = {"m"}, prompts = {"a"};
  uint64_t seeds = giga;
  for (int time = 1; time <= 20; ++time) {
    models.push_back("m" + std::to_string(time));
    prompts.push_back("p" + std::to_string(time));
    seeds += giga / 10;
    auto extended = ExtendSpec(spec, SpecOf(cells(models, prompts, 0, seeds)));
    ASSERT_TRUE(extended.ok()) << extended.status();
    auto tree = CellTree::Compile(extended->cells());
    ASSERT_TRUE(tree.ok()) << tree.status();
    ASSERT_EQ((*tree)->count(), models.size() * prompts.size() * seeds);
    ASSERT_EQ(extended->cells().chain().parts_size(), time == 1 ? 3 : 1 + 2 * time);
    spec = *extended;
  }
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
}

TEST(Extend, AlternatingValuesAreGathered) {
  std::vector<v1::Value> some, all;
  for (int k = 0; k < 2000; ++k) {
    all.push_back(PromptOf("p" + std::to_string(k)));
    if (k % 2 == 0) some.push_back(all.back());
  }
  auto cells = [](const std::vector<v1::Value>& prompts, uint64_t seeds) {
    return Product({Models({"m"}), List("prompt", prompts), Range("seed", 0, 1, seeds)});
  };
  auto extended = ExtendSpec(SpecOf(cells(some, 1000)), SpecOf(cells(all, 2000)));
  ASSERT_TRUE(extended.ok()) << extended.status();
  const v1::CellNode& part = extended->cells().chain().parts(1);
  ASSERT_EQ(part.product().factors(1).chain().parts_size(), 2);
  EXPECT_EQ((*CellTree::Compile(part))->count(), 1000u * 1000 + 1000 * 2000);
  // Every tenth seed was there: what lies between keeps its order, and is not written out.
  auto seeds = [](int64_t step, uint64_t count) {
    return Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, step, count)});
  };
  extended = ExtendSpec(SpecOf(seeds(100, 20'000)), SpecOf(seeds(1, 2'000'000)));
  ASSERT_TRUE(extended.ok()) << extended.status();
  auto tree = CellTree::Compile(extended->cells());
  ASSERT_EQ((*tree)->count(), 2'000'000u);
  EXPECT_EQ(CellOf(**tree, 20'000)["seed"], CanonicalValue(Int(1)));
  EXPECT_EQ(CellOf(**tree, 20'099)["seed"], CanonicalValue(Int(101)));
  EXPECT_EQ(CellOf(**tree, 1'999'999)["seed"], CanonicalValue(Int(1'999'999)));
  extended = ExtendSpec(SpecOf(seeds(100, 20'000'000)), SpecOf(seeds(1, 2'000'000'000)));
  EXPECT_THAT(std::string(extended.status().message()), HasSubstr("append a part"));
}

TEST(Extend, RangesOfEveryStepEqualTheirExpansion) {
  Random random(73);
  auto range = [&] {
    const int64_t step = (1 + Below(random, 4)) * (Below(random, 2) ? 1 : -1);
    return Range("top_k", Below(random, 40) - 20, step, 1 + Below(random, 20));
  };
  Counts counts;
  for (int round = 0; round < 2000 && !::testing::Test::HasFailure(); ++round) {
    Check(SpecOf(Below(random, 2) ? range() : Chain({range(), range()})), SpecOf(range()), counts);
  }
  EXPECT_GT(counts.grew, 1000);
  const int64_t lowest = std::numeric_limits<int64_t>::min(), highest = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Extended(Range("a", 0, lowest, 2), Range("a", lowest, 1, uint64_t{1} << 63)),
            "chain[a=0+2 a=" + std::to_string(lowest + 1) + "+" + std::to_string(highest) + "]");
  EXPECT_EQ(Extended(Range("a", lowest, highest, 3), List("a", {Int(lowest), Int(-1), Int(highest - 1), Int(highest)})),
            "chain[a=" + std::to_string(lowest) + "+3 a=int_value: " + std::to_string(highest) + "]");
}

TEST(Extend, OnlyCellsMayGrow) {
  const v1::SweepSpec before = SpecOf(Product({Models({"m"}), Prompts({"a"}), Range("seed", 0, 1, 5)}));
  auto refused = [&](const std::function<void(v1::SweepSpec&)>& change) {
    v1::SweepSpec grown = before;
    change(grown);
    auto extended = ExtendSpec(before, grown);
    EXPECT_EQ(extended.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(extended.status().message());
  };
  EXPECT_EQ(refused([](auto& spec) { spec.set_name("u"); }), "only the cells of a sweep can grow: name: t -> u");
  EXPECT_THAT(refused([](auto& spec) { spec.add_embedders("clip"); }), HasSubstr("embedders: [] -> [clip]"));
  EXPECT_THAT(refused([](auto& spec) { spec.set_images("s3://b/p"); }), HasSubstr("images: (store) -> s3://b/p"));
  EXPECT_THAT(refused([](auto& spec) { AddDefault(spec, "top_k", Int(5)); }), HasSubstr("defaults.top_k: (none) -> 5"));
  EXPECT_THAT(refused([](auto& spec) { spec.set_version(2); }), HasSubstr("version: 1 -> 2"));
  EXPECT_THAT(refused([](auto& spec) { spec.clear_cells(); }), HasSubstr("the grown spec is not whole"));
}

}  // namespace
}  // namespace promptsweep::sweep
