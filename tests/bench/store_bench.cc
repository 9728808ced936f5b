// Measures a store on this machine's disk against what the disk itself can do. Not a test: prints numbers and ratios.
//   store_bench [--folder F] [--results N] [--brief] [SECTION...]
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "tests/bench/sections.h"
#include "tests/bench/store_bench_common.h"
#include "tests/bench/store_bench_scan.h"

int main(int argc, char** argv) {
  using namespace promptsweep::store;
  const promptsweep::BenchSections<BenchOptions> sections = {
      {"writes", BenchWrites},
      {"reads", BenchReads},
      {"open", BenchOpen},
      // Nothing brief: chunks have to be big to say something.
      {"scan", [](const BenchOptions& options) { options.brief ? void() : BenchScan(options.folder + "/scan"); }},
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
  return promptsweep::RunSections(sections, wanted, options,
                                  "store_bench [--folder F] [--results N] [--brief] [writes|reads|open|scan...]");
}
