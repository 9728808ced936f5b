// Where the looks at an adaptive sweep are kept, for those who take them and those who read them. No torch.
#pragma once

#include <string>

#include "base/hash.h"

namespace promptsweep::motifs {

// The question (PutMotifsRequest.question) that looks are kept under: a digest.
[[nodiscard]] inline std::string LookQuestion() { return Sha256Of("promptsweep.look.1"); }

}  // namespace promptsweep::motifs
