// Point reads: one result with its image and vector, of a store whose rows are in files.
#include <cstdio>
#include <random>

#include "absl/time/clock.h"
#include "tests/bench/store_bench_common.h"

namespace promptsweep::store {

void BenchReads(const BenchOptions& options) {
  constexpr size_t kImageBytes = 16 << 10;
  const uint64_t results = options.brief ? 500 : 20'000;
  const int reads = options.brief ? 200 : 5'000;
  const v1::SweepManifest manifest = MakeManifest("reads", results);
  const sweep::Plan plan = MakePlan(manifest);
  uint32_t sweep = 0;
  {
    auto store = OpenStore(options.folder + "/store");
    sweep = Create(*store, manifest).value();
    for (uint64_t at = 0; at < results; at += 5'000) {
      PutEvery(*store, MakePuts(plan, sweep, at, std::min(results, at + 5'000), 16, kImageBytes, 512), 64);
    }
  }
  (void)FlushFolder(options.folder + "/store");
  auto store = OpenStore(options.folder + "/store");
  std::mt19937_64 rng(1);
  std::vector<absl::Duration> samples;
  for (int i = 0; i < reads; ++i) {
    const uint64_t ordinal = rng() % results;
    v1::GetResultsRequest request;
    request.set_sweep(sweep);
    request.add_ranges()->set_begin(ordinal);
    request.mutable_ranges(0)->set_end(ordinal + 1);
    request.set_with_images(true);
    request.set_with_embeddings(true);
    const absl::Time start = absl::Now();
    const auto rows = ReadAll(*store, request);
    samples.push_back(absl::Now() - start);
    PS_CHECK(rows.ok() && rows->size() == 1) << rows.status();
  }
  std::printf("%d random reads of %llu results, image of %zu B and vector, digests checked, files in the page cache\n", reads,
              static_cast<unsigned long long>(results), kImageBytes);
  std::printf("  p50 %.0f us, p99 %.0f us\n", absl::ToDoubleMicroseconds(Quantile(samples, 0.5)),
              absl::ToDoubleMicroseconds(Quantile(samples, 0.99)));
}

}  // namespace promptsweep::store
