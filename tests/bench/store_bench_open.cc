// Many small results: how fast they go in, how large they are, how long a store of them takes to open, and whether memory stays
// in its budget meanwhile.
#include <atomic>
#include <cstdio>
#include <thread>

#include "absl/time/clock.h"
#include "tests/bench/store_bench_common.h"

namespace promptsweep::store {

void BenchOpen(const BenchOptions& options) {
  constexpr int kPerCall = 256;
  constexpr uint64_t kRound = 64 * 1024;
  const v1::SweepManifest manifest = MakeManifest("open", (options.results + 1) / 2);
  const sweep::Plan plan = MakePlan(manifest);
  const std::string folder = options.folder + "/store";
  const uint64_t results = options.results;
  double seconds = 0;
  size_t limit = 0;
  std::atomic<size_t> peak{0};
  {
    auto store = OpenStore(folder);
    limit = store->database().memory_limit();
    const uint32_t sweep = Create(*store, manifest).value();
    std::atomic<bool> stop{false};
    std::thread sampler([&] {
      while (!stop) {
        peak = std::max(peak.load(), store->database().memory_used());
        absl::SleepFor(absl::Milliseconds(2));
      }
    });
    for (uint64_t at = 0; at < results; at += kRound) {
      const auto requests = MakePuts(plan, sweep, at, std::min(results, at + kRound), kPerCall, 32, 8);
      const absl::Time start = absl::Now();
      PutEvery(*store, requests, 64);
      seconds += absl::ToDoubleSeconds(absl::Now() - start);
    }
    stop = true;
    sampler.join();
  }
  std::printf("%llu results (image of ~100 B, vector of 8): %.0f durable results/s\n", static_cast<unsigned long long>(results),
              static_cast<double>(results) / seconds);
  std::printf("  block cache and memtables: at most %.1f MiB of %.1f MiB; peak of the process: %.0f MiB\n",
              static_cast<double>(peak) / (1 << 20), static_cast<double>(limit) / (1 << 20),
              static_cast<double>(ProcessBytes("VmHWM")) / (1 << 20));
  std::vector<absl::Duration> opens;
  for (int i = 0; i < 3; ++i) {
    const absl::Time start = absl::Now();
    auto store = OpenStore(folder);
    opens.push_back(absl::Now() - start);
    v1::GetSweepRequest request;
    request.set_sweep(1);
    PS_CHECK(store->GetSweep(request)->info().counts().done() == results);
  }
  std::printf("  open: first %.2f s, then %.2f s and %.2f s\n", absl::ToDoubleSeconds(opens[0]), absl::ToDoubleSeconds(opens[1]),
              absl::ToDoubleSeconds(opens[2]));
  std::printf("  on disk: %.0f bytes a result\n", static_cast<double>(FolderBytes(folder)) / static_cast<double>(results));
}

}  // namespace promptsweep::store
