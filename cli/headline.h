// One honest sentence about what a model keeps drawing.
#pragma once

#include <string>
#include <vector>

#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

// "14x", or where no baseline run is inside, so that the ratio rests on the half that smoothing adds, "at least 9x": the lower
// end of its interval. Requires has_lift.
[[nodiscard]] std::string LiftInWords(const v1::Motif& motif);

// The heaviest words with their shares of the weight, at most five: "sari 62 %, woman 21 %".
[[nodiscard]] std::string ConceptsInWords(const v1::MotifConcepts& concepts);

// "blank runs", "runs of “a cat”", "runs with model=x".
[[nodiscard]] std::string RunsInWords(const google::protobuf::RepeatedPtrField<v1::AxisFilter>& filters);
// What the target is compared with, after "more than on": "prompts", "blank prompts", "the other runs", ...
[[nodiscard]] std::string BaselineInWords(const v1::MotifReport& report);
// A motif's name: "sari"; with the kinds above it that stand out, too, "garment > sari"; "garment (a kind)" where no word does
// but a kind; "(unnamed)". One line, safe to print.
[[nodiscard]] std::string NameInWords(const v1::Motif& motif);
// The motif's subject: "saris" for label "sari", "saris (garment > sari)" below kinds, "some kind of garment" where only a kind
// stands out, "one picture (motif 2, unnamed)" without a label.
[[nodiscard]] std::string MotifInWords(const v1::Motif& motif);
// "confirmed", "candidate", "descriptive".
[[nodiscard]] std::string TierName(v1::MotifTier tier);
// What a tier means, for someone who never met the word.
[[nodiscard]] std::string TierInWords(v1::MotifTier tier);

// "this model keeps drawing saris: 31 % of blank runs (95 % CI 29–33 %), 14x more than on prompts". About the first motif;
// weaker words for weaker tiers; says so where there is none. `models`: how many models the target covers.
[[nodiscard]] std::string Headline(const v1::MotifReport& report, size_t models);

}  // namespace promptsweep::cli
