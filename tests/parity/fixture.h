// Reading what references.py wrote, and comparing with it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "jobs/sweep/catalog.h"
#include "jobs/sweep/safetensors.h"
#include "worker/tensors/json_file.h"
#include "worker/tensors/weights.h"

namespace promptsweep::worker::parity {

inline std::string FixtureFolder(const std::string& name) {
  return std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/" + name;
}

// Every tensor of a file by name, whatever its shape.
class Tensors {
 public:
  explicit Tensors(const std::string& path)
      : weights_({path}, {.whole_numbers = true}), header_(sweep::ReadSafetensorsHeader(path).value()) {}
  bool Has(const std::string& name) const { return weights_.Has(name); }
  at::Tensor operator[](const std::string& name) const {
    for (const auto& tensor : header_.tensors) {
      if (tensor.name == name) return weights_.Get(name, tensor.shape);
    }
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }

 private:
  Weights weights_;
  sweep::SafetensorsHeader header_;
};

// max |a - b| <= tolerance * max |b|, or 4 * rounding where that is more: the reference's own distance from float64.
inline void ExpectClose(const at::Tensor& found, const at::Tensor& expected, double tolerance, const std::string& what,
                        double rounding = 0) {
  ASSERT_EQ(found.sizes(), expected.sizes()) << what;
  const double error = (found - expected).abs().max().item<double>();
  const double scale = expected.abs().max().item<double>();
  EXPECT_LE(error, std::max(tolerance * scale, 4 * rounding))
      << what << ": largest error " << error << ", largest value " << scale << ", rounding " << rounding;
}

}  // namespace promptsweep::worker::parity
