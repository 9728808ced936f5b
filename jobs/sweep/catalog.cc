#include "jobs/sweep/catalog.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/sweep/settings.h"
#include "nlohmann/json.hpp"

namespace promptsweep::sweep {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct ModelCatalog::Cache {
  absl::Mutex mu;
  std::map<std::string, ModelFolder> found ABSL_GUARDED_BY(mu);
};

namespace {

constexpr uint64_t kMaxJsonBytes = 1 << 20;
constexpr int kMaxFiles = 10'000;

absl::Status Broken(const fs::path& file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", what));
}

absl::StatusOr<Json> ReadJsonObject(const fs::path& path) {
  std::error_code error;
  if (uint64_t size = fs::file_size(path, error); error) {
    return Broken(path, error.message());
  } else if (size > kMaxJsonBytes) {
    return Broken(path, "over 1 MB");
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return Broken(path, "cannot be read");
  // A callback that refuses depth bounds the parser's recursion.
  bool too_deep = false;
  auto shallow = [&](int depth, Json::parse_event_t, Json&) { return !(too_deep |= depth > 32); };
  try {
    Json json = Json::parse(text.str(), shallow, false);
    if (json.is_discarded() || too_deep) return Broken(path, "not valid JSON");
    if (!json.is_object()) return Broken(path, "not a JSON object");
    return json;
  } catch (const std::exception& e) {
    return Broken(path, e.what());
  }
}

std::string TextOf(const Json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

// A whole number from 1 to 2^31, or 0.
int64_t CountOf(const Json& object, const char* key) {
  auto at = object.find(key);
  if (at == object.end() || !at->is_number_unsigned()) return 0;
  uint64_t value = at->get<uint64_t>();
  return value <= (uint64_t{1} << 31) ? static_cast<int64_t>(value) : 0;
}

bool HasExtension(const fs::path& path, std::initializer_list<const char*> extensions) {
  return std::any_of(extensions.begin(), extensions.end(), [&](const char* e) { return path.extension() == e; });
}

// Relative paths of the files a digest covers, sorted bytewise.
absl::StatusOr<std::vector<std::string>> DigestedFiles(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    if (at->is_directory(error) && at.depth() == 0 && at->path().filename() == "heldout") at.disable_recursion_pending();
    if (!HasExtension(at->path(), {".safetensors", ".json", ".txt", ".model"}) || !at->is_regular_file(error)) continue;
    files.push_back(at->path().lexically_relative(folder).generic_string());
    if (files.size() > kMaxFiles) return Broken(folder, absl::StrCat("more than ", kMaxFiles, " files"));
  }
  if (error) return Broken(folder, error.message());
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<std::string> DigestOf(const fs::path& folder, const std::vector<std::string>& files) {
  Sha256 hash;
  hash.UpdateField("promptsweep.model.1");
  for (const std::string& file : files) {
    PS_ASSIGN_OR_RETURN(std::string content, Sha256OfFile((folder / file).string()));
    hash.UpdateField(file);
    hash.UpdateField(content);
  }
  return hash.Finish();
}

absl::Status ReadCard(const fs::path& folder, ModelFolder& model) {
  const fs::path path = folder / "card.json";
  std::error_code error;
  if (!fs::exists(path, error)) return absl::OkStatus();
  PS_ASSIGN_OR_RETURN(Json card, ReadJsonObject(path));
  if (card.contains("id")) {
    model.id = TextOf(card, "id");
    if (!IsName(model.id)) return Broken(path, "\"id\" is not a name of [a-z0-9][a-z0-9._-]*");
  }
  if (card.contains("harmless")) {
    if (!card["harmless"].is_boolean()) return Broken(path, "\"harmless\" is not true or false");
    model.harmless = card["harmless"].get<bool>();
  }
  if (!card.contains("defaults")) return absl::OkStatus();
  if (!card["defaults"].is_object()) return Broken(path, "\"defaults\" is not an object");
  for (const auto& [name, json] : card["defaults"].items()) {
    v1::Value value;
    if (json.is_number_integer()) {
      value.set_int_value(json.get<int64_t>());
    } else if (json.is_number()) {
      value.set_double_value(json.get<double>());
    } else if (json.is_string()) {
      value.set_string_value(json.get<std::string>());
    } else {
      return Broken(path, absl::StrCat("default ", Quoted(name), " is neither a number nor a word"));
    }
    if (absl::Status status = CheckSettingOf(model.architecture, model.image_vocab, name, value); !status.ok()) {
      return Annotate(status, path.string());
    }
    model.defaults[name] = value;
  }
  return absl::OkStatus();
}

ModelFolder BuiltIn(const std::string& id) {
  ModelFolder model;
  model.id = model.architecture = id;
  model.digest = Sha256Of(absl::StrCat("promptsweep.builtin.", id, ".1"));
  model.harmless = true;
  model.generates = id == kNullModel;
  model.embeds = id == kNullEmbedder;
  model.dimensions = model.embeds ? kNullDimensions : 0;
  model.image_side = model.generates ? 8 : 0;
  return model;
}

// open_clip's own layout. Folders of the Hub often hold both; then Hugging Face's is taken where its weights are there.
bool IsOpenClip(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / "open_clip_config.json", error)) return false;
  const bool weights =
      fs::exists(folder / "model.safetensors", error) || fs::exists(folder / "model.safetensors.index.json", error);
  return !(weights && fs::exists(folder / "config.json", error));
}

absl::StatusOr<ModelFolder> ReadOpenClip(const fs::path& folder) {
  PS_ASSIGN_OR_RETURN(Json config, ReadJsonObject(folder / "open_clip_config.json"));
  ModelFolder model;
  model.id = folder.filename().string();
  model.path = folder.string();
  model.architecture = "open-clip";
  model.embeds = true;
  if (auto at = config.find("model_cfg"); at != config.end() && at->is_object()) model.dimensions = CountOf(*at, "embed_dim");
  PS_RETURN_IF_ERROR(ReadCard(folder, model));
  return model;
}

// Everything but digest and weights; cheap.
absl::StatusOr<ModelFolder> ReadDescription(const fs::path& folder) {
  std::error_code error;
  const fs::path config_path = folder / "config.json";
  if (IsOpenClip(folder)) return ReadOpenClip(folder);
  if (!fs::exists(config_path, error)) return Broken(config_path, "missing; it says which architecture the weights are of");
  PS_ASSIGN_OR_RETURN(Json config, ReadJsonObject(config_path));
  ModelFolder model;
  model.id = folder.filename().string();
  model.path = folder.string();
  const std::string type = TextOf(config, "model_type");
  if (type == "dallebart") {
    model.architecture = "dalle-bart";
    model.generates = true;
    model.image_vocab = CountOf(config, "image_vocab_size");
    if (fs::exists(folder / "vqgan" / "config.json", error)) {
      PS_ASSIGN_OR_RETURN(Json vqgan, ReadJsonObject(folder / "vqgan" / "config.json"));
      model.image_side = CountOf(vqgan, "resolution");
    }
  } else if (type == "clip") {
    model.architecture = "clip";
    model.embeds = true;
    model.dimensions = CountOf(config, "projection_dim");
  } else if (type == "siglip" || type == "dinov2" || type == "dinov2_with_registers") {
    model.architecture = type == "siglip" ? "siglip" : "dinov2";
    model.embeds = true;
    auto vision = config.find("vision_config");
    model.dimensions =
        type == "siglip" && vision == config.end() ? 0 : CountOf(type == "siglip" ? *vision : config, "hidden_size");
    if (model.dimensions == 0) model.dimensions = 768;  // what both leave out
  } else if (type == "sscd") {
    model.architecture = "sscd";
    model.embeds = true;
    model.dimensions = CountOf(config, "dims");
    if (model.dimensions == 0) model.dimensions = 512;
  } else if (type == "siglip2") {
    return Broken(config_path, "SigLIP 2 of variable resolution (NaFlex) is not supported; those of fixed resolution are");
  } else {
    return Broken(config_path,
                  absl::StrCat("model_type ", Quoted(type), " is not one promptsweep runs",
                               Hint(type, {"dallebart", "clip", "siglip", "dinov2", "dinov2_with_registers", "sscd"})));
  }
  PS_RETURN_IF_ERROR(ReadCard(folder, model));
  return model;
}

absl::StatusOr<ModelFolder> ReadModel(const fs::path& folder) {
  PS_ASSIGN_OR_RETURN(ModelFolder model, ReadDescription(folder));
  PS_ASSIGN_OR_RETURN(std::vector<std::string> files, DigestedFiles(folder));
  bool weights = false;
  for (const std::string& file : files) {
    if (!absl::EndsWith(file, ".safetensors")) continue;
    weights = true;
    PS_RETURN_IF_ERROR(ReadSafetensorsHeader((folder / file).string()).status());
  }
  if (!weights) return Broken(folder, "holds no .safetensors file");
  PS_ASSIGN_OR_RETURN(model.digest, DigestOf(folder, files));
  return model;
}

// True for a folder that someone meant as a model.
bool LooksLikeModel(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "config.json", error) || fs::exists(folder / "open_clip_config.json", error)) return true;
  fs::directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".safetensors") return true;
  }
  return false;
}

}  // namespace

bool DetectsCopies(const v1::ModelRef& embedder) { return embedder.architecture() == "sscd"; }

v1::ModelRef ModelFolder::Ref() const {
  v1::ModelRef ref;
  ref.set_id(id);
  ref.set_architecture(architecture);
  ref.set_digest(digest);
  ref.set_harmless(harmless);
  return ref;
}

absl::StatusOr<ModelCatalog> ModelCatalog::Open(std::vector<std::string> search) {
  ModelCatalog catalog;
  catalog.cache_ = std::make_shared<Cache>();
  for (const std::string& folder : search) {
    std::error_code error;
    const fs::path root = fs::absolute(folder, error).lexically_normal();
    catalog.search_.push_back(root.string());
    std::vector<fs::path> folders;
    fs::directory_iterator at(root, error), end;
    for (; !error && at != end; at.increment(error)) {
      std::error_code ignored;
      // Hidden folders are being written, or somebody's cache.
      const bool hidden = at->path().filename().string()[0] == '.';
      if (!hidden && at->is_directory(ignored) && LooksLikeModel(at->path())) folders.push_back(at->path());
    }
    std::sort(folders.begin(), folders.end());
    for (const fs::path& found : folders) {
      absl::StatusOr<ModelFolder> model = ReadDescription(found);
      const std::string id = model.ok() ? model->id : found.filename().string();
      if (id == kNullModel || id == kNullEmbedder) continue;
      const bool first = catalog.paths_.emplace(id, found.string()).second;
      if (first && model.ok() && model->embeds) catalog.embedders_.push_back(id);
    }
  }
  std::sort(catalog.embedders_.begin(), catalog.embedders_.end());
  return catalog;
}

absl::StatusOr<ModelFolder> ModelCatalog::Find(const std::string& id) const {
  if (id == kNullModel || id == kNullEmbedder) return BuiltIn(id);
  std::error_code error;
  std::string path;
  if (absl::StrContains(id, '/')) {
    fs::path folder = fs::absolute(id, error).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    if (!fs::is_directory(folder, error)) return absl::NotFoundError(absl::StrCat("no model folder ", Quoted(id)));
    path = folder.string();
  } else if (auto at = paths_.find(id); at != paths_.end()) {
    path = at->second;
  } else {
    const auto append = [](std::string* out, const std::string& folder) {
      std::error_code ignored;
      absl::StrAppend(out, folder, fs::is_directory(folder, ignored) ? "" : ", which is no folder");
    };
    return absl::NotFoundError(
        absl::StrCat("unknown model ", Quoted(id), Hint(id, Ids()), " (looked in ", absl::StrJoin(search_, "; ", append), ")"));
  }
  {
    absl::MutexLock lock(&cache_->mu);
    if (auto at = cache_->found.find(path); at != cache_->found.end()) return at->second;
  }
  PS_ASSIGN_OR_RETURN(ModelFolder model, ReadModel(path));
  absl::MutexLock lock(&cache_->mu);
  cache_->found.emplace(path, model);
  return model;
}

std::vector<std::string> ModelCatalog::Ids() const {
  std::vector<std::string> ids = {kNullModel, kNullEmbedder};
  for (const auto& [id, path] : paths_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace promptsweep::sweep
