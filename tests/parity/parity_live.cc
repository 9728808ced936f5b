// Compares with folders that compare.py has just written: parity_live dalle|clip FOLDER, or
// tokens FOLDER CLIP, or dalle-text FOLDER DALLE.
#include <gtest/gtest.h>

#include <cstdio>
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
  const bool known = (g_arguments.size() == 2 && (g_arguments[0] == "dalle" || g_arguments[0] == "clip")) ||
                     (g_arguments.size() == 3 && (g_arguments[0] == "tokens" || g_arguments[0] == "dalle-text"));
  if (!known) {
    std::fprintf(stderr, "usage: parity_live dalle|clip FOLDER | tokens FOLDER CLIP_FOLDER | dalle-text FOLDER DALLE_FOLDER\n");
    return 2;
  }
  return RUN_ALL_TESTS();
}
