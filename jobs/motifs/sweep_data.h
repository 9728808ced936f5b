// Reading what the miner needs of a sweep from the store: embeddings, and which run belongs to which side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/inference.h"
#include "jobs/motifs/matrix.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

struct RunSelection {
  // Sweep id, name, or the beginning of its digest in hex.
  std::string sweep;
  // Filters as in jobs/sweep/filter.h. Empty target: blank prompts. Empty baseline: every run that is not target.
  std::string target;
  std::string baseline;
  // Embedder id; empty: the manifest's first.
  std::string embedder;
};

struct SweepData {
  v1::SweepInfo info;
  v1::ModelRef embedder;
  std::vector<v1::AxisFilter> target, baseline;
  // Stored runs of either side, by ordinal; unit rows.
  Matrix x;
  Runs runs;
};

// The sides are decided by Plan::CellAt; a filter may also name a further column of an imported sweep. Where no target is named
// it is the blank runs, or in a sweep that asks no blank prompt all runs but those of the baseline. INVALID_ARGUMENT: a bad
// filter, no stored run on the target side, or a run on both sides. NOT_FOUND: no such sweep or embedder. DATA_LOSS: a stream
// that was cut short or harmed.
[[nodiscard]] absl::StatusOr<SweepData> LoadSweep(v1::StoreService::StubInterface& store, const RunSelection& selection);

// An embedder's label vocabulary with unit rows; no labels where the store has none.
struct Vocabulary {
  std::vector<std::string> labels;
  Matrix words;
};
[[nodiscard]] absl::StatusOr<Vocabulary> LoadVocabulary(v1::StoreService::StubInterface& store,
                                                        const std::string& embedder_digest);

}  // namespace promptsweep::motifs
