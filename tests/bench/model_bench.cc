// Measures models: DALL-E mini beside min-dalle, CLIP beside transformers and open_clip, and passes of the shipped models. Not a
// test: prints numbers.
//   model_bench [--python P] [--batch N] [--steps N] [--threads N] [--dtype T] [--device D]
//     [--model F] [--folder F] [--brief] [SECTION...]
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/bench/model_bench_common.h"
#include "tests/bench/sections.h"
#include "worker/tensors/determinism.h"
#include "worker/tensors/device.h"

int main(int argc, char** argv) {
  using namespace promptsweep::worker;
  SettleEnvironment(argv);
  const promptsweep::BenchSections<ModelBenchOptions> sections = {
      {"dalle", BenchDalle},
      {"embed", BenchEmbed},
      {"passes", BenchPasses},
  };
  ModelBenchOptions options;
  options.folder = (std::filesystem::temp_directory_path() / ("model_bench_" + std::to_string(::getpid()))).string();
  options.peers = PROMPTSWEEP_SOURCE_DIR "/tests/bench/peers";
  options.models = PROMPTSWEEP_SOURCE_DIR "/models";
  std::string folder, dtype = "float32", device = "cpu", usage = "model_bench [OPTION...] [SECTION...], sections:";
  std::vector<std::string> wanted;
  for (const auto& section : sections) usage += " " + section.first;
  CLI::App app("Measures models; sections: dalle, embed, passes");
  app.add_option("--python", options.python, "A Python that has the peers' packages; without it they are left out");
  app.add_option("--batch", options.batch, "Images of one batch")->check(CLI::Range(1, 4096));
  app.add_option("--steps", options.steps, "Decoder steps that are timed; 0 makes a whole batch")->check(CLI::Range(0, 4096));
  app.add_option("--threads", options.threads, "CPU threads; 0 is the machine's");
  app.add_option("--dtype", dtype, "Of the computation")->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  app.add_option("--size", options.size, "Of random weights")->check(CLI::IsMember({"mini", "mega"}));
  app.add_option("--device", device, "cpu or cuda:N");
  app.add_option("--model", options.model, "A generator's folder, in the place of random weights");
  app.add_option("--folder", folder, "Where random weights are written (default: the temporary folder)");
  app.add_flag("--brief", options.brief, "Small sizes, seconds instead of minutes");
  app.add_option("section", wanted, "Sections to run; all where none is named");
  CLI11_PARSE(app, argc, argv);
  if (!folder.empty()) options.folder = folder + "/model_bench";
  options.dtype = dtype == "float32" ? at::kFloat : dtype == "bfloat16" ? at::kBFloat16 : at::kHalf;
  const auto opened = OpenDevice(device);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", std::string(opened.status().message()).c_str());
    return 2;
  }
  options.device = *opened;
  MakeDeterministic(options.threads);
  const c10::InferenceMode inference;
  std::printf("%s, %d threads, %s\n", LibraryVersions().c_str(), at::get_num_threads(), DeviceWords(options.device).c_str());
  return promptsweep::RunSections(sections, wanted, options, usage.c_str());
}
