// Products of few rows with a large matrix on a CPU: what a decoder does with one token per row. Free of torch.
//
// Every output is one chain of fused multiply-adds over the inputs in their order, in blocks of kDepth whose sums are added in
// order. So a row's numbers do not depend on how many rows there are, on the number of threads or on the width of the machine's
// vectors.
#pragma once

#include <cstddef>
#include <cstdint>

namespace promptsweep::worker {

// How weights are stored; sums are float32 always.
enum class RowType { kFloat, kBFloat16, kHalf };

inline constexpr int64_t kPanel = 16;   // outputs that stand side by side
inline constexpr int64_t kDepth = 256;  // inputs of one block

// Panels of a matrix with `out` rows.
constexpr int64_t RowPanels(int64_t out) { return (out + kPanel - 1) / kPanel; }

// Bytes of one element.
constexpr size_t RowTypeSize(RowType type) { return type == RowType::kFloat ? 4 : 2; }

// Rearranges weights [out, in] (row-major, of `type`) into [panels, in, kPanel]; the last panel is filled with zeros. `packed`
// has RowPanels(out) * in * kPanel elements.
void PackRows(RowType type, const void* weights, int64_t out, int64_t in, void* packed);

// The vector instructions of a product: by default the widest that the machine has. Numbers are the same with all; the others are
// for tests.
enum class RowVectors { k512, k256, kNone };
bool HasRowVectors(RowVectors vectors);
RowVectors WidestRowVectors();

// Panels `begin` to `end` of y = x W^T: x float [rows, in], y float [rows, out], both row-major. Thread-safe.
void RowProduct(RowType type, const void* packed, int64_t in, int64_t out, int64_t begin, int64_t end, const float* x,
                int64_t rows, float* y, RowVectors vectors = WidestRowVectors());

}  // namespace promptsweep::worker
