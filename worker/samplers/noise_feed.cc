#include "worker/samplers/noise_feed.h"

#include <c10/core/InferenceMode.h>

#include <utility>

#include "worker/tensors/parallel.h"

namespace promptsweep::worker {

NoiseFeed::NoiseFeed(const std::vector<int64_t>& seeds, int64_t rows, int64_t width, int64_t steps, at::Device device)
    : device_(device), rows_(rows), width_(width) {
  for (const int64_t seed : seeds) noises_.emplace_back(seed);
  if (device_.is_cpu() || device_.is_meta()) {
    here_ = at::ones({rows_, width_});
  } else {
    maker_ = std::thread([this, steps] { MakeAll(steps); });
  }
}

NoiseFeed::~NoiseFeed() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  if (maker_.joinable()) maker_.join();
}

void NoiseFeed::Fill(const at::Tensor& noise) {
  ParallelFor(static_cast<int64_t>(noises_.size()), 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode of_this_thread;
    for (int64_t i = begin; i < end; ++i) noises_[i].Exponential(noise[i]);
  });
}

void NoiseFeed::MakeAll(int64_t steps) {
  try {
    const c10::InferenceMode inference;
    for (int64_t t = 0; t < steps; ++t) {
      // Fresh memory each time: torch keeps pinned blocks, and gives one out again only when the copies from it are over.
      at::Tensor noise = at::empty({rows_, width_}, at::TensorOptions().pinned_memory(true));
      const auto drawn = static_cast<int64_t>(noises_.size());
      if (drawn < rows_) noise.narrow(0, drawn, rows_ - drawn).fill_(1);
      Fill(noise);
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](NoiseFeed* feed) {
            feed->mu_.AssertHeld();
            return feed->stopped_ || feed->made_.size() < kAhead;
          },
          this));
      if (stopped_) return;
      made_.push_back(std::move(noise));
    }
  } catch (...) {
    absl::MutexLock lock(&mu_);
    failure_ = std::current_exception();
  }
}

at::Tensor NoiseFeed::Next() {
  if (!maker_.joinable()) {
    Fill(here_);
    return here_.to(device_);
  }
  at::Tensor noise;
  {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](NoiseFeed* feed) {
          feed->mu_.AssertHeld();
          return feed->failure_ || !feed->made_.empty();
        },
        this));
    if (failure_) std::rethrow_exception(failure_);
    noise = std::move(made_.front());
    made_.pop_front();
  }
  return noise.to(device_, /*non_blocking=*/true);
}

}  // namespace promptsweep::worker
