#include "jobs/motifs/stored_region.h"

#include <algorithm>
#include <limits>

#include "base/half.h"

namespace promptsweep::motifs {

Region RegionOf(const std::string& centre, double threshold) {
  Region region;
  region.centre = UnpackHalves(centre);
  region.threshold = static_cast<float>(threshold);
  return region;
}

double CosineOf(const Region& a, const Region& b) {
  if (a.centre.size() != b.centre.size()) return -std::numeric_limits<double>::infinity();
  double cosine = 0;
  for (size_t j = 0; j < a.centre.size(); ++j) cosine += static_cast<double>(a.centre[j]) * b.centre[j];
  return cosine;
}

bool OneInTheOther(const std::vector<Region>& a, const std::vector<Region>& b) {
  for (const Region& left : a) {
    for (const Region& right : b) {
      if (CosineOf(left, right) >= std::min(left.threshold, right.threshold)) return true;
    }
  }
  return false;
}

}  // namespace promptsweep::motifs
