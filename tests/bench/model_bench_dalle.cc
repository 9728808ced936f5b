// DALL-E mini at its published sizes, random weights: this worker and min-dalle on the same folder, threads, type and batch.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "jobs/sweep/safetensors.h"
#include "tests/bench/model_bench_common.h"
#include "tests/worker_models/random_model.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/dalle_steps.h"
#include "worker/models/generator.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/noise_feed.h"
#include "worker/samplers/token_sampler.h"
#include "worker/tensors/device.h"

namespace promptsweep::worker {
namespace {

constexpr double kMebi = 1 << 20;
constexpr int64_t kTopK = 256;
constexpr double kGuidance = 16;
constexpr int kPeerSteps = 24;
constexpr int64_t kPixelChunk = 16;

// Wall and processor seconds: the second tells more on a machine that does other things too.
struct Spent {
  double wall = 0, processor = 0;
  void operator+=(const Spent& other) {
    wall += other.wall;
    processor += other.processor;
  }
  void operator*=(double factor) {
    wall *= factor;
    processor *= factor;
  }
};

Spent Measure(const at::Device& device, const std::function<void()>& work) {
  const auto processor = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  const absl::Time begin = absl::Now();
  const double began = processor();
  work();
  Synchronize(device);
  return {absl::ToDoubleSeconds(absl::Now() - begin), processor() - began};
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

// Each part of a batch, from the modules alone; where fewer steps are timed, those of all are extrapolated from the middle ones.
struct Parts {
  Spent text, steps, noise, draws, pixels;
};

Parts MeasureParts(const std::string& folder, const ModelBenchOptions& options) {
  const DalleConfig config(JsonFile(folder + "/config.json"));
  const VqganConfig pixels(JsonFile(folder + "/vqgan/config.json"));
  // Pixels as the generator decodes them.
  const WeightOptions as{options.device, options.dtype},
      full{options.device, options.device.is_cpu() ? at::kFloat : options.dtype};
  const DalleEncoder encoder(config, Weights({folder + "/encoder.safetensors"}, as));
  const DalleDecoder decoder(config, Weights({folder + "/decoder.safetensors"}, as));
  const VqganDecoder vqgan(pixels, Weights({folder + "/vqgan/model.safetensors"}, full));
  Parts parts;
  const int64_t n = options.batch, vocab = std::min(config.image_vocab, pixels.codes);
  std::vector<at::Tensor> texts, biases;
  for (int i = 0; i < 2; ++i) {
    const at::Tensor tokens = at::randint(config.text_vocab, {1, config.text_length}, at::kLong).to(options.device);
    biases.push_back(TextBias(tokens != 1, options.dtype));
    parts.text +=
        Measure(options.device, [&] { texts.push_back(decoder.CrossKeysValues(encoder.Encode(tokens, biases.back()))); });
  }
  std::vector<CrossRows> cross;
  for (int i = 0; i < 2; ++i) {
    CrossRows rows{i * n, (i + 1) * n};
    rows.bias = biases[i];
    for (int64_t layer = 0; layer < config.decoder_layers; ++layer) {
      rows.keys.push_back(texts[i][layer][0]);
      rows.values.push_back(texts[i][layer][1]);
    }
    cross.push_back(std::move(rows));
  }
  const TokenSampler sampler(std::vector<TokenSampling>(n, {.top_k = kTopK, .supercondition = kGuidance}), options.device);
  std::vector<int64_t> seeds(n);
  std::iota(seeds.begin(), seeds.end(), 0);
  const auto longs = at::TensorOptions().dtype(at::kLong).device(options.device);
  at::Tensor noise, token, codes = at::zeros({n, config.image_length}, longs);
  int64_t begin = 0, end = config.image_length;
  DecoderState state;
  DalleSteps steps(decoder, 2 * n, options.device);
  const bool middle = options.device.is_cpu() && options.steps > 0 && options.steps < end - 1;
  if (middle) {
    begin = (end - options.steps) / 2;
    end = begin + options.steps;
    state = decoder.Begin(2 * n);
    state.cross = cross;
    for (auto* past : {&state.keys, &state.values}) {
      for (at::Tensor& layer : *past) layer.normal_();
    }
    state.position = begin - 1;
    (void)decoder.Step(state, at::full({2 * n}, config.start_token, longs));  // warms up
  }
  for (int round = options.device.is_cpu() ? 1 : 0; round < 2; ++round) {  // a GPU's first batch records
    parts.steps = parts.noise = parts.draws = {};
    token = at::full({n}, config.start_token, longs);
    NoiseFeed feed(seeds, n, vocab, config.image_length, options.device);
    if (!middle) steps.Begin(cross);
    for (int64_t t = begin; t < end; ++t) {
      at::Tensor logits;
      parts.steps += Measure(options.device, [&] {
        const at::Tensor both = at::cat({token, token});
        logits = (middle ? decoder.Step(state, both) : steps.Next(both)).narrow(1, 0, vocab);
      });
      parts.noise += Measure(options.device, [&] { noise = feed.Next(); });
      parts.draws +=
          Measure(options.device, [&] { token = sampler.Draw(logits.narrow(0, 0, n), logits.narrow(0, n, n), noise); });
      codes.select(1, t).copy_(token);
    }
  }
  const double all = static_cast<double>(config.image_length) / static_cast<double>(end - begin);
  for (Spent* part : {&parts.steps, &parts.noise, &parts.draws}) *part *= all;
  // In chunks as the generator takes: one on a CPU, a batch on a GPU.
  const int64_t chunk = options.device.is_cpu() ? 1 : std::min<int64_t>(n, kPixelChunk);
  for (int round = options.device.is_cpu() ? 1 : 0; round < 2; ++round) {
    parts.pixels = Measure(options.device, [&] {
      for (int64_t i = 0; i < n; i += chunk) vqgan.DecodeBytes(codes.narrow(0, i, std::min(chunk, n - i)));
    });
  }
  return parts;
}

// A batch of cells with one prompt and all its settings as min-dalle has them.
std::vector<v1::Cell> Cells(int batch) {
  std::vector<v1::Cell> cells(batch);
  for (int i = 0; i < batch; ++i) {
    cells[i].set_seed(i);
    cells[i].mutable_prompt()->set_text("a photo of a sari");
    const auto set = [&](const char* name, double value) {
      auto* setting = cells[i].add_settings();
      setting->set_name(name);
      setting->mutable_value()->set_double_value(value);
    };
    set("supercondition", kGuidance);
    set("top_k", static_cast<double>(kTopK));
  }
  return cells;
}

void Print(const char* what, const Spent& spent) {
  std::printf("  %-40s %8.3f s, processor %8.3f s\n", what, spent.wall, spent.processor);
}

}  // namespace

void BenchDalle(const ModelBenchOptions& options) {
  std::string folder = options.model;
  if (folder.empty()) {
    folder = options.folder + "/dalle";
    if (options.brief || options.python.empty()) {
      std::printf("a small model of random weights; with --python the published sizes, and min-dalle beside it\n");
      RandomDalle().Write(folder);
    } else {
      const auto written = RunPeer(options, "min_dalle_speed.py", {"write", folder, "--size", options.size});
      if (!written.ok()) {
        std::printf("no weights: %s\n", std::string(written.status().message()).c_str());
        return;
      }
    }
  }
  const int64_t steps = DalleConfig(JsonFile(folder + "/config.json")).image_length;
  const double weights = WeightBytes(folder, options.dtype);
  std::printf("%s, batches of %d guided images, %s\n", DtypeName(options.dtype).c_str(), options.batch, "one prompt");

  ResetPeakMemory();
  const double before = static_cast<double>(ResidentMemory());
  LoadOptions load;
  load.device = options.device;
  load.batch_shape = options.batch;
  load.compute_dtype = options.dtype;
  sweep::ModelFolder model;
  model.id = "mini";
  model.path = folder;
  model.architecture = "dalle-bart";
  std::unique_ptr<Generator> generator;
  const Spent loading = Measure(options.device, [&] { generator = LoadGenerator(model, load).value(); });
  const double loaded = static_cast<double>(PeakMemory()) - before;
  const bool extrapolated = options.steps > 0 && options.device.is_cpu();
  Spent whole;
  double peak = 0;
  if (!extrapolated) {
    for (int round = options.device.is_cpu() ? 1 : 0; round < 2; ++round) {
      if (round == 1 && !options.device.is_cpu()) Print("generate, first batch", whole);
      whole = Measure(options.device, [&] {
        const auto images = generator->Generate(Cells(options.batch));
        PS_CHECK(images.ok()) << images.status().ToString();
      });
    }
    peak = static_cast<double>(PeakMemory()) - before;
  }
  generator.reset();
  const Parts parts = MeasureParts(folder, options);
  if (extrapolated) {
    peak = static_cast<double>(PeakMemory()) - before;
    for (const Spent& part : {parts.text, parts.steps, parts.noise, parts.draws, parts.pixels}) whole += part;
  }
  const double inside = parts.text.wall + parts.steps.wall + parts.draws.wall + parts.pixels.wall;
  if (extrapolated) {
    std::printf("promptsweep, a batch as %d steps of its %d have it:\n", options.steps, static_cast<int>(steps));
  } else {
    std::printf("promptsweep, a whole batch (%d steps):\n", static_cast<int>(steps));
  }
  Print("load", loading);
  Print(extrapolated ? "a batch, the sum of these" : options.device.is_cpu() ? "generate, first batch" : "generate", whole);
  Print("of it: two texts", parts.text);
  Print("       decoder steps", parts.steps);
  Print("       noise", parts.noise);
  Print("       draws", parts.draws);
  Print("       pixels", parts.pixels);
  std::printf("  %.3f images/s", options.batch / whole.wall);
  std::printf("; the modules alone take %.1f %% of that time\n", 100 * inside / whole.wall);
  std::printf("  memory: weights %.0f MiB; peak while loading %.0f MiB (%.2f x), while generating %.0f MiB (%.2f x)\n",
              weights / kMebi, loaded / kMebi, loaded / weights, peak / kMebi, peak / weights);
  if (options.brief) return;

  const auto output =
      RunPeer(options, "min_dalle_speed.py",
              {"run", folder, "--batch", absl::StrCat(options.batch), "--threads", absl::StrCat(at::get_num_threads()), "--dtype",
               DtypeName(options.dtype), "--device", options.device.str(), "--steps",
               absl::StrCat(std::min<int64_t>(steps, extrapolated ? options.steps + 1 : kPeerSteps))});
  const auto peer = nlohmann::json::parse(output.value_or(""), nullptr, /*allow_exceptions=*/false);
  if (!peer.is_object()) {
    std::printf("min-dalle: no figure: %s\n", std::string(output.status().message()).c_str());
    return;
  }
  const auto get = [&](const char* key) { return peer[key].get<double>(); };
  const auto count = static_cast<double>(steps);
  const Spent step{get("step"), get("step_processor")}, pixels{get("pixels"), get("pixels_processor")};
  Spent all{get("text"), get("text_processor")};
  all += pixels;
  all += {count * step.wall, count * step.processor};
  std::printf("min-dalle 0.4.11, torch %s, %d of its steps, which all cost the same:\n", peer["torch"].get<std::string>().c_str(),
              peer["steps"].get<int>());
  Print("one step", step);
  Print("pixels", pixels);
  Print("a whole batch, extrapolated from these", all);
  std::printf("  peak memory of its process %.0f MiB\n", get("peak") / kMebi);
  std::printf("promptsweep is faster: a step %.1f times (processor %.1f), a batch %.1f times (processor %.1f)\n",
              step.wall * count / parts.steps.wall, step.processor * count / parts.steps.processor, all.wall / whole.wall,
              all.processor / whole.processor);
}

}  // namespace promptsweep::worker
