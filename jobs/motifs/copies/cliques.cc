#include "jobs/motifs/copies/cliques.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace promptsweep::motifs {
namespace {

class Set {
 public:
  explicit Set(size_t n) : words_((n + 63) / 64) {}
  void Add(uint32_t v) { words_[v / 64] |= uint64_t{1} << (v % 64); }
  void Remove(uint32_t v) { words_[v / 64] &= ~(uint64_t{1} << (v % 64)); }
  bool Has(uint32_t v) const { return words_[v / 64] >> (v % 64) & 1; }
  bool empty() const {
    return std::all_of(words_.begin(), words_.end(), [](uint64_t w) { return w == 0; });
  }
  Set And(const Set& other) const {
    Set out = *this;
    for (size_t w = 0; w < words_.size(); ++w) out.words_[w] &= other.words_[w];
    return out;
  }
  Set Without(const Set& other) const {
    Set out = *this;
    for (size_t w = 0; w < words_.size(); ++w) out.words_[w] &= ~other.words_[w];
    return out;
  }
  size_t CountAnd(const Set& other) const {
    size_t n = 0;
    for (size_t w = 0; w < words_.size(); ++w) n += std::popcount(words_[w] & other.words_[w]);
    return n;
  }
  size_t Count() const { return CountAnd(*this); }
  std::vector<uint32_t> List() const {
    std::vector<uint32_t> list;
    for (size_t w = 0; w < words_.size(); ++w) {
      for (uint64_t rest = words_[w]; rest != 0; rest &= rest - 1) list.push_back(64 * w + std::countr_zero(rest));
    }
    return list;
  }

 private:
  std::vector<uint64_t> words_;
};

// A clique has at most one vertex of each colour.
size_t ColoursOf(Set rest, const std::vector<Set>& near) {
  size_t colours = 0;
  for (; !rest.empty(); ++colours) {
    Set open = rest;
    for (std::vector<uint32_t> list = open.List(); const uint32_t v : list) {
      if (!open.Has(v)) continue;
      open = open.Without(near[v]);
      rest.Remove(v);
    }
  }
  return colours;
}

class Search {
 public:
  Search(const std::vector<Set>& near, std::vector<uint32_t> best, uint64_t work)
      : near_(near), best_(std::move(best)), work_(work) {}

  void Grow(std::vector<uint32_t>& clique, Set candidates, Set done) {
    if (work_ == 0) return;
    --work_;
    if (clique.size() > best_.size()) best_ = clique;
    if (candidates.empty() || clique.size() + ColoursOf(candidates, near_) <= best_.size()) return;
    // The pivot's neighbours need no branch of their own: a maximal clique without the pivot holds a non-neighbour of it.
    uint32_t pivot = 0;
    size_t most = 0;
    bool chosen = false;
    for (const Set* set : {&candidates, &done}) {
      for (const uint32_t v : set->List()) {
        const size_t reach = candidates.CountAnd(near_[v]);
        if (!chosen || reach > most) pivot = v, most = reach, chosen = true;
      }
    }
    for (const uint32_t v : candidates.Without(near_[pivot]).List()) {
      clique.push_back(v);
      Grow(clique, candidates.And(near_[v]), done.And(near_[v]));
      clique.pop_back();
      candidates.Remove(v);
      done.Add(v);
    }
  }

  bool finished() const { return work_ > 0; }
  const std::vector<uint32_t>& best() const { return best_; }

 private:
  const std::vector<Set>& near_;
  std::vector<uint32_t> best_;
  uint64_t work_;
};

// From each vertex: again and again the candidate with the most neighbours among the candidates.
std::vector<uint32_t> Greedy(const std::vector<Set>& near, const std::vector<uint32_t>& vertices) {
  std::vector<uint32_t> by_degree = vertices;
  std::stable_sort(by_degree.begin(), by_degree.end(), [&](uint32_t a, uint32_t b) { return near[a].Count() > near[b].Count(); });
  std::vector<uint32_t> best;
  for (const uint32_t start : by_degree) {
    if (near[start].Count() + 1 <= best.size()) break;
    std::vector<uint32_t> clique = {start};
    Set candidates = near[start];
    for (const uint32_t v : by_degree) {
      if (!candidates.Has(v)) continue;
      clique.push_back(v);
      candidates = candidates.And(near[v]);
    }
    if (clique.size() > best.size()) best = clique;
  }
  return best;
}

}  // namespace

Clique LargestClique(uint32_t vertices, const std::vector<std::pair<uint32_t, uint32_t>>& edges, uint32_t exact_to,
                     uint64_t work) {
  PS_CHECK(vertices <= 4096);
  Clique clique;
  if (vertices == 0) return clique;
  std::vector<Set> near(vertices, Set(vertices));
  Set linked(vertices);
  for (const auto& [a, b] : edges) {
    PS_CHECK(a != b && a < vertices && b < vertices);
    near[a].Add(b);
    near[b].Add(a);
    linked.Add(a);
    linked.Add(b);
  }
  if (edges.empty()) {
    clique.vertices = {0};
    return clique;
  }
  const std::vector<uint32_t> list = linked.List();
  clique.vertices = Greedy(near, list);
  clique.exact = ColoursOf(linked, near) == clique.vertices.size();
  if (!clique.exact && list.size() <= exact_to) {
    Search search(near, clique.vertices, work);
    std::vector<uint32_t> grown;
    search.Grow(grown, linked, Set(vertices));
    clique.vertices = search.best();
    clique.exact = search.finished();
  }
  std::sort(clique.vertices.begin(), clique.vertices.end());
  return clique;
}

}  // namespace promptsweep::motifs
