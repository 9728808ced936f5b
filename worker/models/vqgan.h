// The decoder of a VQGAN (taming-transformers' names and topology): a square of codebook entries -> a picture. Published
// f16-16384 weights and any other size of the same shape load from their JSON.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "worker/models/layers.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/weights.h"

namespace promptsweep::worker {

// Sizes, from vqgan/config.json.
struct VqganConfig {
  int64_t channels = 0;                              // "ch"
  std::vector<int64_t> multipliers;                  // "ch_mult": channels per level, from full resolution down
  int64_t blocks = 0;                                // "num_res_blocks"; the decoder has one more a level
  std::vector<int64_t> attention_sizes;              // "attn_resolutions": sides that have attention
  int64_t z_channels = 0, embed_dim = 0, codes = 0;  // "z_channels", "embed_dim", "n_embed"
  int64_t resolution = 0;                            // side of the picture
  int64_t out_channels = 3;                          // "out_ch"; 3
  int64_t norm_groups = 32;                          // "norm_groups"
  double norm_eps = 1e-6;                            // "norm_eps"; min-dalle's torch port used 1e-5

  // Throws LoadError.
  explicit VqganConfig(const JsonFile& json);
  int64_t code_side() const { return resolution >> (multipliers.size() - 1); }
};

// Immutable after construction; thread-safe.
class VqganDecoder {
 public:
  // Takes embedding, post_quant_conv and decoder.* from `w`; throws LoadError.
  VqganDecoder(const VqganConfig& config, const Weights& w);

  // int64 [n, code_side^2], row by row, each in [0, codes) -> [n, 3, resolution, resolution], about 0..1, unclipped.
  at::Tensor Decode(const at::Tensor& codes) const;
  // Decode, clipped to 0..1, times 255, truncated (as both references do) -> uint8.
  at::Tensor DecodeBytes(const at::Tensor& codes) const;

  const VqganConfig& config() const { return config_; }

 private:
  struct ResBlock {
    GroupNorm norm1, norm2;
    Conv2d conv1, conv2;
    Linear shortcut;  // across the channels; undefined where they stay
    ResBlock(const Weights& w, int64_t in, int64_t out, const VqganConfig& c);
    at::Tensor operator()(const at::Tensor& x) const;
  };
  // One head over all positions.
  struct AttentionBlock {
    GroupNorm norm;
    Linear qkv, out;  // 1x1 convolutions
    AttentionBlock(const Weights& w, int64_t channels, const VqganConfig& c);
    at::Tensor operator()(const at::Tensor& x) const;
  };
  struct Level {
    std::vector<ResBlock> blocks;
    std::vector<AttentionBlock> attentions;  // empty or one per block
    Conv2d upsample;                         // undefined at full resolution
  };

  VqganConfig config_;
  at::Tensor embedding_;  // [codes, embed_dim], already through post_quant_conv: [codes, z_channels]
  Conv2d conv_in_, conv_out_;
  std::vector<ResBlock> middle_;                  // two
  std::vector<AttentionBlock> middle_attention_;  // one, between them
  std::vector<Level> levels_;                     // from the smallest side up
  GroupNorm norm_out_;
};

}  // namespace promptsweep::worker
