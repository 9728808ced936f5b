// A tensor inside a file that is mapped: where its elements are, in which order, and how to read them out. Nothing is copied
// until it is streamed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::weights {

inline constexpr size_t kMaxRank = 16;

// A value. Views of one storage share `pieces`, whose bytes somebody else keeps.
struct Tensor {
  std::string dtype;  // as safetensors names it: "F32", "F16", "BF16", "I64", ...
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;                                  // in elements, not negative
  uint64_t offset = 0;                                           // of the first element in the storage, in elements
  std::shared_ptr<const std::vector<absl::string_view>> pieces;  // the storage, in order; each holds whole elements

  // Of a checked tensor.
  uint64_t elements() const;
  uint64_t bytes() const;
};

using TensorMap = std::map<std::string, Tensor>;

// A checked view of a storage: shape and strides agree, nothing lies outside, sizes fit 63 bits. INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<Tensor> MakeTensor(std::string dtype, std::vector<int64_t> shape, std::vector<int64_t> strides,
                                                uint64_t offset, std::vector<absl::string_view> pieces);
// Likewise row-major over the whole storage, whose size must be the tensor's.
[[nodiscard]] absl::StatusOr<Tensor> MakeTensor(std::string dtype, std::vector<int64_t> shape,
                                                std::vector<absl::string_view> pieces);

// Views. Preconditions: the axis or index is there; `axes` is a permutation.
[[nodiscard]] Tensor Select(const Tensor& tensor, int64_t index);  // along the first axis
[[nodiscard]] Tensor Permute(const Tensor& tensor, const std::vector<size_t>& axes);
[[nodiscard]] Tensor WithoutLeadingOnes(const Tensor& tensor);  // [1, 1, n] -> [n]

[[nodiscard]] std::string ShapeText(const std::vector<int64_t>& shape);

// True for F64, F32, F16, BF16.
[[nodiscard]] bool IsFloating(absl::string_view dtype);

// The elements in row-major order, converted to `dtype` (rounding to nearest even; only between floating types), given to `sink`
// in blocks of a few MB whose memory is reused. Ends at the sink's first error. INVALID_ARGUMENT where a finite value is beyond
// what `dtype` can hold.
[[nodiscard]] absl::Status Stream(const Tensor& tensor, const std::string& dtype,
                                  absl::FunctionRef<absl::Status(absl::string_view)> sink);

}  // namespace promptsweep::weights
