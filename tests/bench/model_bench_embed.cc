// Images a second of an embedder with CLIP's full sizes and random weights, preprocessing included, beside transformers and
// open_clip with the same weights, images, threads and batch.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "jobs/sweep/catalog.h"
#include "nlohmann/json.hpp"
#include "tests/bench/model_bench_common.h"
#include "tests/worker_models/random_embedder.h"
#include "worker/models/generator.h"

namespace promptsweep::worker {
namespace {

struct Size {
  const char* name;
  RandomClip clip;
};

// What DALL-E mini draws, and a model resizes.
constexpr int64_t kSide = 256;

// Seconds of the fastest of `rounds` passes over the images, after one that warms up; negative where one fails.
double Fastest(Embedder& embedder, const at::Tensor& images, int rounds, at::Tensor& rows) {
  double best = -1;
  for (int i = 0; i <= rounds; ++i) {
    const absl::Time begin = absl::Now();
    const auto made = embedder.EmbedImages(images);
    if (made.ok()) (void)made->cpu();  // as the worker needs them
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    if (!made.ok()) {
      std::printf("%s\n", made.status().ToString().c_str());
      return -1;
    }
    rows = *made;
    if (i > 0) best = best < 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

void BenchOne(const ModelBenchOptions& options, const Size& size, int rounds) {
  const std::string folder = options.folder + "/clip";
  size.clip.Write(folder);
  at::manual_seed(1);
  // Smooth, as pictures are.
  const at::Tensor images =
      at::upsample_bicubic2d(at::rand({options.batch, 3, 24, 24}) * 255, {kSide, kSide}, false).clamp_(0, 255).to(at::kByte);
  LoadOptions load;
  load.device = options.device;
  load.batch_shape = options.batch;
  load.compute_dtype = options.dtype;
  const int64_t before = ResidentMemory();
  ResetPeakMemory();
  const auto found = sweep::ModelCatalog::Open({})->Find(folder);
  if (!found.ok()) return void(std::printf("%s\n", found.status().ToString().c_str()));
  const absl::Time begin = absl::Now();
  auto embedder = LoadEmbedder(*found, load);
  if (!embedder.ok()) return void(std::printf("%s\n", embedder.status().ToString().c_str()));
  const double loading = absl::ToDoubleSeconds(absl::Now() - begin);
  at::Tensor rows;
  double seconds = Fastest(**embedder, images, rounds, rows);
  if (seconds < 0) return;
  const auto bytes = static_cast<double>(std::filesystem::file_size(folder + "/model.safetensors"));
  std::printf("CLIP %s, %s, batch %d of %ldx%ld: loaded in %.1f s, memory at its peak %.2f times the weights\n", size.name,
              DtypeName(options.dtype).c_str(), options.batch, static_cast<long>(kSide), static_cast<long>(kSide), loading,
              static_cast<double>(PeakMemory() - before) / bytes);
  std::printf("  promptsweep           %7.2f images/s\n", options.batch / seconds);
  std::fflush(stdout);
  RandomWeights::WriteTensors(options.folder + "/images.safetensors", {{"images", images}, {"rows", rows.cpu().contiguous()}});
  const auto peers = RunPeer(options, "embed_speed.py",
                             {folder, options.folder + "/images.safetensors", DtypeName(options.dtype),
                              std::to_string(at::get_num_threads()), std::to_string(rounds), options.device.str()});
  if (!peers.ok()) return void(std::printf("  peers left out: %s\n", std::string(peers.status().message()).c_str()));
  // Again, so that a machine that grew slower or faster meanwhile favours neither.
  seconds = std::min(seconds, std::max(1e-9, Fastest(**embedder, images, rounds, rows)));
  std::printf("  promptsweep, in all   %7.2f images/s\n", options.batch / seconds);
  const auto figures = nlohmann::json::parse(*peers);
  for (const auto& [name, peer] : figures.items()) {
    const double rate = peer.at("images_per_second");
    std::printf("  %-21s %7.2f images/s: %.2f times; vectors differ by cosine 1 - %.1e at most\n", name.c_str(), rate,
                options.batch / seconds / rate, peer.at("cosine_distance").get<double>());
  }
}

}  // namespace

void BenchEmbed(const ModelBenchOptions& options) {
  std::vector<Size> sizes = {
      {"B/32", {768, 3072, 12, 12, 32, 224, 512, 8, 512, 49408}},
      {"L/14", {1024, 4096, 24, 16, 14, 224, 768, 12, 768, 49408}},
  };
  if (options.brief) sizes = {{"tiny", {}}};
  for (const Size& size : sizes) BenchOne(options, size, options.brief ? 1 : 3);
}

}  // namespace promptsweep::worker
