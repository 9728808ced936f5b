#include "jobs/motifs/names/naming.h"

#include <utility>

namespace promptsweep::motifs {

std::vector<MotifName> NameWithKinds(const Matrix& x, const RowSet& members, const RowSet& baseline, const Matrix& words,
                                     const std::vector<std::string>& labels, const Hierarchy* hierarchy) {
  std::vector<MotifName> names;
  for (ScoredLabel& label : NameMotif(x, members, baseline, words, labels)) names.push_back({std::move(label), {}, false});
  if (hierarchy == nullptr) return names;
  const std::vector<Kind> kinds = hierarchy->StandingOut(x, members, baseline);
  if (kinds.empty()) return names;
  if (names.empty()) {
    MotifName& name = names.emplace_back();
    name.label.label = labels[kinds[0].word];
    name.label.word = kinds[0].word;
    name.label.standing = kinds[0].z;
    name.kind = true;
  }
  for (MotifName& name : names) {
    for (const uint32_t above : hierarchy->Path(name.label.word, kinds)) {
      if (above != name.label.word) name.path.push_back(labels[above]);
    }
  }
  return names;
}

}  // namespace promptsweep::motifs
