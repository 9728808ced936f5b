// The models without weights. "null" draws a picture of a few colours: a background, and blocks that the seed (modulo the
// setting `period`, where it is above 0), the prompt and nothing else decide. `delay_ms` makes a cell take time, `fail_seed`
// makes one seed fail for good, `crash_seed` ends the process: what tests of retries and crashes need. "null-embed" describes a
// picture by colour means on a grid, so that equal pictures coincide and pictures of unlike colours stand apart.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/hash.h"
#include "base/status.h"
#include "worker/models/architectures.h"
#include "worker/models/settings.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int kDefaultBatch = 16;
constexpr int kDim = 16;
constexpr int kGrid = 4;  // blocks a side

std::string PromptKey(const v1::Prompt& prompt) {
  return prompt.kind_case() == v1::Prompt::kText ? absl::StrCat("t", prompt.text())
                                                 : absl::StrCat("b", static_cast<int>(prompt.blank()));
}

// uint8 [3, height, width].
at::Tensor Paint(uint64_t key, int64_t height, int64_t width) {
  std::mt19937_64 random(key);
  uint8_t colours[2][3];
  for (auto& colour : colours) {
    for (auto& channel : colour) channel = static_cast<uint8_t>(random());
  }
  const uint64_t pattern = random();
  at::Tensor image = at::empty({3, height, width}, at::kByte);
  auto* out = image.mutable_data_ptr<uint8_t>();
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const int64_t block = (y * kGrid / height) * kGrid + x * kGrid / width;
        *out++ = colours[pattern >> block & 1][c];
      }
    }
  }
  return image;
}

class NullGenerator final : public Generator {
 public:
  NullGenerator(const sweep::ModelFolder& folder, const LoadOptions& options)
      : options_(options), defaults_(folder.defaults), batch_(options.batch_shape > 0 ? options.batch_shape : kDefaultBatch) {}

  int batch_shape() const override { return batch_; }

  absl::StatusOr<at::Tensor> Generate(absl::Span<const v1::Cell> cells) override {
    if (cells.empty() || cells.size() > static_cast<size_t>(batch_)) {
      return absl::InvalidArgumentError(absl::StrCat("a batch has 1 to ", batch_, " cells"));
    }
    std::vector<at::Tensor> images;
    for (const auto& cell : cells) {
      auto image = One(cell);
      if (!image.ok()) return Annotate(image.status(), absl::StrCat("cell ", cell.ordinal()));
      images.push_back(*std::move(image));
      if (images.back().sizes() != images.front().sizes()) {
        return absl::InvalidArgumentError("the cells of a batch differ in width or height");
      }
    }
    return Guarded([&] { return at::stack(images).to(options_.device); });
  }

 private:
  absl::StatusOr<at::Tensor> One(const v1::Cell& cell) const {
    if (cell.prompt().kind_case() == v1::Prompt::KIND_NOT_SET) return absl::InvalidArgumentError("the prompt is absent");
    PS_ASSIGN_OR_RETURN(const auto settings, ResolveSettings(cell, "null", defaults_));
    const auto whole = [&](const char* name) { return static_cast<int64_t>(settings.at(name)); };
    if (cell.seed() == whole("crash_seed")) std::abort();
    absl::SleepFor(absl::Milliseconds(whole("delay_ms")));
    if (cell.seed() == whole("fail_seed"))
      return absl::InvalidArgumentError(absl::StrCat("seed ", cell.seed(), " fails, as fail_seed asks"));
    const int64_t period = whole("period");
    const int64_t seed = period > 0 ? cell.seed() % period : cell.seed();
    return Paint(Xxh3(PromptKey(cell.prompt()), static_cast<uint64_t>(seed)), whole("height"), whole("width"));
  }

  LoadOptions options_;
  std::map<std::string, v1::Value> defaults_;
  int batch_;
};

class NullEmbedder final : public Embedder {
 public:
  explicit NullEmbedder(const LoadOptions& options) : options_(options) {}
  int dim() const override { return kDim; }

  // Per quarter: mean red, green, blue and their spread, less a middle grey.
  absl::StatusOr<at::Tensor> EmbedImages(const at::Tensor& images) override {
    return Guarded([&]() -> absl::StatusOr<at::Tensor> {
      if (images.dim() != 4 || images.size(1) != 3 || images.scalar_type() != at::kByte) {
        return absl::InvalidArgumentError("expected uint8 [n, 3, height, width]");
      }
      const c10::InferenceMode inference;
      const at::Tensor x = images.to(options_.device).to(at::kFloat) / 255;
      const at::Tensor mean = at::adaptive_avg_pool2d(x, {2, 2});
      const at::Tensor square = at::adaptive_avg_pool2d(x * x, {2, 2});
      const at::Tensor spread = (square - mean * mean).clamp_min(0).sum(1, /*keepdim=*/true).sqrt();
      const at::Tensor features = at::cat({mean - 0.5, spread + 0.01}, 1).flatten(1);
      return features / features.norm(2, {1}, /*keepdim=*/true);
    });
  }

  absl::StatusOr<at::Tensor> EmbedTexts(absl::Span<const std::string>) override {
    return absl::UnimplementedError("null-embed has no text tower");
  }
  const std::vector<std::string>& labels() const override { return labels_; }

 private:
  LoadOptions options_;
  std::vector<std::string> labels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Generator>> LoadNull(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return std::make_unique<NullGenerator>(folder, options);
}

absl::StatusOr<std::unique_ptr<Embedder>> LoadNullEmbedder(const sweep::ModelFolder&, const LoadOptions& options) {
  return std::make_unique<NullEmbedder>(options);
}

}  // namespace promptsweep::worker
