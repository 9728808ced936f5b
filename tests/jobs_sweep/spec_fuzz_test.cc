// Proves that no bytes crash the spec reader, and that every refusal is one line of valid UTF-8 with a place.
#include <random>

#include "jobs/sweep/algebra.h"
#include "jobs/sweep/limits.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/spec.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

const char kSeedSpec[] =
    "version: 1\nname: t\nembedders: [micro-clip]\nlimits: {priority: 5, gpu_hours: 2.5}\nsettings: {temperature: 1.5}\nvars: "
    "{adj: [big, small]}\ncells:\n  chain:\n"
    "    - product: {model: [a, b], prompt: [{blank: empty}, 'x y', \"z\\t\"], seed: 0..19}\n"
    "    - exclude:\n        from: {model: a, prompt: {template: 'a {red|blue} {{adj}}'}, zip: {seed: 0..2, top_k: [1, 2, 3]}}\n"
    "        rules: [{top_k: 1..2, prompt: a red big}]\n";

void Check(const std::string& text) {
  auto loaded = ParseSpec(text, "s.yaml", "/nonexistent");
  if (loaded.ok()) {
    ASSERT_TRUE(CellTree::Compile(loaded->spec.cells()).ok()) << text;
    ASSERT_TRUE(CheckLimits(loaded->limits).ok()) << text;
    return;
  }
  ASSERT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(loaded.status().message());
  ASSERT_EQ(message.find("s.yaml:"), 0u) << message;
  ASSERT_EQ(message.find('\n'), std::string::npos) << message;
  ASSERT_TRUE(IsUtf8Text(message)) << message;
}

TEST(SpecFuzz, TheUnchangedSpecIsGood) {
  ASSERT_TRUE(ParseSpec(kSeedSpec, "s.yaml", "/").ok()) << ParseSpec(kSeedSpec, "s.yaml", "/").status();
}

TEST(SpecFuzz, RandomBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random() % (round % 2 ? 256 : 128));
    Check(text);
  }
}

TEST(SpecFuzz, RandomYamlPunctuation) {
  const std::string pieces[] = {"{",     "}",      "[",    "]",    ":",     ": ", ",",       "- ",    "\n",
                                "  ",    "|",      ">",    "'",    "\"",    "#",  "&a",      "*a",    "!t",
                                "%",     "@",      "?",    "<<",   "..",    "~",  "version", "cells", "product",
                                "model", "prompt", "seed", "0..9", "blank", "1",  "\t",      "---",   "..."};
  std::mt19937 random(2);
  for (int round = 0; round < 6000; ++round) {
    std::string text;
    for (int n = static_cast<int>(random() % 40); n > 0; --n) text += pieces[random() % std::size(pieces)];
    Check(text);
  }
}

TEST(SpecFuzz, MutatedSpecs) {
  std::mt19937 random(3);
  for (int round = 0; round < 6000; ++round) {
    std::string text = kSeedSpec;
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits) {
      size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(random() % 128);
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
          break;
        case 3:
          text.insert(at, 1, "{}[]:,-'\"&*!|>#%@`~0.9\n "[random() % 24]);
          break;
        default:
          text.resize(at + 1);
      }
      if (text.empty()) text = "x";
    }
    Check(text);
  }
}

}  // namespace
}  // namespace promptsweep::sweep
