// SSCD (Pizzi et al. 2022) as published, in the names that worker/models reads: torchvision's. The files NAME.torchvision.pt hold
// those behind "backbone.", NAME.classy.pt Classy Vision's. Sources: facebookresearch/sscd-copy-detection sscd/models/model.py,
// classy_vision 0.7 models/resnext.py, torchvision 0.26 models/resnet.py.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/weights/dalle.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {

// Of the names of a folder's files, those that hold weights of SSCD (sscd_*.pt), one of each model, sorted: its .torchvision.pt,
// else its .classy.pt, else its .torchscript.pt, which is a program and cannot be converted.
[[nodiscard]] std::vector<std::string> SscdFiles(const std::vector<std::string>& names);

// "torchvision", "classy" or "torchscript"; empty for a file that is none of them.
[[nodiscard]] std::string SscdForm(const std::string& name);

// The weights in torchvision's names, whichever of both they had; batch normalisations' counters are left out.
// INVALID_ARGUMENT names a tensor that has no place.
[[nodiscard]] absl::StatusOr<TensorMap> SscdFromTorch(const TensorMap& torch);

// config.json, whose sizes are the tensors'; the exponent of the pooling, which no tensor tells, is the published models' 3.
// INVALID_ARGUMENT names the first tensor that is missing, too much or of another shape than the others imply.
[[nodiscard]] absl::StatusOr<Json> SscdConfig(const TensorMap& tensors);

// preprocessor_config.json: the short side to 288 pixels, bilinear, ImageNet's mean and deviation, as the repository's README
// recommends where pictures keep their form.
[[nodiscard]] Json SscdPreprocessing();

}  // namespace promptsweep::weights
