// What the sections of the store's bench share.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "store/store.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {

struct BenchOptions {
  // On the disk that is meant; emptied by each section that writes.
  std::string folder;
  // Results of the section `open`.
  uint64_t results = 1'000'000;
  // Fewer repetitions: for ctest.
  bool brief = false;
};

// Requests of `per_call` results each, of the ordinals [begin, end).
[[nodiscard]] std::vector<v1::PutResultsRequest> MakePuts(const sweep::Plan& plan, uint32_t sweep, uint64_t begin, uint64_t end,
                                                          int per_call, size_t image_bytes, int dim);
// Puts them all with at most `in_flight` waiting, and checks that each result was stored.
void PutEvery(Store& store, const std::vector<v1::PutResultsRequest>& requests, int in_flight);
// The p-th quantile, 0 <= p <= 1. Sorts.
[[nodiscard]] absl::Duration Quantile(std::vector<absl::Duration>& samples, double p);
// Moves what is only in the log to table and blob files; returns what that wrote. The store must be closed.
WrittenBytes FlushFolder(const std::string& folder);
// Bytes of every file in a folder.
[[nodiscard]] uint64_t FolderBytes(const std::string& folder);
// "VmHWM" and its like of this process, in bytes.
[[nodiscard]] uint64_t ProcessBytes(const std::string& field);

// Sections; each prints what it measures.
void BenchWrites(const BenchOptions& options);
void BenchReads(const BenchOptions& options);
void BenchOpen(const BenchOptions& options);

}  // namespace promptsweep::store
