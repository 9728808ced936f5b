#include "jobs/motifs/statistics/difference.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>

namespace promptsweep::motifs {

Difference UnpairedDifference(const Share& first, const Share& second, double first_deff, double second_deff) {
  Difference difference;
  if (first.of == 0 || second.of == 0) return difference;
  const double n1 = static_cast<double>(first.of), n2 = static_cast<double>(second.of);
  const double p1 = static_cast<double>(first.in) / n1, p2 = static_cast<double>(second.in) / n2;
  const Interval one = Wilson(p1 * n1 / first_deff, n1 / first_deff), two = Wilson(p2 * n2 / second_deff, n2 / second_deff);
  difference.value = p1 - p2;
  difference.ci = {difference.value - std::hypot(p1 - one.low, two.high - p2),
                   difference.value + std::hypot(one.high - p1, p2 - two.low)};
  return difference;
}

Difference PairedDifference(const Pairs& pairs) {
  Difference difference;
  const double n = static_cast<double>(pairs.both + pairs.first_only + pairs.second_only + pairs.neither);
  if (n == 0) return difference;
  const double b = static_cast<double>(pairs.first_only), c = static_cast<double>(pairs.second_only);
  difference.value = (b - c) / n;
  const double centre = (b - c) / (n + 2);
  const double half = kZ95 * std::sqrt(b + c + 1 - (b - c) * (b - c) / (n + 2)) / (n + 2);
  // Near the ends the shrunken centre may leave the estimate outside.
  difference.ci = {std::max(-1.0, std::min(centre - half, difference.value)),
                   std::min(1.0, std::max(centre + half, difference.value))};
  return difference;
}

double McNemarGreater(const Pairs& pairs) {
  if (pairs.first_only == 0) return 1;
  return boost::math::ibeta(static_cast<double>(pairs.first_only), static_cast<double>(pairs.second_only) + 1, 0.5);
}

double McNemar(const Pairs& pairs) {
  const Pairs turned{pairs.both, pairs.second_only, pairs.first_only, pairs.neither};
  return std::min(1.0, 2 * std::min(McNemarGreater(pairs), McNemarGreater(turned)));
}

}  // namespace promptsweep::motifs
