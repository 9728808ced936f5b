#include "jobs/motifs/seed_blocks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "jobs/motifs/sequential.h"

namespace promptsweep::motifs {
namespace {

constexpr uint32_t kNoUnit = std::numeric_limits<uint32_t>::max();
constexpr size_t kMostBlocks = 32;
constexpr uint64_t kRare = 20;
constexpr double kFirstPart = 0.95;
// What is left by rounding.
constexpr double kNothing = 1e-12;

using Asked = std::vector<uint32_t>;

double Part(uint64_t k, uint64_t n) { return static_cast<double>(k) / static_cast<double>(n); }

// Calls visit(asked, how often) for each thing that a block is asked.
template <typename Visit>
void ForEachAsked(const Asked& asked, Visit visit) {
  for (size_t i = 0, j = 0; i < asked.size(); i = j) {
    while (j < asked.size() && asked[j] == asked[i]) ++j;
    visit(asked[i], static_cast<double>(j - i));
  }
}

}  // namespace

void AskedRuns::Append(const Runs& runs) {
  ordinal.insert(ordinal.end(), runs.ordinal.begin(), runs.ordinal.end());
  seed.insert(seed.end(), runs.seed.begin(), runs.seed.end());
  asked.insert(asked.end(), runs.asked.begin(), runs.asked.end());
  is_target.insert(is_target.end(), runs.is_target.begin(), runs.is_target.end());
}

class SeedBlocks::Builder {
 public:
  // `grows`: later looks may bring further blocks.
  Builder(const AskedRuns& runs, bool grows, SeedBlocks& to) : runs_(runs), grows_(grows), to_(to) {}

  // `counted`: rows, `step` of each the look that added it.
  void Build(std::vector<uint32_t> counted, const std::vector<uint32_t>& step) {
    std::sort(counted.begin(), counted.end(), [&](uint32_t a, uint32_t b) {
      return std::tie(step[a], runs_.seed[a], runs_.asked[a], a) < std::tie(step[b], runs_.seed[b], runs_.asked[b], b);
    });
    uint32_t look = 0;
    for (size_t i = 0, j = 0; i < counted.size(); i = j) {
      std::vector<Group> groups;
      for (; j < counted.size() && step[counted[j]] == step[counted[i]]; ++j) {
        if (groups.empty() || runs_.seed[groups.back().rows[0]] != runs_.seed[counted[j]]) groups.emplace_back();
        groups.back().rows.push_back(counted[j]);
        groups.back().asked.push_back(runs_.asked[counted[j]]);
      }
      Place(groups);
      ShareError(look++);
      for (const Group& group : groups) Add(group);
    }
  }

 private:
  struct Group {
    std::vector<uint32_t> rows;
    Asked asked;
  };
  struct Placement {
    uint32_t block = 0, missing = 0;
    bool apart = false;
  };

  uint32_t BlockOf(const Asked& asked) {
    const auto [at, fresh] = block_of_.emplace(asked, to_.blocks_.size());
    if (fresh) to_.blocks_.emplace_back().asked = asked;
    return at->second;
  }

  // Decides where the units of each kind that is new at a look belong, for this look and all later ones.
  void Place(const std::vector<Group>& groups) {
    std::map<Asked, uint64_t> fresh;
    for (const Group& group : groups) {
      if (!placements_.contains(group.asked)) ++fresh[group.asked];
    }
    std::vector<const std::pair<const Asked, uint64_t>*> kinds;
    for (const auto& kind : fresh) kinds.push_back(&kind);
    std::stable_sort(kinds.begin(), kinds.end(), [](const auto* a, const auto* b) { return a->first.size() > b->first.size(); });
    std::vector<const Asked*> found;
    std::vector<std::pair<const Asked*, const Asked*>> joined;
    for (const auto* kind : kinds) {
      const Asked* most = kind->second * kRare < groups.size() ? LeastAbove(kind->first, found) : nullptr;
      if (most != nullptr) {
        joined.emplace_back(&kind->first, most);
      } else {
        found.push_back(&kind->first);
      }
      if (found.size() > kMostBlocks) break;
    }
    if (found.size() > kMostBlocks) {
      for (const auto* kind : kinds) {
        placements_[kind->first].apart = true;
        for (const uint32_t asked : kind->first) BlockOf({asked});
      }
      return;
    }
    for (const Asked* asked : found) placements_[*asked].block = BlockOf(*asked);
    for (const auto& [asked, most] : joined)
      placements_[*asked] = {BlockOf(*most), static_cast<uint32_t>(most->size() - asked->size()), false};
  }

  // The smallest of the blocks there are and of `found` that asks more, all of `asked` included; null where there is none.
  const Asked* LeastAbove(const Asked& asked, const std::vector<const Asked*>& found) const {
    const Asked* least = nullptr;
    const auto consider = [&](const Asked& other) {
      if (other.size() <= asked.size() || (least != nullptr && least->size() <= other.size())) return;
      if (std::includes(other.begin(), other.end(), asked.begin(), asked.end())) least = &other;
    };
    for (const auto& [other, block] : block_of_) consider(other);
    for (const Asked* other : found) consider(*other);
    return least;
  }

  void ShareError(uint32_t look) {
    const size_t fresh = to_.blocks_.size() - shared_;
    const double part = !grows_ ? 1 : look == 0 ? kFirstPart : (1 - kFirstPart) * LookShare(look);
    for (; shared_ < to_.blocks_.size(); ++shared_) to_.blocks_[shared_].error_part = part / static_cast<double>(fresh);
  }

  void Add(const Group& group) {
    const Placement& placement = placements_.at(group.asked);
    if (!placement.apart) return AddUnit(placement.block, placement.missing, group.rows);
    for (const uint32_t row : group.rows) AddUnit(block_of_.at({runs_.asked[row]}), 0, {row});
  }

  void AddUnit(uint32_t block, uint32_t missing, const std::vector<uint32_t>& rows) {
    if (!taken_[block].insert(runs_.seed[rows[0]]).second) return;
    for (const uint32_t row : rows) to_.unit_of_[row] = static_cast<uint32_t>(to_.units_.size());
    to_.units_.push_back({block, missing});
    Block& to = to_.blocks_[block];
    to.runs += rows.size();
    ++to.units;
    to.missing.resize(std::max<size_t>(to.missing.size(), missing + size_t{1}));
    ++to.missing[missing];
    to_.runs_ += rows.size();
  }

  const AskedRuns& runs_;
  const bool grows_;
  SeedBlocks& to_;
  std::map<Asked, Placement> placements_;
  std::map<Asked, uint32_t> block_of_;
  std::unordered_map<uint32_t, std::unordered_set<int64_t>> taken_;
  size_t shared_ = 0;
};

SeedBlocks::SeedBlocks(const AskedRuns& runs, bool target, uint64_t from, const std::vector<uint64_t>& looks)
    : unit_of_(runs.size(), kNoUnit) {
  const size_t kinds = runs.asked.empty() ? 0 : *std::max_element(runs.asked.begin(), runs.asked.end()) + size_t{1};
  std::vector<double> claimed(kinds, 0);
  std::unordered_set<int64_t> before;
  double all = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (from > 0 && runs.ordinal[i] >= from) continue;
    if (from > 0) before.insert(runs.seed[i]);
    if (runs.is_target[i] != target) continue;
    ++claimed[runs.asked[i]];
    ++all;
  }
  std::vector<uint32_t> counted, step(runs.size(), 0);
  std::unordered_set<int64_t> seeds;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (runs.is_target[i] != target || runs.ordinal[i] < from || claimed[runs.asked[i]] == 0 || before.contains(runs.seed[i]))
      continue;
    counted.push_back(i);
    seeds.insert(runs.seed[i]);
    if (from > 0) step[i] = static_cast<uint32_t>(std::upper_bound(looks.begin(), looks.end(), runs.ordinal[i]) - looks.begin());
  }
  seeds_ = seeds.size();
  for (double& share : claimed) share /= std::max(1.0, all);
  if (from == 0 && seeds_ == counted.size()) {
    if (counted.empty()) return;
    runs_ = counted.size();
    blocks_.push_back({{}, 1, 1, runs_, runs_, {runs_}});
    for (const uint32_t i : counted) {
      unit_of_[i] = static_cast<uint32_t>(units_.size());
      units_.push_back({});
    }
    return;
  }
  Builder(runs, from > 0, *this).Build(std::move(counted), step);
  Weigh(std::move(claimed));
}

void SeedBlocks::Weigh(std::vector<double> claimed) {
  std::vector<double> covered(claimed.size(), 0);
  for (const Block& block : blocks_) {
    ForEachAsked(block.asked, [&](uint32_t asked, double times) {
      covered[asked] += times * static_cast<double>(block.units) / static_cast<double>(std::max<uint64_t>(1, runs_));
    });
  }
  const auto give = [&](Block& block, double weight) {
    block.weight += weight;
    const double each = weight / static_cast<double>(block.asked.size());
    ForEachAsked(block.asked, [&](uint32_t asked, double times) { claimed[asked] -= times * each; });
  };
  const std::vector<double> wanted = claimed;
  for (Block& block : blocks_) {
    double factor = 1;
    ForEachAsked(block.asked, [&](uint32_t asked, double) { factor = std::min(factor, wanted[asked] / covered[asked]); });
    const double runs = static_cast<double>(block.units * block.asked.size());
    give(block, factor * runs / static_cast<double>(std::max<uint64_t>(1, runs_)));
  }
  std::vector<uint32_t> order(blocks_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return blocks_[a].asked.size() > blocks_[b].asked.size(); });
  for (const uint32_t b : order) {
    double most = 1;
    ForEachAsked(blocks_[b].asked, [&](uint32_t asked, double times) { most = std::min(most, claimed[asked] / times); });
    if (most > 0) give(blocks_[b], most * static_cast<double>(blocks_[b].asked.size()));
  }
}

SeedSequence SeedBlocks::Sequence(const RowSet& inside, double error) const {
  SeedSequence sequence;
  sequence.runs = runs_;
  sequence.seeds = seeds_;
  std::vector<uint32_t> in(units_.size(), 0), touched;
  for (const uint32_t row : inside) {
    if (row >= unit_of_.size() || unit_of_[row] == kNoUnit) continue;
    if (in[unit_of_[row]]++ == 0) touched.push_back(unit_of_[row]);
    ++sequence.members;
  }
  // How many units of each block have how many runs inside, those missing counted as outside and as inside.
  std::vector<std::vector<uint64_t>> low, high;
  for (const Block& block : blocks_) {
    low.emplace_back(std::max<size_t>(1, block.asked.size()) + 1, 0);
    low.back()[0] = block.units;
    high.push_back(block.missing);
    high.back().resize(low.back().size());
  }
  for (const uint32_t u : touched) {
    const auto& [block, missing] = units_[u];
    --low[block][0];
    ++low[block][in[u]];
    --high[block][missing];
    ++high[block][in[u] + missing];
  }
  double ends_low = 0, ends_high = 0, weight = 0;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    if (block.weight <= 0 || block.units == 0) continue;
    const Interval ends = low[b].size() == 2 ? ConfidenceSequence(static_cast<double>(low[b][1]),
                                                                  static_cast<double>(block.units), error * block.error_part)
                                             : MeanSequence(low[b], high[b], error * block.error_part);
    uint64_t members = 0;
    for (size_t j = 0; j < low[b].size(); ++j) members += j * low[b][j];
    weight += block.weight;
    ends_low += block.weight * ends.low;
    ends_high += block.weight * ends.high;
    sequence.share += block.weight * Part(members, block.runs);
  }
  if (weight <= 0) return sequence;
  sequence.share /= weight;
  const double open = 1 - weight > kNothing ? 1 - weight : 0;
  sequence.interval = {std::clamp(ends_low, 0.0, 1.0), std::clamp(ends_high + open, 0.0, 1.0)};
  return sequence;
}

uint64_t MostPerSeed(const AskedRuns& runs, bool target) {
  std::unordered_map<int64_t, uint64_t> of;
  uint64_t most = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs.is_target[i] == target) most = std::max(most, ++of[runs.seed[i]]);
  }
  return most;
}

double ShareUpperBound(const std::vector<int64_t>& seeds, const std::vector<uint8_t>& is, double error) {
  if (seeds.empty()) return 1;
  std::unordered_map<int64_t, std::pair<uint64_t, uint64_t>> of;  // runs, and those of the kind
  uint64_t most = 0, all = 0;
  for (size_t i = 0; i < seeds.size(); ++i) {
    auto& [runs, kind] = of[seeds[i]];
    most = std::max(most, ++runs);
    kind += is[i];
    all += is[i];
  }
  if (most == 1) return UpperBound(all, seeds.size(), error);
  // Over the most runs of any seed; the mean of this is the share but for a factor that is known.
  std::vector<uint64_t> counts(most + 1, 0);
  for (const auto& [seed, count] : of) ++counts[count.second];
  const double slots = static_cast<double>(most * of.size()), runs = static_cast<double>(seeds.size());
  return std::min(1.0, MeanUpperBound(counts, error) * slots / runs);
}

}  // namespace promptsweep::motifs
