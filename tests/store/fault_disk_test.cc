// F6, F7, F12: proves what a full, a failing and a slow disk do: nothing is acknowledged that is not there, nothing acknowledged
// is lost, reads go on where they can, and service returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/store/crash_life.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;
using Op = FaultFs::Op;

class Disk : public testing::Test {
 protected:
  void SetUp() override {
    manifest_ = MakeManifest("disk", 200);
    plan_ = std::make_unique<sweep::Plan>(MakePlan(manifest_));
    options_ = SmallStore(folder_.path("store"), fs_);
    Reopen();
    sweep_ = Create(*store_, manifest_).value();
  }
  void Reopen() {
    store_.reset();
    store_ = OpenStore(options_);
  }
  // Puts cells until one is refused; the refusal.
  absl::Status PutUntilRefused() {
    for (; next_ < plan_->cell_count(); ++next_) {
      const auto reply = PutAll(*store_, sweep_, {MakeResult(*plan_, next_, 5000)});
      if (!reply.ok()) return reply.status();
      acknowledged_.insert(next_);
    }
    return absl::OkStatus();
  }
  // Everything acknowledged is there, and everything is sound.
  void ExpectWhole() {
    const auto view = Observe(*store_);
    ASSERT_TRUE(view.ok()) << view.status();
    for (const uint64_t ordinal : acknowledged_) EXPECT_TRUE(view->contains(CellName(sweep_, ordinal))) << ordinal;
    EXPECT_EQ(Unsound(*store_), "");
  }

  FastFolder folder_;
  std::shared_ptr<FaultFs> fs_ = std::make_shared<FaultFs>();
  v1::SweepManifest manifest_;
  std::unique_ptr<sweep::Plan> plan_;
  Store::Options options_;
  std::unique_ptr<Store> store_;
  uint32_t sweep_ = 0;
  uint64_t next_ = 0;
  std::set<uint64_t> acknowledged_;
};

TEST_F(Disk, Case32_F6FillsUpToTheLowWaterMarkAndServesAgainWhenThereIsRoom) {
  options_.low_water_bytes = 100 << 10;
  Reopen();
  fs_->SetFreeSpace(400 << 10);
  const absl::Status refused = PutUntilRefused();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("disk full"));
  EXPECT_GT(acknowledged_.size(), 5u);
  EXPECT_TRUE(store_->health().ok());
  ExpectWhole();
  fs_->SetFreeSpace(50 << 20);
  EXPECT_TRUE(PutUntilRefused().ok());
  ExpectWhole();
}

TEST_F(Disk, F6ADeletionMakesRoomOnAFullDisk) {
  options_.low_water_bytes = 800 << 10;
  Reopen();
  fs_->SetFreeSpace(1500 << 10);
  ASSERT_EQ(PutUntilRefused().code(), absl::StatusCode::kResourceExhausted);
  v1::SetSweepStateRequest cancel;
  cancel.set_sweep(sweep_);
  cancel.set_state(v1::SWEEP_STATE_CANCELLED);
  ASSERT_TRUE(Await(*store_, &Store::SetSweepState, cancel).ok());
  v1::DeleteSweepRequest remove;
  remove.set_sweep(sweep_);
  const auto removed = Await(*store_, &Store::DeleteSweep, remove);
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->results(), acknowledged_.size());
  EXPECT_TRUE(store_->health().ok());
  EXPECT_EQ(store_->ListSweeps()->sweeps_size(), 0);
}

TEST_F(Disk, F6FullInTheMiddleOfAWriteNeedsAnotherStartAndLosesNothing) {
  options_.low_water_bytes = 0;
  for (const uint64_t room : {3'000, 20'000, 90'000, 300'000}) {
    Reopen();
    fs_->SetFreeSpace(room);
    const absl::Status refused = PutUntilRefused();
    ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    // Nothing is promised any more, and every call says why.
    EXPECT_EQ(store_->ListSweeps().status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(PutAll(*store_, sweep_, {MakeResult(*plan_, 0)}).status().code(), absl::StatusCode::kResourceExhausted);
    // No room even for opening: refused clearly, as often as it is tried.
    store_.reset();
    fs_->SetFreeSpace(0);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(Store::Open(options_).status().code(), absl::StatusCode::kResourceExhausted);
    fs_->SetFreeSpace(50 << 20);
    Reopen();
    ExpectWhole();
  }
  EXPECT_TRUE(PutUntilRefused().ok());
  ExpectWhole();
}

TEST_F(Disk, F6OpensBelowTheLowWaterMarkAndServesReads) {
  ASSERT_EQ(PutOne(*store_, sweep_, MakeResult(*plan_, 0)).code(), v1::PutOutcome::CODE_STORED);
  acknowledged_.insert(0);
  fs_->SetFreeSpace(1 << 20);
  Reopen();
  ExpectWhole();
  EXPECT_EQ(PutAll(*store_, sweep_, {MakeResult(*plan_, 1)}).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(Disk, Case32_F7AFailedSyncIsFinalThoughTheDiskWorksAgain) {
  for (const Op op : {Op::kSync, Op::kAppend}) {
    for (int nth = 1; nth <= 8; ++nth) {
      Reopen();
      fs_->FailOnce(op, nth, rocksdb::IOStatus::IOError("injected"));
      const int retried = fs_->retried_syncs();
      const absl::Status refused = PutUntilRefused();
      ASSERT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(PutAll(*store_, sweep_, {MakeResult(*plan_, next_)}).status().code(), absl::StatusCode::kUnavailable);
      }
      EXPECT_EQ(store_->health().code(), absl::StatusCode::kUnavailable);
      EXPECT_EQ(fs_->retried_syncs(), retried) << "a failed sync was tried again";
      fs_->Heal();
      // What the kernel threw away is not there after a power cut either.
      fs_->CopyDurable(folder_.path("store"), folder_.path("after"), FaultFs::Cut::kTorn, static_cast<uint64_t>(nth));
      store_.reset();
      Store::Options after = SmallStore(folder_.path("after"), std::make_shared<FaultFs>());
      store_ = OpenStore(after);
      ExpectWhole();
    }
  }
}

TEST_F(Disk, F7AFailureInTheBackgroundIsReported) {
  // Enough is written for tables and blob files; making one of them fails.
  fs_->FailOnce(Op::kSyncFolder, 3, rocksdb::IOStatus::IOError("injected"));
  const absl::Status refused = PutUntilRefused();
  ASSERT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
  EXPECT_EQ(store_->health().code(), absl::StatusCode::kUnavailable);
  fs_->Heal();
  Reopen();
  ExpectWhole();
}

TEST_F(Disk, F12ASlowDiskFillsABoundedQueueAndLosesNothing) {
  options_.max_queued_bytes = 256 << 10;
  Reopen();
  absl::Notification stalled, go_on;
  fs_->BeforeSync([&, first = std::make_shared<std::atomic<bool>>(true)] {
    if (!first->exchange(false)) return;
    stalled.Notify();
    go_on.WaitForNotification();
  });
  // All at once, far more than the queue takes.
  static constexpr int kCalls = 200;
  std::vector<v1::PutResultsRequest> requests;
  for (uint64_t ordinal = 0; ordinal < kCalls; ++ordinal) {
    requests.push_back(MakePut(sweep_, {MakeResult(*plan_, ordinal, 5000)}));
  }
  absl::Mutex mu;
  int answered = 0, stored = 0, busy = 0;
  const auto done = [&](uint64_t ordinal, const absl::StatusOr<v1::PutResultsResponse>& reply) {
    absl::MutexLock lock(&mu);
    ++answered;
    if (reply.ok()) {
      EXPECT_EQ(reply->outcomes(0).code(), v1::PutOutcome::CODE_STORED);
      acknowledged_.insert(ordinal);
      ++stored;
    } else {
      EXPECT_EQ(reply.status().code(), absl::StatusCode::kResourceExhausted) << reply.status();
      ++busy;
    }
  };
  for (uint64_t ordinal = 0; ordinal < kCalls; ++ordinal) {
    store_->PutResults(&requests[ordinal], [&, ordinal](absl::StatusOr<v1::PutResultsResponse> reply) { done(ordinal, reply); });
    if (ordinal == 0) stalled.WaitForNotification();
  }
  {
    absl::MutexLock lock(&mu);
    EXPECT_EQ(stored, 0) << "acknowledged before the sync";
    EXPECT_GT(busy, kCalls / 2) << "the queue has no bound";
  }
  // Reads do not wait for the disk's writes.
  EXPECT_TRUE(store_->ListSweeps().ok());
  v1::GetResultsRequest request;
  request.set_sweep(sweep_);
  EXPECT_EQ(ReadAll(*store_, request)->size(), 0u);
  go_on.Notify();
  {
    const auto all = [&] { return answered == kCalls; };
    absl::MutexLock lock(&mu);
    mu.Await(absl::Condition(&all));
    EXPECT_GT(stored, 20);
  }
  ExpectWhole();
  fs_->BeforeSync(nullptr);
  Reopen();
  ExpectWhole();
}

}  // namespace
}  // namespace promptsweep::store
