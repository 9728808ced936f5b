#include "jobs/motifs/namer.h"

#include <string>
#include <utility>

namespace promptsweep::motifs {

Namer::Namer(const SweepData& data, const Vocabulary& vocabulary, const std::vector<Finding>& findings)
    : data_(data), vocabulary_(vocabulary) {
  if (findings.empty() || vocabulary.parents.empty() || vocabulary.words.dim != data.x.dim) return;
  const RowSet background = WithoutMotif(findings, data.runs);
  if (background.size() >= kFewestBackground) hierarchy_.emplace(vocabulary.words, vocabulary.parents, data.x, background);
}

const std::vector<MotifName>& Namer::NamesOf(const Finding& finding) {
  const RowSet members = TargetMembers(finding, data_.runs);
  const auto found = names_.find(members);
  if (found != names_.end()) return found->second;
  return names_[members] = NameWithKinds(data_.x, members, ComparedWith(finding, members, data_.runs), vocabulary_.words,
                                         vocabulary_.labels, hierarchy_ ? &*hierarchy_ : nullptr);
}

std::vector<Finding> Namer::CombineByName(const std::vector<Finding>& findings) {
  std::map<std::pair<Tier, std::string>, std::vector<Finding>> named;
  std::vector<Finding> combined;
  for (const Finding& finding : findings) {
    const std::vector<MotifName>& names = NamesOf(finding);
    if (names.empty() || names[0].kind) {
      combined.push_back(finding);
    } else {
      named[{finding.tier, names[0].label.label}].push_back(finding);
    }
  }
  for (auto& [name, parts] : named) combined.push_back(Combine(data_.x, data_.runs, std::move(parts)));
  SortFindings(combined);
  return combined;
}

}  // namespace promptsweep::motifs
