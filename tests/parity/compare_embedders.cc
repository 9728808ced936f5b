#include <c10/core/InferenceMode.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/parity/compare.h"
#include "tests/parity/fixture.h"
#include "worker/models/generator.h"
#include "worker/models/image_preprocess.h"
#include "worker/models/image_resize.h"
#include "worker/text/clip_tokenizer.h"
#include "worker/text/siglip_tokenizer.h"

namespace promptsweep::worker::parity {
namespace {

Preprocess PreprocessOf(const std::string& folder, const std::string& architecture) {
  const auto side = [&](const JsonFile& json) { return json.Child("vision_config").Int("image_size", 1, 4096); };
  if (architecture == "open-clip") {
    const JsonFile json(folder + "/open_clip_config.json");
    return Preprocess::OpenClip(json.Child("preprocess_cfg"),
                                json.Child("model_cfg").Child("vision_cfg").Int("image_size", 1, 4096));
  }
  const JsonFile json(folder + "/preprocessor_config.json");
  if (architecture == "dinov2" || architecture == "sscd") return Preprocess::HuggingFace(json, Preprocess::Processor::kBit, 224);
  return Preprocess::HuggingFace(json, Preprocess::Processor::kSiglip, side(JsonFile(folder + "/config.json")));
}

}  // namespace

void CompareEmbedder(const std::string& folder) {
  const c10::InferenceMode inference;
  const auto catalog = sweep::ModelCatalog::Open({});
  const auto found = catalog->Find(folder);
  ASSERT_TRUE(found.ok()) << found.status();
  const auto loaded = LoadEmbedder(*found, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  Embedder& embedder = **loaded;
  EXPECT_EQ(embedder.dim(), found->dimensions);
  const Tensors expected(folder + "/expected.safetensors");
  const JsonFile asked(folder + "/expected.json");
  const Preprocess preprocess = PreprocessOf(folder, found->architecture);
  for (int64_t i = 0; i < asked.Int("sizes", 1, 100); ++i) {
    const auto get = [&](const std::string& part) { return expected[part + "." + std::to_string(i)]; };
    const std::string name = "images " + std::to_string(i);
    // Levels are equal, or this would be off by 1 / 255 of the range.
    ExpectClose(preprocess(get("images"), at::kFloat), get("pixels"), 1e-6, name + " preprocessed");
    const auto vision = embedder.EmbedImages(get("images"));
    ASSERT_TRUE(vision.ok()) << vision.status();
    ExpectClose(*vision, get("vision"), kTolerance, name);
  }
  const auto texts = asked.value()["texts"].get<std::vector<std::string>>();
  if (texts.empty()) {
    EXPECT_EQ(embedder.EmbedTexts({"a"}).status().code(), absl::StatusCode::kUnimplemented);
    return;
  }
  const auto text = embedder.EmbedTexts(texts);
  ASSERT_TRUE(text.ok()) << text.status();
  ExpectClose(*text, expected["text"], kTolerance, "text");
  const at::Tensor ids = expected["ids"];
  for (size_t i = 0; i < texts.size(); ++i) {
    const at::Tensor row = ids[static_cast<int64_t>(i)].contiguous();
    const std::vector<int64_t> wanted(row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + row.numel());
    if (found->architecture == "siglip") {
      EXPECT_EQ(SiglipTokenizer::Load(folder, ids.size(1))->Row(texts[i]), wanted) << texts[i];
    } else {
      auto tokenizer = ClipTokenizer::Load(folder, ids.size(1)).value();
      tokenizer.PadWith(0);
      EXPECT_EQ(tokenizer.Row(texts[i]), wanted) << texts[i];
    }
  }
}

void CompareEmbedderTokens(const std::string& file, const std::map<std::string, std::string>& folders) {
  const auto clip = ClipTokenizer::Load(folders.at("open_clip"), 77).value();
  const auto siglip = SiglipTokenizer::Load(folders.at("siglip"), 64).value();
  const auto siglip2 = SiglipTokenizer::Load(folders.at("siglip2"), 64).value();
  std::ifstream in(file);
  std::map<std::string, int> counts;
  int wrong = 0;
  for (std::string line; std::getline(in, line) && wrong < 10;) {
    const auto row = nlohmann::json::parse(line);
    const auto kind = row[0].get<std::string>(), text = row[1].get<std::string>();
    const auto ids = kind == "open_clip" ? clip.Tokenize(text)
                     : kind == "siglip"  ? siglip.Tokenize(text)
                                         : siglip2.Tokenize(text);
    const auto wanted = row[2].get<std::vector<int64_t>>();
    wrong += ids != wanted;
    EXPECT_EQ(ids, wanted) << row[0] << " " << row[1];
    ++counts[kind];
  }
  if (wrong > 0) return;
  EXPECT_EQ(counts.size(), 3u);
  for (const auto& [kind, count] : counts) EXPECT_GE(count, 500) << kind;
}

void CompareResizes(const std::string& file) {
  const c10::InferenceMode inference;
  const Tensors cases(file);
  int count = 0;
  for (int64_t i = 0; cases.Has(std::to_string(i) + ".bicubic.in") || cases.Has(std::to_string(i) + ".bilinear.in");
       ++i, ++count) {
    const bool cubic = cases.Has(std::to_string(i) + ".bicubic.in");
    const std::string name = std::to_string(i) + (cubic ? ".bicubic" : ".bilinear");
    const at::Tensor image = cases[name + ".in"], wanted = cases[name + ".out"];
    const int64_t h = wanted.size(2), w = wanted.size(3);
    const auto filter = cubic ? ResizeFilter::kBicubic : ResizeFilter::kBilinear;
    const at::Tensor found = ResizeAsPillow(image, h, w, filter, {0, 0, h, w});
    EXPECT_TRUE(at::equal(found, wanted.to(at::kFloat)))
        << name << ", " << image.size(3) << "x" << image.size(2) << " to " << w << "x" << h << ": off by up to "
        << (found - wanted.to(at::kFloat)).abs().max().item<double>() << " levels";
    // A window is that part of the whole, and equal images give equal results beside each other.
    const ResizeWindow window{h / 3, w / 4, (h + 1) / 2, (w + 1) / 2};
    const at::Tensor part = ResizeAsPillow(at::cat({image, image}), h, w, filter, window);
    EXPECT_TRUE(at::equal(part[1], found[0].narrow(1, window.top, window.height).narrow(2, window.left, window.width))) << name;
  }
  EXPECT_GE(count, 40);
}

}  // namespace promptsweep::worker::parity
