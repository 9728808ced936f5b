#include "jobs/motifs/vectors/gemm.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace promptsweep::motifs {
namespace {

template <typename T>
void Multiply(const T* a, int64_t m, const T* b, int64_t n, int64_t d, T* out, at::ScalarType type) {
  if (m == 0 || n == 0) return;
  // OpenMP's thread count is a property of the calling thread, so each one that multiplies sets it.
  static thread_local const bool single = [] {
    at::set_num_threads(1);
    return true;
  }();
  (void)single;
  c10::InferenceMode guard;
  const at::Tensor ta = at::from_blob(const_cast<T*>(a), {m, d}, type);
  const at::Tensor tb = at::from_blob(const_cast<T*>(b), {n, d}, type);
  at::Tensor tout = at::from_blob(out, {m, n}, type);
  at::mm_out(tout, ta, tb.t());
}

}  // namespace

void GemmNT(const float* a, int64_t m, const float* b, int64_t n, int64_t d, float* out) {
  Multiply(a, m, b, n, d, out, at::kFloat);
}

void GemmNT(const double* a, int64_t m, const double* b, int64_t n, int64_t d, double* out) {
  Multiply(a, m, b, n, d, out, at::kDouble);
}

absl::Status CheckGemm() {
  constexpr int64_t kM = 67, kN = 131, kD = 193;
  std::vector<float> a(kM * kD), b(kN * kD), out(kM * kN);
  uint32_t state = 1;
  const auto next = [&state] { return static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) / (1 << 24) - 0.5f; };
  for (float& v : a) v = next();
  for (float& v : b) v = next();
  GemmNT(a.data(), kM, b.data(), kN, kD, out.data());
  for (int64_t i = 0; i < kM; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      double expected = 0;
      for (int64_t k = 0; k < kD; ++k) expected += static_cast<double>(a[i * kD + k]) * b[j * kD + k];
      if (!(std::abs(out[i * kN + j] - expected) < 1e-4)) {
        return absl::FailedPreconditionError(absl::StrCat("the linked BLAS is wrong on this processor: element (", i, ",", j,
                                                          ") is ", out[i * kN + j], ", expected ", expected));
      }
    }
  }
  return absl::OkStatus();
}

void ParallelFor(int threads, int64_t tasks, const std::function<void(int64_t)>& task) {
  const int64_t workers = std::min<int64_t>(threads, tasks);
  if (workers <= 1) {
    for (int64_t i = 0; i < tasks; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < tasks; i = next++) task(i);
  };
  std::vector<std::thread> pool;
  for (int64_t t = 1; t < workers; ++t) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
}

void ForEachPairOfBlocks(int64_t rows, int64_t block, int64_t workers,
                         const std::function<void(int64_t worker, int64_t first, int64_t second)>& task) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t i = 0; i < rows; i += block) {
    for (int64_t j = i; j < rows; j += block) pairs.emplace_back(i, j);
  }
  std::atomic<size_t> next{0};
  ParallelFor(static_cast<int>(workers), workers, [&](int64_t worker) {
    for (size_t p = next++; p < pairs.size(); p = next++) task(worker, pairs[p].first, pairs[p].second);
  });
}

}  // namespace promptsweep::motifs
