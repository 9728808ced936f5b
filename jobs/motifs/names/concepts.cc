#include "jobs/motifs/names/concepts.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace promptsweep::motifs {
namespace {

constexpr size_t kEnter = 64;  // words that may join the active set at once
constexpr int kMostSweeps = 20'000;
constexpr double kSettled = 1e-11;  // change of a weight in one sweep below which all have settled
constexpr double kSlack = 1e-10;    // by which an idle word's gradient may exceed the threshold
constexpr double kStep = 1.1;
constexpr int kDraws = 40;
constexpr size_t kMostDrawn = 2000;

// Eight partial sums in fixed order: fast, and the same bits each time.
template <typename A, typename B>
double Dot(const A* a, const B* b, int64_t n) {
  double part[8] = {};
  int64_t j = 0;
  for (; j + 8 <= n; j += 8) {
    for (int k = 0; k < 8; ++k) part[k] += static_cast<double>(a[j + k]) * b[j + k];
  }
  for (; j < n; ++j) part[j % 8] += static_cast<double>(a[j]) * b[j];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

std::vector<double> Mean(const Matrix& x, const RowSet& rows) {
  std::vector<double> mean(x.dim, 0);
  for (const uint32_t i : rows) {
    for (int64_t j = 0; j < x.dim; ++j) mean[j] += x.row(i)[j];
  }
  for (double& m : mean) m /= rows.size();
  return mean;
}

std::vector<double> Mean(const Matrix& x) {
  std::vector<double> mean(x.dim, 0);
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t j = 0; j < x.dim; ++j) mean[j] += x.row(i)[j];
  }
  for (double& m : mean) m /= x.rows;
  return mean;
}

// The active words of a lasso: their weights, their products with each other and with y.
struct Active {
  std::vector<uint32_t> words;
  std::vector<double> weights, along;
  std::vector<std::vector<double>> gram;

  void Add(const Matrix& x, absl::Span<const double> y, uint32_t word, double weight) {
    std::vector<double>& products = gram.emplace_back();
    words.push_back(word);
    weights.push_back(weight);
    along.push_back(Dot(x.row(word), y.data(), x.dim));
    for (size_t i = 0; i < words.size(); ++i) {
      products.push_back(Dot(x.row(words[i]), x.row(word), x.dim));
      if (i + 1 < words.size()) gram[i].push_back(products.back());
    }
  }

  void Settle(double threshold) {
    std::vector<double> gradient = along;  // product of each word with the residual
    for (size_t i = 0; i < words.size(); ++i) {
      for (size_t k = 0; k < words.size(); ++k) gradient[k] -= weights[i] * gram[i][k];
    }
    for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
      double change = 0;
      for (size_t i = 0; i < words.size(); ++i) {
        const double square = gram[i][i];
        const double next = std::max(0.0, (gradient[i] + square * weights[i] - threshold) / square);
        const double by = next - weights[i];
        if (by == 0) continue;
        weights[i] = next;
        for (size_t k = 0; k < words.size(); ++k) gradient[k] -= by * gram[i][k];
        change = std::max(change, std::abs(by));
      }
      if (change < kSettled) break;
    }
  }
};

}  // namespace

std::vector<Concept> NonNegativeLasso(const Matrix& words, absl::Span<const double> y, double threshold,
                                      absl::Span<const Concept> start) {
  Active active;
  std::vector<bool> in(words.rows, false);
  for (const Concept& one : start) {
    active.Add(words, y, one.word, one.weight);
    in[one.word] = true;
  }
  while (true) {
    active.Settle(threshold);
    std::vector<double> residual(y.begin(), y.end());
    for (size_t i = 0; i < active.words.size(); ++i) {
      const float* row = words.row(active.words[i]);
      for (int64_t j = 0; j < words.dim && active.weights[i] > 0; ++j) residual[j] -= active.weights[i] * row[j];
    }
    std::vector<std::pair<double, uint32_t>> entering;
    for (int64_t l = 0; l < words.rows; ++l) {
      if (in[l]) continue;
      const double gradient = Dot(words.row(l), residual.data(), words.dim);
      if (gradient > threshold + kSlack) entering.emplace_back(-gradient, l);
    }
    if (entering.empty()) break;
    std::sort(entering.begin(), entering.end());
    if (entering.size() > kEnter) entering.resize(kEnter);
    for (const auto& [gradient, word] : entering) {
      active.Add(words, y, word, 0);
      in[word] = true;
    }
  }
  std::vector<Concept> found;
  for (size_t i = 0; i < active.words.size(); ++i) {
    if (active.weights[i] > 0) found.push_back({active.words[i], active.weights[i]});
  }
  std::sort(found.begin(), found.end(), [](const Concept& l, const Concept& r) { return l.word < r.word; });
  return found;
}

ConceptSpace::ConceptSpace(const Matrix& words) : words_(words.rows, words.dim) {
  const std::vector<double> mean = Mean(words);
  std::vector<double> centred(words.dim);
  for (int64_t l = 0; l < words.rows; ++l) {
    for (int64_t j = 0; j < words.dim; ++j) centred[j] = words.row(l)[j] - mean[j];
    const double norm = std::sqrt(Dot(centred.data(), centred.data(), words.dim));
    if (!(norm > 1e-6)) continue;
    for (int64_t j = 0; j < words.dim; ++j) words_.row(l)[j] = static_cast<float>(centred[j] / norm);
  }
}

Decomposition ConceptSpace::Decompose(absl::Span<const double> y, const DecomposeOptions& options) const {
  Decomposition result;
  const double norm = std::sqrt(Dot(y.data(), y.data(), words_.dim));
  if (!(norm > 1e-9)) return result;
  std::vector<double> unit(y.begin(), y.end());
  for (double& u : unit) u /= norm;
  result.penalty = options.penalty;
  const auto solve = [&](double penalty, absl::Span<const Concept> start) {
    return NonNegativeLasso(words_, unit, penalty / 2, start);
  };
  std::vector<Concept> found = solve(result.penalty, {});
  if (found.size() > options.most) {
    while (found.size() > options.most) found = solve(result.penalty *= kStep, found);
  } else {
    while (found.size() < options.fewest && result.penalty / kStep >= options.least_penalty) {
      std::vector<Concept> more = solve(result.penalty / kStep, found);
      if (more.size() > options.most) break;
      result.penalty /= kStep;
      found = std::move(more);
    }
  }
  if (found.empty()) return result;
  std::vector<double> sum(words_.dim, 0);
  for (const Concept& one : found) {
    for (int64_t j = 0; j < words_.dim; ++j) sum[j] += one.weight * words_.row(one.word)[j];
  }
  result.cosine = Dot(sum.data(), unit.data(), words_.dim) / std::sqrt(Dot(sum.data(), sum.data(), words_.dim));
  std::stable_sort(found.begin(), found.end(), [](const Concept& l, const Concept& r) { return l.weight > r.weight; });
  const double least = options.least_share * found[0].weight;
  std::copy_if(found.begin(), found.end(), std::back_inserter(result.concepts),
               [&](const Concept& one) { return one.weight >= least; });
  return result;
}

ConceptReader::ConceptReader(const ConceptSpace& space, const Matrix& x, const RowSet& background,
                             const DecomposeOptions& options)
    : space_(space), options_(options), mean_(Mean(x)) {
  std::mt19937_64 random(background.size());
  const size_t step = (background.size() + kMostDrawn - 1) / kMostDrawn;
  const std::vector<double> centre = Mean(x, background);
  std::vector<double> cosines;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<double> sum(x.dim, 0);
    for (size_t i = 0; i < background.size(); i += step) {
      const double sign = random() & 1 ? 1 : -1;
      for (int64_t j = 0; j < x.dim; ++j) sum[j] += sign * (x.row(background[i])[j] - centre[j]);
    }
    cosines.push_back(space_.Decompose(sum, options_).cosine);
  }
  std::sort(cosines.begin(), cosines.end());
  bar_ = cosines[kDraws - 2];
}

Decomposition ConceptReader::Kept(absl::Span<const double> y) const {
  Decomposition result = space_.Decompose(y, options_);
  if (!(result.cosine > bar_)) result.concepts.clear();
  return result;
}

MotifConcepts ConceptReader::Read(const Matrix& x, const RowSet& members, const RowSet& baseline) const {
  std::vector<double> shows = Mean(x, members), apart = shows;
  const std::vector<double> others = Mean(x, baseline);
  for (int64_t j = 0; j < x.dim; ++j) {
    shows[j] -= mean_[j];
    apart[j] -= others[j];
  }
  return {Kept(shows), Kept(apart)};
}

}  // namespace promptsweep::motifs
