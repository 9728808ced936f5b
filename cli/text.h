// Words and numbers for people: terminal-safe text, percentages, sizes, durations, plurals.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

// `text` with control characters and invalid UTF-8 escaped as \xNN, and line breaks as a space: safe to print on a terminal.
[[nodiscard]] std::string OneLine(absl::string_view text);
// True for well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
[[nodiscard]] bool IsUtf8(absl::string_view text);
// Columns `text` takes on a terminal: code points, wide East Asian and emoji ranges counted twice.
[[nodiscard]] size_t DisplayWidth(absl::string_view text);
// At most `width` columns; a cut is marked with an ellipsis.
[[nodiscard]] std::string Truncate(absl::string_view text, size_t width);

// A share as "31 %", "2.3 %", "0.04 %", "0 %".
[[nodiscard]] std::string Percent(double share);
// An interval of shares as "29–33 %": both ends with the same number of decimals, enough to tell them apart.
[[nodiscard]] std::string PercentRange(double low, double high);
// A ratio as "14x" or "2.3x".
[[nodiscard]] std::string Times(double ratio);
// "1.2 MB" (powers of 1000).
[[nodiscard]] std::string Bytes(uint64_t bytes);
// "4,000".
[[nodiscard]] std::string Grouped(uint64_t number);
// "45 s", "3 min 20 s", "2 h 5 min".
[[nodiscard]] std::string DurationWords(absl::Duration duration);
// "2026-01-31T12:00:00Z".
[[nodiscard]] std::string WallTime(uint64_t millis);

// English plural of a noun phrase: "sari" -> "saris", "woman in a sari" -> "women in a sari". A leading article is dropped.
[[nodiscard]] std::string Plural(absl::string_view noun);

// "running", "paused", "done", "done_with_failures", "cancelled".
[[nodiscard]] std::string StateName(v1::SweepState state);
// True for done, done_with_failures and cancelled.
[[nodiscard]] bool HasEnded(v1::SweepState state);

// A double with the fewest digits that read back equal.
[[nodiscard]] std::string ShortDouble(double value);

}  // namespace promptsweep::cli
