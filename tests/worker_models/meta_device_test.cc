// Proves that DALL-E's forward passes make every tensor on the device of their weights: they run on torch's "meta" device, which
// has shapes and no data, and no operation on the way takes or gives a tensor of another.
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker_models/meta_kernels.h"
#include "tests/worker_models/random_model.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/token_sampler.h"

namespace promptsweep::worker {
namespace {

const at::TensorOptions kFloats = at::TensorOptions().device(at::kMeta).dtype(at::kFloat);
const at::TensorOptions kLongs = at::TensorOptions().device(at::kMeta).dtype(at::kLong);

// Sees every operation of this thread while it lives.
class Watch {
 public:
  Watch() {
    Strays().clear();
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(Started, Ended).needsInputs(true).needsOutputs(true));
    guard_.emplace(true);
  }
  ~Watch() {
    guard_.reset();
    at::removeCallback(handle_);
    EXPECT_GT(Seen(), 0);
    EXPECT_THAT(Strays(), testing::IsEmpty());
  }
  // What was seen of other devices so far; forgets it.
  static std::vector<std::string> Take() { return std::exchange(Strays(), {}); }

 private:
  static std::vector<std::string>& Strays() {
    static auto& strays = *new std::vector<std::string>;
    return strays;
  }
  static int& Seen() {
    static int seen = 0;
    return seen;
  }
  static void Check(const at::RecordFunction& function, c10::ArrayRef<const c10::IValue> values) {
    for (const c10::IValue& value : values) {
      if (!value.isTensor() || !value.toTensor().defined() || value.toTensor().is_meta()) continue;
      if (value.toTensor().dim() > 0) Strays().push_back(function.name());  // numbers are CPU tensors without a dimension
    }
  }
  static std::unique_ptr<at::ObserverContext> Started(const at::RecordFunction& function) {
    ++Seen();
    Check(function, function.inputs());
    return nullptr;
  }
  static void Ended(const at::RecordFunction& function, at::ObserverContext*) {
    Check(function, c10::ArrayRef<const c10::IValue>(function.outputs().data(), function.outputs().size()));
  }

  at::CallbackHandle handle_;
  std::optional<at::RecordFunctionGuard> guard_;
};

class MetaDevice : public testing::Test {
 protected:
  static void SetUpTestSuite() { RandomDalle().Write(Path()); }
  static std::string Path() { return testing::TempDir() + "meta_device_test_dalle"; }
  static Weights Read(const std::string& file) { return Weights({Path() + file}, {at::Device(at::kMeta), at::kFloat}); }
  static DalleConfig Config() { return DalleConfig(JsonFile(Path() + "/config.json")); }

  const c10::InferenceMode inference_;
};

void ExpectMeta(const at::Tensor& tensor, std::vector<int64_t> shape) {
  EXPECT_TRUE(tensor.is_meta());
  EXPECT_EQ(tensor.sizes().vec(), shape);
}

TEST_F(MetaDevice, Encoder) {
  const DalleConfig config = Config();
  const DalleEncoder encoder(config, Read("/encoder.safetensors"));
  const Watch watch;
  const at::Tensor tokens = at::zeros({3, config.text_length}, kLongs);
  ExpectMeta(encoder.Encode(tokens, TextBias(tokens != 1, at::kFloat)), {3, config.text_length, config.width});
}

TEST_F(MetaDevice, DecoderSteps) {
  const DalleConfig config = Config();
  const DalleDecoder decoder(config, Read("/decoder.safetensors"));
  const Watch watch;
  const at::Tensor cross = decoder.CrossKeysValues(at::empty({1, config.text_length, config.width}, kFloats));
  constexpr int64_t kRows = 6;
  DecoderState state = decoder.Begin(kRows);
  for (const int64_t begin : {int64_t{0}, kRows / 2}) {
    CrossRows rows{begin, begin + kRows / 2};
    rows.bias = at::zeros({1, 1, 1, config.text_length}, kFloats);
    for (int64_t i = 0; i < config.decoder_layers; ++i) {
      rows.keys.push_back(cross[i][0]);
      rows.values.push_back(cross[i][1]);
    }
    state.cross.push_back(std::move(rows));
  }
  for (int step = 0; step < 2; ++step)
    ExpectMeta(decoder.Step(state, at::zeros({kRows}, kLongs)), {kRows, config.image_vocab + 1});
  EXPECT_THAT(Watch::Take(), testing::IsEmpty());
  // A tensor of another device is seen, even where torch lets it pass.
  (void)decoder.CrossKeysValues(at::empty({1, config.text_length, config.width}));
  EXPECT_THAT(Watch::Take(), testing::Contains("aten::linear"));
}

TEST_F(MetaDevice, Sampler) {
  const at::Tensor logits = at::empty({5, 40}, kFloats), noise = at::empty({5, 40}, kFloats);
  const TokenSampler sampler({{},
                              {.temperature = .5, .top_k = 7},
                              {.top_k = 3, .top_p = .5, .supercondition = 4},
                              {.top_k = 9, .form = SamplingForm::kFlax},
                              {.top_p = .8, .supercondition = 2, .form = SamplingForm::kFlax}},
                             at::kMeta);
  const TokenSampler plain(std::vector<TokenSampling>(5), at::kMeta);
  const Watch watch;
  ExpectMeta(sampler.Draw(logits, logits, noise), {5});
  ExpectMeta(plain.Draw(logits, {}, noise), {5});
}

TEST_F(MetaDevice, Pixels) {
  const VqganConfig config(JsonFile(Path() + "/vqgan/config.json"));
  const VqganDecoder vqgan(config, Read("/vqgan/model.safetensors"));
  const Watch watch;
  ExpectMeta(vqgan.DecodeBytes(at::zeros({2, config.code_side() * config.code_side()}, kLongs)),
             {2, 3, config.resolution, config.resolution});
}

}  // namespace
}  // namespace promptsweep::worker
