// What `promptsweep plan` says about a sweep before anything runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/sweep/catalog.h"
#include "nlohmann/json.hpp"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// An axis of a part.
struct AxisSize {
  std::string name;
  uint64_t values;  // distinct in this part (exact up to a million, else as written)
};

// A part of the outermost chain; a sweep that is not a chain has one.
struct PartSummary {
  uint64_t first;  // ordinal
  uint64_t cells;
  std::vector<AxisSize> axes;  // slowest first
};

struct ModelSummary {
  v1::ModelRef ref;  // empty digest: not found
  std::string path;  // empty: built in or not found
  bool found = false;
};

struct PlanSummary {
  std::string name;
  std::string digest;  // of the manifest, hex
  uint64_t cells = 0;
  std::vector<AxisSize> axes;
  std::vector<PartSummary> parts;
  std::vector<v1::Cell> first, sample, last;  // sample: evenly spaced between the others
  std::vector<ModelSummary> models, embedders;
  std::vector<v1::Setting> defaults;
  std::string noise_dtype, compute_dtype;
  std::string images;  // where they go; empty: the store
  bool has_stop = false;
  v1::StopRule stop;  // with defaults filled in; `cells` is the least the sweep takes, stop.max_cells the most
  // fp16 vectors of embedders that were found (512 dimensions for others), images guessed from the pixels of 256 cells, records
  // of kRecordBytes. Saturate at 2^64 - 1.
  uint64_t embedding_bytes = 0, image_bytes = 0, record_bytes = 0;
  // All of these together if the sweep grows to stop.max_cells; 0 without a stop rule.
  uint64_t most_bytes = 0;
};

// WebP of generated pictures, typically; and the smallest one.
inline constexpr double kBytesPerPixel = 0.35;
inline constexpr double kSmallestImage = 64;
inline constexpr uint64_t kRecordBytes = 400;

// `count` cells each for first, last and sample.
[[nodiscard]] absl::StatusOr<PlanSummary> Describe(const v1::SweepManifest& manifest, const ModelCatalog& catalog, int count = 3);

[[nodiscard]] nlohmann::json ToJson(const PlanSummary& summary);
// A few lines for people, ending in a newline.
[[nodiscard]] std::string ToText(const PlanSummary& summary);

// {"ordinal", "model", "prompt" (PromptText), "blank" (kind or null), "seed", "settings": {...}, "fingerprint" (hex)}
[[nodiscard]] nlohmann::json CellJson(const v1::Cell& cell);

}  // namespace promptsweep::sweep
