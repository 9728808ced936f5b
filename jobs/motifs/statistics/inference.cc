#include "jobs/motifs/statistics/inference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "base/check.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

// Least prompts a side needs so that permuting them can say something: 16 choose 8 is 12870.
constexpr int kFewestPrompts = 8;
constexpr int64_t kPermutations = 1999;
// Where prompts are what was drawn: ways to choose the target's among all.
constexpr double kFewestChoices = 1000;
// Share of the target's runs that must have something to be compared with.
constexpr double kMostlyShared = 0.9;

// n choose k.
double Choices(int n, int k) { return std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0)); }

}  // namespace

Design::Design(const Runs& runs) : runs_(&runs), comparison_(runs.comparison) {
  const auto count = [&](const std::vector<uint32_t>& ids, std::vector<double>& target, std::vector<double>& baseline) {
    target.assign(ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end()) + 1, 0);
    baseline.assign(target.size(), 0);
    for (size_t i = 0; i < ids.size(); ++i) ++(runs.is_target[i] ? target : baseline)[ids[i]];
  };
  count(runs.prompt, target_by_prompt_, baseline_by_prompt_);
  count(runs.stratum, target_by_stratum_, baseline_by_stratum_);
  Decide();
}

Design::Design(const Tallies& totals, Comparison comparison) : comparison_(comparison) {
  target_by_prompt_.assign(totals.empty() ? 0 : totals.back().prompt + 1, 0);
  baseline_by_prompt_.assign(target_by_prompt_.size(), 0);
  for (const Tally& total : totals) {
    target_by_prompt_[total.prompt] = static_cast<double>(total.target_in);
    baseline_by_prompt_[total.prompt] = static_cast<double>(total.baseline_in);
  }
  Decide();
}

void Design::Decide() {
  int own_target = 0, own_baseline = 0;
  for (size_t g = 0; g < target_by_prompt_.size(); ++g) {
    target_runs_ += static_cast<uint64_t>(target_by_prompt_[g]);
    baseline_runs_ += static_cast<uint64_t>(baseline_by_prompt_[g]);
    own_target += target_by_prompt_[g] > 0;
    own_baseline += baseline_by_prompt_[g] > 0;
  }
  const auto shared = [&](const std::vector<double>& target, const std::vector<double>& baseline) {
    double runs = 0;
    for (size_t g = 0; g < target.size(); ++g) runs += baseline[g] > 0 ? target[g] : 0;
    return runs >= kMostlyShared * static_cast<double>(target_runs_);
  };
  const bool many = own_target >= kFewestPrompts && own_baseline >= kFewestPrompts;
  if (target_runs_ == 0 || baseline_runs_ == 0 || comparison_ == Comparison::kUntested) {
    exchangeable_ = Exchangeable::kNothing;
  } else if (!target_by_stratum_.empty() && shared(target_by_stratum_, baseline_by_stratum_)) {
    exchangeable_ = Exchangeable::kPairs;
  } else if (shared(target_by_prompt_, baseline_by_prompt_)) {
    exchangeable_ = Exchangeable::kRunsWithinPrompt;
  } else if (many || (comparison_ == Comparison::kPrompts && Choices(own_target + own_baseline, own_target) >= kFewestChoices)) {
    exchangeable_ = Exchangeable::kPrompts;
  } else {
    exchangeable_ = Exchangeable::kRuns;
  }
}

std::string Design::NullInWords() const {
  switch (exchangeable_) {
    case Exchangeable::kNothing:
      return baseline_runs_ == 0 ? "no baseline: prevalence is described, nothing is tested"
                                 : "that the sides differ is taken for granted: shares and lift are described, nothing is tested";
    case Exchangeable::kPairs:
      return "null hypothesis: runs of the same prompt, seed and settings are exchangeable between target and baseline (exact "
             "test "
             "within pairs, Benjamini-Hochberg)";
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

Tallies Design::TallyOf(const RowSet& members) const {
  PS_CHECK(runs_ != nullptr);
  Tallies tallies;
  if (!runs_->stratum.empty()) {
    RowSet rows = members;
    std::sort(rows.begin(), rows.end(), [&](uint32_t l, uint32_t r) { return runs_->stratum[l] < runs_->stratum[r]; });
    for (const uint32_t i : rows) {
      if (tallies.empty() || tallies.back().stratum != runs_->stratum[i])
        tallies.push_back({.prompt = runs_->prompt[i], .stratum = runs_->stratum[i]});
      ++(runs_->is_target[i] ? tallies.back().target_in : tallies.back().baseline_in);
    }
    return tallies;
  }
  tallies.resize(target_by_prompt_.size());
  for (size_t g = 0; g < tallies.size(); ++g) tallies[g].prompt = tallies[g].stratum = static_cast<uint32_t>(g);
  for (const uint32_t i : members) {
    Tally& tally = tallies[runs_->prompt[i]];
    ++(runs_->is_target[i] ? tally.target_in : tally.baseline_in);
  }
  tallies.erase(
      std::remove_if(tallies.begin(), tallies.end(), [](const Tally& tally) { return tally.target_in + tally.baseline_in == 0; }),
      tallies.end());
  return tallies;
}

Counts Design::Count(const Tallies& inside) const {
  Counts c{0, target_runs_, 0, baseline_runs_};
  for (const Tally& tally : inside) {
    c.target_in += tally.target_in;
    c.baseline_in += tally.baseline_in;
  }
  return c;
}

double Design::PValue(const Tallies& inside) const {
  switch (exchangeable_) {
    case Exchangeable::kNothing:
      return 1;
    case Exchangeable::kRuns:
      return FisherGreater(Count(inside));
    case Exchangeable::kPairs:
    case Exchangeable::kRunsWithinPrompt: {
      const bool pairs = exchangeable_ == Exchangeable::kPairs;
      const std::vector<double>& target = pairs ? target_by_stratum_ : target_by_prompt_;
      const std::vector<double>& baseline = pairs ? baseline_by_stratum_ : baseline_by_prompt_;
      // Strata were tallied where runs have them, even where in the end prompts are compared.
      std::map<uint32_t, Counts> strata;
      for (const Tally& tally : inside) {
        const uint32_t s = pairs ? tally.stratum : tally.prompt;
        Counts& counts = strata[s];
        counts.target = static_cast<uint64_t>(target[s]);
        counts.baseline = static_cast<uint64_t>(baseline[s]);
        counts.target_in += tally.target_in;
        counts.baseline_in += tally.baseline_in;
      }
      std::vector<Counts> list;
      for (const auto& [stratum, counts] : strata) list.push_back(counts);
      return StratifiedFisherGreater(list);
    }
    case Exchangeable::kPrompts: {
      const Counts c = Count(inside);
      const DesignEffects deff = DesignEffectsOf(inside);
      const double pt = static_cast<double>(c.target_in) / c.target, pb = static_cast<double>(c.baseline_in) / c.baseline;
      const double p = static_cast<double>(c.target_in + c.baseline_in) / (c.target + c.baseline);
      const double se = std::sqrt(p * (1 - p) * (deff.target / c.target + deff.baseline / c.baseline));
      return se > 0 ? 0.5 * std::erfc((pt - pb) / se / std::sqrt(2.0)) : 1;
    }
  }
  return 1;
}

std::vector<double> Design::Adjusted(const std::vector<RowSet>& members, uint64_t seed, int threads) const {
  std::vector<Tallies> inside(members.size());
  ParallelFor(threads, members.size(), [&](int64_t r) { inside[r] = TallyOf(members[r]); });
  return Adjusted(inside, seed, threads);
}

std::vector<double> Design::Adjusted(const std::vector<Tallies>& inside, uint64_t seed, int threads) const {
  const int64_t regions = inside.size();
  std::vector<double> p(regions, 1.0);
  if (exchangeable_ != Exchangeable::kPrompts) {
    ParallelFor(threads, regions, [&](int64_t r) { p[r] = PValue(inside[r]); });
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
  // The units of each prompt.
  std::vector<uint32_t> target_unit(target_by_prompt_.size()), baseline_unit(target_by_prompt_.size());
  for (size_t u = 0; u < units.size(); ++u) (units[u].target ? target_unit : baseline_unit)[units[u].prompt] = u;
  double squared_runs = 0;
  for (const Unit& unit : units) squared_runs += unit.runs * unit.runs;
  // Per region, each unit's excess over the pooled share, scaled by what no permutation changes.
  std::vector<std::vector<std::pair<uint32_t, float>>> excess(regions);
  std::vector<double> base(regions);  // excess per run of a unit with none inside
  ParallelFor(threads, regions, [&](int64_t r) {
    const Counts c = Count(inside[r]);
    const double share = static_cast<double>(c.target_in + c.baseline_in) / (target_runs_ + baseline_runs_);
    double squares = share * share * squared_runs;
    const auto add = [&](uint32_t unit, double in) {
      if (in == 0) return;
      squares += in * (in - 2 * share * units[unit].runs);
      excess[r].emplace_back(unit, static_cast<float>(in));
    };
    std::map<uint32_t, std::pair<double, double>> by_prompt;
    for (const Tally& tally : inside[r]) {
      by_prompt[tally.prompt].first += static_cast<double>(tally.target_in);
      by_prompt[tally.prompt].second += static_cast<double>(tally.baseline_in);
    }
    for (const auto& [prompt, in] : by_prompt) add(target_unit[prompt], in.first);
    for (const auto& [prompt, in] : by_prompt) add(baseline_unit[prompt], in.second);
    const double scale = squares > 1e-9 * squared_runs * share * share ? 1 / std::sqrt(squares) : 0;
    base[r] = -share * scale;
    for (auto& [unit, value] : excess[r]) value = static_cast<float>(value * scale);
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

Design::DesignEffects Design::DesignEffectsOf(const Tallies& inside) const {
  std::vector<double> target_in(target_by_prompt_.size(), 0), baseline_in(target_by_prompt_.size(), 0);
  for (const Tally& tally : inside) {
    target_in[tally.prompt] += static_cast<double>(tally.target_in);
    baseline_in[tally.prompt] += static_cast<double>(tally.baseline_in);
  }
  return {DesignEffect(target_in, target_by_prompt_), DesignEffect(baseline_in, baseline_by_prompt_)};
}

}  // namespace promptsweep::motifs
