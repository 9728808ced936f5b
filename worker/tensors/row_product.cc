#include "worker/tensors/row_product.h"

// GCC's own AVX-512 header leaves sources of masked forms unset on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

namespace promptsweep::worker {
namespace {

// Rows that one pass over a panel serves.
constexpr int kRows = 8;
// Inputs whose weights are fetched ahead: memory, not arithmetic, bounds these products. A fifth faster than without.
constexpr int64_t kAhead = 64;

float ToFloat(uint16_t bits, RowType type) {
  if (type == RowType::kBFloat16) {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
  }
  const uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                          : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                           : std::ldexp(static_cast<float>(fraction + 1024), static_cast<int>(exponent) - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

// The kernels add a block's sums of one or two panels to sums [rows, 2 * kPanel].
template <RowType type>
void PortableKernel(const void* panel, const float* x, int64_t depth, float* sums) {
  std::array<float, kPanel> total{};
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = 0; j < kPanel; ++j) {
      const int64_t at = k * kPanel + j;
      const float w =
          type == RowType::kFloat ? static_cast<const float*>(panel)[at] : ToFloat(static_cast<const uint16_t*>(panel)[at], type);
      total[j] = std::fma(w, x[k], total[j]);
    }
  }
  for (int64_t j = 0; j < kPanel; ++j) sums[j] += total[j];
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define AVX2 __attribute__((target("avx2,fma,f16c")))

template <RowType type>
AVX512 inline __m512 Load16(const void* panel, int64_t at) {
  if constexpr (type == RowType::kFloat) {
    return _mm512_loadu_ps(static_cast<const float*>(panel) + at);
  } else {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(panel) + at));
    if constexpr (type == RowType::kHalf) return _mm512_cvtph_ps(bits);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
}

// Two panels that stand `stride` elements apart.
template <RowType type, int rows>
AVX512 void WideKernel(const void* panel, int64_t stride, int64_t depth, const float* x, int64_t in, float* sums) {
  constexpr auto kSize = static_cast<int64_t>(RowTypeSize(type));
  __m512 total[rows][2];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) total[r][0] = total[r][1] = _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; ++k) {
    for (const int64_t start : {int64_t{0}, stride})
      _mm_prefetch(static_cast<const char*>(panel) + (start + (k + kAhead) * kPanel) * kSize, _MM_HINT_T0);
    const __m512 left = Load16<type>(panel, k * kPanel), right = Load16<type>(panel, stride + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const __m512 input = _mm512_set1_ps(x[r * in + k]);
      total[r][0] = _mm512_fmadd_ps(left, input, total[r][0]);
      total[r][1] = _mm512_fmadd_ps(right, input, total[r][1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    float* const sum = sums + r * 2 * kPanel;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half)
      _mm512_storeu_ps(sum + half * kPanel, _mm512_add_ps(_mm512_loadu_ps(sum + half * kPanel), total[r][half]));
  }
}

template <RowType type>
AVX2 inline __m256 Load8(const void* panel, int64_t at) {
  if constexpr (type == RowType::kFloat) {
    return _mm256_loadu_ps(static_cast<const float*>(panel) + at);
  } else {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(panel) + at));
    if constexpr (type == RowType::kHalf) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
}

template <RowType type, int rows>
AVX2 void NarrowKernel(const void* panel, int64_t depth, const float* x, int64_t in, float* sums) {
  __m256 total[rows][2];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) total[r][0] = total[r][1] = _mm256_setzero_ps();
  for (int64_t k = 0; k < depth; ++k) {
    const __m256 left = Load8<type>(panel, k * kPanel), right = Load8<type>(panel, k * kPanel + 8);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const __m256 input = _mm256_set1_ps(x[r * in + k]);
      total[r][0] = _mm256_fmadd_ps(left, input, total[r][0]);
      total[r][1] = _mm256_fmadd_ps(right, input, total[r][1]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      float* const sum = sums + r * 2 * kPanel + half * 8;
      _mm256_storeu_ps(sum, _mm256_add_ps(_mm256_loadu_ps(sum), total[r][half]));
    }
  }
}

#undef AVX512
#undef AVX2

// `panels` (1 or 2) panels, `rows` (up to kRows) rows, one block of depth; sums [rows, 2 * kPanel].
template <RowType type>
void PortableBlock(const void* panel, int64_t stride, int panels, int64_t depth, const float* x, int64_t in, int rows,
                   float* sums) {
  constexpr int64_t kSize = RowTypeSize(type);
  for (int r = 0; r < rows; ++r) {
    for (int p = 0; p < panels; ++p) {
      PortableKernel<type>(static_cast<const char*>(panel) + p * stride * kSize, x + r * in, depth, sums + (r * 2 + p) * kPanel);
    }
  }
}

template <RowType type, int rows = 4>
void NarrowBlock(const void* panel, int64_t stride, int panels, int64_t depth, const float* x, int64_t in, int count,
                 float* sums) {
  constexpr int64_t kSize = RowTypeSize(type);
  if constexpr (rows > 0) {
    for (; count >= rows; count -= rows, x += rows * in, sums += rows * 2 * kPanel) {
      for (int p = 0; p < panels; ++p)
        NarrowKernel<type, rows>(static_cast<const char*>(panel) + p * stride * kSize, depth, x, in, sums + p * kPanel);
    }
    NarrowBlock<type, rows - 1>(panel, stride, panels, depth, x, in, count, sums);
  }
}

template <RowType type, int rows = kRows>
void WideBlock(const void* panel, int64_t stride, int panels, int64_t depth, const float* x, int64_t in, int count, float* sums) {
  if (panels == 1) stride = 0;  // the same panel twice; its second sums are not read
  if constexpr (rows > 0) {
    if (count == rows) return WideKernel<type, rows>(panel, stride, depth, x, in, sums);
    WideBlock<type, rows - 1>(panel, stride, panels, depth, x, in, count, sums);
  }
}

using Block = void (*)(const void* panel, int64_t stride, int panels, int64_t depth, const float* x, int64_t in, int rows,
                       float* sums);

template <RowType type>
Block BlockOf(RowVectors vectors) {
  return vectors == RowVectors::k512 ? WideBlock<type> : vectors == RowVectors::k256 ? NarrowBlock<type> : PortableBlock<type>;
}

Block BlockOf(RowType type, RowVectors vectors) {
  return type == RowType::kFloat      ? BlockOf<RowType::kFloat>(vectors)
         : type == RowType::kBFloat16 ? BlockOf<RowType::kBFloat16>(vectors)
                                      : BlockOf<RowType::kHalf>(vectors);
}

}  // namespace

bool HasRowVectors(RowVectors vectors) {
  switch (vectors) {
    case RowVectors::k512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq");
    case RowVectors::k256:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case RowVectors::kNone:
      break;
  }
  return true;
}

RowVectors WidestRowVectors() {
  static const RowVectors widest = HasRowVectors(RowVectors::k512)   ? RowVectors::k512
                                   : HasRowVectors(RowVectors::k256) ? RowVectors::k256
                                                                     : RowVectors::kNone;
  return widest;
}

void PackRows(RowType type, const void* weights, int64_t out, int64_t in, void* packed) {
  const auto pack = [&](const auto* from, auto* to) {
    for (int64_t panel = 0; panel < RowPanels(out); ++panel) {
      const int64_t rows = std::min(kPanel, out - panel * kPanel);
      for (int64_t k = 0; k < in; ++k, to += kPanel) {
        for (int64_t j = 0; j < kPanel; ++j) to[j] = j < rows ? from[(panel * kPanel + j) * in + k] : 0;
      }
    }
  };
  if (type == RowType::kFloat) {
    pack(static_cast<const float*>(weights), static_cast<float*>(packed));
  } else {
    pack(static_cast<const uint16_t*>(weights), static_cast<uint16_t*>(packed));
  }
}

void RowProduct(RowType type, const void* packed, int64_t in, int64_t out, int64_t begin, int64_t end, const float* x,
                int64_t rows, float* y, RowVectors vectors) {
  const Block block = BlockOf(type, vectors);
  const auto size = static_cast<int64_t>(RowTypeSize(type));
  std::array<float, kRows * 2 * kPanel> sums;
  for (int64_t panel = begin; panel < end; panel += 2) {
    const int panels = static_cast<int>(std::min<int64_t>(2, end - panel));
    const int64_t width = std::min<int64_t>(panels * kPanel, out - panel * kPanel);
    for (int64_t k = 0; k < in; k += kDepth) {
      const int64_t depth = std::min(kDepth, in - k);
      const char* const weights = static_cast<const char*>(packed) + (panel * in + k) * kPanel * size;
      // All rows read a block of weights while it is in the cache.
      for (int64_t row = 0; row < rows; row += kRows) {
        const int count = static_cast<int>(std::min<int64_t>(kRows, rows - row));
        sums.fill(0);
        block(weights, in * kPanel, panels, depth, x + row * in + k, in, count, sums.data());
        for (int r = 0; r < count; ++r) {
          float* const to = y + (row + r) * out + panel * kPanel;
          const float* const from = sums.data() + r * 2 * kPanel;
          if (k == 0) {
            std::copy_n(from, width, to);
          } else {
            for (int64_t j = 0; j < width; ++j) to[j] += from[j];
          }
        }
      }
    }
  }
}

}  // namespace promptsweep::worker
