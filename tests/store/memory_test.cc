// Proves that block cache and memtables stay within their budget, also while flushes do not get on, and that writes wait then.
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "base/rpc.h"
#include "tests/store/fixture.h"
#include "tests/store/gated_fs.h"

namespace promptsweep::store {
namespace {

TEST(Memory, StaysInItsBudgetWhileAFlushIsHeld) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("memory", 100);
  const sweep::Plan plan = MakePlan(manifest);
  auto disk = std::make_shared<GatedFs>(".blob");
  Store::Options options;
  options.folder = folder.path("store");
  options.ballast_bytes = 0;
  options.memory_bytes = Database::kMinMemoryBytes;
  options.file_system = disk;
  auto store = OpenStore(options);
  const uint32_t sweep = Create(*store, manifest).value();
  const v1::Result large = MakeResult(plan, 0, kMaxImageBytes - 4096);
  disk->Close();
  std::atomic<int> stored{0};
  std::atomic<int> running{4};
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (uint64_t ordinal = t; ordinal < 60; ordinal += 4) {
        v1::Result result = large;
        *result.mutable_cell() = MakeResult(plan, ordinal, 32).cell();
        stored += PutOne(*store, sweep, std::move(result)).code() == v1::PutOutcome::CODE_STORED;
      }
      --running;
    });
  }
  size_t peak = 0;
  const auto sample = [&] { peak = std::max(peak, store->database().memory_used()); };
  disk->AwaitHeld();
  // However long the flush takes, the rest does not fit.
  for (const absl::Time until = absl::Now() + absl::Seconds(1); absl::Now() < until;) sample();
  EXPECT_LT(stored, 60) << "180 MB went into a budget of 64";
  disk->Open();
  while (running > 0) sample();
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(stored, 60);
  EXPECT_GT(peak, Database::kMinMemoryBytes / 4);
  EXPECT_LE(peak, store->database().memory_limit());
}

// A scan pins memtables for as long as its client likes; writers must not wait for that.
TEST(Memory, AnOpenScanHoldsNoWriterUp) {
  TempFolder folder;
  const v1::SweepManifest manifest = MakeManifest("memory", 100);
  const sweep::Plan plan = MakePlan(manifest);
  Store::Options options;
  options.folder = folder.path("store");
  options.ballast_bytes = 0;
  options.memory_bytes = Database::kMinMemoryBytes;
  auto store = OpenStore(options);
  const uint32_t sweep = Create(*store, manifest).value();
  const v1::Result large = MakeResult(plan, 0, kMaxImageBytes - 4096);
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  std::vector<std::unique_ptr<ResultReader>> readers;
  for (uint64_t ordinal = 0; ordinal < 60; ++ordinal) {
    v1::Result result = large;
    *result.mutable_cell() = MakeResult(plan, ordinal, 32).cell();
    ASSERT_EQ(PutOne(*store, sweep, std::move(result)).code(), v1::PutOutcome::CODE_STORED);
    if (ordinal % 8 != 0) continue;
    auto reader = store->ReadResults(request);
    ASSERT_TRUE(reader.ok()) << reader.status();
    v1::GetResultsResponse message;
    ASSERT_TRUE((*reader)->Next(message).ok());
    readers.push_back(*std::move(reader));
  }
}

}  // namespace
}  // namespace promptsweep::store
