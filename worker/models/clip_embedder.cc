// CLIP as an embedder: Hugging Face's folder, and open_clip's.
#include <c10/core/InferenceMode.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/models/architectures.h"
#include "worker/models/clip.h"
#include "worker/models/embedding_model.h"
#include "worker/tensors/load_error.h"
#include "worker/text/clip_tokenizer.h"

namespace promptsweep::worker {
namespace {

class Clip final : public EmbeddingModel {
 public:
  Clip(const ClipConfig& config, ClipLayout layout, ClipTokenizer tokenizer, const Weights& w)
      : dim_(config.vision.projection),
        tokenizer_(std::move(tokenizer)),
        text_(config.text, layout, w),
        vision_(config.vision, layout, w) {
    w.Ignore("logit_scale");
    w.Ignore("logit_bias");
    w.Finish();
  }
  int64_t dim() const override { return dim_; }
  at::Tensor Images(const at::Tensor& pixels) const override { return vision_.Embed(pixels); }
  std::vector<int64_t> Tokens(absl::string_view text) const override { return tokenizer_.Row(text); }
  at::Tensor Texts(const at::Tensor& tokens) const override { return text_.Embed(tokens); }

 private:
  int64_t dim_;
  ClipTokenizer tokenizer_;
  ClipText text_;
  ClipVision vision_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Embedder>> LoadClip(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const JsonFile json(folder.path + "/config.json"), images(folder.path + "/preprocessor_config.json");
    const auto config = ClipConfig::HuggingFace(json);
    const auto preprocess = Preprocess::HuggingFace(images, Preprocess::Processor::kClip, config.vision.image_size);
    WantSquare(preprocess, config.vision.image_size, images.path());
    PS_ASSIGN_OR_RETURN(ClipTokenizer tokenizer, ClipTokenizer::Load(folder.path, config.text.length));
    WantVocabulary(tokenizer.bpe().size(), config.text.vocab, tokenizer.bpe().vocab_path());
    if (config.text.end_token != kLegacyEndToken && config.text.end_token != tokenizer.end()) {
      throw LoadError(absl::StrCat(json.path(), ": text_config.eos_token_id ", config.text.end_token,
                                   " is not the tokenizer's end token, ", tokenizer.end()));
    }
    const Weights weights(WeightFiles(folder.path, "model"), {options.device, options.compute_dtype});
    return MakeEmbedder(folder, options, preprocess,
                        std::make_unique<Clip>(config, ClipLayout::kHuggingFace, std::move(tokenizer), weights));
  });
}

absl::StatusOr<std::unique_ptr<Embedder>> LoadOpenClip(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const JsonFile json(folder.path + "/open_clip_config.json");
    const auto config = ClipConfig::OpenClip(json.Child("model_cfg"));
    const auto preprocess = Preprocess::OpenClip(json.Child("preprocess_cfg"), config.vision.image_size);
    PS_ASSIGN_OR_RETURN(ClipTokenizer tokenizer, ClipTokenizer::Load(folder.path, config.text.length));
    WantVocabulary(tokenizer.bpe().size(), config.text.vocab, tokenizer.bpe().vocab_path());
    tokenizer.PadWith(0);  // as open_clip's tokenizer does, whatever Hugging Face's files beside it say
    const bool older = !std::filesystem::exists(folder.path + "/open_clip_model.safetensors") &&
                       std::filesystem::exists(folder.path + "/open_clip_pytorch_model.safetensors");
    const Weights weights(WeightFiles(folder.path, older ? "open_clip_pytorch_model" : "open_clip_model"),
                          {options.device, options.compute_dtype});
    return MakeEmbedder(folder, options, preprocess,
                        std::make_unique<Clip>(config, ClipLayout::kOpenClip, std::move(tokenizer), weights));
  });
}

}  // namespace promptsweep::worker
