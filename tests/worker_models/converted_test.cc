// Proves that a DALL-E converted from min-dalle's or from Flax's files draws the very pictures of the folder whose weights they
// hold, and that a converted SSCD sees what that folder's does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "jobs/weights/convert.h"
#include "worker/models/generator.h"

namespace promptsweep::worker {
namespace {

namespace fs = std::filesystem;

const std::string kTests = std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/";
const std::string kTiny = kTests + "parity/fixtures/tiny-dalle/";

// A new folder of published files, each {name, file it is a copy of}.
std::string Published(const std::string& name, const std::vector<std::pair<std::string, std::string>>& files) {
  const fs::path folder = testing::TempDir() + "converted_test_" + name;
  fs::remove_all(folder);
  fs::remove_all(folder.string() + "-converted");
  for (const auto& [to, from] : files) {
    fs::create_directories((folder / to).parent_path());
    fs::copy_file(from, folder / to);
  }
  return folder.string();
}

// Of a prompt with settings that sample, and of the blank one.
at::Tensor Images(const std::string& path) {
  sweep::ModelFolder folder;
  folder.id = "m";
  folder.path = path;
  folder.architecture = "dalle-bart";
  auto generator = LoadGenerator(folder, {.batch_shape = 2});
  EXPECT_TRUE(generator.ok()) << generator.status();
  if (!generator.ok()) return {};
  std::vector<v1::Cell> cells(2);
  cells[0].set_seed(3);
  cells[0].mutable_prompt()->set_text("a photo of a sari");
  cells[1].set_seed(4);
  cells[1].mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
  return (*generator)->Generate(cells).value();
}

void ExpectTheTinyDallesImages(const std::string& source, const std::string& vqgan) {
  const std::string target = source + "-converted";
  const auto converted = weights::ConvertWeights({.source = source, .target = target, .vqgan = vqgan});
  ASSERT_TRUE(converted.ok()) << converted.status();
  EXPECT_TRUE(at::equal(Images(target), Images(kTiny)));
}

TEST(Converted, MinDallesFilesDrawTheSame) {
  const std::string fixtures = kTests + "jobs_weights/fixtures/";
  ExpectTheTinyDallesImages(
      Published("min_dalle", {{"encoder_mini.pt", fixtures + "encoder.pt"},
                              {"decoder_mini.pt", fixtures + "decoder.pt"},
                              {"config_mini.json", kTiny + "config.json"},
                              {"vocab_mini.json", kTiny + "vocab.json"},
                              {"merges_mini.txt", kTiny + "merges.txt"}}),
      Published("detoker", {{"detoker.pt", fixtures + "detoker.pt"}, {"config.json", kTiny + "vqgan/config.json"}}));
}

TEST(Converted, FlaxFilesDrawTheSame) {
  const std::string fixtures = kTests + "jobs_weights/fixtures/";
  ExpectTheTinyDallesImages(Published("flax", {{"flax_model.msgpack", fixtures + "dalle.msgpack"},
                                               {"config.json", kTiny + "config.json"},
                                               {"vocab.json", kTiny + "vocab.json"},
                                               {"merges.txt", kTiny + "merges.txt"},
                                               {"vqgan/flax_model.msgpack", fixtures + "vqgan.msgpack"},
                                               {"vqgan/config.json", kTiny + "vqgan/config.json"}}),
                            "");
}

TEST(Converted, SscdsOfBothFormsSeeTheSame) {
  const std::string fixtures = kTests + "jobs_weights/fixtures/", tiny = kTests + "parity/fixtures/tiny-sscd";
  const at::Tensor images = (at::arange(3 * 3 * 50 * 40) * 13).remainder(256).to(at::kByte).view({3, 3, 50, 40});
  const auto vectors = [&](const std::string& path) {
    sweep::ModelFolder folder;
    folder.id = "m";
    folder.path = path;
    folder.architecture = "sscd";
    auto embedder = LoadEmbedder(folder, {});
    EXPECT_TRUE(embedder.ok()) << embedder.status();
    return embedder.ok() ? (*embedder)->EmbedImages(images).value() : at::Tensor();
  };
  for (const std::string form : {"torchvision", "classy"}) {
    const std::string file = "sscd_tiny." + form + ".pt";
    const std::string source = Published("sscd_" + form, {{file, fixtures + file}}), target = source + "-converted";
    const auto converted = weights::ConvertWeights({.source = source, .target = target});
    ASSERT_TRUE(converted.ok()) << converted.status();
    fs::copy_file(tiny + "/preprocessor_config.json", target + "/preprocessor_config.json", fs::copy_options::overwrite_existing);
    EXPECT_TRUE(at::equal(vectors(target), vectors(tiny))) << form;
  }
}

}  // namespace
}  // namespace promptsweep::worker
