// A sweep as this worker runs it: its plan, and the folders that the manifest's digests name, found here and compared.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/plan.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/model_host.h"

namespace promptsweep::worker {

// What the device needs loaded to run a cell. Cells with equal setups may share a batch.
struct ModelSetup {
  sweep::ModelFolder model;
  std::vector<sweep::ModelFolder> embedders;            // in the manifest's order
  std::vector<std::vector<std::string>> stored_labels;  // per embedder: the labels whose vectors the store has
  std::string noise_dtype;
  std::string compute_dtype;
  // Names all of the above but the labels.
  std::string key;
};

// Immutable; shared by the batches of one sweep.
struct SweepContext {
  uint32_t sweep = 0;
  sweep::Plan plan;
  std::map<std::string, std::shared_ptr<const ModelSetup>> setups;  // by model id; only models found and equal
  // By model id: why not. FAILED_PRECONDITION: no worker can (the folder is not the sweep's); else: not this one.
  std::map<std::string, absl::Status> unusable;
};

// Not thread-safe. Keeps the sweeps it has fetched: a manifest never changes under its digest.
class SweepCache {
 public:
  struct Options {
    v1::StoreService::StubInterface* store = nullptr;  // outlives the cache
    const ModelHost* models = nullptr;                 // outlives the cache
    std::string compute_dtype;                         // empty: whatever a manifest asks for
    absl::Duration rpc_timeout = absl::Seconds(10);
    size_t keep = 8;
  };
  explicit SweepCache(Options options) : options_(std::move(options)) {}

  // Fetches the manifest from the store and checks it against `digest`. Transient errors of the store pass through;
  // FAILED_PRECONDITION where the manifest is neither the one the digest names nor an extension of it; INVALID_ARGUMENT where it
  // is none.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const SweepContext>> Get(uint32_t sweep, const std::string& digest);

 private:
  using Labels = std::map<std::string, std::vector<std::string>>;  // embedder digest -> labels
  absl::StatusOr<Labels> StoredLabels(const v1::SweepManifest& manifest) const;
  absl::StatusOr<ModelSetup> Setup(const v1::SweepManifest& manifest, const v1::ModelRef& model, const Labels& labels) const;

  const Options options_;
  std::map<std::pair<uint32_t, std::string>, std::shared_ptr<const SweepContext>> cache_;
};

// The folder a manifest names, with the same digest. FAILED_PRECONDITION ("model folder differs") otherwise.
[[nodiscard]] absl::StatusOr<sweep::ModelFolder> FindExactly(const ModelHost& models, const v1::ModelRef& wanted);

}  // namespace promptsweep::worker
