// The device side: loads what a batch needs, generates, embeds, and brings pixels and vectors to the host. The only file of the
// pipeline, with model_host.cc, that includes torch.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "promptsweep/v1/store.pb.h"
#include "worker/pipeline/model_host.h"
#include "worker/pipeline/sweep_context.h"

namespace promptsweep::worker {

// One image as it leaves the device.
struct MadeImage {
  int width = 0;
  int height = 0;
  std::string rgb;                        // row-major, 3 bytes a pixel
  std::vector<v1::Embedding> embeddings;  // one per embedder, in the setup's order; finite unit vectors
  uint32_t generate_us = 0;               // this cell's share of its batch
  uint32_t embed_us = 0;
};

// Not thread-safe: one thread, the device's, calls it.
class Engine {
 public:
  struct Options {
    ModelHost* models = nullptr;  // outlives the engine
    Clock* clock = &Clock::Real();
    std::string device = "cpu";  // as torch spells it
    int batch_shape = 0;         // 0: the model's own
    int threads = 0;             // of one operation; 0: one per core
    std::string worker;          // for the provenance
  };

  // Also sets the process up for equal bytes (MakeDeterministic), so it comes before any other use of torch. INVALID_ARGUMENT for
  // a device that is not there.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Engine>> Create(Options options);
  ~Engine();

  // Loads `setup` unless it is loaded. Another generator is dropped first; embedders stay. An error means that this worker cannot
  // run the model at all.
  [[nodiscard]] absl::Status Prepare(const ModelSetup& setup);
  // Label vectors that the store lacks for the prepared embedders, computed once each.
  [[nodiscard]] std::vector<v1::PutLabelsRequest> NewLabels(const ModelSetup& setup);
  // Vectors of texts by the setup's embedder of that index: little-endian halves, row-major. UNIMPLEMENTED: it has no text tower.
  [[nodiscard]] absl::StatusOr<std::string> EmbedLabels(size_t embedder, absl::Span<const std::string> labels);

  // The rest need a successful Prepare.
  // Cells one Run takes at most. Shrinks when the device runs out of memory.
  int batch_shape() const;
  // One outcome per cell, in order. INVALID_ARGUMENT: the cell can never be made. Where a batch fails its cells are run one by
  // one, so that only the culprit does. Out of memory halves the batch shape for good; a batch of one that does not fit fails.
  [[nodiscard]] std::vector<absl::StatusOr<MadeImage>> Run(absl::Span<const v1::Cell> cells);
  // How the last Run's images were made. Its bit_stable comes from a self-test after the first batch of a model: the batch's
  // first cell again at the second position, its last at the first, bytes and vectors compared.
  std::shared_ptr<const v1::Provenance> provenance() const;

  // Only embeds: for imported images, all of `width` x `height`. One outcome per image; the timings and pixels are left out.
  [[nodiscard]] std::vector<absl::StatusOr<std::vector<v1::Embedding>>> Embed(absl::Span<const std::string> rgb, int width,
                                                                              int height);
  // As Prepare, without a generator.
  [[nodiscard]] absl::Status PrepareEmbedders(const ModelSetup& setup);

  // In words, for provenance and registration.
  const std::string& device() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace promptsweep::worker
