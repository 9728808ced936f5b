#include "worker/models/embedding_model.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "jobs/sweep/names.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int kDefaultBatch = 64;

at::Tensor UnitRows(const at::Tensor& x) {
  const at::Tensor rows = x.to(at::kFloat);
  return rows / rows.norm(2, {1}, /*keepdim=*/true);
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

class ModelEmbedder final : public Embedder {
 public:
  ModelEmbedder(const LoadOptions& options, const Preprocess& preprocess, std::unique_ptr<EmbeddingModel> model,
                std::vector<std::string> labels)
      : options_(options),
        batch_(PhysicalRows(options.batch_shape > 0 ? options.batch_shape : kDefaultBatch, options.device)),
        preprocess_(preprocess),
        model_(std::move(model)),
        labels_(std::move(labels)) {}

  int dim() const override { return static_cast<int>(model_->dim()); }
  const std::vector<std::string>& labels() const override { return labels_; }

  absl::StatusOr<at::Tensor> EmbedImages(const at::Tensor& images) override {
    if (images.dim() != 4 || images.size(1) != 3 || images.size(2) == 0 || images.size(3) == 0 ||
        images.scalar_type() != at::kByte) {
      return absl::InvalidArgumentError("expected uint8 [n, 3, height, width]");
    }
    return Guarded([&] {
      return InBatches(images.to(options_.device), [&](const at::Tensor& chunk) {
        const at::Tensor pixels = preprocess_(chunk, options_.compute_dtype);
        return model_->Images(model_->OneByOne(options_.device) ? pixels : Filled(pixels));
      });
    });
  }

  absl::StatusOr<at::Tensor> EmbedTexts(absl::Span<const std::string> texts) override {
    return Guarded([&]() -> absl::StatusOr<at::Tensor> {
      std::vector<int64_t> tokens = model_->Tokens("");
      const auto length = static_cast<int64_t>(tokens.size());
      if (length == 0) return absl::UnimplementedError("this embedder has no text tower");
      tokens.clear();
      for (const auto& text : texts) {
        const auto row = model_->Tokens(text);
        tokens.insert(tokens.end(), row.begin(), row.end());
      }
      const at::Tensor rows = at::tensor(tokens, at::kLong).view({static_cast<int64_t>(texts.size()), length});
      return InBatches(rows.to(options_.device), [&](const at::Tensor& chunk) { return model_->Texts(Filled(chunk)); });
    });
  }

 private:
  // At batch_ rows: the missing ones repeat the first.
  at::Tensor Filled(const at::Tensor& rows) const {
    const int64_t missing = batch_ - rows.size(0);
    if (missing == 0) return rows;
    std::vector<int64_t> shape(rows.sizes().begin(), rows.sizes().end());
    shape[0] = missing;
    return at::cat({rows, rows.narrow(0, 0, 1).expand(shape)});
  }

  // Unit rows of f, called with batch_ rows at a time at most; f may give more rows than it got.
  template <typename F>
  at::Tensor InBatches(const at::Tensor& rows, F&& f) {
    const c10::InferenceMode inference;
    std::vector<at::Tensor> parts;
    for (int64_t begin = 0; begin < rows.size(0); begin += batch_) {
      const int64_t n = std::min<int64_t>(batch_, rows.size(0) - begin);
      parts.push_back(UnitRows(f(rows.narrow(0, begin, n))).narrow(0, 0, n));
    }
    if (parts.empty()) return at::empty({0, model_->dim()}, at::TensorOptions().dtype(at::kFloat).device(options_.device));
    return at::cat(parts);
  }

  LoadOptions options_;
  int batch_;
  Preprocess preprocess_;
  std::unique_ptr<EmbeddingModel> model_;
  std::vector<std::string> labels_;
};

}  // namespace

std::unique_ptr<Embedder> MakeEmbedder(const sweep::ModelFolder& folder, const LoadOptions& options, const Preprocess& preprocess,
                                       std::unique_ptr<EmbeddingModel> model) {
  return std::make_unique<ModelEmbedder>(options, preprocess, std::move(model), ReadLabels(folder.path + "/labels.txt"));
}

std::vector<std::string> WeightFiles(const std::string& folder, const std::string& name) {
  const std::string single = absl::StrCat(folder, "/", name, ".safetensors");
  const auto index = std::filesystem::exists(single) ? std::nullopt : JsonFile::IfPresent(single + ".index.json");
  if (!index) return {single};
  std::set<std::string> names;
  for (const auto& [tensor, file] : index->Child("weight_map").value().items()) {
    if (!file.is_string()) throw LoadError(absl::StrCat(index->path(), ": weight_map of ", tensor, " is not a file name"));
    const auto shard = file.get<std::string>();
    if (shard.empty() || shard.find('/') != std::string::npos)
      throw LoadError(absl::StrCat(index->path(), ": weight_map names ", shard));
    names.insert(folder + "/" + shard);
  }
  return {names.begin(), names.end()};
}

void WantSquare(const Preprocess& preprocess, int64_t side, const std::string& path) {
  const auto size = preprocess.size();
  if (!size) throw LoadError(absl::StrCat(path, ": images keep their form; the model takes ", side, "x", side, " alone"));
  if (size->first != side || size->second != side) {
    throw LoadError(absl::StrCat(path, ": images come out as ", size->second, "x", size->first,
                                 ", which is not the model's image_size ", side));
  }
}

void WantVocabulary(int64_t size, int64_t vocab, const std::string& path) {
  if (size > vocab) throw LoadError(absl::StrCat(path, ": ids up to ", size - 1, " but vocab_size is ", vocab));
}

}  // namespace promptsweep::worker
