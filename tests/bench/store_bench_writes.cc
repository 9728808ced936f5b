// Durable results a second, against raw synced appends of the same size and against one synced put per result.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/time/clock.h"
#include "tests/bench/store_bench_common.h"

namespace promptsweep::store {
namespace {

// Appends and syncs `bytes` at a time; returns bytes a second.
double RawBandwidth(const std::string& folder, size_t bytes, int times) {
  const std::string path = folder + "/raw";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_TRUNC | O_CLOEXEC, 0600);
  PS_CHECK(fd >= 0);
  std::string block;
  for (uint64_t i = 0; block.size() < bytes; ++i) block += Sha256Of(absl::StrCat(i));
  block.resize(bytes);
  const absl::Time start = absl::Now();
  for (int i = 0; i < times; ++i) {
    for (size_t at = 0; at < bytes;) {
      const ssize_t n = ::write(fd, block.data() + at, bytes - at);
      PS_CHECK(n > 0);
      at += static_cast<size_t>(n);
    }
    PS_CHECK(::fdatasync(fd) == 0);
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  ::close(fd);
  ::unlink(path.c_str());
  return static_cast<double>(bytes) * times / seconds;
}

double Part(uint64_t bytes, uint64_t of) { return static_cast<double>(bytes) / static_cast<double>(of); }

// One image size: rounds of the store and of raw appends in turn, so that both see the same disk.
void Measure(const BenchOptions& options, size_t image_bytes, int per_call) {
  constexpr int kDim = 512;
  const int rounds = options.brief ? 1 : 4;
  const uint64_t round_bytes = options.brief ? 4 << 20 : 96 << 20;
  const uint64_t per_round = round_bytes / (image_bytes + 2 * kDim) / per_call * per_call;
  const uint64_t alone = options.brief ? 20 : 200;
  auto store = OpenStore(absl::StrCat(options.folder, "/store-", image_bytes));
  const v1::SweepManifest manifest = MakeManifest("bench", per_round * rounds + alone);
  const sweep::Plan plan = MakePlan(manifest);
  const uint32_t sweep = Create(*store, manifest).value();
  double store_seconds = 0, raw_rate = 0;
  uint64_t payload = 0, group_bytes = 0;
  const uint64_t groups_before = store->groups();
  const uint64_t written_before = store->database().written().total();
  const uint64_t log_before = store->database().written().log;
  for (int round = 0; round < rounds; ++round) {
    const auto requests = MakePuts(plan, sweep, round * per_round, (round + 1) * per_round, per_call, image_bytes, kDim);
    for (const v1::PutResultsRequest& request : requests) {
      for (const v1::Result& result : request.results()) payload += result.image().size() + 2 * kDim;
    }
    const absl::Time start = absl::Now();
    PutEvery(*store, requests, static_cast<int>(std::min<size_t>(256, (48 << 20) / requests[0].ByteSizeLong())));
    store_seconds += absl::ToDoubleSeconds(absl::Now() - start);
    group_bytes = (store->database().written().log - log_before) / (store->groups() - groups_before);
    raw_rate += RawBandwidth(options.folder, group_bytes, static_cast<int>(round_bytes / group_bytes) + 1) / rounds;
  }
  const uint64_t groups = store->groups() - groups_before;
  const double on_disk = static_cast<double>(store->database().written().total() - written_before);

  const auto single = MakePuts(plan, sweep, per_round * rounds, per_round * rounds + alone, 1, image_bytes, kDim);
  const absl::Time start = absl::Now();
  PutEvery(*store, single, 1);
  const double alone_rate = static_cast<double>(alone) / absl::ToDoubleSeconds(absl::Now() - start);
  for (const v1::PutResultsRequest& request : single) payload += request.results(0).image().size() + 2 * kDim;
  const std::string folder = store->database().folder();
  WrittenBytes written = store->database().written();
  store.reset();
  // Rows that are only in the log yet will be written once more.
  const WrittenBytes rest = FlushFolder(folder);
  written.tables += rest.tables;
  written.blobs += rest.blobs;
  written.other += rest.other;

  const double results = static_cast<double>(per_round) * rounds;
  const double rate = results / store_seconds;
  const double result_bytes = static_cast<double>(payload) / (results + static_cast<double>(alone));
  std::printf("images of %zu B, %d results a call, %.0f results, %llu groups of %.2f MB\n", image_bytes, per_call, results,
              static_cast<unsigned long long>(groups), static_cast<double>(group_bytes) / 1e6);
  std::printf("  durable: %.0f results/s, %.1f MB/s of images and vectors\n", rate, rate * result_bytes / 1e6);
  std::printf("  to the disk: %.1f MB/s (log, tables, blobs); raw synced appends of the same groups: %.1f MB/s; ratio %.2f\n",
              on_disk / store_seconds / 1e6, raw_rate / 1e6, on_disk / store_seconds / raw_rate);
  std::printf("  write amplification: %.2f (log %.2f, tables %.2f, blobs %.2f)\n", Part(written.total(), payload),
              Part(written.log, payload), Part(written.tables, payload), Part(written.blobs, payload));
  std::printf("  one synced put per result: %.0f results/s; ratio %.1f\n", alone_rate, rate / alone_rate);
}

}  // namespace

void BenchWrites(const BenchOptions& options) {
  for (const size_t image_bytes : {4 << 10, 16 << 10, 64 << 10}) Measure(options, image_bytes, 16);
}

}  // namespace promptsweep::store
