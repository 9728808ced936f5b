// What the sections of model_bench share.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "jobs/sweep/catalog.h"

namespace promptsweep::worker {

struct ModelBenchOptions {
  std::string folder;          // empty, for what a section writes
  std::string python;          // an interpreter that has the peers; empty: they are left out, and that is said
  std::string peers;           // the folder of their scripts
  std::string models;          // the shipped models
  std::string size = "mini";   // or mega: of random weights
  std::string model;           // a folder to run in the place of random weights
  int batch = 8, threads = 0;  // threads 0: the machine's
  int steps = 0;               // of DALL-E's decoder, from its middle; 0: a whole batch is made
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  bool brief = false;
};

// "float32", "bfloat16" or "float16".
std::string DtypeName(at::ScalarType dtype);

// Peak resident memory of this process since it began or since ResetPeakMemory, in bytes.
int64_t PeakMemory();
int64_t ResidentMemory();
// Forgets the peak so far; gives unused memory of the allocator back first.
void ResetPeakMemory();

// Runs a peer's script and reads the JSON object that it prints as its last line; the status says why there is none.
absl::StatusOr<std::string> RunPeer(const ModelBenchOptions& options, const std::string& script,
                                    const std::vector<std::string>& arguments);

// Each prints its figures.
void BenchDalle(const ModelBenchOptions& options);
void BenchEmbed(const ModelBenchOptions& options);
void BenchPasses(const ModelBenchOptions& options);

}  // namespace promptsweep::worker
