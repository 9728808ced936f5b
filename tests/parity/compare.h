// The comparison itself: a model folder with expected.safetensors beside it against the worker's modules.
#pragma once

#include <map>
#include <string>

namespace promptsweep::worker::parity {

inline constexpr double kTolerance = 1e-5;

// Each runs inside a gtest test and reports through it.
void CompareDalle(const std::string& folder);
void CompareClip(const std::string& folder);
// fuzz.jsonl of `folder`: lines [text, CLIP ids].
void CompareTokens(const std::string& folder, const std::string& clip_folder);
// texts.json and texts.safetensors of `folder`, as dalle_text.py wrote them for the vocabulary of `model`. A digest that differs
// says which text it is; dalle_text.py can tell what that should be.
void CompareDalleText(const std::string& folder, const std::string& model);

// open_clip, SigLIP or DINOv2, by the folder's own files: preprocessing, vectors, texts' tokens.
void CompareEmbedder(const std::string& folder);
// A file of lines [tokenizer, text, ids]; the folders of the tokenizers open_clip, siglip and siglip2.
void CompareEmbedderTokens(const std::string& file, const std::map<std::string, std::string>& folders);
// Pillow's resizes, level by level.
void CompareResizes(const std::string& file);

}  // namespace promptsweep::worker::parity
