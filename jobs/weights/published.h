// Folders as models are published in, with weights that promptsweep does not run but can convert, recognised by their file names.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/weights/dalle.h"

namespace promptsweep::weights {

struct PublishedFolder {
  enum Layout {
    kNone,       // nothing here to convert
    kMinDalle,   // encoder.pt, decoder.pt (and _mini), vocab.json, merges.txt: min-dalle's
    kFlaxDalle,  // flax_model.msgpack with a config.json of model_type dallebart: dalle-mini's
    kVqgan,      // the VQGAN alone, of either: detoker.pt, or flax_model.msgpack with a config.json that has ch_mult
    kSscd,       // sscd_*.torchvision.pt or .classy.pt: the copy detector
    kTorch,      // pytorch_model.bin, its shards, or open_clip_pytorch_model.bin: an embedder of another library
  };
  Layout layout = kNone;
  std::vector<std::string> variants;  // kMinDalle: "mega" and "mini", those that are there; "" where files carry no suffix
  std::vector<std::string> weights;   // kTorch: file names; kSscd: one of each model that is there
  // "DALL-E (min-dalle, mini)", "VQGAN", "SSCD (classy)", "torch weights".
  std::string Name() const;
};

// What can be converted here; `folder` may also be one file of SSCD. A folder that has safetensors too counts as kNone: it needs
// no conversion. Never fails: what cannot be read is not recognised.
[[nodiscard]] PublishedFolder FindPublished(const std::string& folder);

// The folder with the VQGAN for the DALL-E in `folder`: itself, vqgan/ in it or beside it (min-dalle's cache), the first that has
// one; empty where none does.
[[nodiscard]] std::string FindVqgan(const std::string& folder);

// A JSON object of at most 64 MB that nests at most 32 deep; INVALID_ARGUMENT, NOT_FOUND. Messages start with the path.
[[nodiscard]] absl::StatusOr<Json> ReadJson(const std::string& path);

}  // namespace promptsweep::weights
