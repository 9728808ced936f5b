// Proves that the queue gives each cell of its leases once, in order, and none of those that were cut off.
#include "worker/pipeline/work_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/fakes.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WorkQueueTest : public ::testing::Test {
 protected:
  WorkQueueTest() {
    auto setup = std::make_shared<ModelSetup>();
    setup->key = "model";
    setup_ = setup;
  }
  void Add(uint64_t id, uint64_t begin, uint64_t end, std::vector<uint64_t> skip = {}) {
    auto lease = std::make_shared<v1::Lease>();
    lease->set_lease(id);
    lease->set_attempt(1);
    lease->mutable_range()->set_begin(begin);
    lease->mutable_range()->set_end(end);
    lease->mutable_skip()->Add(skip.begin(), skip.end());
    queue_.Add({lease, nullptr, setup_});
  }
  std::vector<uint64_t> Take(int most) {
    std::vector<uint64_t> ordinals;
    for (const Picked& picked : queue_.Take(*setup_, most, [](uint64_t) { return true; })) ordinals.push_back(picked.ordinal);
    return ordinals;
  }

  std::shared_ptr<const ModelSetup> setup_;
  WorkQueue queue_;
};

TEST_F(WorkQueueTest, CellsBehindTheCutAreNotGiven) {
  Add(1, 0, 10);
  Add(2, 20, 24);
  EXPECT_THAT(Take(3), ElementsAre(0, 1, 2));
  EXPECT_EQ(queue_.Cut(1, 6), 4u);
  EXPECT_EQ(queue_.Cut(1, 6), 0u) << "again: nothing is left to drop";
  EXPECT_EQ(queue_.Cut(1, 5), 1u);
  EXPECT_THAT(Take(100), ElementsAre(3, 4, 20, 21, 22, 23));
}

TEST_F(WorkQueueTest, SkippedCellsAreNotCounted) {
  Add(1, 0, 10, {3, 7, 8});
  EXPECT_EQ(queue_.Cut(1, 6), 2u) << "6 and 9";
  EXPECT_THAT(Take(100), ElementsAre(0, 1, 2, 4, 5));
}

TEST_F(WorkQueueTest, ACutBehindWhatWasTakenDropsOnlyTheRest) {
  Add(1, 0, 10);
  EXPECT_THAT(Take(7), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(queue_.Cut(1, 4), 3u);
  EXPECT_THAT(Take(100), IsEmpty());
  EXPECT_EQ(queue_.Cut(1, 4), std::nullopt) << "nothing of it is waiting any more";
}

TEST_F(WorkQueueTest, AnUnknownLeaseIsSaidToBe) {
  EXPECT_EQ(queue_.Cut(7, 4), std::nullopt);
  Add(7, 0, 3);
  EXPECT_EQ(queue_.Cut(7, 100), 0u);
  EXPECT_THAT(Take(100), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace promptsweep::worker
