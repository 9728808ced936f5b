// Proves that the reader of S3's replies takes what servers send and refuses everything else without harm: each truncation, each
// single-byte change and hostile nesting ends in a listing or a clear error.
#include "blobs/s3_xml.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace promptsweep {
namespace {

const char kListing[] =
    "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a > comment -->"
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\" note='a > b'>\n"
    "  <Name>bucket</Name><Prefix/><IsTruncated>true</IsTruncated>\n"
    "  <NextContinuationToken>1/&#x2B;&#61;</NextContinuationToken>\n"
    "  <Contents><Key>a&amp;b&lt;&#xE9;&#128512;</Key><LastModified>2023-11-14T22:13:20.123Z</LastModified>"
    "<Owner><ID>x</ID></Owner><Size>12</Size></Contents>\n"
    "  <Contents ><Size>0</Size><Key> k </Key><LastModified>2023-11-14T22:13:20Z</LastModified></Contents>\n"
    "  <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>\n"
    "</ListBucketResult>\n";

TEST(S3Xml, ReadsAListing) {
  const auto listing = ParseS3Listing(kListing);
  ASSERT_TRUE(listing.ok()) << listing.status();
  EXPECT_TRUE(listing->truncated);
  EXPECT_EQ(listing->token, "1/+=");
  ASSERT_EQ(listing->entries.size(), 2u);
  EXPECT_EQ(listing->entries[0].key, "a&b<\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(listing->entries[0].size, 12u);
  EXPECT_EQ(listing->entries[0].modified, absl::FromUnixMillis(1'700'000'000'123));
  EXPECT_EQ(listing->entries[1].key, " k ");
  EXPECT_EQ(listing->entries[1].size, 0u);
  const auto prefixed =
      ParseS3Listing("<s3:ListBucketResult xmlns:s3='x'><s3:IsTruncated>false</s3:IsTruncated></s3:ListBucketResult>");
  ASSERT_TRUE(prefixed.ok()) << prefixed.status();
  EXPECT_TRUE(prefixed->entries.empty());
}

TEST(S3Xml, EveryTruncationIsAnError) {
  const std::string whole = kListing;
  const size_t end = whole.rfind('>');
  for (size_t length = 0; length <= end; ++length) {
    EXPECT_EQ(ParseS3Listing(whole.substr(0, length)).status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

TEST(S3Xml, AnyChangedByteIsHarmless) {
  const std::string whole = kListing;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
      const auto listing = ParseS3Listing(changed);
      EXPECT_TRUE(listing.ok() || absl::IsDataLoss(listing.status())) << listing.status();
      (void)ParseS3ErrorCode(changed);
    }
  }
}

std::string With(const std::string& inner) {
  return absl::StrCat("<ListBucketResult><IsTruncated>false</IsTruncated>", inner, "</ListBucketResult>");
}

TEST(S3Xml, RefusesWhatNoServerSends) {
  ASSERT_TRUE(ParseS3Listing(With("")).ok());
  const std::string entry = "<Key>k</Key><Size>1</Size><LastModified>2023-11-14T22:13:20Z</LastModified>";
  ASSERT_EQ(ParseS3Listing(With(absl::StrCat("<Contents>", entry, "</Contents>")))->entries.size(), 1u);
  const auto code = [](const std::string& xml) { return ParseS3Listing(xml).status().code(); };
  for (const std::string inner : {"<Contents></Contents>",
                                  "<Contents><Key>k</Key></Contents>",
                                  "<Contents/>",
                                  "<Contents><Key></Key><Size>1</Size></Contents>",
                                  "&nbsp;",
                                  "&",
                                  "&;",
                                  "&#;",
                                  "&#x;",
                                  "&#0;",
                                  "&#x110000;",
                                  "&#xD800;",
                                  "&#99999999999999;",
                                  "&lt",
                                  "<a",
                                  "<",
                                  "</a>",
                                  "<a></b>",
                                  "<>",
                                  "< a></a>",
                                  "<a <b></b></a>",
                                  "<![CDATA[x]]>",
                                  "<!ENTITY a 'b'>",
                                  "<a b='></a>",
                                  "</ListBucketResult><x/>"}) {
    EXPECT_EQ(code(With(inner)), absl::StatusCode::kDataLoss) << inner;
  }
  for (const std::string size : {"-1", "x", "", "1.5", "99999999999999999999999"}) {
    EXPECT_EQ(code(With(absl::StrCat("<Contents><Key>k</Key><LastModified>2023-11-14T22:13:20Z</LastModified><Size>", size,
                                     "</Size></Contents>"))),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_EQ(code("<!DOCTYPE x [<!ENTITY a \"aaaa\">]>" + With("")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(With("") + With("")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(With("") + "text"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code("text" + With("")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code("<Other/>"), absl::StatusCode::kDataLoss);
}

TEST(S3Xml, DepthAndSizeAreBounded) {
  std::string deep, closing;
  for (int i = 0; i < 1'000'000; ++i) deep += "<a>";
  EXPECT_EQ(ParseS3Listing(deep).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseS3Listing(With(deep)).status().code(), absl::StatusCode::kDataLoss);
  const std::string wide(4 << 20, 'x');
  const auto listing = ParseS3Listing(With(absl::StrCat("<Name>", wide, "</Name>")));
  EXPECT_TRUE(listing.ok()) << listing.status();
}

TEST(S3Xml, ReadsOnlyPlainErrorCodes) {
  EXPECT_EQ(ParseS3ErrorCode("<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message></Error>"), "SlowDown");
  EXPECT_EQ(ParseS3ErrorCode("<Error><Message>m</Message><Code>NoSuchKey</Code>"), "NoSuchKey") << "what follows does not matter";
  EXPECT_EQ(ParseS3ErrorCode(""), "");
  EXPECT_EQ(ParseS3ErrorCode("<Error></Error>"), "");
  EXPECT_EQ(ParseS3ErrorCode("<Error><Code>two words</Code></Error>"), "");
  EXPECT_EQ(ParseS3ErrorCode("<Error><Code>a&#10;b</Code></Error>"), "");
  EXPECT_EQ(ParseS3ErrorCode(absl::StrCat("<Error><Code>", std::string(65, 'A'), "</Code></Error>")), "");
  EXPECT_EQ(ParseS3ErrorCode("<html><Code>SlowDown</Code></html>"), "");
}

}  // namespace
}  // namespace promptsweep
