// CLIP as an embedder: preprocessing on the device, towers, unit length. Every pass has the same physical shape, so that a
// vector does not depend on what else was embedded with it.
#include <c10/core/InferenceMode.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "worker/models/architectures.h"
#include "worker/models/clip.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/load_error.h"
#include "worker/text/clip_tokenizer.h"

namespace promptsweep::worker {
namespace {

constexpr int kDefaultBatch = 64;

// How pixels become the model's input; after transformers' CLIPImageProcessor. The resize runs in float32 with antialiasing,
// clamped and rounded to whole levels, which differs from Pillow's fixed-point resize by at most a few levels of 255.
struct Preprocess {
  bool resize = true, crop = true, rescale = true, normalise = true;
  int64_t shortest_edge = 0;
  int64_t crop_height = 0, crop_width = 0;
  double scale = 1.0 / 255;
  std::vector<double> mean, deviation;

  Preprocess(const JsonFile& json, int64_t image_size)
      : resize(json.Bool("do_resize", true)),
        crop(json.Bool("do_center_crop", true)),
        rescale(json.Bool("do_rescale", true)),
        normalise(json.Bool("do_normalize", true)),
        shortest_edge(Edge(json, "size", "shortest_edge", image_size)),
        crop_height(Edge(json, "crop_size", "height", image_size)),
        crop_width(Edge(json, "crop_size", "width", image_size)),
        scale(json.Number("rescale_factor", 1e-6, 1, 1.0 / 255)),
        mean(json.Has("image_mean") ? json.Numbers("image_mean", 3) : std::vector<double>{0.48145466, 0.4578275, 0.40821073}),
        deviation(json.Has("image_std") ? json.Numbers("image_std", 3)
                                        : std::vector<double>{0.26862954, 0.26130258, 0.27577711}) {
    constexpr int64_t kBicubic = 3;
    if (json.Int("resample", 0, 5, kBicubic) != kBicubic)
      throw LoadError(absl::StrCat(json.path(), ": only resample 3 (bicubic) is supported"));
    if (crop && (crop_height != image_size || crop_width != image_size)) {
      throw LoadError(
          absl::StrCat(json.path(), ": crop_size ", crop_height, "x", crop_width, " is not the model's image_size ", image_size));
    }
    if (resize && crop && shortest_edge < image_size) {
      throw LoadError(absl::StrCat(json.path(), ": size ", shortest_edge, " is below the crop_size ", image_size));
    }
    for (const double d : deviation) {
      if (d <= 0) throw LoadError(absl::StrCat(json.path(), ": image_std holds ", d, "; expected numbers above 0"));
    }
  }

  // A length that is written as a number or as an object.
  static int64_t Edge(const JsonFile& json, const std::string& key, const std::string& part, int64_t otherwise) {
    constexpr int64_t kMaxEdge = 4096;
    if (!json.Has(key)) return otherwise;
    if (json.value().at(key).is_object()) return json.Child(key).Int(part, 1, kMaxEdge);
    return json.Int(key, 1, kMaxEdge);
  }

  // uint8 [n, 3, h, w] -> [n, 3, image_size, image_size] of `dtype`; throws LoadError where sizes cannot come out so.
  at::Tensor operator()(const at::Tensor& images, int64_t image_size, at::ScalarType dtype) const {
    at::Tensor x = images.to(at::kFloat);
    const int64_t h = x.size(2), w = x.size(3);
    if (resize && std::min(h, w) != shortest_edge) {
      const auto scaled = [&](int64_t edge) {
        return edge == std::min(h, w) ? shortest_edge : shortest_edge * edge / std::min(h, w);
      };
      x = at::_upsample_bicubic2d_aa(x, {scaled(h), scaled(w)}, /*align_corners=*/false).clamp_(0, 255).round_();
    }
    if (crop && x.size(2) >= image_size && x.size(3) >= image_size) {
      x = x.narrow(2, (x.size(2) - image_size) / 2, image_size).narrow(3, (x.size(3) - image_size) / 2, image_size);
    }
    if (x.size(2) != image_size || x.size(3) != image_size) {
      throw LoadError(absl::StrCat("images of ", w, "x", h, " do not come out as ", image_size, "x", image_size));
    }
    if (rescale) x = x * scale;
    if (normalise) {
      const auto column = [&](const std::vector<double>& v) {
        return at::tensor(v, at::kFloat).to(x.device()).view({1, 3, 1, 1});
      };
      x = (x - column(mean)) / column(deviation);
    }
    return x.to(dtype).contiguous();
  }
};

at::Tensor UnitRows(const at::Tensor& x) {
  const at::Tensor rows = x.to(at::kFloat);
  return rows / rows.norm(2, {1}, /*keepdim=*/true);
}

std::vector<std::string> WeightFiles(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  const auto index = std::filesystem::exists(single) ? std::nullopt : JsonFile::IfPresent(single + ".index.json");
  if (!index) return {single};
  std::set<std::string> names;
  for (const auto& [tensor, file] : index->Child("weight_map").value().items()) {
    if (!file.is_string()) throw LoadError(absl::StrCat(index->path(), ": weight_map of ", tensor, " is not a file name"));
    const auto name = file.get<std::string>();
    if (name.empty() || name.find('/') != std::string::npos)
      throw LoadError(absl::StrCat(index->path(), ": weight_map names ", name));
    names.insert(folder + "/" + name);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> ReadLabels(const std::string& path) {
  std::vector<std::string> labels;
  std::ifstream in(path);
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (!sweep::IsUtf8Text(line)) throw LoadError(absl::StrCat(path, ":", number, ": a label holds NUL or is not UTF-8"));
    const absl::string_view label = absl::StripAsciiWhitespace(line);
    if (!label.empty()) labels.emplace_back(label);
  }
  return labels;
}

class ClipEmbedder final : public Embedder {
 public:
  ClipEmbedder(const LoadOptions& options, const ClipTextConfig& text, const ClipVisionConfig& vision,
               const Preprocess& preprocess, ClipTokenizer tokenizer, std::vector<std::string> labels, const Weights& w)
      : options_(options),
        batch_(PhysicalRows(options.batch_shape > 0 ? options.batch_shape : kDefaultBatch, options.device)),
        dim_(vision.projection),
        image_size_(vision.image_size),
        preprocess_(preprocess),
        tokenizer_(std::move(tokenizer)),
        labels_(std::move(labels)),
        text_(text, w),
        vision_(vision, w) {
    w.Ignore("logit_scale");
    w.Finish();
  }

  int dim() const override { return static_cast<int>(dim_); }
  const std::vector<std::string>& labels() const override { return labels_; }

  absl::StatusOr<at::Tensor> EmbedImages(const at::Tensor& images) override {
    if (images.dim() != 4 || images.size(1) != 3 || images.size(2) == 0 || images.size(3) == 0 ||
        images.scalar_type() != at::kByte) {
      return absl::InvalidArgumentError("expected uint8 [n, 3, height, width]");
    }
    return Guarded([&] {
      return InBatches(images.to(options_.device), [&](const at::Tensor& chunk) {
        return vision_.Embed(preprocess_(chunk, image_size_, options_.compute_dtype));
      });
    });
  }

  absl::StatusOr<at::Tensor> EmbedTexts(absl::Span<const std::string> texts) override {
    return Guarded([&] {
      std::vector<int64_t> tokens;
      for (const auto& text : texts) {
        const auto row = tokenizer_.Row(text);
        tokens.insert(tokens.end(), row.begin(), row.end());
      }
      const at::Tensor rows = at::tensor(tokens, at::kLong).view({static_cast<int64_t>(texts.size()), tokenizer_.length()});
      return InBatches(rows.to(options_.device), [&](const at::Tensor& chunk) { return text_.Embed(chunk); });
    });
  }

 private:
  // Unit rows of f, called with batch_ rows at a time; the last chunk is padded with repeats of its first row.
  template <typename F>
  at::Tensor InBatches(const at::Tensor& rows, F&& f) {
    const c10::InferenceMode inference;
    std::vector<at::Tensor> parts;
    for (int64_t begin = 0; begin < rows.size(0); begin += batch_) {
      const int64_t n = std::min<int64_t>(batch_, rows.size(0) - begin);
      at::Tensor chunk = rows.narrow(0, begin, n);
      if (n < batch_) {
        std::vector<int64_t> shape(chunk.sizes().begin(), chunk.sizes().end());
        shape[0] = batch_ - n;
        chunk = at::cat({chunk, chunk.narrow(0, 0, 1).expand(shape)});
      }
      parts.push_back(UnitRows(f(chunk)).narrow(0, 0, n));
    }
    if (parts.empty()) return at::empty({0, dim_}, at::TensorOptions().dtype(at::kFloat).device(options_.device));
    return at::cat(parts);
  }

  LoadOptions options_;
  int batch_;
  int64_t dim_, image_size_;
  Preprocess preprocess_;
  ClipTokenizer tokenizer_;
  std::vector<std::string> labels_;
  ClipText text_;
  ClipVision vision_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Embedder>> LoadClip(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const JsonFile json(folder.path + "/config.json");
    const int64_t projection = json.Int("projection_dim", 1, 1 << 16, 512);
    const ClipTextConfig text(json.Child("text_config"), projection);
    const ClipVisionConfig vision(json.Child("vision_config"), projection);
    const Preprocess preprocess(JsonFile(folder.path + "/preprocessor_config.json"), vision.image_size);
    PS_ASSIGN_OR_RETURN(ClipTokenizer tokenizer, ClipTokenizer::Load(folder.path, text.length));
    if (tokenizer.bpe().size() > text.vocab) {
      throw LoadError(absl::StrCat(tokenizer.bpe().vocab_path(), ": ids up to ", tokenizer.bpe().size() - 1,
                                   " but vocab_size is ", text.vocab));
    }
    if (text.end_token != kLegacyEndToken && text.end_token != tokenizer.end()) {
      throw LoadError(absl::StrCat(json.path(), ": text_config.eos_token_id ", text.end_token,
                                   " is not the tokenizer's end token, ", tokenizer.end()));
    }
    const Weights weights(WeightFiles(folder.path), {options.device, options.compute_dtype});
    return std::make_unique<ClipEmbedder>(options, text, vision, preprocess, std::move(tokenizer),
                                          ReadLabels(folder.path + "/labels.txt"), weights);
  });
}

}  // namespace promptsweep::worker
