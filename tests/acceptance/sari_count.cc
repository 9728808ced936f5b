// Counts saris among pictures with the detector of tests/data: a plain CNN on pixels that shares nothing with the embedder.
// usage: sari_count DETECTOR FOLDER   (DETECTOR.json and DETECTOR.safetensors; FOLDER holds WebP, PNG or JPEG files)
// Prints {"pictures": n, "saris": n, "names": [files that show one]}.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/pipeline/image_codec.h"
#include "worker/tensors/weights.h"

namespace promptsweep {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The layers of DETECTOR.json with their weights.
class Detector {
 public:
  explicit Detector(const std::string& stem)
      : about_(json::parse(ReadFile(stem + ".json"))), weights_(std::vector<std::string>{stem + ".safetensors"}, {}) {
    for (const json& layer : about_["layers"]) {
      const int64_t in = layer.value("in", 0), out = layer.value("out", 0), kernel = layer.value("kernel", 0);
      if (layer["type"] == "conv2d") Take(layer["name"], {out, in, kernel, kernel}, out);
      if (layer["type"] == "linear") Take(layer["name"], {out, in}, out);
    }
    weights_.Finish();
  }

  // uint8 [n, 3, 64, 64] -> whether each shows a sari.
  at::Tensor Detect(const at::Tensor& pictures) const {
    at::Tensor x = pictures.to(at::kFloat) / 255;
    size_t next = 0;
    for (const json& layer : about_["layers"]) {
      const std::string type = layer["type"];
      if (type == "conv2d") {
        x = at::conv2d(x, tensors_[next].first, tensors_[next].second, layer["stride"].get<int64_t>(),
                       layer["padding"].get<int64_t>());
        ++next;
      } else if (type == "linear") {
        x = at::linear(x, tensors_[next].first, tensors_[next].second);
        ++next;
      } else if (type == "flatten") {
        x = x.flatten(1);
      } else if (type == "sigmoid") {
        x = x.sigmoid();
      }
      if (layer.value("then", "") == "relu") x = x.relu();
    }
    return x.squeeze(1) > about_["threshold"].get<double>();
  }

 private:
  void Take(const std::string& name, at::IntArrayRef shape, int64_t out) {
    const worker::Weights here = weights_ / name;
    tensors_.emplace_back(here.Get("weight", shape), here.Get("bias", {out}));
  }

  json about_;
  worker::Weights weights_;
  std::vector<std::pair<at::Tensor, at::Tensor>> tensors_;
};

int Main(const std::string& stem, const std::string& folder) {
  const Detector detector(stem);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> names;
  std::vector<at::Tensor> pictures;
  for (const fs::path& path : files) {
    const std::string bytes = ReadFile(path);
    if (worker::SniffImageFormat(bytes) == v1::IMAGE_FORMAT_UNSPECIFIED) continue;
    const auto image = worker::DecodeImage(bytes);
    if (!image.ok()) {
      std::cerr << path.string() << ": " << image.status() << "\n";
      return 1;
    }
    names.push_back(path.filename().string());
    pictures.push_back(at::from_blob(const_cast<char*>(image->rgb.data()), {image->height, image->width, 3}, at::kByte)
                           .permute({2, 0, 1})
                           .clone());
  }
  json found = json::array();
  for (size_t begin = 0; begin < pictures.size(); begin += 256) {
    const size_t end = std::min(pictures.size(), begin + 256);
    const at::Tensor is_sari =
        detector.Detect(at::stack(std::vector<at::Tensor>(pictures.begin() + begin, pictures.begin() + end)));
    for (size_t i = begin; i < end; ++i) {
      if (is_sari[i - begin].item<bool>()) found.push_back(names[i]);
    }
  }
  std::cout << json{{"pictures", pictures.size()}, {"saris", found.size()}, {"names", found}}.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace promptsweep

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: sari_count DETECTOR FOLDER\n";
    return 2;
  }
  try {
    return promptsweep::Main(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "sari_count: " << error.what() << "\n";
    return 1;
  }
}
