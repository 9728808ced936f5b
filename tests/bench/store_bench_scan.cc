#include "tests/bench/store_bench_scan.h"

#include <fcntl.h>
#include <rocksdb/table.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <thread>

#include "absl/time/clock.h"
#include "store/embedding_rows.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

constexpr uint64_t kVectors = 128 * 1024;
constexpr int kRounds = 5;
constexpr size_t kCopyBytes = 1 << 20;

// Finite halves in no order.
std::string SomeVector(uint64_t key, uint32_t dim) {
  std::string bytes(size_t{2} * dim, '\0');
  uint64_t state = key * 0x9e3779b97f4a7c15 + 1;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    bytes[i] = static_cast<char>(state);
    bytes[i + 1] = static_cast<char>(0x28 | (state >> 8 & 0x83));
  }
  return bytes;
}

// Bytes a second of `work`, which says how many bytes it went through.
double Rate(const std::function<uint64_t()>& work) {
  const absl::Time start = absl::Now();
  const uint64_t bytes = work();
  return static_cast<double>(bytes) / absl::ToDoubleSeconds(absl::Now() - start);
}

// Side by side, a part each.
uint64_t InParallel(int parts, const std::function<uint64_t(int)>& work) {
  std::vector<uint64_t> bytes(parts);
  std::vector<std::thread> threads;
  for (int part = 0; part < parts; ++part) threads.emplace_back([&, part] { bytes[part] = work(part); });
  uint64_t all = 0;
  for (int part = 0; part < parts; ++part) {
    threads[part].join();
    all += bytes[part];
  }
  return all;
}

uint64_t ReadFile(const std::string& path, uint64_t begin, uint64_t end, bool checked = false) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  PS_CHECK(fd >= 0);
  std::string buffer(kCopyBytes, '\0');
  for (uint64_t at = begin; at < end;) {
    const ssize_t got = ::pread(fd, buffer.data(), std::min<uint64_t>(buffer.size(), end - at), static_cast<off_t>(at));
    PS_CHECK(got > 0);
    at += static_cast<uint64_t>(got);
    if (checked) PS_CHECK(Xxh3(absl::string_view(buffer).substr(0, static_cast<size_t>(got)), at) != 1);
  }
  ::close(fd);
  return end - begin;
}

uint64_t ScanRuns(Database& database, const Sweep& sweep, uint64_t begin, uint64_t end) {
  rocksdb::ManagedSnapshot snapshot(&database.db());
  EmbeddingRuns runs(database, sweep, 0, begin, end, snapshot.snapshot());
  VectorRun run;
  uint64_t bytes = 0;
  while (true) {
    const auto more = runs.Next(run);
    PS_CHECK(more.ok()) << more.status();
    if (!*more) return bytes;
    bytes += run.fp16.size();
  }
}

uint64_t ScanMessages(Database& database, const std::shared_ptr<const Sweep>& sweep) {
  EmbeddingReader reader(database, sweep, 0, 0, sweep->cell_count(), nullptr);
  v1::ScanEmbeddingsResponse message;
  uint64_t bytes = 0;
  while (true) {
    const auto more = reader.Next(message);
    PS_CHECK(more.ok()) << more.status();
    if (message.has_trailer()) return bytes;
    bytes += message.block().fp16().size();
  }
}

uint64_t ScanBlobs(rocksdb::DB& db) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = 2 << 20;
  std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  uint64_t bytes = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) bytes += it->value().size();
  PS_CHECK(it->status().ok());
  return bytes;
}

std::unique_ptr<rocksdb::DB> MakeBlobs(const std::string& folder, uint32_t dim) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.enable_blob_files = true;
  options.min_blob_size = 256;
  options.compression = rocksdb::kNoCompression;
  rocksdb::DB* db = nullptr;
  PS_CHECK(rocksdb::DB::Open(options, folder, &db).ok());
  for (uint64_t ordinal = 0; ordinal < kVectors; ++ordinal) {
    PS_CHECK(db->Put(rocksdb::WriteOptions(), EmbeddingKey(0, 1, ordinal), SomeVector(ordinal, dim)).ok());
  }
  PS_CHECK(db->Flush(rocksdb::FlushOptions()).ok());
  return std::unique_ptr<rocksdb::DB>(db);
}

// As little as a result can be beside its vector.
v1::Result SmallResult(const sweep::Plan& plan, uint64_t ordinal, uint32_t dim) {
  v1::Result result = MakeResult(plan, ordinal, 1, 0, 1);
  result.mutable_embeddings(0)->set_fp16(SomeVector(ordinal, dim));
  return result;
}

Store::Options Unpacked(const std::string& folder) {
  Store::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  options.pack_in_background = false;
  return options;
}

void FillStore(const std::string& folder, uint32_t dim) {
  auto store = OpenStore(Unpacked(folder));
  const v1::SweepManifest manifest = MakeManifest("scan", kVectors / 2);
  const sweep::Plan plan = MakePlan(manifest);
  const auto sweep = Create(*store, manifest);
  PS_CHECK(sweep.ok()) << sweep.status();
  for (uint64_t begin = 0; begin < kVectors; begin += 1024) {
    std::vector<v1::Result> results;
    for (uint64_t i = 0; i < 1024; ++i) results.push_back(SmallResult(plan, begin + i, dim));
    const auto reply = PutAll(*store, *sweep, std::move(results));
    PS_CHECK(reply.ok()) << reply.status();
    PS_CHECK(reply->outcomes(0).code() == v1::PutOutcome::CODE_STORED) << reply->outcomes(0).reason();
  }
}

// The folder's rows out of memory and logs, in tables.
std::unique_ptr<Database> OpenTables(const std::string& folder) {
  Database::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  auto database = Database::Open(options);
  PS_CHECK(database.ok()) << database.status();
  for (const Family family : {Family::kEmbeddings, Family::kEmbeddingChunks, Family::kCoverage}) {
    PS_CHECK((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(family)).ok());
  }
  return *std::move(database);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void BenchDim(const std::string& folder, uint32_t dim) {
  const uint64_t bytes = kVectors * 2 * dim;
  const std::string flat = folder + "/flat";
  {
    std::FILE* file = std::fopen(flat.c_str(), "wb");
    PS_CHECK(file);
    for (uint64_t ordinal = 0; ordinal < kVectors; ++ordinal) {
      const std::string vector = SomeVector(ordinal, dim);
      PS_CHECK(std::fwrite(vector.data(), 1, vector.size(), file) == vector.size());
    }
    PS_CHECK(std::fclose(file) == 0);
  }
  FillStore(folder + "/staged", dim);
  std::filesystem::copy(folder + "/staged", folder + "/packed");
  {
    auto store = OpenStore(Unpacked(folder + "/packed"));
    const absl::Time start = absl::Now();
    const auto packed = store->packer().PackAll();
    PS_CHECK(packed.ok()) << packed.status();
    PS_CHECK(*packed == kVectors);
    std::printf("\ndim %u: %.0f MB packed at %.0f MB/s, synced\n", dim, static_cast<double>(bytes) / 1e6,
                static_cast<double>(bytes) / 1e6 / absl::ToDoubleSeconds(absl::Now() - start));
  }
  const auto staged = OpenTables(folder + "/staged");
  const auto packed = OpenTables(folder + "/packed");
  const auto blobs = MakeBlobs(folder + "/blobs", dim);
  auto ledger = Ledger::Load(*packed);
  PS_CHECK(ledger.ok());
  const std::shared_ptr<const Sweep> sweep = (*ledger)->Find(1).value();
  const std::vector<v1::OrdinalRange> halves = SplitAtChunks(0, kVectors, 2);

  // All in turn, several times over: a machine that is slow for a while is slow for each.
  const std::vector<std::pair<const char*, std::function<uint64_t()>>> ways = {
      {"page cache, 1 thread", [&] { return ReadFile(flat, 0, bytes); }},
      {"page cache, 2 threads",
       [&] { return InParallel(2, [&](int part) { return ReadFile(flat, bytes / 2 * part, bytes / 2 * (part + 1)); }); }},
      {"page cache and one XXH3", [&] { return ReadFile(flat, 0, bytes, /*checked=*/true); }},
      {"chunks, 1 thread", [&] { return ScanRuns(*packed, *sweep, 0, kVectors); }},
      {"chunks, 2 threads",
       [&] {
         return InParallel(2, [&](int part) { return ScanRuns(*packed, *sweep, halves[part].begin(), halves[part].end()); });
       }},
      {"chunks as messages", [&] { return ScanMessages(*packed, sweep); }},
      {"staged rows", [&] { return ScanRuns(*staged, *sweep, 0, kVectors); }},
      {"BlobDB values", [&] { return ScanBlobs(*blobs); }},
  };
  std::map<size_t, std::vector<double>> rates;
  for (int round = 0; round <= kRounds; ++round) {
    for (size_t way = 0; way < ways.size(); ++way) {
      const double rate = Rate([&] {
        const uint64_t through = ways[way].second();
        PS_CHECK(through == bytes) << ways[way].first;
        return through;
      });
      if (round > 0) rates[way].push_back(rate);  // the first fills the page cache
    }
  }
  std::printf("%-24s %8s %10s\n", "", "GB/s", "ratio");
  for (size_t way = 0; way < ways.size(); ++way) {
    const size_t base = std::string(ways[way].first).ends_with("2 threads") ? 1 : 0;
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) ratios.push_back(rates[way][round] / rates[base][round]);
    std::printf("%-24s %8.2f %10.2f\n", ways[way].first, Median(rates[way]) / 1e9, Median(ratios));
  }
}

// What packing costs those who write meanwhile: results a second and the slowest acknowledgements.
void BenchBehindWriters(const std::string& folder) {
  constexpr int kWriters = 4;
  constexpr uint64_t kResults = 32 * 1024;
  constexpr uint64_t kCall = 32;
  constexpr uint32_t kDim = 768;
  std::map<bool, std::vector<double>> rates, slowest;
  for (int round = 0; round < 2 * kRounds; ++round) {
    const bool packing = round % 2 == 1;
    Store::Options options = Unpacked(absl::StrCat(folder, "/", round));
    options.pack_in_background = packing;
    auto store = OpenStore(options);
    const v1::SweepManifest manifest = MakeManifest("behind", kResults / 2);
    const sweep::Plan plan = MakePlan(manifest);
    const auto sweep = Create(*store, manifest);
    PS_CHECK(sweep.ok());
    std::vector<std::vector<v1::PutResultsRequest>> requests(kWriters);
    for (uint64_t begin = 0; begin < kResults; begin += kCall) {
      std::vector<v1::Result> results;
      for (uint64_t i = 0; i < kCall; ++i) results.push_back(SmallResult(plan, begin + i, kDim));
      requests[begin / kCall % kWriters].push_back(MakePut(*sweep, std::move(results)));
    }
    std::vector<std::vector<double>> waits(kWriters);
    const absl::Time start = absl::Now();
    InParallel(kWriters, [&](int w) -> uint64_t {
      for (const v1::PutResultsRequest& request : requests[w]) {
        const absl::Time sent = absl::Now();
        PS_CHECK(Await(*store, &Store::PutResults, request).ok());
        waits[w].push_back(absl::ToDoubleMilliseconds(absl::Now() - sent));
      }
      return 0;
    });
    rates[packing].push_back(kResults / absl::ToDoubleSeconds(absl::Now() - start));
    std::vector<double> all;
    for (const auto& some : waits) all.insert(all.end(), some.begin(), some.end());
    std::sort(all.begin(), all.end());
    slowest[packing].push_back(all[all.size() * 99 / 100]);
  }
  std::printf("\nfour writers of %u halves a result, 32 a call: results/s, p99 of an acknowledgement\n", kDim);
  for (const bool packing : {false, true}) {
    std::printf("%-24s %8.0f %8.1f ms\n", packing ? "packing behind them" : "not packing", Median(rates[packing]),
                Median(slowest[packing]));
  }
}

}  // namespace

void BenchScan(const std::string& folder) {
  std::printf("scans of %llu embeddings; ratio: to pread() of as many bytes of a cached file into one buffer of 1 MiB\n",
              static_cast<unsigned long long>(kVectors));
  for (const uint32_t dim : {512u, 768u}) {
    const std::string inner = folder + "/scan";
    std::filesystem::create_directories(inner);
    BenchDim(inner, dim);
    std::filesystem::remove_all(inner);
  }
  BenchBehindWriters(folder + "/behind");
  std::filesystem::remove_all(folder + "/behind");
}

}  // namespace promptsweep::store
