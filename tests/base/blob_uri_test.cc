// Proves which places for blobs can be named, and that each has one spelling.
#include "base/blob_uri.h"

#include <gtest/gtest.h>

namespace promptsweep {
namespace {

std::string Spelling(const std::string& uri) {
  const auto parsed = ParseBlobUri(uri);
  return parsed.ok() ? parsed->ToString() : std::string(parsed.status().message());
}

TEST(BlobUri, HasOneSpelling) {
  EXPECT_EQ(Spelling("s3://bucket"), "s3://bucket");
  EXPECT_EQ(Spelling("s3://bucket/"), "s3://bucket");
  EXPECT_EQ(Spelling("s3://my.bucket-1/a/b//"), "s3://my.bucket-1/a/b");
  EXPECT_EQ(Spelling("file:///data/images/"), "file:///data/images");
  EXPECT_EQ(Spelling("file:///data/my images"), "file:///data/my images");
  EXPECT_EQ(ParseBlobUri("s3://bucket/a/b")->bucket, "bucket");
  EXPECT_EQ(ParseBlobUri("s3://bucket/a/b")->path, "a/b");
  EXPECT_EQ(ParseBlobUri("file:///data")->path, "/data");
}

TEST(BlobUri, RefusesTheRestInAFewWords) {
  for (const std::string uri : {"",
                                "s3://",
                                "s3:///key",
                                "s3://b",
                                "s3://UPPER",
                                "s3://a..b",
                                "s3://-ab",
                                "s3://bucket//x",
                                "s3://bucket/../x",
                                "s3://bucket/.",
                                "s3://bucket/x?y=z",
                                "s3://bucket/x#y",
                                "s3://bucket/%2e%2e",
                                "s3://bucket:80/x",
                                "s3://key:secret@bucket",
                                "file://",
                                "file:///",
                                "file://relative",
                                "file://host/x",
                                "file:///a/./b",
                                "file:///a/\x01",
                                "gs://bucket/x",
                                "bucket/x"}) {
    EXPECT_EQ(ParseBlobUri(uri).status().code(), absl::StatusCode::kInvalidArgument) << uri;
  }
  EXPECT_FALSE(ParseBlobUri("s3://bucket/" + std::string(513, 'a')).ok());
  EXPECT_FALSE(ParseBlobUri("s3://bucket/a/" + std::string(256, 'a')).ok());
  EXPECT_FALSE(ParseBlobUri(std::string("s3://bucket/a\0b", 15)).ok());
}

}  // namespace
}  // namespace promptsweep
