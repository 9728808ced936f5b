// A spec and the models at hand become a manifest: the experiment pinned to exact weights.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/spec.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// A manifest travels in one message (base/rpc.h: 4 MiB); this leaves room for what stands around it.
inline constexpr size_t kMaxManifestBytes = 3 << 20 | 1 << 19;

struct FreezeOptions {
  std::string noise_dtype = "float32";
  std::string compute_dtype = "float32";
  // For `plan` away from the weights: models that are not found keep an empty digest and architecture instead of failing.
  bool allow_unknown_models = false;
  // Positions for messages; may be null.
  const SourceMap* where = nullptr;
};

// Resolves every model and embedder, checks each setting against the architectures it will reach, gives settings their types and
// counts the cells. Messages name the place in the spec where options.where knows it, and the nearest name that exists.
// INVALID_ARGUMENT for everything, an unknown model included.
[[nodiscard]] absl::StatusOr<v1::SweepManifest> Freeze(const v1::SweepSpec& spec, const ModelCatalog& catalog,
                                                       const FreezeOptions& options);

}  // namespace promptsweep::sweep
