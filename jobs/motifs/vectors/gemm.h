// The one place that calls libtorch: a matrix product whose bits do not depend on how many threads the program uses.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace promptsweep::motifs {

// out (m x n) = a (m x d) times the transpose of b (n x d), all row-major float32. Runs on the calling thread alone.
// Thread-safe. For equal shapes and contents the result has equal bits.
void GemmNT(const float* a, int64_t m, const float* b, int64_t n, int64_t d, float* out);
// The same of doubles.
void GemmNT(const double* a, int64_t m, const double* b, int64_t n, int64_t d, double* out);

// FAILED_PRECONDITION where the linked BLAS multiplies wrongly on this machine (some builds do on new processors).
[[nodiscard]] absl::Status CheckGemm();

// Calls task(0) ... task(tasks - 1), each once, on up to `threads` threads. Tasks must not depend on each other; with
// per-task outputs the outcome does not depend on `threads`.
void ParallelFor(int threads, int64_t tasks, const std::function<void(int64_t)>& task);

// Cuts `rows` into blocks of `block` and calls task(worker, first, second) once for each pair of blocks, which begin at first <=
// second. `worker` is 0 ... workers - 1, each on a thread of its own; which worker gets which pair is left to chance.
void ForEachPairOfBlocks(int64_t rows, int64_t block, int64_t workers,
                         const std::function<void(int64_t worker, int64_t first, int64_t second)>& task);

}  // namespace promptsweep::motifs
