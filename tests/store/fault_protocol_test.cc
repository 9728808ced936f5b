// F9, F13, F14: proves that delivery in any order, from several clients, over restarts and as often as anyone likes stores every
// cell once and counts exactly; that the wall clock decides nothing; and that large and many messages are refused within limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/host.h"
#include "tests/store/crash_life.h"
#include "tests/store/store_process.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

// Deliveries of a few cells, each with one of a few contents, and what the store said to each.
class Deliveries {
 public:
  explicit Deliveries(uint64_t seed) : random_(seed), plan_(MakePlan(manifest_)) {}
  const v1::SweepManifest& manifest() const { return manifest_; }

  // Delivers `count` requests from `clients` threads at once.
  void Deliver(Store& store, int clients, int count) {
    std::vector<std::thread> threads;
    for (int c = 0; c < clients; ++c) {
      threads.emplace_back([this, &store, count, seed = random_()] {
        std::mt19937_64 random(seed);
        for (int i = 0; i < count; ++i) One(store, random);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // One canonical content a cell, every verdict as the contents demand, and exact counts.
  void Check(Store& store) {
    absl::MutexLock lock(&mu_);
    uint64_t divergent = 0;
    std::set<uint64_t> done;
    for (const auto& [ordinal, verdicts] : verdicts_) {
      std::set<uint64_t> others;
      std::vector<uint64_t> stored, same;
      for (const auto& [content, code] : verdicts) {
        if (code == v1::PutOutcome::CODE_STORED) stored.push_back(content);
        if (code == v1::PutOutcome::CODE_DUPLICATE_SAME) same.push_back(content);
        if (code == v1::PutOutcome::CODE_DUPLICATE_DIFFERENT) others.insert(content);
      }
      ASSERT_EQ(stored.size(), 1u) << "cell " << ordinal << " was stored that often";
      for (const uint64_t content : same) EXPECT_EQ(content, stored[0]) << ordinal;
      EXPECT_FALSE(others.contains(stored[0])) << ordinal;
      divergent += others.size();
      done.insert(ordinal);
      canonical_[ordinal] = stored[0];
    }
    const auto view = Observe(store);
    ASSERT_TRUE(view.ok()) << view.status();
    for (const auto& [ordinal, content] : canonical_) {
      EXPECT_EQ(view->at(CellName(1, ordinal)), ContentName(Make(ordinal, content)));
    }
    const auto verdict = VerifyAll(store, true);
    EXPECT_EQ(Problems(verdict), "");
    EXPECT_EQ(verdict.sweeps(0).counts().done(), done.size());
    EXPECT_EQ(verdict.sweeps(0).counts().divergent(), divergent);
    v1::GetSweepRequest request;
    request.set_sweep(1);
    const auto info = store.GetSweep(request);
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->info().counts().done(), done.size());
    EXPECT_EQ(info->info().counts().divergent(), divergent);
  }

 private:
  static constexpr uint64_t kCells = 24, kContents = 3;
  v1::Result Make(uint64_t ordinal, uint64_t content) const { return MakeResult(plan_, ordinal, 200, content); }
  void One(Store& store, std::mt19937_64& random) {
    std::vector<v1::Result> results;
    std::vector<uint64_t> contents;
    for (uint64_t i = 0; i <= random() % 4; ++i) {
      // Mostly the same content, as from a deterministic model.
      contents.push_back(random() % 4 ? 0 : random() % kContents);
      results.push_back(Make(random() % kCells, contents.back()));
    }
    const auto reply = PutAll(store, 1, results);
    ASSERT_TRUE(reply.ok()) << reply.status();
    absl::MutexLock lock(&mu_);
    for (int i = 0; i < reply->outcomes_size(); ++i) {
      verdicts_[reply->outcomes(i).ordinal()].emplace_back(contents[i], reply->outcomes(i).code());
    }
  }

  std::mt19937_64 random_;
  const v1::SweepManifest manifest_ = MakeManifest("delivery", kCells / 2);
  const sweep::Plan plan_;
  absl::Mutex mu_;
  std::map<uint64_t, std::vector<std::pair<uint64_t, v1::PutOutcome::Code>>> verdicts_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, uint64_t> canonical_ ABSL_GUARDED_BY(mu_);
};

TEST(F9Duplicates, AnyOrderAnyClientAnyRestartStoresOnceAndCountsExactly) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    FastFolder folder;
    Deliveries deliveries(seed);
    const Store::Options options = SmallStore(folder.path("store"), std::make_shared<FaultFs>());
    for (int life = 0; life < 3; ++life) {
      auto store = OpenStore(options);
      ASSERT_EQ(Create(*store, deliveries.manifest()).value(), 1u);
      deliveries.Deliver(*store, 1 + static_cast<int>(seed + life) % 3, 20);
      deliveries.Check(*store);
      if (HasFailure()) return;
    }
  }
}

// A wall clock that can be set, back too.
class WallClock final : public Clock {
 public:
  absl::Time TimeNow() override { return Clock::Real().TimeNow(); }
  uint64_t WallMillis() override { return wall_; }
  std::atomic<uint64_t> wall_{1'800'000'000'000};
};

TEST(F13ClockJumps, Case30_ADayBackOrForthChangesTimesAndNothingElse) {
  static constexpr uint64_t kDay = 86'400'000;
  FastFolder folder;
  WallClock clock;
  const v1::SweepManifest manifest = MakeManifest("clock", 10);
  const sweep::Plan plan = MakePlan(manifest);
  Store::Options options = SmallStore(folder.path("store"), std::make_shared<FaultFs>());
  options.clock = &clock;
  uint64_t ordinal = 0;
  std::vector<uint64_t> times;
  for (const int64_t jump : {int64_t{0}, -int64_t{kDay}, 2 * int64_t{kDay}, -int64_t{kDay} * 3, int64_t{1}}) {
    clock.wall_ += static_cast<uint64_t>(jump);
    auto store = OpenStore(options);
    ASSERT_EQ(Create(*store, manifest).value(), 1u) << "the sweep is the same at any time";
    for (int i = 0; i < 3; ++i, ++ordinal) {
      ASSERT_EQ(PutOne(*store, 1, MakeResult(plan, ordinal)).code(), v1::PutOutcome::CODE_STORED);
      times.push_back(clock.wall_);
      EXPECT_EQ(PutOne(*store, 1, MakeResult(plan, ordinal, 600, 9)).code(), v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
      if (ordinal > 0) {
        EXPECT_EQ(PutOne(*store, 1, MakeResult(plan, ordinal - 1)).code(), v1::PutOutcome::CODE_DUPLICATE_SAME);
      }
    }
    EXPECT_EQ(Unsound(*store), "");
  }
  auto store = OpenStore(options);
  v1::GetResultsRequest request;
  request.set_sweep(1);
  const auto rows = ReadAll(*store, request);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), times.size());
  for (size_t i = 0; i < times.size(); ++i) EXPECT_EQ((*rows)[i].stored_at_ms(), times[i]);
}

// A server whose disk stands still, so that everything it accepts must wait in memory.
class Stalled : public testing::Test {
 protected:
  static constexpr size_t kQueue = 8 << 20;
  void SetUp() override {
    StoreHost::Options options;
    options.store = SmallStore(folder_.path("store"), fs_);
    options.store.max_queued_bytes = kQueue;
    options.address = "127.0.0.1:0";
    options.security = InsecureRpc(false);
    host_ = *StoreHost::Start(std::move(options));
    stub_ = Dial(absl::StrCat("listening on 127.0.0.1:", host_->port()));
    ASSERT_EQ(CreateOver(*stub_, manifest_).value(), 1u);
  }

  bool ListedOver() { return CallStore(*stub_, &Stub::ListSweeps, v1::ListSweepsRequest()).ok(); }

  FastFolder folder_;
  std::shared_ptr<FaultFs> fs_ = std::make_shared<FaultFs>();
  std::unique_ptr<StoreHost> host_;
  std::unique_ptr<Stub> stub_;
  const v1::SweepManifest manifest_ = MakeManifest("memory", 1000);
  const sweep::Plan plan_ = MakePlan(manifest_);
};

TEST_F(Stalled, F14GiantMessagesAreRefused) {
  v1::Result giant = MakeResult(plan_, 0, 3 << 20);
  const auto image = PutOver(*stub_, 1, giant);
  EXPECT_EQ(image.value(), v1::PutOutcome::CODE_REJECTED) << "beyond what an image may have";
  const auto request = CallStore(*stub_, &Stub::PutResults, MakePut(1, {giant, MakeResult(plan_, 1, 800 << 10)}));
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << request.status();
  v1::PutResultsRequest beyond = MakePut(1, {giant, giant, giant, giant});
  EXPECT_EQ(CallStore(*stub_, &Stub::PutResults, beyond).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(PutOver(*stub_, 1, MakeResult(plan_, 2)).value(), v1::PutOutcome::CODE_STORED);
  EXPECT_EQ(ProblemsOver(*stub_, true), "");
}

TEST_F(Stalled, F14ManyConcurrentMessagesAreRefusedWithinLimits) {
  // Shared: the store syncs once more when it closes, after this frame has gone.
  const auto go_on = std::make_shared<absl::Notification>();
  fs_->BeforeSync([go_on] { go_on->WaitForNotification(); });
  static constexpr int kCalls = 96;
  std::atomic<int> stored{0}, busy{0};
  absl::Mutex mu;
  int answered = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kCalls; ++t) {
    threads.emplace_back([&, t] {
      const auto code = PutOver(*stub_, 1, MakeResult(plan_, t, 2'500'000));
      if (code.ok()) {
        EXPECT_EQ(*code, v1::PutOutcome::CODE_STORED);
        ++stored;
      } else {
        EXPECT_EQ(code.status().code(), absl::StatusCode::kResourceExhausted) << code.status();
        ++busy;
      }
      absl::MutexLock lock(&mu);
      ++answered;
    });
  }
  {
    // All but what the queue and the running group hold are answered while the disk still stands.
    const auto refused = [&] { return answered >= kCalls - 8; };
    absl::MutexLock lock(&mu);
    mu.Await(absl::Condition(&refused));
  }
  EXPECT_EQ(stored, 0);
  EXPECT_TRUE(ListedOver()) << "reads are served meanwhile";
  go_on->Notify();
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(stored, 0);
  EXPECT_LE(static_cast<size_t>(stored), kQueue / 2'500'000 + 1);
  std::printf("%d accepted, %d refused\n", stored.load(), busy.load());
  EXPECT_EQ(ProblemsOver(*stub_, true), "");
  // Refused is not lost: sent again, they are stored.
  EXPECT_EQ(PutOver(*stub_, 1, MakeResult(plan_, 500, 2'500'000)).value(), v1::PutOutcome::CODE_STORED);
}

}  // namespace
}  // namespace promptsweep::store
