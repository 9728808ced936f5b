// Emoji spelt out by name, as the Python package `emoji` 2.16.0 does (demojize), which both DALL-E mini implementations call
// first.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Each emoji of well-formed UTF-8 becomes `before` name `after`, the name being Unicode's English short name with '_' for spaces
// ("red_heart"); longest match first. Variation selectors that belong to no emoji are dropped. A zero-width joiner that joins
// emoji to none that Unicode recommends stays, between the names of its parts. Thread-safe; linear in the text.
std::string SpellEmoji(absl::string_view text, absl::string_view before, absl::string_view after);

}  // namespace promptsweep::worker
