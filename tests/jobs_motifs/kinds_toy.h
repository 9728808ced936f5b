// Words in families of kinds, and runs that show a kind, a word, or nothing that words are about.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

inline constexpr int kDim = 96, kFamilies = 8, kKinds = 6, kLeaves = 9;

inline void Normalise(float* row) {
  double square = 0;
  for (int j = 0; j < kDim; ++j) square += row[j] * row[j];
  for (int j = 0; j < kDim; ++j) row[j] /= std::sqrt(square);
}

// Families of kinds of words; a word is its parent's direction and as much of its own. All share one direction besides.
struct Toy {
  Matrix words{kFamilies * (1 + kKinds * (1 + kLeaves)), kDim}, x{700, kDim};
  std::vector<int> parents;
  RowSet members, baseline;
  int kind = -1, family = -1, leaf = -1;
};

enum class Plant { kNothing, kKind, kLeaf, kHub };

inline Toy MakeToy(uint64_t seed, Plant plant) {
  Toy toy;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto add = [&](int parent, float of_parent) {
    const int at = toy.parents.size();
    toy.parents.push_back(parent);
    for (int j = 0; j < kDim; ++j) {
      toy.words.row(at)[j] = normal(random) / std::sqrt(kDim) + (parent < 0 ? 0 : of_parent * toy.words.row(parent)[j]);
    }
    Normalise(toy.words.row(at));
    return at;
  };
  for (int f = 0; f < kFamilies; ++f) {
    const int family = add(-1, 0);
    for (int k = 0; k < kKinds; ++k) {
      const int kind = add(family, 0.7f);
      for (int l = 0; l < kLeaves; ++l) {
        const int leaf = add(kind, 1);
        if (f == 3 && k == 2 && l == 4) toy.family = family, toy.kind = kind, toy.leaf = leaf;
      }
    }
  }
  const int hub = 5;
  for (uint32_t i = 0; i < 700; ++i) {
    (i < 120 ? toy.members : toy.baseline).push_back(i);
    for (int j = 0; j < kDim; ++j) {
      float v = normal(random) / std::sqrt(1 + 0.1f * j) / 4 + toy.words.row(hub)[j];
      if (i < 120 && plant == Plant::kKind) v += 0.5f * toy.words.row(toy.kind)[j];
      if (i < 120 && plant == Plant::kLeaf) v += 0.5f * (toy.words.row(toy.leaf)[j] - toy.words.row(toy.kind)[j]);
      if (plant == Plant::kHub) v += 3 * toy.words.row(hub)[j];
      toy.x.row(i)[j] = v;
    }
    Normalise(toy.x.row(i));
  }
  return toy;
}

}  // namespace promptsweep::motifs
