#include "worker/pipeline/encoder_pool.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::worker {

absl::Status FillResult(MadeImage image, v1::Result& result) {
  const absl::Time start = Clock::Real().TimeNow();
  PS_ASSIGN_OR_RETURN(std::string bytes, EncodeWebp(image.rgb, image.width, image.height));
  if (bytes.size() > kMaxImageBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the image takes ", bytes.size(), " bytes, more than ", kMaxImageBytes));
  }
  result.set_image_digest(Sha256Of(bytes));
  result.set_image(std::move(bytes));
  result.set_image_format(v1::IMAGE_FORMAT_WEBP);
  result.set_width(image.width);
  result.set_height(image.height);
  for (v1::Embedding& embedding : image.embeddings) *result.add_embeddings() = std::move(embedding);
  result.set_generate_us(image.generate_us);
  result.set_embed_us(image.embed_us);
  result.set_encode_us(static_cast<uint32_t>(absl::ToInt64Microseconds(Clock::Real().TimeNow() - start)));
  return absl::OkStatus();
}

EncoderPool::EncoderPool(int threads, std::function<void(Upload, absl::Status)> done) : done_(std::move(done)) {
  for (int i = 0; i < std::max(1, threads); ++i) threads_.emplace_back([this] { Run(); });
}

EncoderPool::~EncoderPool() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void EncoderPool::Add(EncodeJob job) {
  absl::MutexLock lock(&mu_);
  queue_.push_back(std::move(job));
}

void EncoderPool::Flush() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &EncoderPool::Idle));
}

void EncoderPool::Run() {
  while (true) {
    EncodeJob job;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &EncoderPool::HasWork));
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      ++busy_;
    }
    const absl::Status status = FillResult(std::move(job.image), job.upload.result);
    done_(std::move(job.upload), status);
    absl::MutexLock lock(&mu_);
    --busy_;
  }
}

}  // namespace promptsweep::worker
