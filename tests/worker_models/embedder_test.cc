// Proves what every embedder does at its interface: folders are recognised by their own files, one image or text gives one unit
// vector wherever it stands, every forward runs on the device its weights are on, and broken folders are refused by file and key.
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "jobs/sweep/catalog.h"
#include "tests/worker_models/meta_kernels.h"
#include "worker/models/generator.h"
#include "worker/models/image_preprocess.h"
#include "worker/models/image_resize.h"
#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kFixtures = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/";

sweep::ModelFolder Find(const std::string& path) {
  auto folder = sweep::ModelCatalog::Open({})->Find(path);
  EXPECT_TRUE(folder.ok()) << folder.status();
  return folder.ok() ? *folder : sweep::ModelFolder();
}

std::string Root() { return absl::StrCat(testing::TempDir(), "embedder_test_", ::getpid()); }

std::string Copy(const std::string& fixture) {
  const std::string folder = Root() + "/" + fixture;
  fs::remove_all(folder);
  fs::create_directories(Root());
  fs::copy(kFixtures + fixture, folder, fs::copy_options::recursive);
  return folder;
}

std::string Error(const std::string& path) {
  auto folder = sweep::ModelCatalog::Open({})->Find(path);
  const absl::Status status = folder.ok() ? LoadEmbedder(*folder, {}).status() : folder.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), Not(HasSubstr("\n"))));
  return std::string(status.message());
}

struct Fixture {
  const char* name;
  const char* architecture;
  int dim;
  bool texts;
};

class EveryEmbedder : public testing::TestWithParam<Fixture> {};

TEST_P(EveryEmbedder, OneUnitVectorForEachWhereverItStands) {
  const auto folder = Find(kFixtures + GetParam().name);
  EXPECT_EQ(folder.architecture, GetParam().architecture);
  EXPECT_TRUE(folder.embeds && !folder.generates);
  EXPECT_EQ(folder.dimensions, GetParam().dim);
  auto embedder = LoadEmbedder(folder, {.batch_shape = 9}).value();
  EXPECT_EQ(embedder->dim(), GetParam().dim);
  at::manual_seed(1);
  const at::Tensor images = at::randint(256, {21, 3, 17, 33}, at::kByte);
  const at::Tensor rows = embedder->EmbedImages(images).value();
  EXPECT_EQ(rows.sizes().vec(), (std::vector<int64_t>{21, GetParam().dim}));
  EXPECT_LT((rows.norm(2, {1}) - 1).abs().max().item<double>(), 1e-5);
  EXPECT_FALSE(at::equal(rows[0], rows[1]));
  for (const int64_t i : {0, 8, 9, 20}) {
    EXPECT_TRUE(at::equal(embedder->EmbedImages(images.narrow(0, i, 1)).value()[0], rows[i])) << i;
  }
  EXPECT_EQ(embedder->EmbedImages(images.narrow(0, 0, 0)).value().size(0), 0);
  EXPECT_EQ(embedder->EmbedImages(images.to(at::kFloat)).status().code(), absl::StatusCode::kInvalidArgument);
  if (!GetParam().texts) {
    EXPECT_EQ(embedder->EmbedTexts({"a"}).status().code(), absl::StatusCode::kUnimplemented);
    return;
  }
  std::vector<std::string> texts = {
      "",     " ", "a sari", std::string(64 << 10, 'a'), "\x01\x7f", "a\xff", "🥻 東京", std::string(1, '\0'), "</s> <eos> <unk>",
      "ﷺ ß İ"};
  for (int i = 0; i < 20'000; ++i) texts[2] += " word\n";
  const at::Tensor named = embedder->EmbedTexts(texts).value();
  EXPECT_LT((named.norm(2, {1}) - 1).abs().max().item<double>(), 1e-5);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_TRUE(at::equal(embedder->EmbedTexts({&texts[i], 1}).value()[0], named[static_cast<int64_t>(i)])) << i;
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> NativeLayerNorm(const at::Tensor& input, c10::IntArrayRef shape,
                                                               const std::optional<at::Tensor>& weight,
                                                               const std::optional<at::Tensor>& bias, double eps) {
  meta_kernels::CheckMeta({input, weight.value_or(at::Tensor()), bias.value_or(at::Tensor())});
  return {at::empty_like(input), at::empty({0}, input.options()), at::empty({0}, input.options())};
}
at::Tensor& WhereOut(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other, at::Tensor& out) {
  meta_kernels::CheckMeta({condition, self, other, out});
  out.resize_(at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes())));
  return out;
}
TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("native_layer_norm", NativeLayerNorm);
  library.impl("where.self_out", WhereOut);
}

// Weights and inputs on `meta`, where nothing is computed: an operation on a tensor made on another device fails.
TEST_P(EveryEmbedder, ForwardStaysOnItsDevice) {
  const c10::InferenceMode inference;
  LoadOptions options;
  options.device = at::kMeta;
  options.batch_shape = 3;
  auto loaded = LoadEmbedder(Find(kFixtures + GetParam().name), options);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto meta = at::TensorOptions().dtype(at::kByte).device(at::kMeta);
  for (const auto& [h, w] : std::vector<std::pair<int64_t, int64_t>>{{17, 33}, {3, 2}}) {
    const auto rows = (*loaded)->EmbedImages(at::empty({4, 3, h, w}, meta));
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_TRUE(rows->is_meta());
    EXPECT_EQ(rows->sizes().vec(), (std::vector<int64_t>{4, GetParam().dim}));
  }
  if (!GetParam().texts) return;
  const auto rows = (*loaded)->EmbedTexts({"a sari", ""});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_TRUE(rows->is_meta());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EveryEmbedder,
                         testing::Values(Fixture{"tiny-clip-quick", "clip", 10, true}, Fixture{"tiny-clip-gelu", "clip", 9, true},
                                         Fixture{"tiny-open-clip", "open-clip", 11, true},
                                         Fixture{"tiny-open-clip-scaled", "open-clip", 9, true},
                                         Fixture{"tiny-siglip", "siglip", 20, true}, Fixture{"tiny-siglip2", "siglip", 12, true},
                                         Fixture{"tiny-dinov2", "dinov2", 20, false},
                                         Fixture{"tiny-dinov2-registers", "dinov2", 18, false},
                                         Fixture{"tiny-sscd", "sscd", 13, false}, Fixture{"tiny-sscd-groups", "sscd", 11, false}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Sets one value of one file, and wants a refusal that names it.
void ExpectRefusal(const std::string& fixture, const std::string& file, const std::string& pointer, const nlohmann::json& value,
                   const std::string& named) {
  const std::string folder = Copy(fixture);
  std::ifstream in(folder + "/" + file);
  nlohmann::json json = nlohmann::json::parse(in);
  json[nlohmann::json::json_pointer(pointer)] = value;
  std::ofstream(folder + "/" + file) << json.dump();
  EXPECT_THAT(Error(folder), HasSubstr(named)) << file << pointer << " " << value;
}

TEST(Refusals, TowersThatAreNotThese) {
  const std::string config = "open_clip_config.json";
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/custom_text", true, "custom_text");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/multimodal_cfg", {{"layers", 1}}, "multimodal_cfg");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/timm_model_name", "vit_base", "timm_model_name");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/layers", {3, 4, 6, 3}, "layers");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/attentional_pool", true, "attentional_pool");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/pool_type", "avg", "pool_type");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/image_size", {12, 16}, "image_size");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/head_width", 1000, "head_width");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/vision_cfg/mlp_ratio", 1e-3, "mlp_ratio");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/text_cfg/hf_model_name", "roberta", "hf_model_name");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/text_cfg/tokenizer_kwargs", {{"clean", "canonicalize"}},
                "tokenizer_kwargs");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg/text_cfg/heads", 5, "5 heads");
  ExpectRefusal("tiny-open-clip", config, "/preprocess_cfg/resize_mode", "fit", "resize_mode");
  ExpectRefusal("tiny-open-clip", config, "/preprocess_cfg/interpolation", "nearest", "interpolation");
  ExpectRefusal("tiny-open-clip", config, "/preprocess_cfg/std", 0, "image_std");
  ExpectRefusal("tiny-open-clip", config, "/model_cfg", 3, "model_cfg");
  ExpectRefusal("tiny-siglip", "config.json", "/model_type", "siglip2", "NaFlex");
  ExpectRefusal("tiny-siglip", "config.json", "/vision_config/vision_use_head", false, "vision_use_head");
  ExpectRefusal("tiny-siglip", "config.json", "/text_config/projection_size", 19, "19");
  ExpectRefusal("tiny-siglip", "config.json", "/text_config/vocab_size", 20, "vocab_size");
  ExpectRefusal("tiny-siglip", "config.json", "/vision_config/hidden_act", "relu", "relu");
  ExpectRefusal("tiny-siglip", "tokenizer_config.json", "/tokenizer_class", "BertTokenizer", "tokenizer_class");
  ExpectRefusal("tiny-dinov2", "config.json", "/mlp_ratio", 0, "mlp_ratio");
  ExpectRefusal("tiny-dinov2", "config.json", "/image_size", 3, "image_size");
  ExpectRefusal("tiny-dinov2", "config.json", "/use_swiglu_ffn", false, "model.safetensors");
  ExpectRefusal("tiny-dinov2-registers", "config.json", "/num_register_tokens", 4, "register_tokens");
}

TEST(Refusals, SscdsThatAreNotTheirWeights) {
  ExpectRefusal("tiny-sscd", "config.json", "/layers", {2, 1, 2}, "4 stages");
  ExpectRefusal("tiny-sscd", "config.json", "/layers", {2, 1, 2, 0}, "layers");
  ExpectRefusal("tiny-sscd", "config.json", "/layers", {2, 1, 2, 2}, "layer4.1.conv1");
  ExpectRefusal("tiny-sscd", "config.json", "/layers", {2, 1, 1, 1}, "layer3.1");
  ExpectRefusal("tiny-sscd", "config.json", "/groups", 1 << 15, "width");
  ExpectRefusal("tiny-sscd", "config.json", "/width_per_group", 1, "width of 0");
  ExpectRefusal("tiny-sscd", "config.json", "/dims", 12, "fc.weight");
  ExpectRefusal("tiny-sscd", "config.json", "/pool_param", 0.5, "pool_param");
  ExpectRefusal("tiny-sscd", "config.json", "/init_planes", 1 << 20, "init_planes");
  ExpectRefusal("tiny-sscd-groups", "config.json", "/groups", 1, "conv1");
  ExpectRefusal("tiny-sscd", "preprocessor_config.json", "/resample", 1, "resample");
}

TEST(Refusals, StripsThatWouldTakeAllMemory) {
  auto embedder = LoadEmbedder(Find(kFixtures + "tiny-sscd"), {}).value();
  const auto rows = embedder->EmbedImages(at::zeros({1, 3, 1, 8192}, at::kByte));
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(rows.status().message()), HasSubstr("8192x1"));
  EXPECT_TRUE(embedder->EmbedImages(at::zeros({1, 3, 2000, 1}, at::kByte)).ok());
}

TEST(Refusals, PreprocessingThatIsNotThese) {
  const std::string file = "preprocessor_config.json";
  for (const char* fixture : {"tiny-clip-quick", "tiny-siglip", "tiny-dinov2"}) {
    ExpectRefusal(fixture, file, "/image_processor_type", "ViTImageProcessor", "image_processor_type");
    ExpectRefusal(fixture, file, "/do_pad", true, "do_pad");
    ExpectRefusal(fixture, file, "/resample", 0, "resample");
    ExpectRefusal(fixture, file, "/resample", 1, "resample");
    ExpectRefusal(fixture, file, "/size", {{"longest_edge", 20}}, "size");
    ExpectRefusal(fixture, file, "/size", {{"height", 20}}, "size");
    ExpectRefusal(fixture, file, "/size", 0, "size");
    ExpectRefusal(fixture, file, "/image_mean", {1, 2}, "image_mean");
    ExpectRefusal(fixture, file, "/do_resize", "yes", "do_resize");
  }
  ExpectRefusal("tiny-clip-quick", file, "/do_center_crop", false, "form");
  ExpectRefusal("tiny-clip-quick", file, "/crop_size", 11, "11x11");
  ExpectRefusal("tiny-siglip", file, "/do_center_crop", true, "do_center_crop");
  ExpectRefusal("tiny-siglip", file, "/size", {{"shortest_edge", 14}}, "shortest_edge");
  ExpectRefusal("tiny-dinov2", file, "/crop_size", 3, "patch");
}

TEST(Refusals, BrokenVocabularies) {
  const auto broken = [](const std::string& fixture, const std::string& file, const std::string& content) {
    const std::string folder = Copy(fixture);
    std::ofstream(folder + "/" + file, std::ios::binary) << content;
    EXPECT_THAT(Error(folder), HasSubstr(file)) << content.substr(0, 40);
  };
  std::ifstream in(kFixtures + "tiny-siglip/spiece.model", std::ios::binary);
  const std::string model(std::istreambuf_iterator<char>(in), {});
  ASSERT_GT(model.size(), 1000u);
  for (const std::string& bytes :
       {std::string(), std::string("\x0a"), std::string(1000, '\xff'), model.substr(0, 5), model.substr(0, model.size() - 1)}) {
    broken("tiny-siglip", "spiece.model", bytes);
  }
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  for (const char* fixture : {"tiny-siglip-json", "tiny-siglip2"}) {
    for (const std::string& json :
         {std::string(), std::string("[]"), std::string("{}"), deep, std::string(R"({"model": {"type": "WordPiece"}})")}) {
      broken(fixture, "tokenizer.json", json);
    }
  }
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/model/ignore_merges", true, "ignore_merges");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/model/dropout", 0.1, "dropout");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/model/merges/0", "a b c", "merges");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/model/merges/0", "a <none>", "merges");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/model/vocab/a", -1, "vocab");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/normalizer", {{"type", "NFKC"}}, "NFKC");
  // Each step doubles a text, all of them together make 2^40 of one letter.
  const nlohmann::json doubled = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/normalizer",
                {{"type", "Sequence"}, {"normalizers", std::vector<nlohmann::json>(40, doubled)}}, "too long");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/normalizer", {{"type", "Prepend"}, {"prepend", std::string(1000, 'a')}},
                "too long");
  ExpectRefusal("tiny-siglip-json", "tokenizer.json", "/model/vocab/5", {std::string(1000, 'a'), -1.5}, "piece");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/pre_tokenizer", {{"type", "ByteLevel"}}, "ByteLevel");
  ExpectRefusal("tiny-siglip2", "tokenizer.json", "/added_tokens/0/lstrip", true, "lstrip");
  ExpectRefusal("tiny-siglip2", "tokenizer_config.json", "/eos_token", "<none>", "<none>");
  ExpectRefusal("tiny-siglip-json", "tokenizer.json", "/model/byte_fallback", true, "byte_fallback");
  ExpectRefusal("tiny-siglip-json", "tokenizer.json", "/model/vocab/5", {"a"}, "vocabulary");
  // A character map that points nowhere is not read beyond its end.
  const std::string folder = Copy("tiny-siglip-json");
  std::ifstream json_in(folder + "/tokenizer.json");
  nlohmann::json json = nlohmann::json::parse(json_in);
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "CAAAAP////////9/YQA="}};
  std::ofstream(folder + "/tokenizer.json") << json.dump();
  auto embedder = LoadEmbedder(Find(folder), {});
  ASSERT_TRUE(embedder.ok()) << embedder.status();
  EXPECT_TRUE((*embedder)->EmbedTexts({"sari \x01 a"}).ok());
}

TEST(OpenClip, HuggingFacesLayoutWinsWhereItsWeightsAre) {
  const std::string folder = Copy("tiny-open-clip");
  fs::copy(kFixtures + "tiny-clip-quick/config.json", folder + "/config.json");
  EXPECT_EQ(Find(folder).architecture, "open-clip") << "a configuration without its weights";
  for (const char* name : {"/model.safetensors", "/preprocessor_config.json", "/vocab.json", "/merges.txt"}) {
    fs::copy(kFixtures + "tiny-clip-quick" + name, folder + name, fs::copy_options::overwrite_existing);
  }
  EXPECT_EQ(Find(folder).architecture, "clip");
}

// The forms that older and newer versions of transformers write.
TEST(Preprocessing, OldAndNewKeysMeanTheSame) {
  const auto of = [](const nlohmann::json& json, Preprocess::Processor processor) {
    const std::string path = Root() + "/preprocess.json";
    fs::create_directories(Root());
    std::ofstream(path) << json.dump();
    return Preprocess::HuggingFace(JsonFile(path), processor, 10);
  };
  const at::Tensor images = at::randint(256, {2, 3, 17, 31}, at::kByte);
  const auto same = [&](const nlohmann::json& a, const nlohmann::json& b) {
    return at::equal(of(a, Preprocess::Processor::kClip)(images, at::kFloat),
                     of(b, Preprocess::Processor::kClip)(images, at::kFloat));
  };
  EXPECT_TRUE(same({{"feature_extractor_type", "CLIPFeatureExtractor"}, {"size", 12}, {"crop_size", 10}},
                   {{"image_processor_type", "CLIPImageProcessorFast"},
                    {"size", {{"shortest_edge", 12}, {"longest_edge", nullptr}}},
                    {"crop_size", {{"height", 10}, {"width", 10}}},
                    {"do_pad", nullptr},
                    {"do_convert_rgb", true}}));
  EXPECT_FALSE(same({{"size", 12}, {"crop_size", 10}}, {{"size", 11}, {"crop_size", 10}}));
  EXPECT_FALSE(same({{"resample", 2}}, {{"resample", 3}}));
  EXPECT_TRUE(same({{"size", 10}, {"use_square_size", true}}, {{"size", {{"height", 10}, {"width", 10}}}}));
  const at::Tensor raw = of({{"do_resize", false}, {"do_rescale", false}, {"do_normalize", false}}, Preprocess::Processor::kClip)(
      images, at::kFloat);
  EXPECT_TRUE(at::equal(raw, images.narrow(2, 3, 10).narrow(3, 10, 10).to(at::kFloat)));
  // Smaller than the crop: black around it.
  const at::Tensor small =
      of({{"do_resize", false}, {"do_normalize", false}, {"crop_size", 40}}, Preprocess::Processor::kClip)(images, at::kFloat);
  EXPECT_EQ(small.sizes().vec(), (std::vector<int64_t>{2, 3, 40, 40}));
  EXPECT_NEAR(small.sum().item<double>(), images.to(at::kDouble).sum().item<double>() / 255, 1);
}

// Nothing beyond the crop is computed: a picture ten thousand times as long as high costs what the middle costs.
TEST(Preprocessing, ExtremeFormsAreCheap) {
  const std::string path = Root() + "/extreme.json";
  fs::create_directories(Root());
  std::ofstream(path) << R"({"size": 224, "crop_size": 224})";
  const auto preprocess = Preprocess::HuggingFace(JsonFile(path), Preprocess::Processor::kClip, 224);
  for (const auto& [h, w] : std::vector<std::pair<int64_t, int64_t>>{{1, 20'000}, {20'000, 1}, {1, 1}}) {
    const at::Tensor image = at::full({1, 3, h, w}, 77, at::kByte);
    const at::Tensor levels =
        ResizeAsPillow(image, h < w ? 224 : 224 * h / w, h < w ? 224 * w / h : 224, ResizeFilter::kBicubic, {0, 0, 3, 3});
    EXPECT_EQ(levels.min().item<double>(), 77);
    EXPECT_EQ(preprocess(image, at::kFloat).sizes().vec(), (std::vector<int64_t>{1, 3, 224, 224}));
  }
}

}  // namespace
}  // namespace promptsweep::worker

int main(int argc, char** argv) {
  promptsweep::worker::SettleEnvironment(argv);
  testing::InitGoogleTest(&argc, argv);
  promptsweep::worker::MakeDeterministic(1);
  const int failed = RUN_ALL_TESTS();
  std::filesystem::remove_all(promptsweep::worker::Root());
  return failed;
}
