// The comparison itself: a model folder with expected.safetensors beside it against the worker's modules.
#pragma once

#include <string>

namespace promptsweep::worker::parity {

inline constexpr double kTolerance = 1e-5;

// Each runs inside a gtest test and reports through it.
void CompareDalle(const std::string& folder);
void CompareClip(const std::string& folder);
// fuzz.jsonl of `folder`: lines [text, DALL-E ids, CLIP ids].
void CompareTokens(const std::string& folder, const std::string& dalle_folder, const std::string& clip_folder);

}  // namespace promptsweep::worker::parity
