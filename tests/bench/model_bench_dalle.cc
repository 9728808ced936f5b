// DALL-E mini at its published sizes, random weights: this worker and min-dalle on the same folder, threads, type and batch.
#include <ATen/Parallel.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "jobs/sweep/safetensors.h"
#include "tests/bench/model_bench_common.h"
#include "tests/worker_models/random_model.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/generator.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/token_sampler.h"
#include "worker/tensors/noise.h"

namespace promptsweep::worker {
namespace {

constexpr double kMebi = 1 << 20;
constexpr int64_t kTopK = 256;
constexpr double kGuidance = 16;

double Seconds(const std::function<void()>& work) {
  const absl::Time begin = absl::Now();
  work();
  return absl::ToDoubleSeconds(absl::Now() - begin);
}

double WeightBytes(const std::string& folder, at::ScalarType dtype) {
  double bytes = 0;
  for (const char* name : {"/encoder.safetensors", "/decoder.safetensors", "/vqgan/model.safetensors"}) {
    const auto header = sweep::ReadSafetensorsHeader(folder + name);
    PS_CHECK(header.ok()) << std::string(header.status().message());
    for (const auto& tensor : header->tensors) {
      double count = 1;
      for (const int64_t side : tensor.shape) count *= static_cast<double>(side);
      bytes += count * static_cast<double>(c10::elementSize(dtype));
    }
  }
  return bytes;
}

// Seconds of each part of a batch, from the modules alone.
struct Parts {
  double text = 0, steps = 0, noise = 0, draws = 0, pixels = 0;
};

Parts MeasureParts(const std::string& folder, const ModelBenchOptions& options) {
  const DalleConfig config(JsonFile(folder + "/config.json"));
  const VqganConfig pixels(JsonFile(folder + "/vqgan/config.json"));
  const WeightOptions as{at::kCPU, options.dtype};
  const DalleEncoder encoder(config, Weights({folder + "/encoder.safetensors"}, as));
  const DalleDecoder decoder(config, Weights({folder + "/decoder.safetensors"}, as));
  const VqganDecoder vqgan(pixels, Weights({folder + "/vqgan/model.safetensors"}, as));
  Parts parts;
  const int64_t n = options.batch, vocab = std::min(config.image_vocab, pixels.codes);
  std::vector<at::Tensor> texts, biases;
  for (int i = 0; i < 2; ++i) {
    const at::Tensor tokens = at::randint(config.text_vocab, {1, config.text_length}, at::kLong);
    biases.push_back(TextBias(tokens != 1, options.dtype));
    parts.text += Seconds([&] { texts.push_back(decoder.CrossKeysValues(encoder.Encode(tokens, biases.back()))); });
  }
  DecoderState state = decoder.Begin(2 * n);
  for (int i = 0; i < 2; ++i) {
    CrossRows rows{i * n, (i + 1) * n};
    rows.bias = biases[i];
    for (int64_t layer = 0; layer < config.decoder_layers; ++layer) {
      rows.keys.push_back(texts[i][layer][0]);
      rows.values.push_back(texts[i][layer][1]);
    }
    state.cross.push_back(std::move(rows));
  }
  const TokenSampler sampler(std::vector<TokenSampling>(n, {.top_k = kTopK, .supercondition = kGuidance}), at::kCPU);
  std::vector<ImageNoise> noises;
  for (int64_t i = 0; i < n; ++i) noises.emplace_back(i);
  at::Tensor noise = at::ones({n, vocab}), token = at::full({n}, config.start_token, at::kLong);
  at::Tensor codes = at::empty({n, config.image_length}, at::kLong);
  for (int64_t t = 0; t < config.image_length; ++t) {
    at::Tensor logits;
    parts.steps += Seconds([&] { logits = decoder.Step(state, at::cat({token, token})).narrow(1, 0, vocab); });
    parts.noise += Seconds([&] {
      for (int64_t i = 0; i < n; ++i) noises[i].Exponential(noise[i]);
    });
    parts.draws += Seconds([&] { token = sampler.Draw(logits.narrow(0, 0, n), logits.narrow(0, n, n), noise); });
    codes.select(1, t).copy_(token);
    if (t == 0 || t == config.image_length / 2 || t + 1 == config.image_length)
      std::printf("  up to step %d: %.3f s\n", static_cast<int>(t), parts.steps);
  }
  parts.pixels = Seconds([&] {
    for (int64_t i = 0; i < n; ++i) vqgan.DecodeBytes(codes.narrow(0, i, 1));
  });
  return parts;
}

}  // namespace

void BenchDalle(const ModelBenchOptions& options) {
  const std::string folder = options.model;
  const Parts parts = MeasureParts(folder, options);
  std::printf("parts of a batch of %d: text %.3f, steps %.2f, noise %.2f, draws %.2f, pixels %.2f s\n", options.batch, parts.text,
              parts.steps, parts.noise, parts.draws, parts.pixels);
  (void)WeightBytes;
  (void)kMebi;
}

}  // namespace promptsweep::worker
