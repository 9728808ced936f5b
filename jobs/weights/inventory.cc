#include "jobs/weights/inventory.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/weights/dalle.h"
#include "jobs/weights/published.h"
#include "jobs/weights/sscd.h"

namespace promptsweep::weights {

namespace fs = std::filesystem;

namespace {

constexpr int kMaxFiles = 10'000;

absl::Status Missing(const std::string& name) { return absl::InvalidArgumentError(absl::StrCat(name, " is missing")); }

// Names and shapes only: the data stays where it is.
absl::StatusOr<TensorMap> Shapes(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return Missing(path.filename().string());
  PS_ASSIGN_OR_RETURN(const sweep::SafetensorsHeader header, sweep::ReadSafetensorsHeader(path.string()));
  TensorMap tensors;
  for (const sweep::SafetensorsEntry& entry : header.tensors) tensors[entry.name] = {entry.dtype, entry.shape, {}, 0, nullptr};
  return tensors;
}

// The keys that completing it had to add are those the worker would miss.
absl::Status LacksNothing(const Json& config, const Json& complete, const std::string& file,
                          const std::set<std::string>& optional) {
  for (const auto& [key, value] : complete.items()) {
    if (!config.contains(key) && !optional.count(key))
      return absl::InvalidArgumentError(absl::StrCat(file, " lacks ", sweep::Quoted(key)));
  }
  return absl::OkStatus();
}

absl::Status CheckDalleFolder(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {"encoder.safetensors", "decoder.safetensors", "vocab.json", "merges.txt", "vqgan/config.json",
                           "vqgan/model.safetensors"}) {
    if (!fs::is_regular_file(folder / name, error)) return Missing(name);
  }
  PS_ASSIGN_OR_RETURN(const Json config, ReadJson((folder / "config.json").string()));
  DalleTensors tensors;
  PS_ASSIGN_OR_RETURN(tensors.encoder, Shapes(folder / "encoder.safetensors"));
  PS_ASSIGN_OR_RETURN(tensors.decoder, Shapes(folder / "decoder.safetensors"));
  PS_ASSIGN_OR_RETURN(const Json complete, CompleteDalleConfig(config, tensors));
  PS_RETURN_IF_ERROR(LacksNothing(config, complete, "config.json", {}));
  PS_RETURN_IF_ERROR(CheckDalle(complete, tensors));
  PS_ASSIGN_OR_RETURN(const Json vqgan, ReadJson((folder / "vqgan" / "config.json").string()));
  PS_ASSIGN_OR_RETURN(const TensorMap pixels, Shapes(folder / "vqgan" / "model.safetensors"));
  PS_ASSIGN_OR_RETURN(const Json complete_vqgan, CompleteVqganConfig(vqgan, pixels, complete["image_length"].get<int64_t>(), 0));
  PS_RETURN_IF_ERROR(LacksNothing(vqgan, complete_vqgan, "vqgan/config.json", {"model_type", "norm_groups", "norm_eps"}));
  return CheckVqgan(complete_vqgan, pixels);
}

// One of `names` has to be there; the first is named where none is.
absl::Status HasOneOf(const fs::path& folder, const std::vector<std::string>& names) {
  std::error_code error;
  for (const std::string& name : names) {
    if (fs::is_regular_file(folder / name, error)) return absl::OkStatus();
  }
  return Missing(names.front());
}

absl::Status CheckEmbedderFolder(const fs::path& folder, const std::string& architecture) {
  const bool open_clip = architecture == "open-clip";
  std::vector<std::string> weights;
  for (const char* name : {open_clip ? "open_clip_model" : "model", open_clip ? "open_clip_pytorch_model" : "model"}) {
    weights.push_back(absl::StrCat(name, ".safetensors"));
    weights.push_back(absl::StrCat(name, ".safetensors.index.json"));
  }
  PS_RETURN_IF_ERROR(HasOneOf(folder, weights));
  if (!open_clip) PS_RETURN_IF_ERROR(HasOneOf(folder, {"preprocessor_config.json"}));
  if (architecture == "siglip") return HasOneOf(folder, {"spiece.model", "tokenizer.json"});
  if (architecture == "dinov2" || architecture == "sscd") return absl::OkStatus();  // read no text
  PS_RETURN_IF_ERROR(HasOneOf(folder, {"vocab.json"}));
  return HasOneOf(folder, {"merges.txt"});
}

absl::Status ReadWeights(const fs::path& folder, bool digests, Finding& finding) {
  std::map<std::string, uint64_t> bytes;  // by type
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error), end;
  for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
    if (at->path().extension() != ".safetensors" || !at->is_regular_file(error)) continue;
    const std::string name = at->path().lexically_relative(folder).generic_string();
    WeightFile file{name, fs::file_size(at->path(), error), ""};
    absl::StatusOr<sweep::SafetensorsHeader> header = sweep::ReadSafetensorsHeader(at->path().string());
    PS_RETURN_IF_ERROR(header.status());
    for (const sweep::SafetensorsEntry& entry : header->tensors) {
      bytes[entry.dtype] += entry.end - entry.begin;
      finding.parameters += (entry.end - entry.begin) / sweep::SafetensorsItemSize(entry.dtype);
    }
    if (digests) {
      PS_ASSIGN_OR_RETURN(file.sha256, Sha256OfFile(at->path().string()));
    }
    finding.files.push_back(std::move(file));
  }
  std::sort(finding.files.begin(), finding.files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::vector<std::pair<uint64_t, std::string>> order;
  for (const auto& [dtype, size] : bytes) order.emplace_back(size, dtype);
  std::sort(order.rbegin(), order.rend());
  for (const auto& [size, dtype] : order) finding.dtypes.push_back(dtype);
  return absl::OkStatus();
}

// A shell reads it back as one word.
std::string ShellWord(const std::string& text) {
  const auto plain = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("/._-+=:,@%", c);
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return text;
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::string ConvertCommand(const fs::path& folder, const PublishedFolder& published) {
  const auto command = [&](const std::string& name, const std::string& options) {
    return absl::StrCat("promptsweep convert-weights ", ShellWord(folder.string()), " ",
                        ShellWord((folder.parent_path() / name).string()), options);
  };
  const std::string name = folder.filename().string();
  if (published.layout == PublishedFolder::kSscd && published.weights.size() > 1) {
    const std::string& file = published.weights.front();
    return absl::StrCat("promptsweep convert-weights ", ShellWord((folder / file).string()), " ",
                        ShellWord((folder.parent_path() / file.substr(0, file.find('.'))).string()), " (and so each)");
  }
  const bool dalle = published.layout == PublishedFolder::kMinDalle || published.layout == PublishedFolder::kFlaxDalle;
  const std::string vqgan = dalle && FindVqgan(folder.string()).empty() ? " --vqgan FOLDER-OF-THE-VQGAN" : "";
  if (published.variants.size() < 2) return command(name + "-converted", vqgan);
  return absl::StrCat(command(name + "-mini", vqgan + " --variant mini"), " (or --variant mega)");
}

// A folder that is a model or was meant as one.
bool IsCandidate(const fs::path& folder) {
  std::error_code error;
  if (FindPublished(folder.string()).layout != PublishedFolder::kNone || fs::exists(folder / "config.json", error) ||
      fs::exists(folder / "open_clip_config.json", error)) {
    return true;
  }
  fs::directory_iterator at(folder, error), end;
  for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
    if (at->path().extension() == ".safetensors") return true;
  }
  return false;
}

Finding Inspect(const fs::path& folder, const sweep::ModelCatalog& catalog, bool file_digests) {
  Finding finding;
  finding.path = folder.string();
  finding.model.id = folder.filename().string();
  const PublishedFolder published = FindPublished(folder.string());
  if (published.layout == PublishedFolder::kVqgan) {
    finding.state = Finding::kPart;
    finding.message = "the VQGAN of a DALL-E; convert-weights finds it beside the DALL-E, or by --vqgan";
    return finding;
  }
  if (published.layout == PublishedFolder::kSscd && SscdForm(published.weights.front()) == "torchscript") {
    finding.message = absl::StrCat(published.weights.front(),
                                   " is a TorchScript program, which is not run; its weights are also "
                                   "published as .torchvision.pt or .classy.pt, which can be converted");
    return finding;
  }
  if (published.layout != PublishedFolder::kNone) {
    finding.state = Finding::kUnconverted;
    finding.message = absl::StrCat(published.Name(), "; run: ", ConvertCommand(folder, published));
    return finding;
  }
  absl::StatusOr<sweep::ModelFolder> model = catalog.Find(folder.string());
  absl::Status status = model.status();
  if (status.ok() && model->architecture == "dalle-bart") {
    // A configuration of an odd shape.
    try {
      status = CheckDalleFolder(folder);
    } catch (const std::exception& e) {
      status = absl::InvalidArgumentError(e.what());
    }
  }
  if (status.ok() && model->embeds) status = CheckEmbedderFolder(folder, model->architecture);
  if (status.ok()) status = ReadWeights(folder, file_digests, finding);
  if (!status.ok()) {
    finding.message = std::string(status.message());
    return finding;
  }
  finding.state = Finding::kReady;
  finding.model = *std::move(model);
  return finding;
}

}  // namespace

std::string StateName(Finding::State state) {
  switch (state) {
    case Finding::kReady:
      return "ready";
    case Finding::kUnconverted:
      return "unconverted";
    case Finding::kPart:
      return "part";
    case Finding::kShadowed:
      return "shadowed";
    case Finding::kBroken:
      break;
  }
  return "broken";
}

absl::StatusOr<std::vector<Finding>> ListModels(const std::vector<std::string>& paths, bool file_digests) {
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open({}));
  std::vector<Finding> findings;
  std::map<std::string, std::string> first;  // id -> folder
  for (const std::string& path : paths) {
    std::error_code error;
    fs::path root = fs::absolute(path, error).lexically_normal();
    if (!root.has_filename()) root = root.parent_path();
    if (!fs::is_directory(root, error)) return absl::NotFoundError(absl::StrCat("no folder ", sweep::Quoted(path)));
    std::vector<fs::path> folders;
    if (IsCandidate(root)) {
      folders.push_back(root);
    } else {
      fs::directory_iterator at(root, error), end;
      for (int i = 0; !error && at != end && i < kMaxFiles; at.increment(error), ++i) {
        std::error_code ignored;
        if (at->is_directory(ignored) && at->path().filename().string()[0] != '.' && IsCandidate(at->path()))
          folders.push_back(at->path());
      }
    }
    std::sort(folders.begin(), folders.end());
    for (const fs::path& folder : folders) {
      Finding finding = Inspect(folder, catalog, file_digests);
      if (finding.state == Finding::kReady) {
        const auto [it, added] = first.emplace(finding.model.id, finding.path);
        if (!added && it->second == finding.path) continue;
        if (!added) {
          finding.state = Finding::kShadowed;
          finding.message = absl::StrCat("hidden by ", it->second, ", which is found first");
        }
      }
      findings.push_back(std::move(finding));
    }
  }
  return findings;
}

std::vector<Finding> BuiltInModels() {
  std::vector<Finding> findings;
  const absl::StatusOr<sweep::ModelCatalog> catalog = sweep::ModelCatalog::Open({});
  for (const char* id : {sweep::kNullModel, sweep::kNullEmbedder}) {
    absl::StatusOr<sweep::ModelFolder> model = catalog->Find(id);
    Finding finding;
    finding.state = Finding::kReady;
    finding.model = *std::move(model);
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace promptsweep::weights
