// Proves that micro-clip, through the worker's own loader, towers and tokenizer, names its held-out pictures as well as its card
// and heldout/labels.json say, and picture by picture as the trained model did.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "jobs/sweep/catalog.h"
#include "worker/models/generator.h"
#include "worker/pipeline/image_codec.h"
#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

const std::string kFolder = std::string(PROMPTSWEEP_SOURCE_DIR) + "/models/micro-clip";
// Resizing and sums differ a little between the two programs: so many pictures may come out otherwise.
constexpr double kPictures = 2;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// uint8 [n, 3, cell, cell]: the sheet's cells row by row.
at::Tensor Pictures(const Image& sheet, int64_t count, int64_t columns, int64_t cell) {
  const at::Tensor pixels =
      at::from_blob(const_cast<char*>(sheet.rgb.data()), {sheet.height, sheet.width, 3}, at::kByte).permute({2, 0, 1});
  std::vector<at::Tensor> pictures;
  for (int64_t i = 0; i < count; ++i) {
    pictures.push_back(pixels.narrow(1, i / columns * cell, cell).narrow(2, i % columns * cell, cell));
  }
  return at::stack(pictures);
}

TEST(ZeroShot, MicroClipNamesPicturesAsItsCardSays) {
  MakeDeterministic(0);
  const auto catalog = sweep::ModelCatalog::Open({std::string(PROMPTSWEEP_SOURCE_DIR) + "/models"});
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  const auto folder = catalog->Find("micro-clip");
  ASSERT_TRUE(folder.ok()) << folder.status();
  auto embedder = LoadEmbedder(*folder, {});
  ASSERT_TRUE(embedder.ok()) << embedder.status();
  const std::vector<std::string>& names = (*embedder)->labels();

  const auto truth = nlohmann::json::parse(Read(kFolder + "/heldout/labels.json"));
  const auto metrics = nlohmann::json::parse(Read(kFolder + "/card.json")).at("metrics");
  EXPECT_EQ(truth.at("expected"), metrics) << "the card and the held-out set say different things";
  const auto labels = truth.at("labels").get<std::vector<std::string>>();
  const auto predicted = truth.at("predicted").get<std::vector<std::string>>();
  const auto count = static_cast<int64_t>(labels.size());
  ASSERT_GE(count, 100);
  ASSERT_EQ(predicted.size(), labels.size());
  ASSERT_EQ(metrics.at("pictures"), count);
  ASSERT_EQ(metrics.at("names"), names.size());
  ASSERT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  const auto sheet = DecodeImage(Read(kFolder + "/heldout/" + truth.at("sheet").get<std::string>()));
  ASSERT_TRUE(sheet.ok()) << sheet.status();
  const int64_t columns = truth.at("columns"), cell = truth.at("cell");
  ASSERT_EQ(sheet->width, columns * cell);
  ASSERT_GE(sheet->height, (count + columns - 1) / columns * cell);

  const auto images = (*embedder)->EmbedImages(Pictures(*sheet, count, columns, cell));
  ASSERT_TRUE(images.ok()) << images.status();
  const auto texts = (*embedder)->EmbedTexts(names);
  ASSERT_TRUE(texts.ok()) << texts.status();
  const at::Tensor nearest = std::get<1>(at::matmul(*images, texts->t()).topk(5, 1)).contiguous();

  double top1 = 0, top5 = 0, saris = 0, sari_top1 = 0, as_trained = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* best = nearest.const_data_ptr<int64_t>() + 5 * i;
    const bool first = names[best[0]] == labels[i];
    top1 += first;
    top5 += std::any_of(best, best + 5, [&](int64_t name) { return names[name] == labels[i]; });
    as_trained += names[best[0]] == predicted[i];
    saris += labels[i] == "sari";
    sari_top1 += labels[i] == "sari" && first;
  }
  const auto pictures = static_cast<double>(count);
  EXPECT_NEAR(top1, metrics.at("top1").get<double>() * pictures, kPictures);
  EXPECT_NEAR(top5, metrics.at("top5").get<double>() * pictures, kPictures);
  EXPECT_EQ(saris, metrics.at("sari_pictures").get<double>());
  EXPECT_NEAR(sari_top1, metrics.at("sari_top1").get<double>() * saris, kPictures);
  EXPECT_GE(as_trained, pictures - 2 * kPictures) << "other names than the trained model gave";
  EXPECT_GE(top1, 0.2 * pictures) << "worse than any model worth shipping";
}

}  // namespace
}  // namespace promptsweep::worker
