// Proves the lease protocol message by message: a sweep runs to its end, and lost, late, repeated, contradictory and foreign
// messages neither leak nor double a cell. The numbers are those of the failure catalogue in coordinator/README.md.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;

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

TEST_F(LeaseTest, Case04_AReportOfWhatAnotherHasDoneChangesNothing) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Pass(absl::Seconds(32), {{&other, {}}});
  for (v1::Lease second = Ask(other); second.lease() != 0; second = Ask(other))
    Store(other, second, Begin(second), End(second), true);
  ASSERT_EQ(Status(1).state(), v1::SWEEP_STATE_DONE);
  EXPECT_FALSE(Tell(worker, lease, 0, 64, true).lease_valid());
  TellFailed(worker, lease, 3, true);
  EXPECT_EQ(Status(1).done(), 64u);
  EXPECT_EQ(Status(1).failed(), 0u);
  EXPECT_EQ(Status(1).state(), v1::SWEEP_STATE_DONE);
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

TEST_F(LeaseTest, WhoGivesEverythingBackGetsNoAnswerToAnOpenQuestion) {
  Start();
  Worker worker = Join("w");
  std::optional<absl::StatusOr<v1::AcquireLeaseResponse>> answer;
  v1::AcquireLeaseRequest request;
  request.set_session(worker.session);
  request.set_sequence(++worker.asked);
  coordinator_->AcquireLease(request, &answer, [&](auto response) { answer = std::move(response); });
  ASSERT_FALSE(answer.has_value());
  Release(worker);
  const uint32_t sweep = Submit(Manifest("s", 100));
  EXPECT_EQ(Status(sweep).leased(), 0u);
  EXPECT_TRUE(answer.has_value() && answer->ok() && !(*answer)->has_lease());
  EXPECT_NE(Ask(worker).lease(), 0u) << "it has changed its mind";
}

}  // namespace
}  // namespace promptsweep::coordinator
