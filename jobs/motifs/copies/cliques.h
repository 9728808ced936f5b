// The largest set of pictures that are all copies of each other.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace promptsweep::motifs {

struct Clique {
  // Ascending; empty where there is no vertex, a single one where there is no edge.
  std::vector<uint32_t> vertices;
  // True where no larger clique exists for certain.
  bool exact = true;
};

// The largest clique of a graph of `vertices` <= 4,096 vertices; `edges` without loops, in any order and direction. Bron and
// Kerbosch (1973) with the pivot of Tomita, Tanaka and Takahashi (2006), branches cut by a greedy colouring, where at most
// `exact_to` vertices have an edge and `work` branches suffice; else the best clique grown greedily from any vertex, or the best
// that was found. Of equally large ones always the same is returned. Pure; thread-safe.
[[nodiscard]] Clique LargestClique(uint32_t vertices, const std::vector<std::pair<uint32_t, uint32_t>>& edges,
                                   uint32_t exact_to = 200, uint64_t work = 200'000);

}  // namespace promptsweep::motifs
