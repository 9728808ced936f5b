#include "jobs/sweep/growth.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

bool HasSeeds(const v1::CellNode& node) {
  bool found = false;
  ForEachAxis(node, [&](const v1::Axis& axis) { found |= axis.name() == "seed"; });
  return found;
}

// Every seed axis that is a range, in a fixed order.
void ForEachSeedRange(v1::CellNode& node, absl::FunctionRef<void(v1::IntRange&)> visit) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis:
      if (node.axis().name() == "seed" && node.axis().has_range()) visit(*node.mutable_axis()->mutable_range());
      return;
    case v1::CellNode::kProduct:
      for (v1::CellNode& factor : *node.mutable_product()->mutable_factors()) ForEachSeedRange(factor, visit);
      return;
    case v1::CellNode::kChain:
      for (v1::CellNode& part : *node.mutable_chain()->mutable_parts()) ForEachSeedRange(part, visit);
      return;
    case v1::CellNode::kExclude:
      return ForEachSeedRange(*node.mutable_exclude()->mutable_from(), visit);
    case v1::CellNode::kZip:
    case v1::CellNode::NODE_NOT_SET:
      return;
  }
}

struct Family {
  v1::CellNode part;            // the first of it
  std::vector<uint64_t> asked;  // seeds of each seed axis in that
  std::vector<uint64_t> seeds;  // the same over all its parts
  size_t parts = 0;
  std::set<std::string> models, prompts;
  bool target = false;
};

std::vector<v1::CellNode> PartsOf(const v1::CellNode& cells) {
  if (!cells.has_chain()) return {cells};
  return {cells.chain().parts().begin(), cells.chain().parts().end()};
}

bool AsksBlank(const v1::CellNode& node) {
  bool blank = false;
  ForEachAxis(node, [&](const v1::Axis& axis) {
    for (const v1::Value& value : axis.list().values()) blank |= value.prompt_value().has_blank();
  });
  return blank;
}

std::vector<Family> FamiliesOf(const v1::CellNode& cells) {
  std::map<std::string, size_t> known;
  std::vector<Family> families;
  const bool some_blank = AsksBlank(cells);
  for (const v1::CellNode& part : PartsOf(cells)) {
    v1::CellNode key = part;
    ForEachSeedRange(key, [](v1::IntRange& range) { range.clear_first(), range.clear_count(); });
    const auto [at, fresh] = known.emplace(key.SerializeAsString(), families.size());
    if (fresh) {
      Family& family = families.emplace_back();
      family.part = part;
      family.target = !some_blank || AsksBlank(part);
      ForEachAxis(part, [&](const v1::Axis& axis) {
        if (axis.name() != "model" && axis.name() != "prompt") return;
        for (const v1::Value& value : axis.list().values())
          (axis.name() == "model" ? family.models : family.prompts).insert(CanonicalValue(value));
      });
    }
    Family& family = families[at->second];
    ++family.parts;
    v1::CellNode copy = part;
    size_t axis = 0;
    ForEachSeedRange(copy, [&](v1::IntRange& range) {
      if (fresh) {
        family.asked.push_back(range.count());
        family.seeds.push_back(0);
      }
      family.seeds[axis++] += range.count();
    });
  }
  return families;
}

bool Overlap(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::any_of(a.begin(), a.end(), [&](const std::string& value) { return b.contains(value); });
}

// One past the largest seed of any kind of axis.
__int128 SeedsEnd(const v1::CellNode& cells) {
  __int128 end = 0;
  ForEachAxis(cells, [&](const v1::Axis& axis) {
    if (axis.name() != "seed") return;
    if (axis.has_range()) {
      const __int128 last = axis.range().first() + static_cast<__int128>(axis.range().step()) * (axis.range().count() - 1);
      end = std::max({end, last + 1, static_cast<__int128>(axis.range().first()) + 1});
    }
    for (const v1::Value& value : axis.list().values()) end = std::max(end, static_cast<__int128>(value.int_value()) + 1);
  });
  return end;
}

uint64_t MoreSeeds(uint64_t seeds, double factor) {
  const double more = std::ceil(static_cast<double>(seeds) * (factor - 1) - 1e-9);
  return std::max<uint64_t>(1, more >= 9e18 ? static_cast<uint64_t>(9e18) : static_cast<uint64_t>(std::max(0.0, more)));
}

// The chosen families' seeds when the axis with the most has grown by `factor`, in the proportions they were asked in: rounded up
// from those, not from the seeds there are, so that roundings do not add up over many growths. Where the seeds there are lie
// farther from the proportions than by rounding, their author has extended the sweep, and they are the proportions.
std::vector<std::vector<uint64_t>> SeedsAfter(const std::vector<const Family*>& families, double factor) {
  uint64_t most = 0, most_asked = 1;
  for (const Family* family : families) {
    for (size_t a = 0; a < family->seeds.size(); ++a) {
      if (family->seeds[a] <= most) continue;
      most = family->seeds[a];
      most_asked = family->asked[a];
    }
  }
  bool kept = true;
  for (const Family* family : families) {
    for (size_t a = 0; a < family->seeds.size(); ++a) {
      const double now = static_cast<double>(family->asked[a]) * (static_cast<double>(most) / static_cast<double>(most_asked));
      kept &= std::abs(static_cast<double>(family->seeds[a]) - now) <= static_cast<double>(family->parts);
    }
  }
  const double then = static_cast<double>(most) + static_cast<double>(MoreSeeds(most, factor));
  const double multiple = then / static_cast<double>(kept ? most_asked : most);
  std::vector<std::vector<uint64_t>> after;
  for (const Family* family : families) {
    std::vector<uint64_t>& seeds = after.emplace_back(family->seeds);
    bool grows = false;
    for (size_t a = 0; a < seeds.size(); ++a) {
      if (family->seeds[a] == most) {
        seeds[a] += MoreSeeds(most, factor);
      } else {
        const double wanted = std::ceil(static_cast<double>(kept ? family->asked[a] : family->seeds[a]) * multiple - 1e-9);
        seeds[a] = std::max(seeds[a], wanted >= 1.8e19 ? ~uint64_t{0} : static_cast<uint64_t>(wanted));
      }
      grows |= seeds[a] > family->seeds[a];
    }
    // A part has some of each of its axes.
    for (size_t a = 0; a < seeds.size() && grows; ++a) seeds[a] = std::max(seeds[a], family->seeds[a] + 1);
  }
  return after;
}

// The next parts of those of the chosen families that get seeds. Empty where a seed would leave 63 bits.
std::vector<v1::CellNode> NextParts(const std::vector<const Family*>& families, double factor, __int128 first) {
  struct Taken {
    const Family* family;
    __int128 end;
  };
  std::vector<Taken> taken;
  std::vector<v1::CellNode> parts;
  const std::vector<std::vector<uint64_t>> after = SeedsAfter(families, factor);
  for (size_t f = 0; f < families.size(); ++f) {
    const Family* family = families[f];
    if (after[f] == family->seeds) continue;
    __int128 begin = first;
    for (const Taken& other : taken) {
      if (Overlap(family->models, other.family->models) && Overlap(family->prompts, other.family->prompts))
        begin = std::max(begin, other.end);
    }
    size_t axis = 0;
    v1::CellNode& part = parts.emplace_back(family->part);
    bool fits = true;
    ForEachSeedRange(part, [&](v1::IntRange& range) {
      const uint64_t count = after[f][axis] - family->seeds[axis];
      ++axis;
      const __int128 end = begin + static_cast<__int128>(range.step()) * count;
      fits &= end <= std::numeric_limits<int64_t>::max();
      if (!fits) return;
      range.set_first(static_cast<int64_t>(begin));
      range.set_count(count);
      begin = end;
    });
    if (!fits) return {};
    taken.push_back({family, begin});
  }
  return parts;
}

// Cells of all parts; none where they cannot be.
absl::StatusOr<uint64_t> CountCells(const std::vector<v1::CellNode>& parts) {
  if (parts.empty()) return absl::ResourceExhaustedError("no seed is left to ask");
  v1::CellNode all;
  for (const v1::CellNode& part : parts) *all.mutable_chain()->add_parts() = part;
  PS_ASSIGN_OR_RETURN(const std::unique_ptr<const CellTree> tree, CellTree::Compile(all));
  return tree->count();
}

// The parts by the largest factor up to `factor` that take at most `room` cells.
absl::StatusOr<std::vector<v1::CellNode>> FittingParts(const std::vector<const Family*>& families, double factor, __int128 first,
                                                       uint64_t room) {
  const auto fits = [&](double f) {
    const absl::StatusOr<uint64_t> cells = CountCells(NextParts(families, f, first));
    return cells.ok() && *cells <= room;
  };
  if (fits(factor)) return NextParts(families, factor, first);
  if (!fits(1)) {
    PS_RETURN_IF_ERROR(CountCells(NextParts(families, 1, first)).status());
    return absl::ResourceExhaustedError(absl::StrCat("no room for one more seed: ", room, " cells are left of max_cells"));
  }
  double low = 1, high = factor;
  for (int round = 0; round < 60; ++round) {
    const double half = 0.5 * (low + high);
    (fits(half) ? low : high) = half;
  }
  return NextParts(families, low, first);
}

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

}  // namespace

absl::Status CheckSeedsGrow(const v1::CellNode& node) {
  switch (node.node_case()) {
    case v1::CellNode::kAxis:
      if (node.axis().name() != "seed") return absl::OkStatus();
      if (!node.axis().has_range())
        return Wrong("the seeds of a sweep with a stop rule must be able to grow: a range as in 0..199, not a list");
      if (node.axis().range().step() <= 0)
        return Wrong("the seeds of a sweep with a stop rule must be able to grow: a range upwards");
      return absl::OkStatus();
    case v1::CellNode::kProduct:
      for (const v1::CellNode& factor : node.product().factors()) PS_RETURN_IF_ERROR(CheckSeedsGrow(factor));
      return absl::OkStatus();
    case v1::CellNode::kChain:
      for (const v1::CellNode& part : node.chain().parts()) PS_RETURN_IF_ERROR(CheckSeedsGrow(part));
      return absl::OkStatus();
    case v1::CellNode::kZip:
      return HasSeeds(node) ? Wrong("the seeds of a sweep with a stop rule must be able to grow: they cannot stand in a zip")
                            : absl::OkStatus();
    case v1::CellNode::kExclude:
      for (const v1::ExcludeRule& rule : node.exclude().rules()) {
        for (const v1::Condition& condition : rule.all_of()) {
          if (condition.axis() == "seed")
            return Wrong("the seeds of a sweep with a stop rule must be able to grow: no exclusion may name the seed");
        }
      }
      return CheckSeedsGrow(node.exclude().from());
    case v1::CellNode::NODE_NOT_SET:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status CheckStopRule(const v1::StopRule& rule) {
  const auto outside = [](const char* name, double value, const char* range) {
    return Wrong(absl::StrCat(name, " ", NumberText(value), " is not ", range));
  };
  // Each comparison is false for what is not a number.
  if (rule.motif_ci_halfwidth() != 0 && !(rule.motif_ci_halfwidth() > 0 && rule.motif_ci_halfwidth() < 0.5))
    return outside("motif_ci_halfwidth", rule.motif_ci_halfwidth(),
                   "a share above 0 and below 0.5 (0.01 is one point of a percentage)");
  if (rule.decide_at() != 0 && !(rule.decide_at() > 0 && rule.decide_at() < 1))
    return outside("decide_at", rule.decide_at(), "a share above 0 and below 1");
  if (rule.novelty() != 0 && !(rule.novelty() > 0 && rule.novelty() < 1))
    return outside("novelty", rule.novelty(), "a share above 0 and below 1");
  if (!(rule.least_prevalence() >= 0 && rule.least_prevalence() < 1))
    return outside("least_prevalence", rule.least_prevalence(), "a share from 0 and below 1");
  if (rule.error() != 0 && !(rule.error() > 0 && rule.error() <= 0.5))
    return outside("error", rule.error(), "a probability above 0 and at most 0.5");
  if (rule.growth() != 0 && !(rule.growth() > 1 && rule.growth() <= 10))
    return outside("growth", rule.growth(), "a factor above 1 and at most 10");
  if (rule.motif_ci_halfwidth() == 0 && rule.decide_at() == 0 && rule.novelty() == 0)
    return Wrong("stop asks nothing: it needs motif_ci_halfwidth, decide_at or novelty");
  return absl::OkStatus();
}

absl::Status CheckStop(const v1::SweepSpec& spec, uint64_t cells) {
  if (!spec.has_stop()) return absl::OkStatus();
  PS_RETURN_IF_ERROR(CheckStopRule(spec.stop()));
  if (spec.embedders().empty()) return Wrong("stop looks for motifs, so the sweep needs embedders");
  if (spec.stop().max_cells() != 0 && spec.stop().max_cells() < cells)
    return Wrong(absl::StrCat("max_cells ", spec.stop().max_cells(), " is below the ", cells, " cells that are asked"));
  return CheckSeedsGrow(spec.cells());
}

v1::StopRule WithDefaults(const v1::StopRule& rule, uint64_t first_cells) {
  v1::StopRule full = rule;
  if (full.error() == 0) full.set_error(kDefaultError);
  if (full.growth() == 0) full.set_growth(kDefaultGrowth);
  if (full.max_cells() == 0) {
    uint64_t most = 0;
    full.set_max_cells(__builtin_mul_overflow(first_cells, kDefaultMaxCells, &most) ? std::numeric_limits<uint64_t>::max()
                                                                                    : most);
  }
  return full;
}

absl::StatusOr<v1::SweepManifest> GrowSeeds(const v1::SweepManifest& before, const SeedGrowth& growth) {
  const v1::CellNode& cells = before.spec().cells();
  PS_RETURN_IF_ERROR(CheckSeedsGrow(cells));
  const std::vector<Family> families = FamiliesOf(cells);
  std::vector<const Family*> first, second;
  for (const Family& family : families) {
    if (growth.target && family.target) first.push_back(&family);
    if (growth.baseline && !family.target) second.push_back(&family);
  }
  if (first.empty()) first.swap(second);
  if (first.empty()) return Wrong("no part of the sweep is to grow");
  const uint64_t room = growth.max_cells - std::min(growth.max_cells, before.cell_count());
  const __int128 free = SeedsEnd(cells);
  PS_ASSIGN_OR_RETURN(std::vector<v1::CellNode> parts, FittingParts(first, growth.factor, free, room));
  if (!second.empty()) {
    PS_ASSIGN_OR_RETURN(const uint64_t used, CountCells(parts));
    // Beyond the target's new seeds where the sides may ask the same.
    __int128 begin = free;
    for (const Family* a : first) {
      for (const Family* b : second) {
        if (!Overlap(a->models, b->models) || !Overlap(a->prompts, b->prompts)) continue;
        for (const v1::CellNode& part : parts) begin = std::max(begin, SeedsEnd(part));
      }
    }
    const auto others = FittingParts(second, growth.factor, begin, room - used);
    if (others.ok()) parts.insert(parts.end(), others->begin(), others->end());
  }
  v1::SweepManifest after = before;
  v1::CellNode grown;
  for (const v1::CellNode& part : PartsOf(cells)) *grown.mutable_chain()->add_parts() = part;
  for (v1::CellNode& part : parts) *grown.mutable_chain()->add_parts() = std::move(part);
  PS_ASSIGN_OR_RETURN(const std::unique_ptr<const CellTree> tree, CellTree::Compile(grown));
  after.set_cell_count(tree->count());
  *after.mutable_spec()->mutable_cells() = std::move(grown);
  if (after.ByteSizeLong() > kMaxManifestBytes)
    return absl::ResourceExhaustedError(
        "the sweep has grown so often that its description is full; a larger growth takes fewer looks");
  return after;
}

}  // namespace promptsweep::sweep
