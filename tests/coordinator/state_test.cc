// Proves the lease protocol case by case: lost and repeated messages, dead and stuck workers, failing cells, restarts. The
// numbers are those of the failure catalogue in coordinator/README.md.
#include <gmock/gmock.h>

#include <limits>
#include <map>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using LeaseTest = Bench;

uint64_t Begin(const v1::Lease& lease) { return lease.range().begin(); }
uint64_t End(const v1::Lease& lease) { return lease.range().end(); }

TEST_F(LeaseTest, RunsASweepToItsEnd) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 100));
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(Begin(lease), 0u);
  EXPECT_EQ(End(lease), 64u) << "the first lease is small";
  EXPECT_EQ(lease.model(), "a");
  EXPECT_EQ(lease.attempt(), 1u);
  EXPECT_EQ(lease.manifest_digest(), store_->Get(sweep).info.digest());
  Store(worker, lease, 0, 40);
  EXPECT_EQ(Status(sweep).done(), 40u);
  EXPECT_EQ(Status(sweep).leased(), 24u);
  EXPECT_EQ(Status(sweep).pending(), 36u);
  EXPECT_EQ(Status(sweep).workers(), 1u);
  EXPECT_TRUE(Store(worker, lease, 40, 64, true).lease_valid());
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(store_->Get(sweep).info.state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 100u);
}

TEST_F(LeaseTest, Case01_ALostReplyIsGivenAgain) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const auto first = AskAs(worker, 1);
  const auto again = AskAs(worker, 1);
  ASSERT_TRUE(first && first->ok() && again && again->ok());
  EXPECT_EQ((*first)->SerializeAsString(), (*again)->SerializeAsString());
  EXPECT_EQ(Status(1).leased(), 64u) << "nothing leaked";
  // A late copy of an older question gets nothing.
  ASSERT_TRUE(AskAs(worker, 2));
  const auto late = AskAs(worker, 1);
  ASSERT_TRUE(late && late->ok());
  EXPECT_FALSE((*late)->has_lease());
}

TEST_F(LeaseTest, Case01_ALostReplyIsKnownFromTheNextHeartbeat) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  Ask(worker);
  ASSERT_EQ(Status(1).leased(), 64u);
  // Says it saw the reply, and has nothing: lost on the worker's side.
  Beat(worker, {});
  EXPECT_EQ(Status(1).leased(), 0u);
}

TEST_F(LeaseTest, Case01_AGrantOnItsWayIsNotTakenBack) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  worker.seen = 0;
  Beat(worker, {});
  EXPECT_EQ(Status(1).leased(), 64u) << "the heartbeat was written before the reply came";
  Beat(worker, {Holding(lease)});
  Beat(worker, {});
  EXPECT_EQ(Status(1).leased(), 0u) << "listed once, then not: gone";
}

TEST_F(LeaseTest, Case01_AWorkerThatNeverSaysWhatItSawIsBelievedAfterAWhile) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  Ask(worker);
  for (int i = 0; i < 2; ++i) Beat(worker, {}, false);
  EXPECT_EQ(Status(1).leased(), 64u);
  for (int i = 0; i < 25; ++i) {
    clock_.AdvanceTime(absl::Milliseconds(500));
    coordinator_->TickForTest();
  }
  Beat(worker, {}, false);
  EXPECT_EQ(Status(1).leased(), 0u);
}

TEST_F(LeaseTest, Case02_AReportGivenTwiceCountsOnce) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 10);
  Tell(worker, lease, 0, 10);
  Tell(worker, lease, 5, 12);
  EXPECT_EQ(Status(1).done(), 12u);
  TellFailed(worker, lease, 20);
  TellFailed(worker, lease, 20);
  Pass(absl::Milliseconds(1500), {{&worker, {Holding(lease)}}});
  EXPECT_EQ(Status(1).failed(), 0u) << "one failure told twice is one attempt";
}

TEST_F(LeaseTest, Case03_AReportAfterExpiryCounts) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Pass(absl::Seconds(32), {{&other, {}}});
  EXPECT_EQ(Status(1).leased(), 0u);
  EXPECT_FALSE(Store(worker, lease, 0, 5).lease_valid());
  EXPECT_EQ(Status(1).done(), 5u);
  // Not even when somebody else has the range by now; that one's cells just become fewer.
  const v1::Lease second = Ask(other);
  EXPECT_EQ(Begin(second), 5u);
  Tell(worker, lease, 5, 8);
  EXPECT_EQ(Status(1).done(), 8u);
  EXPECT_EQ(Status(1).leased(), second.range().end() - 8);
}

TEST_F(LeaseTest, Case05_AReportAfterCancelDoesNothing) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 5);
  ASSERT_TRUE((Admin<v1::CancelSweepRequest, v1::CancelSweepResponse>(&Coordinator::CancelSweep, 1).ok()));
  EXPECT_THAT(Beat(worker, {Holding(lease)}).abandon(), ElementsAre(lease.lease()));
  EXPECT_FALSE(Store(worker, lease, 5, 10).lease_valid());
  EXPECT_EQ(Status(1).done(), 5u);
  EXPECT_EQ(Status(1).state(), v1::SWEEP_STATE_CANCELLED);
}

TEST_F(LeaseTest, Case06_AnOlderHeartbeatIsIgnored) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  worker.heartbeats = 5;
  Beat(worker, {Holding(lease)});
  worker.heartbeats = 2;
  const v1::HeartbeatResponse late = Beat(worker, {});
  EXPECT_EQ(Status(1).leased(), 64u);
  EXPECT_TRUE(late.abandon().empty());
}

TEST_F(LeaseTest, Case07_AReleaseAfterExpiryDoesNoHarm) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Pass(absl::Seconds(32), {{&other, {}}});
  const v1::Lease second = Ask(other);
  ASSERT_NE(second.lease(), 0u);
  const uint64_t leased = Status(1).leased();
  Release(worker, {lease.lease()});
  Release(other, {lease.lease()});
  EXPECT_EQ(Status(1).leased(), leased);
}

TEST_F(LeaseTest, Case08_ALostReleaseIsKnownFromTheHeartbeat) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Beat(worker, {Holding(lease)});
  worker.draining = true;
  Beat(worker, {});
  EXPECT_EQ(Status(1).leased(), 0u);
  EXPECT_EQ(Ask(worker).lease(), 0u) << "a draining worker gets nothing";
  Worker other = Join("w2");
  EXPECT_EQ(Ask(other).attempt(), 1u) << "nobody was blamed";
}

TEST_F(LeaseTest, Case09_AnUnknownLeaseIsToBeAbandoned) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  EXPECT_THAT(Beat(other, {Holding(lease)}).abandon(), ElementsAre(lease.lease())) << "somebody else's";
  v1::HeldLease invented = Holding(lease);
  invented.set_lease(uint64_t{7} << 32 | 999);
  EXPECT_THAT(Beat(worker, {Holding(lease), invented}).abandon(), ElementsAre(invented.lease()))
      << "of this epoch, yet never granted";
  EXPECT_EQ(Status(1).leased(), 64u);
}

TEST_F(LeaseTest, Case11_ANewRegistrationEndsTheOldSession) {
  Start();
  Worker old = Join("pod-0");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(old);
  Beat(old, {Holding(lease, 10)});
  Worker fresh = Join("pod-0");
  EXPECT_EQ(Status(1).leased(), 0u);
  EXPECT_EQ(Beat(old, {Holding(lease, 11)}).command(), v1::WORKER_COMMAND_RE_REGISTER);
  const auto refused = AskAs(old, 9);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(Ask(fresh).lease(), 0u);
}

TEST_F(LeaseTest, Case12_ADeadWorkersLeaseIsGrantedAgainAndOnlyItsCellIsBlamed) {
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

TEST_F(LeaseTest, Case12_WhatADeadWorkerStoredIsNotRunAgain) {
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

TEST_F(LeaseTest, Case13_AliveButStuckLosesTheLeaseAndTheCellIsBlamed) {
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

TEST_F(LeaseTest, Case13_ASlowModelIsNotStuck) {
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

TEST_F(LeaseTest, Case14_AFewMissingHeartbeatsDoNotLoseAWorker) {
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

TEST_F(LeaseTest, Case15_APoisonCellIsCorneredAndItsSiblingsAreDone) {
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

TEST_F(LeaseTest, Case16_ADrainStormBlamesNobody) {
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

TEST_F(LeaseTest, Case17_AllWorkersVanishAndReturnAnHourLater) {
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

TEST_F(LeaseTest, Case20_AWorkerWithoutTheModelGetsNothingAndTheReasonIsSaid) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 64, {"dalle"}));
  EXPECT_THAT(Explain(sweep), HasSubstr("no worker is registered"));
  Worker wrong = Join("w1", {"a", "e"});
  EXPECT_EQ(Ask(wrong).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("no worker has the model \"dalle\""));
  Worker no_embedder = Join("w2", {"dalle"});
  EXPECT_EQ(Ask(no_embedder).lease(), 0u);
  v1::RegisterWorkerRequest request;
  request.set_worker("w3");
  *request.add_models() = Model("dalle", "other weights");
  *request.add_models() = Model("e");
  const auto response = coordinator_->RegisterWorker(request);
  ASSERT_TRUE(response.ok());
  Worker other_weights{.name = "w3", .session = response->session()};
  EXPECT_EQ(Ask(other_weights).lease(), 0u);
  Worker right = Join("w4", {"dalle", "e"});
  EXPECT_NE(Ask(right).lease(), 0u);
}

TEST_F(LeaseTest, Case21_TheLastCapableWorkerDrainsAndTheSweepWaits) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  worker.draining = true;
  Beat(worker, {Holding(lease, 0)});
  Release(worker);
  Pass(absl::Minutes(5));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(Status(sweep).pending(), 64u);
  Worker next = Join("w2");
  RunAll({&next});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(LeaseTest, Case24_LeasesFollowTheMeasuredRate) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1'000'000));
  const auto size = [&](double rate) {
    worker.rate = rate;
    const v1::Lease lease = Ask(worker);
    Release(worker);
    return End(lease) - Begin(lease);
  };
  EXPECT_EQ(size(0), 64u);
  EXPECT_EQ(size(2), 60u);
  EXPECT_EQ(size(20), 600u);
  EXPECT_EQ(size(1e9), 4096u);
  EXPECT_EQ(size(0.001), 1u);
  EXPECT_EQ(size(-5), 1u) << "nonsense changes nothing";
  EXPECT_EQ(size(std::numeric_limits<double>::quiet_NaN()), 1u);
}

TEST_F(LeaseTest, Case24_TheTailIsSharedOut) {
  Start();
  Submit(Manifest("s", 400));
  std::vector<Worker> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(Join(absl::StrCat("w", i)));
    workers.back().rate = 100;
  }
  uint64_t largest = 0;
  for (Worker& worker : workers) {
    const v1::Lease lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u);
    largest = std::max(largest, End(lease) - Begin(lease));
  }
  EXPECT_LE(largest, 51u) << "one worker alone would have taken all 400";
}

TEST_F(LeaseTest, Case25_AFailedCellIsTriedAgainWithBackOffAndThenGivenUp) {
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

TEST_F(LeaseTest, Case25_OneWorkerAloneDecidesAfterKTries) {
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

TEST_F(LeaseTest, Case25_AFinalFailureIsNotTriedAgain) {
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

TEST_F(LeaseTest, Case25_ASweepThatFailsWholesaleEnds) {
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

TEST_F(LeaseTest, Case29_APauseOfTheCoordinatorExpiresNobody) {
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

TEST_F(LeaseTest, Case10_ALeaseThatTheWorkerDeniesIsFreeAtOnce) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease first = Ask(worker);
  const v1::Lease second = Ask(worker);
  Beat(worker, {Holding(first, 0), Holding(second)});
  Beat(worker, {Holding(second)});
  EXPECT_EQ(Status(1).leased(), End(second) - Begin(second));
  EXPECT_EQ(Begin(Ask(worker)), 0u);
}

TEST_F(LeaseTest, FinishedWithoutAllCellsGivesTheRestBack) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 10);
  store_->PutResults(sweep, 10, 20);  // the report of these was lost
  Tell(worker, lease, 0, 0, true);
  EXPECT_EQ(Status(sweep).leased(), 0u);
  EXPECT_EQ(Status(sweep).done(), 20u) << "the store was asked";
  EXPECT_EQ(Begin(Ask(worker)), 20u);
}

TEST_F(LeaseTest, DoneCellsInARangeAreSkipped) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 100));
  store_->PutResults(sweep, 3, 5);
  store_->PutResults(sweep, 50, 99);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  Worker worker = Join("w1");
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(Begin(lease), 0u);
  EXPECT_EQ(End(lease), 100u);
  EXPECT_EQ(lease.skip_size(), 51);
  EXPECT_EQ(lease.skip(0), 3u);
  EXPECT_EQ(Status(sweep).leased(), 49u);
}

TEST_F(LeaseTest, ARangeWithTooManyDoneCellsIsSplit) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 2000));
  store_->PutResults(sweep, 10, 1000);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  Worker worker = Join("w1");
  const v1::Lease first = Ask(worker);
  EXPECT_EQ(End(first), 10u);
  EXPECT_EQ(first.skip_size(), 0);
  EXPECT_EQ(Begin(Ask(worker)), 1000u);
}

TEST_F(LeaseTest, ALeaseHasOneModelAndTheLoadedOneComesFirst) {
  Start();
  Worker worker = Join("w1", {"a", "b", "e"});
  Submit(Manifest("s", 100, {"a", "b"}));
  worker.loaded = "b";
  const v1::Lease first = Ask(worker);
  EXPECT_EQ(first.model(), "b");
  EXPECT_EQ(Begin(first), 100u);
  const v1::Lease second = Ask(worker);
  EXPECT_EQ(second.model(), "b");
  EXPECT_EQ(End(second), 200u);
  const v1::Lease third = Ask(worker);
  EXPECT_EQ(third.model(), "a") << "nothing of b is left";
  Worker only_a = Join("w2", {"a", "e"});
  const v1::Lease rest = Ask(only_a);
  EXPECT_EQ(rest.model(), "a");
  EXPECT_LE(End(rest), 100u);
}

TEST_F(LeaseTest, SweepsTakeTurns) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("first", 10'000));
  Submit(Manifest("second", 10'000));
  std::vector<uint32_t> order;
  for (int i = 0; i < 4; ++i) {
    order.push_back(Ask(worker).sweep());
    Release(worker);
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 1, 2));
}

TEST_F(LeaseTest, ASweepOfAnotherModelDoesNotStarve) {
  Start();
  Worker worker = Join("w1", {"a", "b", "e"});
  Submit(Manifest("first", 1'000'000, {"a"}));
  Submit(Manifest("second", 1'000'000, {"b"}));
  std::map<std::string, int> leases;
  for (int i = 0; i < 40; ++i) {
    const v1::Lease lease = Ask(worker);
    worker.loaded = lease.model();
    ++leases[lease.model()];
    Store(worker, lease, Begin(lease), End(lease), true);
  }
  EXPECT_EQ(leases["a"], 20);
  EXPECT_EQ(leases["b"], 20);
}

TEST_F(LeaseTest, AWorkerCannotHoardLeases) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1'000'000));
  for (int i = 0; i < 4; ++i) EXPECT_NE(Ask(worker).lease(), 0u);
  EXPECT_EQ(Ask(worker).lease(), 0u);
}

TEST_F(LeaseTest, OrdinalsOutsideOfTheSweepAreRefused) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  for (const auto& [begin, end] : std::vector<std::pair<uint64_t, uint64_t>>{{0, 65}, {10, 10}, {20, 10}, {UINT64_MAX, 0}}) {
    v1::ReportProgressRequest request = About(worker, lease);
    request.add_stored()->set_begin(begin);
    request.mutable_stored(0)->set_end(end);
    EXPECT_EQ(coordinator_->ReportProgress(request).status().code(), absl::StatusCode::kInvalidArgument) << begin << ".." << end;
  }
  v1::ReportProgressRequest request = About(worker, lease);
  request.add_failures()->set_ordinal(64);
  EXPECT_EQ(coordinator_->ReportProgress(request).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Status(1).done(), 0u);
}

TEST_F(LeaseTest, FailuresCountOnlyFromTheLeasesOwner) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  EXPECT_FALSE(TellFailed(other, lease, 0, true).lease_valid());
  EXPECT_EQ(Status(1).failed(), 0u);
  Tell(other, lease, 0, 0, true);
  EXPECT_EQ(Status(1).leased(), End(lease));
}

TEST_F(LeaseTest, RateAndWorkersAreShown) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  worker.rate = 10;
  const v1::Lease lease = Ask(worker);
  for (int i = 0; i < 120; ++i) {
    Pass(absl::Seconds(1));
    Store(worker, lease, 2 * i, 2 * i + 2);
    if (i % 5 == 0) Beat(worker, {Holding(lease, 2 * i)});
  }
  EXPECT_NEAR(Status(1).cells_per_second(), 2.0, 0.1);
  Pass(absl::Seconds(40));
  const auto list = coordinator_->ListWorkers({});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->workers_size(), 1);
  EXPECT_EQ(list->workers(0).state(), "lost");
  EXPECT_EQ(list->workers(0).stored(), 240u);
  EXPECT_EQ(list->workers(0).models_size(), 2);
  EXPECT_NEAR(Status(1).cells_per_second(), 2.0 / 3, 0.1);
}

}  // namespace
}  // namespace promptsweep::coordinator
