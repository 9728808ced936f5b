// What one architecture adds to an embedder, and the embedder made of it: batches, unit length, labels and errors are the same
// for all of them and live here.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/models/generator.h"
#include "worker/models/image_preprocess.h"

namespace promptsweep::worker {

// Not thread-safe. Functions may throw; they are called under Guarded.
class EmbeddingModel {
 public:
  virtual ~EmbeddingModel() = default;
  virtual int64_t dim() const = 0;
  // What the preprocessing gives, of the compute type -> [n, dim], of any length.
  virtual at::Tensor Images(const at::Tensor& pixels) const = 0;
  // True where Images computes each image by itself, so that its vector cannot depend on how many there are; else every call has
  // the same number of rows, whatever is there.
  virtual bool OneByOne(const at::Device& device) const { return false; }
  // One row of tokens, always of the same number; none at all for a model without a text tower.
  virtual std::vector<int64_t> Tokens(absl::string_view text) const { return {}; }
  // int64 [n, tokens] -> [n, dim], of any length. Only called with rows of Tokens.
  virtual at::Tensor Texts(const at::Tensor& tokens) const { return {}; }
};

// Labels are read from folder.path's labels.txt, where there is one. Every pass has the same number of rows (but see OneByOne),
// so that a vector does not depend on what else was embedded with it. Throws LoadError.
std::unique_ptr<Embedder> MakeEmbedder(const sweep::ModelFolder& folder, const LoadOptions& options, const Preprocess& preprocess,
                                       std::unique_ptr<EmbeddingModel> model);

// The safetensors files that hold a folder's weights: `name`.safetensors, or the shards that `name`.safetensors.index.json lists.
// Throws LoadError.
std::vector<std::string> WeightFiles(const std::string& folder, const std::string& name);

// Throws LoadError unless every image comes out of `preprocess` as side x side.
void WantSquare(const Preprocess& preprocess, int64_t side, const std::string& path);

// Throws LoadError, naming the file, where a tokenizer's ids go beyond the token table.
void WantVocabulary(int64_t size, int64_t vocab, const std::string& path);

}  // namespace promptsweep::worker
