#include "jobs/weights/dalle.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;

constexpr int64_t kHeadWidth = 64;      // of both published sizes
constexpr int64_t kStartToken = 16384;  // of both published sizes
constexpr int64_t kNormGroups = 32;
constexpr int64_t kMaxSide = 4096;
constexpr int64_t kMost = int64_t{1} << 31;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

struct Shape {
  std::vector<int64_t> sizes;
  bool optional = false;
};
using Shapes = std::map<std::string, Shape>;

absl::Status CheckShapes(const Shapes& expected, const TensorMap& tensors) {
  for (const auto& [name, shape] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      if (shape.optional) continue;
      return Invalid(absl::StrCat("tensor ", Quoted(name), " of shape ", ShapeText(shape.sizes), " is missing"));
    }
    if (found->second.shape != shape.sizes) {
      return Invalid(absl::StrCat("tensor ", Quoted(name), " has shape ", ShapeText(found->second.shape), "; the others imply ",
                                  ShapeText(shape.sizes)));
    }
    if (!IsFloating(found->second.dtype)) {
      return Invalid(
          absl::StrCat("tensor ", Quoted(name), " has type ", found->second.dtype, "; weights are F16, BF16, F32 or F64"));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!expected.count(name)) return Invalid(absl::StrCat("tensor ", Quoted(name), " is not part of this architecture"));
  }
  return absl::OkStatus();
}

// Size `axis` of a tensor of `rank` axes.
absl::StatusOr<int64_t> SizeOf(const TensorMap& tensors, const std::string& name, size_t rank, size_t axis) {
  const auto it = tensors.find(name);
  if (it == tensors.end()) return Invalid(absl::StrCat("tensor ", Quoted(name), " is missing"));
  if (it->second.shape.size() != rank)
    return Invalid(absl::StrCat("tensor ", Quoted(name), " has shape ", ShapeText(it->second.shape)));
  const int64_t size = it->second.shape[axis];
  if (size < 1 || size > kMost) return Invalid(absl::StrCat("tensor ", Quoted(name), " has shape ", ShapeText(it->second.shape)));
  return size;
}

// How many of "<before>0<after>", "<before>1<after>", ... there are.
int64_t Count(const TensorMap& tensors, const std::string& before, const std::string& after) {
  int64_t count = 0;
  while (tensors.count(absl::StrCat(before, count, after))) ++count;
  return count;
}

bool Has(const Json& config, const std::string& key) { return config.contains(key) && !config[key].is_null(); }

absl::StatusOr<int64_t> Whole(const Json& config, const std::string& key) {
  const Json& value = config[key];
  if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > static_cast<double>(kMost)) {
    return Invalid(absl::StrCat("config: ", Quoted(key), " is not a whole number"));
  }
  return value.get<int64_t>();
}

// Sets the key, or proves that it says the same.
absl::Status Fill(Json& config, const std::string& key, const absl::StatusOr<int64_t>& value) {
  PS_RETURN_IF_ERROR(value.status());
  if (!Has(config, key)) {
    config[key] = *value;
    return absl::OkStatus();
  }
  PS_ASSIGN_OR_RETURN(const int64_t published, Whole(config, key));
  if (published == *value) return absl::OkStatus();
  return Invalid(absl::StrCat("config: ", Quoted(key), " is ", published, ", but the tensors' shapes say ", *value));
}

absl::Status FillType(Json& config, const std::string& type) {
  if (Has(config, "model_type") && config["model_type"] != type) {
    return Invalid(absl::StrCat("config: model_type ", config["model_type"].dump(), " is not ", Quoted(type)));
  }
  config["model_type"] = type;
  return absl::OkStatus();
}

void AddNorm(Shapes& shapes, const std::string& name, int64_t width, bool scale_optional) {
  shapes[name + ".weight"] = {{width}, scale_optional};
  shapes[name + ".bias"] = {{width}};
}

Shapes DalleShapes(bool decoder, int64_t layers, int64_t width, int64_t ffn, int64_t vocab, int64_t length) {
  Shapes shapes;
  shapes["embed_tokens.weight"] = {{vocab, width}};
  shapes["embed_positions.weight"] = {{length, width}};
  AddNorm(shapes, "layernorm_embedding", width, false);
  AddNorm(shapes, "final_ln", width, true);
  if (decoder) shapes["lm_head.weight"] = {{vocab, width}};
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = absl::StrCat("layers.", i, ".");
    for (const char* attention : {"self_attn", "encoder_attn"}) {
      if (!decoder && attention == std::string("encoder_attn")) continue;
      AddNorm(shapes, absl::StrCat(layer, "pre_", attention, "_layer_norm"), width, true);
      AddNorm(shapes, absl::StrCat(layer, attention, "_layer_norm"), width, false);
      for (const char* projection : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        shapes[absl::StrCat(layer, attention, ".", projection, ".weight")] = {{width, width}};
      }
    }
    AddNorm(shapes, layer + "glu.ln0", width, true);
    AddNorm(shapes, layer + "glu.ln1", ffn, true);
    shapes[layer + "glu.fc0.weight"] = shapes[layer + "glu.fc1.weight"] = {{ffn, width}};
    shapes[layer + "glu.fc2.weight"] = {{width, ffn}};
  }
  return shapes;
}

void AddConvolution(Shapes& shapes, const std::string& name, int64_t in, int64_t out, int64_t side) {
  shapes[name + ".weight"] = {{out, in, side, side}};
  shapes[name + ".bias"] = {{out}};
}

void AddResBlock(Shapes& shapes, const std::string& name, int64_t in, int64_t out) {
  AddNorm(shapes, name + ".norm1", in, false);
  AddConvolution(shapes, name + ".conv1", in, out, 3);
  AddNorm(shapes, name + ".norm2", out, false);
  AddConvolution(shapes, name + ".conv2", out, out, 3);
  if (in != out) AddConvolution(shapes, name + ".nin_shortcut", in, out, 1);
}

void AddAttention(Shapes& shapes, const std::string& name, int64_t channels) {
  AddNorm(shapes, name + ".norm", channels, false);
  for (const char* part : {".q", ".k", ".v", ".proj_out"}) AddConvolution(shapes, name + part, channels, channels, 1);
}

absl::StatusOr<std::vector<int64_t>> Wholes(const Json& config, const std::string& key) {
  std::vector<int64_t> values;
  if (!config[key].is_array() || config[key].size() > 64)
    return Invalid(absl::StrCat("config: ", Quoted(key), " is not a list of whole numbers"));
  for (const Json& value : config[key]) {
    PS_ASSIGN_OR_RETURN(const int64_t whole, Whole(Json{{key, value}}, key));
    values.push_back(whole);
  }
  return values;
}

// "ch" and "ch_mult", "num_res_blocks" and "attn_resolutions", where they are not published.
absl::Status FillVqganLevels(Json& config, const TensorMap& tensors, int64_t levels, int64_t resolution) {
  std::vector<int64_t> channels;
  int64_t common = 0;
  for (int64_t level = 0; level < levels; ++level) {
    PS_ASSIGN_OR_RETURN(const int64_t out, SizeOf(tensors, absl::StrCat("decoder.up.", level, ".block.0.conv2.weight"), 4, 0));
    channels.push_back(out);
    common = std::gcd(common, out);
  }
  if (!Has(config, "ch") || !Has(config, "ch_mult")) {
    config["ch"] = common;
    config["ch_mult"] = Json::array();
    for (const int64_t out : channels) config["ch_mult"].push_back(out / common);
  }
  PS_RETURN_IF_ERROR(Fill(config, "num_res_blocks", Count(tensors, "decoder.up.0.block.", ".conv1.weight") - 1));
  if (Has(config, "attn_resolutions")) return absl::OkStatus();
  config["attn_resolutions"] = Json::array();
  for (int64_t level = levels - 1; level >= 0; --level) {
    if (tensors.count(absl::StrCat("decoder.up.", level, ".attn.0.norm.weight")))
      config["attn_resolutions"].push_back(resolution >> level);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> CompleteDalleConfig(Json config, const DalleTensors& tensors) {
  PS_RETURN_IF_ERROR(FillType(config, "dallebart"));
  PS_ASSIGN_OR_RETURN(const int64_t width, SizeOf(tensors.encoder, "embed_tokens.weight", 2, 1));
  PS_RETURN_IF_ERROR(Fill(config, "d_model", width));
  PS_RETURN_IF_ERROR(Fill(config, "encoder_layers", Count(tensors.encoder, "layers.", ".self_attn.q_proj.weight")));
  PS_RETURN_IF_ERROR(Fill(config, "decoder_layers", Count(tensors.decoder, "layers.", ".self_attn.q_proj.weight")));
  PS_RETURN_IF_ERROR(Fill(config, "encoder_ffn_dim", SizeOf(tensors.encoder, "layers.0.glu.fc0.weight", 2, 0)));
  PS_RETURN_IF_ERROR(Fill(config, "decoder_ffn_dim", SizeOf(tensors.decoder, "layers.0.glu.fc0.weight", 2, 0)));
  PS_RETURN_IF_ERROR(Fill(config, "encoder_vocab_size", SizeOf(tensors.encoder, "embed_tokens.weight", 2, 0)));
  PS_RETURN_IF_ERROR(Fill(config, "max_text_length", SizeOf(tensors.encoder, "embed_positions.weight", 2, 0)));
  PS_RETURN_IF_ERROR(Fill(config, "image_length", SizeOf(tensors.decoder, "embed_positions.weight", 2, 0)));
  // One row more, for the start token.
  PS_ASSIGN_OR_RETURN(const int64_t rows, SizeOf(tensors.decoder, "embed_tokens.weight", 2, 0));
  PS_RETURN_IF_ERROR(Fill(config, "image_vocab_size", rows - 1));
  for (const char* heads : {"encoder_attention_heads", "decoder_attention_heads"}) {
    if (!Has(config, heads)) config[heads] = width / kHeadWidth;
    PS_ASSIGN_OR_RETURN(const int64_t count, Whole(config, heads));
    if (count < 1 || width % count != 0) {
      return Invalid(absl::StrCat("config: d_model ", width, " does not divide into the ", count, " of ", Quoted(heads)));
    }
  }
  if (!Has(config, "decoder_start_token_id")) config["decoder_start_token_id"] = std::min(kStartToken, rows - 1);
  PS_ASSIGN_OR_RETURN(const int64_t start, Whole(config, "decoder_start_token_id"));
  if (start >= rows)
    return Invalid(absl::StrCat("config: \"decoder_start_token_id\" ", start, " is beyond the decoder's ", rows, " rows"));
  return config;
}

absl::StatusOr<Json> CompleteVqganConfig(Json config, const TensorMap& tensors, int64_t image_length, double norm_eps) {
  PS_RETURN_IF_ERROR(FillType(config, "vqgan"));
  if ((Has(config, "give_pre_end") && config["give_pre_end"] != false) ||
      (Has(config, "resamp_with_conv") && config["resamp_with_conv"] != true)) {
    return Invalid("config: give_pre_end true and resamp_with_conv false are not supported");
  }
  PS_RETURN_IF_ERROR(Fill(config, "n_embed", SizeOf(tensors, "embedding.weight", 2, 0)));
  PS_RETURN_IF_ERROR(Fill(config, "embed_dim", SizeOf(tensors, "embedding.weight", 2, 1)));
  PS_RETURN_IF_ERROR(Fill(config, "z_channels", SizeOf(tensors, "decoder.conv_in.weight", 4, 1)));
  PS_RETURN_IF_ERROR(Fill(config, "out_ch", SizeOf(tensors, "decoder.conv_out.weight", 4, 0)));
  const int64_t levels = Count(tensors, "decoder.up.", ".block.0.conv1.weight");
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(image_length))));
  if (levels < 1 || levels > 12 || side * side != image_length || side > kMaxSide >> (levels - 1)) {
    return Invalid(absl::StrCat(image_length, " image tokens and ", levels, " levels make no square picture"));
  }
  const int64_t resolution = side << (levels - 1);
  PS_RETURN_IF_ERROR(Fill(config, "resolution", resolution));
  PS_RETURN_IF_ERROR(FillVqganLevels(config, tensors, levels, resolution));
  if (!Has(config, "norm_groups")) config["norm_groups"] = kNormGroups;
  if (!Has(config, "norm_eps")) config["norm_eps"] = norm_eps;
  PS_ASSIGN_OR_RETURN(const int64_t groups, Whole(config, "norm_groups"));
  PS_ASSIGN_OR_RETURN(const int64_t channels, Whole(config, "ch"));
  PS_ASSIGN_OR_RETURN(const auto multipliers, Wholes(config, "ch_mult"));
  for (const int64_t m : multipliers) {
    if (groups < 1 || channels > kMost / std::max<int64_t>(m, 1) || channels * m % groups != 0) {
      return Invalid(absl::StrCat("config: ", channels, " x ", m, " channels do not divide into ", groups, " \"norm_groups\""));
    }
  }
  return config;
}

absl::Status CheckDalle(const Json& config, const DalleTensors& tensors) {
  const auto number = [&](const char* key) { return config[key].get<int64_t>(); };
  PS_RETURN_IF_ERROR(
      Annotate(CheckShapes(DalleShapes(false, number("encoder_layers"), number("d_model"), number("encoder_ffn_dim"),
                                       number("encoder_vocab_size"), number("max_text_length")),
                           tensors.encoder),
               "encoder"));
  return Annotate(CheckShapes(DalleShapes(true, number("decoder_layers"), number("d_model"), number("decoder_ffn_dim"),
                                          number("image_vocab_size") + 1, number("image_length")),
                              tensors.decoder),
                  "decoder");
}

absl::Status CheckVqgan(const Json& config, const TensorMap& tensors) {
  const auto number = [&](const char* key) { return config[key].get<int64_t>(); };
  PS_ASSIGN_OR_RETURN(const auto multipliers, Wholes(config, "ch_mult"));
  PS_ASSIGN_OR_RETURN(const auto attended, Wholes(config, "attn_resolutions"));
  if (multipliers.empty() || multipliers.size() > 12) return Invalid("config: \"ch_mult\" has 1 to 12 entries");
  const auto levels = static_cast<int64_t>(multipliers.size());
  Shapes shapes;
  shapes["embedding.weight"] = {{number("n_embed"), number("embed_dim")}};
  AddConvolution(shapes, "post_quant_conv", number("embed_dim"), number("z_channels"), 1);
  int64_t channels = number("ch") * multipliers.back();
  AddConvolution(shapes, "decoder.conv_in", number("z_channels"), channels, 3);
  AddResBlock(shapes, "decoder.mid.block_1", channels, channels);
  AddAttention(shapes, "decoder.mid.attn_1", channels);
  AddResBlock(shapes, "decoder.mid.block_2", channels, channels);
  for (int64_t level = levels - 1; level >= 0; --level) {
    const std::string up = absl::StrCat("decoder.up.", level);
    const int64_t out = number("ch") * multipliers[static_cast<size_t>(level)];
    const bool attends = std::count(attended.begin(), attended.end(), number("resolution") >> level) > 0;
    for (int64_t i = 0; i <= number("num_res_blocks"); ++i) {
      AddResBlock(shapes, absl::StrCat(up, ".block.", i), channels, out);
      channels = out;
      if (attends) AddAttention(shapes, absl::StrCat(up, ".attn.", i), channels);
    }
    if (level > 0) AddConvolution(shapes, up + ".upsample.conv", channels, channels, 3);
  }
  AddNorm(shapes, "decoder.norm_out", channels, false);
  AddConvolution(shapes, "decoder.conv_out", channels, number("out_ch"), 3);
  return Annotate(CheckShapes(shapes, tensors), "VQGAN");
}

}  // namespace promptsweep::weights
