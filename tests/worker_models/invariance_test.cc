// Proves that an image's bytes, and its embedding's, depend on its cell alone: not on its neighbours, its place in the batch, how
// full the batch is, what was made before, the number of CPU threads, or the process.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "tests/worker_models/random_embedder.h"
#include "tests/worker_models/random_model.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/generator.h"
#include "worker/models/vqgan.h"
#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

std::string g_program;

sweep::ModelFolder FolderOf(const std::string& path, const std::string& architecture) {
  sweep::ModelFolder folder;
  folder.id = "m";
  folder.path = path;
  folder.architecture = architecture;
  return folder;
}

std::unique_ptr<Generator> Load(const std::string& path, int batch) {
  LoadOptions options;
  options.batch_shape = batch;
  auto generator = LoadGenerator(FolderOf(path, "dalle-bart"), options);
  EXPECT_TRUE(generator.ok()) << generator.status();
  return *std::move(generator);
}

// Cell number i: prompts, blanks, seeds and settings of every kind come in turn.
v1::Cell CellOf(int i) {
  static const std::vector<std::string> kPrompts = {"a photo of a sari", "starry night", "face of a firefighter"};
  v1::Cell cell;
  cell.set_ordinal(i);
  cell.set_seed(1000 + i);
  if (i % 5 < 3) {
    cell.mutable_prompt()->set_text(kPrompts[i % 5]);
  } else {
    cell.mutable_prompt()->set_blank(i % 5 == 3 ? v1::BLANK_KIND_EMPTY : v1::BLANK_KIND_PADDING);
  }
  const auto set = [&](const char* name, double value) {
    auto* setting = cell.add_settings();
    setting->set_name(name);
    setting->mutable_value()->set_double_value(value);
  };
  if (i % 7 == 1) set("temperature", 1.5);
  if (i % 7 == 2) set("supercondition", 4);
  if (i % 7 == 3) set("top_k", 40);
  if (i % 7 == 4) set("top_p", 0.9);
  return cell;
}

std::string BytesOf(const at::Tensor& image) {
  const at::Tensor c = image.contiguous();
  return {static_cast<const char*>(c.const_data_ptr()), c.nbytes()};
}

std::vector<std::string> Images(Generator& generator, const std::vector<int>& which) {
  std::vector<v1::Cell> cells;
  for (const int i : which) cells.push_back(CellOf(i));
  const auto images = generator.Generate(cells);
  EXPECT_TRUE(images.ok()) << images.status();
  std::vector<std::string> bytes;
  for (size_t i = 0; i < which.size(); ++i) bytes.push_back(BytesOf((*images)[static_cast<int64_t>(i)]));
  return bytes;
}

constexpr char kClip[] = PROMPTSWEEP_SOURCE_DIR "/tests/parity/fixtures/tiny-clip-gelu";

// Sixteen images with everything that settings can do, their float pixels before rounding, and vectors of images.
std::string DigestOf(const std::string& path) {
  const c10::InferenceMode inference;
  auto generator = Load(path, 16);
  std::vector<int> which(16);
  for (int i = 0; i < 16; ++i) which[i] = i;
  std::string all;
  for (const auto& image : Images(*generator, which)) all += image;
  const VqganConfig config(JsonFile(path + "/vqgan/config.json"));
  const VqganDecoder vqgan(config, Weights({path + "/vqgan/model.safetensors"}, {}));
  const int64_t codes = config.code_side() * config.code_side();
  all += BytesOf(vqgan.Decode((at::arange(16 * codes, at::kLong) * 7).remainder(config.codes).view({16, codes})));
  auto embedder = LoadEmbedder(FolderOf(kClip, "clip"), {}).value();
  all += BytesOf(
      embedder->EmbedImages((at::arange(6 * 3 * 20 * 30) * 13).remainder(256).to(at::kByte).view({6, 3, 20, 30})).value());
  return ToHex(Sha256Of(all));
}

class Invariance : public testing::TestWithParam<int> {
 protected:
  static void SetUpTestSuite() { RandomDalle().Write(Path()); }
  static void TearDownTestSuite() { std::filesystem::remove_all(Path()); }
  static std::string Path() { return absl::StrCat(testing::TempDir(), "invariance_test_dalle_", ::getpid()); }
};

TEST_P(Invariance, NeighboursPlaceAndFillDoNotMatter) {
  const int batch = GetParam();
  auto generator = Load(Path(), batch);
  // What each cell gives in a batch of its own.
  const std::vector<int> probes = {0, 2, 3, 8, 9, 11};
  std::map<int, std::string> alone;
  for (const int i : probes) alone[i] = Images(*generator, {i})[0];
  EXPECT_TRUE(alone[0] != alone[2]);

  std::mt19937 random(1);
  auto fresh = Load(Path(), batch);
  for (int round = 0; round < 2; ++round) {
    std::vector<int> which;
    for (const int i : probes) {
      if (static_cast<int>(which.size()) < batch) which.push_back(i);
    }
    const auto fill = std::min<size_t>(batch, which.size() + random() % batch);
    while (which.size() < fill) which.push_back(100 + static_cast<int>(random() % 900));
    std::shuffle(which.begin(), which.end(), random);
    const auto images = Images(round % 2 ? *generator : *fresh, which);
    for (size_t at = 0; at < which.size(); ++at) {
      if (alone.count(which[at]) == 0) continue;
      // Not EXPECT_EQ, which would print the pixels.
      EXPECT_TRUE(images[at] == alone[which[at]]) << "cell " << which[at] << " at " << at << " of " << which.size();
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, Invariance, testing::Values(1, 16, 33));

// Bytes and drawn tokens forgive small differences; these compare the numbers behind them, at every place of the batch, so that
// no edge of a block in a matrix product goes unseen.
TEST_F(Invariance, NumbersAreEqualAtEveryPlace) {
  const c10::InferenceMode inference;
  const DalleConfig config(JsonFile(Path() + "/config.json"));
  const VqganDecoder vqgan(VqganConfig(JsonFile(Path() + "/vqgan/config.json")),
                           Weights({Path() + "/vqgan/model.safetensors"}, {}));
  const DalleDecoder decoder(config, Weights({Path() + "/decoder.safetensors"}, {}));
  constexpr int64_t kSteps = 5;
  for (const int64_t batch : {5, 17}) {
    const at::Tensor probe_codes = at::randint(config.image_vocab, {config.image_length});
    const at::Tensor probe_text = at::randn({config.text_length, config.width});
    at::Tensor logits, pixels;
    for (int64_t place = 0; place < batch; ++place) {
      at::Tensor codes = at::randint(config.image_vocab, {batch, config.image_length});
      codes[place] = probe_codes;
      at::Tensor text = at::randn({batch, config.text_length, config.width});
      text[place] = probe_text;
      DecoderState state = decoder.Begin(batch);
      CrossRows cross{0, batch};
      cross.bias = at::zeros({1, 1, 1, config.text_length});
      // Encoded one by one, as the generator does.
      std::vector<at::Tensor> read;
      for (int64_t i = 0; i < batch; ++i) read.push_back(decoder.CrossKeysValues(text.narrow(0, i, 1)));
      const at::Tensor all = at::cat(read, 2);
      for (int64_t i = 0; i < config.decoder_layers; ++i) {
        cross.keys.push_back(all[i][0]);
        cross.values.push_back(all[i][1]);
      }
      state.cross.push_back(std::move(cross));
      std::vector<at::Tensor> steps;
      for (int64_t t = 0; t < kSteps; ++t) steps.push_back(decoder.Step(state, codes.select(1, t))[place]);
      const at::Tensor found = at::cat(steps), drawn = vqgan.Decode(codes)[place];
      if (place == 0) {
        logits = found;
        pixels = drawn;
      }
      EXPECT_TRUE(at::equal(found, logits)) << "logits at place " << place << " of " << batch;
      EXPECT_TRUE(at::equal(drawn, pixels)) << "pixels at place " << place << " of " << batch;
    }
  }
}

// Workers may be given different batches, and one that is short of memory makes its own smaller.
TEST_F(Invariance, TheShapeOfTheBatchDoesNotMatter) {
  const std::vector<int> probes = {0, 2, 3, 8, 9, 11};
  std::map<int, std::string> expected;
  const int usual = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    for (const int batch : {16, 1, 2, 3, 7, 33}) {
      auto generator = Load(Path(), batch);
      EXPECT_EQ(generator->batch_shape(), batch);
      for (const int i : probes) {
        const std::string image = Images(*generator, {i})[0];
        EXPECT_TRUE(expected.try_emplace(i, image).first->second == image)
            << "cell " << i << " in a batch of " << batch << ", " << threads << " threads";
      }
    }
  }
  at::set_num_threads(usual);
}

// The same on the numbers behind the tokens, with one thread and with several: they choose other kernels.
TEST_F(Invariance, LogitsAreEqualInEveryShape) {
  const c10::InferenceMode inference;
  const DalleConfig config(JsonFile(Path() + "/config.json"));
  const DalleDecoder decoder(config, Weights({Path() + "/decoder.safetensors"}, {}));
  const at::Tensor codes = at::randint(config.image_vocab, {64, config.image_length});
  const at::Tensor text = decoder.CrossKeysValues(at::randn({1, config.text_length, config.width}));
  EXPECT_GE(PhysicalRows(1, at::kCPU), 8);
  at::Tensor logits;
  const int usual = at::get_num_threads();
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (const int64_t batch : {8, 9, 11, 16, 17, 24, 33, 64}) {
      ASSERT_EQ(PhysicalRows(static_cast<int>(batch), at::kCPU), batch);
      DecoderState state = decoder.Begin(batch);
      CrossRows cross{0, batch};
      cross.bias = at::zeros({1, 1, 1, config.text_length});
      for (int64_t i = 0; i < config.decoder_layers; ++i) {
        cross.keys.push_back(text[i][0]);
        cross.values.push_back(text[i][1]);
      }
      state.cross.push_back(std::move(cross));
      std::vector<at::Tensor> steps;
      for (int64_t t = 0; t < config.image_length; ++t) {
        steps.push_back(decoder.Step(state, codes.select(1, t).narrow(0, 0, batch).contiguous())[0]);
      }
      const at::Tensor found = at::stack(steps);
      if (!logits.defined()) logits = found;
      EXPECT_TRUE(at::equal(found, logits)) << "a batch of " << batch << ", " << threads << " threads";
    }
  }
  at::set_num_threads(usual);
}

// Texts and pixels with one thread and with several, at sizes whose work is divided.
TEST_F(Invariance, TextsAndPixelsAreEqualWithAnyThreads) {
  const c10::InferenceMode inference;
  const DalleConfig config(JsonFile(Path() + "/config.json"));
  const VqganConfig pixels(JsonFile(Path() + "/vqgan/config.json"));
  const DalleEncoder encoder(config, Weights({Path() + "/encoder.safetensors"}, {}));
  const VqganDecoder vqgan(pixels, Weights({Path() + "/vqgan/model.safetensors"}, {}));
  const at::Tensor tokens = at::randint(300, {1, config.text_length}, at::kLong);
  const int usual = at::get_num_threads();
  for (const int64_t count : {1, 3, 8, 32}) {
    const at::Tensor codes = at::randint(pixels.codes, {count, pixels.code_side() * pixels.code_side()}, at::kLong);
    at::Tensor text, images;
    for (const int threads : {1, 2, 3, 5}) {
      at::set_num_threads(threads);
      const at::Tensor encoded = encoder.Encode(tokens, TextBias(tokens != 1, at::kFloat)), decoded = vqgan.Decode(codes);
      if (threads == 1) {
        text = encoded;
        images = decoded;
      }
      EXPECT_TRUE(at::equal(encoded, text)) << threads << " threads";
      EXPECT_TRUE(at::equal(decoded, images)) << count << " images, " << threads << " threads";
    }
  }
  at::set_num_threads(usual);
}

// One prompt in a batch is read without a copy, several are gathered: the numbers are the same.
TEST_F(Invariance, SharedAndGatheredTextsAreEqual) {
  const c10::InferenceMode inference;
  const DalleConfig config(JsonFile(Path() + "/config.json"));
  const DalleDecoder decoder(config, Weights({Path() + "/decoder.safetensors"}, {}));
  constexpr int64_t kBatch = 16;
  const at::Tensor cross = decoder.CrossKeysValues(at::randn({1, config.text_length, config.width}));
  const at::Tensor tokens = at::randint(config.image_vocab, {kBatch});
  std::vector<at::Tensor> logits;
  for (const bool shared : {true, false}) {
    CrossRows rows{0, kBatch};
    rows.bias = at::zeros({1, 1, 1, config.text_length});
    for (int64_t i = 0; i < config.decoder_layers; ++i) {
      rows.keys.push_back(shared ? cross[i][0] : cross[i][0].expand({kBatch, -1, -1, -1}).contiguous());
      rows.values.push_back(shared ? cross[i][1] : cross[i][1].expand({kBatch, -1, -1, -1}).contiguous());
    }
    DecoderState state = decoder.Begin(kBatch);
    state.cross.push_back(std::move(rows));
    logits.push_back(decoder.Step(state, tokens));
  }
  EXPECT_TRUE(at::equal(logits[0], logits[1]));
}

TEST_F(Invariance, ProcessAndThreadsDoNotMatter) {
  const std::string here = DigestOf(Path());
  for (const char* threads : {"1", "2", "3"}) {
    const std::string command = g_program + " --digest " + Path() + " " + threads;
    FILE* child = ::popen(command.c_str(), "r");
    ASSERT_NE(child, nullptr);
    std::array<char, 128> line{};
    EXPECT_NE(std::fgets(line.data(), line.size(), child), nullptr);
    EXPECT_EQ(::pclose(child), 0);
    EXPECT_EQ(std::string(line.data()), here) << threads << " threads";
  }
}

TEST(EmbedderInvariance, NeighboursPlaceAndFillDoNotMatter) {
  LoadOptions options;
  options.batch_shape = 16;
  auto embedder = LoadEmbedder(FolderOf(kClip, "clip"), options).value();
  const at::Tensor images = at::randint(256, {40, 3, 23, 31}, at::kByte);
  const at::Tensor all = embedder->EmbedImages(images).value();
  for (int64_t i = 0; i < images.size(0); ++i) {
    EXPECT_TRUE(at::equal(embedder->EmbedImages(images.narrow(0, i, 1)).value()[0], all[i])) << i;
  }
}

// Every architecture, and CLIP at a width whose products are cut into blocks; with one thread and several, which may choose other
// kernels.
TEST(EmbedderInvariance, TheShapeOfTheBatchAndThreadsDoNotMatter) {
  const std::string wide = absl::StrCat(testing::TempDir(), "invariance_test_clip_", ::getpid());
  const std::string fixtures = PROMPTSWEEP_SOURCE_DIR "/tests/parity/fixtures/";
  RandomClip().Write(wide);
  // Of widths that vectors divide, as published ones: convolutions choose other kernels.
  RandomSscd().Write(wide + "-sscd");
  RandomSscd{.planes = 64, .groups = 8, .width_per_group = 16, .side = 100}.Write(wide + "-sscd-groups");
  const at::Tensor images = at::randint(256, {5, 3, 23, 31}, at::kByte);
  const std::vector<std::string> texts = {"sari", "", "fire engine"};
  const int usual = at::get_num_threads();
  for (const auto& [path, architecture] :
       std::vector<std::pair<std::string, std::string>>{{kClip, "clip"},
                                                        {wide, "clip"},
                                                        {fixtures + "tiny-open-clip", "open-clip"},
                                                        {fixtures + "tiny-siglip", "siglip"},
                                                        {fixtures + "tiny-dinov2", "dinov2"},
                                                        {fixtures + "tiny-sscd", "sscd"},
                                                        {wide + "-sscd", "sscd"},
                                                        {wide + "-sscd-groups", "sscd"},
                                                        {fixtures + "tiny-sscd-groups", "sscd"}}) {
    at::Tensor image_rows, text_rows;
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      for (const int batch : {16, 1, 2, 3, 7, 64}) {
        LoadOptions options;
        options.batch_shape = batch;
        auto embedder = LoadEmbedder(FolderOf(path, architecture), options).value();
        const at::Tensor of_images = embedder->EmbedImages(images).value();
        const at::Tensor of_texts =
            architecture == "dinov2" || architecture == "sscd" ? at::zeros({1}) : embedder->EmbedTexts(texts).value();
        if (!image_rows.defined()) {
          image_rows = of_images;
          text_rows = of_texts;
        }
        EXPECT_TRUE(at::equal(of_images, image_rows)) << path << ": images, " << batch << " at a time, " << threads << " threads";
        EXPECT_TRUE(at::equal(of_texts, text_rows)) << path << ": texts, " << batch << " at a time, " << threads << " threads";
      }
    }
  }
  at::set_num_threads(usual);
  for (const char* end : {"", "-sscd", "-sscd-groups"}) std::filesystem::remove_all(wide + end);
}

}  // namespace

}  // namespace promptsweep::worker

int main(int argc, char** argv) {
  promptsweep::worker::SettleEnvironment(argv);
  testing::InitGoogleTest(&argc, argv);
  if (argc == 4 && std::string(argv[1]) == "--digest") {
    promptsweep::worker::MakeDeterministic(std::stoi(argv[3]));
    std::printf("%s", promptsweep::worker::DigestOf(argv[2]).c_str());
    return 0;
  }
  promptsweep::worker::g_program = argv[0];
  promptsweep::worker::MakeDeterministic(2);
  return RUN_ALL_TESTS();
}
