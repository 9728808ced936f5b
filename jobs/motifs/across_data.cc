#include "jobs/motifs/across_data.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/status.h"
#include "jobs/motifs/statistics/across.h"
#include "jobs/motifs/statistics/reach.h"
#include "jobs/motifs/statistics/stats.h"

namespace promptsweep::motifs {
namespace {

// Up to so many runs models are compared within pairs of prompt and seed.
constexpr uint64_t kMostPairedRuns = 2'000'000;
constexpr size_t kTopPrompts = 5;

// Runs by stratum, model and prompt.
class Counter {
 public:
  explicit Counter(bool paired) : paired_(paired) {}

  void Add(const Runs& runs, size_t i) {
    ++of_[{runs.model[i], runs.prompt[i]}];
    ++strata_[StratumOf(runs, i)][runs.model[i]];
  }
  struct Inside {
    std::map<std::pair<uint32_t, uint32_t>, uint64_t> by_prompt;
    std::unordered_map<uint64_t, std::map<uint32_t, uint64_t>> strata;
  };
  void Add(const Runs& runs, size_t i, Inside& inside) const {
    ++inside.by_prompt[{runs.model[i], runs.prompt[i]}];
    ++inside.strata[StratumOf(runs, i)][runs.model[i]];
  }

  std::vector<Share> ByPrompt(const Inside& inside, uint32_t model, size_t prompts) const {
    std::vector<Share> shares(prompts);
    for (auto at = of_.lower_bound({model, 0}); at != of_.end() && at->first.first == model; ++at) {
      const auto in = inside.by_prompt.find(at->first);
      shares[at->first.second] = {in == inside.by_prompt.end() ? 0 : in->second, at->second};
    }
    return shares;
  }

  Homogeneity Test(const Inside& inside, size_t models) const {
    std::vector<uint64_t> keys;
    for (const auto& [key, by_model] : inside.strata) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    std::vector<std::vector<Share>> strata;
    for (const uint64_t key : keys) {
      std::vector<Share>& stratum = strata.emplace_back(models);
      for (const auto& [model, runs] : strata_.at(key)) stratum[model].of = runs;
      for (const auto& [model, runs] : inside.strata.at(key)) stratum[model].in = runs;
    }
    return TestHomogeneity(strata);
  }

 private:
  uint64_t StratumOf(const Runs& runs, size_t i) const { return paired_ ? runs.pair[i] : runs.prompt[i]; }

  const bool paired_;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> of_;
  std::unordered_map<uint64_t, std::map<uint32_t, uint64_t>> strata_;
};

const char* SpreadName(Spread spread) {
  switch (spread) {
    case Spread::kShared:
      return "shared";
    case Spread::kUnique:
      return "unique";
    case Spread::kNone:
      return "none";
    case Spread::kUndecided:
      return "undecided";
  }
  return "";
}

void SetReach(const std::vector<Share>& by_prompt, const std::vector<v1::Prompt>& prompts, v1::MotifInModel& out) {
  std::vector<Share> asked = by_prompt;
  for (size_t p = 0; p < prompts.size(); ++p) {
    if (prompts[p].text().empty()) asked[p] = {};
  }
  const Reach reach = ReachOf(asked);
  if (reach.prompts < 2) return;
  v1::MotifReach& message = *out.mutable_reach();
  message.set_prompts(reach.prompts);
  message.set_reached(reach.reached);
  message.set_share_low(reach.share_ci.low);
  message.set_share_high(reach.share_ci.high);
  message.set_entropy(reach.entropy);
  message.set_entropy_low(reach.entropy_ci.low);
  message.set_entropy_high(reach.entropy_ci.high);
  message.set_expected(reach.expected);
  message.set_excess(reach.excess);
  message.set_excess_low(reach.excess_ci.low);
  message.set_excess_high(reach.excess_ci.high);
  for (const size_t p : TopPrompts(asked, kTopPrompts)) {
    v1::MotifPrompt& top = *message.add_top();
    top.set_prompt(prompts[p].text());
    top.set_members(asked[p].in);
    top.set_runs(asked[p].of);
  }
}

}  // namespace

absl::Status CountEverywhere(v1::StoreService::StubInterface& store, const RunSelection& selection, std::vector<Frozen> motifs,
                             double least, int threads, v1::MotifReport& report) {
  if (motifs.empty()) return absl::OkStatus();
  // Without filters every run is on one of the sides.
  PS_ASSIGN_OR_RETURN(SweepReader reader, SweepReader::Open(store, {.sweep = selection.sweep, .embedder = selection.embedder}));
  Counter counter(reader.info().counts().done() <= kMostPairedRuns);
  std::vector<Counter::Inside> inside(motifs.size());
  std::optional<Judge> judge;
  PS_RETURN_IF_ERROR(reader.ForEachBlock([&](const Matrix& rows, const Runs& runs) {
    if (!judge) judge.emplace(std::move(motifs), rows.dim);
    for (size_t i = 0; i < runs.size(); ++i) counter.Add(runs, i);
    for (const auto& [row, motif] : judge->Inside(rows, runs.fold, threads)) counter.Add(runs, row, inside[motif]);
    return absl::OkStatus();
  }));

  const std::vector<std::string>& models = reader.models();
  std::vector<uint32_t> order(models.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&models](uint32_t a, uint32_t b) { return models[a] < models[b]; });
  for (const uint32_t m : order) report.add_models(models[m]);
  std::vector<int> tested;
  std::vector<double> p_values;
  for (int r = 0; r < report.motifs_size(); ++r) {
    v1::Motif& motif = *report.mutable_motifs(r);
    std::vector<Prevalence> by_model;
    for (const uint32_t m : order) {
      const std::vector<Share> by_prompt = counter.ByPrompt(inside[r], m, reader.prompts().size());
      const Prevalence& prevalence = by_model.emplace_back(PrevalenceOf(by_prompt));
      v1::MotifInModel& out = *motif.add_models();
      out.set_model(models[m]);
      out.set_members(prevalence.runs.in);
      out.set_runs(prevalence.runs.of);
      out.set_prevalence(prevalence.share);
      out.set_ci_low(prevalence.ci.low);
      out.set_ci_high(prevalence.ci.high);
      SetReach(by_prompt, reader.prompts(), out);
    }
    if (models.size() < 2) continue;
    motif.set_spread(SpreadName(SpreadOf(by_model, least)));
    if (const Homogeneity test = counter.Test(inside[r], models.size()); test.degrees > 0) {
      motif.set_models_p(test.p);
      p_values.push_back(test.p);
      tested.push_back(r);
    }
  }
  const std::vector<double> q_values = BenjaminiHochberg(p_values);
  for (size_t t = 0; t < tested.size(); ++t) report.mutable_motifs(tested[t])->set_models_q(q_values[t]);
  return absl::OkStatus();
}

}  // namespace promptsweep::motifs
