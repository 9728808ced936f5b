// The noise of a batch of images, made ahead of the model where that runs elsewhere.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/tensors/noise.h"

namespace promptsweep::worker {

// Draws of Exp(1), position by position, each image's from its own seed alone: row i of the t-th Next() is the t-th run of
// `width` numbers of ImageNoise(seeds[i]). Rows beyond the seeds are ones. On a CPU they are made when asked for, by all threads;
// for another device a thread of its own makes them up to kAhead positions early, in pinned memory, and the copy joins the
// device's queue, so that neither waits for the other. For one thread.
class NoiseFeed {
 public:
  // At most `steps` calls of Next follow.
  NoiseFeed(const std::vector<int64_t>& seeds, int64_t rows, int64_t width, int64_t steps, at::Device device);
  ~NoiseFeed();
  NoiseFeed(const NoiseFeed&) = delete;
  NoiseFeed& operator=(const NoiseFeed&) = delete;

  // float32 [rows, width] on the device, valid until the next call. Throws what making it threw.
  at::Tensor Next();

 private:
  static constexpr size_t kAhead = 4;
  void Fill(const at::Tensor& noise);
  void MakeAll(int64_t steps);

  const at::Device device_;
  const int64_t rows_, width_;
  std::vector<ImageNoise> noises_;
  at::Tensor here_;  // on a CPU

  absl::Mutex mu_;
  std::deque<at::Tensor> made_ ABSL_GUARDED_BY(mu_);
  std::exception_ptr failure_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread maker_;  // last: it uses the others
};

}  // namespace promptsweep::worker
