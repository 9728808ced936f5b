#include "jobs/motifs/stored_region.h"

#include <algorithm>

#include "base/half.h"

namespace promptsweep::motifs {

Region RegionOf(const std::string& centre, double threshold) {
  Region region;
  region.centre = UnpackHalves(centre);
  region.threshold = static_cast<float>(threshold);
  return region;
}

bool OneInTheOther(const std::vector<Region>& a, const std::vector<Region>& b) {
  for (const Region& left : a) {
    for (const Region& right : b) {
      if (left.centre.size() != right.centre.size()) continue;
      double cosine = 0;
      for (size_t j = 0; j < left.centre.size(); ++j) cosine += static_cast<double>(left.centre[j]) * right.centre[j];
      if (cosine >= std::min(left.threshold, right.threshold)) return true;
    }
  }
  return false;
}

}  // namespace promptsweep::motifs
