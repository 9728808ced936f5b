// SSCD, a self-supervised descriptor for copy detection (Pizzi et al. 2022), as an embedder: a ResNet or ResNeXt of bottleneck
// blocks, generalised mean pooling, one product. Two pictures with a cosine of .75 or more are copies with 90 % precision on DISC
// (sscd_disc_mixup; the repository's README). There is no text tower.
// Sources: facebookresearch/sscd-copy-detection sscd/models/model.py and gem_pooling.py; torchvision 0.26 models/resnet.py.
#include <c10/core/InferenceMode.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/models/architectures.h"
#include "worker/models/embedding_model.h"
#include "worker/models/layers.h"
#include "worker/tensors/elementwise.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kExpansion = 4;      // of a bottleneck's last convolution
constexpr double kLeastPooled = 1e-6;  // GlobalGeMPool2d clamps there

struct SscdConfig {
  std::vector<int64_t> layers;  // blocks of each stage
  int64_t init_planes = 64;     // channels of the first convolution; doubled from stage to stage
  int64_t groups = 1, width_per_group = 64;
  int64_t dims = 512;
  double pool = 3;  // exponent of the mean
  double eps = 1e-5;
  std::string weights;  // for messages

  SscdConfig(const std::string& folder, const JsonFile& json) : weights(folder + "/model.safetensors") {
    constexpr int64_t kMaxWidth = 1 << 16;
    layers = json.Has("layers") ? json.Ints("layers", 1, 1000) : std::vector<int64_t>{3, 4, 6, 3};
    if (layers.size() != 4) throw LoadError(absl::StrCat(json.path(), ": layers are of 4 stages, not ", layers.size()));
    init_planes = json.Int("init_planes", 1, kMaxWidth >> 5, init_planes);
    groups = json.Int("groups", 1, kMaxWidth, groups);
    width_per_group = json.Int("width_per_group", 1, kMaxWidth, width_per_group);
    dims = json.Int("dims", 1, kMaxWidth, dims);
    pool = json.Number("pool_param", 1, 100, pool);
    eps = json.Number("batch_norm_eps", 0, 1, eps);
    for (int64_t stage = 0; stage < 4; ++stage) {
      if (const int64_t width = Width(stage); width < 1 || width > kMaxWidth) {
        throw LoadError(absl::StrCat(json.path(), ": groups and width_per_group give a width of ", width));
      }
    }
  }

  int64_t Planes(int64_t stage) const { return init_planes << stage; }
  // Channels of the convolution in the middle of a block.
  int64_t Width(int64_t stage) const {
    return static_cast<int64_t>(static_cast<double>(Planes(stage)) * (static_cast<double>(width_per_group) / 64)) * groups;
  }
};

// A convolution without a bias and the batch normalisation after it, as one: weight and bias scaled by what training has counted.
struct Convolution {
  at::Tensor weight, bias;  // [out, in / groups, k, k]; [out]
  int64_t stride = 1, groups = 1;

  Convolution() = default;
  // Weights of float32, whatever `dtype` is wanted: variances may be beyond what half holds.
  Convolution(const Weights& w, const Weights& norm, const SscdConfig& c, at::ScalarType dtype, std::vector<int64_t> shape,
              int64_t stride, int64_t groups)
      : stride(stride), groups(groups) {
    const int64_t out = shape[0];
    const at::Tensor kernel = w.Get("weight", shape).to(at::kDouble);
    const at::Tensor variance = norm.Get("running_var", {out}).to(at::kDouble) + c.eps;
    const at::Tensor scale = norm.Get("weight", {out}).to(at::kDouble) / variance.sqrt();
    weight = (kernel * scale.view({out, 1, 1, 1})).to(dtype);
    bias = (norm.Get("bias", {out}).to(at::kDouble) - norm.Get("running_mean", {out}).to(at::kDouble) * scale).to(dtype);
    norm.Ignore("num_batches_tracked");
    if (weight.is_meta()) return;
    // Of a variance below 0, too.
    if (!(at::isfinite(weight).all() & at::isfinite(bias).all()).item<bool>()) {
      throw LoadError(absl::StrCat(c.weights, ": a convolution and its batch normalisation have a product that is not finite as ",
                                   at::toString(dtype)));
    }
  }

  // [n, in, h, w] -> [n, out, h / stride, w / stride], rounded up.
  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t side = weight.size(2);
    if (side > 1 || groups > 1) return at::conv2d(x, weight, bias, stride, /*padding=*/side / 2, /*dilation=*/1, groups);
    // Of one pixel as a product: oneDNN's convolution sums in another order with one thread than with several.
    const at::Tensor seen = stride == 1 ? x : x.slice(2, 0, {}, stride).slice(3, 0, {}, stride);
    const at::Tensor y = at::matmul(weight.flatten(1), seen.flatten(2)).add_(bias.unsqueeze(1));
    return y.view({x.size(0), y.size(1), seen.size(2), seen.size(3)});
  }
};

struct Bottleneck {
  Convolution reduce, spatial, expand, shortcut;
  bool projects = false;

  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor y = expand(spatial(reduce(x).relu_()).relu_());
    return y.add_(projects ? shortcut(x) : x).relu_();
  }
};

class Sscd final : public EmbeddingModel {
 public:
  Sscd(const SscdConfig& c, const Weights& all, at::ScalarType dtype) : config_(c) {
    // "backbone." in the published files, nothing before torchvision's own names.
    const Weights w = (all / "backbone" / "conv1").Has("weight") ? all / "backbone" : all;
    const auto convolution = [&](const Weights& at, const std::string& name, const std::string& norm, std::vector<int64_t> shape,
                                 int64_t stride, int64_t groups) {
      return Convolution(at / name, at / norm, c, dtype, std::move(shape), stride, groups);
    };
    stem_ = convolution(w, "conv1", "bn1", {c.init_planes, 3, 7, 7}, 2, 1);
    int64_t in = c.init_planes;
    for (int64_t stage = 0; stage < 4; ++stage) {
      const int64_t width = c.Width(stage), out = c.Planes(stage) * kExpansion;
      for (int64_t i = 0; i < c.layers[stage]; ++i) {
        const Weights b = w / absl::StrCat("layer", stage + 1) / i;
        const int64_t stride = i == 0 && stage > 0 ? 2 : 1;
        Bottleneck block;
        block.reduce = convolution(b, "conv1", "bn1", {width, in, 1, 1}, 1, 1);
        block.spatial = convolution(b, "conv2", "bn2", {width, width / c.groups, 3, 3}, stride, c.groups);
        block.expand = convolution(b, "conv3", "bn3", {out, width, 1, 1}, 1, 1);
        block.projects = stride != 1 || in != out;
        if (block.projects) block.shortcut = convolution(b / "downsample", "0", "1", {out, in, 1, 1}, stride, 1);
        blocks_.push_back(std::move(block));
        in = out;
      }
    }
    head_ = Linear(w / "fc", in, c.dims, true);
    head_.weight = head_.weight.to(dtype);
    head_.bias = head_.bias.to(dtype);
    all.Finish();
  }
  int64_t dim() const override { return config_.dims; }

  // Memory stays small, and nothing is computed for images that are not there. A GPU would be idle.
  bool OneByOne(const at::Device& device) const override { return device.is_cpu(); }

  at::Tensor Images(const at::Tensor& pixels) const override {
    const int64_t rows = OneByOne(pixels.device()) ? 1 : pixels.size(0);
    std::vector<at::Tensor> vectors;
    for (int64_t begin = 0; begin < pixels.size(0); begin += rows) {
      vectors.push_back(head_(Pooled(pixels.narrow(0, begin, rows))));
    }
    return at::cat(vectors);
  }

 private:
  // [n, 3, h, w] -> [n, channels].
  at::Tensor Pooled(const at::Tensor& pixels) const {
    at::Tensor x = at::max_pool2d(stem_(pixels).relu_(), 3, 2, 1);
    for (const Bottleneck& block : blocks_) x = block(x);
    // In float32: powers leave the range of half.
    const at::Tensor powers = PowInPlace(x.flatten(2).to(at::kFloat).clamp_min(kLeastPooled), config_.pool);
    return PowInPlace(powers.mean(2), 1 / config_.pool).to(head_.weight.scalar_type());
  }

  SscdConfig config_;
  Convolution stem_;
  std::vector<Bottleneck> blocks_;
  Linear head_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Embedder>> LoadSscd(const sweep::ModelFolder& folder, const LoadOptions& options) {
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Embedder>> {
    const c10::InferenceMode inference;
    const SscdConfig config(folder.path, JsonFile(folder.path + "/config.json"));
    constexpr int64_t kSide = 288;  // where the file leaves a size out
    const auto preprocess =
        Preprocess::HuggingFace(JsonFile(folder.path + "/preprocessor_config.json"), Preprocess::Processor::kBit, kSide);
    const Weights weights(WeightFiles(folder.path, "model"), {options.device, at::kFloat});
    return MakeEmbedder(folder, options, preprocess, std::make_unique<Sscd>(config, weights, options.compute_dtype));
  });
}

}  // namespace promptsweep::worker
