// Embedder folders of any size with random weights, so that tests and benches can run shapes the fixtures are too small for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/worker_models/random_model.h"

namespace promptsweep::worker {

// Hugging Face's CLIP; the vocabulary is the tiny fixture's.
struct RandomClip {
  int64_t width = 160, ffn = 321, layers = 2, heads = 5, patch = 8, side = 40, text_width = 96, text_heads = 3, projection = 72,
          vocab = 800;

  void Write(const std::string& folder) const {
    namespace fs = std::filesystem;
    fs::create_directories(folder);
    const std::string tiny = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/tiny-clip-quick/";
    for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json"})
      fs::copy_file(tiny + name, folder + "/" + name, fs::copy_options::overwrite_existing);
    constexpr int64_t kLength = 77;
    const nlohmann::json config = {{"model_type", "clip"},
                                   {"projection_dim", projection},
                                   {"text_config",
                                    {{"hidden_size", text_width},
                                     {"intermediate_size", 2 * text_width},
                                     {"num_hidden_layers", layers},
                                     {"num_attention_heads", text_heads},
                                     {"max_position_embeddings", kLength},
                                     {"vocab_size", vocab},
                                     {"eos_token_id", 2}}},
                                   {"vision_config",
                                    {{"hidden_size", width},
                                     {"intermediate_size", ffn},
                                     {"num_hidden_layers", layers},
                                     {"num_attention_heads", heads},
                                     {"image_size", side},
                                     {"patch_size", patch}}}};
    std::ofstream(folder + "/config.json") << config.dump();
    std::ofstream(folder + "/preprocessor_config.json") << nlohmann::json{{"size", side}, {"crop_size", side}}.dump();
    RandomWeights w(4);
    w.Matrix("text_model.embeddings.token_embedding.weight", {vocab, text_width});
    w.Matrix("text_model.embeddings.position_embedding.weight", {kLength, text_width});
    Tower(w, "text_model", text_width, 2 * text_width);
    w.Norm("text_model.final_layer_norm", text_width);
    w.Matrix("text_projection.weight", {projection, text_width});
    w.Norm("vision_model.pre_layrnorm", width);
    w.Norm("vision_model.post_layernorm", width);
    w.Matrix("vision_model.embeddings.patch_embedding.weight", {width, 3, patch, patch});
    w.Matrix("vision_model.embeddings.position_embedding.weight", {(side / patch) * (side / patch) + 1, width});
    w.Matrix("vision_model.embeddings.class_embedding", {width});
    Tower(w, "vision_model", width, ffn);
    w.Matrix("visual_projection.weight", {projection, width});
    w.Matrix("logit_scale", {});
    w.Write(folder + "/model.safetensors");
  }

 private:
  void Tower(RandomWeights& w, const std::string& tower, int64_t in, int64_t hidden) const {
    const auto linear = [&](const std::string& name, int64_t from, int64_t to) {
      w.Matrix(name + ".weight", {to, from});
      w.Matrix(name + ".bias", {to});
    };
    for (int64_t i = 0; i < layers; ++i) {
      const std::string l = tower + ".encoder.layers." + std::to_string(i) + ".";
      w.Norm(l + "layer_norm1", in);
      w.Norm(l + "layer_norm2", in);
      for (const char* p : {"q_proj", "k_proj", "v_proj", "out_proj"}) linear(l + "self_attn." + p, in, in);
      linear(l + "mlp.fc1", in, hidden);
      linear(l + "mlp.fc2", hidden, in);
    }
  }
};

// SSCD of any width and depth.
struct RandomSscd {
  std::vector<int64_t> layers = {1, 2, 1, 1};
  int64_t planes = 32, groups = 1, width_per_group = 64, dims = 96, side = 80;

  void Write(const std::string& folder) const {
    std::filesystem::create_directories(folder);
    const nlohmann::json config = {{"model_type", "sscd"},
                                   {"layers", layers},
                                   {"init_planes", planes},
                                   {"groups", groups},
                                   {"width_per_group", width_per_group},
                                   {"dims", dims}};
    std::ofstream(folder + "/config.json") << config.dump();
    std::ofstream(folder + "/preprocessor_config.json")
        << nlohmann::json{{"size", {{"shortest_edge", side}}}, {"resample", 2}, {"do_center_crop", false}}.dump();
    RandomWeights w(6);
    w.Matrix("conv1.weight", {planes, 3, 7, 7});
    Norm(w, "bn1", planes);
    int64_t in = planes;
    for (size_t stage = 0; stage < layers.size(); ++stage) {
      const int64_t width = (planes << stage) * width_per_group / 64 * groups, out = 4 * (planes << stage);
      for (int64_t i = 0; i < layers[stage]; ++i) {
        const std::string block = "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
        w.Matrix(block + "conv1.weight", {width, in, 1, 1});
        w.Matrix(block + "conv2.weight", {width, width / groups, 3, 3});
        w.Matrix(block + "conv3.weight", {out, width, 1, 1});
        for (const char* norm : {"bn1", "bn2", "bn3"}) Norm(w, block + norm, norm[2] == '3' ? out : width);
        if (i == 0) {
          w.Matrix(block + "downsample.0.weight", {out, in, 1, 1});
          Norm(w, block + "downsample.1", out);
        }
        in = out;
      }
    }
    w.Matrix("fc.weight", {dims, in});
    w.Matrix("fc.bias", {dims});
    w.Write(folder + "/model.safetensors");
  }

 private:
  static void Norm(RandomWeights& w, const std::string& name, int64_t width) {
    w.Norm(name, width);
    w.Matrix(name + ".running_mean", {width});
    w.Scale(name + ".running_var", width);
  }
};

}  // namespace promptsweep::worker
