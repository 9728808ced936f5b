// Proves that both published forms of one DALL-E become the folder that the worker's own fixture is, that nothing missing, too
// much or damaged gets through, and that what fails leaves nothing behind.
#include "jobs/weights/convert.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/hash.h"
#include "gmock/gmock.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using Json = nlohmann::json;

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(entry.path().lexically_relative(folder).string());
  }
  return names;
}

// A folder of published files and the folder to be made.
class Convert : public testing::Test {
 protected:
  Convert() { options_ = {.source = folder_.path() + "/src", .target = folder_.path() + "/dst"}; }

  // min-dalle's cache: no configurations.
  void WriteMinDalle(const std::string& suffix = "", bool config = true) {
    for (const char* part : {"encoder", "decoder"})
      folder_.Write(absl::StrCat("src/", part, suffix, ".pt"), Fixture(absl::StrCat(part, ".pt")));
    WriteTokens(suffix);
    folder_.Write("src/detoker.pt", Fixture("detoker.pt"));
    if (config) folder_.Write(absl::StrCat("src/config", suffix, ".json"), Published().dump());
    // Norms of two groups cannot be told from shapes.
    folder_.Write("vqgan/detoker.pt", Fixture("detoker.pt"));
    folder_.Write("vqgan/config.json", TinyDalle("vqgan/config.json"));
    options_.vqgan = folder_.path() + "/vqgan";
  }
  void WriteFlax() {
    folder_.Write("src/flax_model.msgpack", Fixture("dalle.msgpack"));
    WriteTokens("");
    folder_.Write("src/config.json", Published().dump());
    folder_.Write("src/vqgan/flax_model.msgpack", Fixture("vqgan.msgpack"));
    folder_.Write("src/vqgan/config.json", TinyDalle("vqgan/config.json"));
  }
  void WriteTokens(const std::string& suffix) {
    folder_.Write(absl::StrCat("src/vocab", suffix, ".json"), TinyDalle("vocab.json"));
    folder_.Write(absl::StrCat("src/merges", suffix, ".txt"), TinyDalle("merges.txt"));
  }
  // The fixture's configuration without what shapes tell.
  static Json Published() {
    Json config = Json::parse(TinyDalle("config.json"));
    for (const char* key :
         {"image_length", "max_text_length", "encoder_vocab_size", "image_vocab_size", "decoder_layers", "model_type"})
      config.erase(key);
    config["model_type"] = "dallebart";
    config["normalize_text"] = true;
    return config;
  }

  Converted Run() {
    auto converted = ConvertWeights(options_);
    EXPECT_TRUE(converted.ok()) << converted.status();
    return converted.ok() ? *std::move(converted) : Converted();
  }
  // The line of an attempt that must fail and leave nothing behind.
  std::string Problem() {
    const bool there = fs::exists(options_.target);
    auto converted = ConvertWeights(options_);
    EXPECT_FALSE(converted.ok());
    EXPECT_EQ(fs::exists(options_.target), there);
    for (const auto& entry : fs::directory_iterator(folder_.path())) EXPECT_NE(entry.path().extension(), ".part");
    return std::string(converted.status().message());
  }
  std::string Written(const std::string& name) const { return ReadFile(options_.target + "/" + name); }
  void ExpectTheTinyDalle() const {
    EXPECT_THAT(Names(options_.target),
                UnorderedElementsAre("card.json", "config.json", "encoder.safetensors", "decoder.safetensors", "vocab.json",
                                     "merges.txt", "vqgan/config.json", "vqgan/model.safetensors"));
    for (const char* file : {"encoder.safetensors", "decoder.safetensors", "vqgan/model.safetensors"}) {
      EXPECT_EQ(ContentsOf(Written(file)), ContentsOf(TinyDalle(file))) << file;
    }
    for (const char* file : {"vocab.json", "merges.txt"}) EXPECT_EQ(Written(file), TinyDalle(file));
    const Json config = Json::parse(Written("config.json")), tiny = Json::parse(TinyDalle("config.json"));
    for (const auto& [key, value] : tiny.items()) EXPECT_EQ(config[key], value) << key;
    const Json vqgan = Json::parse(Written("vqgan/config.json")), tiny_vqgan = Json::parse(TinyDalle("vqgan/config.json"));
    for (const auto& [key, value] : tiny_vqgan.items()) EXPECT_EQ(vqgan[key], value) << key;
  }

  TempFolder folder_;
  ConvertOptions options_;
};

TEST_F(Convert, MinDallesFilesBecomeTheFolder) {
  WriteMinDalle();
  const Converted done = Run();
  ExpectTheTinyDalle();
  EXPECT_EQ(Json::parse(Written("config.json"))["normalize_text"], true) << "what is published stays";
  const Json card = Json::parse(Written("card.json"));
  EXPECT_EQ(card["converted_from"], "DALL-E (min-dalle)");
  EXPECT_EQ(card["sources"][0], Json({{"file", "encoder.pt"},
                                      {"bytes", Fixture("encoder.pt").size()},
                                      {"sha256", ToHex(Sha256Of(Fixture("encoder.pt")))}}));
  EXPECT_EQ(card["sources"].size(), 3u);
  for (const ConvertedFile& file : done.files) EXPECT_EQ(file.sha256, Sha256Of(Written(file.name)));
}

TEST_F(Convert, FlaxFilesBecomeTheSameFolder) {
  WriteFlax();
  Run();
  ExpectTheTinyDalle();
}

TEST_F(Convert, AgainGivesTheSameBytes) {
  WriteFlax();
  Run();
  const std::string first = options_.target;
  options_.target += "-again";
  Run();
  for (const std::string& name : Names(first)) EXPECT_EQ(ReadFile(first + "/" + name), Written(name)) << name;
}

TEST_F(Convert, VariantsOfOneFolderAreToldApart) {
  WriteMinDalle("_mini");
  Run();
  ExpectTheTinyDalle();
  fs::remove_all(options_.target);
  WriteMinDalle("");
  EXPECT_THAT(Problem(), HasSubstr("holds mega and mini; say which with --variant"));
  options_.variant = "mini";
  folder_.Write("src/encoder.pt", "not read");
  Run();
  ExpectTheTinyDalle();
  fs::remove_all(options_.target);
  options_.variant = "mega";
  EXPECT_THAT(Problem(), HasSubstr("src/encoder.pt: not a file of torch.save"));
}

TEST_F(Convert, WithoutAConfigurationHeadsAndStartTokenAreThePublishedOnes) {
  WriteMinDalle("", /*config=*/false);
  EXPECT_THAT(Problem(), HasSubstr("d_model 24 does not divide into the 0 of \"encoder_attention_heads\""));
}

TEST_F(Convert, WithoutTheVqgansConfigurationItIsReadOffTheShapes) {
  WriteMinDalle();
  fs::remove(folder_.path() + "/vqgan/config.json");
  EXPECT_THAT(Problem(), HasSubstr("channels do not divide into 32"));
  // With only what cannot be told.
  folder_.Write("vqgan/config.json", R"({"ch_mult": null, "norm_groups": 2})");
  Run();
  const Json tiny = Json::parse(TinyDalle("vqgan/config.json")), config = Json::parse(Written("vqgan/config.json"));
  for (const auto& [key, value] : tiny.items()) EXPECT_EQ(config[key], value) << key;
  EXPECT_EQ(config["norm_eps"], 1e-5) << "min-dalle's";
}

TEST_F(Convert, TheVqganIsLookedForWhereItIsPublished) {
  WriteFlax();
  fs::rename(folder_.path() + "/src/vqgan", folder_.path() + "/vqgan");
  Run();
  ExpectTheTinyDalle();
  fs::remove_all(options_.target);
  fs::rename(folder_.path() + "/vqgan", folder_.path() + "/elsewhere");
  EXPECT_THAT(Problem(), HasSubstr("--vqgan"));
  options_.vqgan = folder_.path() + "/elsewhere";
  Run();
  ExpectTheTinyDalle();
  options_.source = options_.vqgan;
  options_.target += "2";
  EXPECT_THAT(Problem(), HasSubstr("the VQGAN alone draws nothing"));
}

TEST_F(Convert, TypesAreConverted) {
  WriteFlax();
  options_.dtype = "F16";
  Run();
  const Contents halves = ContentsOf(Written("decoder.safetensors")), singles = ContentsOf(TinyDalle("decoder.safetensors"));
  ASSERT_EQ(halves.size(), singles.size());
  const std::string single = singles.at("final_ln.bias"), half = halves.at("final_ln.bias");
  const std::string head = "F32 [24]";
  std::vector<float> values(24);
  std::memcpy(values.data(), single.data() + head.size(), 96);
  EXPECT_EQ(half, "F16 [24]" + PackHalves(values.data(), 24));
}

// A pickle of the tiny encoder's tensors with one changed.
std::string EncoderPt(const std::function<void(std::map<std::string, std::string>&)>& change) {
  std::map<std::string, std::string> items, storages;
  for (const auto& [name, content] : ContentsOf(TinyDalle("encoder.safetensors"))) {
    const size_t open = content.find('['), close = content.find(']');
    std::vector<int32_t> shape, strides;
    for (absl::string_view rest = absl::string_view(content).substr(open + 1, close - open - 1); !rest.empty();) {
      shape.push_back(std::stoi(std::string(rest)));
      const size_t comma = rest.find(", ");
      rest = comma == absl::string_view::npos ? "" : rest.substr(comma + 2);
    }
    int32_t size = 1;
    strides.resize(shape.size());
    for (size_t i = shape.size(); i-- > 0; size *= shape[i]) strides[i] = size;
    storages[name] = content.substr(close + 1);
    items[name] = TensorRef(name, size, 0, shape, strides);
  }
  change(items);
  return TorchZip(PickleOf(Dict(items)), storages);
}

TEST_F(Convert, EveryTensorIsAccountedFor) {
  WriteMinDalle();
  const auto problem = [&](const std::function<void(std::map<std::string, std::string>&)>& change) {
    folder_.Write("src/encoder.pt", EncoderPt(change));
    return Problem();
  };
  EXPECT_THAT(problem([](auto& items) { items.erase("layers.1.self_attn.k_proj.weight"); }),
              HasSubstr("tensor \"layers.1.self_attn.k_proj.weight\" of shape [24, 24] is missing"));
  EXPECT_THAT(problem([](auto& items) { items.erase("layers.0.self_attn_layer_norm.weight"); }),
              HasSubstr("\"layers.0.self_attn_layer_norm.weight\" of shape [24] is missing"));
  EXPECT_THAT(problem([](auto& items) { items["extra"] = items["final_ln.bias"]; }),
              HasSubstr("\"extra\" is not part of this architecture"));
  EXPECT_THAT(problem([](auto& items) { items["layers.7.glu.fc0.weight"] = items["layers.0.glu.fc0.weight"]; }),
              HasSubstr("\"layers.7.glu.fc0.weight\" is not part"));
  EXPECT_THAT(problem([](auto& items) { items["layers.1.glu.fc2.weight"] = items["layers.1.glu.fc0.weight"]; }),
              HasSubstr("\"layers.1.glu.fc2.weight\" has shape [29, 24]; the others imply [24, 29]"));
  EXPECT_THAT(problem([](auto& items) { items["final_ln.bias"] = "N"; }), HasSubstr("\"final_ln.bias\" is no tensor"));
  EXPECT_THAT(problem([](auto& items) { items["a"] = Name("os", "system") + Text("true") + "\x85R"; }),
              AllOf(HasSubstr("src/encoder.pt: "), HasSubstr("\"os.system\"")));
  // The scales that the published weights lack may be there or not.
  folder_.Write("src/encoder.pt", EncoderPt([](auto& items) { items["final_ln.weight"] = items["final_ln.bias"]; }));
  Run();
  EXPECT_EQ(ContentsOf(Written("encoder.safetensors")).count("final_ln.weight"), 1u);
  EXPECT_EQ(ContentsOf(Written("encoder.safetensors")).count("layers.0.glu.ln0.weight"), 0u);
}

TEST_F(Convert, ConfigurationAndShapesMustAgree) {
  WriteMinDalle();
  const auto problem = [&](const std::string& key, const Json& value) {
    Json config = Published();
    config[key] = value;
    folder_.Write("src/config.json", config.dump());
    return Problem();
  };
  EXPECT_THAT(problem("d_model", 25), HasSubstr("\"d_model\" is 25, but the tensors' shapes say 24"));
  EXPECT_THAT(problem("image_length", 15), HasSubstr("\"image_length\" is 15, but the tensors' shapes say 16"));
  EXPECT_THAT(problem("decoder_layers", "three"), HasSubstr("\"decoder_layers\" is not a whole number"));
  EXPECT_THAT(problem("decoder_layers", -3), HasSubstr("\"decoder_layers\" is not a whole number"));
  EXPECT_THAT(problem("decoder_start_token_id", 42), HasSubstr("beyond the decoder's 42 rows"));
  EXPECT_THAT(problem("model_type", "bart"), HasSubstr("model_type \"bart\""));
  EXPECT_THAT(problem("encoder_attention_heads", 5), HasSubstr("does not divide into the 5"));
  folder_.Write("src/config.json", "{");
  EXPECT_THAT(Problem(), HasSubstr("src/config.json: not valid JSON"));
  folder_.Write("src/config.json", Published().dump());
  folder_.Write("vqgan/config.json", R"({"ch_mult": [1, 2], "ch": 4, "norm_groups": 2})");
  EXPECT_THAT(Problem(), HasSubstr("VQGAN: tensor"));
  folder_.Write("vqgan/config.json", R"({"ch_mult": [1, 2, 3], "ch": 4, "norm_groups": 2, "give_pre_end": true})");
  EXPECT_THAT(Problem(), HasSubstr("give_pre_end"));
  folder_.Write("vqgan/config.json", R"({"ch_mult": {"a": 1}, "ch": 4, "norm_groups": 2})");
  EXPECT_THAT(Problem(), HasSubstr("\"ch_mult\" is not a list"));
}

TEST_F(Convert, MissingAndDamagedFilesAreNamed) {
  WriteMinDalle();
  const auto broken = [&](const std::string& name, const std::string& content) {
    const std::string path = "src/" + name, whole = ReadFile(folder_.path() + "/" + path);
    folder_.Write(path, content);
    const std::string problem = Problem();
    folder_.Write(path, whole);
    return problem;
  };
  std::string flipped = Fixture("decoder.pt");
  flipped[flipped.size() / 2] ^= 1;
  EXPECT_THAT(broken("decoder.pt", flipped), AllOf(HasSubstr("src/decoder.pt: damaged"), HasSubstr("CRC-32")));
  EXPECT_THAT(broken("decoder.pt", Fixture("decoder.pt").substr(0, 9000)), HasSubstr("src/decoder.pt: truncated"));
  EXPECT_THAT(broken("encoder.pt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
              HasSubstr("git lfs pull"));
  fs::remove(folder_.path() + "/src/vocab.json");
  EXPECT_THAT(Problem(), HasSubstr("src/vocab.json: No such file"));
  fs::remove(folder_.path() + "/src/decoder.pt");
  EXPECT_THAT(Problem(), HasSubstr("src/decoder.pt: No such file"));
  options_.source = folder_.path() + "/none";
  EXPECT_TRUE(absl::IsNotFound(ConvertWeights(options_).status()));
  fs::create_directory(options_.source);
  EXPECT_THAT(Problem(), HasSubstr("no weights to convert"));
}

TEST_F(Convert, NothingIsOverwritten) {
  WriteFlax();
  folder_.Write("dst/mine", "mine");
  EXPECT_THAT(Problem(), HasSubstr("exists already"));
  EXPECT_THAT(Names(options_.target), ElementsAre("mine"));
  fs::remove_all(options_.target);
  // Something takes the name while it works.
  options_.progress = [&](uint64_t, uint64_t) { folder_.Write("dst/mine", "mine"); };
  const auto converted = ConvertWeights(options_);
  EXPECT_THAT(std::string(converted.status().message()), HasSubstr("exists already"));
  EXPECT_THAT(Names(options_.target), ElementsAre("mine"));
  fs::remove_all(options_.target);
  options_.progress = nullptr;
  options_.target = folder_.path() + "/none/dst";
  EXPECT_THAT(std::string(ConvertWeights(options_).status().message()), HasSubstr("cannot be written"));
}

TEST_F(Convert, WhatAKilledOneLeftIsReplacedAndOneAtWorkIsLeftAlone) {
  WriteFlax();
  folder_.Write(".dst.part/decoder.safetensors", "half");
  folder_.Write(".dst.part/other/x", "x");
  const std::string part = folder_.path() + "/.dst.part";
  const int lock = ::open(part.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(std::string(ConvertWeights(options_).status().message()), HasSubstr("another process is writing it"));
  EXPECT_TRUE(fs::exists(part + "/other/x"));
  ::close(lock);
  Run();
  ExpectTheTinyDalle();
}

TEST_F(Convert, AFullDiskLeavesNothingBehind) {
  WriteFlax();
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t most : {0, 1000, 50'000, 90'000}) {
    const struct rlimit limit = {most, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::string problem = Problem();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_THAT(problem, HasSubstr("cannot be written: File too large"));
  }
  ::signal(SIGXFSZ, handler);
}

TEST_F(Convert, StoppedItLeavesNothingBehind) {
  WriteMinDalle();
  uint64_t steps = 0, last = 0;
  options_.progress = [&](uint64_t done, uint64_t total) {
    ++steps;
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
  };
  Run();
  fs::remove_all(options_.target);
  for (uint64_t stop = 0; stop < steps; stop += 7) {
    uint64_t asked = 0;
    options_.progress = nullptr;
    options_.stopped = [&] { return asked++ >= stop; };
    EXPECT_THAT(Problem(), HasSubstr("interrupted"));
  }
}

TEST_F(Convert, TorchWeightsOfEmbeddersBecomeSafetensors) {
  folder_.Write("src/pytorch_model.bin", Fixture("many_zip.pt"));
  folder_.Write("src/config.json", R"({"model_type": "clip"})");
  folder_.Write("src/merges.txt", "#version\n");
  folder_.Write("src/README.md", "no part of the model");
  const Converted done = Run();
  EXPECT_EQ(done.tensors, 23u);
  EXPECT_THAT(Names(options_.target), UnorderedElementsAre("config.json", "merges.txt", "model.safetensors", "card.json"));
  EXPECT_EQ(ContentsOf(Written("model.safetensors")), ContentsOf(Fixture("many.safetensors")));
  options_.target += "2";
  options_.dtype = "BF16";
  Run();
  const Contents brains = ContentsOf(Written("model.safetensors"));
  EXPECT_EQ(brains.at("double").substr(0, 4), "BF16");
  EXPECT_EQ(brains.at("int32"), ContentsOf(Fixture("many.safetensors")).at("int32")) << "whole numbers stay what they are";
}

// The tensors and the configuration of tests/parity/fixtures/tiny-sscd, but for the counters.
TEST_F(Convert, BothFormsOfSscdBecomeTheFolder) {
  const std::string tiny = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/tiny-sscd/";
  Contents expected = ContentsOf(ReadFile(tiny + "model.safetensors"));
  for (auto it = expected.begin(); it != expected.end();)
    it = absl::StrContains(it->first, "num_batches") ? expected.erase(it) : ++it;
  for (const char* form : {"torchvision", "classy"}) {
    const std::string file = absl::StrCat("sscd_tiny.", form, ".pt");
    fs::remove_all(folder_.path() + "/src");
    folder_.Write("src/" + file, Fixture(file));
    folder_.Write("src/sscd_tiny.torchscript.pt", "not read");
    options_.target = folder_.path() + "/" + form;
    EXPECT_EQ(Run().layout, absl::StrCat("SSCD (", form, ")"));
    EXPECT_THAT(Names(options_.target),
                UnorderedElementsAre("config.json", "preprocessor_config.json", "model.safetensors", "card.json"));
    EXPECT_EQ(ContentsOf(Written("model.safetensors")), expected) << form;
    EXPECT_EQ(Json::parse(Written("config.json")), Json::parse(ReadFile(tiny + "config.json"))) << form;
    EXPECT_EQ(Json::parse(Written("preprocessor_config.json"))["size"]["shortest_edge"], 288);
    EXPECT_EQ(Json::parse(Written("card.json"))["sources"][0]["file"], file);
  }
}

TEST_F(Convert, OfSeveralSscdsOneFileIsNamed) {
  folder_.Write("src/sscd_a.classy.pt", Fixture("sscd_tiny.classy.pt"));
  folder_.Write("src/sscd_b.torchvision.pt", Fixture("sscd_tiny.torchvision.pt"));
  EXPECT_THAT(Problem(), HasSubstr("holds sscd_a.classy.pt, sscd_b.torchvision.pt; name the one file"));
  options_.source += "/sscd_a.classy.pt";
  Run();
  EXPECT_EQ(Json::parse(Written("card.json"))["sources"][0]["file"], "sscd_a.classy.pt");
  options_.target += "2";
  options_.source = folder_.path() + "/src/sscd_c.classy.pt";
  EXPECT_THAT(Problem(), HasSubstr("no folder"));
}

TEST_F(Convert, WhatIsNoSscdIsRefused) {
  folder_.Write("src/sscd_x.torchscript.pt", "a program");
  EXPECT_THAT(Problem(), AllOf(HasSubstr("TorchScript"), HasSubstr("sscd_x.torchvision.pt")));
  const auto weights = [&](const std::vector<std::pair<std::string, std::vector<int32_t>>>& shapes) {
    std::map<std::string, std::string> tensors;
    for (const auto& [name, shape] : shapes) {
      tensors[name] = TensorRef("0", 1, 0, shape, std::vector<int32_t>(shape.size(), 0));
    }
    folder_.Write("src/sscd_x.torchvision.pt", TorchZip(PickleOf(Dict(tensors)), {{"0", "1234"}}));
    return Problem();
  };
  EXPECT_THAT(weights({{"a", {1}}}), AllOf(HasSubstr("sscd_x.torchvision.pt"), HasSubstr("\"conv1.weight\" is missing")));
  EXPECT_THAT(weights({{"backbone.conv1.weight", {4, 3, 7, 7}}, {"backbone.layer1.0.conv2.weight", {4, 4, 3, 3}}}),
              HasSubstr("basic blocks"));
  EXPECT_THAT(weights({{"backbone.initial_block._module.0.weight", {4, 3, 7, 7}}, {"backbone.blocks.9.block9-0.bn.weight", {4}}}),
              HasSubstr("has no place"));
  const std::vector<std::pair<std::string, std::vector<int32_t>>> odd = {{"conv1.weight", {7, 3, 7, 7}},
                                                                         {"layer1.0.conv2.weight", {5, 3, 3, 3}},
                                                                         {"layer1.0.conv3.weight", {28, 5, 1, 1}},
                                                                         {"fc.weight", {2, 224}}};
  EXPECT_THAT(weights(odd), HasSubstr("no number of groups"));
}

TEST_F(Convert, ShardsBecomeOneFile) {
  const auto part = [](const std::string& name, const std::string& bytes) {
    return TorchZip(PickleOf(Dict({{name, TensorRef("0", 1, 0, {1}, {1})}})), {{"0", bytes}});
  };
  folder_.Write("src/pytorch_model-00001-of-00002.bin", part("a", "1234"));
  folder_.Write("src/pytorch_model.bin.index.json", "{}");
  EXPECT_THAT(Problem(), HasSubstr("pytorch_model-00001-of-00001.bin is missing"));
  folder_.Write("src/pytorch_model-00002-of-00002.bin", part("a", "5678"));
  EXPECT_THAT(Problem(), HasSubstr("tensor \"a\" is in another file too"));
  folder_.Write("src/pytorch_model-00002-of-00002.bin", part("b", "5678"));
  Run();
  EXPECT_THAT(Names(options_.target), UnorderedElementsAre("model.safetensors", "card.json"));
  EXPECT_EQ(ContentsOf(Written("model.safetensors")), (Contents{{"a", "F32 [1]1234"}, {"b", "F32 [1]5678"}}));
}

TEST_F(Convert, OpenClipsWeightsKeepTheirName) {
  folder_.Write("src/open_clip_pytorch_model.bin", Fixture("nested.pt"));
  folder_.Write("src/open_clip_config.json", "{}");
  Run();
  EXPECT_THAT(Names(options_.target), UnorderedElementsAre("open_clip_config.json", "open_clip_model.safetensors", "card.json"));
}

}  // namespace
}  // namespace promptsweep::weights
