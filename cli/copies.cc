#include "cli/copies.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

constexpr size_t kPromptWidth = 60;

std::string Interval(double low, double high) { return absl::StrCat(" (95 % CI ", PercentRange(low, high), ")"); }

// Of the links, those that only the detector saw; empty where it saw none.
std::string DetectedInWords(const v1::Copies& copies) {
  if (copies.detector_links() == 0) return "";
  return absl::StrCat(" ", copies.detector_links() == copies.links() ? "All" : Grouped(copies.detector_links()), " of the ",
                      Grouped(copies.links()), copies.links() == 1 ? " pair" : " pairs", " of copies ",
                      copies.detector_links() == 1 ? "was" : "were", " seen by ", copies.detector(), " alone, not in the pixels",
                      copies.detector_decides() ? ", and the verdict rests on them." : ".");
}

}  // namespace

std::string VerdictName(const v1::Motif& motif) {
  switch (motif.copies().verdict()) {
    case v1::COPY_VERDICT_VERBATIM:
      return "verbatim";
    case v1::COPY_VERDICT_TEMPLATE:
      return "template";
    case v1::COPY_VERDICT_SEMANTIC:
      return "semantic";
    default:
      return "";
  }
}

std::string VerdictInWords(const v1::Motif& motif) {
  const std::string name = VerdictName(motif);
  if (motif.copies().verdict() != v1::COPY_VERDICT_VERBATIM) return name;
  return absl::StrCat(name, " ", Percent(motif.copies().share()),
                      motif.copies().detector_decides() ? absl::StrCat(" (", motif.copies().detector(), ")") : "");
}

std::string CopiesInWords(const v1::Motif& motif) {
  const v1::Copies& copies = motif.copies();
  switch (copies.verdict()) {
    case v1::COPY_VERDICT_VERBATIM:
      return absl::StrCat("One picture is drawn again and again: ", copies.clique_exact() ? "" : "at least ",
                          Grouped(copies.clique()), " pictures of different seeds are copies of each other, and ",
                          Percent(copies.share()), " of ", Grouped(copies.pictures()), " have a copy",
                          Interval(copies.share_low(), copies.share_high()), ".", DetectedInWords(copies));
    case v1::COPY_VERDICT_TEMPLATE:
      return absl::StrCat("A fixed part around a varying one: ", Percent(copies.template_score()),
                          " of the pixels are the same in all of ", Grouped(copies.seeds()), " seeds.", DetectedInWords(copies));
    case v1::COPY_VERDICT_SEMANTIC:
      return copies.copies() == 0 ? absl::StrCat("One kind of thing, drawn anew each time: none of ", Grouped(copies.pictures()),
                                                 " pictures is a copy of another.")
                                  : absl::StrCat("One kind of thing, mostly drawn anew: ", Grouped(copies.copies()), " of ",
                                                 Grouped(copies.pictures()), " pictures have a copy.", DetectedInWords(copies));
    default:
      return "";
  }
}

std::string ReferenceInWords(const v1::Motif& motif, const v1::MotifReport& report) {
  if (!motif.has_reference() || motif.reference().compared() == 0) return "";
  const v1::ReferenceMatch& match = motif.reference();
  const v1::ReferenceIndex& index = report.reference();
  std::string words = absl::StrCat(
      Grouped(match.matches()), " of ", Grouped(match.compared()), " members", Interval(match.share_low(), match.share_high()),
      " match the reference (",
      index.pictures() ? absl::StrCat("at most ", index.most_bits(), " of 256 bits differ")
                       : absl::StrFormat("cosine at least %.3g", index.least_cosine()),
      index.embedder().empty() || index.embedder() == report.embedder() ? "" : absl::StrCat(" by ", index.embedder()), ")");
  if (match.nearest_size() > 0) {
    const v1::ReferencePair& pair = match.nearest(0);
    absl::StrAppend(&words, "; nearest is ", OneLine(pair.reference()), " to ", pair.ordinal(), " (",
                    index.pictures() ? absl::StrCat(pair.bits(), " bits") : absl::StrFormat("%.3f", pair.cosine()), ")");
  }
  return words + ".";
}

std::string PromptCopiesInWords(const v1::MotifReport& report) {
  if (report.prompt_copies().empty()) return "";
  const v1::PromptCopies& first = report.prompt_copies(0);
  const uint64_t prompts = report.prompts_verbatim();
  return absl::StrCat("the seeds of ", prompts == 1 ? "one prompt" : absl::StrCat(prompts, " prompts"), " (of ",
                      report.prompts_looked_at(), ") draw one picture again and again; most often those of “",
                      Truncate(OneLine(first.prompt()), kPromptWidth), "”: ", Grouped(first.copies().clique()), " of ",
                      Grouped(first.copies().pictures()), " pictures");
}

}  // namespace promptsweep::cli
