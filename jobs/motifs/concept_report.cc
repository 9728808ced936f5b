#include "jobs/motifs/concept_report.h"

#include <algorithm>

#include "jobs/motifs/concepts.h"
#include "jobs/motifs/explain.h"

namespace promptsweep::motifs {
namespace {

constexpr size_t kFewestRuns = 20;

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
  const bool compared = findings[0].lift.has_value();
  std::vector<bool> shown(data.runs.size(), false);
  for (const Finding& finding : findings) {
    for (const uint32_t i : finding.members) shown[i] = true;
  }
  RowSet background;
  for (uint32_t i = 0; i < data.runs.size(); ++i) {
    if (!shown[i] && !(compared && data.runs.is_target[i])) background.push_back(i);
  }
  if (background.size() < kFewestRuns) return;
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
