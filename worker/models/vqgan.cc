#include "worker/models/vqgan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/tensors/elementwise.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kMaxSide = 4096;
constexpr int64_t kMaxWidth = 1 << 16;

// A 1x1 convolution as a product over the channel axis.
Linear Pointwise(const Weights& w, int64_t in, int64_t out) {
  Linear linear;
  linear.weight = w.Get("weight", {out, in, 1, 1}).view({out, in});
  linear.bias = w.Get("bias", {out});
  return linear;
}

// [n, in, h, w] -> [n, out, h, w]. A convolution would do it, but oneDNN's of one pixel sums in another order with one thread
// than with several; products do not. (Nor do wider convolutions, and group_norm, of this layout.)
at::Tensor AcrossChannels(const Linear& linear, const at::Tensor& x) {
  const at::Tensor y = at::matmul(linear.weight, x.flatten(2)).add_(linear.bias.unsqueeze(1));
  return y.view({x.size(0), y.size(1), x.size(2), x.size(3)});
}

}  // namespace

VqganConfig::VqganConfig(const JsonFile& json)
    : channels(json.Int("ch", 1, kMaxWidth)),
      multipliers(json.Ints("ch_mult", 1, 64)),
      blocks(json.Int("num_res_blocks", 0, 64)),
      attention_sizes(json.Ints("attn_resolutions", 1, kMaxSide)),
      z_channels(json.Int("z_channels", 1, kMaxWidth)),
      embed_dim(json.Int("embed_dim", 1, kMaxWidth)),
      codes(json.Int("n_embed", 1, 1 << 24)),
      resolution(json.Int("resolution", 1, kMaxSide)),
      out_channels(json.Int("out_ch", 3, 3)),
      norm_groups(json.Int("norm_groups", 1, kMaxWidth, 32)),
      norm_eps(json.Number("norm_eps", 0, 1, 1e-6)) {
  if (multipliers.empty() || multipliers.size() > 12) throw LoadError(absl::StrCat(json.path(), ": ch_mult has 1 to 12 entries"));
  if (code_side() < 1 || code_side() << (multipliers.size() - 1) != resolution) {
    throw LoadError(
        absl::StrCat(json.path(), ": resolution ", resolution, " cannot be halved ", multipliers.size() - 1, " times"));
  }
  for (const int64_t m : multipliers) {
    if (channels * m > kMaxWidth || channels * m % norm_groups != 0) {
      throw LoadError(
          absl::StrCat(json.path(), ": ", channels * m, " channels do not divide into ", norm_groups, " norm_groups"));
    }
  }
}

VqganDecoder::ResBlock::ResBlock(const Weights& w, int64_t in, int64_t out, const VqganConfig& c)
    : norm1(w / "norm1", in, c.norm_groups, c.norm_eps),
      norm2(w / "norm2", out, c.norm_groups, c.norm_eps),
      conv1(w / "conv1", in, out, 3),
      conv2(w / "conv2", out, out, 3) {
  if (in != out) shortcut = Pointwise(w / "nin_shortcut", in, out);
}

at::Tensor VqganDecoder::ResBlock::operator()(const at::Tensor& x) const {
  at::Tensor h = norm1(x);
  h = conv1(SiluInPlace(h));
  h = norm2(h);
  h = conv2(SiluInPlace(h));
  return h.add_(shortcut.weight.defined() ? AcrossChannels(shortcut, x) : x);
}

VqganDecoder::AttentionBlock::AttentionBlock(const Weights& w, int64_t channels, const VqganConfig& c)
    : norm(w / "norm", channels, c.norm_groups, c.norm_eps),
      qkv(Linear::Fused({Pointwise(w / "q", channels, channels), Pointwise(w / "k", channels, channels),
                         Pointwise(w / "v", channels, channels)})),
      out(Pointwise(w / "proj_out", channels, channels)) {}

at::Tensor VqganDecoder::AttentionBlock::operator()(const at::Tensor& x) const {
  const at::Tensor rows = norm(x).flatten(2).transpose(1, 2).contiguous();  // [n, positions, channels]
  const auto parts = qkv(rows).unsqueeze(1).chunk(3, -1);
  const at::Tensor h = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]).squeeze(1);
  return x + out(h).transpose(1, 2).reshape(x.sizes());
}

VqganDecoder::VqganDecoder(const VqganConfig& config, const Weights& w) : config_(config) {
  const Linear post = Pointwise(w / "post_quant_conv", config.embed_dim, config.z_channels);
  embedding_ = post((w / "embedding").Get("weight", {config.codes, config.embed_dim}));
  const Weights d = w / "decoder";
  const auto levels = static_cast<int64_t>(config.multipliers.size());
  int64_t channels = config.channels * config.multipliers.back();
  conv_in_ = Conv2d(d / "conv_in", config.z_channels, channels, 3);
  middle_.emplace_back(d / "mid" / "block_1", channels, channels, config);
  middle_attention_.emplace_back(d / "mid" / "attn_1", channels, config);
  middle_.emplace_back(d / "mid" / "block_2", channels, channels, config);
  int64_t side = config.code_side();
  for (int64_t level = levels - 1; level >= 0; --level, side *= 2) {
    const Weights u = d / "up" / level;
    const int64_t out = config.channels * config.multipliers[level];
    const bool attends = std::count(config.attention_sizes.begin(), config.attention_sizes.end(), side) > 0;
    Level& built = levels_.emplace_back();
    for (int64_t i = 0; i <= config.blocks; ++i) {
      built.blocks.emplace_back(u / "block" / i, channels, out, config);
      channels = out;
      if (attends) built.attentions.emplace_back(u / "attn" / i, channels, config);
    }
    if (level > 0) built.upsample = Conv2d(u / "upsample" / "conv", channels, channels, 3);
  }
  norm_out_ = GroupNorm(d / "norm_out", channels, config.norm_groups, config.norm_eps);
  conv_out_ = Conv2d(d / "conv_out", channels, config.out_channels, 3);
}

at::Tensor VqganDecoder::Decode(const at::Tensor& codes) const {
  const int64_t side = config_.code_side();
  at::Tensor h = at::embedding(embedding_, codes).view({codes.size(0), side, side, config_.z_channels}).permute({0, 3, 1, 2});
  h = conv_in_(h.contiguous());
  h = middle_[1](middle_attention_[0](middle_[0](h)));
  for (const auto& level : levels_) {
    for (size_t i = 0; i < level.blocks.size(); ++i) {
      h = level.blocks[i](h);
      if (!level.attentions.empty()) h = level.attentions[i](h);
    }
    if (level.upsample.weight.defined()) {
      h = level.upsample(at::upsample_nearest2d(h, {h.size(2) * 2, h.size(3) * 2}));
    }
  }
  h = norm_out_(h);
  return conv_out_(SiluInPlace(h));
}

at::Tensor VqganDecoder::DecodeBytes(const at::Tensor& codes) const {
  return Decode(codes).to(at::kFloat).clamp_(0, 1).mul_(255).to(at::kByte);
}

}  // namespace promptsweep::worker
