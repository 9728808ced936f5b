#include "jobs/weights/convert.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/weights/dalle.h"
#include "jobs/weights/flax_file.h"
#include "jobs/weights/mapped_file.h"
#include "jobs/weights/new_folder.h"
#include "jobs/weights/published.h"
#include "jobs/weights/safetensors_writer.h"
#include "jobs/weights/sscd.h"
#include "jobs/weights/torch_file.h"

namespace promptsweep::weights {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kForgetBytes = 64 << 20;  // read and written between two times of giving back memory
constexpr size_t kHashBytes = 8 << 20;
constexpr size_t kMaxSmallFile = 256 << 20;
constexpr double kMinDalleEps = 1e-5, kFlaxEps = 1e-6;  // of the VQGAN's norms in either reference

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// The work in progress: what is open, what was read, how far it is.
class Conversion {
 public:
  explicit Conversion(const ConvertOptions& options) : options_(options) {}

  absl::StatusOr<Converted> Run() {
    std::error_code error;
    const PublishedFolder published = FindPublished(options_.source);
    if (!fs::is_directory(options_.source, error) && published.layout != PublishedFolder::kSscd)
      return absl::NotFoundError(absl::StrCat("no folder ", sweep::Quoted(options_.source)));
    done_.layout = published.Name();
    PS_ASSIGN_OR_RETURN(folder_, NewFolder::Create(options_.target));
    switch (published.layout) {
      case PublishedFolder::kMinDalle:
        PS_RETURN_IF_ERROR(PlanMinDalle(published));
        break;
      case PublishedFolder::kFlaxDalle:
        PS_RETURN_IF_ERROR(PlanFlaxDalle());
        break;
      case PublishedFolder::kSscd:
        PS_RETURN_IF_ERROR(PlanSscd(published));
        break;
      case PublishedFolder::kTorch:
        PS_RETURN_IF_ERROR(PlanTorch(published));
        break;
      case PublishedFolder::kVqgan:
        return Invalid(absl::StrCat(options_.source,
                                    ": the VQGAN alone draws nothing; convert the DALL-E and name this folder with --vqgan"));
      case PublishedFolder::kNone:
        return Invalid(
            absl::StrCat(options_.source,
                         ": no weights to convert; looked for encoder.pt and decoder.pt (min-dalle), flax_model.msgpack with "
                         "a config.json of model_type dallebart, sscd_*.torchvision.pt or .classy.pt, pytorch_model.bin and "
                         "open_clip_pytorch_model.bin, in a folder without .safetensors"));
    }
    PS_RETURN_IF_ERROR(CheckSources());
    PS_RETURN_IF_ERROR(WriteAll());
    PS_RETURN_IF_ERROR(WriteCard());
    PS_RETURN_IF_ERROR(folder_->Finish());
    return std::move(done_);
  }

 private:
  struct Output {
    std::string name;
    TensorMap tensors;
  };

  std::string In(const std::string& name) const { return (fs::path(options_.source) / name).string(); }

  absl::StatusOr<absl::string_view> Map(const std::string& path) {
    PS_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
    sources_.push_back(file);
    return file->bytes();
  }
  absl::StatusOr<TensorMap> Torch(const std::string& path) {
    PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Map(path));
    absl::StatusOr<TensorMap> tensors = ReadTorchFile(bytes);
    return tensors.ok() ? std::move(tensors) : Annotate(tensors.status(), path);
  }
  absl::StatusOr<TensorMap> Flax(const std::string& path) {
    PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Map(path));
    absl::StatusOr<TensorMap> tensors = ReadFlaxFile(bytes);
    return tensors.ok() ? std::move(tensors) : Annotate(tensors.status(), path);
  }

  absl::Status Copy(const std::string& from, const std::string& to) {
    PS_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(from));
    if (file->bytes().size() > kMaxSmallFile) return Invalid(absl::StrCat(from, ": over 256 MB"));
    return folder_->Write(to, file->bytes());
  }

  absl::Status PlanMinDalle(const PublishedFolder& published) {
    std::string suffix;
    if (published.variants.size() > 1 && options_.variant.empty()) {
      return Invalid(
          absl::StrCat(options_.source, " holds ", absl::StrJoin(published.variants, " and "), "; say which with --variant"));
    }
    const std::string variant = options_.variant.empty() ? published.variants.front() : options_.variant;
    if (variant == "mini" && published.variants.back() == "mini") suffix = "_mini";
    if (variant == "mega" && published.variants == std::vector<std::string>{"mini"}) {
      return Invalid(absl::StrCat(options_.source, " holds mini only"));
    }
    DalleTensors tensors;
    PS_ASSIGN_OR_RETURN(tensors.encoder, Torch(In(absl::StrCat("encoder", suffix, ".pt"))));
    PS_ASSIGN_OR_RETURN(tensors.decoder, Torch(In(absl::StrCat("decoder", suffix, ".pt"))));
    // min-dalle keeps no configuration in its cache.
    Json config = Json::object();
    const std::string path = In(absl::StrCat("config", suffix, ".json"));
    std::error_code error;
    if (fs::exists(path, error)) {
      PS_ASSIGN_OR_RETURN(config, ReadJson(path));
    }
    return PlanDalle(std::move(config), std::move(tensors), absl::StrCat("vocab", suffix, ".json"),
                     absl::StrCat("merges", suffix, ".txt"));
  }

  absl::Status PlanFlaxDalle() {
    PS_ASSIGN_OR_RETURN(Json config, ReadJson(In("config.json")));
    PS_ASSIGN_OR_RETURN(const TensorMap flax, Flax(In("flax_model.msgpack")));
    absl::StatusOr<DalleTensors> tensors = DalleFromFlax(flax);
    if (!tensors.ok()) return Annotate(tensors.status(), In("flax_model.msgpack"));
    return PlanDalle(std::move(config), *std::move(tensors), "vocab.json", "merges.txt");
  }

  absl::Status PlanDalle(Json published, DalleTensors tensors, const std::string& vocab, const std::string& merges) {
    absl::StatusOr<Json> config = CompleteDalleConfig(std::move(published), tensors);
    if (!config.ok()) return Annotate(config.status(), options_.source);
    PS_RETURN_IF_ERROR(Annotate(CheckDalle(*config, tensors), options_.source));
    PS_RETURN_IF_ERROR(PlanVqgan((*config)["image_length"].get<int64_t>()));
    PS_RETURN_IF_ERROR(folder_->Write("config.json", config->dump(2) + "\n"));
    PS_RETURN_IF_ERROR(Copy(In(vocab), "vocab.json"));
    PS_RETURN_IF_ERROR(Copy(In(merges), "merges.txt"));
    outputs_.push_back({"encoder.safetensors", std::move(tensors.encoder)});
    outputs_.push_back({"decoder.safetensors", std::move(tensors.decoder)});
    return absl::OkStatus();
  }

  absl::Status PlanVqgan(int64_t image_length) {
    const std::string folder = options_.vqgan.empty() ? FindVqgan(options_.source) : options_.vqgan;
    if (folder.empty()) {
      return Invalid(absl::StrCat(options_.source,
                                  ": the VQGAN that draws its pictures is not there, in vqgan/ or beside it; name its "
                                  "folder (with detoker.pt, or flax_model.msgpack and config.json) with --vqgan"));
    }
    const fs::path root(folder);
    std::error_code error;
    TensorMap tensors;
    double eps = kFlaxEps;
    if (fs::exists(root / "detoker.pt", error)) {
      PS_ASSIGN_OR_RETURN(const TensorMap torch, Torch((root / "detoker.pt").string()));
      tensors = VqganFromTorch(torch);
      eps = kMinDalleEps;
    } else {
      PS_ASSIGN_OR_RETURN(const TensorMap flax, Flax((root / "flax_model.msgpack").string()));
      absl::StatusOr<TensorMap> renamed = VqganFromFlax(flax);
      if (!renamed.ok()) return Annotate(renamed.status(), (root / "flax_model.msgpack").string());
      tensors = *std::move(renamed);
    }
    // The DALL-E's own config.json says nothing of the VQGAN beside it.
    Json config = Json::object();
    if (fs::exists(root / "config.json", error)) {
      PS_ASSIGN_OR_RETURN(Json published, ReadJson((root / "config.json").string()));
      if (published.contains("ch_mult")) config = std::move(published);
    }
    absl::StatusOr<Json> complete = CompleteVqganConfig(std::move(config), tensors, image_length, eps);
    if (!complete.ok()) return Annotate(complete.status(), folder);
    PS_RETURN_IF_ERROR(Annotate(CheckVqgan(*complete, tensors), folder));
    outputs_.push_back({"vqgan/model.safetensors", std::move(tensors)});
    return folder_->Write("vqgan/config.json", complete->dump(2) + "\n");
  }

  absl::Status PlanSscd(const PublishedFolder& published) {
    if (published.weights.size() > 1) {
      return Invalid(absl::StrCat(options_.source, " holds ", absl::StrJoin(published.weights, ", "), "; name the one file"));
    }
    const std::string& name = published.weights.front();
    std::error_code error;
    const std::string path = fs::is_directory(options_.source, error) ? In(name) : options_.source;
    if (SscdForm(name) == "torchscript") {
      return Invalid(absl::StrCat(path, ": a TorchScript program, which is not run; its weights are also published as ",
                                  name.substr(0, name.find('.')), ".torchvision.pt or .classy.pt, which can be converted"));
    }
    PS_ASSIGN_OR_RETURN(const TensorMap torch, Torch(path));
    absl::StatusOr<TensorMap> tensors = SscdFromTorch(torch);
    if (!tensors.ok()) return Annotate(tensors.status(), path);
    const absl::StatusOr<Json> config = SscdConfig(*tensors);
    if (!config.ok()) return Annotate(config.status(), path);
    PS_RETURN_IF_ERROR(folder_->Write("config.json", config->dump(2) + "\n"));
    PS_RETURN_IF_ERROR(folder_->Write("preprocessor_config.json", SscdPreprocessing().dump(2) + "\n"));
    outputs_.push_back({"model.safetensors", *std::move(tensors)});
    return absl::OkStatus();
  }

  absl::Status PlanTorch(const PublishedFolder& published) {
    Output output{absl::StartsWith(published.weights.front(), "open_clip") ? "open_clip_model.safetensors" : "model.safetensors",
                  {}};
    PS_RETURN_IF_ERROR(CheckShards(published.weights));
    for (const std::string& name : published.weights) {
      PS_ASSIGN_OR_RETURN(TensorMap tensors, Torch(In(name)));
      for (auto& [tensor, value] : tensors) {
        if (!output.tensors.emplace(tensor, std::move(value)).second) {
          return Invalid(absl::StrCat(In(name), ": tensor ", sweep::Quoted(tensor), " is in another file too"));
        }
      }
    }
    if (output.tensors.empty()) return Invalid(absl::StrCat(options_.source, ": holds no tensors"));
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(options_.source, error)) {
      const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
      if (!entry.is_regular_file(error) || absl::EndsWith(name, ".index.json") || name == "card.json") continue;
      if (extension == ".json" || extension == ".txt" || extension == ".model")
        PS_RETURN_IF_ERROR(Copy(entry.path().string(), name));
    }
    outputs_.push_back(std::move(output));
    return absl::OkStatus();
  }

  // pytorch_model-00001-of-00002.bin: all of them are there.
  static absl::Status CheckShards(const std::vector<std::string>& names) {
    for (size_t i = 0; i < names.size(); ++i) {
      absl::string_view name = names[i];
      if (!absl::ConsumePrefix(&name, "pytorch_model-")) return absl::OkStatus();
      const std::string expected = absl::StrCat("pytorch_model-", absl::Dec(i + 1, absl::kZeroPad5), "-of-",
                                                absl::Dec(names.size(), absl::kZeroPad5), ".bin");
      if (names[i] != expected) return Invalid(absl::StrCat(expected, " is missing"));
    }
    return absl::OkStatus();
  }

  // CRCs and digests of what is about to be converted.
  absl::Status CheckSources() {
    for (const auto& source : sources_) total_ += source->bytes().size() * (absl::StartsWith(source->bytes(), "PK") ? 2 : 1);
    uint64_t needed = 0;
    for (const Output& output : outputs_) {
      for (const auto& [name, tensor] : output.tensors) {
        needed += tensor.elements() * sweep::SafetensorsItemSize(DtypeFor(tensor, options_.dtype));
        done_.parameters += tensor.elements();
        ++done_.tensors;
      }
    }
    if (const uint64_t free = folder_->FreeBytes(); free < needed) {
      return Invalid(absl::StrCat(options_.target, " needs ", needed, " bytes; the disk has ", free, " left"));
    }
    total_ += needed;
    const auto advance = [&](uint64_t bytes) { return Advance(bytes); };
    for (const auto& source : sources_) {
      PS_RETURN_IF_ERROR(Annotate(CheckCrc(source->bytes(), advance), source->path()));
      Sha256 hash;
      for (absl::string_view rest = source->bytes(); !rest.empty();) {
        const absl::string_view part = rest.substr(0, kHashBytes);
        hash.Update(part);
        rest.remove_prefix(part.size());
        PS_RETURN_IF_ERROR(advance(part.size()));
      }
      done_.sources.push_back({fs::path(source->path()).filename().string(), source->bytes().size(), hash.Finish()});
    }
    return absl::OkStatus();
  }

  absl::Status WriteAll() {
    for (const Output& output : outputs_) {
      PS_ASSIGN_OR_RETURN(const std::string place, folder_->Place(output.name));
      PS_RETURN_IF_ERROR(WriteSafetensors(place, output.tensors, options_.dtype, [&](uint64_t bytes) { return Advance(bytes); }));
      PS_ASSIGN_OR_RETURN(const std::string digest, Sha256OfFile(place));
      std::error_code error;
      done_.files.push_back({output.name, fs::file_size(place, error), digest});
    }
    return absl::OkStatus();
  }

  absl::Status WriteCard() {
    Json card;
    card["format"] = 1;
    card["converted_from"] = done_.layout;
    if (!options_.dtype.empty()) card["converted_to"] = options_.dtype;
    for (const ConvertedFile& source : done_.sources) {
      card["sources"].push_back({{"file", source.name}, {"bytes", source.bytes}, {"sha256", ToHex(source.sha256)}});
    }
    card["parameters"] = done_.parameters;
    return folder_->Write("card.json", card.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  // `bytes` more are done.
  absl::Status Advance(uint64_t bytes) {
    at_ += bytes;
    remembered_ += bytes;
    if (remembered_ >= kForgetBytes) {
      for (const auto& source : sources_) source->Forget();
      remembered_ = 0;
    }
    if (options_.progress) options_.progress(std::min(at_, total_), total_);
    return options_.stopped && options_.stopped() ? absl::CancelledError("interrupted") : absl::OkStatus();
  }

  const ConvertOptions& options_;
  std::unique_ptr<NewFolder> folder_;
  std::vector<std::shared_ptr<const MappedFile>> sources_;
  std::vector<Output> outputs_;
  Converted done_;
  uint64_t total_ = 0, at_ = 0, remembered_ = 0;
};

}  // namespace

absl::StatusOr<Converted> ConvertWeights(const ConvertOptions& options) {
  // nlohmann's exceptions end here: a published configuration of an odd shape.
  try {
    return Conversion(options).Run();
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(options.source, ": ", e.what()));
  }
}

}  // namespace promptsweep::weights
