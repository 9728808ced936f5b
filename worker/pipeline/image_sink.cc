#include "worker/pipeline/image_sink.h"

#include <atomic>
#include <random>
#include <utility>

#include "base/parallel.h"
#include "base/status.h"
#include "jobs/sweep/image_location.h"

namespace promptsweep::worker {
namespace {

BlobOpener DefaultOpener(const ImageSink::Options& options) {
  return [stopped = options.stopped](const std::string& uri) {
    BlobStore::Options blobs;
    blobs.cancelled = stopped;
    blobs.jitter_seed = std::random_device()();
    return BlobStore::Open(uri, blobs);
  };
}

}  // namespace

ImageSink::ImageSink(Options options)
    : options_(std::move(options)), stores_(options_.open ? options_.open : DefaultOpener(options_)) {}

absl::Status ImageSink::Check(const std::string& images) {
  return images.empty() ? absl::OkStatus() : Annotate(stores_.Get(images).status(), "images of the sweep");
}

absl::Status ImageSink::PutOne(Upload& upload) {
  v1::Result& result = upload.result;
  PS_ASSIGN_OR_RETURN(const std::shared_ptr<BlobStore> store, stores_.Get(upload.images));
  const std::string& bytes = upload.image.empty() ? result.image() : upload.image;
  PS_RETURN_IF_ERROR(store->Put(sweep::ImageKey(result.image_digest(), result.image_format()), bytes, result.image_digest()));
  result.set_image_uri(sweep::ImageUri(upload.images, result.image_digest(), result.image_format()));
  result.set_image_bytes(static_cast<uint32_t>(bytes.size()));
  if (upload.image.empty()) upload.image = std::move(*result.mutable_image());
  result.clear_image();
  return absl::OkStatus();
}

absl::Status ImageSink::Put(std::vector<Upload>& batch) {
  std::vector<Upload*> todo;
  for (Upload& upload : batch) {
    if (!upload.images.empty() && upload.result.image_uri().empty()) todo.push_back(&upload);
  }
  std::vector<absl::Status> statuses(todo.size());
  std::atomic<bool> failed{false};
  ForEachInParallel(todo.size(), options_.width, [&](size_t i) {
    // One of them has shown that it is no use now.
    if (failed) return;
    statuses[i] = PutOne(*todo[i]);
    if (!statuses[i].ok() && !absl::IsAlreadyExists(statuses[i])) failed = true;
  });
  absl::Status taken;
  for (const absl::Status& status : statuses) {
    if (status.ok()) continue;
    // Whatever else is wrong may be mended; until then no cell is to blame.
    if (!absl::IsAlreadyExists(status)) return absl::UnavailableError(absl::StrCat("putting images: ", status.message()));
    taken = status;
  }
  return taken;
}

void ImageSink::PutAgain(std::vector<Upload>& batch) {
  for (Upload& upload : batch) {
    if (!upload.images.empty()) upload.result.clear_image_uri();
  }
}

}  // namespace promptsweep::worker
