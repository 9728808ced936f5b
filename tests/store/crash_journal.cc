#include "tests/store/crash_journal.h"

#include <algorithm>

namespace promptsweep::store {

size_t Journal::Ask(Sets sets) {
  absl::MutexLock lock(&mu_);
  calls_.push_back({fs_.changes()});
  for (auto& [key, value] : sets) steps_[key].push_back({calls_.size() - 1, std::move(value)});
  return calls_.size() - 1;
}

void Journal::Acknowledge(size_t call) {
  absl::MutexLock lock(&mu_);
  calls_[call].acknowledged = fs_.changes();
}

size_t Journal::Promised(uint64_t point) const {
  absl::MutexLock lock(&mu_);
  return std::count_if(calls_.begin(), calls_.end(), [&](const Call& call) { return call.acknowledged <= point; });
}

std::string Journal::Last(const std::string& key) const {
  absl::MutexLock lock(&mu_);
  const auto it = steps_.find(key);
  return it == steps_.end() ? "" : it->second.back().value;
}

std::string Journal::Disagreement(const View& view, uint64_t point) const {
  absl::MutexLock lock(&mu_);
  std::string problems;
  for (const auto& [key, steps] : steps_) {
    const auto shown = view.find(key);
    const std::string value = shown == view.end() ? "" : shown->second;
    std::set<std::string> allowed = {""};
    bool promised = false;
    for (const Step& step : steps) {
      const Call& call = calls_[step.call];
      if (call.acknowledged <= point) {
        allowed.clear();
        promised = true;
      }
      if (call.asked <= point) allowed.insert(step.value);
    }
    if (allowed.contains(value)) continue;
    absl::StrAppend(&problems, promised ? "acknowledged " : "", key, " is '", value, "' instead of '", *allowed.begin(), "'\n");
  }
  for (const auto& [key, value] : view) {
    if (!steps_.contains(key)) absl::StrAppend(&problems, key, " = '", value, "' was never asked for\n");
  }
  return problems;
}

}  // namespace promptsweep::store
