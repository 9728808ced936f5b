// Proves what stands between the state and the outside: loading from a store that fails, submitting, pausing, ending, and the
// waiting of questions.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::HasSubstr;

class CoordinatorTest : public Bench {
 protected:
  absl::Status Pause(uint32_t sweep) {
    return Admin<v1::PauseSweepRequest, v1::PauseSweepResponse>(&Coordinator::PauseSweep, sweep);
  }
  absl::Status Resume(uint32_t sweep) {
    return Admin<v1::ResumeSweepRequest, v1::ResumeSweepResponse>(&Coordinator::ResumeSweep, sweep);
  }
  absl::Status Cancel(uint32_t sweep) {
    return Admin<v1::CancelSweepRequest, v1::CancelSweepResponse>(&Coordinator::CancelSweep, sweep);
  }
  uint64_t Retry(uint32_t sweep) {
    v1::RetryFailedResponse response;
    const absl::Status status =
        Admin<v1::RetryFailedRequest, v1::RetryFailedResponse>(&Coordinator::RetryFailed, sweep, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response.retried();
  }
  // Puts a question that stays.
  void Park(Worker& worker, std::optional<absl::StatusOr<v1::AcquireLeaseResponse>>* answer) {
    v1::AcquireLeaseRequest request;
    request.set_session(worker.session);
    request.set_sequence(++worker.asked);
    coordinator_->AcquireLease(request, answer, [answer](auto response) { *answer = std::move(response); });
  }
};

using Answer = std::optional<absl::StatusOr<v1::AcquireLeaseResponse>>;

TEST_F(CoordinatorTest, EverythingIsUnavailableUntilTheStoreIsRead) {
  bool up = false;
  Start([&](absl::string_view, FakeStoreClient::Phase) { return up ? absl::OkStatus() : absl::UnavailableError("store down"); });
  v1::RegisterWorkerRequest request;
  request.set_worker("w1");
  EXPECT_EQ(coordinator_->RegisterWorker(request).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(TrySubmit(Manifest("s", 10)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(coordinator_->Heartbeat({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(coordinator_->ListSweepStatus({}).status().code(), absl::StatusCode::kUnavailable);
  Worker nobody;
  const auto answer = AskAs(nobody, 1);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kUnavailable);
  up = true;
  Pass(absl::Seconds(2));
  EXPECT_TRUE(coordinator_->RegisterWorker(request).ok());
}

TEST_F(CoordinatorTest, Case57_SubmitIsIdempotentByDigest) {
  Start();
  EXPECT_FALSE(TrySubmit(Manifest("s", 10))->existed());
  const auto again = TrySubmit(Manifest("s", 10));
  EXPECT_TRUE(again->existed());
  EXPECT_EQ(again->sweep(), 1u);
  EXPECT_EQ(TrySubmit(Manifest("s", 11))->sweep(), 2u);
  Restart();
  EXPECT_EQ(TrySubmit(Manifest("s", 10))->sweep(), 1u);
}

TEST_F(CoordinatorTest, SubmitWhoseReplyWasLostInTheStoreAttaches) {
  bool lose = false;
  Start([&](absl::string_view method, FakeStoreClient::Phase phase) {
    return lose && method == "CreateSweep" && phase == FakeStoreClient::Phase::kReply ? absl::UnavailableError("lost")
                                                                                      : absl::OkStatus();
  });
  lose = true;
  EXPECT_EQ(TrySubmit(Manifest("s", 10)).status().code(), absl::StatusCode::kUnavailable);
  lose = false;
  EXPECT_EQ(TrySubmit(Manifest("s", 10))->sweep(), 1u);
  Worker worker = Join("w1");
  RunAll({&worker});
  EXPECT_EQ(Status(1).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(CoordinatorTest, SubmitTakesMissingDigestsFromTheWorkers) {
  Start();
  v1::SweepManifest manifest = Manifest("s", 10);
  manifest.mutable_models(0)->clear_digest();
  manifest.mutable_embedders(0)->clear_digest();
  EXPECT_EQ(TrySubmit(manifest).status().code(), absl::StatusCode::kFailedPrecondition);
  Join("w1");
  ASSERT_TRUE(TrySubmit(manifest).ok());
  EXPECT_EQ(store_->Get(1).info.manifest().models(0).digest(), Model("a").digest());
  EXPECT_EQ(store_->Get(1).info.digest(), sweep::ManifestDigest(Manifest("s", 10)));
  v1::RegisterWorkerRequest request;
  request.set_worker("w2");
  *request.add_models() = Model("a", "other weights");
  ASSERT_TRUE(coordinator_->RegisterWorker(request).ok());
  const absl::Status ambiguous = TrySubmit(manifest).status();
  EXPECT_EQ(ambiguous.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ambiguous.message()), HasSubstr("different versions"));
}

TEST_F(CoordinatorTest, SubmitRefusesNonsense) {
  Start();
  v1::SweepManifest miscounted = Manifest("s", 10);
  miscounted.set_cell_count(11);
  EXPECT_EQ(TrySubmit(miscounted).status().code(), absl::StatusCode::kInvalidArgument);
  v1::SweepManifest import = Manifest("s", 10);
  import.set_imported_from("a folder");
  EXPECT_EQ(TrySubmit(import).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(TrySubmit({}).ok());
}

TEST_F(CoordinatorTest, Case54_PauseLetsRunningLeasesFinishAndResumeGoesOn) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 100));
  const v1::Lease lease = Ask(worker);
  ASSERT_TRUE(Pause(sweep).ok());
  EXPECT_EQ(store_->Get(sweep).info.state(), v1::SWEEP_STATE_PAUSED);
  EXPECT_EQ(Ask(worker).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("paused"));
  EXPECT_TRUE(Store(worker, lease, 0, 64, true).lease_valid());
  Restart();
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_PAUSED) << "lasts over a restart";
  EXPECT_EQ(Status(sweep).done(), 64u);
  worker = Join("w1");
  Pass(absl::Seconds(20), {{&worker, {}}});
  EXPECT_EQ(Ask(worker).lease(), 0u);
  ASSERT_TRUE(Resume(sweep).ok());
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Pause(sweep).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Pause(99).code(), absl::StatusCode::kNotFound);
}

TEST_F(CoordinatorTest, Case54_ACancelledSweepResumesWhenSubmittedAgain) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 100));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 30);
  ASSERT_TRUE(Cancel(sweep).ok());
  ASSERT_TRUE(Cancel(sweep).ok()) << "idempotent";
  store_->PutResults(sweep, 30, 35);  // came too late to be counted
  EXPECT_EQ(Ask(worker).lease(), 0u);
  EXPECT_EQ(Resume(sweep).code(), absl::StatusCode::kFailedPrecondition);
  for (bool restart : {false, true}) {
    if (restart) {
      ASSERT_TRUE(Cancel(sweep).ok());
      Restart();
      worker = Join("w1");
    }
    const auto again = TrySubmit(Manifest("s", 100));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->sweep(), sweep);
    EXPECT_TRUE(again->existed());
    EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
    EXPECT_EQ(Status(sweep).done(), 35u);
    EXPECT_EQ(store_->Get(sweep).info.state(), v1::SWEEP_STATE_RUNNING);
  }
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(CoordinatorTest, Case54_EveryOrderInEveryStateDoesWhatItSays) {
  Start();
  Worker worker = Join("w1");
  const auto reach = [&](v1::SweepState state, int number) {
    const uint32_t sweep = Submit(Manifest(absl::StrCat("s", number), 20));
    if (state == v1::SWEEP_STATE_PAUSED) (void)Pause(sweep);
    if (state == v1::SWEEP_STATE_CANCELLED) (void)Cancel(sweep);
    if (state == v1::SWEEP_STATE_DONE) RunAll({&worker});
    if (state == v1::SWEEP_STATE_DONE_WITH_FAILURES) {
      const v1::Lease lease = Ask(worker);
      TellFailed(worker, lease, 0, true);
      Store(worker, lease, 1, lease.range().end(), true);
      RunAll({&worker});
    }
    EXPECT_EQ(Status(sweep).state(), state);
    return sweep;
  };
  struct Row {
    v1::SweepState state;
    std::optional<v1::SweepState> pause, resume, cancel, submit;  // where it leads; nothing: refused and unchanged
  };
  const Row rows[] = {
      {v1::SWEEP_STATE_RUNNING, v1::SWEEP_STATE_PAUSED, v1::SWEEP_STATE_RUNNING, v1::SWEEP_STATE_CANCELLED,
       v1::SWEEP_STATE_RUNNING},
      {v1::SWEEP_STATE_PAUSED, v1::SWEEP_STATE_PAUSED, v1::SWEEP_STATE_RUNNING, v1::SWEEP_STATE_CANCELLED,
       v1::SWEEP_STATE_PAUSED},
      {v1::SWEEP_STATE_CANCELLED, std::nullopt, std::nullopt, v1::SWEEP_STATE_CANCELLED, v1::SWEEP_STATE_RUNNING},
      {v1::SWEEP_STATE_DONE, std::nullopt, std::nullopt, std::nullopt, v1::SWEEP_STATE_DONE},
      {v1::SWEEP_STATE_DONE_WITH_FAILURES, std::nullopt, std::nullopt, std::nullopt, v1::SWEEP_STATE_DONE_WITH_FAILURES},
  };
  int number = 0;
  for (const Row& row : rows) {
    const std::pair<const char*, std::optional<v1::SweepState>> orders[] = {
        {"pause", row.pause}, {"resume", row.resume}, {"cancel", row.cancel}, {"submit", row.submit}};
    for (const auto& [order, leads_to] : orders) {
      const uint32_t sweep = reach(row.state, ++number);
      const std::string what = absl::StrCat(order, " in ", v1::SweepState_Name(row.state));
      absl::Status status;
      if (order == std::string("pause")) status = Pause(sweep);
      if (order == std::string("resume")) status = Resume(sweep);
      if (order == std::string("cancel")) status = Cancel(sweep);
      if (order == std::string("submit")) status = TrySubmit(Manifest(absl::StrCat("s", number), 20)).status();
      EXPECT_EQ(status.ok(), leads_to.has_value()) << what << ": " << status;
      EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << what << ": " << status;
      EXPECT_EQ(Status(sweep).state(), leads_to.value_or(row.state)) << what;
      EXPECT_EQ(store_->Get(sweep).info.state(), leads_to.value_or(row.state)) << what << ": in the store";
      (void)Cancel(sweep);
    }
  }
}

TEST_F(CoordinatorTest, RetryFailedRunsThemAgain) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 4));
  v1::Lease lease = Ask(worker);
  TellFailed(worker, lease, 2, true);
  EXPECT_EQ(Retry(sweep), 1u) << "while it runs";
  Store(worker, lease, 0, 2);
  Store(worker, lease, 3, 4);
  lease = Ask(worker);
  EXPECT_EQ(lease.range().begin(), 2u);
  TellFailed(worker, lease, 2, true);
  ASSERT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_TRUE(TrySubmit(Manifest("s", 4))->existed());
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES) << "submitting again does not retry";
  Restart();
  EXPECT_EQ(Status(sweep).failed(), 1u);
  EXPECT_EQ(Retry(sweep), 1u) << "after it ended, and after a restart";
  worker = Join("w1");
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_TRUE(store_->Get(sweep).failures.empty());
  EXPECT_EQ(Retry(sweep), 0u);
}

TEST_F(CoordinatorTest, TheStoreHasTheLastWordAtTheEnd) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 20);
  Tell(worker, lease, 20, 40);  // never stored
  Store(worker, lease, 40, 64, true);
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(Status(sweep).done(), 44u);
  EXPECT_THAT(Explain(sweep), HasSubstr("the store does not have"));
  RunAll({&worker});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(store_->Get(sweep).done.size(), 64u);
}

TEST_F(CoordinatorTest, AFailedCellWhoseResultArrivesIsDone) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 10));
  const v1::Lease lease = Ask(worker);
  TellFailed(worker, lease, 4, true);
  ASSERT_EQ(store_->Get(sweep).failures.size(), 1u);
  store_->With([&](auto& sweeps) {
    sweeps.at(sweep).done.Add(4, 5);  // a store that does not clear the record by itself
    return 0;
  });
  Tell(worker, lease, 4, 5);
  EXPECT_TRUE(store_->Get(sweep).failures.empty());
  RunAll({&worker});
  Store(worker, lease, 0, 10, true);
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(CoordinatorTest, AStoreThatIsDownDelaysTheEndAndNothingElse) {
  bool down = false;
  Start([&](absl::string_view, FakeStoreClient::Phase) {
    return down ? absl::UnavailableError("disk on fire") : absl::OkStatus();
  });
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 10));
  const v1::Lease lease = Ask(worker);
  down = true;
  TellFailed(worker, lease, 0, true);
  Store(worker, lease, 1, 10, true);
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING) << "not ended before that is stored";
  EXPECT_THAT(Explain(sweep), HasSubstr("disk on fire"));
  EXPECT_EQ(Pause(sweep).code(), absl::StatusCode::kUnavailable);
  down = false;
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE_WITH_FAILURES);
  EXPECT_EQ(store_->Get(sweep).failures.size(), 1u);
}

TEST_F(CoordinatorTest, AQuestionWaitsForWork) {
  Start();
  Worker worker = Join("w1");
  Answer answer;
  Park(worker, &answer);
  EXPECT_FALSE(answer);
  Submit(Manifest("s", 10));
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_TRUE((*answer)->has_lease());
}

TEST_F(CoordinatorTest, AQuestionIsAnsweredEmptyAfterTwentySeconds) {
  Start();
  Worker worker = Join("w1");
  Answer answer;
  Park(worker, &answer);
  Pass(absl::Seconds(19), {{&worker, {}}});
  EXPECT_FALSE(answer);
  Pass(absl::Seconds(2), {{&worker, {}}});
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_FALSE((*answer)->has_lease());
  EXPECT_FALSE((*answer)->idle()) << "no sweep was ever seen: a worker that waits for its first one stays";
}

TEST_F(CoordinatorTest, AskingAgainTakesThePlaceOfTheEarlierCall) {
  Start();
  Worker worker = Join("w1");
  Answer first;
  Answer second;
  Park(worker, &first);
  --worker.asked;
  Park(worker, &second);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->status().code(), absl::StatusCode::kAborted);
  Submit(Manifest("s", 10));
  ASSERT_TRUE(second && second->ok());
  EXPECT_TRUE((*second)->has_lease());
}

TEST_F(CoordinatorTest, AQuestionWhoseAskerLeftTakesNoLease) {
  Start();
  Worker worker = Join("w1");
  Answer answer;
  Park(worker, &answer);
  coordinator_->CancelPoll(&answer);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kCancelled);
  Submit(Manifest("s", 10));
  EXPECT_EQ(Status(1).leased(), 0u);
  coordinator_->CancelPoll(&answer);
}

TEST_F(CoordinatorTest, ShutdownAnswersWhoWaits) {
  Start();
  Worker worker = Join("w1");
  Answer answer;
  Park(worker, &answer);
  absl::Status submitted;
  v1::SubmitSweepRequest request;
  *request.mutable_manifest() = Manifest("s", 10);
  coordinator_->SubmitSweep(request, [&](auto response) { submitted = response.status(); });
  coordinator_->Shutdown();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(submitted.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(coordinator_->Heartbeat({}).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(CoordinatorTest, IdleMeansThatEverySweepEnded) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 10));
  const v1::Lease lease = Ask(worker);
  Worker waiting = Join("w2");
  Answer answer;
  Park(waiting, &answer);
  EXPECT_FALSE(answer) << "all is leased, nothing has ended";
  Store(worker, lease, 0, 10, true);
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_TRUE((*answer)->idle()) << "at once";
  ASSERT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  answer.reset();
  Park(waiting, &answer);
  EXPECT_FALSE(answer) << "no spinning";
  Pass(absl::Milliseconds(1500));
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_TRUE((*answer)->idle());
  Restart();
  waiting = Join("w2");
  answer.reset();
  Park(waiting, &answer);
  Pass(absl::Milliseconds(1500));
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_TRUE((*answer)->idle()) << "known from the store";
  const uint32_t second = Submit(Manifest("second", 10));
  ASSERT_TRUE(Pause(second).ok());
  answer.reset();
  Park(waiting, &answer);
  Pass(absl::Seconds(21), {{&waiting, {}}});
  ASSERT_TRUE(answer && answer->ok());
  EXPECT_FALSE((*answer)->idle()) << "a paused sweep has not ended";
}

TEST_F(CoordinatorTest, StatusOfEndedSweepsComesFromTheStore) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 10));
  RunAll({&worker});
  Restart();
  const v1::SweepStatus status = Status(sweep);
  EXPECT_EQ(status.name(), "s");
  EXPECT_EQ(status.state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(status.planned(), 10u);
  EXPECT_EQ(status.done(), 10u);
  EXPECT_EQ(status.pending(), 0u);
  EXPECT_EQ(status.digest(), store_->Get(sweep).info.digest());
}

}  // namespace
}  // namespace promptsweep::coordinator
