// Measures durable results a second and the scan rate of a store on this machine's disk. Not a test: prints a table.
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/bench/store_bench_scan.h"
#include "tests/store/fixture.h"

// store_bench [FOLDER [RESULTS [IMAGE_BYTES [DIM]]]]: FOLDER must be on the disk that is meant.
int main(int argc, char** argv) {
  using namespace promptsweep;
  using namespace promptsweep::store;
  TempFolder temporary;
  const std::string folder = argc > 1 ? std::string(argv[1]) : temporary.path("store");
  uint64_t results = 8000, image_bytes = 4000, dim = 64;
  for (const auto& [index, value] : {std::pair{2, &results}, std::pair{3, &image_bytes}, std::pair{4, &dim}}) {
    if (argc > index && !absl::SimpleAtoi(argv[index], value)) return 2;
  }
  Store::Options options;
  options.folder = folder;
  auto store = OpenStore(options);
  std::printf("%8s %8s %12s %10s %8s\n", "writers", "a call", "results/s", "MB/s", "groups");
  for (const auto& [writers, batch] : {std::pair{1, 1}, std::pair{8, 1}, std::pair{1, 16}, std::pair{8, 16}, std::pair{32, 16}}) {
    const uint64_t share = results / writers / batch * batch / (batch == 1 ? 8 : 1);
    const v1::SweepManifest manifest = MakeManifest(absl::StrCat("bench-", writers, "-", batch), results);
    const sweep::Plan plan = MakePlan(manifest);
    const auto sweep = Create(*store, manifest);
    if (!sweep.ok()) return 1;
    // Made beforehand, so that only the store is measured.
    std::vector<std::vector<v1::PutResultsRequest>> requests(writers);
    for (int w = 0; w < writers; ++w) {
      for (uint64_t i = 0; i < share; i += batch) {
        std::vector<v1::Result> rows;
        for (int k = 0; k < batch; ++k)
          rows.push_back(MakeResult(plan, w * share + i + k, image_bytes, 0, static_cast<int>(dim)));
        requests[w].push_back(MakePut(*sweep, std::move(rows)));
      }
    }
    const uint64_t groups = store->groups();
    const absl::Time start = absl::Now();
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w) {
      threads.emplace_back([&, w] {
        for (const v1::PutResultsRequest& request : requests[w]) {
          const auto reply = Await(*store, &Store::PutResults, request);
          PS_CHECK(reply.ok()) << reply.status();
          for (const v1::PutOutcome& outcome : reply->outcomes())
            PS_CHECK(outcome.code() == v1::PutOutcome::CODE_STORED) << outcome.reason();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    const double stored = static_cast<double>(share) * writers;
    std::printf("%8d %8d %12.0f %10.1f %8llu\n", writers, batch, stored / seconds,
                stored * (image_bytes + 2 * dim) / seconds / 1e6, static_cast<unsigned long long>(store->groups() - groups));
    if (writers != 32) continue;
    v1::ScanEmbeddingsRequest scan;
    scan.set_sweep(*sweep);
    scan.set_embedder("eye");
    const absl::Time scan_start = absl::Now();
    const auto rows = ScanAll(*store, scan);
    if (!rows.ok()) return 1;
    const double scan_seconds = absl::ToDoubleSeconds(absl::Now() - scan_start);
    std::printf("scan: %.0f vectors/s\n", static_cast<double>(rows->size()) / scan_seconds);
    const absl::Time verify_start = absl::Now();
    const std::string problems = Problems(VerifyAll(*store, true));
    std::printf("deep verify of everything: %.2f s %s\n", absl::ToDoubleSeconds(absl::Now() - verify_start), problems.c_str());
  }
  BenchScan(temporary.path("scans"));
  return 0;
}
