#include "jobs/weights/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/half.h"
#include "base/status.h"
#include "jobs/sweep/safetensors.h"

namespace promptsweep::weights {
namespace {

constexpr uint64_t kBlockElements = 1 << 20;
constexpr uint64_t kTile = 32;  // rows and columns of a transposition whose lines stay in the nearest cache
constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();

using Sink = absl::FunctionRef<absl::Status(absl::string_view)>;

// Elements of a part of a matrix, `rows` x `cols`, whose rows are `row_stride` elements apart and its columns `col_stride`.
template <size_t kItem>
void CopyMatrix(const char* from, uint64_t row_stride, uint64_t col_stride, uint64_t rows, uint64_t cols, char* to) {
  if (col_stride == 1) {
    for (uint64_t r = 0; r < rows; ++r) std::memcpy(to + r * cols * kItem, from + r * row_stride * kItem, cols * kItem);
    return;
  }
  for (uint64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (uint64_t c0 = 0; c0 < cols; c0 += kTile) {
      const uint64_t r1 = std::min(rows, r0 + kTile), c1 = std::min(cols, c0 + kTile);
      for (uint64_t c = c0; c < c1; ++c) {
        for (uint64_t r = r0; r < r1; ++r) {
          std::memcpy(to + (r * cols + c) * kItem, from + (r * row_stride + c * col_stride) * kItem, kItem);
        }
      }
    }
  }
}

void CopyMatrix(size_t item, const char* from, uint64_t row_stride, uint64_t col_stride, uint64_t rows, uint64_t cols, char* to) {
  switch (item) {
    case 1:
      return CopyMatrix<1>(from, row_stride, col_stride, rows, cols, to);
    case 2:
      return CopyMatrix<2>(from, row_stride, col_stride, rows, cols, to);
    case 4:
      return CopyMatrix<4>(from, row_stride, col_stride, rows, cols, to);
    default:
      return CopyMatrix<8>(from, row_stride, col_stride, rows, cols, to);
  }
}

template <typename T>
T Load(const char* from, uint64_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof value, sizeof value);
  return value;
}

// The floating types: their bits, and how they become numbers and come of them. Narrow ones go by way of float, as in torch.
struct Double {
  using Bits = double;
  static double Decode(Bits bits) { return bits; }
  static Bits Encode(double value) { return value; }
};
struct Single {
  using Bits = float;
  static double Decode(Bits bits) { return bits; }
  static Bits Encode(double value) { return static_cast<float>(value); }
};
struct Half {
  using Bits = uint16_t;
  static double Decode(Bits bits) { return FloatFromHalf(bits); }
  static Bits Encode(double value) { return HalfFromFloat(static_cast<float>(value)); }
};
struct Brain {
  using Bits = uint16_t;
  static double Decode(Bits bits) {
    const uint32_t wide = uint32_t{bits} << 16;
    return Load<float>(reinterpret_cast<const char*>(&wide), 0);
  }
  // To nearest even; NaN stays NaN.
  static Bits Encode(double value) {
    const auto single = static_cast<float>(value);
    const auto bits = Load<uint32_t>(reinterpret_cast<const char*>(&single), 0);
    if (std::isnan(single)) return static_cast<Bits>(bits >> 16 | 0x40);
    return static_cast<Bits>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

// How many elements were converted before a finite one would have become infinite.
template <typename From, typename To>
uint64_t Convert(const char* from, uint64_t count, char* to) {
  for (uint64_t i = 0; i < count; ++i) {
    const double value = From::Decode(Load<typename From::Bits>(from, i));
    const typename To::Bits bits = To::Encode(value);
    if (std::isfinite(value) && !std::isfinite(To::Decode(bits))) return i;
    std::memcpy(to + i * sizeof bits, &bits, sizeof bits);
  }
  return count;
}
using Converter = uint64_t (*)(const char*, uint64_t, char*);

template <typename From>
Converter ConverterFrom(absl::string_view to) {
  if (to == "F64") return &Convert<From, Double>;
  if (to == "F32") return &Convert<From, Single>;
  return to == "F16" ? &Convert<From, Half> : &Convert<From, Brain>;
}
Converter ConverterOf(absl::string_view from, absl::string_view to) {
  if (from == "F64") return ConverterFrom<Double>(to);
  if (from == "F32") return ConverterFrom<Single>(to);
  return from == "F16" ? ConverterFrom<Half>(to) : ConverterFrom<Brain>(to);
}

// Collects elements and hands them on, converted, when there are enough.
class Block {
 public:
  // For `elements` in all.
  Block(std::string from, std::string to, uint64_t elements, Sink sink)
      : from_(std::move(from)),
        to_(std::move(to)),
        sink_(sink),
        item_(sweep::SafetensorsItemSize(from_)),
        capacity_(std::min(elements, kBlockElements)) {
    raw_.resize(capacity_ * item_);
    if (from_ != to_) converted_.resize(capacity_ * sweep::SafetensorsItemSize(to_));
  }
  size_t item() const { return item_; }
  uint64_t capacity() const { return capacity_; }
  uint64_t room() const { return capacity_ - used_; }
  // Where `count` more elements go. Precondition: count <= room().
  char* Take(uint64_t count) {
    char* at = raw_.data() + used_ * item_;
    used_ += count;
    return at;
  }
  absl::Status Flush() {
    const uint64_t count = std::exchange(used_, 0);
    if (count == 0) return absl::OkStatus();
    if (from_ == to_) return sink_({raw_.data(), count * item_});
    if (ConverterOf(from_, to_)(raw_.data(), count, converted_.data()) != count) {
      return absl::InvalidArgumentError(absl::StrCat("holds a value beyond what ", to_, " can hold"));
    }
    return sink_({converted_.data(), count * sweep::SafetensorsItemSize(to_)});
  }

 private:
  const std::string from_, to_;
  Sink sink_;
  const size_t item_;
  const uint64_t capacity_;
  std::string raw_, converted_;
  uint64_t used_ = 0;
};

struct Axis {
  uint64_t size, stride;
};

// The fewest axes that walk the same elements in the same order; at least two.
std::vector<Axis> Coalesced(const Tensor& tensor) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const Axis axis{static_cast<uint64_t>(tensor.shape[i]), static_cast<uint64_t>(tensor.strides[i])};
    if (axis.size == 1) continue;
    if (!axes.empty() && axes.back().stride == axis.size * axis.stride) {
      axes.back() = {axes.back().size * axis.size, axis.stride};
    } else {
      axes.push_back(axis);
    }
  }
  while (axes.size() < 2) axes.insert(axes.begin(), Axis{1, 0});
  return axes;
}

absl::Status WalkMatrix(const char* from, const Axis& rows, const Axis& cols, Block& block) {
  const size_t item = block.item();
  for (uint64_t r = 0; r < rows.size;) {
    if (cols.size > block.room()) PS_RETURN_IF_ERROR(block.Flush());
    if (cols.size > block.capacity()) {
      for (uint64_t c = 0; c < cols.size;) {
        const uint64_t count = std::min(cols.size - c, block.capacity());
        CopyMatrix(item, from + (r * rows.stride + c * cols.stride) * item, 0, cols.stride, 1, count, block.Take(count));
        PS_RETURN_IF_ERROR(block.Flush());
        c += count;
      }
      ++r;
      continue;
    }
    const uint64_t count = std::min(rows.size - r, block.room() / cols.size);
    CopyMatrix(item, from + r * rows.stride * item, rows.stride, cols.stride, count, cols.size, block.Take(count * cols.size));
    r += count;
  }
  return absl::OkStatus();
}

// The axes but the last two, one position after another.
absl::Status Walk(const char* from, const std::vector<Axis>& axes, size_t depth, Block& block) {
  if (depth + 2 == axes.size()) return WalkMatrix(from, axes[depth], axes[depth + 1], block);
  for (uint64_t i = 0; i < axes[depth].size; ++i) {
    PS_RETURN_IF_ERROR(Walk(from + i * axes[depth].stride * block.item(), axes, depth + 1, block));
  }
  return absl::OkStatus();
}

// Elements [begin, begin + count) of a storage in pieces, in one piece.
std::string Joined(const std::vector<absl::string_view>& pieces, uint64_t begin, uint64_t count, size_t item) {
  std::string joined;
  joined.reserve(count * item);
  uint64_t at = begin * item;
  for (const absl::string_view piece : pieces) {
    if (at >= piece.size()) {
      at -= piece.size();
      continue;
    }
    const absl::string_view part = piece.substr(at, count * item - joined.size());
    joined.append(part.data(), part.size());
    at = 0;
    if (joined.size() == count * item) break;
  }
  return joined;
}

std::vector<int64_t> RowMajor(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  uint64_t next = 1;  // wraps for shapes that MakeTensor then refuses
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = static_cast<int64_t>(std::min(next, kMost));
    next *= static_cast<uint64_t>(std::max<int64_t>(shape[i], 1));
  }
  return strides;
}

}  // namespace

uint64_t Tensor::elements() const {
  uint64_t count = 1;
  for (const int64_t size : shape) count *= static_cast<uint64_t>(size);
  return count;
}

uint64_t Tensor::bytes() const { return elements() * sweep::SafetensorsItemSize(dtype); }

absl::StatusOr<Tensor> MakeTensor(std::string dtype, std::vector<int64_t> shape, std::vector<int64_t> strides, uint64_t offset,
                                  std::vector<absl::string_view> pieces) {
  const auto invalid = [](const std::string& message) { return absl::InvalidArgumentError(message); };
  const size_t item = sweep::SafetensorsItemSize(dtype);
  if (item == 0) return invalid(absl::StrCat("has the unknown type ", dtype));
  if (shape.size() > kMaxRank) return invalid(absl::StrCat("has ", shape.size(), " axes"));
  if (shape.size() != strides.size()) return invalid("has a stride for some of its axes only");
  uint64_t stored = 0;
  for (const absl::string_view piece : pieces) {
    if (piece.size() % item != 0) return invalid(absl::StrCat("has ", piece.size(), " bytes for elements of ", item));
    stored += piece.size() / item;
  }
  uint64_t bytes = item, end = 1;
  bool empty = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 || strides[i] < 0) return invalid("has a size or stride below 0");
    if (shape[i] == 0) {
      empty = true;
      continue;
    }
    uint64_t step;
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(shape[i]), &bytes) || bytes > kMost ||
        __builtin_mul_overflow(static_cast<uint64_t>(shape[i] - 1), static_cast<uint64_t>(strides[i]), &step) ||
        __builtin_add_overflow(end, step, &end)) {
      return invalid(absl::StrCat("of shape ", ShapeText(shape), " is larger than 63 bits can count"));
    }
  }
  if (!empty && (__builtin_add_overflow(end, offset, &end) || end > stored)) {
    return invalid(absl::StrCat("reaches beyond its storage of ", stored, " elements"));
  }
  Tensor tensor{std::move(dtype), std::move(shape), std::move(strides), empty ? 0 : offset, nullptr};
  tensor.pieces = std::make_shared<const std::vector<absl::string_view>>(std::move(pieces));
  return tensor;
}

absl::StatusOr<Tensor> MakeTensor(std::string dtype, std::vector<int64_t> shape, std::vector<absl::string_view> pieces) {
  std::vector<int64_t> strides = RowMajor(shape);
  PS_ASSIGN_OR_RETURN(Tensor tensor, MakeTensor(std::move(dtype), std::move(shape), std::move(strides), 0, std::move(pieces)));
  uint64_t stored = 0;
  for (const absl::string_view piece : *tensor.pieces) stored += piece.size();
  if (stored != tensor.bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("of shape ", ShapeText(tensor.shape), " has ", stored, " bytes, not ", tensor.bytes()));
  }
  return tensor;
}

Tensor Select(const Tensor& tensor, int64_t index) {
  PS_CHECK(!tensor.shape.empty() && index >= 0 && index < tensor.shape[0]);
  Tensor selected = tensor;
  selected.offset += static_cast<uint64_t>(index) * static_cast<uint64_t>(tensor.strides[0]);
  selected.shape.erase(selected.shape.begin());
  selected.strides.erase(selected.strides.begin());
  return selected;
}

Tensor Permute(const Tensor& tensor, const std::vector<size_t>& axes) {
  PS_CHECK(axes.size() == tensor.shape.size());
  Tensor permuted = tensor;
  for (size_t i = 0; i < axes.size(); ++i) {
    permuted.shape[i] = tensor.shape[axes[i]];
    permuted.strides[i] = tensor.strides[axes[i]];
  }
  return permuted;
}

Tensor WithoutLeadingOnes(const Tensor& tensor) {
  Tensor squeezed = tensor;
  while (squeezed.shape.size() > 1 && squeezed.shape[0] == 1) squeezed = Select(squeezed, 0);
  return squeezed;
}

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

bool IsFloating(absl::string_view dtype) { return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16"; }

absl::Status Stream(const Tensor& tensor, const std::string& dtype, Sink sink) {
  PS_CHECK(tensor.dtype == dtype || (IsFloating(tensor.dtype) && IsFloating(dtype))) << tensor.dtype << " " << dtype;
  if (tensor.elements() == 0) return absl::OkStatus();
  Block block(tensor.dtype, dtype, tensor.elements(), sink);
  const std::vector<Axis> axes = Coalesced(tensor);
  const size_t item = block.item();
  std::string joined;
  const char* from;
  if (tensor.pieces->size() == 1) {
    from = tensor.pieces->front().data() + tensor.offset * item;
  } else {
    uint64_t span = 1;
    for (const Axis& axis : axes) span += (axis.size - 1) * axis.stride;
    joined = Joined(*tensor.pieces, tensor.offset, span, item);
    from = joined.data();
  }
  PS_RETURN_IF_ERROR(Walk(from, axes, 0, block));
  return block.Flush();
}

}  // namespace promptsweep::weights
