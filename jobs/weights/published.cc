#include "jobs/weights/published.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "jobs/weights/mapped_file.h"
#include "jobs/weights/sscd.h"

namespace promptsweep::weights {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxJson = 64 << 20;
constexpr int kMaxNesting = 32;
constexpr int kMaxFiles = 10'000;

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool HasSafetensors(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator at(folder, error), end;
  for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
    if (at->path().extension() == ".safetensors") return true;
  }
  return false;
}

// pytorch_model.bin, all shards of it, or open_clip's.
std::vector<std::string> TorchWeights(const fs::path& folder) {
  for (const char* name : {"pytorch_model.bin", "open_clip_pytorch_model.bin"}) {
    if (Exists(folder / name)) return {name};
  }
  std::vector<std::string> shards;
  std::error_code error;
  fs::directory_iterator at(folder, error), end;
  for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
    const std::string name = at->path().filename().string();
    if (absl::StartsWith(name, "pytorch_model-") && absl::EndsWith(name, ".bin")) shards.push_back(name);
  }
  std::sort(shards.begin(), shards.end());
  return shards;
}

std::vector<std::string> SscdWeights(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator at(folder, error), end;
  for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
    names.push_back(at->path().filename().string());
  }
  return SscdFiles(names);
}

// Of the config.json beside flax_model.msgpack: "dallebart", "vqgan", or something else.
std::string FlaxType(const fs::path& folder) {
  const absl::StatusOr<Json> config = ReadJson((folder / "config.json").string());
  if (!config.ok()) return "";
  if (config->contains("ch_mult")) return "vqgan";
  const auto type = config->find("model_type");
  return type != config->end() && type->is_string() ? type->get<std::string>() : "";
}

bool HasVqgan(const fs::path& folder) {
  return Exists(folder / "detoker.pt") || (Exists(folder / "flax_model.msgpack") && FlaxType(folder) == "vqgan");
}

}  // namespace

std::string PublishedFolder::Name() const {
  switch (layout) {
    case kMinDalle: {
      std::vector<std::string> named;
      for (const std::string& variant : variants) {
        if (!variant.empty()) named.push_back(variant);
      }
      return absl::StrCat("DALL-E (min-dalle", named.empty() ? "" : ", ", absl::StrJoin(named, " and "), ")");
    }
    case kFlaxDalle:
      return "DALL-E (Flax)";
    case kVqgan:
      return "VQGAN";
    case kSscd:
      return absl::StrCat("SSCD (", SscdForm(weights.front()), ")");
    case kTorch:
      return "torch weights";
    case kNone:
      break;
  }
  return "nothing to convert";
}

PublishedFolder FindPublished(const std::string& folder) {
  const fs::path root(folder);
  PublishedFolder found;
  if (Exists(root) && !SscdForm(root.filename().string()).empty()) {
    found.layout = PublishedFolder::kSscd;
    found.weights = {root.filename().string()};
    return found;
  }
  if (HasSafetensors(root)) return found;
  const bool plain = Exists(root / "encoder.pt") || Exists(root / "decoder.pt");
  const bool mini = Exists(root / "encoder_mini.pt") || Exists(root / "decoder_mini.pt");
  if (plain || mini) {
    found.layout = PublishedFolder::kMinDalle;
    // In the published folder the files without a suffix are mega's; in min-dalle's cache they are either's.
    if (plain) found.variants.push_back(mini ? "mega" : "");
    if (mini) found.variants.push_back("mini");
    return found;
  }
  found.weights = TorchWeights(root);
  if (!found.weights.empty()) {
    found.layout = PublishedFolder::kTorch;
    return found;
  }
  found.weights = SscdWeights(root);
  if (!found.weights.empty()) {
    found.layout = PublishedFolder::kSscd;
    return found;
  }
  if (Exists(root / "flax_model.msgpack") && FlaxType(root) == "dallebart") {
    found.layout = PublishedFolder::kFlaxDalle;
  } else if (HasVqgan(root)) {
    found.layout = PublishedFolder::kVqgan;
  }
  return found;
}

std::string FindVqgan(const std::string& folder) {
  std::error_code error;
  fs::path root = fs::absolute(folder, error).lexically_normal();
  if (!root.has_filename()) root = root.parent_path();
  for (const fs::path& place : {root, root / "vqgan", root.parent_path() / "vqgan"}) {
    if (HasVqgan(place)) return place.string();
  }
  return "";
}

absl::StatusOr<Json> ReadJson(const std::string& path) {
  const auto broken = [&](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what)); };
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const absl::string_view bytes = (*file)->bytes();
  if (bytes.size() > kMaxJson) return broken("over 64 MB");
  // A callback that refuses depth bounds the parser's recursion.
  bool too_deep = false;
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) { return !(too_deep |= depth > kMaxNesting); };
  try {
    Json json = Json::parse(bytes.begin(), bytes.end(), shallow, false);
    if (json.is_discarded() || too_deep) return broken("not valid JSON");
    if (!json.is_object()) return broken("not a JSON object");
    return json;
  } catch (const std::exception& e) {
    return broken(e.what());
  }
}

}  // namespace promptsweep::weights
