// promptsweep-motifs diff: compares the motifs of two groups of runs and prints the comparison as JSON.
#pragma once

namespace promptsweep::motifs {

// `argv[0]` is "diff". Returns the exit code.
[[nodiscard]] int DiffMain(int argc, char** argv);

}  // namespace promptsweep::motifs
