// Work divided among torch's threads. For code compiled without OpenMP, in which at::parallel_for silently stays on one.
#pragma once

#include <cstdint>
#include <functional>

namespace promptsweep::worker {

// Calls work(begin, end) for ranges that together are 0 to `count`, each of at least `grain` (but the last), and returns when all
// have. The threads are OpenMP's, as many as at::set_num_threads said; operations inside do not divide further. Where `work`
// throws, one of its exceptions is thrown when all have ended. Nested calls run on the caller's thread.
void ParallelFor(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work);

}  // namespace promptsweep::worker
