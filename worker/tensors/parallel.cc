// Compiled with OpenMP; free of torch.
#include "worker/tensors/parallel.h"

#include <omp.h>

#include <algorithm>
#include <exception>

namespace promptsweep::worker {

void ParallelFor(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t wanted = std::min<int64_t>((count + grain - 1) / grain, omp_get_max_threads());
  if (wanted <= 1 || omp_in_parallel()) return work(0, count);
  std::exception_ptr failure;
#pragma omp parallel
  {
    // No num_threads clause: a team of another size makes libgomp start its threads anew.
    const int64_t threads = std::min<int64_t>(wanted, omp_get_num_threads());
    const int64_t share = (count + threads - 1) / threads, begin = omp_get_thread_num() * share;
    if (begin < count) {
      try {
        work(begin, std::min(begin + share, count));
      } catch (...) {
#pragma omp critical(promptsweep_parallel_for)
        failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace promptsweep::worker
