#include "cli/stop_words.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/text.h"
#include "jobs/sweep/growth.h"

namespace promptsweep::cli {
namespace {

const v1::StopLook& LastLook(const v1::StopState& stop) { return stop.looks(stop.looks_size() - 1); }

// Why an unfinished sweep can get no more seeds; OK where it can, or has got them already.
absl::Status Room(const v1::StopState& stop, const v1::SweepManifest& manifest) {
  const v1::StopLook& look = LastLook(stop);
  if (look.reason() != v1::STOP_REASON_GO_ON || manifest.cell_count() != look.cells()) return absl::OkStatus();
  return GrowAsAsked(stop, manifest).status();
}

}  // namespace

absl::StatusOr<v1::SweepManifest> GrowAsAsked(const v1::StopState& stop, const v1::SweepManifest& manifest) {
  return sweep::GrowSeeds(manifest, {.target = LastLook(stop).grow_target(),
                                     .baseline = LastLook(stop).grow_baseline(),
                                     .factor = stop.rule().growth(),
                                     .max_cells = stop.rule().max_cells()});
}

std::string OpenInWords(const v1::StopState& stop) {
  constexpr size_t kMost = 5;
  std::vector<std::string> open;
  for (const v1::FrozenMotif& motif : stop.frozen()) {
    if (motif.decided()) continue;
    open.push_back(absl::StrCat(motif.label().empty() ? absl::StrCat("motif ", motif.id(), ", unnamed") : OneLine(motif.label()),
                                " (", absl::StripPrefix(OneLine(motif.verdict()), "open: "), ")"));
  }
  if (open.size() > kMost) {
    const size_t more = open.size() - kMost;
    open.resize(kMost);
    open.push_back(absl::StrCat("and ", more, " more"));
  }
  return absl::StrJoin(open, ", ");
}

std::string UnseenInWords(const v1::StopState& stop) {
  if (stop.unseen_asked() <= 0) return "";
  if (stop.unseen_below() > stop.unseen_asked()) {
    return stop.unseen_below() >= 1 ? "There are too few runs to find a motif, however frequent."
                                    : absl::StrCat(stop.frozen().empty() ? "No motif was found; one" : "A further motif",
                                                   " in up to ", Percent(stop.unseen_below()), " of runs may have gone unseen.");
  }
  if (!stop.frozen().empty()) return "";
  return absl::StrCat("No motif was found; one in more than ", Percent(stop.unseen_below()), " of runs would have been seen.");
}

std::string LookInWords(const v1::StopState& stop, const v1::SweepManifest& manifest) {
  const absl::Status room = Room(stop, manifest);
  std::string words = LastLook(stop).words();
  if (!room.ok()) absl::StrAppend(&words, "; but it cannot grow: ", room.message());
  if (room.ok() && LastLook(stop).reason() == v1::STOP_REASON_GO_ON) return words;
  const std::string open = OpenInWords(stop);
  return open.empty() ? words : absl::StrCat(words, "; still open: ", open);
}

std::string EndInWords(const v1::StopState& stop, const v1::SweepManifest& manifest) {
  const v1::StopLook& look = LastLook(stop);
  const std::string at = absl::StrCat("at look ", look.number(), ", after ", Grouped(look.target_runs()), " runs");
  const std::string sentence = UnseenInWords(stop);
  const std::string unseen = sentence.empty() ? "" : absl::StrCat(" ", sentence);
  switch (look.reason()) {
    case v1::STOP_REASON_DECIDED:
      return absl::StrCat("It stopped ", at, ": the rule has its answers.", unseen);
    case v1::STOP_REASON_MAX_CELLS:
      return absl::StrCat("It stopped ", at, ", without all answers: no more cells are allowed. What is open stays open.",
                          unseen);
    default:
      break;
  }
  if (manifest.cell_count() > look.cells()) {
    return absl::StrCat("It goes on: since the last look ", Grouped(manifest.cell_count() - look.cells()),
                        " cells were added, and the next look comes when they are done.");
  }
  const absl::Status room = Room(stop, manifest);
  if (room.ok()) return "It is not done: more seeds are asked, which run or watch adds.";
  return absl::StrCat("It stopped ", at, ", without all answers, as it cannot grow: ", room.message(),
                      ". What is open stays open.", unseen);
}

}  // namespace promptsweep::cli
