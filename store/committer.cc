#include "store/committer.h"

#include <utility>

#include "base/status.h"

namespace promptsweep::store {
namespace {

// Between looks at the memtables that are on their way to the disk.
constexpr absl::Duration kMemoryPoll = absl::Milliseconds(2);

absl::Status Stopped() { return absl::UnavailableError("the store is shutting down"); }

}  // namespace

Committer::Committer(Database& database, Options options)
    : database_(database), options_(std::move(options)), thread_([this] { Run(); }) {}

Committer::~Committer() { Stop(); }

void Committer::Enqueue(Write write) {
  absl::Status refused;
  {
    absl::MutexLock lock(&mu_);
    refused = !failed_.ok() ? failed_ : stopping_ ? Stopped() : absl::OkStatus();
    if (refused.ok()) {
      queued_bytes_ += write.bytes;
      queue_.push_back(std::move(write));
      wake_.Signal();
      return;
    }
  }
  write.done(refused);
}

void Committer::Fail(absl::Status cause) {
  absl::MutexLock lock(&mu_);
  if (failed_.ok()) failed_ = std::move(cause);
  wake_.Signal();
}

absl::Status Committer::status() const {
  absl::MutexLock lock(&mu_);
  return !failed_.ok() ? failed_ : stopping_ ? Stopped() : absl::OkStatus();
}

uint64_t Committer::groups() const {
  absl::MutexLock lock(&mu_);
  return groups_;
}

void Committer::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

std::deque<Committer::Write> Committer::NextGroup() {
  absl::MutexLock lock(&mu_);
  while (queue_.empty() && !stopping_ && failed_.ok()) wake_.Wait(&mu_);
  // Waiting for company pays only where there was company: a lone writer is waiting for this very acknowledgement.
  if (last_group_size_ > 1) {
    const absl::Time until = absl::Now() + options_.max_group_delay;
    while (queued_bytes_ < options_.max_group_bytes && queue_.size() < last_group_size_ && !stopping_ && failed_.ok()) {
      if (wake_.WaitWithDeadline(&mu_, until)) break;
    }
  }
  std::deque<Write> group;
  size_t bytes = 0;
  while (!queue_.empty() && (group.empty() || bytes + queue_.front().bytes <= options_.max_group_bytes)) {
    bytes += queue_.front().bytes;
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  return group;
}

void Committer::AwaitMemory() {
  // RocksDB's own stall waits for ever where a flush has failed.
  absl::MutexLock lock(&mu_);
  while (failed_.ok() && database_.memory_full()) wake_.WaitWithTimeout(&mu_, kMemoryPoll);
}

absl::Status Committer::Commit(std::deque<Write>& group) {
  AwaitMemory();
  PS_RETURN_IF_ERROR([this] {
    absl::MutexLock lock(&mu_);
    return failed_;
  }());
  batch_.Clear();
  for (Write& write : group) write.prepare(batch_);
  if (options_.seal) options_.seal(batch_);
  if (batch_.Count() > 0) {
    rocksdb::WriteOptions options;
    options.sync = true;
    PS_RETURN_IF_ERROR(Annotate(FromRocks(database_.db().Write(options, &batch_)), "writing to the store failed"));
    PS_RETURN_IF_ERROR(Annotate(database_.Acknowledge(), "writing to the store failed"));
    absl::MutexLock lock(&mu_);
    ++groups_;
  }
  if (options_.apply) options_.apply();
  return absl::OkStatus();
}

void Committer::Run() {
  while (true) {
    std::deque<Write> group = NextGroup();
    absl::Status status = Commit(group);
    if (!status.ok()) {
      Fail(status);
      status = this->status();
      std::deque<Write> waiting;
      {
        absl::MutexLock lock(&mu_);
        waiting.swap(queue_);
        queued_bytes_ = 0;
      }
      for (Write& write : group) write.done(status);
      for (Write& write : waiting) write.done(status);
      if (options_.on_fatal) options_.on_fatal(status);
      return;
    }
    for (Write& write : group) write.done(absl::OkStatus());
    last_group_size_ = group.size();
    if (group.empty()) {
      absl::MutexLock lock(&mu_);
      if (stopping_ && queue_.empty()) return;
    }
  }
}

}  // namespace promptsweep::store
