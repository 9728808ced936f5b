// What makes two images the same image: a name computed from everything that decides its pixels.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// Bytes that are equal exactly when two values mean the same: a tag, then the value.
//   'i' 8 bytes big-endian two's complement   whole numbers, and doubles that are whole with magnitude at most 2^53
//   'd' 8 bytes big-endian IEEE 754 bits      other doubles (so 1 and 1.0 are equal, -0.0 is 0)
//   's' UTF-8                                 text
//   'b' one byte, 0 or 1                      truth values
//   'p' then 't' UTF-8, or 'b' one byte       prompts: text, or the number of the blank kind
// Empty for a value of no kind. Do not change: stored digests depend on it.
[[nodiscard]] std::string CanonicalValue(const v1::Value& value);

// SHA-256 (32 bytes) over these fields, each preceded by its length as 8 bytes big-endian:
//   "promptsweep.cell.1", model digest, prompt kind ("t" text, "b" blank), prompt bytes (UTF-8, or one byte: the blank kind's
//   number), seed (8 bytes big-endian), number of settings (8 bytes big-endian), then per setting in name order its name and
//   CanonicalValue; noise dtype, compute dtype.
// Reads model, prompt, seed and settings of `cell` (settings in any order, no name twice). Do not change: stored keys depend
// on it.
[[nodiscard]] std::string CellFingerprint(const v1::Cell& cell, absl::string_view model_digest, absl::string_view noise_dtype,
                                          absl::string_view compute_dtype);

}  // namespace promptsweep::sweep
