#include "jobs/motifs/copies/report_copies.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "jobs/motifs/copies/pictures.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::motifs {
namespace {

constexpr int kOrdinalsShown = 16;
constexpr size_t kPromptsShown = 100;
constexpr size_t kFewestSeeds = 3;

v1::CopyVerdict ToProto(CopyVerdict verdict) {
  switch (verdict) {
    case CopyVerdict::kUnknown:
      return v1::COPY_VERDICT_UNSPECIFIED;
    case CopyVerdict::kVerbatim:
      return v1::COPY_VERDICT_VERBATIM;
    case CopyVerdict::kTemplate:
      return v1::COPY_VERDICT_TEMPLATE;
    case CopyVerdict::kSemantic:
      return v1::COPY_VERDICT_SEMANTIC;
  }
  return v1::COPY_VERDICT_UNSPECIFIED;
}

v1::Copies Judged(const StoredPictures& stored, const CopyJob& job, absl::Span<const Overlay* const> others = {}) {
  const CopyFinding finding = JudgeCopies(stored.pictures, job.options, job.threads, others);
  v1::Copies copies;
  copies.set_verdict(ToProto(finding.verdict));
  copies.set_pictures(finding.pictures);
  copies.set_undecodable(stored.undecodable);
  copies.set_seeds(finding.seeds);
  copies.set_copies(finding.copies);
  copies.set_share(finding.share);
  copies.set_share_low(finding.share_ci.low);
  copies.set_share_high(finding.share_ci.high);
  copies.set_identical(finding.identical);
  copies.set_clique(finding.clique.vertices.size());
  copies.set_clique_exact(finding.clique.exact);
  std::set<uint64_t> ordinals;
  for (const uint32_t i : finding.clique.vertices) ordinals.insert(stored.pictures[i].ordinal);
  for (const uint64_t ordinal : ordinals) {
    if (copies.clique_ordinals_size() < kOrdinalsShown) copies.add_clique_ordinals(ordinal);
  }
  copies.set_links(finding.links);
  if (finding.described > 0) {
    copies.set_detector(job.detector);
    copies.set_detector_pictures(finding.described);
    copies.set_detector_links(finding.detected_links);
    copies.set_detector_decides(finding.detector_decides);
    copies.set_vectors_alone(finding.described_alone);
  }
  copies.set_template_score(finding.template_score);
  return copies;
}

absl::Span<const Picture> Decoded(const StoredPictures& stored) {
  const auto end = std::find_if(stored.pictures.begin(), stored.pictures.end(), [](const Picture& p) { return !p.decoded(); });
  return absl::MakeConstSpan(stored.pictures).first(end - stored.pictures.begin());
}

absl::Status Unreadable(const StoredPictures& stored, v1::MotifReport& report) {
  report.add_notes(absl::StrCat("copies were not sought: the pictures could not be read: ", stored.unreadable));
  return absl::OkStatus();
}

void CountEqualVectors(const Matrix& x, const RowSet& members, v1::Copies& copies) {
  absl::flat_hash_map<absl::string_view, uint64_t> counts;
  for (const uint32_t i : members) ++counts[{reinterpret_cast<const char*>(x.row(i)), x.dim * sizeof(float)}];
  for (const auto& [vector, count] : counts) {
    if (count < 2) continue;
    copies.set_equal_vectors(copies.equal_vectors() + count);
    copies.set_largest_equal(std::max(copies.largest_equal(), count));
  }
}

std::vector<uint64_t> OrdinalsOf(const RowSet& rows, const Runs& runs) {
  std::vector<uint64_t> ordinals;
  for (const uint32_t i : rows) ordinals.push_back(runs.ordinal[i]);
  return ordinals;
}

// Target rows of each prompt with enough of them, the most rows first, as many as the job looks at.
std::vector<RowSet> PromptsToLookAt(const Runs& runs, const CopyJob& job, size_t& left_out) {
  std::vector<RowSet> prompts;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (!runs.is_target[i]) continue;
    if (runs.prompt[i] >= prompts.size()) prompts.resize(runs.prompt[i] + 1);
    prompts[runs.prompt[i]].push_back(i);
  }
  std::erase_if(prompts, [](const RowSet& rows) { return rows.size() < kFewestSeeds; });
  std::stable_sort(prompts.begin(), prompts.end(), [](const RowSet& a, const RowSet& b) { return a.size() > b.size(); });
  uint64_t pictures = 0;
  size_t kept = 0;
  for (; kept < prompts.size(); ++kept) {
    RowSet& rows = prompts[kept];
    rows = DrawSome(std::move(rows), job.pictures, job.seed);
    pictures += rows.size();
    if (pictures > job.prompt_pictures) break;
  }
  left_out = prompts.size() - kept;
  prompts.resize(kept);
  return prompts;
}

absl::Status AddPrompts(v1::StoreService::StubInterface& store, const Runs& runs, const CopyJob& job, v1::MotifReport& report,
                        uint64_t& undecodable) {
  size_t left_out = 0;
  std::vector<v1::PromptCopies> verbatim;
  bool any = false;
  for (const RowSet& rows : PromptsToLookAt(runs, job, left_out)) {
    PS_ASSIGN_OR_RETURN(const StoredPictures stored,
                        LoadPictures(store, report.sweep(), OrdinalsOf(rows, runs), job.imported, job.detector, job.threads));
    if (!stored.unreadable.empty()) return Unreadable(stored, report);
    any |= !stored.pictures.empty();
    undecodable += stored.undecodable;
    if (stored.pictures.size() < kFewestSeeds) continue;
    report.set_prompts_looked_at(report.prompts_looked_at() + 1);
    v1::PromptCopies prompt;
    *prompt.mutable_copies() = Judged(stored, job);
    if (prompt.copies().verdict() != v1::COPY_VERDICT_VERBATIM) continue;
    prompt.set_prompt(sweep::PromptText(stored.prompt));
    verbatim.push_back(std::move(prompt));
  }
  report.set_prompts_verbatim(verbatim.size());
  std::stable_sort(verbatim.begin(), verbatim.end(),
                   [](const auto& a, const auto& b) { return a.copies().clique() > b.copies().clique(); });
  for (size_t i = 0; i < std::min(kPromptsShown, verbatim.size()); ++i) *report.add_prompt_copies() = std::move(verbatim[i]);
  if (any && left_out > 0) {
    report.add_notes(absl::StrCat("copies among the seeds of one prompt were sought for ", report.prompts_looked_at(),
                                  " prompts only; ", left_out, " with fewer runs were left out"));
  }
  return absl::OkStatus();
}

// Pictures of no motif, to tell a template from what all pictures share; none where there are too few.
absl::StatusOr<StoredPictures> PicturesOfNone(v1::StoreService::StubInterface& store, const Runs& runs,
                                              const std::vector<RowSet>& members, const CopyJob& job, uint32_t sweep) {
  constexpr uint64_t kMost = 200;
  constexpr size_t kFewest = 20;
  std::vector<uint8_t> in_motif(runs.size(), 0);
  for (const RowSet& rows : members) {
    for (const uint32_t i : rows) in_motif[i] = 1;
  }
  RowSet others;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    if (!in_motif[i]) others.push_back(i);
  }
  PS_ASSIGN_OR_RETURN(
      StoredPictures stored,
      LoadPictures(store, sweep, OrdinalsOf(DrawSome(std::move(others), kMost, job.seed), runs), job.imported, "", job.threads));
  return stored.pictures.size() < kFewest ? StoredPictures() : std::move(stored);
}

}  // namespace

absl::Status AddCopies(v1::StoreService::StubInterface& store, const Matrix& x, const Runs& runs,
                       const std::vector<RowSet>& members, const CopyJob& job, v1::MotifReport& report) {
  if (job.pictures == 0) return absl::OkStatus();
  if (job.reference != nullptr) *report.mutable_reference() = job.reference->Describe();
  if (!job.detector.empty()) {
    report.set_copy_detector(job.detector);
    report.set_copy_cosine(job.options.least_cosine);
  }
  uint64_t undecodable = 0, without = 0, by_vectors = 0;
  StoredPictures of_none;
  if (report.motifs_size() > 0) {
    PS_ASSIGN_OR_RETURN(of_none, PicturesOfNone(store, runs, members, job, report.sweep()));
  }
  std::vector<const Overlay*> others;
  for (const Picture& picture : of_none.pictures) others.push_back(&picture.overlay);
  for (int m = 0; m < report.motifs_size(); ++m) {
    const RowSet drawn = DrawSome(members[m], job.pictures, job.seed);
    PS_ASSIGN_OR_RETURN(const StoredPictures stored,
                        LoadPictures(store, report.sweep(), OrdinalsOf(drawn, runs), job.imported, job.detector, job.threads));
    if (!stored.unreadable.empty()) return Unreadable(stored, report);
    v1::Copies& copies = *report.mutable_motifs(m)->mutable_copies();
    copies = Judged(stored, job, others);
    if (job.reference != nullptr) *report.mutable_motifs(m)->mutable_reference() = job.reference->Match(Decoded(stored));
    undecodable += stored.undecodable;
    const uint64_t decoded = stored.pictures.size() - copies.vectors_alone();
    if (decoded > 0 || stored.undecodable > 0) continue;
    ++without;
    by_vectors += copies.vectors_alone() > 0;
    CountEqualVectors(x, members[m], copies);
  }
  PS_RETURN_IF_ERROR(AddPrompts(store, runs, job, report, undecodable));
  if (without > 0) {
    const bool some = without < static_cast<uint64_t>(report.motifs_size());
    report.add_notes(absl::StrCat("no pictures are stored", some ? absl::StrCat(" of ", without, " motifs") : "",
                                  by_vectors == 0
                                      ? ", so whether members are copies cannot be told; only equal vectors were counted"
                                      : absl::StrCat(", so whether members are copies is told by the vectors of ", job.detector,
                                                     " alone; whether they have a fixed part in common is not")));
  }
  if (undecodable > 0) {
    report.add_notes(absl::StrCat("of the pictures looked at for copies ", undecodable, " could not be decoded"));
  }
  return absl::OkStatus();
}

}  // namespace promptsweep::motifs
