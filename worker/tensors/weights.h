// A model's tensors by name, and the cursor that modules take theirs with: Weights w; w / "layers" / 3 / "self_attn".
// A module's constructor asks for each of its tensors with the shape its configuration implies; Finish then proves that the
// files held those tensors and no others.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

struct WeightOptions {
  at::Device device = at::kCPU;
  // Every tensor is cast to this type.
  at::ScalarType dtype = at::kFloat;
  // Tensors of whole numbers are read too, uncast: for tables that are no model's weights.
  bool whole_numbers = false;
};

// Cheap to copy; copies share the record of what was used. Not thread-safe. Functions throw LoadError, which names the file,
// the tensor, and the expected and the found shape.
class Weights {
 public:
  // Maps the safetensors files and checks their headers (format, ranges, sizes). A name in two files is an error.
  Weights(const std::vector<std::string>& files, WeightOptions options);

  // The cursor one level down.
  Weights operator/(absl::string_view part) const;
  Weights operator/(int64_t index) const;

  // A copy of the tensor "<prefix>.<name>", contiguous, on the device, cast. It must be there, of this shape, of a floating type
  // (but see whole_numbers), all finite.
  at::Tensor Get(absl::string_view name, at::IntArrayRef shape) const;
  // Get, or ones where the files lack it: the scale of a LayerNorm that was trained without one.
  at::Tensor GetOrOnes(absl::string_view name, at::IntArrayRef shape) const;
  bool Has(absl::string_view name) const;
  // Marks a tensor that may be there and is not needed ("position_ids").
  void Ignore(absl::string_view name) const;

  // Throws, naming the first, where a tensor was neither got nor ignored.
  void Finish() const;

  const WeightOptions& options() const;

 private:
  struct Shared;
  Weights(std::shared_ptr<Shared> shared, std::string prefix) : shared_(std::move(shared)), prefix_(std::move(prefix)) {}
  std::string FullName(absl::string_view name) const;

  std::shared_ptr<Shared> shared_;
  std::string prefix_;  // ends in '.' unless empty
};

}  // namespace promptsweep::worker
