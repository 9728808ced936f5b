#include "store/checks.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/image_location.h"

namespace promptsweep::store {
namespace {

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

uint32_t Little(absl::string_view bytes, size_t at, int count) {
  uint32_t value = 0;
  for (int i = count - 1; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

uint32_t Big(absl::string_view bytes, size_t at, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// RFC 9649.
absl::StatusOr<ImageSize> ReadWebp(absl::string_view image) {
  if (image.size() < 30 || !absl::StartsWith(image, "RIFF") || image.substr(8, 4) != "WEBP") return Bad("not a WebP file");
  const uint64_t riff = Little(image, 4, 4);
  if (riff + 8 != image.size()) return Bad("WebP file is truncated or has trailing bytes");
  const absl::string_view chunk = image.substr(12, 4);
  if (chunk == "VP8L") {
    if (image[20] != 0x2f) return Bad("broken WebP header");
    const uint32_t bits = Little(image, 21, 4);
    return ImageSize{(bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1};
  }
  if (chunk == "VP8 ") {
    if (Little(image, 23, 3) != 0x2a019d) return Bad("broken WebP header");
    return ImageSize{Little(image, 26, 2) & 0x3fff, Little(image, 28, 2) & 0x3fff};
  }
  if (chunk == "VP8X") {
    if (image[20] & 0x02) return Bad("animated WebP");
    return ImageSize{Little(image, 24, 3) + 1, Little(image, 27, 3) + 1};
  }
  return Bad("broken WebP header");
}

// ISO/IEC 15948.
absl::StatusOr<ImageSize> ReadPng(absl::string_view image) {
  constexpr absl::string_view kMagic("\x89PNG\r\n\x1a\n", 8);
  constexpr absl::string_view kEnd("\0\0\0\0IEND\xae\x42\x60\x82", 12);
  if (image.size() < 45 || !absl::StartsWith(image, kMagic) || image.substr(12, 4) != "IHDR") return Bad("not a PNG file");
  if (!absl::EndsWith(image, kEnd)) return Bad("PNG file is truncated or has trailing bytes");
  return ImageSize{Big(image, 16, 4), Big(image, 20, 4)};
}

// ITU T.81: segments up to the first start of frame.
absl::StatusOr<ImageSize> ReadJpeg(absl::string_view image) {
  if (image.size() < 4 || !absl::StartsWith(image, "\xff\xd8\xff")) return Bad("not a JPEG file");
  size_t at = 2;
  while (at + 9 <= image.size()) {
    if (static_cast<uint8_t>(image[at]) != 0xff) return Bad("broken JPEG header");
    const uint8_t marker = static_cast<uint8_t>(image[at + 1]);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) return ImageSize{Big(image, at + 7, 2), Big(image, at + 5, 2)};
    if (marker == 0xd9 || marker == 0xda) break;
    const uint32_t length = Big(image, at + 2, 2);
    if (length < 2) return Bad("broken JPEG header");
    at += 2 + length;
  }
  return Bad("JPEG file without a frame header");
}

// An image that the sweep keeps elsewhere: the name must be the one that its digest gives.
absl::Status CheckImageElsewhere(const std::string& images, const v1::Result& result) {
  if (!result.image().empty()) return Bad(absl::StrCat("the image was sent, the sweep keeps its images in ", images));
  if (result.image_digest().size() != kDigestSize) return Bad("no image digest");
  if (sweep::ImageKey(result.image_digest(), result.image_format()).empty()) return Bad("unknown image format");
  if (result.image_uri() != sweep::ImageUri(images, result.image_digest(), result.image_format())) {
    return Bad(absl::StrCat("image_uri is not the one of that image in ", images));
  }
  if (result.image_bytes() < 1 || result.image_bytes() > kMaxImageBytes)
    return Bad(absl::StrCat("image has ", result.image_bytes(), " bytes, 1 to ", kMaxImageBytes, " are taken"));
  if (result.width() < 1 || result.height() < 1 || result.width() > kMaxImageSide || result.height() > kMaxImageSide) {
    return Bad(absl::StrCat("image is ", result.width(), "x", result.height(), ", sides must be 1 to ", kMaxImageSide));
  }
  return absl::OkStatus();
}

absl::Status CheckImage(const Sweep& sweep, const v1::Result& result) {
  const std::string& image = result.image();
  const std::string& images = sweep.manifest().spec().images();
  if (images.empty() && !result.image_uri().empty()) return Bad("image_uri is set, the sweep keeps its images in the store");
  const bool absent = image.empty() && result.image_uri().empty();
  if (!images.empty() && !(absent && !sweep.manifest().imported_from().empty())) return CheckImageElsewhere(images, result);
  if (absent) {
    if (sweep.manifest().imported_from().empty()) return Bad("no image");
    if (result.image_format() != v1::IMAGE_FORMAT_UNSPECIFIED || !result.image_digest().empty() || result.width() != 0 ||
        result.height() != 0) {
      return Bad("an image is described but not sent");
    }
    return absl::OkStatus();
  }
  if (image.size() > kMaxImageBytes)
    return Bad(absl::StrCat("image has ", image.size(), " bytes, at most ", kMaxImageBytes, " are taken"));
  PS_ASSIGN_OR_RETURN(const ImageSize size, ReadImageHeader(image, result.image_format()));
  if (size.width != result.width() || size.height != result.height()) {
    return Bad(absl::StrCat("image is ", size.width, "x", size.height, ", said to be ", result.width(), "x", result.height()));
  }
  if (Sha256Of(image) != result.image_digest()) return Bad("image digest does not match the image");
  return absl::OkStatus();
}

absl::Status CheckEmbeddings(const Sweep& sweep, const v1::Result& result) {
  const v1::SweepManifest& manifest = sweep.manifest();
  if (result.embeddings_size() != manifest.embedders_size()) {
    return Bad(absl::StrCat(result.embeddings_size(), " embeddings, the sweep has ", manifest.embedders_size(), " embedders"));
  }
  for (int e = 0; e < manifest.embedders_size(); ++e) {
    const v1::Embedding& embedding = result.embeddings(e);
    if (embedding.embedder() != manifest.embedders(e).id()) {
      return Bad(absl::StrCat("embedding ", e, " is of '", embedding.embedder().substr(0, 64), "', the sweep has '",
                              manifest.embedders(e).id(), "' there"));
    }
    PS_RETURN_IF_ERROR(Annotate(CheckVector(embedding.fp16()), absl::StrCat("embedding of ", embedding.embedder())));
  }
  return absl::OkStatus();
}

absl::Status CheckModels(const google::protobuf::RepeatedPtrField<v1::ModelRef>& models, absl::string_view what) {
  absl::flat_hash_set<std::string> ids;
  for (const v1::ModelRef& model : models) {
    if (model.id().empty()) return Bad(absl::StrCat("the manifest has a ", what, " without an id"));
    if (model.digest().size() != kDigestSize) return Bad(absl::StrCat(what, " '", model.id().substr(0, 64), "' has no digest"));
    if (!ids.insert(model.id()).second)
      return Bad(absl::StrCat(what, " '", model.id().substr(0, 64), "' stands twice in the manifest"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSize> ReadImageHeader(absl::string_view image, v1::ImageFormat format) {
  absl::StatusOr<ImageSize> size = Bad("unknown image format");
  if (format == v1::IMAGE_FORMAT_WEBP) size = ReadWebp(image);
  if (format == v1::IMAGE_FORMAT_PNG) size = ReadPng(image);
  if (format == v1::IMAGE_FORMAT_JPEG) size = ReadJpeg(image);
  if (!size.ok()) return size;
  if (size->width < 1 || size->height < 1 || size->width > kMaxImageSide || size->height > kMaxImageSide) {
    return Bad(absl::StrCat("image is ", size->width, "x", size->height, ", sides must be 1 to ", kMaxImageSide));
  }
  return size;
}

absl::Status CheckVector(absl::string_view fp16) {
  if (fp16.empty() || fp16.size() % 2 != 0 || fp16.size() / 2 > kMaxDim) {
    return Bad(absl::StrCat(fp16.size(), " bytes are no vector of 1 to ", kMaxDim, " half floats"));
  }
  bool zero = true;
  for (size_t i = 0; i < fp16.size(); i += 2) {
    const uint32_t half = Little(fp16, i, 2);
    if ((half & 0x7c00) == 0x7c00) return Bad("not finite");
    zero = zero && (half & 0x7fff) == 0;
  }
  return zero ? Bad("all zero") : absl::OkStatus();
}

absl::StatusOr<Checked> CheckResult(const Sweep& sweep, const v1::Result& result) {
  if (!result.has_cell()) return Bad("no cell");
  const uint64_t ordinal = result.cell().ordinal();
  if (ordinal >= sweep.cell_count())
    return Bad(absl::StrCat("ordinal ", ordinal, " is beyond the sweep's ", sweep.cell_count(), " cells"));
  PS_ASSIGN_OR_RETURN(const v1::Cell cell, sweep.plan.CellAt(ordinal));
  if (result.cell().fingerprint() != cell.fingerprint()) return Bad("fingerprint is not the one of that cell");
  PS_RETURN_IF_ERROR(CheckImage(sweep, result));
  PS_RETURN_IF_ERROR(CheckEmbeddings(sweep, result));
  if (result.image_digest().empty() && result.embeddings().empty()) return Bad("neither image nor embedding");
  size_t imported = 0;
  for (const v1::Setting& setting : result.imported()) imported += setting.ByteSizeLong();
  if (imported > kMaxImportedBytes) return Bad("imported columns are too large");
  Checked checked;
  checked.image_bytes = result.image_uri().empty() ? static_cast<uint32_t>(result.image().size()) : result.image_bytes();
  checked.embeddings_digest = EmbeddingsDigest(result);
  checked.content_digest = ContentDigest(result.image_digest(), checked.embeddings_digest);
  return checked;
}

absl::StatusOr<sweep::Plan> CheckManifest(const v1::SweepManifest& manifest) {
  if (manifest.ByteSizeLong() > kMaxPutBytes) return Bad("the manifest is too large");
  const std::string& name = manifest.spec().name();
  if (name.empty() || name.size() > 128) return Bad("a sweep's name has 1 to 128 bytes");
  if (std::any_of(name.begin(), name.end(), absl::ascii_iscntrl)) return Bad("the sweep's name has control characters");
  if (manifest.embedders_size() > kMaxEmbedders) return Bad(absl::StrCat("at most ", kMaxEmbedders, " embedders"));
  PS_RETURN_IF_ERROR(sweep::CheckImages(manifest.spec().images()));
  PS_RETURN_IF_ERROR(CheckModels(manifest.models(), "model"));
  PS_RETURN_IF_ERROR(CheckModels(manifest.embedders(), "embedder"));
  const auto same = [](const v1::ModelRef& model, const std::string& id) { return model.id() == id; };
  if (!std::equal(manifest.embedders().begin(), manifest.embedders().end(), manifest.spec().embedders().begin(),
                  manifest.spec().embedders().end(), same)) {
    return Bad("the manifest's embedders are not the spec's");
  }
  PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  if (plan.cell_count() == 0) return Bad("the sweep has no cells");
  return plan;
}

}  // namespace promptsweep::store
