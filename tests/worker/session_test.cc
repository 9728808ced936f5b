// Proves that a session keeps, loses, reports and gives back leases as the protocol says, through lost replies, restarts and
// outages, on a clock the test moves.
#include "worker/pipeline/session.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/fakes.h"
#include "worker/pipeline/ranges.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : coordinator_(FakeManifest(100), 10), server_({&coordinator_}), stub_(server_.coordinator()), session_(Options()) {}

  Session::Options Options() {
    Session::Options options;
    options.coordinator = stub_.get();
    options.worker = "w";
    options.device = "cpu";
    options.clock = &clock_;
    options.rpc_timeout = absl::Seconds(5);
    options.first_backoff = absl::Milliseconds(1);
    options.longest_backoff = absl::Milliseconds(5);
    return options;
  }

  v1::Lease Take() {
    const auto acquired = session_.Acquire();
    EXPECT_TRUE(acquired.ok()) << acquired.status();
    EXPECT_TRUE(acquired->lease.has_value());
    return *acquired->lease;
  }

  static v1::CellFailure Failure(uint64_t ordinal) {
    v1::CellFailure failure;
    failure.set_ordinal(ordinal);
    failure.set_error(std::string(2000, 'x'));
    failure.set_final(true);
    return failure;
  }

  FakeCoordinator coordinator_;
  FakeServer server_;
  std::unique_ptr<v1::CoordinatorService::Stub> stub_;
  SimulatedClock clock_;
  Session session_;
};

TEST_F(SessionTest, HeartbeatListsWhatIsHeldAndDropsWhatIsToBeAbandoned) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease first = Take();
  const v1::Lease second = Take();
  session_.Begin(second.lease(), second.range().begin() + 3);
  session_.Stored(second, second.range().begin());
  coordinator_.Abandon(first.lease());
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  const v1::HeartbeatRequest sent = coordinator_.heartbeats().back();
  ASSERT_EQ(sent.held_size(), 2);
  EXPECT_EQ(sent.held(0).current_ordinal(), first.range().end()) << "nothing of it is on the device: nobody to blame";
  EXPECT_EQ(sent.held(1).current_ordinal(), second.range().begin() + 3);
  EXPECT_EQ(sent.held(1).stored(), 1u);
  EXPECT_EQ(sent.held(1).range().end(), second.range().end());
  EXPECT_FALSE(session_.Holds(first.lease()));
  EXPECT_TRUE(session_.Holds(second.lease()));
  session_.End(second.lease());
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_EQ(coordinator_.heartbeats().back().held(0).current_ordinal(), second.range().end());
  EXPECT_GT(coordinator_.heartbeats().back().sequence(), sent.sequence());
}

TEST_F(SessionTest, LostAcquireReplyGivesTheSameLeaseAgain) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  coordinator_.LoseNextReplies("AcquireLease", 1);
  EXPECT_EQ(session_.Acquire().status().code(), absl::StatusCode::kUnavailable);
  const v1::Lease lease = Take();
  EXPECT_EQ(lease.range().begin(), 0u);
  EXPECT_EQ(coordinator_.granted(), 1);
  EXPECT_THAT(coordinator_.acquire_sequences(), ElementsAre(1, 1));
  Take();
  EXPECT_EQ(coordinator_.acquire_sequences().back(), 2u);
}

TEST_F(SessionTest, HeartbeatsSayWhichReplyWasSeenLast) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const auto said = [&] {
    EXPECT_TRUE(session_.HeartbeatOnce().ok());
    return coordinator_.heartbeats().back().acquired_sequence();
  };
  EXPECT_EQ(said(), 0u);
  coordinator_.LoseNextReplies("AcquireLease", 1);
  EXPECT_FALSE(session_.Acquire().ok());
  EXPECT_EQ(said(), 0u) << "a lease may be on its way";
  Take();
  EXPECT_EQ(said(), 1u);
  EXPECT_EQ(coordinator_.heartbeats().back().held_size(), 1);
  Take();
  EXPECT_EQ(said(), 2u);
  coordinator_.EndSessions();
  EXPECT_EQ(said(), 0u) << "the new session has asked nothing yet";
  EXPECT_EQ(coordinator_.heartbeats().back().held_size(), 2);
  Take();
  EXPECT_EQ(said(), 3u);
}

TEST_F(SessionTest, CoordinatorThatForgotTheSessionHearsWhatIsHeld) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  coordinator_.EndSessions();
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_EQ(coordinator_.registrations(), 2);
  EXPECT_TRUE(session_.Holds(lease.lease()));
  EXPECT_EQ(coordinator_.heartbeats().back().held(0).lease(), lease.lease());
  coordinator_.set_command(v1::WORKER_COMMAND_RE_REGISTER);
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_EQ(coordinator_.registrations(), 3);
  EXPECT_TRUE(session_.Holds(lease.lease()));
}

TEST_F(SessionTest, WithoutAHeartbeatForTheTtlLeasesAreDroppedAndReceiptsKept) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  coordinator_.set_down(true);
  clock_.AdvanceTime(absl::Seconds(29));
  EXPECT_FALSE(session_.HeartbeatOnce().ok());
  EXPECT_TRUE(session_.Holds(lease.lease())) << "the TTL has not passed";
  clock_.AdvanceTime(absl::Seconds(2));
  EXPECT_FALSE(session_.HeartbeatOnce().ok());
  EXPECT_FALSE(session_.Holds(lease.lease()));
  session_.Stored(lease, 4);  // its upload went through after all
  EXPECT_FALSE(session_.ReportOnce().ok());
  EXPECT_EQ(session_.Acquire().status().code(), absl::StatusCode::kUnavailable);
  coordinator_.set_down(false);
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_EQ(coordinator_.registrations(), 2);
  EXPECT_THAT(coordinator_.heartbeats().back().held(), IsEmpty());
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_THAT(coordinator_.stored(), ElementsAre(4));
}

TEST_F(SessionTest, GivesUpOnlyAfterItsLimit) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  coordinator_.set_down(true);
  clock_.AdvanceTime(absl::Minutes(9));
  EXPECT_FALSE(session_.HeartbeatOnce().ok());
  EXPECT_FALSE(session_.gave_up());
  clock_.AdvanceTime(absl::Minutes(2));
  EXPECT_TRUE(session_.gave_up());
  coordinator_.set_down(false);
  EXPECT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_FALSE(session_.gave_up());
}

TEST_F(SessionTest, ReceiptsAreRangesAndTheLastOneFinishesTheLease) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  for (const uint64_t ordinal : {5, 1, 0, 2, 7, 6}) session_.Stored(lease, ordinal);
  ASSERT_TRUE(session_.ReportOnce().ok());
  v1::ReportProgressRequest report = coordinator_.reports().back();
  ASSERT_EQ(report.stored_size(), 2);
  EXPECT_EQ(report.stored(0).begin(), 0u);
  EXPECT_EQ(report.stored(0).end(), 3u);
  EXPECT_EQ(report.stored(1).begin(), 5u);
  EXPECT_EQ(report.stored(1).end(), 8u);
  EXPECT_FALSE(report.finished());
  session_.Failed(lease, Failure(3));
  for (const uint64_t ordinal : {4, 8, 9}) session_.Stored(lease, ordinal);
  ASSERT_TRUE(session_.ReportOnce().ok());
  report = coordinator_.reports().back();
  EXPECT_TRUE(report.finished());
  ASSERT_EQ(report.failures_size(), 1);
  EXPECT_LE(report.failures(0).error().size(), 500u);
  EXPECT_FALSE(session_.Holds(lease.lease()));
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_THAT(coordinator_.reports(), SizeIs(2)) << "there was nothing more to say";
}

TEST_F(SessionTest, LostReportIsSentAgainAndHarmsNothing) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  for (uint64_t ordinal = 0; ordinal < 10; ++ordinal) session_.Stored(lease, ordinal);
  coordinator_.LoseNextReplies("ReportProgress", 1);
  EXPECT_FALSE(session_.ReportOnce().ok());
  EXPECT_TRUE(session_.Holds(lease.lease()));
  EXPECT_TRUE(session_.ReportOnce().ok());
  EXPECT_FALSE(session_.Holds(lease.lease()));
  EXPECT_THAT(coordinator_.stored(), SizeIs(10));
}

TEST_F(SessionTest, ManyFailuresAreReportedInPieces) {
  FakeCoordinator coordinator(FakeManifest(1000), 1000);
  FakeServer server({&coordinator});
  const auto stub = server.coordinator();
  Session::Options options = Options();
  options.coordinator = stub.get();
  Session session(options);
  ASSERT_TRUE(session.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = *session.Acquire()->lease;
  for (uint64_t ordinal = 0; ordinal < 1000; ++ordinal) session.Failed(lease, Failure(ordinal));
  ASSERT_TRUE(session.ReportOnce().ok());
  EXPECT_THAT(coordinator.failed(), SizeIs(1000));
  EXPECT_GT(coordinator.reports().size(), 3u);
  for (const v1::ReportProgressRequest& report : coordinator.reports()) EXPECT_LT(report.ByteSizeLong(), 200'000u);
  EXPECT_TRUE(coordinator.reports().back().finished());
  EXPECT_FALSE(coordinator.reports().front().finished());
  EXPECT_EQ(session.held(), 0u);
}

TEST_F(SessionTest, ReportOnALeaseThatIsGoneDropsIt) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  coordinator_.Abandon(lease.lease());
  session_.Stored(lease, 0);
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_FALSE(session_.Holds(lease.lease()));
  EXPECT_THAT(coordinator_.stored(), ElementsAre(0));
}

TEST_F(SessionTest, DrainEndsALongPollAndReleaseGivesBackEverything) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  coordinator_.Pause(true);
  std::thread drainer([&] {
    ASSERT_TRUE(coordinator_.WaitFor([&] { return coordinator_.acquire_sequences().size() == 2; }));
    session_.Drain();
  });
  EXPECT_EQ(session_.Acquire().status().code(), absl::StatusCode::kCancelled);
  drainer.join();
  EXPECT_EQ(session_.Acquire().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(session_.Holds(lease.lease()));
  EXPECT_TRUE(session_.ReleaseAll().ok());
  EXPECT_EQ(coordinator_.releases(), 1);
  EXPECT_EQ(session_.held(), 0u);
}

TEST_F(SessionTest, CommandToDrainReachesTheHandlerOnce) {
  int calls = 0;
  session_.OnDrain([&] { ++calls; });
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  coordinator_.set_command(v1::WORKER_COMMAND_DRAIN);
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(session_.draining());
  EXPECT_TRUE(coordinator_.heartbeats().back().draining());
}

TEST_F(SessionTest, AShortenedLeaseIsFinishedAtItsNewEnd) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();  // ten cells
  coordinator_.Cut(lease.lease(), 6);
  // Nobody knows it yet: it is not in the queue.
  std::optional<uint64_t> dropped;
  std::vector<std::pair<uint64_t, uint64_t>> heard;
  session_.OnCut([&](uint64_t id, uint64_t end) {
    heard.emplace_back(id, end);
    return dropped;
  });
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_THAT(heard, SizeIs(2)) << "told until it is done";
  EXPECT_EQ(coordinator_.heartbeats().back().held(0).range().end(), 10u);
  // Seven were begun when it arrived: three are dropped.
  dropped = 3;
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  EXPECT_THAT(heard, ElementsAre(testing::_, testing::_, std::make_pair(lease.lease(), uint64_t{6})));
  EXPECT_EQ(coordinator_.heartbeats().back().held(0).range().end(), 6u);
  for (uint64_t ordinal = 0; ordinal < 7; ++ordinal) session_.Stored(lease, ordinal);
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_TRUE(coordinator_.reports().back().finished());
  EXPECT_EQ(session_.held(), 0u);
}

TEST_F(SessionTest, ALeaseCutBehindItsLastResultIsFinishedByTheCut) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  const v1::Lease lease = Take();
  for (uint64_t ordinal = 0; ordinal < 4; ++ordinal) session_.Stored(lease, ordinal);
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_FALSE(coordinator_.reports().back().finished());
  session_.OnCut([](uint64_t, uint64_t) { return std::optional<uint64_t>(6); });
  coordinator_.Cut(lease.lease(), 4);
  ASSERT_TRUE(session_.HeartbeatOnce().ok());
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_TRUE(coordinator_.reports().back().finished());
  EXPECT_EQ(session_.held(), 0u);
}

TEST_F(SessionTest, ARangeThatFailedBeforeIsAnnouncedBeforeTheDeviceStarts) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  session_.Begin(Take().lease(), 1);
  EXPECT_THAT(coordinator_.heartbeats(), IsEmpty());
  coordinator_.set_attempt(2);
  const v1::Lease lease = Take();
  session_.Begin(lease.lease(), lease.range().begin() + 1);
  ASSERT_THAT(coordinator_.heartbeats(), SizeIs(1));
  EXPECT_EQ(coordinator_.heartbeats()[0].held(1).current_ordinal(), lease.range().begin() + 1);
}

TEST_F(SessionTest, ALeaseOfNothingIsFinishedAtOnce) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  std::vector<uint64_t> all;
  for (uint64_t ordinal = 0; ordinal < 10; ++ordinal) all.push_back(ordinal);
  coordinator_.Skip(all);
  Take();
  ASSERT_TRUE(session_.ReportOnce().ok());
  EXPECT_TRUE(coordinator_.reports().back().finished());
  EXPECT_EQ(session_.held(), 0u);
}

TEST_F(SessionTest, ConnectGivesUpOnACoordinatorThatStaysAway) {
  coordinator_.set_down(true);
  Session::Options options = Options();
  options.clock = &Clock::Real();
  Session session(options);
  EXPECT_EQ(session.Connect(absl::Milliseconds(50)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(SessionTest, ThreadsHeartbeatAndReportByThemselves) {
  ASSERT_TRUE(session_.Connect(absl::Seconds(5)).ok());
  session_.Start();
  const v1::Lease lease = Take();
  for (uint64_t ordinal = 0; ordinal < 10; ++ordinal) session_.Stored(lease, ordinal);
  EXPECT_TRUE(coordinator_.WaitFor([&] { return coordinator_.heartbeats().size() > 3 && coordinator_.stored().size() == 10; }));
  coordinator_.EndSessions();
  EXPECT_TRUE(coordinator_.WaitFor([&] { return coordinator_.registrations() == 2; }));
  session_.Stop();
}

TEST(Ranges, CountAndCoalesce) {
  v1::Lease lease;
  lease.mutable_range()->set_begin(10);
  lease.mutable_range()->set_end(20);
  EXPECT_EQ(CellsOf(lease), 10u);
  for (const uint64_t ordinal : {3, 10, 10, 15, 19, 20}) lease.add_skip(ordinal);
  EXPECT_EQ(CellsOf(lease), 7u);
  google::protobuf::RepeatedPtrField<v1::OrdinalRange> ranges;
  std::vector<uint64_t> ordinals = {4, 4, 2, 3, 9};
  AddRanges(ordinals, ranges);
  ASSERT_EQ(ranges.size(), 2);
  EXPECT_EQ(ranges[0].begin(), 2u);
  EXPECT_EQ(ranges[0].end(), 5u);
  EXPECT_EQ(ranges[1].begin(), 9u);
  EXPECT_EQ(ranges[1].end(), 10u);
}

}  // namespace
}  // namespace promptsweep::worker
