// Published weights -> a model folder that a worker loads. Read once, checked whole, written whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace promptsweep::weights {

struct ConvertOptions {
  std::string source;   // folder, of one of the layouts of jobs/weights/published.h, or one file of SSCD
  std::string target;   // folder that must not exist
  std::string variant;  // "mini" or "mega", where `source` holds both
  std::string vqgan;    // folder with the VQGAN (and its config.json, where it has one); empty: looked for with FindVqgan
  std::string dtype;    // "F32", "F16" or "BF16" for every weight; empty: each as published
  // How much of the work is done, in bytes read and written; called every few MB.
  std::function<void(uint64_t done, uint64_t total)> progress;
  // True where the work is to stop: CANCELLED, and nothing is left behind.
  std::function<bool()> stopped;
};

struct ConvertedFile {
  std::string name;  // within the folder
  uint64_t bytes = 0;
  std::string sha256;  // 32 bytes
};

struct Converted {
  std::string layout;                  // PublishedFolder::Name()
  std::vector<ConvertedFile> sources;  // the weight files that were read
  std::vector<ConvertedFile> files;    // the .safetensors files written
  uint64_t tensors = 0;
  uint64_t parameters = 0;
};

// Writes, for a DALL-E, config.json, encoder.safetensors, decoder.safetensors, vocab.json, merges.txt, vqgan/config.json and
// vqgan/model.safetensors; for SSCD, config.json, preprocessor_config.json and model.safetensors; for torch weights,
// model.safetensors (of open_clip_pytorch_model.bin: open_clip_model.safetensors) and the folder's JSON and tokenizer files; and
// card.json with what was read and its digests. Every file is on the disk before the folder has its name. Memory stays near the
// largest tensor. INVALID_ARGUMENT, NOT_FOUND (no such source), CANCELLED; messages name the file.
[[nodiscard]] absl::StatusOr<Converted> ConvertWeights(const ConvertOptions& options);

}  // namespace promptsweep::weights
