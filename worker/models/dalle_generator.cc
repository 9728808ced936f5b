// Prompt -> text tokens -> image tokens -> pixels, for a batch of cells.
//
// Batch invariance. Every pass through the decoder has the same physical shape, whatever is asked: PhysicalRows of the
// batch shape, twice that when rows are guided; partial batches are padded with repeats of their first row. Cells that need
// guidance and cells that do not go in separate passes, so that a guided cell does not change the shape another cell is computed
// in. A text is always encoded alone. Noise comes from one generator per image: at each position one draw of Exp(1) for each
// token of the codebook, in order, so an image equals what torch.multinomial with that seed gives for it alone.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/models/architectures.h"
#include "worker/models/dalle_bart.h"
#include "worker/models/dalle_steps.h"
#include "worker/models/settings.h"
#include "worker/models/vqgan.h"
#include "worker/samplers/noise_feed.h"
#include "worker/samplers/token_sampler.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/load_error.h"
#include "worker/tensors/memory.h"
#include "worker/text/dalle_tokenizer.h"

namespace promptsweep::worker {
namespace {

constexpr int kLargestDefaultBatch = 64;
constexpr int64_t kUnknownMemory = int64_t{4} << 30;  // taken for free where the device does not say
constexpr int64_t kScoreCopies = 8;                   // of an image's logits and what is made of them, alive together
constexpr int64_t kTextBytes = int64_t{256} << 20;    // of encoded texts kept from batch to batch
constexpr int64_t kPixelBytes = int64_t{4} << 20;     // of the largest activation while decoding pixels on a CPU: fits its caches
constexpr int64_t kPixelBytesDevice = int64_t{512} << 20;

// An encoded text as the decoder reads it.
struct Text {
  at::Tensor cross;  // [layers, 2, heads, length, head_dim]
  at::Tensor bias;   // [1, 1, length]
};

// The texts used last, by their tokens.
class TextCache {
 public:
  explicit TextCache(size_t capacity) : capacity_(std::max<size_t>(capacity, 1)) {}
  template <typename Make>
  std::shared_ptr<const Text> Get(const TokenRow& tokens, Make&& make) {
    const auto it = index_.find(tokens);
    if (it != index_.end()) {
      order_.splice(order_.begin(), order_, it->second);
      return it->second->second;
    }
    auto text = std::make_shared<const Text>(make());
    order_.emplace_front(tokens, text);
    index_[tokens] = order_.begin();
    if (order_.size() > capacity_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return text;
  }

 private:
  using Order = std::list<std::pair<TokenRow, std::shared_ptr<const Text>>>;
  size_t capacity_;
  Order order_;  // most recent first
  std::map<TokenRow, Order::iterator> index_;
};

// A cell made ready.
struct Request {
  int64_t seed = 0;
  TokenSampling sampling;
  DalleText text;
  int64_t start_token = 0;
  bool guided = false;
};

class DalleGenerator final : public Generator {
 public:
  DalleGenerator(const sweep::ModelFolder& folder, const LoadOptions& options, const DalleConfig& config,
                 const VqganConfig& pixels, DalleTokenizer tokenizer)
      : DalleGenerator(folder, options, config, pixels, std::move(tokenizer),
                       Weights({folder.path + "/encoder.safetensors"}, {options.device, options.compute_dtype}),
                       Weights({folder.path + "/decoder.safetensors"}, {options.device, options.compute_dtype}),
                       // A CPU convolves float32 faster than half types, and the references never do otherwise.
                       Weights({folder.path + "/vqgan/model.safetensors"},
                               {options.device, options.device.is_cpu() ? at::kFloat : options.compute_dtype})) {}

  int batch_shape() const override { return batch_; }

  absl::StatusOr<at::Tensor> Generate(absl::Span<const v1::Cell> cells) override {
    if (cells.empty() || cells.size() > static_cast<size_t>(batch_)) {
      return absl::InvalidArgumentError(absl::StrCat("a batch has 1 to ", batch_, " cells"));
    }
    std::vector<Request> requests;
    for (const auto& cell : cells) {
      auto request = Prepare(cell);
      if (!request.ok()) return Annotate(request.status(), absl::StrCat("cell ", cell.ordinal()));
      requests.push_back(*std::move(request));
    }
    return Guarded([&] { return Run(requests); });
  }

 private:
  DalleGenerator(const sweep::ModelFolder& folder, const LoadOptions& options, const DalleConfig& config,
                 const VqganConfig& pixels, DalleTokenizer tokenizer, const Weights& encoder, const Weights& decoder,
                 const Weights& vqgan)
      : options_(options),
        defaults_(folder.defaults),
        config_(config),
        tokenizer_(std::move(tokenizer)),
        encoder_(config, encoder),
        decoder_(config, decoder),
        vqgan_(pixels, vqgan),
        // Rows beyond the codebook (the start token, padding) are never drawn.
        vocab_(std::min(config.image_vocab, pixels.codes)),
        batch_(options.batch_shape > 0 ? options.batch_shape : DefaultBatch()),
        rows_(PhysicalRows(batch_, options.device)),
        steps_(decoder_, 2 * rows_, options.device),
        pixel_chunk_(PixelChunk()),
        texts_(
            static_cast<size_t>(kTextBytes / (2 * config.decoder_layers * config.text_length * config.width * ElementSize()))) {
    encoder.Finish();
    decoder.Finish();
    vqgan.Finish();
  }

  int64_t ElementSize() const { return static_cast<int64_t>(c10::elementSize(options_.compute_dtype)); }

  // The largest that takes at most half of the free memory, when every image is guided and has a text of its own. Called once the
  // weights are loaded.
  int DefaultBatch() const {
    const int64_t positions = config_.image_length + config_.text_length;  // of keys and values, of two rows an image
    const int64_t per_image = 2 * 2 * config_.decoder_layers * positions * config_.width * ElementSize() +
                              kScoreCopies * (config_.image_vocab + 1) * static_cast<int64_t>(sizeof(float)) +
                              3 * vqgan_.config().resolution * vqgan_.config().resolution;
    const int64_t known = FreeMemory(options_.device), free = known > 0 ? known : kUnknownMemory;
    int batch = kLargestDefaultBatch;
    while (batch > 1 && batch * per_image > free / 2 - PixelWork()) batch /= 2;
    return batch;
  }

  // Bytes of the largest activation of one picture.
  int64_t PixelActivation() const {
    const auto& c = vqgan_.config();
    const auto size = static_cast<int64_t>(c10::elementSize(options_.device.is_cpu() ? at::kFloat : options_.compute_dtype));
    return c.resolution * c.resolution * c.channels * c.multipliers.front() * size;
  }
  // Of the activations that are alive together while pixels are decoded.
  int64_t PixelWork() const {
    return 4 * std::max(PixelActivation(), options_.device.is_cpu() ? kPixelBytes : kPixelBytesDevice);
  }

  int64_t PixelChunk() const {
    const int64_t per_image = PixelActivation();
    // On a CPU the same for every batch, since convolutions of other shapes are summed in other orders.
    int64_t chunk = options_.device.is_cpu() ? PhysicalRows(1, options_.device) : rows_;
    const int64_t limit = options_.device.is_cpu() ? kPixelBytes : kPixelBytesDevice;
    while (chunk > 1 && chunk * per_image > limit) chunk = (chunk + 1) / 2;
    return chunk;
  }

  absl::StatusOr<Request> Prepare(const v1::Cell& cell) const {
    Request request;
    request.seed = cell.seed();
    PS_ASSIGN_OR_RETURN(const auto settings, ResolveSettings(cell, "dalle-bart", defaults_));
    request.sampling.temperature = settings.at("temperature");
    request.sampling.top_k = std::min<int64_t>(static_cast<int64_t>(settings.at("top_k")), vocab_);
    request.sampling.top_p = settings.at("top_p");
    request.sampling.supercondition = settings.at("supercondition");
    request.sampling.form = settings.at("dalle_sampling") == 1 ? SamplingForm::kFlax : SamplingForm::kMinDalle;
    const auto bos = static_cast<int64_t>(settings.at("bos"));
    if (bos > config_.image_vocab)
      return absl::InvalidArgumentError(
          absl::StrCat("setting \"bos\" is ", bos, "; this model's tokens end at ", config_.image_vocab));
    request.start_token = bos < 0 ? config_.start_token : bos;
    const auto form = settings.at("dalle_text") == 1 ? DalleTextForm::kFlax : DalleTextForm::kMinDalle;
    switch (cell.prompt().kind_case()) {
      case v1::Prompt::kText:
        request.text = tokenizer_.Rows(form, cell.prompt().text());
        break;
      case v1::Prompt::kBlank: {
        PS_ASSIGN_OR_RETURN(request.text, BlankRows(form, cell.prompt().blank()));
        break;
      }
      case v1::Prompt::KIND_NOT_SET:
        return absl::InvalidArgumentError("the prompt is absent");
    }
    request.guided = request.sampling.supercondition != 1 && request.text.conditional != request.text.unconditional;
    return request;
  }

  absl::StatusOr<DalleText> BlankRows(DalleTextForm form, v1::BlankKind kind) const {
    switch (kind) {
      case v1::BLANK_KIND_EMPTY:
        return tokenizer_.Rows(form, "");
      case v1::BLANK_KIND_WHITESPACE:
        return tokenizer_.Rows(form, " ");
      case v1::BLANK_KIND_PADDING:
        return tokenizer_.PaddingRows();
      case v1::BLANK_KIND_NULL: {
        DalleText rows = tokenizer_.Rows(form, "");
        rows.conditional = rows.unconditional;
        return rows;
      }
      default:
        return absl::InvalidArgumentError(absl::StrCat("blank kind ", static_cast<int>(kind), " is not known"));
    }
  }

  at::Tensor Run(const std::vector<Request>& requests) {
    const c10::InferenceMode inference;
    at::Tensor codes = at::empty({rows_, config_.image_length}, at::TensorOptions().dtype(at::kLong).device(options_.device));
    for (const bool guided : {false, true}) {
      std::vector<int64_t> members;
      for (size_t i = 0; i < requests.size(); ++i) {
        if (requests[i].guided == guided) members.push_back(static_cast<int64_t>(i));
      }
      if (members.empty()) continue;
      std::vector<const Request*> rows;
      for (const int64_t i : members) rows.push_back(&requests[i]);
      rows.resize(rows_, rows.front());
      const at::Tensor drawn = Draw(rows, members.size(), guided);
      const at::Tensor index = at::tensor(members, at::kLong).to(options_.device);
      codes.index_copy_(0, index, drawn.narrow(0, 0, static_cast<int64_t>(members.size())));
    }
    const auto n = static_cast<int64_t>(requests.size());
    if (n < rows_) codes.narrow(0, n, rows_ - n).copy_(codes.narrow(0, 0, 1).expand({rows_ - n, -1}));
    std::vector<at::Tensor> images;
    for (int64_t begin = 0; begin < n; begin += pixel_chunk_) {
      // The last chunk reaches back, so that every chunk has the same shape.
      const int64_t from = std::min<int64_t>(begin, rows_ - pixel_chunk_);
      const at::Tensor chunk = vqgan_.DecodeBytes(codes.narrow(0, from, pixel_chunk_));
      images.push_back(chunk.narrow(0, begin - from, std::min(n - begin, from + pixel_chunk_ - begin)));
    }
    return at::cat(images);
  }

  // Image tokens int64 [batch, image_length] of a full pass; only the first `wanted` rows draw noise.
  at::Tensor Draw(const std::vector<const Request*>& rows, size_t wanted, bool guided) {
    std::vector<CrossRows> cross;
    cross.push_back(Cross(rows, 0, &DalleText::conditional));
    if (guided) cross.push_back(Cross(rows, rows_, &DalleText::unconditional));
    steps_.Begin(std::move(cross));

    std::vector<TokenSampling> samplings;
    for (const auto* row : rows) samplings.push_back(row->sampling);
    const TokenSampler sampler(samplings, options_.device);
    std::vector<int64_t> seeds;
    for (size_t i = 0; i < wanted; ++i) seeds.push_back(rows[i]->seed);
    NoiseFeed noise(seeds, rows_, vocab_, config_.image_length, options_.device);

    const auto longs = at::TensorOptions().dtype(at::kLong).device(options_.device);
    at::Tensor codes = at::empty({rows_, config_.image_length}, longs);
    std::vector<int64_t> starts;
    for (const auto* row : rows) starts.push_back(row->start_token);
    at::Tensor token = at::tensor(starts, at::kLong).to(options_.device);
    at::Tensor logits;
    for (int64_t t = 0; t < config_.image_length; ++t) {
      logits = steps_.Next(guided ? at::cat({token, token}) : token).narrow(1, 0, vocab_);
      const at::Tensor conditional = logits.narrow(0, 0, rows_);
      token = sampler.Draw(conditional, guided ? logits.narrow(0, rows_, rows_) : at::Tensor(), noise.Next());
      codes.select(1, t).copy_(token);
    }
    if (!at::isfinite(logits).all().item<bool>()) throw std::runtime_error("the model's logits are not finite");
    return codes;
  }

  // The texts of all rows, gathered; shared where they are one and the same.
  CrossRows Cross(const std::vector<const Request*>& rows, int64_t begin, TokenRow DalleText::* which) {
    std::map<TokenRow, int64_t> place;
    std::vector<std::shared_ptr<const Text>> distinct;
    std::vector<int64_t> index;
    for (const auto* row : rows) {
      const TokenRow& tokens = row->text.*which;
      const auto [it, added] = place.emplace(tokens, static_cast<int64_t>(distinct.size()));
      if (added) distinct.push_back(texts_.Get(tokens, [&] { return Encode(tokens); }));
      index.push_back(it->second);
    }
    const auto gather = [&](auto&& part_of) {
      std::vector<at::Tensor> parts;
      for (const auto& text : distinct) parts.push_back(part_of(*text));
      at::Tensor stacked = at::stack(parts);
      if (distinct.size() > 1) stacked = stacked.index_select(0, at::tensor(index, at::kLong).to(options_.device));
      return stacked;
    };
    CrossRows cross{begin, begin + static_cast<int64_t>(rows.size())};
    cross.bias = gather([](const Text& text) { return text.bias; });
    for (int64_t layer = 0; layer < config_.decoder_layers; ++layer) {
      cross.keys.push_back(gather([layer](const Text& text) { return text.cross[layer][0]; }));
      cross.values.push_back(gather([layer](const Text& text) { return text.cross[layer][1]; }));
    }
    return cross;
  }

  Text Encode(const TokenRow& row) const {
    const at::Tensor ids = at::tensor(row.tokens, at::kLong).to(options_.device).unsqueeze(0);
    at::Tensor read = at::empty({1, tokenizer_.length()}, at::kBool);
    for (int64_t i = 0; i < tokenizer_.length(); ++i) read[0][i] = static_cast<bool>(row.read[i]);
    const at::Tensor bias = TextBias(read.to(options_.device), options_.compute_dtype);
    return {decoder_.CrossKeysValues(encoder_.Encode(ids, bias)).select(2, 0).contiguous(), bias[0]};
  }

  LoadOptions options_;
  std::map<std::string, v1::Value> defaults_;
  DalleConfig config_;
  DalleTokenizer tokenizer_;
  DalleEncoder encoder_;
  DalleDecoder decoder_;
  VqganDecoder vqgan_;
  int64_t vocab_;
  int batch_;
  int rows_;  // of one pass
  DalleSteps steps_;
  int64_t pixel_chunk_;
  TextCache texts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Generator>> LoadDalle(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Generator>> {
    const c10::InferenceMode inference;
    const JsonFile json(folder.path + "/config.json");
    const DalleConfig config(json);
    const VqganConfig pixels(JsonFile(folder.path + "/vqgan/config.json"));
    if (pixels.code_side() * pixels.code_side() != config.image_length) {
      throw LoadError(absl::StrCat(json.path(), ": image_length ", config.image_length, " is not the ", pixels.code_side(), "x",
                                   pixels.code_side(), " codes of vqgan/config.json"));
    }
    PS_ASSIGN_OR_RETURN(DalleTokenizer tokenizer, DalleTokenizer::Load(folder.path, config.text_length, config.normalize_text));
    if (std::max(tokenizer.bpe().size(), tokenizer.pad() + 1) > config.text_vocab) {
      throw LoadError(absl::StrCat(tokenizer.bpe().vocab_path(), ": ids up to ", tokenizer.bpe().size() - 1,
                                   " but encoder_vocab_size is ", config.text_vocab));
    }
    return std::make_unique<DalleGenerator>(folder, options, config, pixels, std::move(tokenizer));
  });
}

}  // namespace promptsweep::worker
