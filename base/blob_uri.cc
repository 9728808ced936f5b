#include "base/blob_uri.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace promptsweep {
namespace {

constexpr size_t kMaxPathBytes = 512;
constexpr size_t kMaxNameBytes = 255;

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

// The naming rules that S3 and its look-alikes share.
bool IsBucket(absl::string_view name) {
  const auto allowed = [](unsigned char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '.'; };
  return name.size() >= 3 && name.size() <= 63 && std::all_of(name.begin(), name.end(), allowed) &&
         absl::ascii_isalnum(static_cast<unsigned char>(name.front())) &&
         absl::ascii_isalnum(static_cast<unsigned char>(name.back())) && !absl::StrContains(name, "..");
}

}  // namespace

bool IsBlobPath(absl::string_view path) {
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameBytes) return false;
    for (const unsigned char c : name) {
      if (absl::ascii_iscntrl(c) || absl::StrContains("?#%\\\"<>`", absl::string_view(reinterpret_cast<const char*>(&c), 1)))
        return false;
    }
  }
  return true;
}

std::string BlobUri::ToString() const {
  if (scheme == kFile) return absl::StrCat("file://", path);
  return path.empty() ? absl::StrCat("s3://", bucket) : absl::StrCat("s3://", bucket, "/", path);
}

absl::StatusOr<BlobUri> ParseBlobUri(absl::string_view uri) {
  BlobUri parsed;
  absl::string_view rest = uri;
  if (absl::ConsumePrefix(&rest, "file://")) {
    if (!absl::StartsWith(rest, "/")) return Bad("a file URI names an absolute folder, as in file:///data/images");
    rest.remove_prefix(1);
    while (absl::ConsumeSuffix(&rest, "/")) {
    }
    if (rest.empty()) return Bad("the root folder cannot hold images");
    parsed.path = absl::StrCat("/", rest);
  } else if (absl::ConsumePrefix(&rest, "s3://")) {
    parsed.scheme = BlobUri::kS3;
    const size_t slash = std::min(rest.find('/'), rest.size());
    parsed.bucket = std::string(rest.substr(0, slash));
    if (parsed.bucket.empty()) return Bad("the bucket is missing, as in s3://bucket/prefix");
    if (!IsBucket(parsed.bucket)) return Bad("a bucket's name has 3 to 63 of a-z, 0-9, dot and dash");
    rest.remove_prefix(slash);
    (void)absl::ConsumePrefix(&rest, "/");
    while (absl::ConsumeSuffix(&rest, "/")) {
    }
    parsed.path = std::string(rest);
  } else {
    return Bad("not of the form s3://bucket/prefix or file:///folder");
  }
  if (rest.size() > kMaxPathBytes) return Bad(absl::StrCat("longer than ", kMaxPathBytes, " bytes"));
  if (!rest.empty() && !IsBlobPath(rest)) {
    return Bad("the path has an empty name, \".\", \"..\", a control character or one of ? # % \\ \" < > `");
  }
  return parsed;
}

}  // namespace promptsweep
