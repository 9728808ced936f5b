// A few threads and a bounded queue: where the store does what must not run on a gRPC thread.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::store {

// Thread-safe. Tasks start in the order they were posted.
class Executor {
 public:
  Executor(int threads, size_t max_queued);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  // False, and the task is dropped, where max_queued tasks wait already or Stop was called.
  [[nodiscard]] bool Post(std::function<void()> task);
  // Runs what is queued, then ends the threads. Idempotent; not from a task.
  void Stop();

 private:
  void Run();

  const size_t max_queued_;
  absl::Mutex mu_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace promptsweep::store
