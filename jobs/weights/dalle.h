// What DALL-E mini, mega and their VQGAN are made of, in the names that worker/models reads (min-dalle's and
// taming-transformers'): tensors renamed from Flax, configurations completed from the tensors' shapes, and every tensor accounted
// for. Sources: min-dalle's load_params.py, dalle-mini's modeling.py and configuration.py, vqgan-jax's modeling_flax_vqgan.py.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {

using Json = nlohmann::ordered_json;

struct DalleTensors {
  TensorMap encoder, decoder;
};

// Flax's parameters: layers that nn.scan stacked are taken apart, kernels transposed, names replaced. INVALID_ARGUMENT names a
// tensor that has no place.
[[nodiscard]] absl::StatusOr<DalleTensors> DalleFromFlax(const TensorMap& flax);
// Likewise the VQGAN's, convolutions from HWIO to OIHW. Its encoder is left out.
[[nodiscard]] absl::StatusOr<TensorMap> VqganFromFlax(const TensorMap& flax);
// A torch VQGAN without its encoder.
[[nodiscard]] TensorMap VqganFromTorch(const TensorMap& torch);

// `published` (an object; empty where there is none) with every key that the worker asks for. Sizes come from the tensors and
// must agree with what is published. Where nothing is published: heads of 64, the start token 16384 (that of both published
// sizes) or else the last row. INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<Json> CompleteDalleConfig(Json published, const DalleTensors& tensors);
// Likewise; `image_length` tokens make the picture's square. Where it is not published: 32 norm groups, and `norm_eps`.
[[nodiscard]] absl::StatusOr<Json> CompleteVqganConfig(Json published, const TensorMap& tensors, int64_t image_length,
                                                       double norm_eps);

// Exactly the tensors that the complete configuration implies, of those shapes; the scales of the norms that were trained without
// one may be missing. INVALID_ARGUMENT names the first that is missing, too much, or of another shape.
[[nodiscard]] absl::Status CheckDalle(const Json& config, const DalleTensors& tensors);
[[nodiscard]] absl::Status CheckVqgan(const Json& config, const TensorMap& tensors);

}  // namespace promptsweep::weights
