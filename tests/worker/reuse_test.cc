// Proves that a cell which the store has, or can take over from another sweep, is reported and neither made nor counted as speed;
// and that whatever the store answers to the question, every other cell is made as ever.
#include "worker/pipeline/reuse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/fakes.h"
#include "worker/pipeline/pipeline.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class WorkerReuseTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kCells = 100;

  WorkerReuseTest() {
    models_.on_generate = [this](const std::vector<uint64_t>& ordinals) { made_.insert(ordinals.begin(), ordinals.end()); };
  }

  absl::Status Run() {
    Engine::Options engine_options;
    engine_options.models = &host_;
    const auto engine = *Engine::Create(engine_options);
    Session::Options session_options;
    session_options.coordinator = coordinator_stub_.get();
    session_options.worker = "w";
    session_options.report_interval = absl::Milliseconds(5);
    session_options.first_backoff = absl::Milliseconds(2);
    session_options.longest_backoff = absl::Milliseconds(20);
    Session session(session_options);
    EXPECT_TRUE(session.Connect(absl::Seconds(5)).ok());
    session.Start();
    Pipeline::Options options;
    options.session = &session;
    options.store = store_stub_.get();
    options.models = &host_;
    options.engine = engine.get();
    options.exit_when_idle = true;
    options.first_backoff = absl::Milliseconds(2);
    options.longest_backoff = absl::Milliseconds(20);
    Pipeline pipeline(options);
    const absl::Status status = pipeline.Run();
    session.Stop();
    stats_ = pipeline.stats();
    return status;
  }

  // Every cell ended well, made or linked, and was reported once.
  void ExpectComplete() const {
    EXPECT_THAT(coordinator_.stored(), SizeIs(kCells));
    EXPECT_THAT(coordinator_.failed(), IsEmpty());
    EXPECT_EQ(coordinator_.reported_twice(), 0u);
    std::set<uint64_t> ended = store_.linked();
    for (const auto& [ordinal, result] : store_.results()) EXPECT_TRUE(ended.insert(ordinal).second) << ordinal;
    EXPECT_THAT(ended, SizeIs(kCells));
  }
  std::set<uint64_t> ReportedReused() const {
    std::set<uint64_t> reused;
    for (const auto& report : coordinator_.reports()) {
      for (const auto& range : report.reused()) {
        for (uint64_t ordinal = range.begin(); ordinal < range.end(); ++ordinal) reused.insert(ordinal);
      }
    }
    return reused;
  }
  // Of 100 cells: every third, and all of [32, 64).
  static std::set<uint64_t> Some() {
    std::set<uint64_t> some;
    for (uint64_t ordinal = 0; ordinal < kCells; ++ordinal) {
      if (ordinal % 3 == 0 || (ordinal >= 32 && ordinal < 64)) some.insert(ordinal);
    }
    return some;
  }

  FakeModels models_;
  FakeHost host_{&models_};
  v1::SweepManifest manifest_ = FakeManifest(kCells);
  FakeCoordinator coordinator_{manifest_, 16};
  FakeStore store_{manifest_};
  FakeServer server_{{&coordinator_, &store_}};
  std::unique_ptr<v1::CoordinatorService::Stub> coordinator_stub_ = server_.coordinator();
  std::unique_ptr<v1::StoreService::Stub> store_stub_ = server_.store();
  std::set<uint64_t> made_;  // the device thread's while Run runs
  Pipeline::Stats stats_;
};

TEST_F(WorkerReuseTest, OnlyTheRestIsMade) {
  store_.SetReusable(Some());
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_EQ(store_.linked(), Some());
  EXPECT_EQ(ReportedReused(), Some());
  for (const uint64_t ordinal : Some()) EXPECT_EQ(made_.count(ordinal), 0u) << ordinal;
  EXPECT_EQ(stats_.reused, Some().size());
  EXPECT_EQ(stats_.made, kCells - Some().size());
}

TEST_F(WorkerReuseTest, NoModelIsLoadedWhereNothingIsLeft) {
  std::set<uint64_t> all;
  for (uint64_t ordinal = 0; ordinal < kCells; ++ordinal) all.insert(ordinal);
  store_.SetReusable(all);
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_EQ(host_.generators_loaded(), 0);
  EXPECT_EQ(stats_.made, 0u);
  EXPECT_EQ(store_.puts(), 0);
}

TEST_F(WorkerReuseTest, WhatIsToBeSkippedIsNotAskedFor) {
  store_.SetReusable(Some());
  v1::Lease lease;
  lease.set_sweep(3);
  lease.mutable_range()->set_begin(0);
  lease.mutable_range()->set_end(8);
  lease.add_skip(3);
  lease.add_skip(5);
  ReuseClient client({.store = store_stub_.get()});
  absl::Notification stop;
  const auto found = client.Ask(lease, stop);
  EXPECT_THAT(found.done, ElementsAre(0, 6));
  EXPECT_THAT(found.linked, ElementsAre(0, 6));
  EXPECT_THAT(Without(lease, found.done).skip(), ElementsAre(0, 3, 5, 6));
  EXPECT_EQ(store_.linked().count(3), 0u);
  // Asked again, as after a lost reply: done, but not linked by this question.
  const auto again = client.Ask(lease, stop);
  EXPECT_THAT(again.done, ElementsAre(0, 6));
  EXPECT_THAT(again.linked, IsEmpty());
}

TEST_F(WorkerReuseTest, AStoreThatDoesNotKnowTheQuestionIsAskedOnce) {
  store_.SetReusable(Some());
  store_.FailReuse(grpc::StatusCode::UNIMPLEMENTED, -1);
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_EQ(store_.reuses(), 1);
  EXPECT_EQ(stats_.made, kCells);
}

TEST_F(WorkerReuseTest, AShortTroubleIsWaitedFor) {
  store_.SetReusable(Some());
  store_.FailReuse(grpc::StatusCode::UNAVAILABLE, 2);
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_EQ(store_.linked(), Some());
}

TEST_F(WorkerReuseTest, AfterAFewTriesTheCellsAreMade) {
  store_.SetReusable(Some());
  for (const auto code : {grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::DATA_LOSS}) {
    store_.FailReuse(code, code == grpc::StatusCode::DATA_LOSS ? 1 : 5);
    v1::Lease lease;
    lease.set_sweep(3);
    lease.mutable_range()->set_end(16);
    ReuseClient client({.store = store_stub_.get(), .first_backoff = absl::Milliseconds(1)});
    absl::Notification stop;
    EXPECT_THAT(client.Ask(lease, stop).done, IsEmpty());
  }
  EXPECT_EQ(store_.reuses(), 6);
  store_.FailReuse(grpc::StatusCode::UNAVAILABLE, -1);
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_EQ(stats_.made, kCells);
}

TEST_F(WorkerReuseTest, ALongLeaseIsAskedForInSeveralQuestions) {
  v1::Lease lease;
  lease.set_sweep(3);
  lease.mutable_range()->set_begin(10);
  lease.mutable_range()->set_end(10 + 2 * 65'536 + 1);
  store_.SetReusable({10, 10 + 65'536, 10 + 2 * 65'536});
  ReuseClient client({.store = store_stub_.get()});
  absl::Notification stop;
  EXPECT_THAT(client.Ask(lease, stop).linked, ElementsAre(10, 10 + 65'536, 10 + 2 * 65'536));
  EXPECT_EQ(store_.reuses(), 3);
}

// A second worker at the sweep's tail asks for cells that this one has on its device.
TEST_F(WorkerReuseTest, CellsThatAreLinkedWhileTheyAreMadeEndAllTheSame) {
  models_.on_generate = [this](const std::vector<uint64_t>& ordinals) { store_.Link(ordinals.front()); };
  ASSERT_TRUE(Run().ok());
  ExpectComplete();
  EXPECT_GT(store_.linked().size(), 5u);
  EXPECT_THAT(ReportedReused(), IsEmpty());
}

// The coordinator sizes leases by this rate.
TEST_F(WorkerReuseTest, TheRateIsTheDevices) {
  models_.batch_shape = 2;
  models_.batch_cost = absl::Milliseconds(20);
  store_.SetReusable(Some());
  ASSERT_TRUE(Run().ok());
  for (const auto& beat : coordinator_.heartbeats()) EXPECT_LE(beat.cells_per_second(), 2 / 0.02);
}

}  // namespace
}  // namespace promptsweep::worker
