// Makes cells again that a sweep has results of, and says how far the new ones are from those. Stores nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/engine.h"

namespace promptsweep::worker {

// One cell, made again.
struct Reproduced {
  struct Vector {
    std::string embedder;
    bool same = false;  // to the bit
    double cosine = 0;  // 1 where same
  };
  uint64_t ordinal = 0;
  absl::Status status;             // why it could not be made or compared; the rest then means nothing
  bool same_bytes = false;         // the encoded image
  bool same_pixels = false;        // what it decodes to
  bool same_size = false;          // where not, the three below mean nothing
  int largest_step = 0;            // largest difference of any channel of any pixel, of 255
  double mean_step = 0;            // mean over all channels of all pixels
  double changed = 0;              // share of pixels that differ at all
  std::vector<Vector> vectors;     // one per embedder, in the manifest's order
  std::vector<std::string> other;  // what its provenance has that this run has not: "device: was cpu: X, is cpu: Y"
  bool same() const;
};

// Of the same size: fills same_pixels, largest_step, mean_step and changed. `was` and `is`: RGB, 3 bytes a pixel.
void ComparePixels(absl::string_view was, absl::string_view is, Reproduced& reproduced);

// 1 for equal vectors; of little-endian halves, as many in each. 0 where one of them is zero or has other length.
double CosineOfHalves(absl::string_view a, absl::string_view b);

struct ReproduceOptions {
  v1::StoreService::StubInterface* store = nullptr;
  const ModelHost* models = nullptr;
  Engine* engine = nullptr;
  std::string sweep;  // id, name or digest prefix
  absl::Duration rpc_timeout = absl::Minutes(1);
  const absl::Notification* stop = nullptr;  // ends early
};

// Makes the cells of `ordinals` (ascending, each once) again in full batches of one model, and hands each to `use` in some order.
// NOT_FOUND: no such sweep, or one of them has no stored result. FAILED_PRECONDITION: the sweep was imported, or a model folder
// is not the one it was made with. CANCELLED where stopped.
[[nodiscard]] absl::Status Reproduce(const std::vector<uint64_t>& ordinals, const ReproduceOptions& options,
                                     const std::function<void(const Reproduced&)>& use);

// As one line of JSON, without a line break.
[[nodiscard]] std::string ReproducedJson(const Reproduced& reproduced);

}  // namespace promptsweep::worker
