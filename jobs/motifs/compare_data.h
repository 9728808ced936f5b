// Compares the motifs of two groups of stored runs: two sweeps, or two parts of one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/statistics/compare.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

struct DiffRequest {
  // Ids, names or digest prefixes; the same sweep twice where its parts are compared.
  std::string from_sweep, to_sweep;
  // Filters as in jobs/sweep/filter.h: of both groups, and of each.
  std::string only, from, to;
  // Embedder id; empty: that of the first stored report there is.
  std::string embedder;
  // Where no filter names prompts: all runs, not the blank ones alone.
  bool all_prompts = false;
  int threads = 1;
};

struct DiffSide {
  uint32_t sweep = 0;
  std::string name;
  // As asked.
  std::string filter;
  uint64_t runs = 0;
  // Of these, without a partner.
  uint64_t alone = 0;
};

struct MotifDiff {
  // In each sweep's report; absent where its report does not have the motif.
  std::optional<uint32_t> id_from, id_to;
  std::string label;
  ComparedShares comparison;
  // Ordinals of at most 8 members on each side, nearest to a centre first.
  std::vector<uint64_t> exemplars_from, exemplars_to;
};

struct SweepDiff {
  DiffSide from, to;
  std::string embedder;
  // True where blank runs alone were compared because both sides ask blank prompts and no filter names prompts.
  bool blank_only = false;
  bool paired = false;
  // Pairs found, whether they were used or not.
  uint64_t pairs = 0;
  // Largest change first.
  std::vector<MotifDiff> motifs;
  // Motifs that are but candidates in every report that has them: not compared.
  uint64_t left_out = 0;
  std::vector<std::string> notes;
};

// Takes each sweep's stored report, cross-fits its regions (refit.h) and counts them in both groups. Two reports' motifs are one
// where each centre lies inside the other's region; a run is inside if it is inside either. INVALID_ARGUMENT: a bad filter, a
// sweep without the embedder or with another one of that name, a report by another embedder, a run on both sides, a side without
// stored runs. FAILED_PRECONDITION: a sweep that was not mined. NOT_FOUND: no such sweep. Otherwise as SweepReader. Memory: some
// 100 bytes a run. The same bits for any number of threads.
[[nodiscard]] absl::StatusOr<SweepDiff> DiffSweeps(v1::StoreService::StubInterface& store, const DiffRequest& request);

// As JSON, one object, ending in a newline; cli/README.md describes it.
[[nodiscard]] std::string DiffJson(const SweepDiff& diff);

}  // namespace promptsweep::motifs
