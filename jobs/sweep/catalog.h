// Which models are at hand: folders recognised by their own JSON, named and digested. Reads no weights into memory and
// needs no torch.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// A model as found on disk.
struct ModelFolder {
  std::string id;            // folder name, or the card's id
  std::string path;          // absolute; empty for the built-in "null" model and "null-embed" embedder
  std::string architecture;  // "dalle-bart" (config.json model_type dallebart), "clip", "open-clip", "siglip", "dinov2", "sscd",
                             // "null", "null-embed"
  std::string digest;        // 32 bytes: SHA-256 over the sorted relative paths and contents of its .safetensors, .json, .txt and
                             // .model files (not heldout/)
  bool harmless = false;     // from card.json
  bool generates = false;    // can stand on the model axis
  bool embeds = false;       // can stand under embedders
  // Defaults of card.json for settings no spec names. Covered by the digest, so a cell need not repeat them.
  std::map<std::string, v1::Value> defaults;
  int64_t image_vocab = 0;  // dalle-bart: image tokens; the upper end of top_k
  int64_t image_side = 0;   // pixels of the square picture it draws, where its configuration says; else 0
  int64_t dimensions = 0;   // of an embedding; 0 where it does not embed

  v1::ModelRef Ref() const;
};

// True for embedders trained so that the cosine of two pictures says whether one is a copy of the other (of the architecture
// "sscd"), not whether they show the same kind of thing.
[[nodiscard]] bool DetectsCopies(const v1::ModelRef& embedder);

inline constexpr char kNullModel[] = "null";           // built in: draws a few coloured pixels from the seed
inline constexpr char kNullEmbedder[] = "null-embed";  // built in: 16 dimensions
inline constexpr int64_t kNullDimensions = 16;

// Immutable after Open; thread-safe.
class ModelCatalog {
 public:
  // Looks for model folders directly inside each of `search` (in order; the first of a name wins), hidden ones left out. A
  // search folder that does not exist is skipped. A model is a folder whose config.json has model_type dallebart, clip, siglip,
  // dinov2, dinov2_with_registers or sscd, or one with open_clip's open_clip_config.json; an optional card.json gives
  // {"id": name, "harmless": truth value, "defaults": {setting: value}}. A folder that looks like a model (a config.json or a
  // .safetensors file) but is broken is kept as a problem and reported when asked for by name. Digests are computed when first
  // asked for.
  [[nodiscard]] static absl::StatusOr<ModelCatalog> Open(std::vector<std::string> search);

  // By id, or by path for a name with a '/'. Checks every safetensors header. NOT_FOUND names the nearest id and the folders
  // searched; INVALID_ARGUMENT names the broken file.
  [[nodiscard]] absl::StatusOr<ModelFolder> Find(const std::string& id) const;
  // Ids at hand, sorted, the built-in ones included.
  std::vector<std::string> Ids() const;
  // Those found in folders whose models embed, sorted.
  const std::vector<std::string>& EmbedderIds() const { return embedders_; }
  const std::vector<std::string>& search() const { return search_; }

 private:
  std::vector<std::string> search_;
  std::map<std::string, std::string> paths_;  // id -> folder
  std::vector<std::string> embedders_;
  struct Cache;
  std::shared_ptr<Cache> cache_;  // what Find read, by folder
};

}  // namespace promptsweep::sweep
