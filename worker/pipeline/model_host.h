// Where a worker's models come from. Free of torch, so that what only moves work around need not include it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "jobs/sweep/catalog.h"

namespace promptsweep::worker {

class Generator;
class Embedder;
struct LoadOptions;

// Thread-safe for Find; Load* are called by one thread.
class ModelHost {
 public:
  virtual ~ModelHost() = default;
  // As ModelCatalog::Find.
  [[nodiscard]] virtual absl::StatusOr<sweep::ModelFolder> Find(const std::string& id) const = 0;
  // As the functions of the same name in worker/models/generator.h.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Generator>> LoadGenerator(const sweep::ModelFolder& folder,
                                                                                 const LoadOptions& options) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Embedder>> LoadEmbedder(const sweep::ModelFolder& folder,
                                                                               const LoadOptions& options) = 0;
};

// The folders of a catalog and the modules of worker/models. `catalog` outlives it.
[[nodiscard]] std::unique_ptr<ModelHost> CatalogHost(const sweep::ModelCatalog* catalog);

}  // namespace promptsweep::worker
