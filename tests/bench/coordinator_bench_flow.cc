// Cells a second through the whole path, durable, and through the coordinator alone.
#include <cstdio>
#include <thread>

#include "absl/time/clock.h"
#include "base/backpressure.h"
#include "base/check.h"
#include "base/half.h"
#include "tests/bench/coordinator_bench_common.h"
#include "tests/bench/store_bench_common.h"
#include "tests/store/fixture.h"

namespace promptsweep::coordinator {
namespace {

constexpr int kDim = 512;

// What a worker sends of a cell, made as cheaply as the store's checks allow: most of the time shall be the system's.
class ResultMaker {
 public:
  ResultMaker(const v1::SweepManifest& manifest, size_t image_bytes)
      : plan_(store::MakePlan(manifest)), image_bytes_(image_bytes) {
    for (uint64_t i = 0; noise_.size() < image_bytes + 4096; ++i) noise_ += Sha256Of(absl::StrCat(i));
    vectors_ = store::MakeVector(1, 2 * kDim);
  }
  v1::PutResultsRequest Make(uint32_t sweep, uint64_t begin, uint64_t end) const {
    std::vector<v1::Result> rows;
    for (uint64_t i = begin; i < end; ++i) rows.push_back(MakeOne(i));
    return store::MakePut(sweep, std::move(rows));
  }

 private:
  v1::Result MakeOne(uint64_t ordinal) const {
    v1::Result result;
    const auto cell = plan_.CellAt(ordinal);
    PS_CHECK(cell.ok()) << cell.status();
    result.mutable_cell()->set_ordinal(ordinal);
    result.mutable_cell()->set_fingerprint(cell->fingerprint());
    result.set_image(store::MakePng(8, 8, absl::StrCat(ordinal, noise_.substr(ordinal % 4096, image_bytes_))));
    result.set_image_format(v1::IMAGE_FORMAT_PNG);
    result.set_width(8);
    result.set_height(8);
    result.set_image_digest(Sha256Of(result.image()));
    for (const v1::ModelRef& embedder : plan_.manifest().embedders()) {
      v1::Embedding& embedding = *result.add_embeddings();
      embedding.set_embedder(embedder.id());
      embedding.set_fp16(vectors_.substr(2 * (ordinal % kDim), size_t{2} * kDim));
    }
    result.set_generate_us(100);
    return result;
  }

  const sweep::Plan plan_;
  const size_t image_bytes_;
  std::string noise_;
  std::string vectors_;
};

void Put(v1::StoreService::Stub& stub, const v1::PutResultsRequest& request) {
  while (true) {
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(60));
    SetRequestBytes(context, request.ByteSizeLong());
    v1::PutResultsResponse response;
    const grpc::Status status = stub.PutResults(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      absl::SleepFor(std::max(RetryAfter(context), absl::Milliseconds(1)));
      continue;
    }
    PS_CHECK(status.ok()) << status.error_message();
    for (const v1::PutOutcome& outcome : response.outcomes()) {
      PS_CHECK(outcome.code() == v1::PutOutcome::CODE_STORED || outcome.code() == v1::PutOutcome::CODE_DUPLICATE_SAME)
          << outcome.reason();
    }
    return;
  }
}

double Rate(uint64_t cells, absl::Duration time) { return static_cast<double>(cells) / absl::ToDoubleSeconds(time); }

void PrintRun(const BenchRun& run, uint64_t cells) {
  std::vector<absl::Duration> times = run.acquire_times;
  std::printf("  %llu leases, %.0f calls/s to the coordinator; a lease took %.1f ms, p99 %.1f ms\n",
              static_cast<unsigned long long>(run.leases), Rate(run.calls, run.time),
              absl::ToDoubleMilliseconds(store::Quantile(times, 0.5)), absl::ToDoubleMilliseconds(store::Quantile(times, 0.99)));
  std::printf("  processor: %.1f us a cell, %.2f cores, workers included\n",
              absl::ToDoubleMicroseconds(run.processor_time) / static_cast<double>(cells),
              absl::FDivDuration(run.processor_time, run.time));
}

void MeasureDurable(const BenchOptions& options, const char* title, uint64_t cells, size_t image_bytes, bool embedded) {
  const v1::SweepManifest manifest = BenchManifest("flow", cells, embedded);
  const ResultMaker maker(manifest, image_bytes);
  const std::string folder = absl::StrCat(options.folder, "/flow-", image_bytes);
  {
    auto cluster = BenchCluster::OnDisk(folder);
    const uint32_t sweep = cluster->Submit(manifest);
    BenchWork work;
    work.workers = options.workers;
    work.put = [&](v1::StoreService::Stub& stub, uint32_t id, uint64_t begin, uint64_t end) {
      Put(stub, maker.Make(id, begin, end));
    };
    const BenchRun run = RunToTheEnd(*cluster, sweep, manifest, work);
    v1::GetSweepRequest request;
    request.set_sweep(sweep);
    PS_CHECK(cluster->store()->GetSweep(request)->info().counts().done() == cells);
    std::printf("%s, %d workers, %llu cells: %.0f durable cells/s\n", title, options.workers,
                static_cast<unsigned long long>(cells), Rate(cells, run.time));
    PrintRun(run, cells);
  }
  // The same requests without gRPC and coordinator, already made.
  const uint64_t alone = std::min<uint64_t>(cells, 1 << 16);
  const v1::SweepManifest again = BenchManifest("alone", alone, embedded);
  const ResultMaker ready(again, image_bytes);
  auto store = store::OpenStore(folder + "-alone");
  const uint32_t sweep = store::Create(*store, again).value();
  absl::Time start = absl::Now();
  std::vector<v1::PutResultsRequest> requests;
  for (uint64_t at = 0; at < alone; at += 256) requests.push_back(ready.Make(sweep, at, std::min(alone, at + 256)));
  const absl::Duration making = absl::Now() - start;
  start = absl::Now();
  store::PutEvery(*store, requests, 16);
  std::printf("  the store alone takes %.0f/s; one thread makes %.0f/s such results\n", Rate(alone, absl::Now() - start),
              Rate(alone, making));
}

void MeasureSchedule(const BenchOptions& options, uint64_t cells, uint64_t batch, bool tell_rate) {
  const v1::SweepManifest manifest = BenchManifest("schedule", cells, false);
  auto store = std::make_shared<FakeStore>();
  auto cluster = BenchCluster::InMemory(store);
  const uint32_t sweep = cluster->Submit(manifest);
  BenchWork work;
  work.workers = options.workers;
  work.batch = batch;
  work.tell_rate = tell_rate;
  work.put = [&](v1::StoreService::Stub&, uint32_t id, uint64_t begin, uint64_t end) { store->PutResults(id, begin, end); };
  const BenchRun run = RunToTheEnd(*cluster, sweep, manifest, work);
  std::printf("%d workers, %llu cells, reports of %llu: %.0f cells/s, %.1f cells a lease\n", options.workers,
              static_cast<unsigned long long>(cells), static_cast<unsigned long long>(batch), Rate(cells, run.time),
              static_cast<double>(cells) / static_cast<double>(run.leases));
  PrintRun(run, cells);
}

}  // namespace

void BenchEndToEnd(const BenchOptions& options) {
  MeasureDurable(options, "smallest images, no embedding",
                 options.cells > 0 ? options.cells
                 : options.brief   ? 20'000
                                   : 1'000'000,
                 0, false);
  MeasureDurable(options, "images of 1 KB and vectors of 512",
                 options.cells > 0 ? options.cells
                 : options.brief   ? 10'000
                                   : 300'000,
                 1000, true);
}

void BenchSchedule(const BenchOptions& options) {
  const uint64_t cells = options.cells > 0 ? options.cells : options.brief ? 1'000'000 : 20'000'000;
  MeasureSchedule(options, cells, 4096, true);
  MeasureSchedule(options, cells / 10, 256, true);
  MeasureSchedule(options, cells / 50, 64, false);
  MeasureSchedule(options, cells / 400, 1, false);
}

}  // namespace promptsweep::coordinator
