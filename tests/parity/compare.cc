#include "tests/parity/compare.h"

#include <c10/core/InferenceMode.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/parity/fixture.h"
#include "worker/models/clip.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/generator.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/token_sampler.h"
#include "worker/tensors/noise.h"
#include "worker/text/clip_tokenizer.h"
#include "worker/text/dalle_tokenizer.h"

namespace promptsweep::worker::parity {
namespace {

std::vector<int64_t> List(const at::Tensor& t) {
  const at::Tensor flat = t.contiguous().view(-1);
  return {flat.const_data_ptr<int64_t>(), flat.const_data_ptr<int64_t>() + flat.numel()};
}

sweep::ModelFolder FolderOf(const std::string& path, const std::string& architecture) {
  sweep::ModelFolder folder;
  folder.id = "tiny";
  folder.path = path;
  folder.architecture = architecture;
  return folder;
}

// A state whose rows 0 and 1 read the two rows of `encoded`.
DecoderState BeginPair(const DalleDecoder& decoder, const DalleConfig& config, const at::Tensor& encoded,
                       const at::Tensor& bias) {
  DecoderState state = decoder.Begin(2);
  const at::Tensor cross = decoder.CrossKeysValues(encoded);
  CrossRows rows{0, 2};
  rows.bias = bias;
  for (int64_t i = 0; i < config.decoder_layers; ++i) {
    rows.keys.push_back(cross[i][0]);
    rows.values.push_back(cross[i][1]);
  }
  state.cross.push_back(std::move(rows));
  return state;
}

}  // namespace

void CompareDalle(const std::string& folder) {
  const c10::InferenceMode inference;
  const DalleConfig config(JsonFile(folder + "/config.json"));
  const VqganConfig pixels(JsonFile(folder + "/vqgan/config.json"));
  const DalleEncoder encoder(config, Weights({folder + "/encoder.safetensors"}, {}));
  const DalleDecoder decoder(config, Weights({folder + "/decoder.safetensors"}, {}));
  const VqganDecoder vqgan(pixels, Weights({folder + "/vqgan/model.safetensors"}, {}));
  const auto tokenizer = DalleTokenizer::Load(folder, config.text_length, config.normalize_text).value();
  const auto generator = LoadGenerator(FolderOf(folder, "dalle-bart"), {}).value();
  const JsonFile asked(folder + "/expected.json");
  const Tensors expected(folder + "/expected.safetensors");
  const auto& prompts = asked.value()["prompts"];
  const JsonFile settings = asked.Child("settings");
  TokenSampling sampling;
  sampling.temperature = settings.Number("temperature", 0, 1e9);
  sampling.top_k = settings.Int("top_k", 1, 1 << 20);
  sampling.top_p = settings.Number("top_p", 0, 1);
  sampling.supercondition = settings.Number("supercondition", 0, 1e9);
  sampling.form = settings.Text("dalle_sampling") == "flax" ? SamplingForm::kFlax : SamplingForm::kMinDalle;
  const auto form = settings.Text("dalle_text") == "flax" ? DalleTextForm::kFlax : DalleTextForm::kMinDalle;
  const int64_t bos = settings.Int("bos", -1, config.image_vocab), start = bos < 0 ? config.start_token : bos;

  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto prompt = prompts[i].get<std::string>();
    const std::string name = "prompt " + std::to_string(i);
    const auto get = [&](const std::string& part) { return expected[std::to_string(i) + "." + part]; };
    const at::Tensor rows = get("rows");
    const DalleText text = tokenizer.Rows(form, prompt);
    EXPECT_EQ(text.unconditional.tokens, List(rows[0])) << name;
    EXPECT_EQ(text.conditional.tokens, List(rows[1])) << name;

    const at::Tensor bias = TextBias(get("read") != 0, at::kFloat);
    const at::Tensor encoded = encoder.Encode(rows, bias);
    const auto rounding = [&](const char* of) { return get(std::string(of) + "_rounding").item<double>(); };
    ExpectClose(encoded, get("encoded"), kTolerance, name + " encoder", rounding("encoded"));

    DecoderState state = BeginPair(decoder, config, encoded, bias);
    at::Tensor token = at::full({2}, start, at::kLong);
    std::vector<at::Tensor> logits;
    for (int64_t t = 0; t < config.image_length; ++t) {
      logits.push_back(decoder.Step(state, token));
      token = get("forced")[t].expand({2});
    }
    ExpectClose(at::stack(logits, 1), get("logits"), kTolerance, name + " decoder", rounding("logits"));

    const int64_t seed = asked.Int("seed", 0, 1 << 30) + static_cast<int64_t>(i);
    ImageNoise noise(seed);
    const TokenSampler sampler({sampling}, at::kCPU);
    state = BeginPair(decoder, config, encoded, bias);
    at::Tensor codes = at::empty({1, config.image_length}, at::kLong);
    token = at::full({2}, start, at::kLong);
    at::Tensor draw = at::empty({1, pixels.codes});
    for (int64_t t = 0; t < config.image_length; ++t) {
      const at::Tensor step = decoder.Step(state, token).narrow(1, 0, pixels.codes);
      noise.Exponential(draw);
      codes.select(1, t).copy_(sampler.Draw(step.narrow(0, 1, 1), step.narrow(0, 0, 1), draw));
      token = codes.select(1, t).expand({2});
    }
    EXPECT_EQ(List(codes), List(get("codes"))) << name << " sampled tokens";
    ExpectClose(vqgan.Decode(get("codes").unsqueeze(0)), get("pixels"), kTolerance, name + " pixels", rounding("pixels"));

    // The whole way, as a worker does it.
    v1::Cell cell;
    cell.set_seed(seed);
    if (prompt.empty()) {
      cell.mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
    } else {
      cell.mutable_prompt()->set_text(prompt);
    }
    for (const auto& [key, value] : settings.value().items()) {
      auto* setting = cell.add_settings();
      setting->set_name(key);
      if (value.is_string()) {
        setting->mutable_value()->set_string_value(value.get<std::string>());
      } else {
        setting->mutable_value()->set_double_value(value.get<double>());
      }
    }
    const auto image = generator->Generate({&cell, 1});
    ASSERT_TRUE(image.ok()) << image.status();
    const at::Tensor levels = (image->to(at::kInt) - get("image").to(at::kInt)).abs();
    EXPECT_LE(levels.max().item<int>(), 1) << name << " image";
    EXPECT_LE(levels.to(at::kFloat).mean().item<double>(), 0.01) << name << " image";
  }
}

void CompareClip(const std::string& folder) {
  const auto embedder = LoadEmbedder(FolderOf(folder, "clip"), {}).value();
  const Tensors expected(folder + "/expected.safetensors");
  const auto texts = JsonFile(folder + "/expected.json").value()["texts"].get<std::vector<std::string>>();
  const auto tokenizer = ClipTokenizer::Load(folder, expected["ids"].size(1)).value();
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(tokenizer.Row(texts[i]), List(expected["ids"][static_cast<int64_t>(i)])) << texts[i];
  const auto text = embedder->EmbedTexts(texts);
  ASSERT_TRUE(text.ok()) << text.status();
  ExpectClose(*text, expected["text"], kTolerance, "text");
  const auto vision = embedder->EmbedImages(expected["images"]);
  ASSERT_TRUE(vision.ok()) << vision.status();
  ExpectClose(*vision, expected["vision"], kTolerance, "vision");
  const auto odd = embedder->EmbedImages(expected["odd_images"]);
  ASSERT_TRUE(odd.ok()) << odd.status();
  ExpectClose(*odd, expected["odd_vision"], kTolerance, "resized vision");
}

void CompareTokens(const std::string& folder, const std::string& clip_folder) {
  const auto clip = ClipTokenizer::Load(clip_folder, 77).value();
  std::ifstream in(folder + "/fuzz.jsonl");
  int count = 0, wrong = 0;
  for (std::string line; std::getline(in, line) && wrong < 10; ++count) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row[0].get<std::string>();
    const auto expected = row[1].get<std::vector<int64_t>>();
    wrong += clip.Tokenize(text) != expected;
    EXPECT_EQ(clip.Tokenize(text), expected) << row[0];
  }
  EXPECT_GT(count, 1000);
}

}  // namespace promptsweep::worker::parity
