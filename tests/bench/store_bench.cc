// Measures a store on this machine's disk against what the disk itself can do. Not a test: prints numbers and ratios.
//   store_bench [--folder F] [--results N] [--brief] [SECTION...]
#include <cstdio>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "tests/bench/store_bench_common.h"

int main(int argc, char** argv) {
  using namespace promptsweep::store;
  const std::pair<std::string, std::function<void(const BenchOptions&)>> sections[] = {
      {"writes", BenchWrites},
      {"reads", BenchReads},
      {"open", BenchOpen},
  };
  TempFolder temporary;
  BenchOptions options;
  options.folder = temporary.path("bench");
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--brief") {
      options.brief = true;
      options.results = 20'000;
    } else if (argument == "--folder" && i + 1 < argc) {
      options.folder = std::string(argv[++i]) + "/store_bench";
    } else if (argument == "--results" && i + 1 < argc && absl::SimpleAtoi(argv[i + 1], &options.results)) {
      ++i;
    } else {
      wanted.push_back(argument);
    }
  }
  int known = 0;
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
  if (known > 0 && known >= static_cast<int>(wanted.size())) return 0;
  std::fprintf(stderr, "store_bench [--folder F] [--results N] [--brief] [writes|reads|open...]\n");
  return 2;
}
