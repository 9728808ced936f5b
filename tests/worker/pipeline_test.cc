// Proves that every leased cell ends exactly once, stored or failed, whatever the store, the coordinator, the models or the
// operator do meanwhile; and that memory stays bounded and the device busy.
#include "worker/pipeline/pipeline.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/half.h"
#include "base/hash.h"
#include "jobs/sweep/plan.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::worker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// One worker with its fakes.
struct Rig {
  explicit Rig(uint64_t cells, uint64_t lease_cells) : Rig(FakeManifest(cells), lease_cells) {}
  Rig(v1::SweepManifest manifest, uint64_t lease_cells)
      : manifest(manifest),
        coordinator(manifest, lease_cells),
        store(manifest),
        server({&coordinator, &store}),
        coordinator_stub(server.coordinator()),
        store_stub(server.store()) {}

  // Everything up to Run; `adjust` may change the options.
  void Start(const std::function<void(Pipeline::Options&)>& adjust = {}) {
    Engine::Options engine_options;
    engine_options.models = &host;
    engine_options.worker = "w";
    engine = *Engine::Create(engine_options);
    Session::Options session_options;
    session_options.coordinator = coordinator_stub.get();
    session_options.worker = "w";
    session_options.report_interval = absl::Milliseconds(5);
    session_options.first_backoff = absl::Milliseconds(2);
    session_options.longest_backoff = absl::Milliseconds(20);
    session = std::make_unique<Session>(session_options);
    ASSERT_TRUE(session->Connect(absl::Seconds(5)).ok());
    session->Start();
    Pipeline::Options options;
    options.session = session.get();
    options.store = store_stub.get();
    options.models = &host;
    options.engine = engine.get();
    options.exit_when_idle = true;
    options.first_backoff = absl::Milliseconds(2);
    options.longest_backoff = absl::Milliseconds(20);
    if (adjust) adjust(options);
    pipeline = std::make_unique<Pipeline>(options);
  }

  absl::Status Run() {
    if (pipeline == nullptr) Start();
    const absl::Status status = pipeline->Run();
    session->Stop();
    return status;
  }

  // Every cell stored and reported once, with the right content.
  void ExpectComplete() const {
    EXPECT_THAT(coordinator.stored(), SizeIs(manifest.cell_count()));
    EXPECT_EQ(coordinator.reported_twice(), 0u);
    EXPECT_THAT(coordinator.failed(), IsEmpty());
    const auto plan = sweep::Plan::FromManifest(manifest);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto results = store.results();
    ASSERT_THAT(results, SizeIs(manifest.cell_count()));
    EXPECT_EQ(store.divergent(), 0u);
    for (const auto& [ordinal, result] : results) {
      EXPECT_EQ(result.cell().fingerprint(), plan->CellAt(ordinal)->fingerprint());
      EXPECT_EQ(result.image_digest(), Sha256Of(result.image()));
      ASSERT_EQ(result.embeddings_size(), 1);
      EXPECT_EQ(result.embeddings(0).embedder(), "fake-embed");
    }
  }

  FakeModels models;
  FakeHost host{&models};
  v1::SweepManifest manifest;
  FakeCoordinator coordinator;
  FakeStore store;
  FakeServer server;
  std::unique_ptr<v1::CoordinatorService::Stub> coordinator_stub;
  std::unique_ptr<v1::StoreService::Stub> store_stub;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;
  std::unique_ptr<Pipeline> pipeline;
};

TEST(Pipeline, DeliversEveryCellOnce) {
  Rig rig(301, 37);
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_EQ(rig.store.duplicates(), 0u);
  const v1::Result result = rig.store.results().at(200);
  const auto image = DecodeImage(result.image());
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(result.image_format(), v1::IMAGE_FORMAT_WEBP);
  EXPECT_EQ(image->width, 16);
  EXPECT_EQ(static_cast<int>(result.width()), 16);
  double norm = 0;
  for (const float value : UnpackHalves(result.embeddings(0).fp16())) norm += value * value;
  EXPECT_NEAR(norm, 1, 1e-2);
}

TEST(Pipeline, FillsTheProvenance) {
  Rig rig(20, 20);
  ASSERT_TRUE(rig.Run().ok());
  const v1::Provenance provenance = rig.store.provenance();
  EXPECT_EQ(provenance.worker(), "w");
  EXPECT_THAT(provenance.device(), HasSubstr("cpu"));
  EXPECT_EQ(provenance.program_version(), PROMPTSWEEP_VERSION);
  EXPECT_THAT(provenance.torch_version(), HasSubstr("2."));
  EXPECT_EQ(provenance.batch_shape(), 8u);
  EXPECT_EQ(provenance.model_digest(), FakeDigest("fake"));
  EXPECT_EQ(provenance.noise_dtype(), "float32");
  EXPECT_EQ(provenance.compute_dtype(), "float32");
  EXPECT_TRUE(provenance.bit_stable());
}

TEST(Pipeline, SelfTestFindsAModelWhoseImagesDependOnTheBatch) {
  Rig rig(20, 20);
  rig.models.unstable = true;
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_FALSE(rig.store.provenance().bit_stable());
}

TEST(Pipeline, SkipsWhatTheLeaseSkips) {
  Rig rig(30, 10);
  rig.coordinator.Skip({0, 9, 10, 11, 25});
  rig.Start([](auto& options) { options.exit_when_idle = false; });
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  EXPECT_TRUE(rig.coordinator.WaitFor([&] { return rig.coordinator.stored().size() == 25; }));
  rig.pipeline->Drain();
  run.join();
  for (const uint64_t skipped : {0, 9, 10, 11, 25}) EXPECT_EQ(rig.store.results().count(skipped), 0u);
}

TEST(Pipeline, BatchesSpanLeases) {
  Rig rig(64, 4);
  std::vector<size_t> sizes;
  // Leases are at hand before the device starts on the second batch.
  rig.models.on_generate = [&](const std::vector<uint64_t>& ordinals) {
    EXPECT_TRUE(rig.coordinator.WaitFor([&] { return rig.coordinator.granted() == 16 || rig.session->held() >= 4; }));
    sizes.push_back(ordinals.size());
  };
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_THAT(sizes, Contains(8u));
}

TEST(Pipeline, ResendsThroughAStoreOutage) {
  Rig rig(120, 30);
  rig.store.FailPuts(grpc::StatusCode::UNAVAILABLE, 7);
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
}

TEST(Pipeline, Case19_AnUploadThatHangsIsGivenUpAndSentAgain) {
  Rig rig(60, 60);
  rig.store.Hold(true);
  rig.Start([](auto& options) { options.put_timeout = absl::Milliseconds(50); });
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  EXPECT_TRUE(rig.store.WaitFor([&] { return rig.store.waiting() > 2; })) << "the same bytes, again and again";
  const size_t beats = rig.coordinator.heartbeats().size();
  EXPECT_TRUE(rig.coordinator.WaitFor([&] { return rig.coordinator.heartbeats().size() > beats + 2; }));
  EXPECT_EQ(rig.coordinator.heartbeats().back().held_size(), 1) << "the lease is kept meanwhile";
  EXPECT_THAT(rig.coordinator.stored(), IsEmpty());
  rig.store.Hold(false);
  run.join();
  rig.ExpectComplete();
  EXPECT_GT(rig.store.duplicates(), 0u) << "the hanging calls went through in the end";
}

TEST(Pipeline, Case45_AFullStoreIsWaitedForAndTheLeaseKept) {
  Rig rig(60, 60);
  rig.store.FailPuts(grpc::StatusCode::RESOURCE_EXHAUSTED, -1);
  rig.Start();
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  EXPECT_TRUE(rig.store.WaitFor([&] { return rig.store.puts() > 5; }));
  const size_t beats = rig.coordinator.heartbeats().size();
  EXPECT_TRUE(rig.coordinator.WaitFor([&] { return rig.coordinator.heartbeats().size() > beats + 2; }));
  EXPECT_EQ(rig.coordinator.heartbeats().back().held_size(), 1);
  EXPECT_EQ(rig.coordinator.releases(), 0);
  rig.store.FailPuts(grpc::StatusCode::OK, 0);
  run.join();
  rig.ExpectComplete();
}

TEST(Pipeline, ALostReplyIsADuplicateNotALoss) {
  Rig rig(100, 50);
  rig.store.LoseNextReplies(3);
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_GT(rig.store.duplicates(), 0u);
}

TEST(Pipeline, RejectedCellsFailForGood) {
  Rig rig(50, 50);
  rig.store.Reject(17);
  rig.store.Reject(42);
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_THAT(rig.coordinator.failed(), UnorderedElementsAre(Key(17), Key(42)));
  EXPECT_THAT(rig.coordinator.failed().at(17).error(), HasSubstr("told to reject"));
  EXPECT_TRUE(rig.coordinator.failed().at(17).final());
  EXPECT_THAT(rig.coordinator.stored(), SizeIs(48));
}

TEST(Pipeline, ARefusedRequestIsSplitUntilTheCulpritStandsAlone) {
  Rig rig(50, 50);
  rig.store.Hold(true);
  rig.store.Refuse(33);
  rig.Start();
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  // The first call is held until the rest of the sweep waits behind it, so that one request has them all.
  EXPECT_TRUE(rig.store.WaitFor([&] { return rig.pipeline->stats().made == 50; }));
  rig.store.Hold(false);
  run.join();
  EXPECT_THAT(rig.coordinator.failed(), UnorderedElementsAre(Key(33)));
  EXPECT_THAT(rig.coordinator.stored(), SizeIs(49));
}

TEST(Pipeline, CulpritsOfABatchAreFoundAndTheRestIsMade) {
  Rig rig(64, 32);
  rig.models.invalid = {5};
  rig.models.broken = {20};
  rig.models.throws = {41};
  rig.models.zero = {50};
  rig.models.not_a_number = {51};
  ASSERT_TRUE(rig.Run().ok());
  const auto failed = rig.coordinator.failed();
  EXPECT_THAT(failed, UnorderedElementsAre(Key(5), Key(20), Key(41), Key(50), Key(51)));
  EXPECT_TRUE(failed.at(5).final());
  EXPECT_EQ(rig.coordinator.failures_of(5), 1) << "final failures are not tried again";
  EXPECT_FALSE(failed.at(20).final());
  EXPECT_EQ(rig.coordinator.failures_of(20), 2);
  EXPECT_EQ(failed.at(41).error(), "thrown");
  EXPECT_THAT(failed.at(50).error(), HasSubstr("all zero"));
  EXPECT_THAT(failed.at(51).error(), HasSubstr("not finite"));
  EXPECT_THAT(rig.coordinator.stored(), SizeIs(59));
  EXPECT_EQ(rig.store.results().count(50), 0u);
}

TEST(Pipeline, Case25_OutOfMemoryHalvesTheBatchForGood) {
  Rig rig(64, 64);
  rig.models.fits = 3;
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_EQ(rig.engine->batch_shape(), 2);
  EXPECT_EQ(rig.store.provenance().batch_shape(), 2u);
  EXPECT_EQ(rig.host.generators_loaded(), 3);
}

TEST(Pipeline, OutOfMemoryAtOneImageFailsTheCells) {
  Rig rig(6, 6);
  rig.models.fits = 0;
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_THAT(rig.coordinator.failed(), SizeIs(6));
  EXPECT_FALSE(rig.coordinator.failed().at(0).final());
}

TEST(Pipeline, AnAbandonedLeaseStopsAndItsReceiptsStillCount) {
  Rig rig(200, 200);
  std::atomic<uint64_t> made = 0;
  rig.models.on_generate = [&](const std::vector<uint64_t>& ordinals) {
    made += ordinals.size();
    if (ordinals.front() == 16) {
      rig.coordinator.Abandon(100);  // the first lease's number; its open cells go back to the queue one by one
      EXPECT_TRUE(rig.coordinator.WaitFor([&] { return !rig.session->Holds(100); }));
    }
  };
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_THAT(rig.coordinator.stored(), SizeIs(200));
  EXPECT_THAT(rig.store.results(), SizeIs(200));
  EXPECT_EQ(rig.store.divergent(), 0u);
  EXPECT_LE(made.load(), 200 + 3 * 8 + 2u) << "only what was under way when the lease went was made twice";
}

TEST(Pipeline, DrainKeepsWhatIsMadeAndReleasesTheRest) {
  Rig rig(10'000, 5'000);
  rig.models.on_generate = [&](const std::vector<uint64_t>& ordinals) {
    if (ordinals.front() == 80) rig.pipeline->Drain();
  };
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_EQ(rig.coordinator.releases(), 1);
  EXPECT_THAT(rig.coordinator.stored(), SizeIs(88)) << "the batch on the device was finished, stored and reported";
  EXPECT_THAT(rig.store.results(), SizeIs(88));
  EXPECT_THAT(rig.coordinator.failed(), IsEmpty()) << "nobody is blamed";
}

TEST(Pipeline, TheCoordinatorsCommandDrainsToo) {
  Rig rig(100'000, 50'000);
  rig.models.on_generate = [&](const std::vector<uint64_t>& ordinals) {
    if (ordinals.front() == 80) rig.coordinator.set_command(v1::WORKER_COMMAND_DRAIN);
  };
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_EQ(rig.coordinator.releases(), 1);
  EXPECT_EQ(rig.coordinator.stored().size(), rig.store.results().size());
  EXPECT_LT(rig.store.results().size(), 100'000u);
}

TEST(Pipeline, DrainDoesNotHangOnAStoreThatIsAway) {
  Rig rig(1000, 1000);
  rig.store.FailPuts(grpc::StatusCode::UNAVAILABLE, -1);
  rig.Start([](auto& options) {
    options.spool_bytes = 20 * 16 * 16 * 3;  // the device waits for the budget
    options.drain_grace = absl::Milliseconds(50);
  });
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  EXPECT_TRUE(rig.store.WaitFor([&] { return rig.store.puts() > 3; }));
  rig.pipeline->Drain();
  run.join();
  EXPECT_EQ(rig.coordinator.releases(), 1);
  EXPECT_THAT(rig.coordinator.stored(), IsEmpty());
}

TEST(Pipeline, Case44_ASlowStoreHoldsTheDeviceBackAndMemoryStaysBounded) {
  Rig rig(400, 400);
  constexpr size_t kImage = 16 * 16 * 3;
  constexpr size_t kLimit = 40 * kImage;
  rig.store.Hold(true);
  rig.Start([](auto& options) { options.spool_bytes = kLimit; });
  std::thread run([&] { EXPECT_TRUE(rig.Run().ok()); });
  EXPECT_TRUE(rig.store.WaitFor(
      [&] { return rig.store.waiting() == 1 && rig.pipeline->stats().peak_spool_bytes > kLimit - 2 * kImage; }));
  // Encoded images are smaller than their pixels, so that some more fit; far from all.
  EXPECT_LT(rig.pipeline->stats().made, 350u);
  rig.store.Hold(false);
  run.join();
  EXPECT_LE(rig.pipeline->stats().peak_spool_bytes, kLimit);
  rig.ExpectComplete();
}

TEST(Pipeline, RequestsStayBelowTheMessageLimit) {
  Rig rig(24, 24);
  rig.models.side = 512;  // noise: about 300 KiB each
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_LE(rig.store.largest_put(), kMaxPutBytes);
}

TEST(Pipeline, SurvivesACoordinatorThatForgetsSessionsAndGoesAway) {
  Rig rig(400, 40);
  std::atomic<int> batches = 0;
  rig.models.on_generate = [&](const std::vector<uint64_t>&) {
    const int batch = ++batches;
    if (batch == 10) rig.coordinator.EndSessions();
    if (batch == 20) {
      const size_t beats = rig.coordinator.heartbeats().size();
      rig.coordinator.set_down(true);
      absl::SleepFor(absl::Milliseconds(20));
      rig.coordinator.set_down(false);
      EXPECT_TRUE(rig.coordinator.WaitFor([&] { return rig.coordinator.heartbeats().size() > beats; }));
    }
  };
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  EXPECT_EQ(rig.coordinator.registrations(), 2);
}

TEST(Pipeline, AModelFolderThatDiffersFailsItsCellsForGood) {
  Rig rig(12, 6);
  rig.models.digest_suffix = "retrained";
  ASSERT_TRUE(rig.Run().ok());
  ASSERT_THAT(rig.coordinator.failed(), SizeIs(12));
  EXPECT_TRUE(rig.coordinator.failed().at(3).final());
  EXPECT_THAT(rig.coordinator.failed().at(3).error(), HasSubstr("model folder differs"));
  EXPECT_THAT(rig.store.results(), IsEmpty());
}

TEST(Pipeline, AManifestThatIsNotTheLeasedOneIsNotRun) {
  Rig rig(12, 12);
  rig.coordinator.set_manifest_digest(std::string(32, 'x'));
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_THAT(rig.coordinator.failed(), SizeIs(12));
  EXPECT_THAT(rig.store.results(), IsEmpty());
}

TEST(Pipeline, AnotherComputeTypeIsLeftToOtherWorkers) {
  Rig rig(4, 4);
  rig.Start([](auto& options) { options.compute_dtype = "bfloat16"; });
  ASSERT_TRUE(rig.Run().ok());
  ASSERT_THAT(rig.coordinator.failed(), SizeIs(4));
  EXPECT_FALSE(rig.coordinator.failed().at(0).final());
}

TEST(Pipeline, AnUnusableModelEndsTheWorkerAndBlamesNobody) {
  Rig rig(100, 10);
  rig.models.load_error = absl::InvalidArgumentError("weights.safetensors is truncated");
  const absl::Status status = rig.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("truncated"));
  EXPECT_EQ(rig.coordinator.releases(), 1);
  EXPECT_THAT(rig.coordinator.failed(), IsEmpty());
}

TEST(Pipeline, LabelVectorsAreStoredOnce) {
  const v1::SweepManifest manifest = FakeManifest(40);
  Rig rig(manifest, 10);
  rig.models.labels = {"sari", "dragon", "rocket"};
  ASSERT_TRUE(rig.Run().ok());
  ASSERT_THAT(rig.store.labels(), SizeIs(1));
  const v1::PutLabelsRequest labels = rig.store.labels()[0];
  EXPECT_THAT(labels.labels(), ElementsAre("sari", "dragon", "rocket"));
  EXPECT_EQ(labels.embedder_digest(), FakeDigest("fake-embed"));
  EXPECT_EQ(labels.dim(), 8u);
  EXPECT_EQ(labels.fp16().size(), 3u * 8 * 2);
  // A second worker finds them there, and makes the cells again for a store that does not say what it has.
  rig.store.FailReuse(grpc::StatusCode::UNIMPLEMENTED, -1);
  FakeCoordinator again(manifest, 40);
  FakeServer server({&again, &rig.store});
  rig.coordinator_stub = server.coordinator();
  rig.store_stub = server.store();
  rig.pipeline.reset();
  rig.session.reset();
  ASSERT_TRUE(rig.Run().ok());
  EXPECT_THAT(rig.store.labels(), SizeIs(1));
  EXPECT_EQ(rig.store.duplicates(), 40u) << "the same cells have the same bytes on another worker";
}

TEST(Pipeline, ARangeThatFailedTwiceRunsCellByCell) {
  Rig rig(20, 20);
  rig.coordinator.set_attempt(3);
  std::vector<size_t> sizes;
  std::set<uint64_t> first;
  rig.models.on_generate = [&](const std::vector<uint64_t>& ordinals) {
    sizes.push_back(ordinals.size());
    if (!first.insert(ordinals.front()).second) return;  // the self-test runs one again
    const auto beats = rig.coordinator.heartbeats();
    ASSERT_FALSE(beats.empty());
    EXPECT_EQ(beats.back().held(0).current_ordinal(), ordinals.front()) << "the blame is known before the device starts";
  };
  rig.coordinator.heartbeat_interval = absl::Hours(1);
  ASSERT_TRUE(rig.Run().ok());
  for (const size_t size : std::vector<size_t>(sizes.begin() + 2, sizes.end())) EXPECT_EQ(size, 1u);
  rig.ExpectComplete();
}

TEST(Pipeline, BytesDoNotDependOnBatchOrderOrWorker) {
  std::map<uint64_t, std::string> reference;
  for (const int shape : {1, 3, 8}) {
    for (const uint64_t lease_cells : {7, 64}) {
      Rig rig(64, lease_cells);
      rig.models.batch_shape = shape;
      ASSERT_TRUE(rig.Run().ok());
      for (const auto& [ordinal, result] : rig.store.results()) {
        const auto [entry, first] = reference.emplace(ordinal, result.image() + result.embeddings(0).fp16());
        EXPECT_EQ(entry->second, result.image() + result.embeddings(0).fp16()) << ordinal;
      }
    }
  }
}

TEST(Pipeline, KeepsTheDeviceBusy) {
  Rig rig(600, 60);
  rig.models.side = 64;
  rig.models.batch_cost = absl::Milliseconds(10);
  ASSERT_TRUE(rig.Run().ok());
  rig.ExpectComplete();
  const Pipeline::Stats stats = rig.pipeline->stats();
  EXPECT_GE(absl::FDivDuration(stats.device, stats.wall), 0.95) << stats.device << " of " << stats.wall;
}

}  // namespace
}  // namespace promptsweep::worker
