// Made-up runs with a known truth: backgrounds of several kinds, with or without planted motifs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// How runs that show no motif are spread.
enum class Background { kUnimodal, kTopics30, kTopicsZipf, kHeavyTailed };

struct SyntheticOptions {
  int64_t target = 1000, baseline = 1000, dim = 64;
  Background background = Background::kUnimodal;
  uint64_t seed = 1;
  // Prompts on each side; runs are dealt evenly. With `shared_prompts` both sides have the same ones.
  int target_prompts = 1, baseline_prompts = 1;
  bool shared_prompts = false;
  // Share of variance a run has in common with the runs of its prompt.
  double prompt_share = 0;
  // The target's runs share nothing with their prompt: blank prompts.
  bool blank_target = false;
  // Share of rows on each side that are exact copies of another row of that side.
  double copies = 0;
  // Motifs of the target only: share of target runs, and mean cosine between two members.
  std::vector<double> planted;
  double within_cosine = 0.8;
  // Members differ in how typical they are: each one's within_cosine is up to this share smaller (square of a uniform draw).
  double atypical = 0;
  // Mean cosine of two runs that show no motif, and how fast the spectrum falls: few large dimensions, or many alike.
  double common = 0.5, decay = 0.2;
  // Share of baseline runs that show each planted motif.
  double planted_in_baseline = 0;
  // A motif's members fall into this many looks, which take this share of its variance.
  int looks = 0;
  double look_share = 0;
};

struct Synthetic {
  Matrix x;
  Runs runs;
  std::vector<int> motif;  // index into planted, or -1
};

// Background pairs have a mean cosine of `common`, image embeddings' about .5, and a power-law spectrum.
inline Synthetic MakeSynthetic(const SyntheticOptions& o) {
  std::mt19937_64 random(o.seed * 7919 + 17);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  const auto noise = [&] {  // unit length on average, power-law spectrum
    std::vector<double> v(o.dim);
    double total = 0;
    for (int64_t j = 0; j < o.dim; ++j) total += 1.0 / (1 + o.decay * j);
    for (int64_t j = 0; j < o.dim; ++j) v[j] = normal(random) * std::sqrt(1.0 / (1 + o.decay * j) / total);
    return v;
  };
  const auto unit = [](std::vector<double> v) {
    double square = 0;
    for (const double e : v) square += e * e;
    for (double& e : v) e /= std::sqrt(square);
    return v;
  };
  // Anything that varies is orthogonal to the common direction on average: what all images share.
  const std::vector<double> common = unit([&] {
    std::vector<double> v(o.dim);
    for (double& e : v) e = normal(random);
    return v;
  }());
  const auto mix = [&](const std::vector<double>& a, double wa, const std::vector<double>& b, double wb) {
    std::vector<double> v(o.dim);
    for (int64_t j = 0; j < o.dim; ++j) v[j] = std::sqrt(wa) * a[j] + std::sqrt(wb) * b[j];
    return v;
  };
  const int topics = o.background == Background::kTopics30 ? 30 : o.background == Background::kTopicsZipf ? 300 : 0;
  std::vector<std::vector<double>> topic;
  std::vector<double> cumulative;
  double total = 0;
  for (int t = 0; t < topics; ++t) {
    topic.push_back(unit(noise()));
    total += o.background == Background::kTopicsZipf ? 1.0 / (t + 1) : 1.0;
    cumulative.push_back(total);
  }
  std::vector<std::vector<double>> centres;
  std::vector<std::vector<double>> looks;
  for (size_t m = 0; m < o.planted.size(); ++m) {
    centres.push_back(unit(mix(common, o.common, unit(noise()), 1 - o.common)));
    for (int l = 0; l < o.looks; ++l) looks.push_back(unit(noise()));
  }

  Synthetic s;
  const int64_t n = o.target + o.baseline;
  s.x = Matrix(n, o.dim);
  s.motif.assign(n, -1);
  const int prompts = o.shared_prompts ? o.target_prompts : o.target_prompts + o.baseline_prompts;
  std::vector<std::vector<double>> prompt_direction;
  for (int g = 0; g < prompts; ++g) prompt_direction.push_back(unit(noise()));
  for (int64_t i = 0; i < n; ++i) {
    const bool target = i < o.target;
    const int prompt = target             ? static_cast<int>(i % o.target_prompts)
                       : o.shared_prompts ? static_cast<int>((i - o.target) % o.target_prompts)
                                          : o.target_prompts + static_cast<int>((i - o.target) % o.baseline_prompts);
    s.runs.ordinal.push_back(i);
    s.runs.is_target.push_back(target);
    s.runs.prompt.push_back(prompt);
    s.runs.fold.push_back(random() % kFolds);
    std::vector<double> v;
    double at = uniform(random);
    for (size_t m = 0; m < o.planted.size() && s.motif[i] < 0; ++m) {
      const double share = target ? o.planted[m] : o.planted_in_baseline;
      if (at < share) s.motif[i] = static_cast<int>(m);
      at -= share;
    }
    if (s.motif[i] >= 0) {
      std::vector<double> own = noise();
      if (o.looks > 0) own = mix(looks[s.motif[i] * o.looks + random() % o.looks], o.look_share, own, 1 - o.look_share);
      double within = o.within_cosine;
      if (o.atypical > 0) within *= 1 - o.atypical * std::pow(uniform(random), 2);
      v = mix(centres[s.motif[i]], within, own, 1 - within);
    } else {
      std::vector<double> own = noise();
      if (topics > 0) {
        const double at = uniform(random) * total;
        int t = 0;
        while (cumulative[t] < at) ++t;
        own = mix(topic[t], 0.5, own, 0.5);
      } else if (o.background == Background::kHeavyTailed) {
        double chi = 0;
        for (int k = 0; k < 5; ++k) chi += std::pow(normal(random), 2);
        for (double& e : own) e /= std::sqrt(chi / 5);
      }
      if (o.prompt_share > 0 && !(target && o.blank_target))
        own = mix(prompt_direction[prompt], o.prompt_share, own, 1 - o.prompt_share);
      v = mix(common, o.common, own, 1 - o.common);
    }
    v = unit(v);
    for (int64_t j = 0; j < o.dim; ++j) s.x.row(i)[j] = static_cast<float>(v[j]);
    const int64_t first = target ? 0 : o.target;
    if (s.motif[i] < 0 && i > first && uniform(random) < o.copies) {
      const int64_t from = first + random() % (i - first);
      std::copy_n(s.x.row(from), o.dim, s.x.row(i));
      s.motif[i] = s.motif[from];
    }
  }
  return s;
}

}  // namespace promptsweep::motifs
