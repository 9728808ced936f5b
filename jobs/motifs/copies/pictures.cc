#include "jobs/motifs/copies/pictures.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "base/rpc.h"
#include "base/status.h"
#include "jobs/motifs/gemm.h"
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
};

void Decode(std::vector<Encoded>& batch, int threads, StoredPictures& out) {
  std::vector<std::optional<Picture>> decoded(batch.size());
  ParallelFor(threads, static_cast<int64_t>(batch.size()), [&](int64_t i) {
    const auto image = worker::DecodeImage(batch[i].bytes);
    if (image.ok()) decoded[i] = PictureOf(*image, batch[i].ordinal, batch[i].seed);
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
                                            const std::vector<uint64_t>& ordinals, bool imported, int threads) {
  StoredPictures out;
  if (ordinals.empty()) return out;
  grpc::ClientContext context;
  SetTimeout(context, kTimeout);
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  for (const uint64_t ordinal : ordinals) {
    v1::OrdinalRange* last = request.ranges().empty() ? nullptr : request.mutable_ranges(request.ranges_size() - 1);
    if (last == nullptr || last->end() != ordinal) {
      last = request.add_ranges();
      last->set_begin(ordinal);
    }
    last->set_end(ordinal + 1);
  }
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
    if (result.image().empty()) {
      ++out.without;
      continue;
    }
    batch.push_back({cell.ordinal(), cell.seed(), std::move(*result.mutable_image())});
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
