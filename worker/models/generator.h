// The two things a worker can do with a model, as the pipeline sees them. Implementations live beside this file; LoadGenerator
// and LoadEmbedder choose by the folder's architecture.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "jobs/sweep/catalog.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::worker {

struct LoadOptions {
  at::Device device = at::kCPU;
  at::ScalarType compute_dtype = at::kFloat;
  // Images per physical batch; partial batches are padded to it so that an image never depends on its neighbours.
  // 0 lets the model choose.
  int batch_shape = 0;
};

// Makes images. Not thread-safe: one thread calls it.
class Generator {
 public:
  virtual ~Generator() = default;
  // Number of cells one call takes at most; the physical batch always has this size.
  virtual int batch_shape() const = 0;
  // One image per cell, in order: uint8 [n, 3, height, width], RGB, on the model's device. cells.size() is 1..batch_shape().
  // The bytes of image i depend on cells[i] alone. INVALID_ARGUMENT where a cell can never be made (setting out of range);
  // RESOURCE_EXHAUSTED where the device is out of memory; INTERNAL for the rest.
  [[nodiscard]] virtual absl::StatusOr<at::Tensor> Generate(absl::Span<const v1::Cell> cells) = 0;
};

// Turns images and texts into unit vectors of one space. Not thread-safe.
class Embedder {
 public:
  virtual ~Embedder() = default;
  virtual int dim() const = 0;
  // uint8 [n, 3, height, width] RGB -> float32 [n, dim], unit rows, on the model's device.
  [[nodiscard]] virtual absl::StatusOr<at::Tensor> EmbedImages(const at::Tensor& images) = 0;
  // float32 [n, dim], unit rows. UNIMPLEMENTED for a model without a text tower.
  [[nodiscard]] virtual absl::StatusOr<at::Tensor> EmbedTexts(absl::Span<const std::string> texts) = 0;
  // Words to name motifs with: the folder's labels.txt; empty where there is none.
  virtual const std::vector<std::string>& labels() const = 0;
};

// Loads by folder.architecture. INVALID_ARGUMENT, naming the file, for unreadable, truncated or wrong-shaped weights and
// for missing or unused keys. UNIMPLEMENTED for an unknown architecture.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Generator>> LoadGenerator(const sweep::ModelFolder& folder,
                                                                       const LoadOptions& options);
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadEmbedder(const sweep::ModelFolder& folder,
                                                                     const LoadOptions& options);

}  // namespace promptsweep::worker
