// Proves that cells computed from their ordinal are those of a naive expansion, for random trees of every kind of node.
#include "jobs/sweep/algebra.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>

#include "jobs/sweep/fingerprint.h"
#include "tests/jobs_sweep/random_cells.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

TEST(Algebra, Case52_RandomTreesEqualTheirExpansion) {
  Random random(20240);
  int compiled = 0, excluding = 0;
  for (int round = 0; round < 20000; ++round) {
    v1::CellNode node = RandomTree(random, {"model", "prompt", "seed", "top_k"}, 4, 3);
    std::vector<Cell> expected = Expand(node);
    if (expected.size() > 5000) continue;
    auto tree = CellTree::Compile(node);
    if (!tree.ok()) {
      // The only thing wrong with these trees can be that an exclusion leaves nothing.
      ASSERT_EQ(tree.status().message(), "exclusion leaves no cell") << node.ShortDebugString();
      continue;
    }
    ASSERT_EQ((*tree)->count(), expected.size()) << node.ShortDebugString();
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(CellOf(**tree, i), expected[i]) << i << " of " << node.ShortDebugString();
    if ((*tree)->AlwaysHasAxis("model")) {
      uint64_t at = Below(random, static_cast<int>(expected.size()));
      uint64_t end = (*tree)->ModelRunEnd(at);
      ASSERT_GT(end, at);
      ASSERT_LE(end, expected.size());
      for (uint64_t i = at; i < end; ++i)
        ASSERT_EQ((*tree)->Model(i), (*tree)->Model(at)) << i << " of " << node.ShortDebugString();
      ASSERT_EQ("s" + (*tree)->Model(at), expected[at]["model"]);
    }
    for (const char* axis : {"model", "prompt", "seed", "top_k"}) {
      size_t having = std::count_if(expected.begin(), expected.end(), [&](const Cell& cell) { return cell.contains(axis); });
      ASSERT_TRUE(having == 0 || (*tree)->HasAxis(axis)) << node.ShortDebugString();
      ASSERT_TRUE(!(*tree)->AlwaysHasAxis(axis) || having == expected.size()) << node.ShortDebugString();
    }
    ++compiled;
    excluding += node.ShortDebugString().find("exclude") != std::string::npos;
  }
  EXPECT_GT(compiled, 10000);
  EXPECT_GT(excluding, 3000);
}

TEST(Algebra, SixteenOverlappingRulesEqualTheirExpansion) {
  Random random(5);
  for (int round = 0; round < 30; ++round) {
    std::vector<RuleOf> rules;
    for (int r = 0; r < 16; ++r) {
      rules.push_back({{"model", {Text(std::string(1, static_cast<char>('a' + Below(random, 4))))}},
                       {"seed", {Int(Below(random, 12)), Int(Below(random, 12))}},
                       {"top_k", {Int(Below(random, 6)), Int(Below(random, 6)), Int(Below(random, 6))}}});
    }
    v1::CellNode node = Exclude(
        Product({List("model", {Text("a"), Text("b"), Text("c"), Text("d")}), Range("top_k", 0, 1, 6), Range("seed", 0, 1, 12)}),
        rules);
    auto tree = CellTree::Compile(node);
    ASSERT_TRUE(tree.ok()) << tree.status();
    std::vector<Cell> expected = Expand(node);
    ASSERT_EQ((*tree)->count(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(CellOf(**tree, i), expected[i]);
  }
}

TEST(Algebra, Case51_CountsThatDoNotFitAreRefused) {
  auto count = [](const v1::CellNode& node) -> std::optional<uint64_t> {
    auto tree = CellTree::Compile(node);
    if (tree.ok()) return (*tree)->count();
    EXPECT_EQ(tree.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(tree.status().message().find("2^64"), absl::string_view::npos) << tree.status();
    return std::nullopt;
  };
  const uint64_t giga = 1'000'000'000;
  v1::CellNode a = Range("a", 0, 1, giga), b = Range("b", 0, 1, giga), c = Range("c", 0, 1, 18), d = Range("d", 0, 1, 19);
  EXPECT_EQ(count(Product({a, b})), giga * giga);
  EXPECT_EQ(count(Product({a, b, c})), 18 * giga * giga);
  EXPECT_EQ(count(Product({a, b, d})), std::nullopt);
  v1::CellNode half = Range("a", std::numeric_limits<int64_t>::min(), 1, uint64_t{1} << 63);
  EXPECT_EQ(count(Chain({half, half})), std::nullopt);
  EXPECT_EQ(count(Chain({half, Range("a", 0, 1, (uint64_t{1} << 63) - 1)})), std::numeric_limits<uint64_t>::max());
}

TEST(Algebra, LastCellOfTheLargestRangesIsExact) {
  v1::CellNode node = Range("a", std::numeric_limits<int64_t>::min(), 3, 6148914691236517205ull);
  auto tree = CellTree::Compile(node);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(CellOf(**tree, (*tree)->count() - 1)["a"], CanonicalValue(Int(std::numeric_limits<int64_t>::max() - 3)));
  EXPECT_FALSE(CellTree::Compile(Range("a", std::numeric_limits<int64_t>::min(), 3, 6148914691236517207ull)).ok());
  v1::CellNode down = Range("a", 10, -5, 3);
  auto falling = CellTree::Compile(down);
  ASSERT_TRUE(falling.ok());
  EXPECT_EQ(CellOf(**falling, 2)["a"], CanonicalValue(Int(0)));
}

TEST(Algebra, ExclusionFromABillionCellsIsByRandomAccess) {
  v1::CellNode node = Exclude(
      Product({List("model", {Text("a"), Text("b")}),
               List("prompt", {PromptOf("x"), PromptOf("y"), BlankOf(v1::BLANK_KIND_EMPTY)}), Range("seed", 0, 1, 200'000'000)}),
      {{{"model", {Text("a")}}, {"prompt", {PromptOf("x")}}}, {{"model", {Text("b")}}, {"seed", {Int(5), Int(199'999'999)}}}});
  auto tree = CellTree::Compile(node);
  ASSERT_TRUE(tree.ok()) << tree.status();
  ASSERT_EQ((*tree)->count(), 5ull * 200'000'000 - 6);
  EXPECT_EQ(CellOf(**tree, 0), (Cell{{"model", "sa"}, {"prompt", "pty"}, {"seed", CanonicalValue(Int(0))}}));
  EXPECT_EQ(CellOf(**tree, 400'000'005)["seed"], CanonicalValue(Int(6)));
  EXPECT_EQ(CellOf(**tree, (*tree)->count() - 1)["seed"], CanonicalValue(Int(199'999'998)));
  EXPECT_EQ((*tree)->ModelRunEnd(17), 400'000'000u);
  const std::clock_t start = std::clock();
  Random random(1);
  for (int i = 0; i < 1000; ++i) CellOf(**tree, random() % (*tree)->count());
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
}

TEST(Algebra, ARangeInARuleIsNotWrittenOut) {
  const uint64_t giga = 1'000'000'000;
  v1::CellNode node = Exclude(Product({List("model", {Text("a"), Text("b")}), Range("seed", 0, 1, giga)}),
                              {{{"model", {Text("a")}}, {"seed", {Int(3)}}}, {{"seed", {Int(7)}}}});
  *node.mutable_exclude()->mutable_rules(0)->mutable_all_of(1)->add_ranges() = Range("", 10, 1, giga / 2).axis().range();
  *node.mutable_exclude()->mutable_rules(1)->mutable_all_of(0)->add_ranges() = Range("", 999, -1, 1000).axis().range();
  const std::clock_t start = std::clock();
  auto tree = CellTree::Compile(node);
  ASSERT_TRUE(tree.ok()) << tree.status();
  // Of a: 0..999 by the second rule, the rest of 10..giga/2+9 by the first. Of b: 0..999.
  EXPECT_EQ((*tree)->count(), giga - giga / 2 - 10 + giga - 1000);
  EXPECT_EQ(CellOf(**tree, 0)["seed"], CanonicalValue(Int(static_cast<int64_t>(giga / 2 + 10))));
  EXPECT_EQ(CellOf(**tree, giga / 2 - 10), (Cell{{"model", "sb"}, {"seed", CanonicalValue(Int(1000))}}));
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 20);
}

TEST(Algebra, ARangeInARuleReachesBothEndsOf64Bits) {
  const int64_t lowest = std::numeric_limits<int64_t>::min(), highest = std::numeric_limits<int64_t>::max();
  v1::CellNode node = Exclude(Range("a", lowest, 3, 6148914691236517205ull), {{{"a", {Int(lowest)}}}});
  *node.mutable_exclude()->mutable_rules(0)->mutable_all_of(0)->add_ranges() =
      Range("", lowest + 1, 1, std::numeric_limits<uint64_t>::max() - 8).axis().range();
  auto tree = CellTree::Compile(node);
  ASSERT_TRUE(tree.ok()) << tree.status();
  ASSERT_EQ((*tree)->count(), 2u);
  EXPECT_EQ(CellOf(**tree, 0)["a"], CanonicalValue(Int(highest - 6)));
  EXPECT_EQ(CellOf(**tree, 1)["a"], CanonicalValue(Int(highest - 3)));
}

TEST(Algebra, WhatMakesNoSenseIsRefused) {
  auto message = [](const v1::CellNode& node) {
    auto tree = CellTree::Compile(node);
    return tree.ok() ? std::string("ok") : std::string(tree.status().message());
  };
  v1::CellNode seed = Range("seed", 0, 1, 3), model = List("model", {Text("m")});
  EXPECT_NE(message(Product({seed, seed})).find("appears twice"), std::string::npos);
  EXPECT_NE(message(Zip({seed, model})).find("differ in length"), std::string::npos);
  EXPECT_NE(message(List("seed", {})).find("empty"), std::string::npos);
  EXPECT_NE(message(Range("seed", -1, 1, 3)).find("below 0"), std::string::npos);
  EXPECT_NE(message(Range("seed", 2, -1, 4)).find("below 0"), std::string::npos);
  EXPECT_NE(message(Range("seed", 0, 0, 4)).find("step 0"), std::string::npos);
  EXPECT_NE(message(Range("seed", 0, 1, 0)).find("empty"), std::string::npos);
  EXPECT_NE(message(Range("prompt", 0, 1, 2)).find("cannot be a range"), std::string::npos);
  EXPECT_NE(message(List("prompt", {PromptOf("")})).find("neither text nor a typed blank"), std::string::npos);
  EXPECT_NE(message(List("prompt", {BlankOf(v1::BLANK_KIND_UNSPECIFIED)})).find("neither"), std::string::npos);
  EXPECT_NE(message(List("Bad name", {Int(1)})).find("identifier"), std::string::npos);
  EXPECT_NE(message(List("a", {Double(std::numeric_limits<double>::infinity())})).find("wrong kind"), std::string::npos);
  EXPECT_NE(message(v1::CellNode()).find("empty"), std::string::npos);
  EXPECT_NE(message(Product({})).find("nothing"), std::string::npos);
  EXPECT_NE(message(Exclude(seed, {{{"sede", {Int(1)}}}})).find("\"seed\""), std::string::npos);
  EXPECT_NE(message(Exclude(seed, {{{"seed", {Int(0), Int(1), Int(2)}}}})).find("no cell"), std::string::npos);
  EXPECT_NE(message(Exclude(seed, std::vector<RuleOf>(17, {{"seed", {Int(1)}}}))).find("at most 16"), std::string::npos);
  v1::CellNode ruled = Exclude(seed, {{{"seed", {Int(1)}}}});
  auto with_range = [&](const v1::IntRange& range) {
    v1::CellNode node = ruled;
    *node.mutable_exclude()->mutable_rules(0)->mutable_all_of(0)->add_ranges() = range;
    return message(node);
  };
  EXPECT_NE(with_range(Range("", 0, 1, 0).axis().range()).find("empty"), std::string::npos);
  EXPECT_NE(with_range(Range("", 0, 0, 2).axis().range()).find("step 0"), std::string::npos);
  EXPECT_NE(with_range(Range("", 1, -1, 3).axis().range()).find("below 0"), std::string::npos);
  EXPECT_NE(with_range(Range("", 0, 2, kMaxSteppedRange + 1).axis().range()).find("with a step"), std::string::npos);
  EXPECT_EQ(with_range(Range("", 1, 1, uint64_t{1} << 62).axis().range()), "ok");
  v1::CellNode by_model = Exclude(Product({model, seed}), {{{"model", {Text("m")}}, {"seed", {Int(1)}}}});
  *by_model.mutable_exclude()->mutable_rules(0)->mutable_all_of(0)->add_ranges() = Range("", 0, 1, 1).axis().range();
  EXPECT_NE(message(by_model).find("cannot be a range"), std::string::npos);
  v1::CellNode deep = seed;
  for (int i = 0; i < 200; ++i) deep = Chain({deep});
  EXPECT_NE(message(deep).find("deep"), std::string::npos);
}

TEST(Algebra, OrderIsSlowAxesFirstWhateverWasWritten) {
  std::vector<std::string> names = {"model", "width", "steps", "top_k", "prompt", "seed"};
  Random random(3);
  std::optional<std::string> first;
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> shuffled = names;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    v1::CellNode inner = Product({}), node = Product({});
    for (size_t i = 0; i < shuffled.size(); ++i) {
      v1::CellNode axis = shuffled[i] == "model"    ? List("model", {Text("m")})
                          : shuffled[i] == "prompt" ? List("prompt", {PromptOf("p")})
                                                    : Range(shuffled[i], 1, 1, 2);
      *(i < 2 ? inner : node).mutable_product()->add_factors() = axis;
    }
    *node.mutable_product()->add_factors() = inner;
    PutInOrder(node);
    std::vector<std::string> order;
    ForEachAxis(node, [&](const v1::Axis& axis) { order.push_back(axis.name()); });
    EXPECT_EQ(order, names);
    if (!first) first = node.SerializeAsString();
    EXPECT_EQ(node.SerializeAsString(), *first);
  }
  v1::CellNode nested = Product({Range("seed", 0, 1, 2), List("prompt", {PromptOf("p")}),
                                 Zip({Range("height", 1, 1, 2), Range("width", 1, 1, 2)}), Chain({List("model", {Text("m")})})});
  PutInOrder(nested);
  EXPECT_TRUE(nested.product().factors(0).has_chain());
  EXPECT_TRUE(nested.product().factors(1).has_zip());
  EXPECT_EQ(nested.product().factors(2).axis().name(), "prompt");
}

}  // namespace
}  // namespace promptsweep::sweep
