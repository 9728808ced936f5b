// The embedder of a sweep that detects copies: whose vectors tell not what kind of thing two pictures show, but whether one is a
// copy of the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/copies/reference.h"
#include "jobs/motifs/vectors/matrix.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::motifs {

// Asked for in place of an embedder: none, though the sweep may have one.
inline constexpr char kNoDetector[] = "none";

// Id of the embedder that was `asked` for; of the first that DetectsCopies (jobs/sweep/catalog.h) where nothing was; empty for
// none. NOT_FOUND where the sweep does not have what was asked for.
[[nodiscard]] absl::StatusOr<std::string> ChooseDetector(const v1::SweepManifest& manifest, const std::string& asked);

// Which vectors of the members a reference of vectors is compared with.
struct ReferenceSpace {
  std::string embedder;
  bool detects_copies = false;
  std::string note;  // where somebody who named no embedder may wonder
};
// `asked`; else the embedder `mined`, whose vectors have `dim` values, unless only the detector's are as long as the reference's.
// NOT_FOUND as above; statuses of CheckLength and DescriptorsOf.
[[nodiscard]] absl::StatusOr<ReferenceSpace> ChooseReferenceSpace(v1::StoreService::StubInterface& store,
                                                                  const v1::SweepInfo& info, const std::string& asked,
                                                                  const std::string& mined, int64_t dim,
                                                                  const std::string& detector, const ReferenceFiles& reference);

struct Descriptors {
  Matrix x;                        // unit rows
  std::vector<uint64_t> ordinals;  // ascending, one a row
};
// Vectors of `embedder` of those `ordinals` (ascending) that have one; all of one length. Statuses of GetResults; DATA_LOSS where
// its stream was cut short or harmed.
[[nodiscard]] absl::StatusOr<Descriptors> DescriptorsOf(v1::StoreService::StubInterface& store, uint32_t sweep,
                                                        const std::string& embedder, const std::vector<uint64_t>& ordinals);

// The result's vector of `embedder` at unit length; empty where it has none, or none with a direction.
[[nodiscard]] std::vector<float> DescriptorOf(const v1::Result& result, const std::string& embedder);

// Adds `ordinals` (ascending) to what is asked for.
void AskFor(const std::vector<uint64_t>& ordinals, v1::GetResultsRequest& request);

}  // namespace promptsweep::motifs
