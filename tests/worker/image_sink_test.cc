// Proves that a worker puts images where their sweep keeps them before it sends results, that nothing a bucket does loses a
// result or blames a cell, and that one cell's spoilt object holds up no other.
#include "worker/pipeline/image_sink.h"

#include <atomic>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "blobs/memory_blob_store.h"
#include "jobs/sweep/image_location.h"
#include "tests/worker/fakes.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kImages[] = "s3://bucket/run";

std::string ImageOf(uint64_t ordinal) { return absl::StrCat("image of cell ", ordinal, std::string(1000, 'x')); }
std::string KeyOf(uint64_t ordinal) { return sweep::ImageKey(Sha256Of(ImageOf(ordinal)), v1::IMAGE_FORMAT_WEBP); }

// An uploader between a fake store and a bucket in memory.
struct Rig {
  Rig()
      : blobs(std::make_shared<MemoryBlobStore>()),
        sink({.open = [this](const std::string& uri) -> absl::StatusOr<std::shared_ptr<BlobStore>> {
                ++opened;
                if (!open_error.ok()) return open_error;
                if (uri != kImages) return absl::InvalidArgumentError("no such place");
                return blobs;
              },
              .stopped = nullptr}) {}
  void Start() {
    Uploader::Options options;
    options.store = stub.get();
    options.budget = &budget;
    options.images = &sink;
    options.on_stored = [this](const Upload& upload) {
      absl::MutexLock lock(&mu);
      stored.insert(upload.result.cell().ordinal());
    };
    options.on_failed = [this](const Upload&, v1::CellFailure failure) {
      absl::MutexLock lock(&mu);
      failed[failure.ordinal()] = failure;
    };
    options.first_backoff = absl::Milliseconds(1);
    options.longest_backoff = absl::Milliseconds(5);
    uploader = std::make_unique<Uploader>(options);
  }
  void Add(uint64_t ordinal, const std::string& images = kImages) {
    Upload upload;
    upload.lease = lease;
    upload.provenance = provenance;
    upload.images = images;
    upload.result.mutable_cell()->set_ordinal(ordinal);
    upload.result.set_image(ImageOf(ordinal));
    upload.result.set_image_digest(Sha256Of(ImageOf(ordinal)));
    upload.result.set_image_format(v1::IMAGE_FORMAT_WEBP);
    uploader->Add(std::move(upload));
  }
  // Every cell below `count` was stored once, as a reference to its image in the bucket.
  void ExpectReferences(uint64_t count) {
    ASSERT_TRUE(uploader->Flush(absl::Seconds(60)));
    const auto results = store.results();
    ASSERT_THAT(results, SizeIs(count));
    const auto objects = blobs->objects();
    EXPECT_THAT(objects, SizeIs(count));
    for (const auto& [ordinal, result] : results) {
      EXPECT_EQ(result.image(), "");
      EXPECT_EQ(result.image_uri(), absl::StrCat(kImages, "/", KeyOf(ordinal)));
      EXPECT_EQ(result.image_bytes(), ImageOf(ordinal).size());
      ASSERT_EQ(objects.count(KeyOf(ordinal)), 1u);
      EXPECT_EQ(objects.at(KeyOf(ordinal)), ImageOf(ordinal));
    }
    absl::MutexLock lock(&mu);
    EXPECT_THAT(stored, SizeIs(count));
    EXPECT_THAT(failed, IsEmpty());
  }

  std::shared_ptr<MemoryBlobStore> blobs;
  absl::Status open_error;
  std::atomic<int> opened{0};
  ImageSink sink;
  FakeStore store{FakeManifest(1000)};
  FakeServer server{{&store}};
  std::unique_ptr<v1::StoreService::Stub> stub = server.store();
  ByteBudget budget{1 << 30};
  std::shared_ptr<v1::Lease> lease = std::make_shared<v1::Lease>();
  std::shared_ptr<v1::Provenance> provenance = std::make_shared<v1::Provenance>();
  absl::Mutex mu;
  std::set<uint64_t> stored;
  std::map<uint64_t, v1::CellFailure> failed;
  std::unique_ptr<Uploader> uploader;
};

TEST(ImageSink, PutsImagesThenSendsReferences) {
  Rig rig;
  rig.Start();
  for (uint64_t i = 0; i < 200; ++i) rig.Add(i);
  rig.ExpectReferences(200);
  EXPECT_EQ(rig.blobs->calls("Put"), 200);
  EXPECT_EQ(rig.opened, 1);
}

TEST(ImageSink, LeavesOtherSweepsAlone) {
  Rig rig;
  rig.Start();
  rig.Add(0, "");
  ASSERT_TRUE(rig.uploader->Flush(absl::Seconds(60)));
  EXPECT_EQ(rig.store.results().at(0).image(), ImageOf(0));
  EXPECT_EQ(rig.store.results().at(0).image_uri(), "");
  EXPECT_THAT(rig.blobs->objects(), IsEmpty());
}

TEST(ImageSink, SeveralPutsAreUnderWayAtATime) {
  Rig rig;
  // The first cell is taken as a batch of its own, and held until the others wait for the next one.
  std::atomic<int> calls{0};
  absl::Notification first, added, second;
  rig.blobs->set_on_call([&](const std::string&, const std::string&) {
    const int call = ++calls;
    if (call == 1) {
      first.Notify();
      added.WaitForNotification();
      return;
    }
    if (call == 3) second.Notify();
    EXPECT_TRUE(second.WaitForNotificationWithTimeout(absl::Seconds(30)));
  });
  rig.Start();
  rig.Add(0);
  first.WaitForNotification();
  for (uint64_t i = 1; i < 20; ++i) rig.Add(i);
  added.Notify();
  rig.ExpectReferences(20);
}

TEST(ImageSink, ABucketThatFailsIsWaitedForAndBlamesNobody) {
  for (const absl::Status& failure : {absl::UnavailableError("503 SlowDown"), absl::PermissionDeniedError("403"),
                                      absl::FailedPreconditionError("no such bucket"), absl::ResourceExhaustedError("full"),
                                      absl::DataLossError("changed on the way"), absl::NotFoundError("gone")}) {
    Rig rig;
    rig.blobs->Fail(failure);
    std::atomic<int> calls{0};
    absl::Notification tried;
    rig.blobs->set_on_call([&](const std::string&, const std::string&) {
      if (++calls == 60) tried.Notify();
    });
    rig.Start();
    for (uint64_t i = 0; i < 10; ++i) rig.Add(i);
    ASSERT_TRUE(tried.WaitForNotificationWithTimeout(absl::Seconds(60)));
    EXPECT_EQ(rig.store.puts(), 0) << "no reference before its object";
    EXPECT_EQ(rig.uploader->pending(), 10u);
    rig.blobs->Fail(absl::OkStatus());
    rig.ExpectReferences(10);
  }
}

TEST(ImageSink, WhatTheStoreMissesIsPutAgain) {
  Rig rig;
  // The store answers as it does when an object is gone, and it is.
  rig.store.FailPuts(grpc::StatusCode::ABORTED, 3);
  std::atomic<int> puts{0};
  rig.blobs->set_on_call([&](const std::string&, const std::string&) { ++puts; });
  rig.Start();
  rig.Add(0);
  rig.ExpectReferences(1);
  EXPECT_EQ(puts, 4);
}

TEST(ImageSink, AnImageIsNotPutAgainWhereOnlyTheStoreIsAway) {
  Rig rig;
  rig.store.FailPuts(grpc::StatusCode::UNAVAILABLE, 5);
  rig.Start();
  rig.Add(0);
  rig.ExpectReferences(1);
  EXPECT_EQ(rig.blobs->calls("Put"), 1);
}

TEST(ImageSink, OnlyTheCellWhoseNameIsTakenFails) {
  Rig rig;
  rig.blobs->Overwrite(KeyOf(7), "other bytes");
  rig.store.Hold(true);
  rig.Start();
  for (uint64_t i = 0; i < 20; ++i) rig.Add(i);
  rig.store.Hold(false);
  ASSERT_TRUE(rig.uploader->Flush(absl::Seconds(60)));
  EXPECT_THAT(rig.store.results(), SizeIs(19));
  absl::MutexLock lock(&rig.mu);
  ASSERT_THAT(rig.failed, SizeIs(1));
  EXPECT_THAT(rig.failed.at(7).error(), HasSubstr("other bytes"));
  EXPECT_FALSE(rig.failed.at(7).final());
}

TEST(ImageSink, SaysBeforehandWhereItCannotPut) {
  Rig rig;
  EXPECT_TRUE(rig.sink.Check("").ok());
  EXPECT_TRUE(rig.sink.Check(kImages).ok());
  EXPECT_EQ(rig.sink.Check("s3://elsewhere").code(), absl::StatusCode::kInvalidArgument);
  Rig bare;
  bare.open_error = absl::FailedPreconditionError("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  EXPECT_EQ(bare.sink.Check(kImages).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(bare.sink.Check(kImages).ToString(), HasSubstr("AWS_ACCESS_KEY_ID"));
}

TEST(ImageSink, StopsWhileABucketFails) {
  Rig rig;
  rig.blobs->Fail(absl::UnavailableError("down"));
  rig.Start();
  rig.Add(0);
  ASSERT_TRUE(rig.store.WaitFor([&] { return rig.blobs->calls("Put") > 0; }));
  rig.uploader->Stop();
  EXPECT_THAT(rig.store.results(), IsEmpty());
}

}  // namespace
}  // namespace promptsweep::worker
