// A few blocking calls at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace promptsweep {

// Calls work(0) ... work(count - 1), at most `width` at a time, and returns when all have. Meant for calls that wait for a
// network: it starts its own threads, and none where one call at a time is all there is.
template <typename Work>
void ForEachInParallel(size_t count, size_t width, const Work& work) {
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(width, count); ++i) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace promptsweep
