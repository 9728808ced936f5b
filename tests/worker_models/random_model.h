// A DALL-E folder of any size with random weights, so that tests can run shapes the fixtures are too small for.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/tensors/noise.h"

namespace promptsweep::worker {

// Collects tensors of N(0, 1 / fan-in) and writes them as safetensors.
class RandomWeights {
 public:
  explicit RandomWeights(int64_t seed) : noise_(seed) {}
  void Matrix(const std::string& name, std::vector<int64_t> shape) { Add(name, std::move(shape), true); }
  void Norm(const std::string& prefix, int64_t width) {
    Add(prefix + ".weight", {width}, false, 1);
    Add(prefix + ".bias", {width}, false);
  }
  // Around 1.
  void Scale(const std::string& name, int64_t width) { Add(name, {width}, false, 1); }
  void Conv(const std::string& prefix, int64_t in, int64_t out, int64_t kernel) {
    Add(prefix + ".weight", {out, in, kernel, kernel}, true);
    Add(prefix + ".bias", {out}, false);
  }
  void Write(const std::string& path) const { WriteTensors(path, tensors_); }

  // Contiguous tensors of float32 or uint8.
  static void WriteTensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors) {
    nlohmann::json header;
    size_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
      header[name] = {{"dtype", tensor.scalar_type() == at::kByte ? "U8" : "F32"},
                      {"shape", tensor.sizes().vec()},
                      {"data_offsets", {offset, offset + tensor.nbytes()}}};
      offset += tensor.nbytes();
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), 8);
    out << text;
    for (const auto& [name, tensor] : tensors) {
      out.write(static_cast<const char*>(tensor.const_data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
    }
  }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape, bool fan_in, float mean = 0) {
    at::Tensor tensor = at::empty(shape);
    noise_.Normal(tensor);
    const double scale = fan_in && !shape.empty() ? 1 / std::sqrt(static_cast<double>(tensor.numel() / shape[0])) : 0.2;
    tensors_[name] = tensor * scale + mean;
  }
  ImageNoise noise_;
  std::map<std::string, at::Tensor> tensors_;
};

struct RandomDalle {
  int64_t width = 192, heads = 3, ffn = 341, encoder_layers = 1, decoder_layers = 2, text_length = 24, codes = 512, side = 4;
  int64_t channels = 16;
  std::vector<int64_t> multipliers = {1, 2, 3};

  // Writes the folder; the vocabulary is the tiny fixture's.
  void Write(const std::string& folder) const {
    namespace fs = std::filesystem;
    fs::create_directories(folder + "/vqgan");
    const std::string tiny = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/tiny-dalle/";
    for (const char* name : {"vocab.json", "merges.txt"})
      fs::copy_file(tiny + name, folder + "/" + name, fs::copy_options::overwrite_existing);
    constexpr int64_t kVocab = 400;
    const nlohmann::json config = {{"model_type", "dallebart"},        {"d_model", width},
                                   {"encoder_layers", encoder_layers}, {"decoder_layers", decoder_layers},
                                   {"encoder_attention_heads", heads}, {"decoder_attention_heads", heads},
                                   {"encoder_ffn_dim", ffn},           {"decoder_ffn_dim", ffn},
                                   {"max_text_length", text_length},   {"encoder_vocab_size", kVocab},
                                   {"image_vocab_size", codes},        {"image_length", side * side},
                                   {"decoder_start_token_id", codes}};
    std::ofstream(folder + "/config.json") << config.dump();
    Half(folder + "/encoder.safetensors", 1, kVocab, text_length, encoder_layers, false);
    Half(folder + "/decoder.safetensors", 2, codes + 1, side * side, decoder_layers, true);
    const nlohmann::json vqgan = {
        {"ch", channels},   {"ch_mult", multipliers}, {"num_res_blocks", 1}, {"attn_resolutions", {side}},
        {"z_channels", 32}, {"embed_dim", 24},        {"n_embed", codes},    {"resolution", side << (multipliers.size() - 1)},
        {"out_ch", 3},      {"norm_groups", 8}};
    std::ofstream(folder + "/vqgan/config.json") << vqgan.dump();
    RandomWeights w(3);
    w.Matrix("embedding.weight", {codes, 24});
    w.Conv("post_quant_conv", 24, 32, 1);
    int64_t ch = channels * multipliers.back();
    w.Conv("decoder.conv_in", 32, ch, 3);
    Res(w, "decoder.mid.block_1", ch, ch);
    Attend(w, "decoder.mid.attn_1", ch);
    Res(w, "decoder.mid.block_2", ch, ch);
    for (auto level = static_cast<int64_t>(multipliers.size()) - 1; level >= 0; --level) {
      const std::string up = "decoder.up." + std::to_string(level);
      for (int i = 0; i < 2; ++i) {
        Res(w, up + ".block." + std::to_string(i), ch, channels * multipliers[level]);
        ch = channels * multipliers[level];
        if (level + 1 == static_cast<int64_t>(multipliers.size())) Attend(w, up + ".attn." + std::to_string(i), ch);
      }
      if (level > 0) w.Conv(up + ".upsample.conv", ch, ch, 3);
    }
    w.Norm("decoder.norm_out", ch);
    w.Conv("decoder.conv_out", ch, 3, 3);
    w.Write(folder + "/vqgan/model.safetensors");
  }

 private:
  void Half(const std::string& path, int64_t seed, int64_t vocab, int64_t length, int64_t layers, bool decoder) const {
    RandomWeights w(seed);
    w.Matrix("embed_tokens.weight", {vocab, width});
    w.Matrix("embed_positions.weight", {length, width});
    w.Norm("layernorm_embedding", width);
    w.Norm("final_ln", width);
    if (decoder) w.Matrix("lm_head.weight", {vocab, width});
    for (int64_t i = 0; i < layers; ++i) {
      const std::string l = "layers." + std::to_string(i) + ".";
      std::vector<std::string> attentions = {"self_attn"}, norms = {"pre_self_attn_layer_norm", "self_attn_layer_norm"};
      if (decoder) {
        attentions.push_back("encoder_attn");
        norms.insert(norms.end(), {"pre_encoder_attn_layer_norm", "encoder_attn_layer_norm"});
      }
      for (const auto& a : attentions) {
        for (const char* p : {"q_proj", "k_proj", "v_proj", "out_proj"}) w.Matrix(l + a + "." + p + ".weight", {width, width});
      }
      for (const auto& n : norms) w.Norm(l + n, width);
      w.Norm(l + "glu.ln0", width);
      w.Norm(l + "glu.ln1", ffn);
      for (const char* fc : {"fc0", "fc1"}) w.Matrix(l + "glu." + fc + ".weight", {ffn, width});
      w.Matrix(l + "glu.fc2.weight", {width, ffn});
    }
    w.Write(path);
  }
  static void Res(RandomWeights& w, const std::string& p, int64_t in, int64_t out) {
    w.Norm(p + ".norm1", in);
    w.Conv(p + ".conv1", in, out, 3);
    w.Norm(p + ".norm2", out);
    w.Conv(p + ".conv2", out, out, 3);
    if (in != out) w.Conv(p + ".nin_shortcut", in, out, 1);
  }
  static void Attend(RandomWeights& w, const std::string& p, int64_t ch) {
    w.Norm(p + ".norm", ch);
    for (const char* c : {"q", "k", "v", "proj_out"}) w.Conv(p + "." + c, ch, ch, 1);
  }
};

}  // namespace promptsweep::worker
