// GPT-2's byte-level alphabet and its division of text into words.
#pragma once

#include <unicode/utypes.h>

#include <array>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep::worker {

// GPT-2's bijection of bytes to printable characters (as UTF-8): printable Latin-1 stands for itself, the rest for U+0100 on.
const std::array<std::string, 256>& ByteCharacters();

// What a code point counts as in the patterns of these tokenizers: \s, \p{L}, \p{N} or none.
enum class CharacterKind { kSpace, kLetter, kNumber, kOther };
CharacterKind KindOf(UChar32 c);

// The words of GPT-2's pattern, which together are the text: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
// \s+(?!\S)|\s+ . Views of `text`, well-formed UTF-8.
std::vector<absl::string_view> ByteLevelWords(absl::string_view text);

}  // namespace promptsweep::worker
