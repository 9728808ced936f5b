#include "worker/pipeline/engine.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/half.h"
#include "base/status.h"
#include "worker/models/generator.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/device.h"

namespace promptsweep::worker {
namespace {

constexpr double kUnitTolerance = 1e-2;
constexpr size_t kLabelSlice = 64;
constexpr size_t kMaxLabelBytes = 3 << 20;

absl::StatusOr<at::ScalarType> DtypeOf(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  return absl::InvalidArgumentError(absl::StrCat("compute dtype ", name, " is not known"));
}

// The first line of what torch says; the rest is a stack trace.
std::string FirstLine(const char* what) {
  const std::string text(what);
  return text.substr(0, text.find('\n'));
}

// Runs `call`, which returns a StatusOr, and turns what torch throws into a status.
template <typename Call>
std::invoke_result_t<Call> Guarded(Call call) {
  try {
    return call();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(FirstLine(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string text = FirstLine(error.what_without_backtrace());
    // The CPU allocator throws a plain c10::Error.
    if (text.find("not enough memory") != std::string::npos || text.find("can't allocate memory") != std::string::npos) {
      return absl::ResourceExhaustedError(text);
    }
    return absl::InternalError(text);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(FirstLine(error.what()));
  }
}

absl::Status CheckImages(const at::Tensor& images, int64_t count) {
  if (images.dim() != 4 || images.size(0) != count || images.size(1) != 3 || images.scalar_type() != at::kByte) {
    return absl::InternalError("the generator's images are not uint8 [n, 3, height, width]");
  }
  return absl::OkStatus();
}

// float32 [n, dim] on any device -> one fp16 vector a row, each checked.
absl::StatusOr<std::vector<absl::StatusOr<v1::Embedding>>> Vectors(const at::Tensor& vectors, const std::string& embedder,
                                                                   int64_t count, int dim) {
  if (vectors.dim() != 2 || vectors.size(0) != count || vectors.size(1) != dim) {
    return absl::InternalError(absl::StrCat(embedder, " did not give ", count, " vectors of ", dim));
  }
  const at::Tensor host = vectors.to(at::kCPU, at::kFloat).contiguous();
  std::vector<absl::StatusOr<v1::Embedding>> rows;
  for (int64_t i = 0; i < count; ++i) {
    const float* row = host.const_data_ptr<float>() + i * dim;
    double norm = 0;
    for (int d = 0; d < dim; ++d) norm += double{row[d]} * row[d];
    if (!std::isfinite(norm)) {
      rows.push_back(absl::InternalError(absl::StrCat(embedder, " gave a vector that is not finite")));
    } else if (norm == 0) {
      rows.push_back(absl::InternalError(absl::StrCat(embedder, " gave a vector that is all zero")));
    } else if (std::abs(std::sqrt(norm) - 1) > kUnitTolerance) {
      rows.push_back(absl::InternalError(absl::StrCat(embedder, " gave a vector of length ", std::sqrt(norm))));
    } else {
      v1::Embedding embedding;
      embedding.set_embedder(embedder);
      embedding.set_fp16(PackHalves(row, dim));
      rows.push_back(std::move(embedding));
    }
  }
  return rows;
}

bool SameOutcome(const absl::StatusOr<MadeImage>& a, const absl::StatusOr<MadeImage>& b) {
  if (!a.ok() || !b.ok() || a->rgb != b->rgb || a->embeddings.size() != b->embeddings.size()) return false;
  for (size_t i = 0; i < a->embeddings.size(); ++i) {
    if (a->embeddings[i].fp16() != b->embeddings[i].fp16()) return false;
  }
  return true;
}

using Outcomes = std::vector<absl::StatusOr<MadeImage>>;

}  // namespace

struct Engine::Impl {
  struct LoadedEmbedder {
    std::string id;
    std::shared_ptr<Embedder> embedder;
  };

  explicit Impl(Options options) : options(std::move(options)) {}

  absl::Status Load(const ModelSetup& setup, int shape);
  absl::Status LoadEmbedders(const ModelSetup& setup, int shape);
  absl::StatusOr<Outcomes> Batch(absl::Span<const v1::Cell> cells);
  absl::StatusOr<std::vector<absl::StatusOr<std::vector<v1::Embedding>>>> EmbedBatch(const at::Tensor& images);
  Outcomes Settle(absl::Span<const v1::Cell> cells);
  void SelfTest(absl::Span<const v1::Cell> cells, const Outcomes& outcomes);
  void UpdateProvenance();

  const Options options;
  at::Device device = at::kCPU;
  std::string device_words;
  std::string key;  // of what is loaded; empty: no generator
  ModelSetup setup;
  std::unique_ptr<Generator> generator;
  std::vector<LoadedEmbedder> embedders;                            // of the setup, in order
  std::map<std::string, std::shared_ptr<Embedder>> embedder_cache;  // by digest and shape
  std::map<std::string, int> shapes;                                // by key: shapes found to fit
  std::map<std::string, bool> bit_stable;                           // by key and shape: tested
  std::map<std::string, std::vector<std::string>> labelled;         // by embedder digest: vectors computed here
  std::shared_ptr<const v1::Provenance> provenance;
};

absl::Status Engine::Impl::LoadEmbedders(const ModelSetup& wanted, int shape) {
  std::vector<LoadedEmbedder> loaded;
  std::map<std::string, std::shared_ptr<Embedder>> keep;
  for (const sweep::ModelFolder& folder : wanted.embedders) {
    const std::string name = absl::StrCat(folder.id, ":", folder.digest, ":", shape);
    std::shared_ptr<Embedder>& entry = keep[name];
    if (const auto cached = embedder_cache.find(name); cached != embedder_cache.end()) entry = cached->second;
    if (entry == nullptr) {
      LoadOptions load;
      load.device = device;
      load.batch_shape = shape;
      // Vectors are compared across sweeps, so they are always computed in full precision.
      load.compute_dtype = at::kFloat;
      auto embedder = Guarded([&] { return options.models->LoadEmbedder(folder, load); });
      if (!embedder.ok()) return Annotate(embedder.status(), folder.id);
      entry = *std::move(embedder);
    }
    loaded.push_back({folder.id, entry});
  }
  embedders = std::move(loaded);
  embedder_cache = std::move(keep);
  return absl::OkStatus();
}

absl::Status Engine::Impl::Load(const ModelSetup& wanted, int shape) {
  generator.reset();
  key.clear();
  PS_ASSIGN_OR_RETURN(const at::ScalarType dtype, DtypeOf(wanted.compute_dtype));
  LoadOptions load;
  load.device = device;
  load.compute_dtype = dtype;
  load.batch_shape = shape;
  auto loaded = Guarded([&] { return options.models->LoadGenerator(wanted.model, load); });
  if (!loaded.ok()) return Annotate(loaded.status(), wanted.model.id);
  generator = *std::move(loaded);
  PS_RETURN_IF_ERROR(LoadEmbedders(wanted, generator->batch_shape()));
  setup = wanted;
  key = wanted.key;
  UpdateProvenance();
  return absl::OkStatus();
}

void Engine::Impl::UpdateProvenance() {
  auto made = std::make_shared<v1::Provenance>();
  made->set_worker(options.worker);
  made->set_device(device_words);
  made->set_program_version(PROMPTSWEEP_VERSION);
  made->set_torch_version(TORCH_VERSION);
  made->set_batch_shape(generator == nullptr ? 0 : generator->batch_shape());
  made->set_model_digest(setup.model.digest);
  made->set_noise_dtype(setup.noise_dtype);
  made->set_compute_dtype(setup.compute_dtype);
  if (generator != nullptr) {
    const auto tested = bit_stable.find(absl::StrCat(key, "#", generator->batch_shape()));
    made->set_bit_stable(tested != bit_stable.end() && tested->second);
  }
  provenance = std::move(made);
}

absl::StatusOr<std::vector<absl::StatusOr<std::vector<v1::Embedding>>>> Engine::Impl::EmbedBatch(const at::Tensor& images) {
  const int64_t count = images.size(0);
  std::vector<absl::StatusOr<std::vector<v1::Embedding>>> rows(count, std::vector<v1::Embedding>());
  for (const LoadedEmbedder& loaded : embedders) {
    PS_ASSIGN_OR_RETURN(const at::Tensor vectors, loaded.embedder->EmbedImages(images));
    PS_ASSIGN_OR_RETURN(auto checked, Vectors(vectors, loaded.id, count, loaded.embedder->dim()));
    for (int64_t i = 0; i < count; ++i) {
      if (!rows[i].ok()) continue;
      if (!checked[i].ok()) {
        rows[i] = checked[i].status();
      } else {
        rows[i]->push_back(*std::move(checked[i]));
      }
    }
  }
  return rows;
}

absl::StatusOr<Outcomes> Engine::Impl::Batch(absl::Span<const v1::Cell> cells) {
  return Guarded([&]() -> absl::StatusOr<Outcomes> {
    const c10::InferenceMode inference;
    const absl::Time start = options.clock->TimeNow();
    PS_ASSIGN_OR_RETURN(const at::Tensor images, generator->Generate(cells));
    PS_RETURN_IF_ERROR(CheckImages(images, static_cast<int64_t>(cells.size())));
    Synchronize(device);  // what is timed next is embedding alone
    const absl::Time generated = options.clock->TimeNow();
    PS_ASSIGN_OR_RETURN(auto vectors, EmbedBatch(images));
    const at::Tensor pixels = images.permute({0, 2, 3, 1}).contiguous().to(at::kCPU);
    const absl::Time embedded = options.clock->TimeNow();
    const int64_t image_bytes = pixels.numel() / pixels.size(0);
    Outcomes outcomes;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (!vectors[i].ok()) {
        outcomes.push_back(vectors[i].status());
        continue;
      }
      MadeImage made;
      made.height = static_cast<int>(images.size(2));
      made.width = static_cast<int>(images.size(3));
      made.rgb.assign(reinterpret_cast<const char*>(pixels.const_data_ptr<uint8_t>()) + i * image_bytes, image_bytes);
      // What becomes of numbers that are none; a generator's blocked picture looks the same, and says as little.
      if (std::all_of(made.rgb.begin(), made.rgb.end(), [](char c) { return c == 0; })) {
        outcomes.push_back(absl::InternalError("the image is black: its numbers were not finite, or the model blocked it"));
        continue;
      }
      made.embeddings = *std::move(vectors[i]);
      made.generate_us = static_cast<uint32_t>(absl::ToInt64Microseconds(generated - start) / cells.size());
      made.embed_us = static_cast<uint32_t>(absl::ToInt64Microseconds(embedded - generated) / cells.size());
      outcomes.push_back(std::move(made));
    }
    return outcomes;
  });
}

Outcomes Engine::Impl::Settle(absl::Span<const v1::Cell> cells) {
  Outcomes outcomes;
  // Also cuts to the batch shape where memory has shrunk it.
  const size_t shape = generator == nullptr ? cells.size() : static_cast<size_t>(generator->batch_shape());
  if (cells.size() > shape) {
    for (size_t begin = 0; begin < cells.size();) {
      const size_t count =
          std::min<size_t>(std::max(1, generator == nullptr ? 1 : generator->batch_shape()), cells.size() - begin);
      for (auto& outcome : Settle(cells.subspan(begin, count))) outcomes.push_back(std::move(outcome));
      begin += count;
    }
    return outcomes;
  }
  absl::Status status = absl::InternalError("the model is not loaded");
  if (generator != nullptr) {
    absl::StatusOr<Outcomes> batch = Batch(cells);
    if (batch.ok()) return *std::move(batch);
    status = batch.status();
  }
  if (status.code() == absl::StatusCode::kResourceExhausted && generator != nullptr && generator->batch_shape() > 1) {
    const int half = generator->batch_shape() / 2;
    spdlog::warn("{} does not fit in memory at {} images a batch, trying {}: {}", setup.model.id, generator->batch_shape(), half,
                 std::string(status.message()));
    const ModelSetup same = setup;
    shapes[same.key] = half;
    if (const absl::Status loaded = Load(same, half); loaded.ok() && generator->batch_shape() <= half) return Settle(cells);
    if (generator == nullptr) status = absl::ResourceExhaustedError("the model does not fit in memory");
  }
  if (cells.size() == 1 || generator == nullptr) {
    outcomes.assign(cells.size(), status);
    return outcomes;
  }
  spdlog::warn("a batch of {} cells failed, running them one by one: {}", cells.size(), std::string(status.message()));
  for (size_t i = 0; i < cells.size(); ++i) outcomes.push_back(std::move(Settle(cells.subspan(i, 1)).front()));
  return outcomes;
}

void Engine::Impl::SelfTest(absl::Span<const v1::Cell> cells, const Outcomes& outcomes) {
  const std::string name = absl::StrCat(key, "#", generator->batch_shape());
  if (bit_stable.count(name) > 0 || !outcomes.front().ok() || !outcomes.back().ok()) return;
  std::vector<v1::Cell> again;
  if (generator->batch_shape() > 1) again.push_back(cells.back());
  again.push_back(cells.front());
  const absl::StatusOr<Outcomes> repeat = Batch(again);
  if (!repeat.ok()) return;
  const bool stable =
      SameOutcome(repeat->back(), outcomes.front()) && (again.size() == 1 || SameOutcome(repeat->front(), outcomes.back()));
  bit_stable[name] = stable;
  if (!stable) spdlog::warn("{}: an image depends on its place in the batch on this device", setup.model.id);
  UpdateProvenance();
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  const absl::StatusOr<bool> ready = Guarded([&]() -> absl::StatusOr<bool> {
    PS_ASSIGN_OR_RETURN(impl->device, OpenDevice(impl->options.device));
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    MakeDeterministic(impl->options.threads > 0 ? impl->options.threads : std::max(1, cores));
    impl->device_words = DeviceWords(impl->device);
    return true;
  });
  PS_RETURN_IF_ERROR(ready.status());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::Status Engine::Prepare(const ModelSetup& setup) {
  if (impl_->key == setup.key && impl_->generator != nullptr) return absl::OkStatus();
  const auto shape = impl_->shapes.find(setup.key);
  return impl_->Load(setup, shape == impl_->shapes.end() ? impl_->options.batch_shape : shape->second);
}

absl::Status Engine::PrepareEmbedders(const ModelSetup& setup) {
  impl_->setup = setup;
  PS_RETURN_IF_ERROR(impl_->LoadEmbedders(setup, impl_->options.batch_shape));
  impl_->UpdateProvenance();
  return absl::OkStatus();
}

std::vector<v1::PutLabelsRequest> Engine::NewLabels(const ModelSetup& setup) {
  std::vector<v1::PutLabelsRequest> requests;
  for (size_t i = 0; i < impl_->embedders.size(); ++i) {
    Embedder& embedder = *impl_->embedders[i].embedder;
    const std::vector<std::string>& labels = embedder.labels();
    const std::string& digest = setup.embedders[i].digest;
    std::vector<std::string>& labelled = impl_->labelled[digest];
    if (labels.empty() || labels == labelled || labels == setup.stored_labels[i]) continue;
    labelled = labels;
    v1::PutLabelsRequest request;
    request.set_embedder_digest(digest);
    request.set_dim(embedder.dim());
    auto vectors = EmbedLabels(i, labels);
    absl::Status status = vectors.status();
    if (status.ok()) {
      *request.mutable_labels() = {labels.begin(), labels.end()};
      request.set_fp16(*std::move(vectors));
    }
    if (status.ok() && request.ByteSizeLong() > kMaxLabelBytes)
      status = absl::ResourceExhaustedError("too many labels for one message");
    if (status.ok()) {
      requests.push_back(std::move(request));
    } else {
      spdlog::warn("{} has no label vectors: {}", impl_->embedders[i].id, std::string(status.message()));
    }
  }
  return requests;
}

absl::StatusOr<std::string> Engine::EmbedLabels(size_t index, absl::Span<const std::string> labels) {
  const Impl::LoadedEmbedder& loaded = impl_->embedders[index];
  Embedder& embedder = *loaded.embedder;
  std::string fp16;
  for (size_t begin = 0; begin < labels.size(); begin += kLabelSlice) {
    const auto slice = labels.subspan(begin, kLabelSlice);
    auto rows = Guarded([&]() -> absl::StatusOr<std::vector<absl::StatusOr<v1::Embedding>>> {
      const c10::InferenceMode inference;
      PS_ASSIGN_OR_RETURN(const at::Tensor vectors, embedder.EmbedTexts(slice));
      return Vectors(vectors, loaded.id, static_cast<int64_t>(slice.size()), embedder.dim());
    });
    PS_RETURN_IF_ERROR(rows.status());
    for (const absl::StatusOr<v1::Embedding>& row : *rows) {
      PS_RETURN_IF_ERROR(row.status());
      fp16 += row->fp16();
    }
  }
  return fp16;
}

int Engine::batch_shape() const { return impl_->generator == nullptr ? 1 : impl_->generator->batch_shape(); }

std::vector<absl::StatusOr<MadeImage>> Engine::Run(absl::Span<const v1::Cell> cells) {
  PS_CHECK(!cells.empty()) << "an empty batch";
  Outcomes outcomes = impl_->Settle(cells);
  if (impl_->generator != nullptr && static_cast<int>(cells.size()) <= impl_->generator->batch_shape())
    impl_->SelfTest(cells, outcomes);
  return outcomes;
}

std::vector<absl::StatusOr<std::vector<v1::Embedding>>> Engine::Embed(absl::Span<const std::string> rgb, int width, int height) {
  const size_t image_bytes = size_t{3} * width * height;
  auto result = Guarded([&]() -> absl::StatusOr<std::vector<absl::StatusOr<std::vector<v1::Embedding>>>> {
    const c10::InferenceMode inference;
    at::Tensor pixels = at::empty({static_cast<int64_t>(rgb.size()), height, width, 3}, at::kByte);
    for (size_t i = 0; i < rgb.size(); ++i) {
      PS_CHECK(rgb[i].size() == image_bytes) << "images of different sizes in one batch";
      std::memcpy(pixels.mutable_data_ptr<uint8_t>() + i * image_bytes, rgb[i].data(), image_bytes);
    }
    return impl_->EmbedBatch(pixels.permute({0, 3, 1, 2}).contiguous().to(impl_->device));
  });
  if (result.ok()) return *std::move(result);
  if (rgb.size() == 1) return {result.status()};
  std::vector<absl::StatusOr<std::vector<v1::Embedding>>> outcomes;
  for (const std::string& image : rgb)
    outcomes.push_back(std::move(Embed(absl::MakeConstSpan(&image, 1), width, height).front()));
  return outcomes;
}

std::shared_ptr<const v1::Provenance> Engine::provenance() const { return impl_->provenance; }

const std::string& Engine::device() const { return impl_->device_words; }

}  // namespace promptsweep::worker
