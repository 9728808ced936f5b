// Proves how model folders are found, named, digested, and refused.
#include "jobs/sweep/catalog.h"

#include "gmock/gmock.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelCatalog Open(const std::vector<std::string>& search) {
  auto catalog = ModelCatalog::Open(search);
  EXPECT_TRUE(catalog.ok());
  return *catalog;
}

std::string Problem(const ModelCatalog& catalog, const std::string& id) {
  return std::string(catalog.Find(id).status().message());
}

TEST(Catalog, BuiltInModelsNeedNoFolder) {
  ModelCatalog catalog = Open({"/nonexistent"});
  EXPECT_THAT(catalog.Ids(), ElementsAre("null", "null-embed"));
  EXPECT_TRUE(catalog.Find("null")->generates);
  EXPECT_FALSE(catalog.Find("null")->embeds);
  EXPECT_THAT(Problem(catalog, "micro-dalle"), HasSubstr("/nonexistent, which is no folder"));
  EXPECT_TRUE(catalog.Find("null-embed")->embeds);
  EXPECT_EQ(catalog.Find("null-embed")->dimensions, 16);
  EXPECT_EQ(catalog.Find("null")->digest.size(), 32u);
  EXPECT_NE(catalog.Find("null")->digest, catalog.Find("null-embed")->digest);
}

TEST(Catalog, FindsFoldersByTheirConfiguration) {
  TempFolder folder;
  WriteDalle(folder, "d", R"({"id": "my-dalle", "harmless": true, "defaults": {"temperature": 2, "top_k": 64}})");
  WriteClip(folder, "c");
  folder.Write("notes/readme.txt", "no model");
  ModelCatalog catalog = Open({folder.path()});
  EXPECT_THAT(catalog.Ids(), ElementsAre("c", "my-dalle", "null", "null-embed"));
  ModelFolder dalle = *catalog.Find("my-dalle");
  EXPECT_THAT(catalog.EmbedderIds(), ElementsAre("c"));
  EXPECT_EQ(dalle.architecture, "dalle-bart");
  EXPECT_TRUE(dalle.harmless && dalle.generates && !dalle.embeds);
  EXPECT_EQ(dalle.image_vocab, 512);
  EXPECT_EQ(dalle.image_side, 64);
  EXPECT_EQ(dalle.defaults["temperature"].double_value(), 2.0);
  EXPECT_EQ(dalle.defaults["top_k"].int_value(), 64);
  ModelFolder clip = *catalog.Find("c");
  EXPECT_TRUE(clip.embeds && !clip.generates && !clip.harmless);
  EXPECT_EQ(clip.dimensions, 128);
  EXPECT_EQ(catalog.Find(folder.path() + "/c/")->digest, clip.digest);
}

TEST(Catalog, FindsEveryKindOfEmbedder) {
  TempFolder folder;
  const std::vector<std::tuple<std::string, std::string, std::string, int64_t>> kinds = {
      {"config.json", R"({"model_type": "siglip", "vision_config": {"hidden_size": 1152}})", "siglip", 1152},
      {"config.json", R"({"model_type": "siglip", "vision_config": {}})", "siglip", 768},
      {"config.json", R"({"model_type": "dinov2", "hidden_size": 1024})", "dinov2", 1024},
      {"config.json", R"({"model_type": "dinov2_with_registers"})", "dinov2", 768},
      {"config.json", R"({"model_type": "sscd"})", "sscd", 512},
      {"config.json", R"({"model_type": "sscd", "dims": 1024})", "sscd", 1024},
      {"open_clip_config.json", R"({"model_cfg": {"embed_dim": 1280}, "preprocess_cfg": {}})", "open-clip", 1280},
  };
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto& [file, json, architecture, dimensions] = kinds[i];
    const std::string id = "e" + std::to_string(i);
    folder.Write(id + "/" + file, json);
    folder.Write(id + "/model.safetensors", OneTensor());
    const ModelFolder model = Open({folder.path()}).Find(id).value();
    EXPECT_EQ(model.architecture, architecture);
    EXPECT_EQ(model.dimensions, dimensions) << json;
    EXPECT_TRUE(model.embeds && !model.generates);
    EXPECT_EQ(DetectsCopies(model.Ref()), architecture == "sscd");
  }
  EXPECT_EQ(Open({folder.path()}).EmbedderIds().size(), kinds.size());
  folder.Write("naflex/config.json", R"({"model_type": "siglip2"})");
  EXPECT_THAT(Problem(Open({folder.path()}), "naflex"), HasSubstr("NaFlex"));
  folder.Write("odd/open_clip_config.json", "[]");
  EXPECT_THAT(Problem(Open({folder.path()}), "odd"), HasSubstr("open_clip_config.json"));
}

TEST(Catalog, FirstFolderOfANameWins) {
  TempFolder a, b;
  WriteClip(a, "c");
  WriteDalle(b, "c");
  EXPECT_EQ(Open({a.path(), b.path()}).Find("c")->architecture, "clip");
  EXPECT_EQ(Open({b.path(), a.path()}).Find("c")->architecture, "dalle-bart");
}

TEST(Catalog, DigestCoversWeightsAndConfigurationOnly) {
  TempFolder folder;
  WriteClip(folder, "c");
  auto digest = [&] { return Open({folder.path()}).Find("c")->digest; };
  const std::string before = digest();
  folder.Write("c/README.md", "words");
  folder.Write("c/heldout/expected.json", "{}");
  EXPECT_EQ(digest(), before);
  folder.Write("c/vocab.txt", "a");
  const std::string with_vocabulary = digest();
  EXPECT_NE(with_vocabulary, before);
  folder.Write("c/vocab.txt", "b");
  EXPECT_NE(digest(), with_vocabulary);
  std::filesystem::rename(folder.path() + "/c/vocab.txt", folder.path() + "/c/words.txt");
  folder.Write("c/words.txt", "a");
  EXPECT_NE(digest(), with_vocabulary);
}

TEST(Catalog, UnknownNamesAreAnsweredWithTheNearest) {
  TempFolder folder;
  WriteDalle(folder, "micro-dalle");
  ModelCatalog catalog = Open({folder.path()});
  EXPECT_EQ(catalog.Find("micro-dale").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Problem(catalog, "micro-dale"), AllOf(HasSubstr("\"micro-dalle\""), HasSubstr(folder.path())));
  EXPECT_EQ(catalog.Find("./none").status().code(), absl::StatusCode::kNotFound);
}

TEST(Catalog, BrokenFoldersAreReportedWhenAskedFor) {
  TempFolder folder;
  WriteDalle(folder, "truncated");
  folder.Write("truncated/decoder.safetensors", OneTensor().substr(0, OneTensor().size() - 1));
  WriteDalle(folder, "json");
  folder.Write("json/config.json", "{\"model_type\": ");
  WriteDalle(folder, "type");
  folder.Write("type/config.json", R"({"model_type": "clop"})");
  WriteDalle(folder, "card", R"({"defaults": {"temprature": 1}})");
  WriteDalle(folder, "value", R"({"defaults": {"temperature": 1000}})");
  folder.Write("bare/model.safetensors", OneTensor());
  folder.Write("empty/config.json", R"({"model_type": "clip"})");
  WriteClip(folder, "good");
  std::string deep(100'000, '[');
  folder.Write("deep/config.json", "{\"a\": " + deep);
  ModelCatalog catalog = Open({folder.path()});
  for (const char* id : {"truncated", "json", "type", "card", "value", "bare", "empty", "deep"}) {
    EXPECT_EQ(catalog.Find(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_THAT(Problem(catalog, "truncated"), AllOf(HasSubstr("truncated/decoder.safetensors"), HasSubstr("missing")));
  EXPECT_THAT(Problem(catalog, "json"), HasSubstr("json/config.json"));
  EXPECT_THAT(Problem(catalog, "type"), HasSubstr("did you mean \"clip\""));
  EXPECT_THAT(Problem(catalog, "card"), HasSubstr("did you mean \"temperature\""));
  EXPECT_THAT(Problem(catalog, "value"), HasSubstr("0.01 to 100"));
  EXPECT_THAT(Problem(catalog, "bare"), HasSubstr("config.json"));
  EXPECT_THAT(Problem(catalog, "empty"), HasSubstr("no .safetensors"));
  EXPECT_TRUE(catalog.Find("good").ok()) << catalog.Find("good").status();
}

}  // namespace
}  // namespace promptsweep::sweep
