// Proves that a bucket keeps the blob store's contract against a server that checks every signature, and that each of the
// server's and the network's failures gives the status it should, after the attempts it deserves, without a secret in a message.
#include "blobs/s3_blob_store.h"

#include "absl/strings/escaping.h"
#include "tests/blobs/contract.h"
#include "tests/blobs/fake_s3.h"

namespace promptsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A client of a server; pauses are kept, not slept.
struct Rig {
  explicit Rig(FakeS3::Options server_options = {}, const std::string& uri = "s3://bucket/some prefix/x")
      : server(server_options), environment(server.environment()), uri(uri) {
    options.environment = [this](const char* name) -> std::optional<std::string> {
      const auto found = environment.find(name);
      return found == environment.end() ? std::nullopt : std::optional(found->second);
    };
    options.sleep = [this](absl::Duration pause) { pauses.push_back(pause); };
    options.request_timeout = absl::Seconds(20);
  }
  BlobStore& store() {
    if (!opened) {
      auto made = BlobStore::Open(uri, options);
      PS_CHECK(made.ok()) << made.status();
      opened = *made;
    }
    return *opened;
  }

  FakeS3 server;
  std::map<std::string, std::string> environment;
  const std::string uri;
  BlobStore::Options options;
  std::vector<absl::Duration> pauses;
  std::shared_ptr<BlobStore> opened;
};

void ExpectNoSecret(const absl::Status& status) {
  EXPECT_THAT(status.ToString(), Not(HasSubstr("wJalr")));
  EXPECT_THAT(status.ToString(), Not(HasSubstr("AKID")));
  EXPECT_THAT(status.ToString(), Not(HasSubstr("\n")));
}

TEST(S3BlobStore, KeepsTheContract) {
  Rig rig({.page = 3});
  CheckContract(rig.store());
  EXPECT_EQ(rig.server.last_refusal(), "");
  EXPECT_LE(rig.server.connections(), 8) << "connections stay open";
}

TEST(S3BlobStore, KeepsTheContractAtTheBucketsRoot) {
  Rig rig({.page = 2}, "s3://bucket");
  CheckContract(rig.store());
  EXPECT_EQ(rig.server.last_refusal(), "");
}

TEST(S3BlobStore, KeepsTheContractOnServersWithoutChecksumsOrConditions) {
  Rig rig;
  rig.server.set_keeps_checksums(false);
  rig.server.set_conditional(false);
  CheckContract(rig.store());
  EXPECT_EQ(rig.server.last_refusal(), "");
}

TEST(S3BlobStore, SendsTheSessionTokenSigned) {
  Rig rig({.session_token = "token/with+signs==", .region = "eu-central-1"});
  CheckContract(rig.store());
  EXPECT_EQ(rig.server.last_refusal(), "");
}

TEST(S3BlobStore, PutsOnceAndWithItsChecksum) {
  Rig rig;
  ASSERT_TRUE(PutBytes(rig.store(), "ab/k.webp", "bytes").ok());
  const auto objects = rig.server.objects();
  ASSERT_EQ(objects.count("some prefix/x/ab/k.webp"), 1u);
  const FakeS3::Request put = rig.server.requests().at(0);
  EXPECT_EQ(put.headers.at("x-amz-content-sha256"), ToHex(Sha256Of("bytes")));
  EXPECT_EQ(put.headers.at("x-amz-checksum-sha256"), absl::Base64Escape(Sha256Of("bytes")));
  EXPECT_EQ(put.headers.at("if-none-match"), "*");
  ASSERT_TRUE(PutBytes(rig.store(), "ab/k.webp", "bytes").ok());
  EXPECT_EQ(rig.server.objects().at("some prefix/x/ab/k.webp").modified, objects.at("some prefix/x/ab/k.webp").modified);
  // A look at an object reads none of it.
  ASSERT_TRUE(rig.store().Stat("ab/k.webp").ok());
  EXPECT_EQ(rig.server.requests().back().method, "HEAD");
}

TEST(S3BlobStore, TriesAgainWithGrowingPauses) {
  for (const auto& [status, code] : std::vector<std::pair<int, std::string>>{{500, "InternalError"},
                                                                             {503, "SlowDown"},
                                                                             {503, ""},
                                                                             {502, ""},
                                                                             {504, ""},
                                                                             {429, ""},
                                                                             {409, "ConditionalRequestConflict"}}) {
    Rig rig;
    rig.server.FailNext(3, status, code);
    EXPECT_TRUE(PutBytes(rig.store(), "k", "bytes").ok()) << status;
    ASSERT_EQ(rig.pauses.size(), 3u) << status;
    for (int i = 0; i < 3; ++i) {
      EXPECT_GE(rig.pauses[i], absl::Milliseconds(50) * (1 << i));
      EXPECT_LE(rig.pauses[i], absl::Milliseconds(100) * (1 << i));
    }
    rig.server.FailNext(-1, status, code);
    const absl::Status failed = PutBytes(rig.store(), "k2", "bytes");
    EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
    EXPECT_THAT(failed.ToString(), HasSubstr(std::to_string(status)));
    EXPECT_EQ(rig.pauses.size(), 6u);
    ExpectNoSecret(failed);
    EXPECT_TRUE(absl::IsUnavailable(rig.store().Get("k").status()));
    EXPECT_TRUE(absl::IsUnavailable(rig.store().Stat("k").status()));
    EXPECT_TRUE(absl::IsUnavailable(rig.store().Delete("k")));
    EXPECT_TRUE(absl::IsUnavailable(rig.store().List("", "").status()));
  }
}

TEST(S3BlobStore, AKeyThatIsTakenButNotThereYetIsTriedAgain) {
  Rig rig;
  rig.server.FailNext(1, 412, "PreconditionFailed");
  EXPECT_TRUE(PutBytes(rig.store(), "k", "bytes").ok());
  EXPECT_EQ(rig.pauses.size(), 1u);
}

TEST(S3BlobStore, ASlowUploadIsTriedAgain) {
  Rig rig;
  rig.server.FailNext(2, 400, "RequestTimeout");
  EXPECT_TRUE(PutBytes(rig.store(), "k", "bytes").ok());
  EXPECT_EQ(rig.pauses.size(), 2u);
}

TEST(S3BlobStore, SurvivesBrokenConnections) {
  Rig rig;
  rig.server.ResetNext(2);
  EXPECT_TRUE(PutBytes(rig.store(), "k", std::string(3 << 20, 'x')).ok());
  rig.server.CutNext(2);
  const auto got = rig.store().Get("k");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->size(), size_t{3} << 20);
  rig.server.ResetNext(-1);
  EXPECT_TRUE(absl::IsUnavailable(PutBytes(rig.store(), "k2", "x")));
}

TEST(S3BlobStore, ASilentServerIsUnavailable) {
  Rig rig;
  rig.options.request_timeout = absl::Milliseconds(200);
  rig.options.attempts = 2;
  rig.server.Hold(true);
  const absl::Status status = rig.store().Get("k").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(rig.pauses.size(), 1u);
}

TEST(S3BlobStore, NobodyThereIsUnavailable) {
  Rig rig;
  rig.environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:1";
  const absl::Status status = PutBytes(rig.store(), "k", "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("s3://bucket"));
}

TEST(S3BlobStore, GivesUpWhenToldTo) {
  Rig rig;
  bool cancelled = false;
  rig.options.cancelled = [&] { return cancelled; };
  rig.options.sleep = [&](absl::Duration) { cancelled = true; };
  rig.server.FailNext(-1, 503, "SlowDown");
  EXPECT_EQ(PutBytes(rig.store(), "k", "x").code(), absl::StatusCode::kCancelled);
}

TEST(S3BlobStore, ARefusalIsSaidOnceAndWithoutSecrets) {
  Rig rig;
  rig.environment["AWS_SECRET_ACCESS_KEY"] = "wJalr-not-the-key";
  for (const absl::Status& status :
       {PutBytes(rig.store(), "k", "x"), rig.store().Get("k").status(), rig.store().Stat("k").status(), rig.store().Delete("k"),
        rig.store().List("", "").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    ExpectNoSecret(status);
  }
  EXPECT_THAT(PutBytes(rig.store(), "k", "x").ToString(), HasSubstr("403 SignatureDoesNotMatch"));
  EXPECT_TRUE(rig.pauses.empty()) << "the same key is refused again";
}

TEST(S3BlobStore, AMissingBucketIsNoMissingObject) {
  Rig rig({.bucket = "another"});
  EXPECT_EQ(PutBytes(rig.store(), "k", "x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(PutBytes(rig.store(), "k", "x").ToString(), HasSubstr("NoSuchBucket"));
  EXPECT_EQ(rig.store().Get("k").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(S3BlobStore, NamesTheVariablesThatAreMissing) {
  for (const std::string name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}) {
    Rig rig;
    rig.environment.erase(name);
    const absl::Status status = BlobStore::Open(rig.uri, rig.options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.ToString(), HasSubstr(name));
    ExpectNoSecret(status);
  }
}

TEST(S3BlobStore, RefusesSettingsThatCouldNotBeMeant) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"AWS_ENDPOINT_URL_S3", "ftp://host"},
                                                        {"AWS_ENDPOINT_URL_S3", "http://user:wJalr@host"},
                                                        {"AWS_ENDPOINT_URL_S3", "http://host/path?x"},
                                                        {"AWS_REGION", "a:b"},
                                                        {"AWS_SECRET_ACCESS_KEY", "wJalr\r\nX: y"},
                                                        {"AWS_SESSION_TOKEN", "wJalr\n"}}) {
    Rig rig;
    rig.environment[name] = value;
    const absl::Status status = BlobStore::Open(rig.uri, rig.options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << name;
    ExpectNoSecret(status);
  }
}

TEST(S3BlobStore, ReadsTheEndpointLikeOtherTools) {
  Rig rig;
  rig.environment["AWS_ENDPOINT_URL"] = rig.environment["AWS_ENDPOINT_URL_S3"] + "/";
  rig.environment.erase("AWS_ENDPOINT_URL_S3");
  rig.environment["AWS_DEFAULT_REGION"] = rig.environment["AWS_REGION"];
  rig.environment.erase("AWS_REGION");
  EXPECT_TRUE(PutBytes(rig.store(), "k", "x").ok());
}

TEST(S3BlobStore, BytesThatArriveChangedAreSeenByTheServer) {
  Rig rig;
  rig.server.FailNext(1, 400, "BadDigest");
  EXPECT_TRUE(PutBytes(rig.store(), "k", "x").ok());
  rig.server.FailNext(-1, 400, "BadDigest");
  EXPECT_EQ(PutBytes(rig.store(), "k2", "x").code(), absl::StatusCode::kDataLoss);
}

TEST(S3BlobStore, AnObjectLargerThanAnyIsDataLoss) {
  Rig rig;
  rig.options.max_object_bytes = 1000;
  rig.server.Put("some prefix/x/k", std::string(1001, 'x'), absl::Now());
  rig.server.Put("some prefix/x/m", std::string(1 << 20, 'x'), absl::Now());
  EXPECT_EQ(rig.store().Get("k").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(rig.store().Get("m").status().code(), absl::StatusCode::kDataLoss);
}

TEST(S3BlobStore, ListsWhatIsUnderItsPrefixOnly) {
  Rig rig({.page = 1});
  const absl::Time then = absl::FromUnixMillis(1'700'000'000'123);
  for (const char* key : {"some prefix/x/a", "some prefix/xy/b", "some prefix/x/<&>'\"", "other/c"})
    rig.server.Put(key, "12345", then);
  EXPECT_THAT(ListAll(rig.store(), ""), ElementsAre("<&>'\"", "a"));
  const auto page = rig.store().List("a", "");
  ASSERT_TRUE(page.ok() && page->entries.size() == 1);
  EXPECT_EQ(page->entries[0].size, 5u);
  EXPECT_EQ(page->entries[0].modified, then);
}

TEST(S3BlobStore, AHostileListingIsDataLoss) {
  Rig rig;
  for (const std::string xml : {"no xml", "<ListBucketResult>", "<Error><Code>X</Code></Error>",
                                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"}) {
    rig.server.set_list_reply(xml);
    EXPECT_EQ(rig.store().List("", "").status().code(), absl::StatusCode::kDataLoss) << xml;
  }
  rig.server.set_list_reply(std::string(9 << 20, ' '));
  EXPECT_EQ(rig.store().List("", "").status().code(), absl::StatusCode::kDataLoss);
  rig.server.set_list_reply(
      "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>");
  EXPECT_EQ(rig.store().List("", "t").status().code(), absl::StatusCode::kDataLoss) << "the same page for ever";
}

}  // namespace
}  // namespace promptsweep
