// What a result must be to be admitted: pure functions of the request and the sweep. Nothing here decodes pixels.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "promptsweep/v1/store.pb.h"
#include "store/ledger.h"

namespace promptsweep::store {

inline constexpr uint32_t kMaxImageSide = 8192;
inline constexpr uint32_t kMaxDim = 8192;
// Bytes of the name of a vocabulary that is not an embedder's own.
inline constexpr size_t kMaxVocabularyName = 64;
inline constexpr int kMaxEmbedders = 64;
inline constexpr size_t kMaxImportedBytes = 64 << 10;
inline constexpr size_t kMaxProvenanceBytes = 4 << 10;

struct ImageSize {
  uint32_t width = 0;
  uint32_t height = 0;
};
// Width and height from the header of a complete, still picture. INVALID_ARGUMENT says what is wrong in a few words.
[[nodiscard]] absl::StatusOr<ImageSize> ReadImageHeader(absl::string_view image, v1::ImageFormat format);

// Digests of a result that passed.
struct Checked {
  std::string embeddings_digest;
  std::string content_digest;
  // Bytes of the image, wherever it is.
  uint32_t image_bytes = 0;
};
// INVALID_ARGUMENT with the reason for the outcome CODE_REJECTED. Whether an image outside of the store is there, and whether
// dimensions agree with earlier results of the sweep, is not looked at here.
[[nodiscard]] absl::StatusOr<Checked> CheckResult(const Sweep& sweep, const v1::Result& result);

// Finite halves, not all zero.
[[nodiscard]] absl::Status CheckVector(absl::string_view fp16);

// Complete and consistent, fit to be a sweep for ever. INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<sweep::Plan> CheckManifest(const v1::SweepManifest& manifest);

}  // namespace promptsweep::store
