// Proves what the models do at their interface: typed blanks, settings, errors that name file and tensor, and the null models.
#include "worker/models/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "worker/models/dalle_bart.h"

namespace promptsweep::worker {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kFixtures = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/";

sweep::ModelFolder FolderOf(const std::string& path, const std::string& architecture) {
  sweep::ModelFolder folder;
  folder.id = "m";
  folder.path = path;
  folder.architecture = architecture;
  return folder;
}

// A copy of a fixture to break.
std::string Copy(const std::string& fixture, const std::string& name) {
  const std::string folder = testing::TempDir() + "generator_test_" + name;
  fs::remove_all(folder);
  fs::copy(kFixtures + fixture, folder, fs::copy_options::recursive);
  return folder;
}

void SetKey(const std::string& path, const std::string& key, const nlohmann::json& value) {
  std::ifstream in(path);
  nlohmann::json json = nlohmann::json::parse(in);
  json[key] = value;
  std::ofstream(path) << json.dump();
}

v1::Cell CellOf(int64_t seed, const std::string& text = "a photo of a sari") {
  v1::Cell cell;
  cell.set_seed(seed);
  cell.mutable_prompt()->set_text(text);
  return cell;
}
v1::Cell BlankOf(v1::BlankKind kind) {
  v1::Cell cell;
  cell.set_seed(5);
  cell.mutable_prompt()->set_blank(kind);
  return cell;
}
v1::Cell With(v1::Cell cell, const std::string& name, double value) {
  auto* setting = cell.add_settings();
  setting->set_name(name);
  setting->mutable_value()->set_double_value(value);
  return cell;
}

class Dalle : public testing::Test {
 protected:
  at::Tensor Image(const v1::Cell& cell) {
    auto image = generator_->Generate({&cell, 1});
    EXPECT_TRUE(image.ok()) << image.status();
    return image.ok() ? (*image)[0] : at::Tensor();
  }
  absl::Status Error(const v1::Cell& cell) { return generator_->Generate({&cell, 1}).status(); }
  std::unique_ptr<Generator> generator_ =
      LoadGenerator(FolderOf(kFixtures + "tiny-dalle", "dalle-bart"), {.batch_shape = 4}).value();
};

TEST_F(Dalle, ImagesHaveTheConfiguredForm) {
  const std::vector<v1::Cell> cells = {CellOf(1), CellOf(2), CellOf(3)};
  const at::Tensor images = generator_->Generate(cells).value();
  EXPECT_EQ(images.sizes().vec(), (std::vector<int64_t>{3, 3, 16, 16}));
  EXPECT_EQ(images.scalar_type(), at::kByte);
  EXPECT_FALSE(at::equal(images[0], images[1])) << "the seed decides";
  EXPECT_TRUE(at::equal(images[0], Image(CellOf(1))));
  EXPECT_FALSE(at::equal(images[0], Image(CellOf(1, "starry night")))) << "the prompt decides";
}

TEST_F(Dalle, BlankKinds) {
  const at::Tensor empty = Image(BlankOf(v1::BLANK_KIND_EMPTY));
  // This tokenizer drops spaces, and its unconditional row is the empty text.
  EXPECT_TRUE(at::equal(empty, Image(BlankOf(v1::BLANK_KIND_WHITESPACE))));
  EXPECT_TRUE(at::equal(empty, Image(BlankOf(v1::BLANK_KIND_NULL))));
  EXPECT_FALSE(at::equal(empty, Image(BlankOf(v1::BLANK_KIND_PADDING))));
  // Guidance away from itself changes nothing, and is not computed.
  EXPECT_TRUE(at::equal(empty, Image(With(BlankOf(v1::BLANK_KIND_EMPTY), "supercondition", 7))));
  EXPECT_FALSE(
      at::equal(Image(BlankOf(v1::BLANK_KIND_PADDING)), Image(With(BlankOf(v1::BLANK_KIND_PADDING), "supercondition", 7))));
  v1::Cell absent;
  EXPECT_EQ(Error(absent).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Error(BlankOf(v1::BLANK_KIND_UNSPECIFIED)).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Dalle, SettingsAreCheckedAndUsed) {
  const at::Tensor plain = Image(CellOf(1));
  EXPECT_FALSE(at::equal(plain, Image(With(CellOf(1), "temperature", 5))));
  EXPECT_FALSE(at::equal(plain, Image(With(CellOf(1), "top_k", 1))));
  EXPECT_TRUE(at::equal(plain, Image(With(CellOf(1), "top_k", 1e9)))) << "more than there are is all";
  EXPECT_TRUE(at::equal(Image(With(CellOf(1), "top_k", 1)), Image(With(CellOf(2), "top_k", 1)))) << "greedy ignores the seed";
  for (const auto& [name, value] : std::vector<std::pair<std::string, double>>{{"temperature", 0},
                                                                               {"temperature", -1},
                                                                               {"top_k", -1},
                                                                               {"top_k", 1.5},
                                                                               {"top_p", 0},
                                                                               {"top_p", 1.1},
                                                                               {"width", 8},
                                                                               {"steps", 4}}) {
    const absl::Status status = Error(With(CellOf(1), name, value));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name << " " << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST_F(Dalle, CardDefaultsYieldToTheCell) {
  auto folder = FolderOf(kFixtures + "tiny-dalle", "dalle-bart");
  folder.defaults["top_k"].set_int_value(1);
  auto greedy = LoadGenerator(folder, {.batch_shape = 4}).value();
  const auto cell = CellOf(1), all = With(CellOf(1), "top_k", 0);
  EXPECT_TRUE(at::equal(greedy->Generate({&cell, 1}).value()[0], Image(With(CellOf(1), "top_k", 1))));
  EXPECT_TRUE(at::equal(greedy->Generate({&all, 1}).value()[0], Image(CellOf(1))));
}

TEST_F(Dalle, BatchBounds) {
  const std::vector<v1::Cell> five(5, CellOf(1));
  EXPECT_EQ(generator_->Generate(five).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(generator_->Generate({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LoadDalle, BrokenFoldersAreNamedInOneLine) {
  const auto error = [](const std::string& folder) {
    const absl::Status status = LoadGenerator(FolderOf(folder, "dalle-bart"), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
    return std::string(status.message());
  };
  const std::string sizes = Copy("tiny-dalle", "sizes");
  SetKey(sizes + "/config.json", "d_model", 27);
  EXPECT_THAT(error(sizes),
              AllOf(HasSubstr("encoder.safetensors"), HasSubstr("embed_tokens.weight"), HasSubstr("24"), HasSubstr("27")));
  const std::string heads = Copy("tiny-dalle", "heads");
  SetKey(heads + "/config.json", "decoder_attention_heads", 5);
  EXPECT_THAT(error(heads), AllOf(HasSubstr("config.json"), HasSubstr("5 heads")));
  const std::string layers = Copy("tiny-dalle", "layers");
  SetKey(layers + "/config.json", "decoder_layers", 4);
  EXPECT_THAT(error(layers), AllOf(HasSubstr("decoder.safetensors"), HasSubstr("layers.3.")));
  SetKey(layers + "/config.json", "decoder_layers", 2);
  EXPECT_THAT(error(layers), AllOf(HasSubstr("decoder.safetensors"), HasSubstr("layers.2."), HasSubstr("not part of")));
  const std::string length = Copy("tiny-dalle", "length");
  SetKey(length + "/config.json", "image_length", 25);
  EXPECT_THAT(error(length), HasSubstr("image_length 25"));
  const std::string variant = Copy("tiny-dalle", "variant");
  SetKey(variant + "/config.json", "use_bias", true);
  EXPECT_THAT(error(variant), HasSubstr("use_bias"));
  const std::string groups = Copy("tiny-dalle", "groups");
  SetKey(groups + "/vqgan/config.json", "norm_groups", 5);
  EXPECT_THAT(error(groups), AllOf(HasSubstr("vqgan/config.json"), HasSubstr("5 norm_groups")));
  const std::string cut = Copy("tiny-dalle", "cut");
  fs::resize_file(cut + "/vqgan/model.safetensors", fs::file_size(cut + "/vqgan/model.safetensors") / 2);
  EXPECT_THAT(error(cut), HasSubstr("vqgan/model.safetensors"));
  for (const char* file : {"config.json", "encoder.safetensors", "decoder.safetensors", "vqgan/config.json",
                           "vqgan/model.safetensors", "vocab.json", "merges.txt"}) {
    const std::string gone = Copy("tiny-dalle", "gone");
    fs::remove(gone + "/" + file);
    EXPECT_THAT(error(gone), HasSubstr(file));
  }
  EXPECT_EQ(LoadGenerator(FolderOf("", "diffusion"), {}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(LoadEmbedder(FolderOf("", "diffusion"), {}).status().code(), absl::StatusCode::kUnimplemented);
}

// The published mini's sizes go through the decoder without a byte of its weights: shapes only.
TEST(DalleConfig, ReadsPublishedKeys) {
  const std::string path = testing::TempDir() + "generator_test_mini.json";
  std::ofstream(path) << R"({"model_type":"dallebart","activation_function":"gelu","bos_token_id":16385,"d_model":1024,
    "decoder_attention_heads":16,"decoder_ffn_dim":2730,"decoder_layers":12,"decoder_start_token_id":16384,"encoder_attention_heads":16,
    "encoder_ffn_dim":2730,"encoder_layers":12,"encoder_vocab_size":50264,"eos_token_id":16385,"image_length":256,"image_vocab_size":16384,
    "ln_positions":"normformer","ln_type":"layernorm","max_text_length":64,"normalize_text":true,"pad_token_id":16385,"scale_embedding":false,
    "use_bias":false,"use_final_ln_decoder":true,"use_final_ln_encoder":true,"use_glu":true,"use_scale":false})";
  const DalleConfig config{JsonFile(path)};
  EXPECT_EQ(config.width, 1024);
  EXPECT_EQ(config.decoder_ffn, 2730);
  EXPECT_EQ(config.image_vocab, 16384);
  EXPECT_EQ(config.start_token, 16384);
  EXPECT_EQ(config.text_length, 64);
}

TEST(LoadClip, BrokenFoldersAreNamed) {
  const auto error = [](const std::string& folder) {
    const absl::Status status = LoadEmbedder(FolderOf(folder, "clip"), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  const std::string projection = Copy("tiny-clip-quick", "projection");
  SetKey(projection + "/config.json", "projection_dim", 11);
  EXPECT_THAT(error(projection), AllOf(HasSubstr("model.safetensors"), HasSubstr("text_projection.weight")));
  const std::string pixels = Copy("tiny-clip-quick", "pixels");
  SetKey(pixels + "/preprocessor_config.json", "image_std", {1, 0, 1});
  EXPECT_THAT(error(pixels), AllOf(HasSubstr("preprocessor_config.json"), HasSubstr("image_std")));
  const std::string act = Copy("tiny-clip-quick", "act");
  std::ifstream in(act + "/config.json");
  nlohmann::json json = nlohmann::json::parse(in);
  json["text_config"]["hidden_act"] = "relu";
  std::ofstream(act + "/config.json") << json.dump();
  EXPECT_THAT(error(act), HasSubstr("relu"));
}

// Sets one value of one JSON file of a model at a time to what nobody means, and wants one line that names file and key.
void ExpectRefusals(const std::string& fixture, const std::string& architecture,
                    const std::vector<std::tuple<std::string, std::string, std::vector<nlohmann::json>>>& hostile) {
  for (const auto& [file, pointer, values] : hostile) {
    const std::string folder = Copy(fixture, "hostile");
    const std::string path = folder + "/" + file;
    std::ifstream in(path);
    const nlohmann::json good = nlohmann::json::parse(in);
    for (const nlohmann::json& value : values) {
      nlohmann::json bad = good;
      bad[nlohmann::json::json_pointer(pointer)] = value;
      std::ofstream(path) << bad.dump();
      const sweep::ModelFolder model = FolderOf(folder, architecture);
      const absl::Status status =
          architecture == "clip" ? LoadEmbedder(model, {}).status() : LoadGenerator(model, {.batch_shape = 2}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << file << pointer << " " << value << ": " << status;
      EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(folder), Not(HasSubstr("\n"))))
          << file << pointer << " " << value;
    }
  }
}

const std::vector<nlohmann::json> kNoCount = {-1,  0,    0.5, int64_t{1} << 62,        UINT64_MAX, 1e300,
                                              "2", true, {2}, nlohmann::json::object()};
const std::vector<nlohmann::json> kNoFraction = {-1, 2, 1e300, "2", true, {0.5}};

TEST(LoadDalle, HostileConfigurationsAreRefused) {
  std::vector<std::tuple<std::string, std::string, std::vector<nlohmann::json>>> hostile;
  for (const char* key :
       {"d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "decoder_layers", "decoder_attention_heads",
        "decoder_ffn_dim", "encoder_vocab_size", "max_text_length", "image_vocab_size", "image_length"}) {
    hostile.emplace_back("config.json", std::string("/") + key, kNoCount);
    hostile.emplace_back("config.json", std::string("/") + key, std::vector<nlohmann::json>{nullptr});
  }
  hostile.emplace_back("config.json", "/decoder_start_token_id", std::vector<nlohmann::json>{-1, 1 << 24, "0", nullptr});
  hostile.emplace_back("config.json", "/use_glu", std::vector<nlohmann::json>{false, 0, "true"});
  hostile.emplace_back("config.json", "/ln_positions", std::vector<nlohmann::json>{"postln", 1});
  for (const char* key : {"ch", "z_channels", "embed_dim", "n_embed", "resolution", "norm_groups", "out_ch"}) {
    hostile.emplace_back("vqgan/config.json", std::string("/") + key, kNoCount);
  }
  hostile.emplace_back("vqgan/config.json", "/norm_eps", kNoFraction);
  hostile.emplace_back("vqgan/config.json", "/ch_mult",
                       std::vector<nlohmann::json>{nlohmann::json::array(), {0}, {-1}, {1, "2"}, 1, std::vector<int>(100, 1)});
  hostile.emplace_back("vqgan/config.json", "/attn_resolutions", std::vector<nlohmann::json>{{-1}, {0.5}, 4, nullptr});
  ExpectRefusals("tiny-dalle", "dalle-bart", hostile);
}

TEST(LoadClip, HostileConfigurationsAreRefused) {
  std::vector<std::tuple<std::string, std::string, std::vector<nlohmann::json>>> hostile;
  for (const char* tower : {"/text_config", "/vision_config"}) {
    for (const char* key : {"/hidden_size", "/intermediate_size", "/num_hidden_layers", "/num_attention_heads"}) {
      hostile.emplace_back("config.json", std::string(tower) + key, kNoCount);
    }
    hostile.emplace_back("config.json", std::string(tower) + "/layer_norm_eps", kNoFraction);
    hostile.emplace_back("config.json", std::string(tower) + "/hidden_act", std::vector<nlohmann::json>{"relu", 1});
    hostile.emplace_back("config.json", tower, std::vector<nlohmann::json>{nullptr, 1, "x", nlohmann::json::array()});
  }
  hostile.emplace_back("config.json", "/projection_dim", kNoCount);
  hostile.emplace_back("config.json", "/text_config/vocab_size", kNoCount);
  hostile.emplace_back("config.json", "/text_config/max_position_embeddings", kNoCount);
  hostile.emplace_back("config.json", "/text_config/eos_token_id", std::vector<nlohmann::json>{-1, 1, 5, 1 << 25, "2"});
  hostile.emplace_back("config.json", "/vision_config/image_size", kNoCount);
  hostile.emplace_back("config.json", "/vision_config/patch_size", kNoCount);
  hostile.emplace_back("preprocessor_config.json", "/image_std",
                       std::vector<nlohmann::json>{{1, 0, 1}, {1, -1, 1}, {1, 1}, 0, {1, 1, "1"}});
  hostile.emplace_back("preprocessor_config.json", "/image_mean", std::vector<nlohmann::json>{{1, 1}, "1", {1, 1, "1"}});
  hostile.emplace_back("preprocessor_config.json", "/rescale_factor", std::vector<nlohmann::json>{0, -1, 1e300, "1"});
  hostile.emplace_back("preprocessor_config.json", "/size", std::vector<nlohmann::json>{0, -1, 1 << 20, "224", 0.5});
  hostile.emplace_back("preprocessor_config.json", "/crop_size", std::vector<nlohmann::json>{0, 1, 1 << 20, "224"});
  hostile.emplace_back("preprocessor_config.json", "/resample", std::vector<nlohmann::json>{0, 1, -1, "3"});
  ExpectRefusals("tiny-clip-gelu", "clip", hostile);
}

TEST(LoadClip, LabelsAreText) {
  const std::string folder = Copy("tiny-clip-quick", "bad-labels");
  std::ofstream(folder + "/labels.txt") << "sari\nca\xff\n";
  const absl::Status status = LoadEmbedder(FolderOf(folder, "clip"), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("labels.txt:2"));
}

// What the device sees of prompts at the edges: always something, and the same thing again.
TEST_F(Dalle, PromptsAtTheEdges) {
  const std::string long_word(64 << 10, 'a');
  std::string many_words;
  for (int i = 0; i < 10'000; ++i) many_words += "sari ";
  for (const std::string& text : {std::string("\t"), std::string("\x01\x7f\x1b[31m"), std::string("🥻🥻🥻"), std::string("ﷺ ß İ"),
                                  std::string("a\xcc\x81"), std::string("<s></s><pad><unk>"), long_word, many_words}) {
    const v1::Cell cell = CellOf(1, text);
    EXPECT_TRUE(at::equal(Image(cell), Image(cell))) << text.substr(0, 20);
  }
  EXPECT_TRUE(at::equal(Image(CellOf(1, many_words)), Image(CellOf(1, many_words + "and more")))) << "cut alike";
}

TEST(Clip, TextsAtTheEdges) {
  auto clip = LoadEmbedder(FolderOf(kFixtures + "tiny-clip-gelu", "clip"), {.batch_shape = 4}).value();
  const std::vector<std::string> texts = {"",  " ", "\t\n",  "\x01\x7f",           std::string(64 << 10, 'a'), "🥻",
                                          "ﷺ", "ß", "a\xff", std::string(1, '\0'), "<|endoftext|>sari"};
  const at::Tensor rows = clip->EmbedTexts(texts).value();
  EXPECT_TRUE(at::isfinite(rows).all().item<bool>());
  EXPECT_LT((rows.norm(2, {1}) - 1).abs().max().item<double>(), 1e-5);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_TRUE(at::allclose(clip->EmbedTexts({&texts[i], 1}).value()[0], rows[static_cast<int64_t>(i)], 1e-4, 1e-5))
        << texts[i].substr(0, 20);
  }
}

TEST(Clip, LabelsAndShapes) {
  const std::string folder = Copy("tiny-clip-quick", "labels");
  std::ofstream(folder + "/labels.txt") << "sari\n\n  fire engine \n";
  auto clip = LoadEmbedder(FolderOf(folder, "clip"), {}).value();
  EXPECT_THAT(clip->labels(), testing::ElementsAre("sari", "fire engine"));
  EXPECT_EQ(clip->dim(), 10);
  EXPECT_EQ(clip->EmbedTexts({}).value().sizes().vec(), (std::vector<int64_t>{0, 10}));
  EXPECT_EQ(clip->EmbedImages(at::zeros({2, 3, 5, 5})).status().code(), absl::StatusCode::kInvalidArgument) << "floats";
  const at::Tensor rows = clip->EmbedImages(at::randint(256, {3, 3, 40, 17}, at::kByte)).value();
  EXPECT_LT((rows.norm(2, {1}) - 1).abs().max().item<double>(), 1e-5);
}

class Null : public testing::Test {
 protected:
  std::unique_ptr<Generator> generator_ = LoadGenerator(FolderOf("", "null"), {}).value();
  std::unique_ptr<Embedder> embedder_ = LoadEmbedder(FolderOf("", "null-embed"), {}).value();
};

TEST_F(Null, PicturesComeFromTheSeed) {
  const auto make = [&](const v1::Cell& cell) { return generator_->Generate({&cell, 1}).value()[0]; };
  EXPECT_TRUE(at::equal(make(CellOf(1)), make(CellOf(1))));
  EXPECT_FALSE(at::equal(make(CellOf(1)), make(CellOf(2))));
  EXPECT_TRUE(at::equal(make(With(CellOf(1), "period", 7)), make(With(CellOf(15), "period", 7))));
  EXPECT_EQ(make(With(With(CellOf(1), "width", 20), "height", 12)).sizes().vec(), (std::vector<int64_t>{3, 12, 20}));
}

TEST_F(Null, FailsWhereToldTo) {
  const auto cell = With(CellOf(3), "fail_seed", 3), other = With(CellOf(4), "fail_seed", 3);
  EXPECT_EQ(generator_->Generate({&cell, 1}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(generator_->Generate({&other, 1}).ok());
  const auto crash = With(CellOf(3), "crash_seed", 3);
  EXPECT_DEATH((void)generator_->Generate({&crash, 1}), "");
}

TEST_F(Null, EmbeddingsAreUnitAndTellPicturesApart) {
  const std::vector<v1::Cell> cells = {CellOf(1), CellOf(2), CellOf(1)};
  const at::Tensor rows = embedder_->EmbedImages(generator_->Generate(cells).value()).value();
  EXPECT_EQ(rows.sizes().vec(), (std::vector<int64_t>{3, embedder_->dim()}));
  EXPECT_LT((rows.norm(2, {1}) - 1).abs().max().item<double>(), 1e-6);
  EXPECT_TRUE(at::equal(rows[0], rows[2]));
  EXPECT_LT(rows[0].dot(rows[1]).item<double>(), 0.999);
  EXPECT_EQ(embedder_->EmbedTexts({}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace promptsweep::worker
