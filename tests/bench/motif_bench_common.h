// What the sections of motif_bench share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/mining/miner.h"
#include "tests/jobs_motifs/synthetic.h"

namespace promptsweep::motifs {

struct MotifBenchOptions {
  std::string folder;  // empty, for what a section writes
  std::string python;  // an interpreter that has the peers; empty: they are left out, and that is said
  std::string peers;   // the folder of their scripts
  int threads = 0;
  int sets = 0;            // per row of a table; 0: the section's own number
  std::vector<int64_t> n;  // runs of both sides together; empty: the section's own
  int64_t limit_s = 900;   // a peer that takes longer is ended
  bool brief = false;
};

// One set of rows that a method says belong together.
using Cluster = RowSet;

struct Timed {
  double seconds = 0;
  double peak_mb = 0;  // of the process, the data included
};

// Runs `work` in a process of its own and says how long it took and how much memory that process came to hold. What it returns
// comes back, too.
absl::StatusOr<std::string> InChild(const std::function<std::string()>& work, Timed& timed);

// Confirmed and candidate findings, as one line each: tier, then target rows.
std::string PackFindings(const Mined& mined);
std::vector<std::pair<Tier, Cluster>> UnpackFindings(const std::string& packed);

// For each planted motif whether some cluster has it: at least .8 of the motif, and it at least .8 of the cluster.
std::vector<bool> Recovered(const Synthetic& set, const std::vector<Cluster>& clusters);

// Sections; each prints its figures.
void BenchScale(const MotifBenchOptions& options);
void BenchPeers(const MotifBenchOptions& options);
void BenchNull(const MotifBenchOptions& options);
void BenchPlanted(const MotifBenchOptions& options);
void BenchStopping(const MotifBenchOptions& options);

}  // namespace promptsweep::motifs
