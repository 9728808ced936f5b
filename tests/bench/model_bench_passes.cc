// Passes of the shipped models: images a second of the generator and the embedder.
#include <cstdio>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "base/check.h"
#include "jobs/sweep/catalog.h"
#include "tests/bench/model_bench_common.h"
#include "worker/models/generator.h"
#include "worker/tensors/device.h"

namespace promptsweep::worker {

void BenchPasses(const ModelBenchOptions& options) {
  const auto catalog = sweep::ModelCatalog::Open({options.models}).value();
  const auto dalle = catalog.Find("micro-dalle"), clip = catalog.Find("micro-clip");
  PS_CHECK(dalle.ok() && clip.ok()) << options.models << " lacks the shipped models";
  for (const int batch : {options.batch, 0}) {
    LoadOptions load;
    load.device = options.device;
    load.batch_shape = batch;
    load.compute_dtype = options.dtype;
    const auto generator = LoadGenerator(*dalle, load).value();
    load.compute_dtype = at::kFloat;
    const auto embedder = LoadEmbedder(*clip, load).value();
    const int shape = generator->batch_shape(), rounds = options.brief ? 1 : 5;
    std::vector<v1::Cell> cells(shape);
    for (int i = 0; i < shape; ++i) {
      cells[i].set_seed(i);
      cells[i].mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
    }
    absl::Duration generating, embedding;
    for (int round = 0; round <= rounds; ++round) {
      const absl::Time begin = absl::Now();
      const at::Tensor images = generator->Generate(cells).value();
      Synchronize(options.device);
      const absl::Time between = absl::Now();
      PS_CHECK(embedder->EmbedImages(images).ok()) << "no vectors";
      Synchronize(options.device);
      if (round == 0) continue;  // the first warms up
      generating += between - begin;
      embedding += absl::Now() - between;
    }
    const double count = double{1} * shape * rounds;
    std::printf("batch of %d: micro-dalle %.1f images/s, micro-clip %.1f images/s, both %.1f images/s\n", shape,
                count / absl::ToDoubleSeconds(generating), count / absl::ToDoubleSeconds(embedding),
                count / absl::ToDoubleSeconds(generating + embedding));
  }
}

}  // namespace promptsweep::worker
