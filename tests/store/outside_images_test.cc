// Proves that a result may refer to an image outside of the store only where that very image is there, that readers get it back
// checked, that verify finds what is gone or changed, and that removing orphans never takes an image that a result refers to.
#include <atomic>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "blobs/memory_blob_store.h"
#include "jobs/sweep/image_location.h"
#include "store/checks.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kImages[] = "s3://bucket/run";

v1::SweepManifest OutsideManifest(const std::string& name, uint64_t seeds, const std::string& images = kImages) {
  v1::SweepManifest manifest = MakeManifest(name, seeds);
  manifest.mutable_spec()->set_images(images);
  return manifest;
}

// A store, a sweep whose images are in `blobs`, and its results.
class OutsideImagesTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    Store::Options options;
    options.folder = folder_.path("store");
    options.ballast_bytes = 0;
    options.clock = &clock_;
    options.open_blobs = [this](const std::string& uri) -> absl::StatusOr<std::shared_ptr<BlobStore>> {
      ++opened_;
      if (uri == kImages) return blobs_;
      if (uri == "file:///other") return other_;
      return absl::FailedPreconditionError("no credentials");
    };
    store_ = OpenStore(std::move(options));
  }
  static std::string KeyOf(const v1::Result& result) { return sweep::ImageKey(result.image_digest(), result.image_format()); }
  // What a worker sends once it has put the image into `blobs`.
  v1::Result Refer(v1::Result result, MemoryBlobStore* blobs, const std::string& images = kImages) {
    if (blobs) PS_CHECK(blobs->Put(KeyOf(result), result.image(), result.image_digest()).ok());
    result.set_image_uri(sweep::ImageUri(images, result.image_digest(), result.image_format()));
    result.set_image_bytes(static_cast<uint32_t>(result.image().size()));
    result.clear_image();
    return result;
  }
  absl::StatusOr<std::vector<v1::Result>> Read(bool with_images) {
    v1::GetResultsRequest request;
    request.set_sweep(1);
    request.set_with_images(with_images);
    return ReadAll(*store_, request);
  }

  TempFolder folder_;
  SimulatedClock clock_{absl::FromUnixSeconds(1'700'000'000)};
  std::shared_ptr<MemoryBlobStore> blobs_ = std::make_shared<MemoryBlobStore>(&clock_);
  std::shared_ptr<MemoryBlobStore> other_ = std::make_shared<MemoryBlobStore>(&clock_);
  std::atomic<int> opened_{0};
  const v1::SweepManifest manifest_ = OutsideManifest("outside", 50);
  const sweep::Plan plan_ = MakePlan(manifest_);
  std::unique_ptr<Store> store_;
};

TEST_F(OutsideImagesTest, ReferencesAreStoredAndReadersGetTheImages) {
  ASSERT_EQ(*Create(*store_, manifest_), 1u);
  std::vector<v1::Result> sent;
  for (uint64_t i = 0; i < 100; ++i) {
    v1::Result result = MakeResult(plan_, i);
    sent.push_back(result);
    EXPECT_EQ(PutOne(*store_, 1, Refer(result, blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  }
  Reopen();
  const auto rows = Read(/*with_images=*/true);
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_THAT(*rows, SizeIs(100));
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ((*rows)[i].image(), sent[i].image());
    EXPECT_EQ((*rows)[i].image_bytes(), sent[i].image().size());
    EXPECT_EQ((*rows)[i].image_uri(), sweep::ImageUri(kImages, sent[i].image_digest(), v1::IMAGE_FORMAT_PNG));
  }
  const int gets = blobs_->calls("Get");
  const auto bare = Read(/*with_images=*/false);
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ((*bare)[7].image(), "");
  EXPECT_EQ((*bare)[7].image_uri(), (*rows)[7].image_uri());
  EXPECT_EQ((*bare)[7].image_bytes(), (*rows)[7].image_bytes());
  EXPECT_EQ(blobs_->calls("Get"), gets);
  EXPECT_EQ(opened_, 2) << "each place is opened once in the life of a store";
  // Nothing of an image is in the store itself.
  EXPECT_THAT(Problems(VerifyAll(*store_, /*deep=*/true)), IsEmpty());
}

TEST_F(OutsideImagesTest, ALimitReadsNoMoreThanItGives) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  for (uint64_t i = 0; i < 40; ++i)
    ASSERT_EQ(PutOne(*store_, 1, Refer(MakeResult(plan_, i), blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  v1::GetResultsRequest request;
  request.set_sweep(1);
  request.set_with_images(true);
  request.set_limit(3);
  const auto rows = ReadAll(*store_, request);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(*rows, SizeIs(3));
  EXPECT_EQ(blobs_->calls("Get"), 3);
}

TEST_F(OutsideImagesTest, SeveralImagesAreFetchedAtATime) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  for (uint64_t i = 0; i < 20; ++i)
    ASSERT_EQ(PutOne(*store_, 1, Refer(MakeResult(plan_, i), blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  // The first fetch is answered only once a second one is under way.
  std::atomic<int> under_way{0};
  absl::Notification second;
  blobs_->set_on_call([&](const std::string& method, const std::string&) {
    if (method != "Get") return;
    if (++under_way == 2) second.Notify();
    EXPECT_TRUE(second.WaitForNotificationWithTimeout(absl::Seconds(30)));
  });
  const auto rows = Read(/*with_images=*/true);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(*rows, SizeIs(20));
}

TEST_F(OutsideImagesTest, OnlyTheRightReferenceIsAdmitted) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result made = MakeResult(plan_, 0);
  const v1::Result good = Refer(made, blobs_.get());
  const auto reason = [&](v1::Result result) {
    const v1::PutOutcome outcome = PutOne(*store_, 1, std::move(result));
    return outcome.code() == v1::PutOutcome::CODE_REJECTED ? outcome.reason() : "not rejected";
  };
  EXPECT_THAT(reason(made), HasSubstr("keeps its images in s3://bucket/run"));
  v1::Result both = good;
  both.set_image(made.image());
  EXPECT_THAT(reason(both), HasSubstr("keeps its images in"));
  for (const std::string& uri :
       {std::string("s3://bucket/run/x.png"), std::string("s3://other/run/") + KeyOf(made), "file:///etc/" + KeyOf(made),
        good.image_uri() + "x", "s3://bucket/run/../run/" + KeyOf(made), std::string("s3://bucket/") + KeyOf(made)}) {
    v1::Result result = good;
    result.set_image_uri(uri);
    EXPECT_THAT(reason(result), HasSubstr("image_uri")) << uri;
  }
  v1::Result result = good;
  result.set_image_format(v1::IMAGE_FORMAT_WEBP);
  EXPECT_THAT(reason(result), HasSubstr("image_uri"));
  result = good;
  result.clear_image_format();
  EXPECT_THAT(reason(result), HasSubstr("format"));
  result = good;
  result.set_image_digest("short");
  EXPECT_THAT(reason(result), HasSubstr("digest"));
  result = good;
  result.set_image_bytes(0);
  EXPECT_THAT(reason(result), HasSubstr("0 bytes"));
  result = good;
  result.set_width(kMaxImageSide + 1);
  EXPECT_THAT(reason(result), HasSubstr("sides"));
  result = good;
  result.clear_image_uri();
  EXPECT_THAT(reason(result), HasSubstr("image_uri"));
  // Another size than the object has.
  result = good;
  result.set_image_bytes(good.image_bytes() + 1);
  EXPECT_THAT(reason(result), HasSubstr("not that image"));
  EXPECT_EQ(PutOne(*store_, 1, good).code(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(PutOne(*store_, 1, good).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
  EXPECT_EQ(PutOne(*store_, 1, Refer(MakeResult(plan_, 0, 600, /*salt=*/1), blobs_.get())).code(),
            v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);

  const v1::SweepManifest inside = MakeManifest("inside", 5);
  ASSERT_EQ(*Create(*store_, inside), 2u);
  const v1::PutOutcome outcome = PutOne(*store_, 2, Refer(MakeResult(MakePlan(inside), 0), blobs_.get()));
  EXPECT_EQ(outcome.code(), v1::PutOutcome::CODE_REJECTED);
  EXPECT_THAT(outcome.reason(), HasSubstr("keeps its images in the store"));
}

TEST_F(OutsideImagesTest, ASweepNamesAPlaceInItsOneSpelling) {
  for (const std::string images : {"s3://bucket/run/", "s3://x", "file://relative", "gs://bucket", "s3://bucket/../x"}) {
    EXPECT_EQ(Create(*store_, OutsideManifest("x", 1, images)).status().code(), absl::StatusCode::kInvalidArgument) << images;
  }
}

TEST_F(OutsideImagesTest, AMissingImageMustBePutAgain) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result made = MakeResult(plan_, 3);
  std::vector<v1::Result> batch = {Refer(MakeResult(plan_, 2), blobs_.get()), Refer(made, nullptr)};
  const absl::Status status = PutAll(*store_, 1, batch).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("cell 3"));
  EXPECT_THAT(*Read(false), IsEmpty()) << "nothing of the request is promised";
  ASSERT_TRUE(blobs_->Put(KeyOf(made), made.image(), made.image_digest()).ok());
  EXPECT_TRUE(PutAll(*store_, 1, batch).ok());
  EXPECT_THAT(*Read(false), SizeIs(2));
}

TEST_F(OutsideImagesTest, AnotherImageUnderItsNameIsRejected) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result made = MakeResult(plan_, 3);
  blobs_->Overwrite(KeyOf(made), std::string(made.image().size(), 'x'));
  EXPECT_EQ(PutOne(*store_, 1, Refer(made, nullptr)).code(), v1::PutOutcome::CODE_REJECTED);
}

TEST_F(OutsideImagesTest, APlaceOutOfReachIsUnavailableAndHoldsUpNothingElse) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result sent = Refer(MakeResult(plan_, 0), blobs_.get());
  for (const absl::Status& failure : {absl::UnavailableError("down"), absl::PermissionDeniedError("access denied"),
                                      absl::FailedPreconditionError("no such bucket"), absl::ResourceExhaustedError("full")}) {
    blobs_->Fail(failure);
    const absl::Status status = PutAll(*store_, 1, {sent}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(status.ToString(), HasSubstr(std::string(failure.message())));
  }
  blobs_->Fail(absl::OkStatus());
  EXPECT_EQ(PutOne(*store_, 1, sent).code(), v1::PutOutcome::CODE_STORED);
  // Without credentials in the store's environment.
  const v1::SweepManifest nowhere = OutsideManifest("nowhere", 5, "s3://nowhere");
  ASSERT_EQ(*Create(*store_, nowhere), 2u);
  const absl::Status status = PutAll(*store_, 2, {Refer(MakeResult(MakePlan(nowhere), 0), nullptr, "s3://nowhere")}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("no credentials"));

  // While every look at a bucket hangs, results of other sweeps are stored.
  const v1::SweepManifest inside = MakeManifest("inside", 5);
  ASSERT_EQ(*Create(*store_, inside), 3u);
  absl::Notification release;
  blobs_->set_on_call([&](const std::string&, const std::string&) { release.WaitForNotification(); });
  std::vector<std::thread> stuck;
  for (uint64_t i = 1; i < 9; ++i) {
    stuck.emplace_back([&, i] {
      EXPECT_TRUE(PutAll(*store_, 1, {Refer(MakeResult(plan_, i), nullptr)}).status().code() == absl::StatusCode::kAborted);
    });
  }
  EXPECT_EQ(PutOne(*store_, 3, MakeResult(MakePlan(inside), 0)).code(), v1::PutOutcome::CODE_STORED);
  release.Notify();
  for (std::thread& thread : stuck) thread.join();
}

TEST_F(OutsideImagesTest, ReadersAndVerifyFindWhatIsGoneOrChanged) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  std::vector<v1::Result> made;
  for (uint64_t i = 0; i < 100; ++i) {
    made.push_back(MakeResult(plan_, i));
    ASSERT_EQ(PutOne(*store_, 1, Refer(made.back(), blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  }
  v1::VerifyResponse sound = VerifyAll(*store_, /*deep=*/false);
  EXPECT_THAT(Problems(sound), IsEmpty());
  EXPECT_EQ(sound.sweeps(0).images_elsewhere(), 100u);
  EXPECT_EQ(sound.sweeps(0).images_checked(), 0u);
  EXPECT_EQ(blobs_->calls("Get"), 0);
  sound = VerifyAll(*store_, /*deep=*/true);
  EXPECT_THAT(Problems(sound), IsEmpty());
  EXPECT_EQ(sound.sweeps(0).images_checked(), 100u);

  ASSERT_TRUE(blobs_->Delete(KeyOf(made[4])).ok());
  std::string changed = made[9].image();
  changed[60] ^= 1;
  blobs_->Overwrite(KeyOf(made[9]), changed);
  const std::string problems = Problems(VerifyAll(*store_, /*deep=*/true));
  EXPECT_THAT(problems, HasSubstr("cell 4: its image is gone"));
  EXPECT_THAT(problems, HasSubstr("cell 9: its image at"));
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '\n'), 2) << problems;
  const absl::Status status = Read(true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("cell 4"));
  EXPECT_TRUE(Read(false).ok());

  blobs_->Fail(absl::UnavailableError("down"));
  EXPECT_EQ(Read(true).status().code(), absl::StatusCode::kUnavailable);
  const int before = blobs_->calls("Get");
  const std::string down = Problems(VerifyAll(*store_, /*deep=*/true));
  EXPECT_THAT(down, HasSubstr("out of reach"));
  EXPECT_THAT(down, HasSubstr("100 images were not read"));
  EXPECT_LE(blobs_->calls("Get") - before, 50) << "a dead place is not asked for every image";
}

// --- orphans

TEST_F(OutsideImagesTest, OrphansGoAndNothingElse) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::SweepManifest second = OutsideManifest("second", 50, "file:///other");
  ASSERT_EQ(*Create(*store_, second), 2u);
  const sweep::Plan second_plan = MakePlan(second);
  std::set<std::string> kept;
  for (uint64_t i = 0; i < 20; ++i) {
    const v1::Result result = MakeResult(plan_, i);
    kept.insert(KeyOf(result));
    ASSERT_EQ(PutOne(*store_, 1, Refer(result, blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  }
  const v1::Result there = MakeResult(second_plan, 0, 600, /*salt=*/5);
  ASSERT_EQ(PutOne(*store_, 2, Refer(there, other_.get(), "file:///other")).code(), v1::PutOutcome::CODE_STORED);
  // Known in the other place only; a differing second result; names that are not ours, nearly or at all.
  Refer(there, blobs_.get());
  ASSERT_EQ(PutOne(*store_, 1, Refer(MakeResult(plan_, 0, 600, /*salt=*/1), blobs_.get())).code(),
            v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  const std::string hex(64, 'a');
  const std::vector<std::string> foreign = {"readme.txt",
                                            "aa/" + hex,
                                            "aa/" + hex + ".gif",
                                            "ab/" + hex + ".png",
                                            "aa/" + hex.substr(1) + ".png",
                                            "aa/" + std::string(64, 'A') + ".png",
                                            "aa/x/" + hex + ".png",
                                            "aa/" + hex + ".png.bak"};
  for (const std::string& key : foreign) blobs_->Overwrite(key, "mine");
  clock_.AdvanceTime(absl::Minutes(59));
  auto removed = store_->RemoveOrphans();
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->objects, 0u) << "they are too young";
  const v1::Result young = MakeResult(plan_, 30);
  clock_.AdvanceTime(absl::Minutes(2));
  Refer(young, blobs_.get());
  removed = store_->RemoveOrphans();
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->objects, 2u);
  EXPECT_EQ(removed->bytes, 2 * young.image().size());
  for (const std::string& key : foreign) kept.insert(key);
  kept.insert("stores/" + ToHex(store_->uuid()));
  kept.insert(KeyOf(young));
  std::set<std::string> left;
  for (const auto& [key, bytes] : blobs_->objects()) left.insert(key);
  EXPECT_EQ(left, kept);
  EXPECT_THAT(other_->objects(), SizeIs(2));
  EXPECT_THAT(Problems(VerifyAll(*store_, /*deep=*/true)), IsEmpty());
}

TEST_F(OutsideImagesTest, APlaceThatAnotherStoreUsesIsLeftAlone) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  ASSERT_EQ(PutOne(*store_, 1, Refer(MakeResult(plan_, 0), blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  Store::Options options;
  options.folder = folder_.path("another");
  options.ballast_bytes = 0;
  options.clock = &clock_;
  options.open_blobs = [this](const std::string&) { return blobs_; };
  const std::unique_ptr<Store> another = OpenStore(std::move(options));
  ASSERT_TRUE(Create(*another, manifest_).ok());
  ASSERT_EQ(PutOne(*another, 1, Refer(MakeResult(plan_, 1), blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
  Refer(MakeResult(plan_, 2), blobs_.get());
  const auto before = blobs_->objects();
  for (Store* store : {store_.get(), another.get()}) {
    const absl::Status status = store->RemoveOrphans(absl::ZeroDuration()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(status.ToString(), HasSubstr("another store"));
  }
  EXPECT_EQ(blobs_->objects(), before);
  ASSERT_TRUE(blobs_->Delete("stores/" + ToHex(another->uuid())).ok());
  EXPECT_EQ(store_->RemoveOrphans(absl::ZeroDuration())->objects, 2u) << "its operator says that it is gone";
}

TEST_F(OutsideImagesTest, ADeadPlaceDoesNotKeepOthersFromBeingCleaned) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::SweepManifest second = OutsideManifest("second", 5, "file:///other");
  ASSERT_TRUE(Create(*store_, second).ok());
  Refer(MakeResult(plan_, 0), blobs_.get());
  Refer(MakeResult(plan_, 0), other_.get());
  other_->Fail(absl::UnavailableError("down"));
  clock_.AdvanceTime(absl::Hours(2));
  const auto removed = store_->RemoveOrphans();
  EXPECT_EQ(removed.status().code(), absl::StatusCode::kUnavailable) << removed.status();
  EXPECT_THAT(removed.status().ToString(), HasSubstr("1 orphan objects removed"));
  EXPECT_THAT(blobs_->objects(), IsEmpty());
  other_->Fail(absl::OkStatus());
  EXPECT_EQ(store_->RemoveOrphans()->objects, 1u) << "and the next call goes on";
}

// A worker that puts and sends, as often as it is told to put again, while orphans of any age are removed all the time: every
// acknowledged result keeps its image.
TEST_F(OutsideImagesTest, RemovalAtAnyAgeNeverTakesAnAcknowledgedImage) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  std::atomic<bool> done{false};
  std::atomic<uint64_t> removed{0};
  std::thread remover([&] {
    while (!done) {
      const auto orphans = store_->RemoveOrphans(absl::ZeroDuration());
      EXPECT_TRUE(orphans.ok()) << orphans.status();
      if (orphans.ok()) removed += orphans->objects;
    }
  });
  int again = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    const v1::Result made = MakeResult(plan_, i);
    while (true) {
      const v1::Result sent = Refer(made, blobs_.get());
      // Every other time the remover gets its chance first.
      if (i % 2 == 0 && again == 0) {
        const uint64_t before = removed;
        while (removed == before) std::this_thread::yield();
      }
      const auto reply = PutAll(*store_, 1, {sent});
      if (reply.ok()) {
        ASSERT_EQ(reply->outcomes(0).code(), v1::PutOutcome::CODE_STORED);
        break;
      }
      ASSERT_EQ(reply.status().code(), absl::StatusCode::kAborted) << reply.status();
      ++again;
    }
  }
  done = true;
  remover.join();
  EXPECT_GT(again, 0);
  const v1::VerifyResponse verdict = VerifyAll(*store_, /*deep=*/true);
  EXPECT_THAT(Problems(verdict), IsEmpty());
  EXPECT_EQ(verdict.sweeps(0).images_checked(), 100u);
}

// The deletion of one object is under way when a result that refers to it arrives.
TEST_F(OutsideImagesTest, AReferenceToAnImageThatIsBeingRemovedIsAborted) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result made = MakeResult(plan_, 0);
  const v1::Result sent = Refer(made, blobs_.get());
  absl::Status during;
  blobs_->set_on_call([&](const std::string& method, const std::string&) {
    if (method == "Delete") during = PutAll(*store_, 1, {sent}).status();
  });
  EXPECT_EQ(store_->RemoveOrphans(absl::ZeroDuration())->objects, 1u);
  EXPECT_EQ(during.code(), absl::StatusCode::kAborted) << during;
  blobs_->set_on_call(nullptr);
  EXPECT_EQ(PutOne(*store_, 1, Refer(made, blobs_.get())).code(), v1::PutOutcome::CODE_STORED);
}

// A result was stored after the removal read its rows, and before it came to that object.
TEST_F(OutsideImagesTest, AnImageReferredToDuringARemovalStays) {
  ASSERT_TRUE(Create(*store_, manifest_).ok());
  const v1::Result sent = Refer(MakeResult(plan_, 0), blobs_.get());
  bool put = false;
  blobs_->set_on_call([&](const std::string& method, const std::string&) {
    if (method != "List" || std::exchange(put, true)) return;
    EXPECT_EQ(PutOne(*store_, 1, sent).code(), v1::PutOutcome::CODE_STORED);
  });
  EXPECT_EQ(store_->RemoveOrphans(absl::ZeroDuration())->objects, 0u);
  blobs_->set_on_call(nullptr);
  EXPECT_TRUE(Read(true).ok());
}

}  // namespace
}  // namespace promptsweep::store
