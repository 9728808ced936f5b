#include "jobs/motifs/inference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "jobs/motifs/gemm.h"

namespace promptsweep::motifs {
namespace {

// Least prompts a side needs so that permuting them can say something: 16 choose 8 is 12870.
constexpr int kFewestPrompts = 8;
constexpr int64_t kPermutations = 1999;

}  // namespace

Design::Design(const Runs& runs) : runs_(runs) {
  const size_t prompts = runs.prompt.empty() ? 0 : *std::max_element(runs.prompt.begin(), runs.prompt.end()) + 1;
  target_by_prompt_.assign(prompts, 0);
  baseline_by_prompt_.assign(prompts, 0);
  for (size_t i = 0; i < runs.size(); ++i) {
    (runs.is_target[i] ? target_runs_ : baseline_runs_) += 1;
    (runs.is_target[i] ? target_by_prompt_ : baseline_by_prompt_)[runs.prompt[i]] += 1;
  }
  double shared = 0;
  int own_target = 0, own_baseline = 0;
  for (size_t g = 0; g < prompts; ++g) {
    if (target_by_prompt_[g] > 0 && baseline_by_prompt_[g] > 0) shared += target_by_prompt_[g];
    own_target += target_by_prompt_[g] > 0;
    own_baseline += baseline_by_prompt_[g] > 0;
  }
  if (target_runs_ == 0 || baseline_runs_ == 0) {
    exchangeable_ = Exchangeable::kNothing;
  } else if (shared >= 0.9 * target_runs_) {
    exchangeable_ = Exchangeable::kRunsWithinPrompt;
  } else if (own_target >= kFewestPrompts && own_baseline >= kFewestPrompts) {
    exchangeable_ = Exchangeable::kPrompts;
  } else {
    exchangeable_ = Exchangeable::kRuns;
  }
}

std::string Design::NullInWords() const {
  switch (exchangeable_) {
    case Exchangeable::kNothing:
      return "no baseline: prevalence is described, nothing is tested";
    case Exchangeable::kRunsWithinPrompt:
      return "null hypothesis: runs of the same prompt are exchangeable between target and baseline (exact test within prompts)";
    case Exchangeable::kPrompts:
      return "null hypothesis: whole prompts are exchangeable between target and baseline (permutation of prompts, largest "
             "statistic over all regions)";
    case Exchangeable::kRuns:
      return "null hypothesis: runs are exchangeable between target and baseline (Fisher's exact test, Benjamini-Hochberg)";
  }
  return "";
}

Counts Design::Count(const RowSet& members) const {
  Counts c{0, target_runs_, 0, baseline_runs_};
  for (const uint32_t i : members) ++(runs_.is_target[i] ? c.target_in : c.baseline_in);
  return c;
}

Design::PromptCounts Design::CountByPrompt(const RowSet& members) const {
  PromptCounts c{std::vector<double>(target_by_prompt_.size(), 0), std::vector<double>(target_by_prompt_.size(), 0)};
  for (const uint32_t i : members) ++(runs_.is_target[i] ? c.target_in : c.baseline_in)[runs_.prompt[i]];
  return c;
}

double Design::PValue(const RowSet& members) const {
  switch (exchangeable_) {
    case Exchangeable::kNothing:
      return 1;
    case Exchangeable::kRuns:
      return FisherGreater(Count(members));
    case Exchangeable::kRunsWithinPrompt: {
      const PromptCounts by_prompt = CountByPrompt(members);
      std::vector<Counts> strata;
      for (size_t g = 0; g < by_prompt.target_in.size(); ++g) {
        if (by_prompt.target_in[g] + by_prompt.baseline_in[g] == 0) continue;
        strata.push_back({static_cast<uint64_t>(by_prompt.target_in[g]), static_cast<uint64_t>(target_by_prompt_[g]),
                          static_cast<uint64_t>(by_prompt.baseline_in[g]), static_cast<uint64_t>(baseline_by_prompt_[g])});
      }
      return StratifiedFisherGreater(strata);
    }
    case Exchangeable::kPrompts: {
      const Counts c = Count(members);
      const DesignEffects deff = DesignEffectsOf(members);
      const double pt = static_cast<double>(c.target_in) / c.target, pb = static_cast<double>(c.baseline_in) / c.baseline;
      const double p = static_cast<double>(c.target_in + c.baseline_in) / (c.target + c.baseline);
      const double se = std::sqrt(p * (1 - p) * (deff.target / c.target + deff.baseline / c.baseline));
      return se > 0 ? 0.5 * std::erfc((pt - pb) / se / std::sqrt(2.0)) : 1;
    }
  }
  return 1;
}

std::vector<double> Design::Adjusted(const std::vector<RowSet>& members, uint64_t seed, int threads) const {
  const int64_t regions = members.size();
  std::vector<double> p(regions, 1.0);
  if (exchangeable_ != Exchangeable::kPrompts) {
    ParallelFor(threads, regions, [&](int64_t r) { p[r] = PValue(members[r]); });
    return BenjaminiHochberg(p);
  }
  // A unit is a prompt of one side; a prompt on both sides gives two.
  struct Unit {
    size_t prompt;
    bool target;
    double runs;
  };
  std::vector<Unit> units;
  for (size_t g = 0; g < target_by_prompt_.size(); ++g) {
    if (target_by_prompt_[g] > 0) units.push_back({g, true, target_by_prompt_[g]});
  }
  const size_t targets = units.size();
  for (size_t g = 0; g < baseline_by_prompt_.size(); ++g) {
    if (baseline_by_prompt_[g] > 0) units.push_back({g, false, baseline_by_prompt_[g]});
  }
  // Per region, each unit's excess over the pooled share, scaled by what no permutation changes.
  std::vector<std::vector<std::pair<uint32_t, float>>> excess(regions);
  std::vector<double> base(regions);  // excess per run of a unit with none inside
  ParallelFor(threads, regions, [&](int64_t r) {
    const PromptCounts by_prompt = CountByPrompt(members[r]);
    const double share = static_cast<double>(members[r].size()) / (target_runs_ + baseline_runs_);
    double squares = 0;
    for (size_t u = 0; u < units.size(); ++u) {
      const double in = (units[u].target ? by_prompt.target_in : by_prompt.baseline_in)[units[u].prompt];
      squares += (in - share * units[u].runs) * (in - share * units[u].runs);
    }
    const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
    base[r] = -share * scale;
    for (size_t u = 0; u < units.size(); ++u) {
      const double in = (units[u].target ? by_prompt.target_in : by_prompt.baseline_in)[units[u].prompt];
      if (in > 0) excess[r].emplace_back(u, static_cast<float>(in * scale));
    }
  });
  const auto statistic = [&](int64_t r, const std::vector<uint8_t>& chosen, double runs) {
    double t = base[r] * runs;
    for (const auto& [unit, value] : excess[r]) t += chosen[unit] * value;
    return t;
  };
  std::vector<uint8_t> observed_labels(units.size(), 0);
  std::fill_n(observed_labels.begin(), targets, 1);
  std::vector<double> observed(regions), largest(kPermutations);
  for (int64_t r = 0; r < regions; ++r) observed[r] = statistic(r, observed_labels, target_runs_);
  ParallelFor(threads, kPermutations, [&](int64_t b) {
    std::mt19937_64 random(seed * 1000003 + b);
    std::vector<uint32_t> order(units.size());
    std::iota(order.begin(), order.end(), 0u);
    std::vector<uint8_t> chosen(units.size(), 0);
    double runs = 0;
    for (size_t i = 0; i < targets; ++i) {
      std::swap(order[i], order[i + random() % (order.size() - i)]);
      chosen[order[i]] = 1;
      runs += units[order[i]].runs;
    }
    double most = -1e300;
    for (int64_t r = 0; r < regions; ++r) most = std::max(most, statistic(r, chosen, runs));
    largest[b] = most;
  });
  std::sort(largest.begin(), largest.end());
  for (int64_t r = 0; r < regions; ++r) {
    const auto above = largest.end() - std::lower_bound(largest.begin(), largest.end(), observed[r] - 1e-9);
    p[r] = (1.0 + above) / (1.0 + kPermutations);
  }
  return p;
}

Design::DesignEffects Design::DesignEffectsOf(const RowSet& members) const {
  const PromptCounts by_prompt = CountByPrompt(members);
  return {DesignEffect(by_prompt.target_in, target_by_prompt_), DesignEffect(by_prompt.baseline_in, baseline_by_prompt_)};
}

}  // namespace promptsweep::motifs
