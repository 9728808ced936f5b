// Near-duplicates and references of a motif in words.
#pragma once

#include <string>

#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::cli {

// "verbatim", "template", "semantic"; empty where pictures were not looked at or prove nothing.
[[nodiscard]] std::string VerdictName(const v1::Motif& motif);

// The verdict for a table, with the share of copies where it is verbatim, and the copy detector where that decided: "verbatim
// 34 %", "verbatim 34 % (sscd)".
[[nodiscard]] std::string VerdictInWords(const v1::Motif& motif);

// What the verdict means here, one sentence with its numbers; empty where VerdictName is.
[[nodiscard]] std::string CopiesInWords(const v1::Motif& motif);

// How many members are near a reference, and which; one sentence, empty without a reference.
[[nodiscard]] std::string ReferenceInWords(const v1::Motif& motif, const v1::MotifReport& report);

// Prompts whose seeds draw one picture again; a sentence, empty where none does.
[[nodiscard]] std::string PromptCopiesInWords(const v1::MotifReport& report);

}  // namespace promptsweep::cli
