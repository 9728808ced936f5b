// Proves that a worker with nothing to do takes over the far end of a lease that would go on for long: as much as makes both end
// together, never what a failure is suspected in, each cell with one owner; and that the first worker is told until it has heard,
// while late results of either count and no cell is lost.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

constexpr uint64_t kCells = 64;

class StealTest : public Bench {
 protected:
  // The slow worker has all cells, at one a second, and has done the first four of them.
  void SetUp() override {
    Start();
    slow_ = Join("slow");
    sweep_ = Submit(Manifest("s", kCells));
    lease_ = Ask(slow_);
    ASSERT_EQ(lease_.range().end(), kCells);
    slow_.rate = 1;
    Store(slow_, lease_, 0, 4);
    BeatSlow(4);
    fast_ = Join("fast");
    fast_.rate = 3;
  }
  v1::HeartbeatResponse BeatSlow(uint64_t current) { return Beat(slow_, {Holding(lease_, current)}); }

  Worker slow_;
  Worker fast_;
  uint32_t sweep_ = 0;
  v1::Lease lease_;
};

TEST_F(StealTest, BothEndTogether) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  EXPECT_EQ(stolen.range().begin(), 19u) << "of 60 cells the slow one keeps 15 and the fast one has 45";
  EXPECT_EQ(stolen.range().end(), kCells);
  EXPECT_EQ(stolen.attempt(), 1u);
  EXPECT_EQ(Status(sweep_).leased(), 60u) << "each cell has one owner";

  // Told until the worker lists the shorter range.
  for (int i = 0; i < 2; ++i) {
    const v1::HeartbeatResponse response = BeatSlow(5);
    ASSERT_EQ(response.cuts_size(), 1);
    EXPECT_EQ(response.cuts(0).lease(), lease_.lease());
    EXPECT_EQ(response.cuts(0).end(), 19u);
  }
  lease_.mutable_range()->set_end(19);
  EXPECT_EQ(BeatSlow(6).cuts_size(), 0);
  Store(slow_, lease_, 4, 19, true);
  Store(fast_, stolen, 19, kCells, true);
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(StealTest, AWorkerThatNeverHearsOfItDoesNoHarm) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  // It goes on beyond its new end; what it stores there counts, once.
  Store(slow_, lease_, 4, 30);
  EXPECT_EQ(Status(sweep_).done(), 30u);
  EXPECT_FALSE(Tell(slow_, lease_, 0, 0).lease_valid()) << "its own part is done";
  Store(fast_, stolen, 30, kCells, true);
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(StealTest, ItsFailureBeyondTheCutIsNotItsToReport) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  TellFailed(slow_, lease_, 40, /*final=*/true);
  EXPECT_EQ(Status(sweep_).failed(), 0u);
  Store(fast_, stolen, 19, kCells, true);
  EXPECT_EQ(Status(sweep_).done(), 4 + 45u);
}

TEST_F(StealTest, WhenTheThiefDiesOnlyItsPartIsGrantedAgain) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  coordinator_->WorkerDied("fast");
  Settle();
  EXPECT_EQ(Status(sweep_).leased(), 15u);
  Worker third = Join("third");
  const v1::Lease again = Ask(third);
  EXPECT_GE(again.range().begin(), 19u);
}

TEST_F(StealTest, WhenTheFirstWorkerDiesItsShortenedRestIsGrantedAgain) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  coordinator_->WorkerDied("slow");
  Settle();
  EXPECT_EQ(Status(sweep_).leased(), 45u);
  Store(fast_, stolen, 19, kCells, true);
  RunAll({&fast_});
  Pass(absl::Seconds(5));
  RunAll({&fast_});
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(StealTest, AShortRestIsLeftAlone) {
  Store(slow_, lease_, 4, 54);
  EXPECT_EQ(Ask(fast_).lease(), 0u) << "10 cells end in 10 s, which is before the next two heartbeats";
}

TEST_F(StealTest, WhoHoldsSomethingOrIsDrainingTakesNothing) {
  v1::DrainWorkerRequest drain;
  drain.set_worker("fast");
  ASSERT_TRUE(coordinator_->DrainWorker(drain).ok());
  EXPECT_EQ(Ask(fast_).lease(), 0u);
  Worker third = Join("third");
  const v1::Lease stolen = Ask(third);
  ASSERT_NE(stolen.lease(), 0u);
  EXPECT_EQ(Ask(third).lease(), 0u);
}

TEST_F(StealTest, AFreeCellGoesFirst) {
  const uint32_t other = Submit(Manifest("other", 10));
  EXPECT_EQ(Ask(fast_).sweep(), other);
}

TEST_F(StealTest, WhatAWorkerDiedOnIsNotSpread) {
  options_.state.max_leases_per_worker = 100;
  Restart();
  Pass(absl::Seconds(15));
  slow_ = Join("slow");
  ASSERT_NE(Ask(slow_).lease(), 0u);
  coordinator_->WorkerDied("slow");
  Settle();
  fast_ = Join("fast");
  Worker next = Join("next");
  std::vector<v1::HeldLease> held;
  for (v1::Lease lease = Ask(next); lease.lease() != 0; lease = Ask(next)) {
    EXPECT_EQ(lease.attempt(), 2u);
    held.push_back(Holding(lease, lease.range().begin()));
  }
  ASSERT_GE(held.size(), 2u);
  next.rate = 0.1;
  Beat(next, held);
  EXPECT_EQ(Ask(fast_).lease(), 0u);
}

TEST_F(StealTest, AThirdWorkerTakesFromWhoeverGoesOnLongest) {
  const v1::Lease stolen = Ask(fast_);
  ASSERT_NE(stolen.lease(), 0u);
  Beat(fast_, {Holding(stolen, stolen.range().begin())});
  // The fast one turns out to be slow.
  fast_.rate = 0.5;
  Beat(fast_, {Holding(stolen, stolen.range().begin())});
  Worker third = Join("third");
  third.rate = 0.5;
  const v1::Lease part = Ask(third);
  ASSERT_NE(part.lease(), 0u);
  EXPECT_GE(part.range().begin(), stolen.range().begin());
  EXPECT_EQ(part.range().end(), kCells);
  EXPECT_EQ(Status(sweep_).leased(), 60u);
}

TEST_F(StealTest, AnIdleQuestionIsAnsweredOnceALeaseTurnsOutToBeLong) {
  Store(slow_, lease_, 4, 30);
  slow_.rate = 100;
  BeatSlow(30);
  std::optional<absl::StatusOr<v1::AcquireLeaseResponse>> answer;
  v1::AcquireLeaseRequest request;
  request.set_session(fast_.session);
  request.set_sequence(++fast_.asked);
  coordinator_->AcquireLease(request, &answer, [&](auto response) { answer = std::move(response); });
  ASSERT_FALSE(answer.has_value());
  slow_.rate = 0.5;
  Pass(absl::Seconds(6), {{&slow_, {Holding(lease_, 30)}}, {&fast_, {}}});
  ASSERT_TRUE(answer.has_value());
  ASSERT_TRUE(answer->ok());
  EXPECT_EQ((*answer)->lease().range().end(), kCells);
}

}  // namespace
}  // namespace promptsweep::coordinator
