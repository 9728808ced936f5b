#include "tests/bench/store_bench_common.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace promptsweep::store {

std::vector<v1::PutResultsRequest> MakePuts(const sweep::Plan& plan, uint32_t sweep, uint64_t begin, uint64_t end, int per_call,
                                            size_t image_bytes, int dim) {
  std::vector<v1::PutResultsRequest> requests;
  for (uint64_t at = begin; at < end; at += per_call) {
    std::vector<v1::Result> rows;
    for (uint64_t i = at; i < std::min(end, at + per_call); ++i) rows.push_back(MakeResult(plan, i, image_bytes, 0, dim));
    requests.push_back(MakePut(sweep, std::move(rows)));
  }
  return requests;
}

void PutEvery(Store& store, const std::vector<v1::PutResultsRequest>& requests, int in_flight) {
  absl::Mutex mu;
  int waiting = 0;
  for (const v1::PutResultsRequest& request : requests) {
    {
      const auto room = [&] { return waiting < in_flight; };
      absl::MutexLock lock(&mu, absl::Condition(&room));
      ++waiting;
    }
    store.PutResults(&request, [&](absl::StatusOr<v1::PutResultsResponse> reply) {
      PS_CHECK(reply.ok()) << reply.status();
      for (const v1::PutOutcome& outcome : reply->outcomes()) {
        PS_CHECK(outcome.code() == v1::PutOutcome::CODE_STORED) << outcome.reason();
      }
      absl::MutexLock lock(&mu);
      --waiting;
    });
  }
  const auto done = [&] { return waiting == 0; };
  absl::MutexLock lock(&mu, absl::Condition(&done));
}

absl::Duration Quantile(std::vector<absl::Duration>& samples, double p) {
  std::sort(samples.begin(), samples.end());
  return samples[static_cast<size_t>(p * static_cast<double>(samples.size() - 1))];
}

WrittenBytes FlushFolder(const std::string& folder) {
  Database::Options options;
  options.folder = folder;
  auto database = Database::Open(options);
  PS_CHECK(database.ok()) << database.status();
  for (size_t i = 0; i < kFamilies; ++i) {
    PS_CHECK((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(static_cast<Family>(i))).ok());
  }
  return (*database)->written();
}

uint64_t FolderBytes(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

uint64_t ProcessBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(": \t"), absl::SkipEmpty());
    uint64_t kib = 0;
    if (words.size() >= 2 && words[0] == field && absl::SimpleAtoi(words[1], &kib)) return kib << 10;
  }
  return 0;
}

}  // namespace promptsweep::store
