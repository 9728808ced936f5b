// Compares with folders that compare.py has just written: parity_live dalle|clip|embedder FOLDER, tokens FOLDER CLIP,
// dalle-text FOLDER DALLE, embedder-tokens FILE OPEN_CLIP SIGLIP SIGLIP2, or resizes FILE.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/parity/compare.h"

namespace {
std::vector<std::string> g_arguments;
}

namespace promptsweep::worker::parity {

TEST(ParityLive, Folder) {
  if (g_arguments[0] == "dalle") {
    CompareDalle(g_arguments.at(1));
  } else if (g_arguments[0] == "clip") {
    CompareClip(g_arguments.at(1));
  } else if (g_arguments[0] == "embedder") {
    CompareEmbedder(g_arguments.at(1));
  } else if (g_arguments[0] == "resizes") {
    CompareResizes(g_arguments.at(1));
  } else if (g_arguments[0] == "embedder-tokens") {
    CompareEmbedderTokens(g_arguments.at(1),
                          {{"open_clip", g_arguments.at(2)}, {"siglip", g_arguments.at(3)}, {"siglip2", g_arguments.at(4)}});
  } else if (g_arguments[0] == "tokens") {
    CompareTokens(g_arguments.at(1), g_arguments.at(2));
  } else {
    CompareDalleText(g_arguments.at(1), g_arguments.at(2));
  }
}

}  // namespace promptsweep::worker::parity

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  g_arguments.assign(argv + 1, argv + argc);
  const std::map<std::string, size_t> sizes = {{"dalle", 2},      {"clip", 2},    {"embedder", 2},       {"tokens", 3},
                                               {"dalle-text", 3}, {"resizes", 2}, {"embedder-tokens", 5}};
  const auto known = g_arguments.empty() ? sizes.end() : sizes.find(g_arguments[0]);
  if (known == sizes.end() || known->second != g_arguments.size()) {
    std::fprintf(stderr,
                 "usage: parity_live dalle|clip|embedder FOLDER | tokens FOLDER CLIP_FOLDER | dalle-text FOLDER DALLE_FOLDER |\n"
                 "       embedder-tokens FILE OPEN_CLIP_FOLDER SIGLIP_FOLDER SIGLIP2_FOLDER | resizes FILE\n");
    return 2;
  }
  return RUN_ALL_TESTS();
}
