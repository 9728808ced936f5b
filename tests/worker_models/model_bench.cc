// Measures a generator and an embedder on this machine, and writes what was drawn as one picture.
#include <c10/core/InferenceMode.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "jobs/sweep/catalog.h"
#include "worker/models/generator.h"
#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

// Binary PPM of a grid of images uint8 [n, 3, h, w].
void WriteSheet(const at::Tensor& images, int64_t columns, const std::string& path) {
  const int64_t n = images.size(0), h = images.size(2), w = images.size(3), rows = (n + columns - 1) / columns;
  at::Tensor sheet = at::full({3, rows * h, columns * w}, 255, at::kByte);
  for (int64_t i = 0; i < n; ++i) sheet.narrow(1, i / columns * h, h).narrow(2, i % columns * w, w).copy_(images[i]);
  const at::Tensor pixels = sheet.permute({1, 2, 0}).contiguous();
  std::ofstream out(path, std::ios::binary);
  out << "P6\n" << columns * w << " " << rows * h << "\n255\n";
  out.write(static_cast<const char*>(pixels.const_data_ptr()), static_cast<std::streamsize>(pixels.nbytes()));
}

int Main(int argc, char** argv) {
  CLI::App app("Images a second of a generator and an embedder");
  std::string model, embedder_path, sheet;
  std::vector<std::string> prompts;
  int batch = 0, threads = 0, rounds = 3;
  int64_t seed = 0;
  app.add_option("--model", model, "Folder of the generator")->required();
  app.add_option("--embedder", embedder_path, "Folder of the embedder");
  app.add_option("--prompt", prompts, "Texts in turn; empty text is the blank prompt (default: blank)");
  app.add_option("--batch", batch, "Batch shape; 0 is the model's own");
  app.add_option("--threads", threads, "CPU threads; 0 is the machine's");
  app.add_option("--rounds", rounds, "Full batches measured");
  app.add_option("--seed", seed, "First seed");
  app.add_option("--sheet", sheet, "Write the last batch here, as PPM");
  CLI11_PARSE(app, argc, argv);
  if (prompts.empty()) prompts.push_back("");
  MakeDeterministic(threads);

  const auto fail = [](const absl::Status& status) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  };
  const auto catalog = sweep::ModelCatalog::Open({});
  if (!catalog.ok()) return fail(catalog.status());
  LoadOptions options;
  options.batch_shape = batch;
  const auto load = [&](const std::string& path) { return catalog->Find(path); };
  const auto folder = load(model);
  if (!folder.ok()) return fail(folder.status());
  const auto generator = LoadGenerator(*folder, options);
  if (!generator.ok()) return fail(generator.status());
  std::unique_ptr<Embedder> embedder;
  if (!embedder_path.empty()) {
    const auto found = load(embedder_path);
    if (!found.ok()) return fail(found.status());
    auto loaded = LoadEmbedder(*found, options);
    if (!loaded.ok()) return fail(loaded.status());
    embedder = *std::move(loaded);
  }

  const int shape = (*generator)->batch_shape();
  absl::Duration generating, embedding;
  at::Tensor images;
  for (int round = 0; round <= rounds; ++round) {  // the first warms up
    std::vector<v1::Cell> cells(shape);
    for (int i = 0; i < shape; ++i) {
      cells[i].set_seed(seed + i);
      const std::string& prompt = prompts[i * prompts.size() / shape];
      if (prompt.empty()) {
        cells[i].mutable_prompt()->set_blank(v1::BLANK_KIND_EMPTY);
      } else {
        cells[i].mutable_prompt()->set_text(prompt);
      }
    }
    const absl::Time begin = absl::Now();
    const auto made = (*generator)->Generate(cells);
    if (!made.ok()) return fail(made.status());
    const absl::Time between = absl::Now();
    if (embedder) {
      const auto rows = embedder->EmbedImages(*made);
      if (!rows.ok()) return fail(rows.status());
    }
    images = *made;
    if (round == 0) continue;
    generating += between - begin;
    embedding += absl::Now() - between;
  }
  const double count = double{1} * shape * rounds;
  std::printf("%s, batch %d: generate %.1f images/s, embed %.1f images/s, both %.1f images/s\n", LibraryVersions().c_str(), shape,
              count / absl::ToDoubleSeconds(generating), count / absl::ToDoubleSeconds(embedding),
              count / absl::ToDoubleSeconds(generating + embedding));
  if (!sheet.empty()) WriteSheet(images, 16, sheet);
  return 0;
}

}  // namespace
}  // namespace promptsweep::worker

int main(int argc, char** argv) {
  promptsweep::worker::SettleEnvironment(argv);
  return promptsweep::worker::Main(argc, argv);
}
