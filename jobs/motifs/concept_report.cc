#include "jobs/motifs/concept_report.h"

#include <algorithm>

#include "jobs/motifs/names/concepts.h"
#include "jobs/motifs/names/explain.h"

namespace promptsweep::motifs {
namespace {

void Put(const Decomposition& found, const Vocabulary& vocabulary, v1::MotifConcepts& concepts) {
  concepts.set_cosine(found.cosine);
  for (const Concept& one : found.concepts) {
    v1::MotifConcept& put = *concepts.add_concepts();
    put.set_label(vocabulary.labels[one.word]);
    put.set_weight(one.weight);
  }
}

}  // namespace

void AddConcepts(const std::vector<Finding>& findings, const SweepData& data, const Vocabulary& vocabulary,
                 v1::MotifReport& report) {
  if (findings.empty() || vocabulary.labels.size() < kFewestWords || vocabulary.words.dim != data.x.dim) return;
  const RowSet background = WithoutMotif(findings, data.runs);
  if (background.size() < kFewestBackground) return;
  const ConceptSpace space(vocabulary.words);
  const ConceptReader reader(space, data.x, background);
  for (size_t f = 0; f < findings.size(); ++f) {
    const RowSet members = TargetMembers(findings[f], data.runs);
    const RowSet others = ComparedWith(findings[f], members, data.runs);
    if (members.empty() || others.empty()) continue;
    const MotifConcepts found = reader.Read(data.x, members, others);
    v1::Motif& motif = *report.mutable_motifs(f);
    if (!found.apart.concepts.empty()) Put(found.apart, vocabulary, *motif.mutable_concepts());
    if (!found.shows.concepts.empty()) Put(found.shows, vocabulary, *motif.mutable_shows());
  }
}

}  // namespace promptsweep::motifs
