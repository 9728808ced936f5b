#include "jobs/motifs/compare_data.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/motifs/compare_motifs.h"
#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/statistics/pairing.h"
#include "jobs/motifs/sweep_data.h"
#include "jobs/sweep/filter.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"

namespace promptsweep::motifs {
namespace {

constexpr size_t kExemplars = 8;
constexpr absl::Duration kCallTimeout = absl::Seconds(60);

absl::StatusOr<v1::SweepInfo> FindSweep(v1::StoreService::StubInterface& store, const std::string& key) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  context.set_wait_for_ready(false);
  v1::GetSweepRequest request;
  request.set_name(key);
  v1::GetSweepResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetSweep(&context, request, &response)));
  return response.info();
}

absl::StatusOr<v1::MotifReport> StoredReport(v1::StoreService::StubInterface& store, const v1::SweepInfo& info) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  v1::GetMotifsRequest request;
  request.set_sweep(info.sweep());
  v1::GetMotifsResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetMotifs(&context, request, &response)));
  const std::string& name = info.manifest().spec().name();
  if (response.report().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("sweep ", sweep::Quoted(name), " was not mined for motifs yet: promptsweep motifs ", info.sweep()));
  }
  v1::MotifReport report;
  if (!report.ParseFromString(response.report())) {
    return absl::DataLossError(absl::StrCat("the stored motifs of sweep ", sweep::Quoted(name), " cannot be read"));
  }
  return report;
}

const v1::ModelRef* EmbedderOf(const v1::SweepInfo& info, const std::string& id) {
  for (const v1::ModelRef& embedder : info.manifest().embedders()) {
    if (embedder.id() == id) return &embedder;
  }
  return nullptr;
}

absl::Status CheckEmbedder(const v1::SweepInfo& from, const v1::SweepInfo& to, const std::string& id) {
  const v1::ModelRef *one = EmbedderOf(from, id), *two = EmbedderOf(to, id);
  for (const auto& [ref, info] : {std::pair(one, &from), std::pair(two, &to)}) {
    if (ref != nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat("sweep ", sweep::Quoted(info->manifest().spec().name()), " has no embedder ",
                                                   sweep::Quoted(id), "; both need vectors of one embedder"));
  }
  if (one->digest() == two->digest()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the two sweeps' embedders ", sweep::Quoted(id), " have different weights, so their vectors do not compare"));
}

// Which of a sweep's runs belong to one group.
struct Selector {
  sweep::CellFilter only, own;
  bool blank = false;
  std::set<std::string> apart;  // axes that the groups differ in by their filters
  bool seeds = false;           // a filter names seeds

  bool Takes(const v1::Cell& cell, bool has_seed) const {
    return (!blank || cell.prompt().has_blank()) && (has_seed || !seeds) && sweep::Matches(cell, only) &&
           sweep::Matches(cell, own);
  }
};

// A group's runs and which motif holds which.
struct Group {
  std::vector<Asked> questions;
  std::vector<uint32_t> prompt;
  std::vector<std::vector<uint32_t>> inside;  // runs, per motif, ascending
  struct Near {
    double cosine;
    uint64_t ordinal;
    bool operator<(const Near& other) const { return cosine != other.cosine ? cosine > other.cosine : ordinal < other.ordinal; }
  };
  std::vector<std::vector<Near>> nearest;  // per motif
};

Asked AskedOf(const v1::Cell& cell, bool has_seed, const std::set<std::string>& apart) {
  Asked question;
  question.model = Xxh3(cell.model());
  if (!has_seed) return question;
  std::string bytes = absl::StrCat(cell.seed(), "/");
  const std::string prompt = cell.prompt().SerializeAsString();
  absl::StrAppend(&bytes, prompt.size(), ":", prompt);
  question.loose = std::max<uint64_t>(1, Xxh3(bytes));
  for (const v1::Setting& setting : cell.settings()) {
    if (apart.count(setting.name()) > 0) continue;
    const std::string value = sweep::CanonicalValue(setting.value());
    absl::StrAppend(&bytes, "/", setting.name(), "=", value.size(), ":", value);
  }
  question.exact = std::max<uint64_t>(1, Xxh3(bytes));
  return question;
}

class Collector {
 public:
  Collector(const std::vector<Compared>& motifs, int threads) : motifs_(motifs), threads_(threads) {}

  // Reads a sweep once; a group is null where it is not of this sweep.
  absl::Status Read(SweepReader& reader, const Selector* first, Group* from, const Selector* second, Group* to) {
    return reader.ForEachBlock([&](const Matrix& rows, const Runs& runs) -> absl::Status {
      std::vector<uint32_t> place(runs.size());
      std::vector<Group*> group(runs.size(), nullptr);
      for (uint32_t i = 0; i < runs.size(); ++i) {
        PS_ASSIGN_OR_RETURN(const v1::Cell cell, reader.CellOf(runs.ordinal[i]));
        const bool has_seed = reader.HasSeed(runs.ordinal[i]);
        const bool in_from = from != nullptr && first->Takes(cell, has_seed),
                   in_to = to != nullptr && second->Takes(cell, has_seed);
        if (in_from && in_to) {
          return absl::InvalidArgumentError(absl::StrCat("cell ", runs.ordinal[i], " is on both sides; they must not overlap"));
        }
        if (!in_from && !in_to) continue;
        group[i] = in_from ? from : to;
        place[i] = static_cast<uint32_t>(group[i]->questions.size());
        group[i]->questions.push_back(AskedOf(cell, has_seed, (in_from ? first : second)->apart));
        group[i]->prompt.push_back(prompts_.emplace(cell.prompt().SerializeAsString(), prompts_.size()).first->second);
      }
      if (!judge_) {
        std::vector<Frozen> frozen;
        for (const Compared& motif : motifs_) frozen.push_back(motif.frozen);
        judge_.emplace(std::move(frozen), rows.dim);
      }
      for (const auto& [row, motif] : judge_->Inside(rows, runs.fold, threads_)) {
        if (group[row] == nullptr) continue;
        group[row]->inside[motif].push_back(place[row]);
        double cosine = -1;
        for (const Region& region : motifs_[motif].frozen.by_fold[runs.fold[row]]) {
          cosine = std::max(cosine, CosineTo(rows, row, region.centre));
        }
        std::vector<Group::Near>& nearest = group[row]->nearest[motif];
        const Group::Near near{cosine, runs.ordinal[row]};
        nearest.insert(std::upper_bound(nearest.begin(), nearest.end(), near), near);
        if (nearest.size() > kExemplars) nearest.pop_back();
      }
      return absl::OkStatus();
    });
  }

  std::vector<Share> ByPrompt(const Group& group, size_t motif) const {
    std::vector<Share> shares(prompts_.size());
    for (const uint32_t prompt : group.prompt) ++shares[prompt].of;
    for (const uint32_t run : group.inside[motif]) ++shares[group.prompt[run]].in;
    return shares;
  }
  size_t prompts() const { return prompts_.size(); }

 private:
  const std::vector<Compared>& motifs_;
  const int threads_;
  std::optional<Judge> judge_;
  std::map<std::string, uint32_t> prompts_;  // shared by both groups
};

Pairs PairsOf(const Pairing& pairing, const Group& from, const Group& to, size_t motif) {
  std::vector<uint8_t> in_from(from.questions.size(), 0), in_to(to.questions.size(), 0);
  for (const uint32_t run : from.inside[motif]) in_from[run] = 1;
  for (const uint32_t run : to.inside[motif]) in_to[run] = 1;
  Pairs pairs;
  for (const auto& [a, b] : pairing.pairs) {
    ++(in_to[b] ? in_from[a] ? pairs.both : pairs.first_only : in_from[a] ? pairs.second_only : pairs.neither);
  }
  return pairs;
}

bool Names(const sweep::CellFilter& filter, const std::string& axis) { return filter.axes.count(axis) > 0; }

// The axes that only one filter names, or to which they give other values. Prompts and seeds always belong to the question.
std::set<std::string> AxesApart(const sweep::CellFilter& from, const sweep::CellFilter& to) {
  std::set<std::string> apart;
  const auto add = [&apart](const sweep::CellFilter& filter, const sweep::CellFilter& other) {
    for (const auto& [axis, values] : filter.axes) {
      const auto same = other.axes.find(axis);
      if (same == other.axes.end() || same->second.shown != values.shown) apart.insert(axis);
    }
  };
  add(from, to);
  add(to, from);
  apart.erase("prompt");
  apart.erase("seed");
  return apart;
}

absl::Status NoRuns(const DiffSide& side, const DiffRequest& request, bool blank) {
  const bool filtered = blank || !side.filter.empty() || !request.only.empty();
  return absl::InvalidArgumentError(
      absl::StrCat("sweep ", sweep::Quoted(side.name), " has no stored run with vectors", filtered ? " that matches" : "",
                   blank ? " (blank prompts; --all for others)" : "", side.filter.empty() ? "" : " ", side.filter));
}

}  // namespace

absl::StatusOr<SweepDiff> DiffSweeps(v1::StoreService::StubInterface& store, const DiffRequest& request) {
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo from_info, FindSweep(store, request.from_sweep));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo to_info, FindSweep(store, request.to_sweep));
  const bool one_sweep = from_info.sweep() == to_info.sweep();
  if (one_sweep && request.from.empty() && request.to.empty()) {
    return absl::InvalidArgumentError(
        "both sides are the same sweep: say with --from and --to which of its runs to compare, as in --from model=a --to "
        "model=b");
  }
  if (!request.embedder.empty()) PS_RETURN_IF_ERROR(CheckEmbedder(from_info, to_info, request.embedder));
  PS_ASSIGN_OR_RETURN(const v1::MotifReport from_report, StoredReport(store, from_info));
  v1::MotifReport to_report;
  if (!one_sweep) {
    PS_ASSIGN_OR_RETURN(to_report, StoredReport(store, to_info));
  }
  SweepDiff diff;
  diff.embedder = request.embedder.empty() ? from_report.embedder() : request.embedder;
  PS_RETURN_IF_ERROR(CheckEmbedder(from_info, to_info, diff.embedder));
  for (const v1::MotifReport* report : {&from_report, one_sweep ? &from_report : &to_report}) {
    if (report->embedder() == diff.embedder) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the motifs of sweep ", sweep::Quoted(report->sweep_name()), " are of embedder ", sweep::Quoted(report->embedder()),
        ", not ", sweep::Quoted(diff.embedder), ": promptsweep motifs ", report->sweep(), " --embedder ", diff.embedder));
  }

  // Without filters every run is read; the selectors take their own.
  const auto open = [&](const v1::SweepInfo& info) {
    return SweepReader::Open(store, {.sweep = absl::StrCat(info.sweep()), .embedder = diff.embedder});
  };
  PS_ASSIGN_OR_RETURN(SweepReader from_reader, open(from_info));
  std::optional<SweepReader> to_opened;
  if (!one_sweep) {
    PS_ASSIGN_OR_RETURN(to_opened, open(to_info));
  }
  SweepReader& to_reader = one_sweep ? from_reader : *to_opened;
  Selector first, second;
  const auto parse = [](const std::string& text, const SweepReader& reader, sweep::CellFilter& filter) -> absl::Status {
    auto parsed = sweep::ParseFilters(text, reader.axes());
    if (!parsed.ok())
      return Annotate(parsed.status(), absl::StrCat("sweep ", sweep::Quoted(reader.info().manifest().spec().name())));
    filter = *std::move(parsed);
    return absl::OkStatus();
  };
  PS_RETURN_IF_ERROR(parse(request.only, from_reader, first.only));
  PS_RETURN_IF_ERROR(parse(request.only, to_reader, second.only));
  PS_RETURN_IF_ERROR(parse(request.from, from_reader, first.own));
  PS_RETURN_IF_ERROR(parse(request.to, to_reader, second.own));
  const bool names_prompts = Names(first.only, "prompt") || Names(first.own, "prompt") || Names(second.own, "prompt");
  diff.blank_only = !request.all_prompts && !names_prompts && from_reader.asks_blank() && to_reader.asks_blank();
  for (Selector* selector : {&first, &second}) {
    selector->blank = diff.blank_only;
    selector->seeds = Names(selector->only, "seed") || Names(selector->own, "seed");
    selector->apart = AxesApart(first.own, second.own);
  }

  PS_ASSIGN_OR_RETURN(const std::vector<Compared> motifs,
                      MotifsToCompare(store, from_report, one_sweep ? nullptr : &to_report, request.threads, diff.left_out));
  Group from, to;
  from.inside.resize(motifs.size());
  from.nearest.resize(motifs.size());
  to = from;
  Collector collector(motifs, request.threads);
  PS_RETURN_IF_ERROR(collector.Read(from_reader, &first, &from, one_sweep ? &second : nullptr, one_sweep ? &to : nullptr));
  if (!one_sweep) PS_RETURN_IF_ERROR(collector.Read(to_reader, nullptr, nullptr, &second, &to));

  const Pairing pairing = PairAsked(from.questions, to.questions,
                                    !from_info.manifest().imported_from().empty() || !to_info.manifest().imported_from().empty());
  const auto side = [&](const v1::SweepInfo& info, const std::string& filter, const Group& group, uint64_t alone) {
    return DiffSide{info.sweep(), info.manifest().spec().name(), filter, group.questions.size(), alone};
  };
  diff.from = side(from_info, request.from, from, pairing.first_alone);
  diff.to = side(to_info, request.to, to, pairing.second_alone);
  if (diff.from.runs == 0) return NoRuns(diff.from, request, diff.blank_only);
  if (diff.to.runs == 0) return NoRuns(diff.to, request, diff.blank_only);
  diff.paired = WorthPairing(pairing);
  diff.pairs = pairing.pairs.size();

  std::vector<ComparedShares> comparisons;
  for (size_t m = 0; m < motifs.size(); ++m) {
    std::optional<Pairs> pairs;
    if (diff.paired) pairs = PairsOf(pairing, from, to, m);
    comparisons.push_back(Compare(collector.ByPrompt(from, m), collector.ByPrompt(to, m), pairs));
  }
  DecideChanges(comparisons, MineOptions().least_prevalence);
  for (size_t m = 0; m < motifs.size(); ++m) {
    MotifDiff& one = diff.motifs.emplace_back();
    if (motifs[m].from != nullptr) one.id_from = motifs[m].from->id();
    if (motifs[m].to != nullptr) one.id_to = motifs[m].to->id();
    if (motifs[m].from != nullptr) one.label = motifs[m].from->label();
    if (one.label.empty() && motifs[m].to != nullptr) one.label = motifs[m].to->label();
    one.comparison = comparisons[m];
    for (const auto& near : from.nearest[m]) one.exemplars_from.push_back(near.ordinal);
    for (const auto& near : to.nearest[m]) one.exemplars_to.push_back(near.ordinal);
  }
  std::stable_sort(diff.motifs.begin(), diff.motifs.end(), [](const MotifDiff& l, const MotifDiff& r) {
    return std::fabs(l.comparison.difference.value) > std::fabs(r.comparison.difference.value);
  });

  if (diff.blank_only)
    diff.notes.push_back("blank runs only, as both sides ask blank prompts: --only prompt=... or --all for others");
  const uint64_t smaller = std::min(diff.from.runs, diff.to.runs);
  if (diff.paired) {
    diff.notes.push_back(absl::StrCat("paired: ", diff.pairs, " pairs of one prompt, seed and settings; exact McNemar tests"));
  } else {
    diff.notes.push_back(diff.pairs == 0 ? "unpaired: no run of one side was asked what one of the other was"
                                         : absl::StrCat("unpaired: only ", diff.pairs, " of ", smaller,
                                                        " runs have a partner with the same prompt, seed and settings"));
  }
  if (diff.paired && diff.from.alone + diff.to.alone > 0) {
    diff.notes.push_back(absl::StrCat("differences are of the pairs; ", diff.from.alone, " runs of the first side and ",
                                      diff.to.alone, " of the second have no partner and count in the shares alone"));
  }
  if (!diff.paired && collector.prompts() > 1) {
    diff.notes.push_back("intervals are widened by what prompts add to the variance of the difference");
  }
  diff.notes.push_back(
      "every run is counted by regions fitted without the fifth of the runs it belongs to; that a motif was reported at all "
      "still "
      "favours the side it was found in, a little");
  if (diff.left_out > 0) diff.notes.push_back(absl::StrCat(diff.left_out, " motifs that are only candidates were left out"));
  return diff;
}

}  // namespace promptsweep::motifs
