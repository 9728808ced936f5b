// Proves with the built-in null model and embedder, through the real loaders, that an image's bytes and vector depend neither on
// the batch it was in, nor on the order, nor on the worker.
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "jobs/sweep/catalog.h"
#include "jobs/sweep/plan.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/engine.h"

namespace promptsweep::worker {
namespace {

TEST(NullModel, BytesDependOnTheCellAlone) {
  const auto catalog = sweep::ModelCatalog::Open({});
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  const auto host = CatalogHost(&*catalog);
  ModelSetup setup;
  const auto model = catalog->Find("null");
  const auto embedder = catalog->Find("null-embed");
  ASSERT_TRUE(model.ok() && embedder.ok());
  setup.model = *model;
  setup.embedders = {*embedder};
  setup.stored_labels = {{}};
  setup.noise_dtype = setup.compute_dtype = "float32";
  setup.key = "null";
  v1::SweepManifest manifest = FakeManifest(24, "null");
  manifest.mutable_models(0)->set_digest(model->digest);
  const auto plan = sweep::Plan::FromManifest(manifest);
  ASSERT_TRUE(plan.ok()) << plan.status();

  std::map<uint64_t, MadeImage> reference;
  for (const int shape : {1, 5, 8}) {
    for (const int threads : {1, 2}) {
      for (const bool backwards : {false, true}) {
        const auto engine = Engine::Create({.models = host.get(), .batch_shape = shape, .threads = threads});
        ASSERT_TRUE(engine.ok()) << engine.status();
        ASSERT_TRUE((*engine)->Prepare(setup).ok());
        std::vector<v1::Cell> batch;
        for (uint64_t i = 0; i < 24; ++i) {
          batch.push_back(*plan->CellAt(backwards ? 23 - i : i));
          if (static_cast<int>(batch.size()) < (*engine)->batch_shape() && i < 23) continue;
          const auto outcomes = (*engine)->Run(batch);
          for (size_t k = 0; k < batch.size(); ++k) {
            ASSERT_TRUE(outcomes[k].ok()) << outcomes[k].status();
            const auto [entry, first] = reference.emplace(batch[k].ordinal(), *outcomes[k]);
            EXPECT_EQ(entry->second.rgb, outcomes[k]->rgb) << batch[k].ordinal();
            EXPECT_EQ(entry->second.embeddings[0].fp16(), outcomes[k]->embeddings[0].fp16()) << batch[k].ordinal();
          }
          batch.clear();
        }
        EXPECT_TRUE((*engine)->provenance()->bit_stable());
      }
    }
  }
  EXPECT_NE(reference.at(0).rgb, reference.at(1).rgb) << "the seed shows";
}

}  // namespace
}  // namespace promptsweep::worker
