// One function per architecture; registry.cc names them. All return INVALID_ARGUMENT, naming the file, for a broken folder.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/models/generator.h"

namespace promptsweep::worker {

// DALL-E mini and its sizes. The folder holds config.json, encoder.safetensors, decoder.safetensors (min-dalle's names),
// vocab.json, merges.txt, vqgan/config.json and vqgan/model.safetensors. Settings: bos, dalle_sampling,
// dalle_text, supercondition, temperature, top_k, top_p.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Generator>> LoadDalle(const sweep::ModelFolder& folder, const LoadOptions& options);

// CLIP in Hugging Face's layout: config.json, preprocessor_config.json, model.safetensors (or its shards and their index),
// vocab.json, merges.txt; labels.txt where there is one.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadClip(const sweep::ModelFolder& folder, const LoadOptions& options);

// CLIP in open_clip's own layout: open_clip_config.json, open_clip_model.safetensors (or open_clip_pytorch_model.safetensors, or
// shards and their index), vocab.json, merges.txt. Texts are read as in LoadClip (clip_tokenizer.h), padded with 0.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadOpenClip(const sweep::ModelFolder& folder,
                                                                     const LoadOptions& options);

// SigLIP and SigLIP 2 of a fixed resolution: config.json, preprocessor_config.json, model.safetensors (or shards), and the
// tokenizer's files (siglip_tokenizer.h).
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadSiglip(const sweep::ModelFolder& folder, const LoadOptions& options);

// DINOv2 with and without registers: config.json, preprocessor_config.json, model.safetensors (or shards). No text tower.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadDinov2(const sweep::ModelFolder& folder, const LoadOptions& options);

// SSCD, the copy detector: config.json (model_type sscd, written by `promptsweep convert-weights`), preprocessor_config.json,
// model.safetensors with torchvision's names. No text tower.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadSscd(const sweep::ModelFolder& folder, const LoadOptions& options);

// No weights: a few coloured pixels from the seed, for tests and benches of everything around a model; see null_model.cc.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Generator>> LoadNull(const sweep::ModelFolder& folder, const LoadOptions& options);
[[nodiscard]] absl::StatusOr<std::unique_ptr<Embedder>> LoadNullEmbedder(const sweep::ModelFolder& folder,
                                                                         const LoadOptions& options);

}  // namespace promptsweep::worker
