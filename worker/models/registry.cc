// Architecture name -> module. A new architecture is one module and one line here.
#include "absl/strings/str_cat.h"
#include "worker/models/architectures.h"
#include "worker/models/generator.h"

namespace promptsweep::worker {
namespace {

struct GeneratorEntry {
  const char* architecture;
  absl::StatusOr<std::unique_ptr<Generator>> (*load)(const sweep::ModelFolder&, const LoadOptions&);
};
constexpr GeneratorEntry kGenerators[] = {
    {"dalle-bart", LoadDalle},
    {"null", LoadNull},
};

struct EmbedderEntry {
  const char* architecture;
  absl::StatusOr<std::unique_ptr<Embedder>> (*load)(const sweep::ModelFolder&, const LoadOptions&);
};
constexpr EmbedderEntry kEmbedders[] = {
    {"clip", LoadClip},     {"open-clip", LoadOpenClip}, {"siglip", LoadSiglip},
    {"dinov2", LoadDinov2}, {"sscd", LoadSscd},          {"null-embed", LoadNullEmbedder},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Generator>> LoadGenerator(const sweep::ModelFolder& folder, const LoadOptions& options) {
  for (const auto& entry : kGenerators) {
    if (folder.architecture == entry.architecture) return entry.load(folder, options);
  }
  return absl::UnimplementedError(absl::StrCat(folder.id, ": no generator of architecture \"", folder.architecture, "\""));
}

absl::StatusOr<std::unique_ptr<Embedder>> LoadEmbedder(const sweep::ModelFolder& folder, const LoadOptions& options) {
  for (const auto& entry : kEmbedders) {
    if (folder.architecture == entry.architecture) return entry.load(folder, options);
  }
  return absl::UnimplementedError(absl::StrCat(folder.id, ": no embedder of architecture \"", folder.architecture, "\""));
}

}  // namespace promptsweep::worker
