#include "jobs/sweep/difference.h"

#include <algorithm>
#include <map>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::sweep {
namespace {

constexpr char kNone[] = "(none)";
constexpr size_t kShownBytes = 80;   // of a list or a node in a line
constexpr size_t kShownValues = 3;   // that are new or gone
constexpr int kDeepest = kMaxDepth;  // below that a node is not described

// What a terminal or a reader would obey or not see: C1 controls, zero-width and direction marks, line separators.
bool IsTricky(uint32_t code) {
  return (code >= 0x80 && code <= 0x9F) || code == 0xAD || code == 0x61C || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF;
}

// Quoted, with tricky characters (of two or three bytes) escaped too.
std::string Safe(absl::string_view text) {
  const std::string quoted = Quoted(text);
  std::string safe;
  for (size_t i = 0; i < quoted.size();) {
    const auto lead = static_cast<unsigned char>(quoted[i]);
    const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t code = length == 1 ? 0 : lead & (0x7F >> length);
    for (size_t k = 1; k < length && i + k < quoted.size(); ++k)
      code = code << 6 | (static_cast<unsigned char>(quoted[i + k]) & 0x3F);
    if (IsTricky(code)) {
      absl::StrAppend(&safe, "\\u", absl::Hex(code, absl::kZeroPad4));
    } else {
      absl::StrAppend(&safe, quoted.substr(i, length));
    }
    i += length;
  }
  return safe;
}

// A name as it is where it looks like one, else quoted.
std::string Word(absl::string_view text) {
  const bool plain = !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-' || c == '/' || c == ':';
  });
  return plain ? std::string(text) : Safe(text);
}

std::string Show(const v1::Value& value) {
  if (value.has_string_value()) return Word(value.string_value());
  if (value.has_prompt_value() && !value.prompt_value().has_blank()) return Safe(PromptText(value.prompt_value()));
  return value.kind_case() == v1::Value::KIND_NOT_SET ? kNone : ValueText(value);
}

std::string Many(size_t count) { return absl::StrCat(count, count == 1 ? " value" : " values"); }

// "[a, b]", or how many where that would be long.
template <typename Items, typename Text>
std::string ShowList(const Items& items, Text text) {
  std::string all;
  for (const auto& item : items) {
    absl::StrAppend(&all, all.empty() ? "" : ", ", text(item));
    if (all.size() > kShownBytes) return Many(items.size());
  }
  return absl::StrCat("[", all, "]");
}

std::string ShowRange(const v1::IntRange& range) {
  if (!CheckRange("", range).ok()) return "(no range)";
  const int64_t last = RangeValue(range, range.count() - 1);
  if (range.step() == 1) return absl::StrCat(range.first(), "..", last);
  return absl::StrCat(range.first(), "..", last, " by ", range.step());
}

std::string ShowAxis(const v1::Axis& axis) {
  if (axis.has_range()) return ShowRange(axis.range());
  return axis.has_list() ? ShowList(axis.list().values(), Show) : kNone;
}

std::string ShowCondition(const v1::Condition& condition) {
  std::string text = condition.any_of().values().empty() ? "" : ShowList(condition.any_of().values(), Show);
  if (!condition.ranges().empty()) absl::StrAppend(&text, text.empty() ? "" : " or ", ShowList(condition.ranges(), ShowRange));
  return text.empty() ? kNone : text;
}

const char* KindWord(const v1::CellNode& node) {
  constexpr const char* kWords[] = {kNone, "axis", "product", "zip", "chain", "exclude"};
  return kWords[node.node_case()];
}

const google::protobuf::RepeatedPtrField<v1::CellNode>& Children(const v1::CellNode& node) {
  return node.has_product() ? node.product().factors() : node.has_zip() ? node.zip().parts() : node.chain().parts();
}

std::string ShowNode(const v1::CellNode& node, int depth = 0) {
  if (depth > 3) return "...";
  if (node.has_axis()) return absl::StrCat(Word(node.axis().name()), ": ", ShowAxis(node.axis()));
  if (node.has_exclude()) {
    return absl::StrCat("exclude: {from: ", ShowNode(node.exclude().from(), depth + 1), ", rules: ", node.exclude().rules_size(),
                        "}");
  }
  if (node.node_case() == v1::CellNode::NODE_NOT_SET) return kNone;
  std::string inside;
  for (const v1::CellNode& child : Children(node)) {
    absl::StrAppend(&inside, inside.empty() ? "" : ", ", ShowNode(child, depth + 1));
    if (inside.size() > 2 * kShownBytes) return absl::StrCat(KindWord(node), " of ", Children(node).size());
  }
  return node.has_product() ? absl::StrCat("{", inside, "}") : absl::StrCat(KindWord(node), ": {", inside, "}");
}

class Lines {
 public:
  void Add(const std::string& field, const std::string& before, const std::string& after, absl::string_view rest = "") {
    lines_.push_back(
        absl::StrCat(field, ": ", before, " -> ", after, before == after && rest.empty() ? " (not alike)" : "", rest));
  }
  size_t size() const { return lines_.size(); }
  std::vector<std::string> Take(size_t most) {
    most = std::max<size_t>(most, 1);
    if (lines_.size() > most) {
      const size_t left = lines_.size() - most + 1;
      lines_.resize(most - 1);
      lines_.push_back(absl::StrCat("and ", left, " more"));
    }
    return std::move(lines_);
  }

 private:
  std::vector<std::string> lines_;
};

bool Same(const google::protobuf::MessageLite& a, const google::protobuf::MessageLite& b) {
  return a.SerializeAsString() == b.SerializeAsString();
}

// Values of `all` that are not among `others`, a few of them in words.
std::string Beyond(const v1::ValueList& all, const v1::ValueList& others, absl::string_view word) {
  absl::flat_hash_set<std::string> known;
  for (const v1::Value& value : others.values()) known.insert(CanonicalValue(value));
  std::vector<std::string> shown;
  size_t count = 0;
  for (const v1::Value& value : all.values()) {
    if (known.contains(CanonicalValue(value))) continue;
    if (++count <= kShownValues) shown.push_back(Show(value));
  }
  if (count == 0) return "";
  return absl::StrCat(word, ": ", absl::StrJoin(shown, ", "),
                      count > kShownValues ? absl::StrCat(" and ", count - kShownValues, " more") : "");
}

void CompareAxes(const std::string& path, const v1::Axis& before, const v1::Axis& after, Lines& lines) {
  if (!before.has_list() || !after.has_list()) return lines.Add(path, ShowAxis(before), ShowAxis(after));
  std::string was = ShowAxis(before), is = ShowAxis(after);
  if (before.name() == "prompt" || was[0] != '[' || is[0] != '[') {
    was = Many(before.list().values_size());
    is = Many(after.list().values_size());
  }
  const std::string fresh = Beyond(after.list(), before.list(), "new"), gone = Beyond(before.list(), after.list(), "gone");
  const std::string both = absl::StrCat(fresh, fresh.empty() || gone.empty() ? "" : "; ", gone);
  if (is[0] != '[') {
    lines.Add(path, was, is, both.empty() ? " (in another order or form)" : absl::StrCat(" (", both, ")"));
  } else {
    lines.Add(path, was, is);
  }
}

void CompareRules(const std::string& path, const v1::Exclude& before, const v1::Exclude& after, Lines& lines) {
  auto show = [](const v1::ExcludeRule& rule) {
    return ShowList(rule.all_of(), [](const v1::Condition& c) { return absl::StrCat(Word(c.axis()), ": ", ShowCondition(c)); });
  };
  for (int r = 0; r < std::max(before.rules_size(), after.rules_size()); ++r) {
    const std::string place = absl::StrCat(path, ".rules[", r, "]");
    if (r >= before.rules_size()) {
      lines.Add(place, kNone, show(after.rules(r)));
    } else if (r >= after.rules_size()) {
      lines.Add(place, show(before.rules(r)), kNone);
    } else if (!Same(before.rules(r), after.rules(r))) {
      lines.Add(place, show(before.rules(r)), show(after.rules(r)));
    }
  }
}

void CompareNodes(const std::string& path, const v1::CellNode& before, const v1::CellNode& after, int depth, Lines& lines);

// The factors of a product, or parts of a zip, by what a YAML map would call them.
std::map<std::string, const v1::CellNode*> ByKey(const v1::CellNode& node) {
  std::map<std::string, const v1::CellNode*> keyed;
  for (const v1::CellNode& child : Children(node)) {
    const std::string key = child.has_axis() ? Word(child.axis().name()) : KindWord(child);
    std::string own = key;
    for (int n = 2; !keyed.emplace(own, &child).second; ++n) own = absl::StrCat(key, " ", n);
  }
  return keyed;
}

void CompareMaps(const std::string& path, const v1::CellNode& before, const v1::CellNode& after, int depth, Lines& lines) {
  const size_t start = lines.size();
  const auto was = ByKey(before), is = ByKey(after);
  for (const auto& [key, node] : was) {
    auto now = is.find(key);
    const std::string place = absl::StrCat(path, ".", key);
    if (now == is.end()) {
      lines.Add(place, node->has_axis() ? ShowAxis(node->axis()) : ShowNode(*node), kNone);
    } else if (!Same(*node, *now->second)) {
      CompareNodes(node->has_axis() ? place : path, *node, *now->second, depth + 1, lines);
    }
  }
  for (const auto& [key, node] : is) {
    if (!was.contains(key))
      lines.Add(absl::StrCat(path, ".", key), kNone, node->has_axis() ? ShowAxis(node->axis()) : ShowNode(*node));
  }
  if (lines.size() == start) lines.Add(path, ShowNode(before), ShowNode(after), " (in another order)");
}

void CompareChains(const std::string& path, const std::vector<const v1::CellNode*>& before,
                   const std::vector<const v1::CellNode*>& after, int depth, Lines& lines) {
  for (size_t p = 0; p < std::max(before.size(), after.size()); ++p) {
    const std::string place = absl::StrCat(path, ".chain[", p, "]");
    if (p >= before.size()) {
      lines.Add(place, kNone, ShowNode(*after[p]));
    } else if (p >= after.size()) {
      lines.Add(place, ShowNode(*before[p]), kNone);
    } else if (!Same(*before[p], *after[p])) {
      CompareNodes(place, *before[p], *after[p], depth + 1, lines);
    }
  }
}

std::vector<const v1::CellNode*> PartsOf(const v1::CellNode& node) {
  if (!node.has_chain()) return {&node};
  std::vector<const v1::CellNode*> parts;
  for (const v1::CellNode& part : node.chain().parts()) parts.push_back(&part);
  return parts;
}

// Precondition: the nodes differ.
void CompareNodes(const std::string& path, const v1::CellNode& before, const v1::CellNode& after, int depth, Lines& lines) {
  const size_t start = lines.size();
  const bool one_kind = before.node_case() == after.node_case();
  if (depth > kDeepest) {
    lines.Add(path, "...", "...");
  } else if (one_kind && before.has_axis() && before.axis().name() == after.axis().name()) {
    CompareAxes(path, before.axis(), after.axis(), lines);
  } else if (one_kind && (before.has_product() || before.has_zip())) {
    CompareMaps(before.has_zip() ? absl::StrCat(path, ".zip") : path, before, after, depth, lines);
  } else if (one_kind && before.has_exclude()) {
    const std::string inside = absl::StrCat(path, ".exclude");
    if (!Same(before.exclude().from(), after.exclude().from()))
      CompareNodes(absl::StrCat(inside, ".from"), before.exclude().from(), after.exclude().from(), depth + 1, lines);
    CompareRules(inside, before.exclude(), after.exclude(), lines);
  } else if (before.has_chain() || after.has_chain()) {
    CompareChains(path, PartsOf(before), PartsOf(after), depth, lines);
  }
  if (lines.size() == start) lines.Add(path, ShowNode(before), ShowNode(after));
}

void CompareSettings(const v1::SweepSpec& before, const v1::SweepSpec& after, Lines& lines) {
  const size_t start = lines.size();
  std::map<std::string, std::pair<const v1::Setting*, const v1::Setting*>> both;
  for (const v1::Setting& setting : before.defaults()) both[setting.name()].first = &setting;
  for (const v1::Setting& setting : after.defaults()) both[setting.name()].second = &setting;
  bool alike = before.defaults_size() == after.defaults_size();
  for (int i = 0; alike && i < before.defaults_size(); ++i) alike = Same(before.defaults(i), after.defaults(i));
  for (const auto& [name, pair] : both) {
    const auto& [was, is] = pair;
    if (was != nullptr && is != nullptr && Same(*was, *is)) continue;
    lines.Add(absl::StrCat("defaults.", Word(name)), was == nullptr ? kNone : Show(was->value()),
              is == nullptr ? kNone : Show(is->value()));
  }
  if (!alike && lines.size() == start)
    lines.Add("defaults", Many(before.defaults_size()), Many(after.defaults_size()), " (in another order)");
}

void CompareStop(const v1::SweepSpec& before, const v1::SweepSpec& after, Lines& lines) {
  if (before.has_stop() != after.has_stop()) {
    auto presence = [](const v1::SweepSpec& spec) { return spec.has_stop() ? "a rule" : kNone; };
    return lines.Add("stop", presence(before), presence(after));
  }
  const v1::StopRule &was = before.stop(), &is = after.stop();
  auto number = [&](const char* name, double a, double b) {
    if (a == b || (a != a && b != b)) return;
    auto shown = [](double value) { return value == 0 ? std::string(kNone) : NumberText(value); };
    lines.Add(absl::StrCat("stop.", name), shown(a), shown(b));
  };
  number("motif_ci_halfwidth", was.motif_ci_halfwidth(), is.motif_ci_halfwidth());
  number("decide_at", was.decide_at(), is.decide_at());
  number("novelty", was.novelty(), is.novelty());
  number("least_prevalence", was.least_prevalence(), is.least_prevalence());
  number("error", was.error(), is.error());
  number("growth", was.growth(), is.growth());
  if (was.max_cells() != is.max_cells()) {
    auto shown = [](uint64_t cells) { return cells == 0 ? std::string(kNone) : absl::StrCat(cells); };
    lines.Add("stop.max_cells", shown(was.max_cells()), shown(is.max_cells()));
  }
}

void CompareSpecs(const v1::SweepSpec& before, const v1::SweepSpec& after, Lines& lines) {
  const size_t start = lines.size();
  auto word = [](const std::string& text) { return Word(text); };
  if (before.name() != after.name()) lines.Add("name", Word(before.name()), Word(after.name()));
  if (before.version() != after.version()) lines.Add("version", absl::StrCat(before.version()), absl::StrCat(after.version()));
  if (!std::equal(before.embedders().begin(), before.embedders().end(), after.embedders().begin(), after.embedders().end()))
    lines.Add("embedders", ShowList(before.embedders(), word), ShowList(after.embedders(), word));
  if (before.images() != after.images()) {
    auto place = [](const std::string& images) { return images.empty() ? "(store)" : Word(images); };
    lines.Add("images", place(before.images()), place(after.images()));
  }
  CompareStop(before, after, lines);
  CompareSettings(before, after, lines);
  if (!Same(before.cells(), after.cells())) CompareNodes("cells", before.cells(), after.cells(), 0, lines);
  if (lines.size() == start && !Same(before, after)) lines.Add("spec", "a field", "another", " (not known to this version)");
}

std::string ShowRef(const v1::ModelRef& ref) {
  const std::string weights = ToHex(ref.digest()).substr(0, 12);
  return absl::StrCat(ref.architecture().empty() ? "unknown" : Word(ref.architecture()), ", weights ",
                      weights.empty() ? "unknown" : weights);
}

using Refs = google::protobuf::RepeatedPtrField<v1::ModelRef>;

void CompareRefs(const std::string& field, const Refs& before, const Refs& after, Lines& lines) {
  const size_t start = lines.size();
  std::map<std::string, std::pair<const v1::ModelRef*, const v1::ModelRef*>> both;
  for (const v1::ModelRef& ref : before) both[ref.id()].first = &ref;
  for (const v1::ModelRef& ref : after) both[ref.id()].second = &ref;
  for (const auto& [id, pair] : both) {
    const auto& [was, is] = pair;
    const std::string place = absl::StrCat(field, ".", Word(id));
    if (was == nullptr || is == nullptr) {
      lines.Add(place, was == nullptr ? kNone : ShowRef(*was), is == nullptr ? kNone : ShowRef(*is));
    } else if (!Same(*was, *is)) {
      const size_t own = lines.size();
      auto weights = [](const v1::ModelRef& ref) { return ref.digest().empty() ? "unknown" : ToHex(ref.digest()).substr(0, 12); };
      auto harmless = [](const v1::ModelRef& ref) { return ref.harmless() ? "harmless" : "not harmless"; };
      if (was->digest() != is->digest()) lines.Add(place, absl::StrCat("weights ", weights(*was)), weights(*is));
      if (was->architecture() != is->architecture())
        lines.Add(place, absl::StrCat("architecture ", Word(was->architecture())), Word(is->architecture()));
      if (was->harmless() != is->harmless()) lines.Add(place, harmless(*was), harmless(*is));
      if (lines.size() == own) lines.Add(place, ShowRef(*was), ShowRef(*is));
    }
  }
  bool alike = before.size() == after.size();
  for (int i = 0; alike && i < before.size(); ++i) alike = Same(before[i], after[i]);
  if (!alike && lines.size() == start)
    lines.Add(field, absl::StrCat(before.size()), absl::StrCat(after.size()), " (in another order, or one twice)");
}

}  // namespace

std::vector<std::string> Differences(const v1::SweepSpec& before, const v1::SweepSpec& after, size_t most) {
  Lines lines;
  CompareSpecs(before, after, lines);
  return lines.Take(most);
}

std::vector<std::string> Differences(const v1::SweepManifest& before, const v1::SweepManifest& after, size_t most) {
  if (Same(before, after)) return {};
  Lines lines;
  CompareSpecs(before.spec(), after.spec(), lines);
  if (before.cell_count() != after.cell_count())
    lines.Add("cell_count", absl::StrCat(before.cell_count()), absl::StrCat(after.cell_count()));
  CompareRefs("models", before.models(), after.models(), lines);
  CompareRefs("embedders", before.embedders(), after.embedders(), lines);
  auto text = [&](const char* field, const std::string& was, const std::string& is) {
    if (was != is) lines.Add(field, was.empty() ? kNone : Word(was), is.empty() ? kNone : Word(is));
  };
  text("noise_dtype", before.noise_dtype(), after.noise_dtype());
  text("compute_dtype", before.compute_dtype(), after.compute_dtype());
  text("imported_from", before.imported_from(), after.imported_from());
  if (lines.size() == 0) lines.Add("manifest", "a field", "another", " (not known to this version)");
  return lines.Take(most);
}

}  // namespace promptsweep::sweep
