// Proves what becomes of cells whose workers die, hang, drain or vanish, and of cells that fail: nothing is lost, only the guilty
// are blamed, and the sweep ends. The numbers are those of the failure catalogue in coordinator/README.md.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using FailureTest = Bench;

uint64_t Begin(const v1::Lease& lease) { return lease.range().begin(); }
uint64_t End(const v1::Lease& lease) { return lease.range().end(); }

TEST_F(FailureTest, Case12_ADeadWorkersLeaseIsGrantedAgainAndOnlyItsCellIsBlamed) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  ASSERT_EQ(End(lease) - Begin(lease), 17u) << "64 cells, two workers: a quarter and one";
  Beat(worker, {Holding(lease, 4)});
  Store(worker, lease, 0, 4);
  Pass(absl::Seconds(32), {{&other, {}}});
  // 4 is isolated; 5..16 come back in halves.
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (int i = 0; i < 4; ++i) {
    const v1::Lease again = Ask(other);
    ranges.emplace_back(Begin(again), End(again));
    EXPECT_EQ(again.attempt(), i < 3 ? 2u : 1u);
    Store(other, again, Begin(again), End(again), true);
  }
  EXPECT_EQ(ranges[0], (std::pair<uint64_t, uint64_t>(4, 5)));
  EXPECT_EQ(ranges[1], (std::pair<uint64_t, uint64_t>(5, 11)));
  EXPECT_EQ(ranges[2], (std::pair<uint64_t, uint64_t>(11, 17)));
  EXPECT_EQ(ranges[3].first, 17u);
}

TEST_F(FailureTest, Case12_WhatADeadWorkerStoredIsNotRunAgain) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  store_->PutResults(1, 0, 30);  // stored, and dead before it could say so
  coordinator_->WorkerDied("w1");
  Settle();
  EXPECT_EQ(Status(1).done(), 30u);
  Worker other = Join("w2");
  EXPECT_EQ(Begin(Ask(other)), 30u);
}

TEST_F(FailureTest, Case13_AliveButStuckLosesTheLeaseAndTheCellIsBlamed) {
  Start();
  Worker worker = Join("w1");
  worker.rate = 10;
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Beat(worker, {Holding(lease, 0)});
  Pass(absl::Minutes(4), {{&worker, {Holding(lease, 0)}}});
  EXPECT_EQ(Status(1).leased(), End(lease)) << "heartbeats keep it";
  Pass(absl::Minutes(2), {{&worker, {Holding(lease, 0)}}});
  EXPECT_EQ(Status(1).leased(), 0u) << "but not for ever";
  EXPECT_THAT(Beat(worker, {Holding(lease, 0)}).abandon(), ElementsAre(lease.lease()));
}

TEST_F(FailureTest, Case13_WhatAStuckWorkerHasNotBegunIsNotBlamed) {
  Start();
  Worker worker = Join("w1");
  worker.rate = 10;
  Submit(Manifest("s", 1));
  for (int i = 0; i < 4; ++i) {
    const v1::Lease lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u) << i;
    EXPECT_EQ(lease.attempt(), 1u) << i;
    Pass(absl::Minutes(6), {{&worker, {Holding(lease)}}});
    EXPECT_EQ(Status(1).leased(), 0u) << "taken back";
  }
  EXPECT_EQ(Status(1).failed(), 0u);
}

TEST_F(FailureTest, Case13_ASlowModelIsNotStuck) {
  Start();
  Worker worker = Join("w1");
  worker.rate = 1.0 / 600;
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(End(lease), 1u) << "one cell takes longer than the target";
  Beat(worker, {Holding(lease, 0)});
  Pass(absl::Minutes(60), {{&worker, {Holding(lease, 0)}}});
  EXPECT_EQ(Status(1).leased(), 1u);
}

TEST_F(FailureTest, Case14_AFewMissingHeartbeatsDoNotLoseAWorker) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  for (int i = 0; i < 10; ++i) {
    Pass(absl::Seconds(25));
    Beat(worker, {Holding(lease, i)});
  }
  EXPECT_EQ(Status(1).leased(), 64u);
}

TEST_F(FailureTest, Case15_APoisonCellIsCorneredAndItsSiblingsAreDone) {
  Start();
  constexpr uint64_t kPoison = 37;
  const uint32_t sweep = Submit(Manifest("s", 64));
  int deaths = 0;
  for (int i = 0; i < 60 && Status(sweep).state() == v1::SWEEP_STATE_RUNNING; ++i) {
    Worker worker = Join(absl::StrCat("w", i));  // each death is followed by a new process
    for (;;) {
      const v1::Lease lease = Ask(worker);
      if (lease.lease() == 0) break;
      // Its last heartbeat is from the start of the lease: where it really died nobody knows.
      Beat(worker, {Holding(lease, Begin(lease))});
      if (Begin(lease) <= kPoison && kPoison < End(lease)) {
        ++deaths;
        coordinator_->WorkerDied(worker.name);
        break;
      }
      Store(worker, lease, Begin(lease), End(lease), true);
    }
    Pass(absl::Seconds(5));
  }
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(Status(sweep).done(), 63u);
  EXPECT_LE(deaths, 6 + 3) << "log2(64) halvings and K attempts";
  const auto failures = store_->Get(sweep).failures;
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures.begin()->first, kPoison);
  EXPECT_GE(failures.begin()->second.attempts(), 3u);
}

TEST_F(FailureTest, Case16_ADrainStormBlamesNobody) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 64));
  for (int i = 0; i < 50; ++i) {
    Worker worker = Join(absl::StrCat("spot-", i));
    const v1::Lease lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u) << i;
    EXPECT_EQ(lease.attempt(), 1u);
    EXPECT_EQ(Begin(lease), 0u);
    Beat(worker, {Holding(lease, 0)});
    worker.draining = true;
    Beat(worker, {Holding(lease, 0)});
    Release(worker);
  }
  EXPECT_EQ(Status(sweep).failed(), 0u);
  EXPECT_EQ(Status(sweep).pending(), 64u);
}

TEST_F(FailureTest, Case17_AllWorkersVanishAndReturnAnHourLater) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Pass(absl::Hours(1));
  EXPECT_EQ(Beat(worker, {Holding(lease, 0)}).command(), v1::WORKER_COMMAND_RE_REGISTER);
  worker = Join("w1");
  EXPECT_THAT(Beat(worker, {Holding(lease, 0)}).abandon(), ElementsAre(lease.lease()));
  RunAll({&worker});
  Pass(absl::Seconds(3));
  worker = Join("w1");
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(FailureTest, Case18_WhoNeverAbandonsKeepsNothingButItsResults) {
  Start();
  Worker deaf = Join("deaf");
  Worker other = Join("other");
  deaf.rate = other.rate = 10;
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(deaf);
  Beat(deaf, {Holding(lease, 0)});
  Pass(absl::Minutes(6), {{&deaf, {Holding(lease, 0)}}, {&other, {}}});
  ASSERT_EQ(Status(1).leased(), 0u) << "no progress";
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(Beat(deaf, {Holding(lease, 0)}).abandon(), ElementsAre(lease.lease())) << "said every time";
  }
  EXPECT_EQ(Status(1).workers(), 0u) << "its place is free";
  TellFailed(deaf, lease, 5, true);
  EXPECT_EQ(Status(1).failed(), 0u) << "what it says of failures is nobody's";
  Store(deaf, lease, 7, 9);
  EXPECT_EQ(Status(1).done(), 2u) << "what it stores counts";
  RunAll({&other});
  Pass(absl::Seconds(70), {{&deaf, {Holding(lease, 0)}}, {&other, {}}});
  RunAll({&other});
  EXPECT_EQ(Status(1).done(), 64u);
  EXPECT_EQ(Status(1).state(), v1::SWEEP_STATE_DONE);
  Submit(Manifest("next", 64));
  EXPECT_NE(Ask(deaf).lease(), 0u) << "it may go on with something else";
}

TEST_F(FailureTest, Case30_TheWallClockDecidesNothing) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 1000));
  v1::Lease lease = Ask(worker);
  for (const absl::Duration jump : {absl::Hours(1), absl::Hours(-3), absl::Hours(24 * 365), absl::Hours(-24 * 3650)}) {
    clock_.JumpWall(jump);
    Pass(absl::Seconds(20), {{&worker, {Holding(lease, Begin(lease))}}});
    EXPECT_TRUE(Beat(worker, {Holding(lease, Begin(lease))}).abandon().empty());
    EXPECT_EQ(Status(sweep).leased(), End(lease) - Begin(lease));
    Store(worker, lease, Begin(lease), End(lease), true);
    lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u);
  }
  clock_.JumpWall(absl::Hours(5));
  Pass(absl::Seconds(32));
  EXPECT_EQ(Status(sweep).leased(), 0u) << "silence counts as ever";
}

TEST_F(FailureTest, Case25_AFailedCellIsTriedAgainWithBackOffAndThenGivenUp) {
  Start();
  Worker w1 = Join("w1");
  Worker w2 = Join("w2");
  const uint32_t sweep = Submit(Manifest("s", 8));
  const v1::Lease lease = Ask(w1);
  ASSERT_EQ(End(lease), 8u);
  TellFailed(w1, lease, 3);
  Store(w1, lease, 0, 3);
  Store(w1, lease, 4, 8, true);
  EXPECT_EQ(Status(sweep).pending(), 1u);
  EXPECT_EQ(Ask(w2).lease(), 0u) << "backing off";
  EXPECT_THAT(Explain(sweep), HasSubstr("cell 3 failed 1 times, last on w1: out of memory"));
  Pass(absl::Milliseconds(1500), {});
  v1::Lease again = Ask(w1);
  EXPECT_EQ(Begin(again), 3u);
  EXPECT_EQ(again.attempt(), 2u);
  TellFailed(w1, again, 3);
  Pass(absl::Milliseconds(1500), {});
  EXPECT_EQ(Ask(w2).lease(), 0u) << "the second pause is longer";
  Pass(absl::Seconds(1), {});
  EXPECT_EQ(Ask(w1).lease(), 0u) << "the last try is somebody else's";
  again = Ask(w2);
  EXPECT_EQ(again.attempt(), 3u);
  TellFailed(w2, again, 3);
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(Status(sweep).failed(), 1u);
  EXPECT_EQ(store_->Get(sweep).failures.at(3).error(), "out of memory");
  EXPECT_EQ(store_->Get(sweep).failures.at(3).worker(), "w2");
}

TEST_F(FailureTest, Case25_OneWorkerAloneDecidesAfterKTries) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 1));
  for (int i = 1; i <= 3; ++i) {
    const v1::Lease lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u) << i;
    TellFailed(worker, lease, 0);
    Pass(absl::Seconds(5), {{&worker, {}}});
  }
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
}

TEST_F(FailureTest, Case25_AFinalFailureIsNotTriedAgain) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 2));
  const v1::Lease lease = Ask(worker);
  TellFailed(worker, lease, 1, true);
  EXPECT_EQ(Status(sweep).failed(), 1u);
  EXPECT_EQ(store_->Get(sweep).failures.at(1).attempts(), 1u);
  Store(worker, lease, 0, 1, true);
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
}

TEST_F(FailureTest, Case25_ASweepThatFailsWholesaleEnds) {
  options_.state.max_troubled = 100;
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 500));
  for (int round = 0; round < 2000 && Status(sweep).state() == v1::SWEEP_STATE_RUNNING; ++round) {
    const v1::Lease lease = Ask(worker);
    for (uint64_t at = Begin(lease); at < End(lease); ++at) TellFailed(worker, lease, at);
    if (lease.lease() == 0) Pass(absl::Milliseconds(500), {{&worker, {}}});
    Beat(worker, {});
  }
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(store_->Get(sweep).failures.size(), 500u);
}

TEST_F(FailureTest, Case29_APauseOfTheCoordinatorExpiresNobody) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Beat(worker, {Holding(lease, 0)});
  clock_.AdvanceTime(absl::Minutes(5));  // stopped: no tick, no event
  coordinator_->TickForTest();
  EXPECT_EQ(Status(1).leased(), 64u);
  EXPECT_TRUE(Beat(worker, {Holding(lease, 1)}).abandon().empty());
  Pass(absl::Seconds(35));
  EXPECT_EQ(Status(1).leased(), 0u) << "the ttl runs again afterwards";
}

TEST_F(FailureTest, Case13_ALeaseThatWaitsBehindASlowOneIsNotStuck) {
  Start();
  Worker worker = Join("w");
  worker.rate = 5;  // as it thinks
  Submit(Manifest("s", 1000));
  const v1::Lease first = Ask(worker);
  const v1::Lease second = Ask(worker);
  // A cell a minute: slow, not stuck; the second lease waits for more than an hour.
  for (uint64_t at = first.range().begin(); at < first.range().begin() + 70; ++at) {
    Store(worker, first, at, at + 1);
    Pass(absl::Minutes(1), {{&worker, {Holding(first, at + 1), Holding(second)}}});
    ASSERT_TRUE(Tell(worker, second, 0, 0).lease_valid()) << at;
  }
  // Then it is stuck: the first is lost and suspected, the second goes back and nobody is blamed for it.
  Pass(absl::Minutes(6), {{&worker, {Holding(first, first.range().begin() + 70), Holding(second)}}});
  EXPECT_FALSE(Tell(worker, first, 0, 0).lease_valid());
  EXPECT_FALSE(Tell(worker, second, 0, 0).lease_valid());
  Worker other = Join("x");
  for (v1::Lease lease = Ask(other); lease.lease() != 0; lease = Ask(other)) {
    const bool of_first = lease.range().begin() < second.range().begin();
    EXPECT_EQ(lease.attempt(), of_first ? 2u : 1u) << lease.ShortDebugString();
  }
}

TEST_F(FailureTest, Case16_ALeaseThatNeverReachedItsWorkerBlamesNoCell) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 1));
  // Three workers leave just as they are granted the only cell; the replies are lost.
  for (const char* name : {"a", "b", "c"}) {
    Worker worker = Join(name);
    ASSERT_NE(Ask(worker).lease(), 0u);
    coordinator_->WorkerDied(name);
    Settle();
    Pass(absl::Minutes(2));
  }
  EXPECT_EQ(Status(sweep).failed(), 0u);
  Worker last = Join("d");
  RunAll({&last});
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

}  // namespace
}  // namespace promptsweep::coordinator
