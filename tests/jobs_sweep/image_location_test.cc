// Proves where images go: the grammar's `images`, its mistakes with their places, and the one name of each image.
#include "jobs/sweep/image_location.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "gmock/gmock.h"
#include "jobs/sweep/describe.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/plan.h"
#include "jobs/sweep/spec.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

absl::StatusOr<LoadedSpec> Parse(const std::string& images) {
  return ParseSpec(absl::StrCat("version: 1\nname: t\n", images, "cells: {model: null, prompt: x, seed: 0..9}\n"), "s.yaml",
                   "/nonexistent");
}

std::string Error(const std::string& images) {
  const auto loaded = Parse(absl::StrCat("images: ", images, "\n"));
  if (loaded.ok()) return "ok";
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(loaded.status().message().find('\n'), absl::string_view::npos);
  return std::string(loaded.status().message());
}

TEST(ImageLocation, IsReadInOneSpelling) {
  EXPECT_EQ(Parse("")->spec.images(), "");
  EXPECT_EQ(Parse("images: s3://bucket\n")->spec.images(), "s3://bucket");
  EXPECT_EQ(Parse("images: s3://bucket/a/b/\n")->spec.images(), "s3://bucket/a/b");
  EXPECT_EQ(Parse("images: \"file:///data/my images//\"\n")->spec.images(), "file:///data/my images");
}

TEST(ImageLocation, MistakesAreSaidAtTheirPlace) {
  for (const std::string text : {"\"\"", "s3://", "s3://b", "s3://Bucket/x", "s3://bucket/../x", "s3://bucket/a//b",
                                 "s3://bucket/x?y", "s3://bucket/x%2e", "file://x", "file:///", "file:///a/../b", "/data",
                                 "gs://bucket/x", "s3://key:secret@bucket/x", "~", "[s3://bucket]", "{a: b}"}) {
    EXPECT_THAT(Error(text), StartsWith("s.yaml:3:9: images")) << text;
  }
  EXPECT_THAT(Parse("image: s3://bucket\n").status().ToString(), HasSubstr("did you mean \"images\"?"));
}

TEST(ImageLocation, HasOneNameForOneContent) {
  const std::string digest = Sha256Of("image");
  const std::string hex = ToHex(digest);
  EXPECT_EQ(ImageKey(digest, v1::IMAGE_FORMAT_WEBP), hex.substr(0, 2) + "/" + hex + ".webp");
  EXPECT_EQ(ImageKey(digest, v1::IMAGE_FORMAT_PNG), hex.substr(0, 2) + "/" + hex + ".png");
  EXPECT_EQ(ImageKey(digest, v1::IMAGE_FORMAT_JPEG), hex.substr(0, 2) + "/" + hex + ".jpg");
  EXPECT_EQ(ImageKey(digest, v1::IMAGE_FORMAT_UNSPECIFIED), "");
  EXPECT_EQ(ImageKey("short", v1::IMAGE_FORMAT_WEBP), "");
  for (const std::string images : {"s3://bucket", "s3://bucket/a/b", "file:///data"}) {
    const auto place = ParseImageUri(ImageUri(images, digest, v1::IMAGE_FORMAT_PNG));
    ASSERT_TRUE(place.ok()) << place.status();
    EXPECT_EQ(place->images, images);
    EXPECT_EQ(place->key, ImageKey(digest, v1::IMAGE_FORMAT_PNG));
  }
  for (const std::string& uri :
       {std::string(), std::string("/"), std::string("//"), "s3://bucket/" + hex + ".png", "s3://bucket/00/" + hex + ".png",
        "s3://bucket/" + ImageKey(digest, v1::IMAGE_FORMAT_PNG) + "x", "gs://bucket/" + ImageKey(digest, v1::IMAGE_FORMAT_PNG),
        ImageKey(digest, v1::IMAGE_FORMAT_PNG), "/" + ImageKey(digest, v1::IMAGE_FORMAT_PNG)}) {
    EXPECT_EQ(ParseImageUri(uri).status().code(), absl::StatusCode::kDataLoss) << uri;
  }
}

TEST(ImageLocation, OnlyItsOwnNamesAreItsOwn) {
  const std::string digest = Sha256Of("image");
  const std::string key = ImageKey(digest, v1::IMAGE_FORMAT_WEBP);
  EXPECT_EQ(DigestOfImageKey(key), digest);
  for (size_t at = 0; at < key.size(); ++at) {
    std::string other = key;
    other[at] = other[at] == '!' ? '?' : '!';
    EXPECT_EQ(DigestOfImageKey(other), "") << other;
    EXPECT_EQ(DigestOfImageKey(key.substr(0, at)), "");
  }
  for (const std::string& other : {key + "x", "/" + key, "a/" + key, absl::AsciiStrToUpper(key)})
    EXPECT_EQ(DigestOfImageKey(other), "");
}

TEST(ImageLocation, IsPartOfTheManifestAndOfNoFingerprint) {
  const auto catalog = ModelCatalog::Open({});
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  const auto inside = Freeze(Parse("")->spec, *catalog, {}),
             outside = Freeze(Parse("images: s3://bucket/x\n")->spec, *catalog, {});
  ASSERT_TRUE(inside.ok()) << inside.status();
  ASSERT_TRUE(outside.ok()) << outside.status();
  EXPECT_NE(ManifestDigest(*inside), ManifestDigest(*outside));
  EXPECT_EQ(Plan::FromManifest(*inside)->CellAt(3)->fingerprint(), Plan::FromManifest(*outside)->CellAt(3)->fingerprint());
  v1::SweepSpec spec = Parse("")->spec;
  spec.set_images("s3://bucket/x/");
  EXPECT_EQ(Freeze(spec, *catalog, {}).status().code(), absl::StatusCode::kInvalidArgument);

  EXPECT_THAT(ToText(*Describe(*outside, *catalog)), HasSubstr("images go to s3://bucket/x\n"));
  EXPECT_EQ(ToJson(*Describe(*outside, *catalog))["images"], "s3://bucket/x");
  EXPECT_THAT(ToText(*Describe(*inside, *catalog)), Not(HasSubstr("images go")));
  EXPECT_TRUE(ToJson(*Describe(*inside, *catalog))["images"].is_null());
}

}  // namespace
}  // namespace promptsweep::sweep
