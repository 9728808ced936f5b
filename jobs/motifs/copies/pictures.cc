#include "jobs/motifs/copies/pictures.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "base/rpc.h"
#include "base/status.h"
#include "jobs/motifs/copies/detector.h"
#include "jobs/motifs/vectors/gemm.h"
#include "jobs/sweep/imported.h"
#include "store/digest.h"

namespace promptsweep::motifs {
namespace {

constexpr absl::Duration kTimeout = absl::Hours(6);
constexpr size_t kBatch = 32;

struct Encoded {
  uint64_t ordinal;
  int64_t seed;
  std::string bytes;
  std::vector<float> descriptor;
};

void Decode(std::vector<Encoded>& batch, int threads, StoredPictures& out) {
  std::vector<std::optional<Picture>> decoded(batch.size());
  ParallelFor(threads, static_cast<int64_t>(batch.size()), [&](int64_t i) {
    Encoded& picture = batch[i];
    if (picture.bytes.empty()) {
      decoded[i].emplace();
      decoded[i]->ordinal = picture.ordinal;
      decoded[i]->seed = picture.seed;
    } else if (const auto image = worker::DecodeImage(picture.bytes); image.ok()) {
      decoded[i] = PictureOf(*image, picture.ordinal, picture.seed);
    }
    if (decoded[i]) decoded[i]->descriptor = std::move(picture.descriptor);
  });
  for (std::optional<Picture>& picture : decoded) {
    if (picture) {
      out.pictures.push_back(*std::move(picture));
    } else {
      ++out.undecodable;
    }
  }
  batch.clear();
}

}  // namespace

absl::StatusOr<StoredPictures> LoadPictures(v1::StoreService::StubInterface& store, uint32_t sweep,
                                            const std::vector<uint64_t>& ordinals, bool imported, const std::string& detector,
                                            int threads) {
  StoredPictures out;
  if (ordinals.empty()) return out;
  grpc::ClientContext context;
  SetTimeout(context, kTimeout);
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  request.set_with_embeddings(!detector.empty());
  AskFor(ordinals, request);
  const auto stream = store.GetResults(&context, request);
  store::ScanDigest digest;
  v1::GetResultsResponse message;
  std::vector<Encoded> batch;
  bool first = true, complete = false;
  while (stream->Read(&message)) {
    if (message.has_trailer()) {
      complete = digest.Matches(message.trailer());
      continue;
    }
    v1::Result& result = *message.mutable_result();
    digest.Add(result);
    const v1::Cell cell = imported ? sweep::ImportedCell(result.cell(), result.imported()) : result.cell();
    if (std::exchange(first, false)) out.prompt = cell.prompt();
    std::vector<float> descriptor = DescriptorOf(result, detector);
    if (result.image().empty()) ++out.without;
    if (result.image().empty() && descriptor.empty()) continue;
    batch.push_back({cell.ordinal(), cell.seed(), std::move(*result.mutable_image()), std::move(descriptor)});
    if (batch.size() == kBatch) Decode(batch, threads, out);
  }
  const absl::Status status = FromGrpc(stream->Finish());
  if (absl::IsUnavailable(status) || absl::IsDataLoss(status) || absl::IsNotFound(status)) {
    StoredPictures none;
    none.unreadable = std::string(status.message());
    return none;
  }
  PS_RETURN_IF_ERROR(status);
  if (!complete) return absl::DataLossError("the stream of pictures was cut short or harmed");
  Decode(batch, threads, out);
  std::stable_partition(out.pictures.begin(), out.pictures.end(), [](const Picture& picture) { return picture.decoded(); });
  return out;
}

std::vector<uint32_t> DrawSome(std::vector<uint32_t> items, uint64_t most, uint64_t seed) {
  if (items.size() <= most) return items;
  std::mt19937_64 random(seed);
  std::vector<uint32_t> places(items.size());
  for (uint32_t i = 0; i < places.size(); ++i) places[i] = i;
  for (uint64_t i = 0; i < most; ++i) std::swap(places[i], places[i + random() % (places.size() - i)]);
  places.resize(most);
  std::sort(places.begin(), places.end());
  for (uint32_t& place : places) place = items[place];
  return places;
}

}  // namespace promptsweep::motifs
