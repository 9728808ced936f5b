// Measures the coordinator: cells a second with and without the store, memory, restarts, many workers. Not a test: prints
// numbers.
//   coordinator_bench [--folder F] [--cells N] [--workers N] [--brief] [SECTION...]
#include <spdlog/spdlog.h>

#include "absl/strings/numbers.h"
#include "tests/bench/coordinator_bench_common.h"
#include "tests/bench/sections.h"
#include "tests/store/fixture.h"

int main(int argc, char** argv) {
  using namespace promptsweep::coordinator;
  const promptsweep::BenchSections<BenchOptions> sections = {
      {"end_to_end", BenchEndToEnd}, {"schedule", BenchSchedule}, {"memory", BenchMemory},
      {"restart", BenchRestart},     {"workers", BenchWorkers},
  };
  spdlog::set_level(spdlog::level::warn);
  int count = 0, seconds = 0;
  if (argc == 5 && std::string(argv[1]) == "--drive" && absl::SimpleAtoi(argv[3], &count) && absl::SimpleAtoi(argv[4], &seconds))
    return DriveWorkers(argv[2], count, seconds);
  promptsweep::store::TempFolder temporary;
  BenchOptions options;
  options.folder = temporary.path("bench");
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--brief") {
      options.brief = true;
    } else if (argument == "--folder" && i + 1 < argc) {
      options.folder = std::string(argv[++i]) + "/coordinator_bench";
    } else if (argument == "--cells" && i + 1 < argc && absl::SimpleAtoi(argv[i + 1], &options.cells)) {
      ++i;
    } else if (argument == "--workers" && i + 1 < argc && absl::SimpleAtoi(argv[i + 1], &options.workers)) {
      ++i;
    } else {
      wanted.push_back(argument);
    }
  }
  return promptsweep::RunSections(
      sections, wanted, options,
      "coordinator_bench [--folder F] [--cells N] [--workers N] [--brief] [end_to_end|schedule|memory|restart|workers...]");
}
