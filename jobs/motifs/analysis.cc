#include "jobs/motifs/analysis.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/half.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/motifs/across_data.h"
#include "jobs/motifs/concept_report.h"
#include "jobs/motifs/copies/detector.h"
#include "jobs/motifs/copies/pictures.h"
#include "jobs/motifs/history.h"
#include "jobs/motifs/look.h"
#include "jobs/motifs/look_question.h"
#include "jobs/motifs/namer.h"
#include "jobs/motifs/names/explain.h"
#include "jobs/motifs/outlook.h"

namespace promptsweep::motifs {
namespace {

// Members a motif needs among the runs that discovery looks at.
constexpr int kFewestFound = 10;

v1::MotifTier ToProto(Tier tier) {
  switch (tier) {
    case Tier::kConfirmed:
      return v1::MOTIF_TIER_CONFIRMED;
    case Tier::kCandidate:
      return v1::MOTIF_TIER_CANDIDATE;
    case Tier::kDescriptive:
      return v1::MOTIF_TIER_DESCRIPTIVE;
  }
  return v1::MOTIF_TIER_UNSPECIFIED;
}

const char* SourceName(Source source) {
  switch (source) {
    case Source::kDensity:
      return "density";
    case Source::kKmeans:
      return "kmeans";
    case Source::kNeighbourhood:
      return "neighbourhood";
  }
  return "";
}

v1::Motif ToProto(const Finding& finding, const SweepData& data, Namer& namer, uint32_t id) {
  v1::Motif motif;
  motif.set_id(id);
  motif.set_tier(ToProto(finding.tier));
  motif.set_prevalence(finding.prevalence);
  motif.set_ci_low(finding.prevalence_ci.low);
  motif.set_ci_high(finding.prevalence_ci.high);
  motif.set_missed(finding.missed);
  if (finding.lift) {
    motif.set_baseline_prevalence(static_cast<double>(finding.counts.baseline_in) / finding.counts.baseline);
    motif.set_lift(finding.lift->ratio);
    motif.set_lift_low(finding.lift->ci.low);
    motif.set_lift_high(finding.lift->ci.high);
  }
  if (finding.q) motif.set_q_value(*finding.q);
  motif.set_members(finding.counts.target_in);
  motif.set_heldout_runs(finding.counts.target);
  motif.set_heldout_members(finding.counts.target_in);
  motif.set_radius_cosine(finding.region.threshold);
  motif.set_mean_cosine(finding.mean_cosine);
  motif.set_source(SourceName(finding.region.source));
  motif.set_stability(finding.stability);
  motif.set_separation(finding.region.separation);
  motif.set_centre(PackHalves(finding.region.centre.data(), finding.region.centre.size()));
  motif.set_key(finding.key);
  SetFolds(finding.frozen, motif);

  for (const Region& region : finding.looks) {
    v1::MotifLook& look = *motif.add_looks();
    look.set_centre(PackHalves(region.centre.data(), region.centre.size()));
    look.set_radius_cosine(region.threshold);
  }

  const RowSet members = TargetMembers(finding, data.runs);
  const Exemplars exemplars = ChooseExemplars(data.x, members, finding.region.centre);
  motif.set_medoid(data.runs.ordinal[exemplars.medoid]);
  motif.add_exemplars(motif.medoid());
  for (const uint32_t i : exemplars.diverse) motif.add_exemplars(data.runs.ordinal[i]);
  for (const uint32_t i : exemplars.borderline) motif.add_borderline(data.runs.ordinal[i]);
  for (const MotifName& name : namer.NamesOf(finding)) {
    v1::MotifLabel& label = *motif.add_labels();
    label.set_label(name.label.label);
    label.set_z(name.label.z);
    label.set_standing(name.label.standing);
    label.set_share(name.label.share);
    *label.mutable_path() = {name.path.begin(), name.path.end()};
    label.set_kind(name.kind);
  }
  if (motif.labels_size() > 0) motif.set_label(motif.labels(0).label());
  return motif;
}

// Where somebody who named no vocabulary may wonder. Else empty.
std::string VocabularyNote(const Vocabulary& vocabulary, const std::string& asked) {
  if (!vocabulary.others.empty()) {
    return absl::StrCat(
        "the embedder has no labels of its own and several vocabularies are stored for it, so motifs have no names; ",
        "--vocabulary takes one of: ", absl::StrJoin(vocabulary.others, ", "));
  }
  if (vocabulary.labels.empty()) return "the store holds no label vocabulary for this embedder, so motifs have no names";
  if (asked.empty() && !vocabulary.name.empty()) {
    return absl::StrCat("the embedder has no labels of its own; motifs are named by the one vocabulary stored for it, ",
                        vocabulary.name);
  }
  return "";
}

std::vector<Frozen> FrozenOf(const std::vector<Finding>& findings) {
  std::vector<Frozen> frozen;
  for (const Finding& finding : findings) frozen.push_back(finding.frozen);
  return frozen;
}

// The last report that answered a question; absent where there was none.
absl::StatusOr<std::optional<v1::MotifReport>> LastReport(v1::StoreService::StubInterface& store, uint32_t sweep,
                                                          const std::string& question) {
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(60));
  v1::GetMotifsRequest request;
  request.set_sweep(sweep);
  request.set_question(question);
  v1::GetMotifsResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetMotifs(&context, request, &response)));
  if (response.report().empty()) return std::nullopt;
  v1::MotifReport report;
  if (!report.ParseFromString(response.report())) return absl::DataLossError("the report stored before cannot be read");
  return report;
}

absl::Status PutReport(v1::StoreService::StubInterface& store, const v1::MotifReport& report, const std::string& question) {
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(60));
  v1::PutMotifsRequest request;
  request.set_question(question);
  request.set_sweep(report.sweep());
  request.set_report(report.SerializeAsString());
  v1::PutMotifsResponse response;
  return FromGrpc(store.PutMotifs(&context, request, &response));
}

// What of a report is known before anything is mined.
v1::MotifReport Asked(const SweepReader& reader, const AnalysisOptions& options) {
  v1::MotifReport report;
  report.set_sweep(reader.info().sweep());
  report.set_sweep_name(reader.info().manifest().spec().name());
  report.set_embedder(reader.embedder().id());
  for (const v1::AxisFilter& filter : reader.target()) *report.add_target() = filter;
  for (const v1::AxisFilter& filter : reader.baseline()) *report.add_baseline() = filter;
  report.set_question(QuestionName(options.selection.question));
  report.set_fdr(options.mine.fdr);
  report.set_seed(options.mine.seed);
  report.set_program_version(PROMPTSWEEP_VERSION);
  return report;
}

// The motifs of the report before, counted as they were frozen.
absl::StatusOr<Mined> CountAgain(const v1::MotifReport& previous, const SweepData& data, const MineOptions& options) {
  Mined mined;
  mined.candidates = previous.candidates_tested();
  for (const v1::Motif& motif : previous.motifs()) {
    PS_ASSIGN_OR_RETURN(Finding finding, FindingOf(motif));
    if (static_cast<int64_t>(finding.region.centre.size()) != data.x.dim)
      return absl::DataLossError("the motifs stored before have other dimensions than the vectors");
    mined.findings.push_back(std::move(finding));
  }
  const Design design(data.runs);
  mined.exchangeable = design.exchangeable();
  std::vector<RowSet> members = MembersOf(data.x, data.runs.fold, FrozenOf(mined.findings), options.threads);
  std::vector<Tallies> inside;
  for (size_t r = 0; r < members.size(); ++r) {
    inside.push_back(design.TallyOf(members[r]));
    mined.findings[r].members = std::move(members[r]);
  }
  mined.findings = Settle(design, inside, std::move(mined.findings), options);
  return mined;
}

// What members are compared with, and in whose vectors.
struct Memory {
  std::string detector;
  std::optional<ReferenceFiles> reference;
  ReferenceSpace space;  // of a reference of vectors
};

absl::Status MatchReference(v1::StoreService::StubInterface& store, const SweepReader& reader, const SweepData& data,
                            const std::vector<RowSet>& members, const Memory& memory, const AnalysisOptions& options,
                            v1::MotifReport& report) {
  ReferenceOptions how = options.reference;
  how.least_cosine =
      options.reference_cosine.value_or(memory.space.detects_copies ? options.copies.options.least_cosine : how.least_cosine);
  const int threads = options.mine.threads;
  if (memory.space.embedder == reader.embedder().id()) {
    PS_RETURN_IF_ERROR(MatchVectors(*memory.reference, how, data.x, data.runs, members, threads, report));
  } else {
    std::set<uint64_t> wanted;
    for (const RowSet& rows : members) {
      for (const uint32_t row : rows) wanted.insert(data.runs.ordinal[row]);
    }
    PS_ASSIGN_OR_RETURN(const Descriptors found,
                        DescriptorsOf(store, report.sweep(), memory.space.embedder, {wanted.begin(), wanted.end()}));
    Runs runs;
    runs.ordinal = found.ordinals;
    std::map<uint64_t, uint32_t> row_of;
    for (size_t i = 0; i < found.ordinals.size(); ++i) row_of[found.ordinals[i]] = static_cast<uint32_t>(i);
    std::vector<RowSet> rows(members.size());
    for (size_t m = 0; m < members.size(); ++m) {
      for (const uint32_t row : members[m]) {
        const auto at = row_of.find(data.runs.ordinal[row]);
        if (at != row_of.end()) rows[m].push_back(at->second);
      }
    }
    PS_RETURN_IF_ERROR(MatchVectors(*memory.reference, how, found.x, runs, rows, threads, report));
    if (found.ordinals.size() < wanted.size()) {
      report.add_notes(absl::StrCat("of ", wanted.size(), " members ", wanted.size() - found.ordinals.size(),
                                    " have no vector of ", memory.space.embedder, " and were not compared with the reference"));
    }
  }
  report.mutable_reference()->set_embedder(memory.space.embedder);
  if (!memory.space.note.empty()) report.add_notes(memory.space.note);
  return absl::OkStatus();
}

// Copies among the pictures, and what is near the reference.
absl::Status AddMemory(v1::StoreService::StubInterface& store, const SweepReader& reader, const SweepData& data,
                       const std::vector<Finding>& findings, const Memory& memory, const AnalysisOptions& options,
                       v1::MotifReport& report) {
  CopyJob job = options.copies;
  job.detector = memory.detector;
  job.seed = options.mine.seed;
  job.threads = options.mine.threads;
  job.imported = !reader.info().manifest().imported_from().empty();
  std::vector<RowSet> members, drawn;
  for (const Finding& finding : findings) {
    members.push_back(TargetMembers(finding, data.runs));
    drawn.push_back(DrawSome(members.back(), options.reference.members, job.seed));
  }
  const std::optional<ReferenceFiles>& reference = memory.reference;
  std::optional<ReferencePictures> pictures;
  if (reference && reference->pictures) job.reference = &pictures.emplace(*reference, options.reference, job.threads);
  PS_RETURN_IF_ERROR(AddCopies(store, data.x, data.runs, members, job, report));
  if (!reference || reference->pictures) return absl::OkStatus();
  return MatchReference(store, reader, data, drawn, memory, options, report);
}

}  // namespace

absl::StatusOr<v1::MotifReport> Analyse(v1::StoreService::StubInterface& store, const AnalysisOptions& options) {
  Memory memory;
  std::optional<ReferenceFiles>& reference = memory.reference;
  if (!options.reference.path.empty()) {
    PS_ASSIGN_OR_RETURN(reference, FindReference(options.reference));
    if (reference->pictures && options.copies.pictures == 0) {
      return absl::InvalidArgumentError("a reference of pictures needs --pictures");
    }
  }
  PS_ASSIGN_OR_RETURN(SweepReader reader, SweepReader::Open(store, options.selection));
  PS_ASSIGN_OR_RETURN(memory.detector, ChooseDetector(reader.info().manifest(), options.copy_embedder));
  v1::MotifReport report = Asked(reader, options);
  const std::string question = QuestionDigest(report);
  std::optional<v1::MotifReport> previous;
  if (!options.fresh) {
    PS_ASSIGN_OR_RETURN(previous, LastReport(store, report.sweep(), question));
  }
  if (options.keep && !previous) {
    return absl::NotFoundError(
        "there are no motifs to keep: no report answers this question yet; seek them without --keep first");
  }
  PS_ASSIGN_OR_RETURN(const Vocabulary vocabulary, LoadVocabulary(store, reader.embedder(), options.vocabulary));
  PS_ASSIGN_OR_RETURN(const SweepData data, LoadSweep(reader, options.memory));
  if (reference && !reference->pictures) {
    PS_ASSIGN_OR_RETURN(memory.space, ChooseReferenceSpace(store, reader.info(), options.reference_embedder,
                                                           reader.embedder().id(), data.x.dim, memory.detector, *reference));
  }
  Mined mined;
  if (options.keep) {
    PS_ASSIGN_OR_RETURN(mined, CountAgain(*previous, data, options.mine));
  } else {
    mined = MineMotifs(data.x, data.runs, options.mine);
  }
  Namer namer(data, vocabulary, mined.findings);
  std::vector<Finding> findings = options.keep ? mined.findings : namer.CombineByName(mined.findings);
  Design design(data.runs);
  FrozenCounts counts;  // where the runs at hand are a sample
  if (data.sampled()) {
    PS_ASSIGN_OR_RETURN(counts, CountFrozen(reader, FrozenOf(findings), options.mine.threads));
    design = Design(counts.totals, data.runs.comparison);
    findings = Settle(design, counts.inside, std::move(findings), options.mine);
  }

  report.set_null_hypothesis(design.NullInWords());
  report.set_target_runs(design.target_runs());
  report.set_baseline_runs(design.baseline_runs());
  report.set_candidates_tested(mined.candidates);
  report.set_vocabulary(vocabulary.name);
  for (const Finding& finding : findings) {
    *report.add_motifs() = ToProto(finding, data, namer, report.motifs_size() + 1);
  }
  CarryOn(previous, options.keep, report);
  AddConcepts(findings, data, vocabulary, report);
  AddOutlook(data, findings, data.sampled() ? &counts : nullptr, options.mine, report);
  if (options.look) {
    PS_ASSIGN_OR_RETURN(const auto last, LastReport(store, report.sweep(), LookQuestion()));
    PS_RETURN_IF_ERROR(TakeLook(reader, data, last ? last->stop() : v1::StopState(), options.mine.threads, report));
  }

  PS_RETURN_IF_ERROR(AddMemory(store, reader, data, findings, memory, options, report));

  PS_RETURN_IF_ERROR(
      CountEverywhere(store, options.selection, FrozenOf(findings), options.mine.least_prevalence, options.mine.threads, report));

  if (reader.target().empty() && design.baseline_runs() == 0) {
    report.add_notes(
        "no blank prompt was asked, so all runs were looked at together; --target and --baseline compare some with others");
  }
  report.add_notes(design.NullInWords());
  report.add_notes("every run is counted by a region fitted without the fifth of the runs it belongs to");
  if (options.keep) report.add_notes("no motifs were sought: those of the report before were counted in all runs there are now");
  if (data.runs.comparison == Comparison::kPaired && design.exchangeable() != Exchangeable::kPairs &&
      design.exchangeable() != Exchangeable::kNothing) {
    report.add_notes(
        data.runs.stratum.empty()
            ? "there are too many runs to compare pair by pair"
            : "less than nine in ten of the target's runs have a partner of the same prompt, seed and settings, so runs "
              "are not compared pair by pair");
  }
  if (mined.exchangeable == Exchangeable::kRuns) {
    const std::set<uint32_t> prompts(data.runs.prompt.begin(), data.runs.prompt.end());
    if (prompts.size() > 2) {
      report.add_notes(absl::StrCat("one side has too few prompts to permute prompts; the claim is about these ", prompts.size(),
                                    " prompts, not about prompts in general"));
    }
  }
  if (design.baseline_runs() > 0 && design.baseline_runs() < design.target_runs()) {
    report.add_notes("the baseline has fewer runs than the target: rare motifs may be missed");
  }
  if (data.sampled()) {
    report.add_notes(absl::StrCat("motifs were sought in ", data.runs.size(), " of the ",
                                  design.target_runs() + design.baseline_runs(),
                                  " runs, as many as --memory holds, and counted in all"));
  }
  if (mined.recall && *mined.recall < 0.95) {
    report.add_notes(
        absl::StrFormat("motifs with fewer than about %d runs in %d were not sought: the search for near neighbours "
                        "found only %.0f %% of them",
                        kFewestFound, options.mine.discovery_runs, 100 * *mined.recall));
  }
  if (const std::string note = VocabularyNote(vocabulary, options.vocabulary); !note.empty()) report.add_notes(note);

  PS_RETURN_IF_ERROR(PutReport(store, report, question));
  if (options.look) PS_RETURN_IF_ERROR(PutReport(store, report, LookQuestion()));
  return report;
}

}  // namespace promptsweep::motifs
