#include "jobs/motifs/copies/detector.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/names.h"
#include "store/digest.h"

namespace promptsweep::motifs {
namespace {

constexpr absl::Duration kTimeout = absl::Hours(6);

absl::StatusOr<const v1::ModelRef*> Embedder(const v1::SweepManifest& manifest, const std::string& id) {
  std::vector<std::string> ids;
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    if (embedder.id() == id) return &embedder;
    ids.push_back(embedder.id());
  }
  return absl::NotFoundError(absl::StrCat("the sweep has no embedder ", sweep::Quoted(id), sweep::Hint(id, ids)));
}

absl::Status ReadVectors(v1::StoreService::StubInterface& store, v1::GetResultsRequest request,
                         const std::function<void(const v1::Result&)>& visit) {
  grpc::ClientContext context;
  SetTimeout(context, kTimeout);
  request.set_with_embeddings(true);
  const auto stream = store.GetResults(&context, request);
  store::ScanDigest digest;
  v1::GetResultsResponse message;
  bool complete = false;
  while (stream->Read(&message)) {
    if (message.has_trailer()) {
      complete = digest.Matches(message.trailer());
      continue;
    }
    digest.Add(message.result());
    visit(message.result());
  }
  PS_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
  return complete ? absl::OkStatus() : absl::DataLossError("the stream of vectors was cut short or harmed");
}

// Values of a vector of `embedder`; 0 where none is stored.
absl::StatusOr<int64_t> LengthOf(v1::StoreService::StubInterface& store, uint32_t sweep, const std::string& embedder) {
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_limit(1);
  int64_t length = 0;
  PS_RETURN_IF_ERROR(ReadVectors(store, request, [&](const v1::Result& result) {
    for (const v1::Embedding& embedding : result.embeddings()) {
      if (embedding.embedder() == embedder) length = static_cast<int64_t>(embedding.fp16().size() / 2);
    }
  }));
  return length;
}

}  // namespace

absl::StatusOr<std::string> ChooseDetector(const v1::SweepManifest& manifest, const std::string& asked) {
  if (asked == kNoDetector) return "";
  if (!asked.empty()) {
    PS_ASSIGN_OR_RETURN(const v1::ModelRef* embedder, Embedder(manifest, asked));
    return embedder->id();
  }
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    if (sweep::DetectsCopies(embedder)) return embedder.id();
  }
  return "";
}

absl::StatusOr<ReferenceSpace> ChooseReferenceSpace(v1::StoreService::StubInterface& store, const v1::SweepInfo& info,
                                                    const std::string& asked, const std::string& mined, int64_t dim,
                                                    const std::string& detector, const ReferenceFiles& reference) {
  const int64_t cols = reference.cols;
  const auto length_of = [&](const std::string& embedder) -> absl::StatusOr<int64_t> {
    if (embedder == mined) return dim;
    return LengthOf(store, info.sweep(), embedder);
  };
  ReferenceSpace space;
  space.embedder = asked.empty() ? mined : asked;
  if (asked.empty() && !detector.empty() && detector != mined) {
    PS_ASSIGN_OR_RETURN(const int64_t other, length_of(detector));
    if (cols == dim && cols == other) {
      space.note = absl::StrCat("the reference's vectors have as many values as those of ", mined, " and of ", detector,
                                "; they were taken for those of ", mined, ", --reference-embedder says otherwise");
    } else if (cols == other) {
      space.embedder = detector;
    }
  }
  PS_ASSIGN_OR_RETURN(const v1::ModelRef* embedder, Embedder(info.manifest(), space.embedder));
  PS_ASSIGN_OR_RETURN(const int64_t length, length_of(space.embedder));
  PS_RETURN_IF_ERROR(CheckLength(reference, length, space.embedder));
  space.detects_copies = space.embedder == detector || sweep::DetectsCopies(*embedder);
  return space;
}

absl::StatusOr<Descriptors> DescriptorsOf(v1::StoreService::StubInterface& store, uint32_t sweep, const std::string& embedder,
                                          const std::vector<uint64_t>& ordinals) {
  Descriptors found;
  if (ordinals.empty()) return found;
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  AskFor(ordinals, request);
  PS_RETURN_IF_ERROR(ReadVectors(store, std::move(request), [&](const v1::Result& result) {
    const std::vector<float> vector = DescriptorOf(result, embedder);
    if (found.x.dim == 0) found.x.dim = static_cast<int64_t>(vector.size());
    if (vector.empty() || static_cast<int64_t>(vector.size()) != found.x.dim) return;
    found.x.data.insert(found.x.data.end(), vector.begin(), vector.end());
    found.ordinals.push_back(result.cell().ordinal());
  }));
  found.x.rows = static_cast<int64_t>(found.ordinals.size());
  return found;
}

std::vector<float> DescriptorOf(const v1::Result& result, const std::string& embedder) {
  if (embedder.empty()) return {};
  for (const v1::Embedding& embedding : result.embeddings()) {
    if (embedding.embedder() != embedder) continue;
    const std::vector<float> values = UnpackHalves(embedding.fp16());
    AlignedFloats unit;
    if (!AppendUnit(values.data(), static_cast<int64_t>(values.size()), unit)) return {};
    return {unit.begin(), unit.end()};
  }
  return {};
}

void AskFor(const std::vector<uint64_t>& ordinals, v1::GetResultsRequest& request) {
  for (const uint64_t ordinal : ordinals) {
    v1::OrdinalRange* last = request.ranges().empty() ? nullptr : request.mutable_ranges(request.ranges_size() - 1);
    if (last == nullptr || last->end() != ordinal) {
      last = request.add_ranges();
      last->set_begin(ordinal);
    }
    last->set_end(ordinal + 1);
  }
}

}  // namespace promptsweep::motifs
