// Proves that a GPU computes what the CPU computes: text rows, teacher-forced logits, pixels, vectors; that there, too, an image
// depends on its own cell alone; and that a device that is not there is refused in one line. Without a GPU only the last is run.
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "tests/worker_models/random_embedder.h"
#include "tests/worker_models/random_model.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/dalle_steps.h"
#include "worker/models/generator.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/noise_feed.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/device.h"

namespace promptsweep::worker {
namespace {

using testing::StartsWith;

TEST(Device, WhatIsNotThereIsRefusedInOneLine) {
  EXPECT_TRUE(OpenDevice("cpu").value().is_cpu());
  for (const char* name : {"gpu", "cuda:", "cuda:99", "mps", "cuda:-1", ""}) {
    const auto device = OpenDevice(name);
    ASSERT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument) << name;
    const std::string message(device.status().message());
    EXPECT_THAT(message, StartsWith(absl::StrCat("device ", name, ": ")));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_THAT(DeviceWords(at::kCPU), StartsWith("cpu"));
}

TEST(Device, NoiseIsEachImagesOwn) {
  NoiseFeed feed({7, 8}, 3, 50, 2, at::kCPU);
  ImageNoise first(7), second(8);
  for (int t = 0; t < 2; ++t) {
    const at::Tensor noise = feed.Next();
    at::Tensor expected = at::ones({3, 50}), row = expected[0];
    first.Exponential(row);
    row = expected[1];
    second.Exponential(row);
    EXPECT_TRUE(at::equal(noise, expected));
  }
}

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    const auto device = OpenDevice("cuda:0");
    if (!device.ok()) GTEST_SKIP() << device.status();
    gpu_ = *device;
    MakeDeterministic(0);
  }
  static std::string Scratch(const std::string& name) {
    return absl::StrCat(testing::TempDir(), "device_test_", name, ::getpid());
  }
  static sweep::ModelFolder FolderOf(const std::string& path, const std::string& architecture) {
    sweep::ModelFolder folder;
    folder.id = "m";
    folder.path = path;
    folder.architecture = architecture;
    return folder;
  }
  // The largest difference, as a share of the largest value.
  static double Apart(const at::Tensor& a, const at::Tensor& b) {
    const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
    return ((x - y).abs().max() / x.abs().max()).item<double>();
  }
  at::Device gpu_ = at::kCPU;
};

TEST_F(Gpu, LogitsAndPixelsAreThoseOfTheCpu) {
  const c10::InferenceMode inference;
  const std::string path = Scratch("modules");
  RandomDalle().Write(path);
  const DalleConfig config(JsonFile(path + "/config.json"));
  const VqganConfig pixels(JsonFile(path + "/vqgan/config.json"));
  std::vector<std::vector<at::Tensor>> found;
  for (const at::Device device : {at::Device(at::kCPU), gpu_}) {
    const WeightOptions as{device, at::kFloat};
    const DalleEncoder encoder(config, Weights({path + "/encoder.safetensors"}, as));
    const DalleDecoder decoder(config, Weights({path + "/decoder.safetensors"}, as));
    const VqganDecoder vqgan(pixels, Weights({path + "/vqgan/model.safetensors"}, as));
    constexpr int64_t kRows = 8;
    const at::Tensor tokens =
        (at::arange(config.text_length, at::kLong) * 7).remainder(config.text_vocab).unsqueeze(0).to(device);
    const at::Tensor bias = TextBias(tokens != 1, at::kFloat), text = encoder.Encode(tokens, bias);
    const at::Tensor cross = decoder.CrossKeysValues(text);
    DecoderState state = decoder.Begin(kRows);
    CrossRows rows{0, kRows};
    rows.bias = bias;
    for (int64_t layer = 0; layer < config.decoder_layers; ++layer) {
      rows.keys.push_back(cross[layer][0]);
      rows.values.push_back(cross[layer][1]);
    }
    state.cross.push_back(std::move(rows));
    auto& parts = found.emplace_back();
    parts.push_back(text);
    for (int64_t t = 0; t < config.image_length; ++t) {
      const at::Tensor given = (at::arange(kRows, at::kLong) * 31 + t * 17).remainder(config.image_vocab).to(device);
      parts.push_back(decoder.Step(state, given));
    }
    const int64_t codes = config.image_length;
    parts.push_back(vqgan.Decode((at::arange(2 * codes, at::kLong) * 7).remainder(pixels.codes).view({2, codes}).to(device)));
  }
  for (size_t i = 0; i < found[0].size(); ++i) EXPECT_LT(Apart(found[0][i], found[1][i]), 1e-4) << "part " << i;
}

// Two batches of each layout: the second finds what the first left in the recorded steps' memory.
TEST_F(Gpu, RecordedStepsAreThoseOfTheDecoder) {
  ASSERT_TRUE(DeviceGraph::Can(gpu_));
  const c10::InferenceMode inference;
  const std::string path = Scratch("steps");
  RandomDalle().Write(path);
  const DalleConfig config(JsonFile(path + "/config.json"));
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    const DalleDecoder decoder(config, Weights({path + "/decoder.safetensors"}, {gpu_, type}));
    constexpr int64_t kRows = 8;
    DalleSteps steps(decoder, 2 * kRows, gpu_);
    for (int batch = 0; batch < 6; ++batch) {
      const int64_t rows = batch % 3 == 0 ? kRows : 2 * kRows, head_dim = config.width / config.decoder_heads;
      const bool shared = batch % 3 != 2;
      std::vector<CrossRows> cross;
      for (int64_t begin = 0; begin < rows; begin += kRows) {
        CrossRows part{begin, begin + kRows};
        const auto options = at::TensorOptions().dtype(type).device(gpu_);
        const int64_t n = shared ? 1 : kRows;
        part.bias = at::zeros({n, 1, 1, config.text_length}, options);
        for (int64_t i = 0; i < config.decoder_layers; ++i) {
          part.keys.push_back(at::randn({n, config.decoder_heads, config.text_length, head_dim}, options));
          part.values.push_back(at::randn({n, config.decoder_heads, config.text_length, head_dim}, options));
        }
        cross.push_back(std::move(part));
      }
      DecoderState state = decoder.Begin(rows);
      state.cross = cross;
      steps.Begin(cross);
      for (int64_t t = 0; t < config.image_length; ++t) {
        const at::Tensor tokens = (at::arange(rows, at::kLong) * 31 + t * 17 + batch).remainder(config.image_vocab).to(gpu_);
        EXPECT_LT(Apart(decoder.Step(state, tokens), steps.Next(tokens)), type == at::kFloat ? 1e-5 : 1e-2)
            << "batch " << batch << " position " << t << " " << type;
      }
    }
  }
}

TEST_F(Gpu, AnImageDependsOnItsCellAlone) {
  const std::string path = Scratch("images");
  RandomDalle().Write(path);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    LoadOptions options;
    options.device = gpu_;
    options.compute_dtype = type;
    options.batch_shape = 16;
    auto generator = LoadGenerator(FolderOf(path, "dalle-bart"), options);
    ASSERT_TRUE(generator.ok()) << generator.status();
    std::vector<v1::Cell> cells(16);
    for (int i = 0; i < 16; ++i) {
      cells[i].set_seed(100 + i);
      if (i % 2) {
        cells[i].mutable_prompt()->set_text("a photo of a sari");
      } else {
        cells[i].mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
      }
    }
    const at::Tensor all = (*generator)->Generate(cells).value().cpu();
    EXPECT_TRUE(at::equal(all, (*generator)->Generate(cells).value().cpu())) << "again";
    for (const int i : {0, 1, 9, 15}) {
      const at::Tensor alone = (*generator)->Generate({cells[i]}).value().cpu();
      EXPECT_TRUE(at::equal(alone[0], all[i])) << "cell " << i << " " << type;
    }
  }
}

TEST_F(Gpu, VectorsAreThoseOfTheCpu) {
  const std::string fixtures = PROMPTSWEEP_SOURCE_DIR "/tests/parity/fixtures/";
  for (const auto& [name, architecture] : std::vector<std::pair<std::string, std::string>>{{"tiny-clip-gelu", "clip"},
                                                                                           {"tiny-open-clip", "clip"},
                                                                                           {"tiny-siglip", "siglip"},
                                                                                           {"tiny-siglip2", "siglip"},
                                                                                           {"tiny-dinov2", "dinov2"},
                                                                                           {"tiny-sscd", "sscd"},
                                                                                           {"tiny-sscd-groups", "sscd"}}) {
    std::vector<at::Tensor> rows;
    for (const at::Device device : {at::Device(at::kCPU), gpu_}) {
      LoadOptions options;
      options.device = device;
      const auto folder = sweep::ModelCatalog::Open({})->Find(fixtures + name);
      ASSERT_TRUE(folder.ok()) << folder.status();
      auto embedder = LoadEmbedder(*folder, options);
      ASSERT_TRUE(embedder.ok()) << name << ": " << embedder.status();
      const at::Tensor images = (at::arange(6 * 3 * 61 * 47) * 13).remainder(256).to(at::kByte).view({6, 3, 61, 47});
      rows.push_back((*embedder)->EmbedImages(images).value().cpu());
    }
    EXPECT_LT((rows[0] - rows[1]).abs().max().item<double>(), 1e-5) << name;
  }
}

}  // namespace
}  // namespace promptsweep::worker
