// Proves what happens at a sweep's tail: a lease that takes too long is given to a second worker too, once nothing else is left;
// the first stored result wins; whoever of the two fails, dies or leaves, no cell is lost, none is granted a third time, and
// nobody is blamed for what the other may still do.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kCells = 40;

class TailTest : public Bench {
 protected:
  // Two workers; the slow one has [0, 11) since the start; all the rest is stored by the fast one, in leases of half a second.
  void ReachTheTail() {
    Start();
    slow_ = Join("slow");
    fast_ = Join("fast");
    sweep_ = Submit(Manifest("s", kCells));
    lease_ = Ask(slow_);
    ASSERT_EQ(lease_.range().end(), 11u);
    for (;;) {
      const v1::Lease lease = Ask(fast_);
      if (lease.lease() == 0) break;
      Pass(absl::Milliseconds(500));
      BeatSlow();
      Store(fast_, lease, lease.range().begin(), lease.range().end(), true);
    }
    ASSERT_EQ(Status(sweep_).done(), kCells - 11);
  }
  void BeatSlow() { Beat(slow_, {Holding(lease_, lease_.range().begin())}); }
  // Time passes until the slow lease straggles and the fast worker is given its cells.
  v1::Lease GrantSecond() {
    ReachTheTail();
    PassTheLimit();
    return Ask(fast_);
  }
  void PassTheLimit() {
    for (int i = 0; i < 3; ++i) {
      Pass(absl::Seconds(2));
      BeatSlow();
      Beat(fast_, {});
    }
  }

  Worker slow_;
  Worker fast_;
  uint32_t sweep_ = 0;
  v1::Lease lease_;
};

TEST_F(TailTest, Case22_AStragglersCellsAreGivenToASecondWorkerOnceNothingElseIsLeft) {
  const v1::Lease second = GrantSecond();
  ASSERT_NE(second.lease(), 0u);
  EXPECT_NE(second.lease(), lease_.lease());
  EXPECT_EQ(second.range().begin(), 0u);
  EXPECT_EQ(second.range().end(), 11u);
  EXPECT_EQ(second.attempt(), 1u) << "slow is no failure";
  EXPECT_EQ(Status(sweep_).leased(), 11u) << "a cell leased twice is one cell";
  EXPECT_EQ(Status(sweep_).pending(), 0u);
  EXPECT_THAT(Explain(sweep_), HasSubstr("1 leases take long; a second worker runs their cells too"));
  EXPECT_TRUE(Store(fast_, second, 0, 11, true).lease_valid());
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
  EXPECT_FALSE(Store(slow_, lease_, 0, 1).lease_valid());
  EXPECT_THAT(Beat(slow_, {Holding(lease_, 0)}).abandon(), ElementsAre(lease_.lease()));
}

TEST_F(TailTest, Case22_TheFirstStoredResultWinsCellByCell) {
  const v1::Lease second = GrantSecond();
  Store(slow_, lease_, 0, 4);
  Store(fast_, second, 3, 7);  // cell 3 is the slow one's
  EXPECT_EQ(Status(sweep_).done(), kCells - 4);
  EXPECT_EQ(Status(sweep_).leased(), 4u);
  Store(slow_, lease_, 7, 11, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep_).done(), kCells);
  EXPECT_THAT(Beat(fast_, {Holding(second, 9)}).abandon(), ElementsAre(second.lease()));
  const auto workers = coordinator_->ListWorkers({});
  ASSERT_TRUE(workers.ok());
  EXPECT_EQ(workers->workers(1).worker(), "slow");
  EXPECT_EQ(workers->workers(1).stored(), 8u);
}

TEST_F(TailTest, Case22_NotBeforeItTakesTooLong) {
  ReachTheTail();
  Pass(absl::Seconds(2));
  EXPECT_EQ(Ask(fast_).lease(), 0u) << "1.5 x 0.5 s have passed, and yet not 5 s";
  Store(slow_, lease_, 0, 11, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
  Submit(Manifest("t", 8));
  lease_ = Ask(slow_);
  ASSERT_EQ(lease_.range().end(), 8u);
  Pass(absl::Seconds(20), {{&slow_, {Holding(lease_, 0)}}, {&fast_, {}}});
  EXPECT_EQ(Ask(fast_).lease(), 0u) << "no lease of this sweep has ended: nobody knows what slow is";
}

TEST_F(TailTest, Case22_TheMedianDecidesWhereLeasesAreLong) {
  Start();
  slow_ = Join("slow");
  fast_ = Join("fast");
  sweep_ = Submit(Manifest("s", 16));
  const v1::Lease first = Ask(fast_);
  ASSERT_EQ(first.range().end(), 8u);
  Pass(absl::Seconds(20), {{&slow_, {}}, {&fast_, {Holding(first, 0)}}});
  Store(fast_, first, 0, 8, true);
  lease_ = Ask(slow_);
  ASSERT_EQ(lease_.range().end(), 16u);
  Pass(absl::Seconds(29), {{&slow_, {Holding(lease_, 8)}}, {&fast_, {}}});
  EXPECT_EQ(Ask(fast_).lease(), 0u);
  Pass(absl::Seconds(2), {{&slow_, {Holding(lease_, 8)}}, {&fast_, {}}});
  EXPECT_EQ(Ask(fast_).range().begin(), 8u) << "1.5 x 20 s have passed";
}

TEST_F(TailTest, Case22_AWaitingQuestionIsAnsweredWhenALeaseStartsToStraggle) {
  ReachTheTail();
  std::optional<absl::StatusOr<v1::AcquireLeaseResponse>> answer;
  v1::AcquireLeaseRequest request;
  request.set_session(fast_.session);
  request.set_sequence(++fast_.asked);
  if (Status(sweep_).leased() == 11) {
    coordinator_->AcquireLease(request, &answer, [&](auto response) { answer = std::move(response); });
  }
  for (int i = 0; i < 4 && !answer; ++i) {
    Pass(absl::Seconds(2));
    BeatSlow();
  }
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_EQ((*answer)->lease().range().end(), 11u);
}

TEST_F(TailTest, Case22_NotWhileAnythingElseIsLeft) {
  ReachTheTail();
  PassTheLimit();
  const uint32_t other = Submit(Manifest("t", 8));
  const v1::Lease lease = Ask(fast_);
  EXPECT_EQ(lease.sweep(), other);
  EXPECT_EQ(Ask(fast_).lease(), 0u) << "nor to somebody who holds something";
  Store(fast_, lease, 0, 8, true);
  EXPECT_EQ(Ask(fast_).sweep(), sweep_);
}

TEST_F(TailTest, Case22_NeverAThirdWorker) {
  GrantSecond();
  Worker third = Join("third");
  EXPECT_EQ(Ask(third).lease(), 0u);
}

TEST_F(TailTest, Case22_NotToAWorkerWithoutTheModelNorWhilePaused) {
  ReachTheTail();
  PassTheLimit();
  Worker wrong = Join("wrong", {"b", "e"});
  EXPECT_EQ(Ask(wrong).lease(), 0u);
  Worker no_embedder = Join("no-embedder", {"a"});
  EXPECT_EQ(Ask(no_embedder).lease(), 0u);
  ASSERT_TRUE((Admin<v1::PauseSweepRequest, v1::PauseSweepResponse>(&Coordinator::PauseSweep, sweep_).ok()));
  EXPECT_EQ(Ask(fast_).lease(), 0u);
  ASSERT_TRUE((Admin<v1::ResumeSweepRequest, v1::ResumeSweepResponse>(&Coordinator::ResumeSweep, sweep_).ok()));
  EXPECT_NE(Ask(fast_).lease(), 0u);
}

TEST_F(TailTest, Case22_WhatMayHaveKilledAWorkerIsNotTriedOnTwoAtOnce) {
  ReachTheTail();
  coordinator_->WorkerDied("slow");
  slow_ = Join("slow");
  lease_ = Ask(slow_);
  while (lease_.lease() != 0 && lease_.attempt() == 1) lease_ = Ask(slow_);
  ASSERT_GT(lease_.attempt(), 1u);
  Release(fast_);
  while (Ask(fast_).lease() != 0) {
  }
  const uint64_t leased = Status(sweep_).leased();
  Pass(absl::Seconds(20), {{&slow_, {Holding(lease_, lease_.range().begin())}}});
  Worker third = Join("third");
  const v1::Lease lease = Ask(third);
  EXPECT_TRUE(lease.lease() == 0 || lease.range().end() <= lease_.range().begin() ||
              lease.range().begin() >= lease_.range().end())
      << leased;
}

TEST_F(TailTest, Case22_TheStragglerDiesAndTheSecondWorkerGoesOn) {
  const v1::Lease second = GrantSecond();
  coordinator_->WorkerDied("slow");
  Settle();
  EXPECT_EQ(Status(sweep_).leased(), 11u);
  Worker third = Join("third");
  EXPECT_EQ(Ask(third).lease(), 0u) << "the second worker has them";
  Store(fast_, second, 0, 11, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(TailTest, Case22_BothDieAndTheCellsComeBack) {
  const v1::Lease second = GrantSecond();
  Beat(fast_, {Holding(second, 5)});
  coordinator_->WorkerDied("slow");
  coordinator_->WorkerDied("fast");
  Settle();
  EXPECT_EQ(Status(sweep_).leased(), 0u);
  Worker third = Join("third");
  Pass(absl::Seconds(2));
  std::vector<uint64_t> begins;
  for (v1::Lease lease = Ask(third); lease.lease() != 0; lease = Ask(third)) {
    begins.push_back(lease.range().begin());
    Store(third, lease, lease.range().begin(), lease.range().end(), true);
  }
  EXPECT_THAT(begins, ElementsAre(0, 5, 6)) << "the cell that the last one was on is alone";
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(TailTest, Case22_TheSecondWorkerDiesAndTheStragglerGoesOn) {
  const v1::Lease second = GrantSecond();
  Beat(fast_, {Holding(second, 5)});
  coordinator_->WorkerDied("fast");
  Settle();
  EXPECT_EQ(Status(sweep_).leased(), 11u);
  EXPECT_EQ(Status(sweep_).pending(), 0u) << "nothing was taken from the straggler";
  Worker third = Join("third");
  EXPECT_EQ(Ask(third).range().end(), 11u) << "which may have a second worker again";
  EXPECT_TRUE(Store(slow_, lease_, 0, 10).lease_valid());
}

TEST_F(TailTest, Case22_LeavingGivesBackNothingThatTheOtherHas) {
  const v1::Lease second = GrantSecond();
  Release(slow_);
  EXPECT_EQ(Status(sweep_).pending(), 0u);
  Release(fast_);
  EXPECT_EQ(Status(sweep_).pending(), 11u);
  EXPECT_EQ(Ask(fast_).attempt(), 1u) << "nobody was blamed";
}

TEST_F(TailTest, Case22_AFailureCountsOnceTheOtherHasFailedToo) {
  const v1::Lease second = GrantSecond();
  TellFailed(slow_, lease_, 3);
  EXPECT_EQ(Status(sweep_).leased(), 11u) << "the second worker still has it";
  Store(fast_, second, 3, 4);
  EXPECT_EQ(Status(sweep_).failed(), 0u);
  TellFailed(fast_, second, 5);
  TellFailed(slow_, lease_, 5);
  EXPECT_EQ(Status(sweep_).leased(), 9u);
  EXPECT_THAT(Explain(sweep_), HasSubstr("cell 5 failed 1 times, last on slow"));
}

TEST_F(TailTest, Case22_AFinalFailureCountsForBoth) {
  const v1::Lease second = GrantSecond();
  TellFailed(fast_, second, 3, true);
  EXPECT_EQ(Status(sweep_).failed(), 1u);
  EXPECT_EQ(Status(sweep_).leased(), 10u);
  TellFailed(slow_, lease_, 3, true);
  EXPECT_EQ(Status(sweep_).failed(), 1u);
  for (uint64_t at : {0, 1, 2, 4, 5, 6, 7, 8, 9, 10}) TellFailed(slow_, lease_, at, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(Status(sweep_).failed(), 11u);
}

TEST_F(TailTest, Case22_CancelEndsBoth) {
  const v1::Lease second = GrantSecond();
  ASSERT_TRUE((Admin<v1::CancelSweepRequest, v1::CancelSweepResponse>(&Coordinator::CancelSweep, sweep_).ok()));
  EXPECT_THAT(Beat(slow_, {Holding(lease_, 0)}).abandon(), ElementsAre(lease_.lease()));
  EXPECT_THAT(Beat(fast_, {Holding(second, 0)}).abandon(), ElementsAre(second.lease()));
}

TEST_F(TailTest, Case22_AfterARestartOneOfTheTwoIsAdopted) {
  const v1::Lease second = GrantSecond();
  Restart();
  slow_ = Join("slow");
  fast_ = Join("fast");
  EXPECT_TRUE(Beat(slow_, {Holding(lease_, 2)}).abandon().empty());
  EXPECT_THAT(Beat(fast_, {Holding(second, 2)}).abandon(), ElementsAre(second.lease()));
  EXPECT_EQ(Status(sweep_).leased(), 11u);
}

TEST_F(TailTest, Case22_ManyHolesMakeTheSecondLeaseShorter) {
  options_.state.max_skip = 2;
  ReachTheTail();
  Store(slow_, lease_, 1, 2);
  Store(slow_, lease_, 3, 4);
  Store(slow_, lease_, 5, 6);
  PassTheLimit();
  const v1::Lease second = Ask(fast_);
  EXPECT_EQ(second.range().end(), 5u);
  EXPECT_THAT(second.skip(), ElementsAre(1, 3));
  Store(fast_, second, 0, 5, true);
  EXPECT_EQ(Status(sweep_).leased(), 5u) << "the straggler's alone";
  const v1::Lease next = Ask(fast_);
  EXPECT_EQ(next.range().begin(), 6u) << "and next its rest";
  Store(fast_, next, 6, 11, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(TailTest, Case23_OneWorkerAloneWaitsForItself) {
  Start();
  Worker worker = Join("only");
  sweep_ = Submit(Manifest("s", 128));
  const v1::Lease first = Ask(worker);
  const v1::Lease last = Ask(worker);
  Store(worker, first, 0, 64, true);
  for (int i = 0; i < 20; ++i) {
    Pass(absl::Seconds(2));
    Beat(worker, {Holding(last, 64)});
    EXPECT_EQ(Ask(worker).lease(), 0u);
  }
  Store(worker, last, 64, 128, true);
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
}

}  // namespace
}  // namespace promptsweep::coordinator
