#include "jobs/motifs/compare_motifs.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/motifs/history.h"
#include "jobs/motifs/mining/refit.h"
#include "jobs/motifs/stored_region.h"
#include "jobs/motifs/sweep_data.h"
#include "jobs/sweep/filter.h"

namespace promptsweep::motifs {
namespace {

// As it was typed.
std::string FilterTextOf(const google::protobuf::RepeatedPtrField<v1::AxisFilter>& filters) {
  std::map<std::string, std::string> by_axis;
  for (const v1::AxisFilter& filter : filters) {
    const std::string value = sweep::EscapeFilterValue(filter.value());
    const auto [entry, is_new] = by_axis.emplace(filter.axis(), absl::StrCat(filter.axis(), "=", value));
    if (!is_new) absl::StrAppend(&entry->second, "|", value);
  }
  std::string text;
  for (const auto& [axis, part] : by_axis) absl::StrAppend(&text, text.empty() ? "" : ",", part);
  return text;
}

bool EachInTheOther(const v1::Motif& a, const v1::Motif& b, double& cosine) {
  cosine = -1;
  bool same = false;
  for (const Region& left : RegionsOf(a)) {
    for (const Region& right : RegionsOf(b)) {
      const double dot = CosineOf(left, right);
      if (dot < std::max(left.threshold, right.threshold)) continue;
      same = true;
      cosine = std::max(cosine, dot);
    }
  }
  return same;
}

// Which motif of the other report is the same, each once, the nearest first.
std::map<int, int> MatchMotifs(const v1::MotifReport& from, const v1::MotifReport& to) {
  std::vector<std::pair<double, std::pair<int, int>>> near;
  for (int a = 0; a < from.motifs_size(); ++a) {
    for (int b = 0; b < to.motifs_size(); ++b) {
      double cosine = 0;
      if (EachInTheOther(from.motifs(a), to.motifs(b), cosine)) near.push_back({-cosine, {a, b}});
    }
  }
  std::sort(near.begin(), near.end());
  std::map<int, int> matched;
  std::set<int> taken;
  for (const auto& [away, both] : near) {
    if (matched.count(both.first) > 0 || !taken.insert(both.second).second) continue;
    matched.insert(both);
  }
  return matched;
}

// A report's regions without each fold: as it holds them, or in a report of an earlier program fitted to the runs it was mined
// from.
absl::StatusOr<std::vector<Frozen>> CrossFitted(v1::StoreService::StubInterface& store, const v1::MotifReport& report,
                                                int threads) {
  std::vector<Frozen> stored;
  for (const v1::Motif& motif : report.motifs()) {
    if (motif.folds_size() != kFolds) break;
    PS_ASSIGN_OR_RETURN(Finding finding, FindingOf(motif));
    stored.push_back(std::move(finding.frozen));
  }
  if (static_cast<int>(stored.size()) == report.motifs_size()) return stored;
  std::vector<std::vector<Region>> motifs;
  for (const v1::Motif& motif : report.motifs()) motifs.push_back(RegionsOf(motif));
  RunSelection selection{.sweep = absl::StrCat(report.sweep()), .embedder = report.embedder()};
  selection.target = FilterTextOf(report.target());
  selection.baseline = FilterTextOf(report.baseline());
  PS_ASSIGN_OR_RETURN(SweepReader reader, SweepReader::Open(store, selection));
  std::optional<Refit> refit;
  PS_RETURN_IF_ERROR(reader.ForEachBlock([&](const Matrix& rows, const Runs& runs) {
    if (!refit) refit.emplace(motifs, rows.dim);
    refit->Add(rows, runs, threads);
    return absl::OkStatus();
  }));
  if (!refit) return absl::InvalidArgumentError("no vectors are stored any more of the runs that were mined");
  return refit->Fit();
}

}  // namespace

absl::StatusOr<std::vector<Compared>> MotifsToCompare(v1::StoreService::StubInterface& store, const v1::MotifReport& from,
                                                      const v1::MotifReport* to, int threads, uint64_t& left_out) {
  PS_ASSIGN_OR_RETURN(const std::vector<Frozen> of_from, CrossFitted(store, from, threads));
  std::vector<Frozen> of_to;
  std::map<int, int> matched;
  std::vector<Compared> all;
  if (to != nullptr) {
    PS_ASSIGN_OR_RETURN(of_to, CrossFitted(store, *to, threads));
    matched = MatchMotifs(from, *to);
  }
  std::set<int> taken;
  for (int m = 0; m < from.motifs_size(); ++m) {
    Compared& one = all.emplace_back();
    one.from = &from.motifs(m);
    one.frozen = of_from[m];
    if (to == nullptr) one.to = one.from;
    if (const auto same = matched.find(m); same != matched.end()) {
      one.to = &to->motifs(same->second);
      taken.insert(same->second);
      for (int fold = 0; fold < kFolds; ++fold) {
        const std::vector<Region>& more = of_to[same->second].by_fold[fold];
        one.frozen.by_fold[fold].insert(one.frozen.by_fold[fold].end(), more.begin(), more.end());
      }
    }
  }
  for (int m = 0; to != nullptr && m < to->motifs_size(); ++m) {
    if (taken.count(m) > 0) continue;
    Compared& one = all.emplace_back();
    one.to = &to->motifs(m);
    one.frozen = of_to[m];
  }
  const auto unproven = [](const Compared& one) {
    const auto candidate = [](const v1::Motif* motif) { return motif == nullptr || motif->tier() == v1::MOTIF_TIER_CANDIDATE; };
    return candidate(one.from) && candidate(one.to);
  };
  const auto kept = std::remove_if(all.begin(), all.end(), unproven);
  left_out = all.end() - kept;
  all.erase(kept, all.end());
  return all;
}

}  // namespace promptsweep::motifs
