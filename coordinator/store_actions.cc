// What the state wants of the store. Nothing is queued: every wish follows from the state, so a lost answer costs a repetition.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "coordinator/state.h"

namespace promptsweep::coordinator {
namespace {

// Rows of one request: far below the largest message.
constexpr size_t kMaxRows = 1000;

}  // namespace

std::optional<StoreAction> State::NextStoreAction(absl::Time now) const {
  if (now < store_from_) return std::nullopt;
  for (const auto& [id, sweep] : sweeps_) {
    if (sweep.progress && sweep.refresh_answered != sweep.refresh_wanted) {
      return StoreAction{.kind = StoreAction::Kind::kRefresh, .sweep = id, .generation = sweep.refresh_wanted};
    }
  }
  for (const auto& [id, sweep] : sweeps_) {
    if (WantsCount(sweep, now)) return StoreAction{.kind = StoreAction::Kind::kCount, .sweep = id};
  }
  for (const auto& [id, sweep] : sweeps_) {
    if (!sweep.progress) continue;
    const SweepProgress& progress = *sweep.progress;
    StoreAction action{.kind = StoreAction::Kind::kPutFailures, .sweep = id};
    if (!sweep.unsaved.empty()) {
      const size_t count = std::min(kMaxRows, sweep.unsaved.size());
      action.failures.assign(sweep.unsaved.begin(), sweep.unsaved.begin() + count);
      return action;
    }
    if (!progress.contradictions().empty()) {
      action.kind = StoreAction::Kind::kClearFailures;
      for (const auto& [begin, end] : progress.contradictions().intervals()) {
        for (uint64_t at = begin; at < end && action.ordinals.size() < kMaxRows; ++at) action.ordinals.push_back(at);
      }
      return action;
    }
    if (!progress.Complete() || !progress.plan().manifest().imported_from().empty()) continue;
    action.kind = sweep.reconciled ? StoreAction::Kind::kSetState : StoreAction::Kind::kReconcile;
    action.state = progress.failed().empty() ? v1::SWEEP_STATE_DONE : v1::SWEEP_STATE_DONE_WITH_FAILURES;
    return action;
  }
  return std::nullopt;
}

void State::ApplyStoreOutcome(const StoreAction& action, const absl::Status& status, const StoreAnswer& answer, absl::Time now) {
  Sweep* sweep = ActiveSweep(action.sweep);
  if (sweep == nullptr) return;
  sweep->store_error = status.ok() ? "" : std::string(status.message());
  if (!status.ok() && action.kind != StoreAction::Kind::kRefresh) {
    store_from_ = now + options_.store_retry;
    return;
  }
  switch (action.kind) {
    case StoreAction::Kind::kRefresh:
      sweep->refresh_answered = action.generation;
      for (const auto& [begin, end] : answer.coverage.intervals()) {
        MarkDone(*sweep, action.sweep, {begin, std::min(end, sweep->planned)}, nullptr, /*reused=*/false, now);
      }
      break;
    case StoreAction::Kind::kPutFailures: {
      absl::flat_hash_set<uint64_t> saved;
      for (const v1::FailureRecord& record : action.failures) saved.insert(record.ordinal());
      std::erase_if(sweep->unsaved, [&](const v1::FailureRecord& record) { return saved.contains(record.ordinal()); });
      break;
    }
    case StoreAction::Kind::kClearFailures:
      for (uint64_t ordinal : action.ordinals) sweep->progress->contradictions().Remove(ordinal, ordinal + 1);
      break;
    case StoreAction::Kind::kReconcile:
      if (answer.grown) {
        Extend(answer.grown->info, answer.grown->plan);
      } else if (sweep->progress->Reconcile(answer.coverage) == 0) {
        sweep->reconciled = true;
      } else {
        ++sweep->reconciliations_failed;
      }
      break;
    case StoreAction::Kind::kCount:
      // Counted before or after reports that are on their way: what was made by now is only known to be about as much.
      sweep->device_us = answer.counts.device_us();
      sweep->reused = std::max(sweep->reused, std::min(answer.counts.reused(), sweep->progress->done().size()));
      sweep->counted_made = std::max<uint64_t>(1, answer.counts.done() - std::min(answer.counts.done(), answer.counts.reused()));
      sweep->counted_at = now;
      break;
    case StoreAction::Kind::kSetState:
      sweep->state = action.state;
      sweep->ended_done = sweep->progress->done().size();
      sweep->ended_failed = sweep->progress->failed().size();
      sweep->recent.clear();
      sweep->progress.reset();
      break;
  }
  ++changes_;
}

}  // namespace promptsweep::coordinator
