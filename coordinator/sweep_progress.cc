#include "coordinator/sweep_progress.h"

#include <algorithm>
#include <iterator>

#include "absl/algorithm/container.h"
#include "base/check.h"
#include "base/status.h"

namespace promptsweep::coordinator {

OrdinalSet SweepProgress::Take(Range range) {
  OrdinalSet owned;
  for (uint64_t at = taken_.NextAbsent(range.begin, range.end); at < range.end;) {
    const uint64_t end = taken_.NextPresent(at, range.end);
    owned.Add(at, end);
    at = taken_.NextAbsent(end, range.end);
  }
  for (const auto& [begin, end] : owned.intervals()) taken_.Add(begin, end);
  return owned;
}

void SweepProgress::GiveBack(const OrdinalSet& owned) {
  for (const auto& [begin, end] : owned.intervals()) taken_.Remove(begin, end);
}

uint64_t SweepProgress::MarkDone(Range range) {
  if (range.begin >= range.end) return 0;
  taken_.Add(range.begin, range.end);
  for (uint64_t at = failed_.NextPresent(range.begin, range.end); at < range.end; at = failed_.NextPresent(at, range.end)) {
    const uint64_t end = failed_.NextAbsent(at, range.end);
    failed_.Remove(at, end);
    contradictions_.Add(at, end);
  }
  ForgetTrouble(range);
  const uint64_t added = done_.Add(range.begin, range.end);
  if (added > 0) DropSettledSuspects(range);
  return added;
}

void SweepProgress::MarkFailed(uint64_t ordinal) {
  taken_.Add(ordinal, ordinal + 1);
  ForgetTrouble({ordinal, ordinal + 1});
  failed_.Add(ordinal, ordinal + 1);
  DropSettledSuspects({ordinal, ordinal + 1});
}

const Trouble& SweepProgress::MarkTrouble(uint64_t ordinal, absl::string_view worker, absl::string_view error, bool certain,
                                          absl::Time now) {
  PS_CHECK(taken_.Contains(ordinal)) << "cell " << ordinal << " was not leased";
  Trouble& trouble = troubled_[ordinal];
  waiting_.erase({trouble.not_before, ordinal});
  if (certain) ++trouble.attempts;
  if (certain && !absl::c_linear_search(trouble.workers, worker) &&
      trouble.workers.size() < std::max<size_t>(2, policy_.max_attempts)) {
    trouble.workers.emplace_back(worker);
  }
  trouble.error = std::string(error.substr(0, policy_.max_error_bytes));
  absl::Duration backoff = policy_.first_backoff;
  for (uint32_t i = 1; i < trouble.attempts && backoff < policy_.max_backoff; ++i) backoff *= 2;
  trouble.not_before = now + std::min(backoff, policy_.max_backoff);
  waiting_.insert({trouble.not_before, ordinal});
  return trouble;
}

bool SweepProgress::ReleaseDue(absl::Time now) {
  bool any = false;
  while (!waiting_.empty() && waiting_.begin()->first <= now) {
    const uint64_t ordinal = waiting_.begin()->second;
    waiting_.erase(waiting_.begin());
    taken_.Remove(ordinal, ordinal + 1);
    any = true;
  }
  return any;
}

uint64_t SweepProgress::ForgetFailures() {
  const uint64_t count = failed_.size();
  GiveBack(failed_);
  failed_.Clear();
  return count;
}

uint64_t SweepProgress::Reconcile(const OrdinalSet& stored) {
  const OrdinalSet before = done_;
  uint64_t missing = 0;
  for (const auto& [begin, end] : before.intervals()) {
    for (uint64_t at = stored.NextAbsent(begin, end); at < end;) {
      const uint64_t gap_end = stored.NextPresent(at, end);
      missing += done_.Remove(at, gap_end);
      contradictions_.Remove(at, gap_end);
      taken_.Remove(at, gap_end);
      at = stored.NextAbsent(gap_end, end);
    }
  }
  for (const auto& [begin, end] : stored.intervals()) MarkDone({begin, std::min(end, cells())});
  return missing;
}

void SweepProgress::Halve(const OrdinalSet& owned, uint32_t attempts) {
  if (owned.empty()) return;
  const uint64_t piece = std::max<uint64_t>(1, (owned.size() + 1) / 2);
  for (const auto& [begin, end] : owned.intervals()) {
    // Old marks on these ordinals are replaced; a lease never reaches over a mark's border, so neither does this.
    suspects_.erase(suspects_.lower_bound(begin), suspects_.lower_bound(end));
    auto before = suspects_.upper_bound(begin);
    if (before != suspects_.begin() && std::prev(before)->second.end > begin) std::prev(before)->second.end = begin;
    for (uint64_t at = begin; at < end; at += std::min(piece, end - at)) {
      suspects_[at] = Suspect{at + std::min(piece, end - at), attempts};
    }
  }
}

void SweepProgress::Isolate(uint64_t ordinal, uint32_t attempts) {
  auto after = suspects_.upper_bound(ordinal);
  if (after != suspects_.begin() && std::prev(after)->second.end > ordinal) {
    auto it = std::prev(after);
    const Suspect old = it->second;
    if (it->first == ordinal) {
      suspects_.erase(it);
    } else {
      it->second.end = ordinal;
    }
    if (old.end > ordinal + 1) suspects_[ordinal + 1] = old;
  }
  suspects_[ordinal] = Suspect{ordinal + 1, attempts};
}

std::pair<Range, uint32_t> SweepProgress::SuspectBounds(uint64_t ordinal) const {
  auto after = suspects_.upper_bound(ordinal);
  if (after != suspects_.begin() && std::prev(after)->second.end > ordinal) {
    return {{ordinal, std::prev(after)->second.end}, std::prev(after)->second.attempts};
  }
  return {{ordinal, after == suspects_.end() ? cells() : after->first}, 0};
}

void SweepProgress::ForgetTrouble(Range range) {
  auto first = troubled_.lower_bound(range.begin);
  auto last = troubled_.lower_bound(range.end);
  for (auto it = first; it != last; ++it) waiting_.erase({it->second.not_before, it->first});
  troubled_.erase(first, last);
}

void SweepProgress::DropSettledSuspects(Range range) {
  if (suspects_.empty()) return;
  auto it = suspects_.upper_bound(range.begin);
  if (it != suspects_.begin()) --it;
  while (it != suspects_.end() && it->first < range.end) {
    const bool settled =
        done_.CountIn(it->first, it->second.end) + failed_.CountIn(it->first, it->second.end) == it->second.end - it->first;
    it = settled ? suspects_.erase(it) : std::next(it);
  }
}

absl::Status SweepProgress::CheckInvariants(const OrdinalSet& leased) const {
  OrdinalSet all;
  uint64_t sum = 0;
  for (const OrdinalSet* part : {&done_, &failed_, &leased}) {
    for (const auto& [begin, end] : part->intervals()) {
      if (end > cells()) return absl::InternalError(absl::StrCat("ordinal ", end - 1, " is beyond the sweep"));
      if (all.Add(begin, end) != end - begin)
        return absl::InternalError(absl::StrCat("[", begin, ",", end, ") is in two classes"));
    }
    sum += part->size();
  }
  for (const auto& [due, ordinal] : waiting_) {
    auto trouble = troubled_.find(ordinal);
    if (trouble == troubled_.end() || trouble->second.not_before != due)
      return absl::InternalError("waiting cell without trouble");
    if (all.Add(ordinal, ordinal + 1) != 1)
      return absl::InternalError(absl::StrCat("waiting cell ", ordinal, " is in two classes"));
  }
  sum += waiting_.size();
  if (!(all == taken_) || sum != taken_.size()) return absl::InternalError("taken differs from done + failed + leased + waiting");
  for (const auto& [ordinal, trouble] : troubled_) {
    if (done_.Contains(ordinal) || failed_.Contains(ordinal)) return absl::InternalError("a settled cell is still troubled");
    if ((trouble.attempts == 0) != trouble.workers.empty()) return absl::InternalError("an attempt without a worker");
  }
  uint64_t last = 0;
  for (const auto& [begin, suspect] : suspects_) {
    if (begin < last || suspect.end <= begin || suspect.end > cells()) return absl::InternalError("suspect ranges overlap");
    last = suspect.end;
  }
  for (const auto& [begin, end] : contradictions_.intervals()) {
    if (done_.CountIn(begin, end) != end - begin) return absl::InternalError("a contradiction that is not done");
  }
  return absl::OkStatus();
}

}  // namespace promptsweep::coordinator
