// Proves that limits are read where they are in range and refused in place where not, that they change no digest, and how they
// merge.
#include "jobs/sweep/limits.h"

#include <limits>

#include "gmock/gmock.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/plan.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<LoadedSpec> Load(const std::string& limits) {
  return ParseSpec("version: 1\nname: t\n" + limits + "cells: {model: null, prompt: x, seed: 0..9}\n", "s.yaml", "/");
}

std::string ErrorOf(const std::string& limits) {
  auto loaded = Load(limits);
  return loaded.ok() ? "ok" : std::string(loaded.status().message());
}

TEST(Limits, AreReadAndOnlyGivenKeysArePresent) {
  auto loaded =
      Load("limits: {priority: -5, max_parallel: 8, images: 18446744073709551615, gpu_hours: 2.5, fail_on_error: 0.01}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->limits.priority(), -5);
  EXPECT_EQ(loaded->limits.max_parallel(), 8u);
  EXPECT_EQ(loaded->limits.images(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(loaded->limits.gpu_hours(), 2.5);
  EXPECT_EQ(loaded->limits.fail_on_error(), 0.01);
  loaded = Load("limits: {images: 0}\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->limits.has_images());
  v1::SweepLimits only;
  only.set_images(0);
  EXPECT_EQ(loaded->limits.SerializeAsString(), only.SerializeAsString());
  for (const char* nothing : {"", "limits: {}\n"}) {
    loaded = Load(nothing);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->limits.SerializeAsString(), "");
  }
}

TEST(Limits, AreNoPartOfTheDigest) {
  auto catalog = ModelCatalog::Open({});
  std::set<std::string> digests;
  for (const char* limits : {"", "limits: {priority: 5}\n", "limits: {priority: 6, images: 10, fail_on_error: 0.5}\n"}) {
    auto loaded = Load(limits);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    auto manifest = Freeze(loaded->spec, *catalog, {});
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    digests.insert(ManifestDigest(*manifest));
  }
  EXPECT_EQ(digests.size(), 1u);
}

TEST(Limits, WrongOnesAreRefusedInPlace) {
  EXPECT_THAT(ErrorOf("limits: {priorty: 5}\n"),
              StartsWith("s.yaml:3:10: unknown limit \"priorty\"; did you mean \"priority\"?"));
  EXPECT_THAT(ErrorOf("limit: {priority: 5}\n"), StartsWith("s.yaml:3:1: unknown key \"limit\"; did you mean \"limits\"?"));
  EXPECT_THAT(ErrorOf("limits:\n"), StartsWith("s.yaml:3:1: limits is a map"));
  EXPECT_THAT(ErrorOf("limits: 5\n"), StartsWith("s.yaml:3:9: limits is a map"));
  EXPECT_THAT(ErrorOf("limits: {images: [5]}\n"), StartsWith("s.yaml:3:18: images takes one number, not a list"));
  EXPECT_THAT(ErrorOf("limits: {images: 5, images: 6}\n"), HasSubstr("appears twice"));
  EXPECT_THAT(ErrorOf("limits: {images: '5'}\n"), HasSubstr("without quotes"));
  for (const char* wrong : {"priority: 1001",     "priority: -1001",   "priority: 1.5",       "priority: 99999999999",
                            "priority: ",         "priority: null",    "max_parallel: -1",    "max_parallel: 4294967296",
                            "max_parallel: many", "images: -1",        "images: 1e3",         "images: 18446744073709551616",
                            "gpu_hours: -0.5",    "gpu_hours: inf",    "gpu_hours: nan",      "gpu_hours: .inf",
                            "gpu_hours: 1e999",   "gpu_hours: 2h",     "fail_on_error: 1.01", "fail_on_error: -0.1",
                            "fail_on_error: nan", "fail_on_error: 1%", "fail_on_error: true"}) {
    const std::string message = ErrorOf("limits: {" + std::string(wrong) + "}\n");
    EXPECT_THAT(message, StartsWith("s.yaml:3:")) << wrong;
    EXPECT_THAT(message, HasSubstr(std::string(wrong).substr(0, std::string(wrong).find(':')))) << wrong;
  }
  for (const char* right : {"priority: 1000", "priority: -1000", "max_parallel: 4294967295", "gpu_hours: 1e9", "gpu_hours: 0",
                            "fail_on_error: 0", "fail_on_error: 1"}) {
    EXPECT_EQ(ErrorOf("limits: {" + std::string(right) + "}\n"), "ok") << right;
  }
}

TEST(Limits, AreCheckedWithoutASpec) {
  v1::SweepLimits limits;
  EXPECT_TRUE(CheckLimits(limits).ok());
  for (double wrong : {-1.0, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                       std::numeric_limits<double>::quiet_NaN()}) {
    v1::SweepLimits hours, share;
    hours.set_gpu_hours(wrong);
    share.set_fail_on_error(wrong);
    EXPECT_THAT(std::string(CheckLimits(hours).message()), HasSubstr("gpu_hours")) << wrong;
    EXPECT_THAT(std::string(CheckLimits(share).message()), HasSubstr("fail_on_error")) << wrong;
  }
  for (int32_t wrong : {1001, -1001, std::numeric_limits<int32_t>::min()}) {
    limits.set_priority(wrong);
    EXPECT_EQ(CheckLimits(limits).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Limits, MergeSetsWhatIsPresent) {
  v1::SweepLimits all, change;
  all.set_priority(3);
  all.set_max_parallel(4);
  all.set_images(5);
  all.set_gpu_hours(6);
  all.set_fail_on_error(0.5);
  const std::string before = all.SerializeAsString();
  MergeLimits(change, all);
  EXPECT_EQ(all.SerializeAsString(), before);
  change.set_priority(0);
  change.set_gpu_hours(0);
  MergeLimits(change, all);
  EXPECT_EQ(all.priority(), 0);
  EXPECT_TRUE(all.has_priority());
  EXPECT_EQ(all.gpu_hours(), 0);
  EXPECT_EQ(all.max_parallel(), 4u);
  EXPECT_EQ(all.images(), 5u);
  EXPECT_EQ(all.fail_on_error(), 0.5);
  v1::SweepLimits none;
  MergeLimits(all, none);
  EXPECT_EQ(none.SerializeAsString(), all.SerializeAsString());
}

}  // namespace
}  // namespace promptsweep::sweep
