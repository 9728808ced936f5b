#include "worker/tensors/determinism.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace promptsweep::worker {

namespace {

// Without it MKL chooses kernels by the alignment of each row and by the number of threads, and sums in another order. Read at
// MKL's first use.
void PinMathLibrary() { ::setenv("MKL_CBWR", "AVX2,STRICT", /*overwrite=*/1); }

}  // namespace

void SettleEnvironment(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/1);
  PinMathLibrary();
  // Comes back only on failure; then the program runs on, slower.
  ::execv("/proc/self/exe", argv);
}

void MakeDeterministic(int threads) {
  PinMathLibrary();
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  if (threads > 0) at::set_num_threads(threads);
  auto& context = at::globalContext();
  context.setBenchmarkCuDNN(false);
  context.setDeterministicCuDNN(true);
  context.setDeterministicMkldnn(true);
  context.setDeterministicAlgorithms(true, /*warn_only=*/true);
  // Filling fresh memory is for finding bugs and costs time.
  context.setDeterministicFillUninitializedMemory(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  // Sums may still be split, in float32: equal shapes are split alike.
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
}

AnyOrder::AnyOrder() : before_(at::globalContext().deterministicAlgorithms()) {
  at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
}

AnyOrder::~AnyOrder() { at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/true); }

int PhysicalRows(int batch, const c10::Device& device) {
  constexpr int kLeastRows = 8;
  return device.is_cpu() ? std::max(batch, kLeastRows) : batch;
}

std::string LibraryVersions() { return absl::StrCat("torch ", TORCH_VERSION, " cpu ", at::get_cpu_capability()); }

}  // namespace promptsweep::worker
