#include "jobs/weights/sscd.h"

#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;
using Shape = std::vector<int64_t>;

constexpr int kStages = 4;
constexpr int64_t kMostBlocks = 1000;
constexpr int64_t kMostWidth = 1 << 16;
constexpr const char* kForms[] = {"torchvision", "classy", "torchscript"};  // the best first

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// One part of a name: "block2-5" of stage 2 -> "5"; empty for anything else.
std::string BlockOf(absl::string_view part, absl::string_view stage) {
  int64_t block = 0;
  const std::string prefix = absl::StrCat("block", stage, "-");
  if (!absl::ConsumePrefix(&part, prefix) || !absl::SimpleAtoi(part, &block) || block < 0) return "";
  return absl::StrCat(block);
}

// Classy Vision's name, without "backbone.", as torchvision's; empty where it is not one.
std::string FromClassy(absl::string_view name) {
  static const auto& parts =
      *new std::map<std::string, std::string>{{"0", "conv1"}, {"1", "bn1"}, {"3", "conv2"}, {"4", "bn2"}, {"6", "conv3"}};
  const std::vector<std::string> path = absl::StrSplit(name, '.');
  if (path.size() == 4 && path[0] == "initial_block" && path[1] == "_module" && (path[2] == "0" || path[2] == "1")) {
    return absl::StrCat(path[2] == "0" ? "conv1." : "bn1.", path[3]);
  }
  int64_t stage = 0;
  if (path.size() < 5 || path[0] != "blocks" || !absl::SimpleAtoi(path[1], &stage) || stage < 0 || stage >= kStages) return "";
  const std::string block = BlockOf(path[2], path[1]);
  if (block.empty()) return "";
  const std::string to = absl::StrCat("layer", stage + 1, ".", block, ".");
  if (path.size() == 5 && path[3] == "bn") return absl::StrCat(to, "bn3.", path[4]);
  if (path.size() == 6 && path[3] == "downsample") return absl::StrCat(to, "downsample.", path[4], ".", path[5]);
  if (path.size() != 6 || path[3] != "convolutional_block") return "";
  const auto part = parts.find(path[4]);
  return part == parts.end() ? "" : absl::StrCat(to, part->second, ".", path[5]);
}

absl::StatusOr<Shape> ShapeOf(const TensorMap& tensors, const std::string& name, size_t rank) {
  const auto at = tensors.find(name);
  if (at == tensors.end()) return Invalid(absl::StrCat("tensor ", Quoted(name), " is missing"));
  if (at->second.shape.size() != rank) {
    return Invalid(absl::StrCat("tensor ", Quoted(name), " has shape ", ShapeText(at->second.shape), ", not ", rank, " axes"));
  }
  for (const int64_t size : at->second.shape) {
    if (size < 1 || size > kMostWidth) return Invalid(absl::StrCat("tensor ", Quoted(name), " has a size of ", size));
  }
  return at->second.shape;
}

void AddNorm(const std::string& name, int64_t width, std::map<std::string, Shape>& shapes) {
  for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) shapes[name + part] = {width};
}

}  // namespace

std::string SscdForm(const std::string& name) {
  for (const char* form : kForms) {
    if (absl::StartsWith(name, "sscd_") && absl::EndsWith(name, absl::StrCat(".", form, ".pt"))) return form;
  }
  return "";
}

std::vector<std::string> SscdFiles(const std::vector<std::string>& names) {
  std::map<std::string, std::string> of_model;
  for (const char* form : kForms) {
    for (const std::string& name : names) {
      if (SscdForm(name) == form) of_model.emplace(name.substr(0, name.find('.')), name);
    }
  }
  std::vector<std::string> files;
  for (const auto& [model, name] : of_model) files.push_back(name);
  return files;
}

absl::StatusOr<TensorMap> SscdFromTorch(const TensorMap& torch) {
  const bool classy = torch.count("backbone.initial_block._module.0.weight") + torch.count("initial_block._module.0.weight") > 0;
  TensorMap tensors;
  for (const auto& [name, tensor] : torch) {
    if (absl::EndsWith(name, ".num_batches_tracked")) continue;
    absl::string_view rest = name;
    absl::ConsumePrefix(&rest, "backbone.");
    std::string to(rest);
    if (classy) to = absl::ConsumePrefix(&rest, "embeddings.1.") ? absl::StrCat("fc.", rest) : FromClassy(rest);
    if (to.empty()) return Invalid(absl::StrCat("tensor ", Quoted(name), " has no place in SSCD"));
    if (!tensors.emplace(to, tensor).second) return Invalid(absl::StrCat("tensor ", Quoted(to), " comes twice"));
  }
  return tensors;
}

absl::StatusOr<Json> SscdConfig(const TensorMap& tensors) {
  PS_ASSIGN_OR_RETURN(const Shape stem, ShapeOf(tensors, "conv1.weight", 4));
  if (tensors.count("layer1.0.conv2.weight") > 0 && tensors.count("layer1.0.conv3.weight") == 0) {
    return Invalid("a ResNet of basic blocks; only those of bottleneck blocks (ResNet-50, ResNeXt-101) are read");
  }
  PS_ASSIGN_OR_RETURN(const Shape spatial, ShapeOf(tensors, "layer1.0.conv2.weight", 4));
  PS_ASSIGN_OR_RETURN(const Shape head, ShapeOf(tensors, "fc.weight", 2));
  const int64_t planes = stem[0], width = spatial[0], groups = width / spatial[1];
  // torchvision's own formula, the other way round.
  const int64_t per_group = groups == 0 ? 0 : width / groups * 64 / planes;
  const auto width_of = [&](int stage) {
    return static_cast<int64_t>(static_cast<double>(planes << stage) * (static_cast<double>(per_group) / 64)) * groups;
  };
  if (per_group < 1 || width_of(0) != width) {
    return Invalid(absl::StrCat("tensor \"layer1.0.conv2.weight\" has shape ", ShapeText(spatial),
                                ", which no number of groups gives at ", planes, " channels"));
  }

  std::map<std::string, Shape> shapes = {{"conv1.weight", {planes, 3, 7, 7}}};
  AddNorm("bn1", planes, shapes);
  Json layers = Json::array();
  int64_t in = planes;
  for (int stage = 0; stage < kStages; ++stage) {
    const int64_t middle = width_of(stage), out = 4 * (planes << stage);
    int64_t blocks = 0;
    while (blocks <= kMostBlocks && tensors.count(absl::StrCat("layer", stage + 1, ".", blocks, ".conv1.weight")) > 0) ++blocks;
    if (blocks == 0 || blocks > kMostBlocks) {
      return Invalid(absl::StrCat("tensor ", Quoted(absl::StrCat("layer", stage + 1, ".0.conv1.weight")),
                                  blocks == 0 ? " is missing" : " is the first of too many"));
    }
    layers.push_back(blocks);
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string block = absl::StrCat("layer", stage + 1, ".", i, ".");
      shapes[block + "conv1.weight"] = {middle, in, 1, 1};
      shapes[block + "conv2.weight"] = {middle, middle / groups, 3, 3};
      shapes[block + "conv3.weight"] = {out, middle, 1, 1};
      AddNorm(block + "bn1", middle, shapes);
      AddNorm(block + "bn2", middle, shapes);
      AddNorm(block + "bn3", out, shapes);
      if (i == 0 && (stage > 0 || in != out)) {
        shapes[block + "downsample.0.weight"] = {out, in, 1, 1};
        AddNorm(block + "downsample.1", out, shapes);
      }
      in = out;
    }
  }
  shapes["fc.weight"] = {head[0], in};
  shapes["fc.bias"] = {head[0]};
  for (const auto& [name, shape] : shapes) {
    const auto at = tensors.find(name);
    if (at == tensors.end()) return Invalid(absl::StrCat("tensor ", Quoted(name), " is missing"));
    if (at->second.shape != shape) {
      return Invalid(absl::StrCat("tensor ", Quoted(name), " has shape ", ShapeText(at->second.shape), "; the others imply ",
                                  ShapeText(shape)));
    }
    if (!IsFloating(at->second.dtype)) return Invalid(absl::StrCat("tensor ", Quoted(name), " has type ", at->second.dtype));
  }
  for (const auto& [name, tensor] : tensors) {
    if (shapes.count(name) == 0) return Invalid(absl::StrCat("tensor ", Quoted(name), " has no place in SSCD"));
  }
  return Json{{"model_type", "sscd"},         {"layers", layers}, {"init_planes", planes}, {"groups", groups},
              {"width_per_group", per_group}, {"dims", head[0]},  {"pool_param", 3.0}};
}

Json SscdPreprocessing() {
  return Json{{"image_processor_type", "BitImageProcessor"},
              {"do_resize", true},
              {"size", {{"shortest_edge", 288}}},
              {"resample", 2},
              {"do_center_crop", false},
              {"do_rescale", true},
              {"do_normalize", true},
              {"image_mean", {0.485, 0.456, 0.406}},
              {"image_std", {0.229, 0.224, 0.225}}};
}

}  // namespace promptsweep::weights
