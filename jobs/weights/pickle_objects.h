// The few objects of torch that a pickle of weights is made of.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "jobs/weights/pickle.h"

namespace promptsweep::weights {

// True for "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter" and the storages whose
// numbers safetensors can hold ("torch.FloatStorage").
[[nodiscard]] bool IsAllowedName(const std::string& name);

// The value, as an index of pickle.nodes, that such a name gives for a tuple of arguments. INVALID_ARGUMENT where torch.save
// would not write that.
[[nodiscard]] absl::StatusOr<uint32_t> Call(Pickle& pickle, uint32_t callee, uint32_t arguments);

// The storage that a persistent id stands for: ('storage', type, key, place, elements). INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<uint32_t> AddStorage(Pickle& pickle, uint32_t id);

}  // namespace promptsweep::weights
