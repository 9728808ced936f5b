// How the benches of this folder run their sections: by name, each in an empty folder.
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace promptsweep {

template <typename Options>
using BenchSections = std::vector<std::pair<std::string, std::function<void(const Options&)>>>;

// Runs those that are `wanted`, or all where none is. Leaves options.folder removed. Returns the program's exit code: 2, and
// `usage` on standard error, where a name is unknown.
template <typename Options>
int RunSections(const BenchSections<Options>& sections, const std::vector<std::string>& wanted, const Options& options,
                const char* usage) {
  size_t known = 0;
  for (const auto& [name, run] : sections) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    ++known;
    std::filesystem::remove_all(options.folder);
    std::filesystem::create_directories(options.folder);
    std::printf("== %s\n", name.c_str());
    run(options);
    std::fflush(stdout);
  }
  std::filesystem::remove_all(options.folder);
  if (known > 0 && known >= wanted.size()) return 0;
  std::fprintf(stderr, "%s\n", usage);
  return 2;
}

}  // namespace promptsweep
