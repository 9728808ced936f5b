// Prompts as dalle-mini's Flax pipeline cleans them before its tokenizer (TextNormalizer of dalle_mini/model/text.py).
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// Well-formed UTF-8 -> ASCII in lower case that starts with a space: "" gives " ". Every step of the reference in its order, but
// for what needs data or chance that a sweep cannot have:
//   ftfy (repair of text decoded wrongly) is left out: prompts are UTF-8;
//   unidecode is ToAscii below: exact for Latin letters with marks and for punctuation, other scripts are dropped, not spelt;
//   a hashtag loses its '#' and stays one word: splitting it takes a list of word frequencies that is not part of the model;
//   a lone "<person>" is "a person", the likeliest of three that the reference draws from.
// Thread-safe; linear in the text.
std::string NormaliseDalleText(absl::string_view text);

// ASCII stays; U+0080..U+017F, U+1E00..U+1EFF, U+2010..U+2027, U+2030..U+2044, U+20AC, U+2122 and the wide forms
// U+FF01..U+FF5E become what unidecode 1.4 gives; of the rest, what compatibility decomposition leaves of ASCII.
std::string ToAscii(absl::string_view text);

}  // namespace promptsweep::worker
