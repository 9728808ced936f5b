// Regions as stored messages hold them.
#pragma once

#include <string>
#include <vector>

#include "jobs/motifs/mining/regions.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// A stored region: its centre as half floats, and its least cosine.
[[nodiscard]] Region RegionOf(const std::string& centre, double threshold);

// The regions of a motif: its own and its further looks. Works on Motif and FrozenMotif.
template <typename AnyMotif>
[[nodiscard]] std::vector<Region> RegionsOf(const AnyMotif& motif) {
  std::vector<Region> regions = {RegionOf(motif.centre(), motif.radius_cosine())};
  for (const v1::MotifLook& look : motif.looks()) regions.push_back(RegionOf(look.centre(), look.radius_cosine()));
  return regions;
}

// Of their centres; minus infinity where these have different dimensions.
[[nodiscard]] double CosineOf(const Region& a, const Region& b);

// True where the centre of one of `a` lies in one of `b`, or the other way round: they are one motif.
[[nodiscard]] bool OneInTheOther(const std::vector<Region>& a, const std::vector<Region>& b);

}  // namespace promptsweep::motifs
