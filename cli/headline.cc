#include "cli/headline.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

using Filters = google::protobuf::RepeatedPtrField<v1::AxisFilter>;

bool IsBlankOnly(const Filters& filters) {
  if (filters.empty()) return false;
  for (const v1::AxisFilter& filter : filters) {
    if (filter.axis() != "prompt" || !filter.value().empty()) return false;
  }
  return true;
}

// The one model that the filters name; empty where they name none, or several.
std::string TheModel(const Filters& filters) {
  std::string model;
  for (const v1::AxisFilter& filter : filters) {
    if (filter.axis() != "model") continue;
    if (!model.empty()) return "";
    model = filter.value();
  }
  return OneLine(model);
}

std::string FiltersInWords(const Filters& filters) {
  std::vector<std::string> others;
  std::vector<std::string> prompts;
  bool blank = false;
  for (const v1::AxisFilter& filter : filters) {
    if (filter.axis() != "prompt") {
      others.push_back(absl::StrCat(filter.axis(), "=", filter.value()));
    } else if (filter.value().empty()) {
      blank = true;
    } else {
      prompts.push_back(absl::StrCat("“", Truncate(OneLine(filter.value()), 80), "”"));
    }
  }
  std::string words = blank && prompts.empty() ? "blank runs" : "runs";
  if (!prompts.empty()) absl::StrAppend(&words, " of ", blank ? "blank or " : "", absl::StrJoin(prompts, " or "));
  if (!others.empty()) absl::StrAppend(&words, " with ", OneLine(absl::StrJoin(others, ", ")));
  return words;
}

bool IsKind(const v1::Motif& motif) { return motif.labels_size() > 0 && motif.labels(0).kind(); }

// "garment > sari".
std::string PathOf(const v1::Motif& motif) {
  std::string path;
  if (motif.labels_size() > 0) {
    for (const std::string& kind : motif.labels(0).path()) absl::StrAppend(&path, kind, " > ");
  }
  return OneLine(absl::StrCat(path, absl::StripAsciiWhitespace(motif.label())));
}

}  // namespace

std::string RunsInWords(const Filters& filters) { return filters.empty() ? "runs" : FiltersInWords(filters); }

std::string BaselineInWords(const v1::MotifReport& report) {
  if (report.question() == "leak" && std::none_of(report.baseline().begin(), report.baseline().end(),
                                                  [](const v1::AxisFilter& filter) { return filter.axis() == "prompt"; })) {
    return "the other prompts";
  }
  if (report.baseline().empty()) return IsBlankOnly(report.target()) ? "prompts" : "the other runs";
  return FiltersInWords(report.baseline());
}

std::string NameInWords(const v1::Motif& motif) {
  if (motif.label().empty()) return "(unnamed)";
  return absl::StrCat(PathOf(motif), IsKind(motif) ? " (a kind)" : "");
}

std::string MotifInWords(const v1::Motif& motif) {
  const std::string label = OneLine(absl::StripAsciiWhitespace(motif.label()));
  if (label.empty()) return absl::StrCat("one kind of picture (motif ", motif.id(), ", unnamed)");
  const std::string path = PathOf(motif);
  return absl::StrCat(IsKind(motif) ? absl::StrCat("some kind of ", label) : Plural(label),
                      path == label ? "" : absl::StrCat(" (", path, ")"));
}

std::string LiftInWords(const v1::Motif& motif) {
  const bool none = motif.has_baseline_prevalence() && motif.baseline_prevalence() == 0 && motif.has_lift_low();
  return none ? absl::StrCat("at least ", Times(motif.lift_low())) : Times(motif.lift());
}

std::string ConceptsInWords(const v1::MotifConcepts& concepts) {
  constexpr int kMost = 5;
  double total = 0;
  for (const v1::MotifConcept& one : concepts.concepts()) total += one.weight();
  std::string text;
  for (int i = 0; i < std::min(kMost, concepts.concepts_size()); ++i) {
    const v1::MotifConcept& one = concepts.concepts(i);
    absl::StrAppend(&text, text.empty() ? "" : ", ", one.label(), absl::StrFormat(" %.0f %%", 100 * one.weight() / total));
  }
  return text;
}

std::string TierName(v1::MotifTier tier) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::MotifTier_Name(tier), "MOTIF_TIER_"));
}

std::string TierInWords(v1::MotifTier tier) {
  switch (tier) {
    case v1::MOTIF_TIER_CONFIRMED:
      return "Confirmed: more frequent than in the baseline, counted on runs that played no part in drawing the line around it.";
    case v1::MOTIF_TIER_CANDIDATE:
      return "Candidate: it was found, but that it is more frequent than in the baseline is not proven.";
    case v1::MOTIF_TIER_DESCRIPTIVE:
      return "Descriptive: it recurs; nothing was tested, for want of a baseline or because that one differs is no question.";
    default:
      return "Unknown tier.";
  }
}

std::string Headline(const v1::MotifReport& report, size_t models) {
  const std::string model = TheModel(report.target());
  const bool one = models <= 1 || !model.empty();
  const std::string subject = !model.empty() && models > 1 ? model : one ? "this model" : "these models";
  Filters filters = report.target();
  if (subject == model) {
    for (int i = filters.size() - 1; i >= 0; --i) {
      if (filters[i].axis() == "model") filters.DeleteSubrange(i, 1);
    }
  }
  const std::string runs = RunsInWords(filters);
  if (report.target_runs() == 0) return absl::StrCat("there are no ", runs, " to look at");
  if (report.motifs().empty()) {
    return absl::StrCat("nothing recurs: no motif stands out in ", Grouped(report.target_runs()), " ", runs);
  }
  const v1::Motif& motif = report.motifs(0);
  const std::string share =
      absl::StrCat(Percent(motif.prevalence()), " of ", runs, " (95 % CI ", PercentRange(motif.ci_low(), motif.ci_high()), ")");
  const std::string what = MotifInWords(motif);
  switch (motif.tier()) {
    case v1::MOTIF_TIER_CONFIRMED:
      return absl::StrCat(subject, one ? " keeps drawing " : " keep drawing ", what, ": ", share, ", ", LiftInWords(motif),
                          " more than on ", BaselineInWords(report));
    case v1::MOTIF_TIER_CANDIDATE:
      return absl::StrCat("nothing is confirmed; ", subject, " may keep drawing ", what, ": ", share,
                          ", not proven to be more than on ", BaselineInWords(report));
    default:
      return absl::StrCat(
          subject, one ? " draws " : " draw ", what, " in ", share,
          report.question() == "collapsed" && motif.has_lift()
              ? absl::StrCat(", ", LiftInWords(motif), " as often as on ", BaselineInWords(report), "; nothing was tested")
              : "; there is no baseline to compare with");
  }
}

}  // namespace promptsweep::cli
