#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/weights/dalle.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;
using Names = std::map<std::string, std::string>;

constexpr int64_t kMaxLayers = 512;

absl::Status NoPlace(const std::string& name) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), " is not part of this architecture"));
}

absl::Status Insert(TensorMap& tensors, const std::string& name, Tensor tensor) {
  if (tensors.emplace(name, std::move(tensor)).second) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), " comes twice"));
}

// {"layers", "x", "kernel"} -> ... "weight"; Flax's matrices are [in, out].
absl::Status RenameLeaf(std::vector<std::string>& path, Tensor& tensor) {
  std::string& leaf = path.back();
  const size_t rank = tensor.shape.size();
  if (leaf == "kernel" && rank == 2) {
    tensor = Permute(tensor, {1, 0});
    leaf = "weight";
  } else if (leaf == "kernel" && rank == 4) {
    tensor = Permute(tensor, {3, 2, 0, 1});
    leaf = "weight";
  } else if ((leaf == "scale" || leaf == "bias") && rank >= 1) {
    // Norms of older Flax are [1, 1, 1, n].
    tensor = WithoutLeadingOnes(tensor);
    if (leaf == "scale") leaf = "weight";
  } else if (leaf == "embedding" && rank == 2) {
    leaf = "weight";
  } else {
    return absl::InvalidArgumentError(absl::StrCat("has shape ", ShapeText(tensor.shape)));
  }
  return absl::OkStatus();
}

const Names& LayerNames(bool decoder) {
  static const auto& encoder_names = *new Names{{"LayerNorm_0", "pre_self_attn_layer_norm"},
                                                {"LayerNorm_1", "self_attn_layer_norm"},
                                                {"FlaxBartAttention_0", "self_attn"},
                                                {"GLU_0", "glu"}};
  static const auto& decoder_names = *new Names{{"LayerNorm_0", "pre_self_attn_layer_norm"},
                                                {"LayerNorm_1", "self_attn_layer_norm"},
                                                {"LayerNorm_2", "pre_encoder_attn_layer_norm"},
                                                {"LayerNorm_3", "encoder_attn_layer_norm"},
                                                {"FlaxBartAttention_0", "self_attn"},
                                                {"FlaxBartAttention_1", "encoder_attn"},
                                                {"GLU_0", "glu"}};
  return decoder ? decoder_names : encoder_names;
}

bool Replace(const Names& names, std::string& part) {
  const auto it = names.find(part);
  if (it == names.end()) return false;
  part = it->second;
  return true;
}

// The path within a layer: {"LayerNorm_0", "bias"}, {"GLU_0", "Dense_0", "kernel"}, {"FlaxBartAttention_0", "q_proj", "kernel"}.
bool RenameInLayer(std::vector<std::string>& path, bool decoder) {
  static const auto& glu_names =
      *new Names{{"LayerNorm_0", "ln0"}, {"LayerNorm_1", "ln1"}, {"Dense_0", "fc0"}, {"Dense_1", "fc1"}, {"Dense_2", "fc2"}};
  static const auto& projections =
      *new Names{{"q_proj", "q_proj"}, {"k_proj", "k_proj"}, {"v_proj", "v_proj"}, {"out_proj", "out_proj"}};
  if (path.size() < 2 || !Replace(LayerNames(decoder), path[0])) return false;
  if (absl::EndsWith(path[0], "_layer_norm")) return path.size() == 2;
  return path.size() == 3 && Replace(path[0] == "glu" ? glu_names : projections, path[1]);
}

// One tensor under "model.encoder.layers." or "model.decoder.layers.".
absl::Status PlaceInLayers(const std::string& name, std::vector<std::string> path, Tensor tensor, bool decoder, TensorMap& out) {
  const std::string layer = decoder ? "FlaxBartDecoderLayer" : "FlaxBartEncoderLayer";
  const std::string stack = path[0];
  path.erase(path.begin());
  int64_t first = 0, count = 1;
  const bool scanned = stack == layer + "s";
  absl::string_view number = stack;
  if (scanned) {
    if (tensor.shape.empty() || tensor.shape[0] > kMaxLayers) return NoPlace(name);
    count = tensor.shape[0];
  } else if (!absl::ConsumePrefix(&number, layer + "_") || !absl::SimpleAtoi(number, &first) || first < 0 ||
             first >= kMaxLayers) {
    return NoPlace(name);
  }
  // Layers that are not stacked keep the last norm in the last of them.
  if (!scanned && path.size() == 2 && path[0] == (decoder ? "LayerNorm_4" : "LayerNorm_2")) {
    path[0] = "final_ln";
    PS_RETURN_IF_ERROR(Annotate(RenameLeaf(path, tensor), absl::StrCat("tensor ", Quoted(name))));
    return Insert(out, absl::StrJoin(path, "."), tensor);
  }
  if (!RenameInLayer(path, decoder)) return NoPlace(name);
  for (int64_t i = 0; i < count; ++i) {
    Tensor part = scanned ? Select(tensor, i) : tensor;
    std::vector<std::string> inner = path;
    PS_RETURN_IF_ERROR(Annotate(RenameLeaf(inner, part), absl::StrCat("tensor ", Quoted(name))));
    PS_RETURN_IF_ERROR(Insert(out, absl::StrCat("layers.", first + i, ".", absl::StrJoin(inner, ".")), part));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DalleTensors> DalleFromFlax(const TensorMap& flax) {
  DalleTensors out;
  for (const auto& [name, stored] : flax) {
    absl::string_view rest = name;
    (void)absl::ConsumePrefix(&rest, "params.");
    Tensor tensor = stored;
    if (rest == "lm_head.kernel") {
      std::vector<std::string> path = {"lm_head", "kernel"};
      PS_RETURN_IF_ERROR(Annotate(RenameLeaf(path, tensor), absl::StrCat("tensor ", Quoted(name))));
      PS_RETURN_IF_ERROR(Insert(out.decoder, absl::StrJoin(path, "."), tensor));
      continue;
    }
    const bool decoder = absl::StartsWith(rest, "model.decoder.");
    if (!absl::ConsumePrefix(&rest, "model.decoder.") && !absl::ConsumePrefix(&rest, "model.encoder.")) return NoPlace(name);
    TensorMap& part = decoder ? out.decoder : out.encoder;
    std::vector<std::string> path = absl::StrSplit(rest, '.');
    if (path[0] == "layers" && path.size() > 3) {
      path.erase(path.begin());
      PS_RETURN_IF_ERROR(PlaceInLayers(name, std::move(path), std::move(tensor), decoder, part));
    } else if (path.size() == 2) {
      PS_RETURN_IF_ERROR(Annotate(RenameLeaf(path, tensor), absl::StrCat("tensor ", Quoted(name))));
      PS_RETURN_IF_ERROR(Insert(part, absl::StrJoin(path, "."), tensor));
    } else {
      return NoPlace(name);
    }
  }
  return out;
}

absl::StatusOr<TensorMap> VqganFromFlax(const TensorMap& flax) {
  TensorMap out;
  for (const auto& [name, stored] : flax) {
    absl::string_view rest = name;
    (void)absl::ConsumePrefix(&rest, "params.");
    if (absl::StartsWith(rest, "encoder.") || absl::StartsWith(rest, "quant_conv.")) continue;
    std::vector<std::string> path = absl::StrSplit(rest, '.');
    if (rest == "quantize.embedding.embedding") path.erase(path.begin());
    if (path.size() > 2 && absl::StartsWith(path[1], "up_")) {
      // up_0.block_1 -> up.0.block.1; the middle's block_1 keeps its name.
      for (std::string& part : path) {
        for (const char* list : {"up_", "block_", "attn_"}) {
          if (absl::StartsWith(part, list)) part[std::string(list).size() - 1] = '.';
        }
      }
    }
    Tensor tensor = stored;
    PS_RETURN_IF_ERROR(Annotate(RenameLeaf(path, tensor), absl::StrCat("tensor ", Quoted(name))));
    PS_RETURN_IF_ERROR(Insert(out, absl::StrJoin(path, "."), tensor));
  }
  return out;
}

TensorMap VqganFromTorch(const TensorMap& torch) {
  TensorMap out;
  for (const auto& [name, tensor] : torch) {
    if (absl::StartsWith(name, "encoder.") || absl::StartsWith(name, "quant_conv.")) continue;
    out.emplace(name == "quantize.embedding.weight" ? "embedding.weight" : name, tensor);
  }
  return out;
}

}  // namespace promptsweep::weights
