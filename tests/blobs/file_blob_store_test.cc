// Proves that a folder keeps the blob store's contract: objects appear whole and durable or not at all, and nothing outside of
// the folder can be reached.
#include "blobs/file_blob_store.h"

#include <sys/resource.h>

#include <fstream>

#include "tests/blobs/contract.h"
#include "tests/blobs/temp_folder.h"

namespace promptsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::shared_ptr<BlobStore> Open(const std::string& folder, BlobStore::Options options = {}) {
  auto store = BlobStore::Open("file://" + folder, options);
  PS_CHECK(store.ok()) << store.status();
  return *store;
}

TEST(FileBlobStore, KeepsTheContract) {
  BlobFolder folder;
  CheckContract(*Open(folder.path() + "/made/on demand"));
}

TEST(FileBlobStore, FollowsNoLinks) {
  BlobFolder folder, outside;
  std::ofstream(outside.path() + "/secret") << "secret";
  const auto store = Open(folder.path());
  std::filesystem::create_symlink(outside.path(), folder.path() + "/ab");
  std::filesystem::create_symlink(outside.path() + "/secret", folder.path() + "/cd");
  EXPECT_EQ(store->Get("ab/secret").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Get("cd").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PutBytes(*store, "ab/new", "x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Delete("ab/secret").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(ListAll(*store, ""), IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(outside.path() + "/secret"));
  EXPECT_FALSE(std::filesystem::exists(outside.path() + "/new"));
}

TEST(FileBlobStore, AFullDiskLeavesNothing) {
  BlobFolder folder;
  const auto store = Open(folder.path());
  // A file may have 1000 bytes: what a full disk says, without filling one.
  rlimit old;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = PutBytes(*store, "ab/x", std::string(5000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() + "/ab"));
  EXPECT_TRUE(PutBytes(*store, "ab/x", std::string(5000, 'x')).ok());
}

TEST(FileBlobStore, CutFilesAreNotTheObject) {
  BlobFolder folder;
  const auto store = Open(folder.path());
  ASSERT_TRUE(PutBytes(*store, "ab/x", "whole").ok());
  std::filesystem::resize_file(folder.path() + "/ab/x", 3);
  EXPECT_EQ(PutBytes(*store, "ab/x", "whole").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(store->Stat("ab/x")->sha256, Sha256Of("whole"));
}

TEST(FileBlobStore, LargeFilesAreNotRead) {
  BlobFolder folder;
  BlobStore::Options options;
  options.max_object_bytes = 10;
  const auto store = Open(folder.path(), options);
  std::ofstream(folder.path() + "/big") << "eleven bytes";
  EXPECT_EQ(store->Get("big").status().code(), absl::StatusCode::kDataLoss);
}

TEST(FileBlobStore, ListsInPagesAndRemovesWhatInterruptedPutsLeft) {
  BlobFolder folder;
  SimulatedClock clock(absl::Now());
  BlobStore::Options options;
  options.clock = &clock;
  const auto store = Open(folder.path(), options);
  std::vector<std::string> keys;
  for (int d = 0; d < 3; ++d) {
    std::filesystem::create_directories(absl::StrCat(folder.path(), "/", d));
    for (int i = 0; i < 900; ++i) {
      keys.push_back(absl::StrCat(d, "/", 1000 + i));
      std::ofstream(folder.path() + "/" + keys.back()) << "x";
    }
  }
  std::ofstream(folder.path() + "/1/.put-17-1-0") << "half";
  EXPECT_EQ(ListAll(*store, ""), keys);
  const auto page = store->List("", "");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->entries.size(), 1000u);
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/1/.put-17-1-0")) << "somebody may still be writing it";
  clock.AdvanceTime(absl::Hours(25));
  EXPECT_EQ(ListAll(*store, ""), keys);
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/1/.put-17-1-0"));
}

TEST(BlobStore, OpensOnlyWhatItKnows) {
  for (const std::string uri : {"",
                                "file:",
                                "file://",
                                "file:///",
                                "file://x/y",
                                "file:///a/../b",
                                "file:///a//b",
                                "file:///a?b",
                                "s3:",
                                "s3://",
                                "s3:///x",
                                "s3://ab",
                                "s3://Bucket/x",
                                "s3://bucket/a/../b",
                                "s3://bucket/a?versions",
                                "s3://bucket/a\nb",
                                "s3://user:pw@bucket/x",
                                "http://bucket/x",
                                "S3://bucket",
                                "/tmp/x"}) {
    EXPECT_EQ(BlobStore::Open(uri, {}).status().code(), absl::StatusCode::kInvalidArgument) << uri;
  }
}

}  // namespace
}  // namespace promptsweep
