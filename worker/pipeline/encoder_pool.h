// CPU threads that turn pixels into lossless files beside the device.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/uploader.h"

namespace promptsweep::worker {

// A cell whose image awaits its file. `upload.result` has the cell; the pool fills the image fields, timings and embeddings.
struct EncodeJob {
  Upload upload;
  MadeImage image;
};

// Thread-safe. What bounds its queue is the ByteBudget the caller takes from.
class EncoderPool {
 public:
  // `done` gets every job with an OK status, or the error that kept it from becoming a file; called on the pool's threads.
  EncoderPool(int threads, std::function<void(Upload, absl::Status)> done);
  ~EncoderPool();
  void Add(EncodeJob job);
  // Waits until every job added has been given to `done`.
  void Flush();

 private:
  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopped_ || !queue_.empty(); }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return queue_.empty() && busy_ == 0; }

  const std::function<void(Upload, absl::Status)> done_;
  absl::Mutex mu_;
  std::deque<EncodeJob> queue_ ABSL_GUARDED_BY(mu_);
  int busy_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

// Encodes `image` into `result`: bytes, format, size, digest, timings, embeddings. RESOURCE_EXHAUSTED where the file would be
// larger than kMaxImageBytes.
[[nodiscard]] absl::Status FillResult(MadeImage image, v1::Result& result);

}  // namespace promptsweep::worker
