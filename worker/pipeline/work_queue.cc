#include "worker/pipeline/work_queue.h"

#include <algorithm>
#include <utility>

#include "worker/pipeline/ranges.h"

namespace promptsweep::worker {
namespace {

// From this try of a range on, its cells run alone.
constexpr uint32_t kAloneFromAttempt = 3;

}  // namespace

void WorkQueue::SkipSkipped(Entry& entry) {
  const auto& skip = entry.work.lease->skip();
  while (entry.skip < skip.size() && skip[entry.skip] <= entry.next) {
    if (skip[entry.skip] == entry.next) ++entry.next;
    ++entry.skip;
  }
}

void WorkQueue::Add(Work work) {
  Entry entry;
  entry.next = work.lease->range().begin();
  entry.end = work.lease->range().end();
  entry.left = CellsOf(*work.lease);
  entry.work = std::move(work);
  SkipSkipped(entry);
  absl::MutexLock lock(&mu_);
  if (closed_ || entry.left == 0) return;
  waiting_ += entry.left;
  entries_.push_back(std::move(entry));
}

std::shared_ptr<const ModelSetup> WorkQueue::WaitForSetup() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &WorkQueue::Ready));
  if (closed_ || entries_.empty()) return nullptr;
  return entries_.front().work.setup;
}

std::vector<Picked> WorkQueue::Take(const ModelSetup& setup, int most, const std::function<bool(uint64_t)>& wanted) {
  std::vector<Picked> picked;
  absl::MutexLock lock(&mu_);
  while (!closed_ && !entries_.empty() && static_cast<int>(picked.size()) < most) {
    Entry& entry = entries_.front();
    const v1::Lease& lease = *entry.work.lease;
    if (!wanted(lease.lease())) {
      waiting_ -= entry.left;
      entries_.pop_front();
      continue;
    }
    const bool alone = lease.attempt() >= kAloneFromAttempt;
    if (entry.work.setup->key != setup.key || (alone && !picked.empty())) break;
    while (entry.left > 0 && static_cast<int>(picked.size()) < most) {
      picked.push_back({entry.work.lease, entry.work.context, entry.next++});
      --entry.left;
      --waiting_;
      SkipSkipped(entry);
      if (alone) break;
    }
    if (entry.left == 0) entries_.pop_front();
    if (alone) break;
  }
  return picked;
}

std::optional<uint64_t> WorkQueue::Cut(uint64_t lease, uint64_t end) {
  absl::MutexLock lock(&mu_);
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const v1::Lease& known = *entry->work.lease;
    if (known.lease() != lease) continue;
    const uint64_t from = std::max(entry->next, end);
    if (from >= entry->end) return 0;
    v1::Lease cut;
    cut.mutable_range()->set_begin(from);
    cut.mutable_range()->set_end(entry->end);
    *cut.mutable_skip() = known.skip();
    const uint64_t dropped = CellsOf(cut);
    entry->end = from;
    entry->left -= dropped;
    waiting_ -= dropped;
    if (entry->left == 0) entries_.erase(entry);
    return dropped;
  }
  return std::nullopt;
}

void WorkQueue::SetLowWater(uint64_t cells) {
  absl::MutexLock lock(&mu_);
  low_ = cells;
}

bool WorkQueue::WaitLow() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &WorkQueue::Low));
  return !closed_;
}

void WorkQueue::Finish() {
  absl::MutexLock lock(&mu_);
  finished_ = true;
}

void WorkQueue::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  entries_.clear();
  waiting_ = 0;
}

bool WorkQueue::closed() const {
  absl::MutexLock lock(&mu_);
  return closed_;
}

}  // namespace promptsweep::worker
