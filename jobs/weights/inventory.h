// What is in a folder of models: which load, what they are, and what is missing or wrong with the others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/sweep/catalog.h"

namespace promptsweep::weights {

struct WeightFile {
  std::string name;  // within the folder
  uint64_t bytes = 0;
  std::string sha256;  // 32 bytes; empty where not asked for
};

// A folder that someone meant as a model.
struct Finding {
  enum State {
    kReady,        // loads, as far as files, names and shapes tell
    kUnconverted,  // published weights; `message` is the command that converts them
    kPart,         // the VQGAN of a DALL-E that stands elsewhere
    kShadowed,     // ready, but a folder searched earlier has the id
    kBroken,       // `message` says what is missing or wrong
  };
  State state = kBroken;
  std::string path;          // absolute; empty for what is built in
  sweep::ModelFolder model;  // kReady, kShadowed; else only the id (the folder's name) is set
  std::string message;
  std::vector<std::string> dtypes;  // of the weights, the one with the most bytes first
  uint64_t parameters = 0;
  std::vector<WeightFile> files;  // .safetensors
};

// "ready", "unconverted", "part", "shadowed", "broken".
[[nodiscard]] std::string StateName(Finding::State state);

// What stands in `paths`: each a model's own folder, or a folder of such folders (as of ModelCatalog::Open, hidden ones left
// out). In order of the paths, then by name. `file_digests`: also those of each file. NOT_FOUND where a path is no folder.
[[nodiscard]] absl::StatusOr<std::vector<Finding>> ListModels(const std::vector<std::string>& paths, bool file_digests);

// The models that need no folder.
[[nodiscard]] std::vector<Finding> BuiltInModels();

}  // namespace promptsweep::weights
