// Measures motif mining: time, memory and recall by size, beside clusterers; how often sets without motifs give one; what
// adaptive stopping costs. Not a test: prints numbers.
//   motif_bench [--python P] [--threads N] [--sets N] [--n N]... [--limit S] [--brief] [SECTION...]
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/motif_bench_common.h"
#include "tests/bench/sections.h"

int main(int argc, char** argv) {
  using namespace promptsweep::motifs;
  const promptsweep::BenchSections<MotifBenchOptions> sections = {
      {"scale", BenchScale}, {"peers", BenchPeers}, {"null", BenchNull}, {"planted", BenchPlanted}, {"stopping", BenchStopping},
  };
  MotifBenchOptions options;
  options.folder = (std::filesystem::temp_directory_path() / ("motif_bench_" + std::to_string(::getpid()))).string();
  options.peers = PROMPTSWEEP_SOURCE_DIR "/tests/bench/peers";
  options.threads = static_cast<int>(std::thread::hardware_concurrency());
  std::string usage = "motif_bench [OPTION...] [SECTION...], sections:";
  for (const auto& section : sections) usage += " " + section.first;
  std::vector<std::string> wanted;
  CLI::App app("Measures motif mining; sections: scale, peers, null, planted, stopping");
  app.add_option("--python", options.python, "A Python that has the peers' packages; without it they are left out");
  app.add_option("--threads", options.threads, "CPU threads")->check(CLI::Range(1, 1024));
  app.add_option("--sets", options.sets, "Sets per row of a table")->check(CLI::Range(1, 1'000'000));
  app.add_option("--n", options.n, "Runs of both sides together; may be given more than once")->allow_extra_args(false);
  app.add_option("--limit", options.limit_s, "Seconds a peer may take");
  app.add_flag("--brief", options.brief, "Small sizes, seconds instead of minutes");
  app.add_option("section", wanted, "Sections to run; all where none is named");
  CLI11_PARSE(app, argc, argv);
  return promptsweep::RunSections(sections, wanted, options, usage.c_str());
}
