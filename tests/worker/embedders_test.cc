// Proves that one image gets a vector of every embedder of its sweep, of different architectures and dimensions, in the sweep's
// order, and that labels are embedded by those that read text.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/plan.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/engine.h"

namespace promptsweep::worker {
namespace {

namespace fs = std::filesystem;

TEST(Embedders, EveryOneSeesEveryImage) {
  const std::string models = absl::StrCat(testing::TempDir(), "embedders_test_", ::getpid()),
                    fixtures = PROMPTSWEEP_SOURCE_DIR "/tests/parity/fixtures/";
  fs::remove_all(models);
  fs::create_directories(models);
  const std::vector<std::pair<std::string, size_t>> wanted = {
      {"tiny-dinov2-registers", 18}, {"tiny-siglip2", 12}, {"tiny-clip-gelu", 9},
      {"tiny-open-clip", 11},        {"tiny-sscd", 13},    {"null-embed", 16}};
  for (const auto& [name, dim] : wanted) {
    if (name != "null-embed") fs::copy(fixtures + name, models + "/" + name, fs::copy_options::recursive);
  }
  for (const char* name : {"tiny-siglip2", "tiny-clip-gelu"})
    std::ofstream(models + "/" + name + "/labels.txt") << "sari\nfire engine\n";
  const auto catalog = sweep::ModelCatalog::Open({models});
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  EXPECT_THAT(catalog->EmbedderIds(),
              testing::ElementsAre("tiny-clip-gelu", "tiny-dinov2-registers", "tiny-open-clip", "tiny-siglip2", "tiny-sscd"));
  const auto host = CatalogHost(&*catalog);
  ModelSetup setup;
  setup.model = catalog->Find("null").value();
  for (const auto& [name, dim] : wanted) setup.embedders.push_back(catalog->Find(name).value());
  setup.stored_labels.resize(wanted.size());
  setup.noise_dtype = setup.compute_dtype = "float32";
  setup.key = "several";
  v1::SweepManifest manifest = FakeManifest(12, "null");
  manifest.mutable_models(0)->set_digest(setup.model.digest);
  const auto plan = sweep::Plan::FromManifest(manifest);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<v1::Cell> cells;
  for (uint64_t i = 0; i < 8; ++i) cells.push_back(*plan->CellAt(i));

  std::vector<MadeImage> made;
  for (const int shape : {8, 3}) {
    const auto engine = Engine::Create({.models = host.get(), .batch_shape = shape, .threads = 1});
    ASSERT_TRUE(engine.ok()) << engine.status();
    ASSERT_TRUE((*engine)->Prepare(setup).ok());
    const auto outcomes = (*engine)->Run(cells);
    ASSERT_EQ(outcomes.size(), cells.size());
    for (size_t i = 0; i < cells.size(); ++i) {
      ASSERT_TRUE(outcomes[i].ok()) << outcomes[i].status();
      ASSERT_EQ(outcomes[i]->embeddings.size(), wanted.size());
      for (size_t e = 0; e < wanted.size(); ++e) {
        EXPECT_EQ(outcomes[i]->embeddings[e].embedder(), wanted[e].first);
        EXPECT_EQ(outcomes[i]->embeddings[e].fp16().size(), 2 * wanted[e].second);
        if (shape != 8) {
          EXPECT_EQ(outcomes[i]->embeddings[e].fp16(), made[i].embeddings[e].fp16()) << wanted[e].first << " of image " << i;
        }
      }
      if (shape == 8) made.push_back(*outcomes[i]);
    }
    // Tested after a first batch that fits.
    EXPECT_EQ((*engine)->provenance()->bit_stable(), shape == 8);
    const auto labels = (*engine)->NewLabels(setup);
    ASSERT_EQ(labels.size(), 2u);
    EXPECT_EQ(labels[0].dim(), 12);
    EXPECT_EQ(labels[1].dim(), 9);
    for (const auto& request : labels) {
      EXPECT_THAT(request.labels(), testing::ElementsAre("sari", "fire engine"));
      EXPECT_EQ(request.fp16().size(), 2u * 2 * static_cast<size_t>(request.dim()));
    }
  }
  EXPECT_NE(made[0].embeddings[0].fp16(), made[1].embeddings[0].fp16()) << "the image shows";
  fs::remove_all(models);
}

}  // namespace
}  // namespace promptsweep::worker
