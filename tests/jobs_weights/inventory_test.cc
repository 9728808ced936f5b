// Proves that a listing tells models that load from those that do not, says why, and how to make them.
#include "jobs/weights/inventory.h"

#include <filesystem>

#include "base/hash.h"
#include "gmock/gmock.h"
#include "jobs/weights/convert.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const std::string kTiny = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/tiny-dalle";

class Inventory : public testing::Test {
 protected:
  std::vector<Finding> List(const std::string& path) {
    auto findings = ListModels({path}, false);
    EXPECT_TRUE(findings.ok()) << findings.status();
    return findings.ok() ? *findings : std::vector<Finding>();
  }
  Finding One(const std::string& path) {
    const auto findings = List(path);
    EXPECT_THAT(findings, SizeIs(1));
    return findings.empty() ? Finding() : findings[0];
  }
  std::string CopyOfTiny(const std::string& name) {
    const std::string path = folder_.path() + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    fs::copy(kTiny, path, fs::copy_options::recursive);
    fs::remove(path + "/expected.safetensors");
    return path;
  }
  TempFolder folder_;
};

TEST_F(Inventory, EachFolderIsToldForItself) {
  CopyOfTiny("good");
  const std::string bad = CopyOfTiny("bad");
  fs::remove(bad + "/vqgan/model.safetensors");
  folder_.Write("min-dalle/encoder_mini.pt", "x");
  folder_.Write("both/encoder_mini.pt", "x");
  folder_.Write("both/decoder.pt", "x");
  folder_.Write("flax/flax_model.msgpack", "x");
  folder_.Write("flax/config.json", R"({"model_type": "dallebart"})");
  folder_.Write("vqgan/detoker.pt", "x");
  folder_.Write("a clip's/pytorch_model.bin", "x");
  folder_.Write("strange/config.json", R"({"model_type": "llama"})");
  folder_.Write("notes/README.md", "no model");
  folder_.Write(".new.part/model.safetensors", "being written");
  std::map<std::string, Finding> by_name;
  for (const Finding& finding : List(folder_.path())) by_name[finding.model.id] = finding;
  EXPECT_THAT(by_name, SizeIs(8));
  EXPECT_EQ(by_name["good"].state, Finding::kReady) << by_name["good"].message;
  EXPECT_EQ(by_name["bad"].state, Finding::kBroken);
  EXPECT_EQ(by_name["bad"].message, "vqgan/model.safetensors is missing");
  EXPECT_EQ(by_name["min-dalle"].state, Finding::kUnconverted);
  const std::string root = folder_.path();
  EXPECT_THAT(by_name["min-dalle"].message, HasSubstr("DALL-E (min-dalle, mini); run: promptsweep convert-weights " + root +
                                                      "/min-dalle " + root + "/min-dalle-converted"));
  EXPECT_THAT(by_name["both"].message, HasSubstr(root + "/both-mini --variant mini (or --variant mega)"));
  EXPECT_THAT(by_name["flax"].message, HasSubstr("DALL-E (Flax); run: "));
  EXPECT_EQ(by_name["vqgan"].state, Finding::kPart);
  EXPECT_THAT(by_name["a clip's"].message, HasSubstr("'" + root + "/a clip'\\''s' '" + root + "/a clip'\\''s-converted'"));
  EXPECT_THAT(by_name["strange"].message, HasSubstr("llama"));
}

TEST_F(Inventory, WhatIsWrongIsSaid) {
  const std::string path = CopyOfTiny("m");
  const Finding good = One(path);
  EXPECT_EQ(good.state, Finding::kReady) << good.message;
  EXPECT_EQ(good.model.architecture, "dalle-bart");
  EXPECT_TRUE(good.model.generates);
  EXPECT_EQ(good.model.image_side, 16);
  EXPECT_THAT(good.dtypes, ElementsAre("F32"));
  EXPECT_THAT(good.files, SizeIs(3));
  EXPECT_EQ(good.model.digest.size(), kDigestSize);
  EXPECT_GT(good.parameters, 30'000u);
  const auto broken = [&](const std::string& name, const std::string& content) {
    const std::string whole = ReadFile(path + "/" + name);
    folder_.Write("m/" + name, content);
    const Finding finding = One(path);
    folder_.Write("m/" + name, whole);
    EXPECT_EQ(finding.state, Finding::kBroken) << name;
    return finding.message;
  };
  std::string config = TinyDalle("config.json");
  config.replace(config.find("\"image_length\": 16"), 18, "\"image_side\": 4");
  EXPECT_THAT(broken("config.json", config), HasSubstr("config.json lacks \"image_length\""));
  config = TinyDalle("config.json");
  config.replace(config.find("\"d_model\": 24"), 13, "\"d_model\": 25");
  EXPECT_THAT(broken("config.json", config), HasSubstr("\"d_model\" is 25"));
  EXPECT_THAT(broken("config.json", R"({"model_type": "dallebart", "d_model": [1]})"), HasSubstr("d_model"));
  EXPECT_THAT(broken("config.json", "{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(broken("vqgan/config.json", R"({"ch": 4})"), HasSubstr("\"norm_groups\""));
  EXPECT_THAT(broken("encoder.safetensors", TinyDalle("encoder.safetensors").substr(0, 5000)), HasSubstr("truncated"));
  EXPECT_THAT(broken("encoder.safetensors", TinyDalle("decoder.safetensors")), HasSubstr("config"));
  const std::string overlap =
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
  EXPECT_THAT(broken("encoder.safetensors", sweep::SafetensorsBytes(overlap, std::string(12, 'x'))), HasSubstr("gap or overlap"));
  EXPECT_THAT(broken("encoder.safetensors", sweep::LittleEndian64(100'000'000) + "{}"), HasSubstr("truncated"));
  EXPECT_THAT(broken("encoder.safetensors", sweep::LittleEndian64(100'000'001) + "{}"), HasSubstr("header length"));
}

// What an embedder's loader would miss.
TEST_F(Inventory, AnEmbeddersFilesAreThere) {
  const std::map<std::string, std::vector<std::string>> needed = {
      {"tiny-clip-gelu", {"model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt"}},
      {"tiny-open-clip", {"open_clip_model.safetensors", "vocab.json", "merges.txt"}},
      {"tiny-siglip", {"model.safetensors", "preprocessor_config.json", "spiece.model"}},
      {"tiny-dinov2", {"model.safetensors", "preprocessor_config.json"}},
      {"tiny-sscd", {"model.safetensors", "preprocessor_config.json"}}};
  for (const auto& [name, files] : needed) {
    const std::string path = folder_.path() + "/" + name;
    fs::copy(std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/" + name, path);
    EXPECT_EQ(One(path).state, Finding::kReady) << One(path).message;
    EXPECT_GT(One(path).model.dimensions, 0) << name;
    for (const std::string& file : files) {
      fs::rename(path + "/" + file, path + "/away");
      const Finding finding = One(path);
      EXPECT_EQ(finding.state, Finding::kBroken) << name;
      EXPECT_EQ(finding.message, file + " is missing") << name;
      fs::rename(path + "/away", path + "/" + file);
    }
  }
}

TEST_F(Inventory, PublishedSscdsAreTold) {
  const std::string path = folder_.path() + "/downloads";
  folder_.Write("downloads/sscd_a.torchscript.pt", "a program");
  EXPECT_EQ(One(path).state, Finding::kBroken);
  EXPECT_THAT(One(path).message, HasSubstr("TorchScript"));
  folder_.Write("downloads/sscd_a.classy.pt", "weights");
  EXPECT_EQ(One(path).state, Finding::kUnconverted);
  EXPECT_EQ(One(path).message, "SSCD (classy); run: promptsweep convert-weights " + path + " " + path + "-converted");
  folder_.Write("downloads/sscd_b.torchvision.pt", "weights");
  EXPECT_THAT(One(path).message,
              HasSubstr("convert-weights " + path + "/sscd_a.classy.pt " + folder_.path() + "/sscd_a (and so each)"));
}

TEST_F(Inventory, OfOneIdTheFirstIsTaken) {
  CopyOfTiny("one/same");
  CopyOfTiny("two/same");
  const auto findings = ListModels({folder_.path() + "/one", folder_.path() + "/two", folder_.path() + "/one"}, false);
  ASSERT_TRUE(findings.ok());
  ASSERT_THAT(*findings, SizeIs(2)) << "a folder named twice is listed once";
  EXPECT_EQ((*findings)[0].state, Finding::kReady);
  EXPECT_EQ((*findings)[1].state, Finding::kShadowed);
  EXPECT_THAT((*findings)[1].message, HasSubstr("/one/same"));
  EXPECT_TRUE(absl::IsNotFound(ListModels({folder_.path() + "/none"}, false).status()));
}

TEST_F(Inventory, WhatWasConvertedIsReady) {
  folder_.Write("src/flax_model.msgpack", Fixture("dalle.msgpack"));
  for (const char* name : {"config.json", "vocab.json", "merges.txt", "vqgan/config.json"})
    folder_.Write(std::string("src/") + name, TinyDalle(name));
  folder_.Write("src/vqgan/flax_model.msgpack", Fixture("vqgan.msgpack"));
  ASSERT_TRUE(ConvertWeights({.source = folder_.path() + "/src", .target = folder_.path() + "/dst"}).ok());
  const auto findings = ListModels({folder_.path() + "/dst"}, true);
  ASSERT_TRUE(findings.ok());
  EXPECT_EQ(findings->front().state, Finding::kReady) << findings->front().message;
  for (const WeightFile& file : findings->front().files)
    EXPECT_EQ(file.sha256, Sha256Of(ReadFile(folder_.path() + "/dst/" + file.name)));
}

TEST(BuiltIn, NeedNoFolder) {
  const auto findings = BuiltInModels();
  ASSERT_THAT(findings, SizeIs(2));
  EXPECT_EQ(findings[0].model.id, "null");
  EXPECT_EQ(findings[1].model.id, "null-embed");
}

}  // namespace
}  // namespace promptsweep::weights
