// Regions as stored messages hold them.
#pragma once

#include <string>
#include <vector>

#include "base/half.h"
#include "jobs/motifs/regions.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// The regions of a motif: its own and its further looks. Works on Motif and FrozenMotif.
template <typename AnyMotif>
[[nodiscard]] std::vector<Region> RegionsOf(const AnyMotif& motif) {
  std::vector<Region> regions;
  const auto add = [&](const std::string& centre, double threshold) {
    Region& region = regions.emplace_back();
    region.centre = UnpackHalves(centre);
    region.threshold = static_cast<float>(threshold);
  };
  add(motif.centre(), motif.radius_cosine());
  for (const v1::MotifLook& look : motif.looks()) add(look.centre(), look.radius_cosine());
  return regions;
}

}  // namespace promptsweep::motifs
