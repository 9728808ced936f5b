#include "jobs/motifs/history.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/status.h"

namespace promptsweep::motifs {
namespace {

constexpr size_t kKeyBytes = 8;
constexpr int kMostEvents = 100, kMostFormer = 100;

std::string NewKey(const v1::Motif& motif, const std::set<std::string>& taken) {
  std::string all = motif.centre() + std::to_string(motif.radius_cosine());
  for (const v1::MotifFold& fold : motif.folds()) all += fold.SerializeAsString() + "/";
  std::string key;
  do {
    all = Sha256Of(all);
    key = all.substr(0, kKeyBytes);
  } while (taken.count(key) > 0);
  return key;
}

using Events = google::protobuf::RepeatedPtrField<v1::MotifEvent>;

// The same runs mined once more change no history: a report can be made again, byte for byte.
bool AlreadySaid(v1::MotifChange change, uint64_t runs, uint64_t members, const Events& history) {
  if (history.empty() || (change != v1::MOTIF_CHANGE_KEPT && change != v1::MOTIF_CHANGE_COUNTED)) return false;
  const v1::MotifEvent& last = history[history.size() - 1];
  return last.runs() == runs && last.members() == members;
}

void AddEvent(v1::MotifChange change, const std::vector<std::string>& keys, uint64_t runs, uint64_t members, Events& history) {
  if (AlreadySaid(change, runs, members, history)) return;
  v1::MotifEvent& event = *history.Add();
  event.set_change(change);
  for (const std::string& key : keys) event.add_keys(key);
  event.set_runs(runs);
  event.set_members(members);
  if (history.size() > kMostEvents) history.DeleteSubrange(1, history.size() - kMostEvents);
}

void Retire(const v1::Motif& motif, v1::MotifChange change, const std::vector<std::string>& keys, v1::MotifReport& report) {
  v1::FormerMotif& former = *report.add_former();
  former.set_key(motif.key());
  former.set_label(motif.label());
  *former.mutable_history() = motif.history();
  AddEvent(change, keys, report.target_runs(), 0, *former.mutable_history());
}

// For each motif of the report the earlier ones that are one with it, largest first.
std::vector<std::vector<int>> Matches(const v1::MotifReport& before, const v1::MotifReport& now) {
  std::vector<std::vector<Region>> regions;
  for (const v1::Motif& motif : before.motifs()) regions.push_back(RegionsOf(motif));
  std::vector<std::vector<int>> matches;
  for (const v1::Motif& motif : now.motifs()) {
    const std::vector<Region> own = RegionsOf(motif);
    std::vector<int>& matched = matches.emplace_back();
    for (int p = 0; p < before.motifs_size(); ++p) {
      if (OneInTheOther(own, regions[p])) matched.push_back(p);
    }
    std::stable_sort(matched.begin(), matched.end(),
                     [&](int l, int r) { return before.motifs(l).members() > before.motifs(r).members(); });
  }
  return matches;
}

void CarryKeys(const v1::MotifReport& before, v1::MotifReport& report) {
  const std::vector<std::vector<int>> matches = Matches(before, report);
  std::vector<int> largest_first(report.motifs_size());
  for (int m = 0; m < report.motifs_size(); ++m) largest_first[m] = m;
  std::stable_sort(largest_first.begin(), largest_first.end(),
                   [&](int l, int r) { return report.motifs(l).members() > report.motifs(r).members(); });
  std::vector<int> heir(before.motifs_size(), -1);  // which motif now goes by its key
  std::vector<int> from(report.motifs_size(), -1);
  for (const int m : largest_first) {
    for (const int p : matches[m]) {
      if (heir[p] >= 0) continue;
      heir[p] = m;
      from[m] = p;
      break;
    }
  }
  std::vector<std::vector<std::string>> absorbed(report.motifs_size());
  for (const int m : largest_first) {
    if (from[m] < 0) continue;
    for (const int p : matches[m]) {
      if (heir[p] >= 0) continue;
      heir[p] = m;
      absorbed[m].push_back(before.motifs(p).key());
    }
  }
  std::set<std::string> taken;
  for (const v1::Motif& motif : before.motifs()) taken.insert(motif.key());
  for (const v1::FormerMotif& motif : before.former()) taken.insert(motif.key());
  for (int m = 0; m < report.motifs_size(); ++m) {
    v1::Motif& motif = *report.mutable_motifs(m);
    const auto add = [&](v1::MotifChange change, const std::vector<std::string>& keys) {
      AddEvent(change, keys, report.target_runs(), motif.members(), *motif.mutable_history());
    };
    if (from[m] >= 0) {
      motif.set_key(before.motifs(from[m]).key());
      *motif.mutable_history() = before.motifs(from[m]).history();
      add(absorbed[m].empty() ? v1::MOTIF_CHANGE_KEPT : v1::MOTIF_CHANGE_MERGED, absorbed[m]);
      continue;
    }
    motif.set_key(NewKey(motif, taken));
    taken.insert(motif.key());
    if (matches[m].empty()) {
      add(v1::MOTIF_CHANGE_FOUND, {});
    } else {
      add(v1::MOTIF_CHANGE_SPLIT, {before.motifs(matches[m][0]).key()});
    }
  }
  for (int p = 0; p < before.motifs_size(); ++p) {
    if (heir[p] < 0) {
      Retire(before.motifs(p), v1::MOTIF_CHANGE_LOST, {}, report);
    } else if (from[heir[p]] != p) {
      Retire(before.motifs(p), v1::MOTIF_CHANGE_ABSORBED, {report.motifs(heir[p]).key()}, report);
    }
  }
}

void CarryCounts(const v1::MotifReport& before, v1::MotifReport& report) {
  std::map<std::string, const v1::Motif*> earlier;
  for (const v1::Motif& motif : before.motifs()) earlier[motif.key()] = &motif;
  for (v1::Motif& motif : *report.mutable_motifs()) {
    const auto it = earlier.find(motif.key());
    if (it == earlier.end()) continue;
    *motif.mutable_history() = it->second->history();
    AddEvent(v1::MOTIF_CHANGE_COUNTED, {}, report.target_runs(), motif.members(), *motif.mutable_history());
    earlier.erase(it);
  }
  for (const v1::Motif& motif : before.motifs()) {
    if (earlier.count(motif.key()) > 0) Retire(motif, v1::MOTIF_CHANGE_LOST, {}, report);
  }
}

}  // namespace

std::string QuestionDigest(const v1::MotifReport& report) {
  v1::MotifReport asked;
  *asked.mutable_target() = report.target();
  *asked.mutable_baseline() = report.baseline();
  asked.set_question(report.question());
  asked.set_embedder(report.embedder());
  return Sha256Of("motifs of the question " + asked.SerializeAsString());
}

void SetFolds(const Frozen& frozen, v1::Motif& motif) {
  for (const std::vector<Region>& regions : frozen.by_fold) {
    v1::MotifFold& fold = *motif.add_folds();
    for (const Region& region : regions) {
      if (region.centre.empty()) continue;
      v1::MotifLook& look = *fold.add_regions();
      look.set_centre(PackHalves(region.centre.data(), region.centre.size()));
      look.set_radius_cosine(region.threshold);
    }
  }
}

absl::StatusOr<Finding> FindingOf(const v1::Motif& motif) {
  if (motif.folds_size() != kFolds || motif.key().size() != kKeyBytes) {
    return absl::DataLossError("the stored report does not say how its motifs are counted");
  }
  Finding finding;
  finding.region = RegionOf(motif.centre(), motif.radius_cosine());
  finding.region.separation = motif.separation();
  finding.region.source = motif.source() == "density"  ? Source::kDensity
                          : motif.source() == "kmeans" ? Source::kKmeans
                                                       : Source::kNeighbourhood;
  for (const v1::MotifLook& look : motif.looks()) finding.looks.push_back(RegionOf(look.centre(), look.radius_cosine()));
  for (int fold = 0; fold < kFolds; ++fold) {
    for (const v1::MotifLook& look : motif.folds(fold).regions()) {
      finding.frozen.by_fold[fold].push_back(RegionOf(look.centre(), look.radius_cosine()));
      if (finding.frozen.by_fold[fold].back().centre.size() != finding.region.centre.size())
        return absl::DataLossError("the stored report's motifs have regions of different dimensions");
    }
  }
  if (motif.has_q_value()) finding.q = motif.q_value();
  finding.key = motif.key();
  finding.stability = motif.stability();
  finding.missed = motif.missed();
  finding.mean_cosine = motif.mean_cosine();
  return finding;
}

void CarryOn(const std::optional<v1::MotifReport>& previous, bool counted, v1::MotifReport& report) {
  const v1::MotifReport nothing;
  const v1::MotifReport& before = previous ? *previous : nothing;
  if (counted) {
    CarryCounts(before, report);
  } else {
    CarryKeys(before, report);
  }
  for (const v1::FormerMotif& former : before.former()) {
    if (report.former_size() < kMostFormer) *report.add_former() = former;
  }
}

std::string KeyInWords(const std::string& key) { return absl::BytesToHexString(key); }

}  // namespace promptsweep::motifs
