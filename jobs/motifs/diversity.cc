#include "jobs/motifs/diversity.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>

#include "base/status.h"
#include "jobs/motifs/gemm.h"
#include "jobs/motifs/kmeans.h"
#include "jobs/motifs/knn.h"

namespace promptsweep::motifs {
namespace {

// Adds the outer products of rows to `sum` (dim x dim), 256 rows at a time.
void AddOuter(const Matrix& x, const RowSet& rows, std::vector<double>& sum) {
  constexpr int64_t kTile = 256;
  const int64_t d = x.dim;
  AlignedFloats tile(static_cast<size_t>(d * kTile)), product(static_cast<size_t>(d * d));
  for (size_t first = 0; first < rows.size(); first += kTile) {
    const int64_t width = std::min<int64_t>(kTile, static_cast<int64_t>(rows.size() - first));
    std::fill(tile.begin(), tile.end(), 0.0f);
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t j = 0; j < d; ++j) tile[j * kTile + i] = x.row(rows[first + i])[j];
    }
    GemmNT(tile.data(), d, tile.data(), d, kTile, product.data());
    for (int64_t e = 0; e < d * d; ++e) sum[e] += product[e];
  }
}

struct Scores {
  double vendi = 0;
  double rke = 0;
};

absl::StatusOr<Scores> ScoresOf(std::vector<double> matrix, int64_t dim) {
  double trace = 0;
  for (int64_t j = 0; j < dim; ++j) trace += matrix[j * dim + j];
  for (double& e : matrix) e /= trace;
  double squares = 0, entropy = 0;
  for (const double e : matrix) squares += e * e;
  PS_ASSIGN_OR_RETURN(const std::vector<double> values, SymmetricEigenvalues(matrix, dim));
  for (const double l : values) entropy -= l > 0 ? l * std::log(l) : 0;
  return Scores{std::exp(entropy), 1 / squares};
}

Interval Jackknife(double whole, const std::vector<double>& without) {
  const double groups = static_cast<double>(without.size());
  double mean = 0, squares = 0;
  for (const double w : without) mean += std::log(w) / groups;
  for (const double w : without) squares += (std::log(w) - mean) * (std::log(w) - mean);
  const double reach = boost::math::quantile(boost::math::students_t(groups - 1), 0.975) * std::sqrt((groups - 1) / groups * squares);
  return {whole * std::exp(-reach), whole * std::exp(reach)};
}

}  // namespace

absl::StatusOr<DiversityScore> ScoreDiversity(const Matrix& x, const Runs& runs, bool target, int threads) {
  RowSet side;
  std::map<uint32_t, size_t> prompts;  // to their rank
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if ((runs.is_target[i] != 0) != target) continue;
    side.push_back(i);
    prompts.emplace(runs.prompt[i], prompts.size());
  }
  DiversityScore score;
  score.runs = side.size();
  if (side.empty()) return score;
  const bool by_prompt = prompts.size() >= static_cast<size_t>(kJackknifeGroups);
  std::vector<RowSet> groups(kJackknifeGroups);
  for (size_t i = 0; i < side.size(); ++i) groups[(by_prompt ? prompts[runs.prompt[side[i]]] : i) % groups.size()].push_back(side[i]);

  const size_t cells = static_cast<size_t>(x.dim * x.dim);
  std::vector<std::vector<double>> sums(groups.size(), std::vector<double>(cells, 0));
  ParallelFor(threads, kJackknifeGroups, [&](int64_t g) { AddOuter(x, groups[g], sums[g]); });
  std::vector<double> total(cells, 0);
  for (const std::vector<double>& sum : sums) {
    for (size_t e = 0; e < cells; ++e) total[e] += sum[e];
  }
  PS_ASSIGN_OR_RETURN(const Scores whole, ScoresOf(total, x.dim));
  score.vendi = whole.vendi;
  score.rke = whole.rke;
  score.vendi_ci = {whole.vendi, whole.vendi};
  score.rke_ci = {whole.rke, whole.rke};
  if (side.size() < 2 * groups.size()) return score;

  std::vector<double> vendi(groups.size()), rke(groups.size());
  std::vector<absl::Status> problems(groups.size());
  ParallelFor(threads, kJackknifeGroups, [&](int64_t g) {
    std::vector<double> rest(cells);
    for (size_t e = 0; e < cells; ++e) rest[e] = total[e] - sums[g][e];
    const absl::StatusOr<Scores> scores = ScoresOf(std::move(rest), x.dim);
    problems[g] = scores.status();
    if (scores.ok()) vendi[g] = scores->vendi, rke[g] = scores->rke;
  });
  for (const absl::Status& problem : problems) PS_RETURN_IF_ERROR(problem);
  score.vendi_ci = Jackknife(whole.vendi, vendi);
  score.rke_ci = Jackknife(whole.rke, rke);
  return score;
}

double BaselineCoverage(const Matrix& x, const Runs& runs, int64_t most, uint64_t seed, int threads) {
  constexpr int64_t kNearest = 5;
  RowSet sides[2];
  for (uint32_t i = 0; i < runs.size(); ++i) sides[runs.is_target[i] != 0].push_back(i);
  const int64_t take = std::min({most, static_cast<int64_t>(sides[0].size()), static_cast<int64_t>(sides[1].size())});
  if (take <= kNearest) return 0;
  Matrix drawn[2] = {Matrix(take, x.dim), Matrix(take, x.dim)};
  for (int side = 0; side < 2; ++side) {
    RowSet rows;
    for (const uint32_t i : DrawRows(static_cast<int64_t>(sides[side].size()), take, seed + side)) rows.push_back(sides[side][i]);
    std::sort(rows.begin(), rows.end());
    for (int64_t i = 0; i < take; ++i) std::copy_n(x.row(rows[i]), x.dim, drawn[side].row(i));
  }
  const KnnGraph own = ExactKnn(drawn[0], kNearest, threads);
  constexpr int64_t kBatch = 64;
  const int64_t batches = (take + kBatch - 1) / kBatch;
  std::vector<int64_t> covered(static_cast<size_t>(batches), 0);
  ParallelFor(threads, batches, [&](int64_t batch) {
    const int64_t begin = batch * kBatch, size = std::min(kBatch, take - begin);
    AlignedFloats cosines(static_cast<size_t>(size * take));
    GemmNT(drawn[0].row(begin), size, drawn[1].data.data(), take, x.dim, cosines.data());
    for (int64_t i = 0; i < size; ++i) {
      const float nearest = *std::max_element(cosines.data() + i * take, cosines.data() + (i + 1) * take);
      covered[batch] += DistanceFromSquare(std::max(0.0, 2 - 2.0 * nearest)) <= own.distances[(begin + i) * own.k + own.k - 1];
    }
  });
  int64_t sum = 0;
  for (const int64_t c : covered) sum += c;
  return static_cast<double>(sum) / static_cast<double>(take);
}

}  // namespace promptsweep::motifs
