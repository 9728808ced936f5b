// What tests of promptsweep-motifs as a program share: a small sweep as a store would describe it, and the program's run.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::motifs {

// `count` different prompts.
inline std::vector<std::string> SomePrompts(int count) {
  std::vector<std::string> prompts;
  for (int p = 0; p < count; ++p) prompts.push_back(absl::StrCat("prompt ", p));
  return prompts;
}

// Sweep 3, "fake", embedded by "toy": one part after the other of prompts ("" is blank) x so many seeds, by model "m".
inline v1::SweepInfo FakeSweep(const std::vector<std::pair<std::vector<std::string>, uint64_t>>& parts) {
  v1::SweepInfo info;
  info.set_sweep(3);
  v1::SweepManifest& manifest = *info.mutable_manifest();
  v1::SweepSpec& spec = *manifest.mutable_spec();
  spec.set_version(1);
  spec.set_name("fake");
  spec.add_embedders("toy");
  for (const auto& [prompts, seeds] : parts) {
    v1::Product& product = *spec.mutable_cells()->mutable_chain()->add_parts()->mutable_product();
    v1::Axis& model = *product.add_factors()->mutable_axis();
    model.set_name("model");
    model.mutable_list()->add_values()->set_string_value("m");
    v1::Axis& prompt = *product.add_factors()->mutable_axis();
    prompt.set_name("prompt");
    for (const std::string& text : prompts) {
      v1::Prompt& value = *prompt.mutable_list()->add_values()->mutable_prompt_value();
      if (text.empty()) {
        value.set_blank(v1::BLANK_KIND_EMPTY);
      } else {
        value.set_text(text);
      }
    }
    v1::Axis& seed = *product.add_factors()->mutable_axis();
    seed.set_name("seed");
    seed.mutable_range()->set_step(1);
    seed.mutable_range()->set_count(seeds);
    manifest.set_cell_count(manifest.cell_count() + prompts.size() * seeds);
  }
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  v1::ModelRef& model = *manifest.add_models();
  model.set_id("m");
  model.set_architecture("null");
  model.set_digest(std::string(32, 'm'));
  v1::ModelRef& embedder = *manifest.add_embedders();
  embedder.set_id("toy");
  embedder.set_architecture("null-embed");
  embedder.set_digest(std::string(32, 'e'));
  return info;
}

struct Ended {
  int code;
  std::string out, err;
};

// Runs promptsweep-motifs against a store at `port`. Arguments must need no quoting beyond single quotes.
inline Ended RunProgram(int port, const std::string& arguments, const std::string& command_word = "") {
  const std::string errors = testing::TempDir() + absl::StrCat("/motifs-stderr-", getpid());
  const std::string command = absl::StrCat(PROMPTSWEEP_BIN_DIR "/promptsweep-motifs ", command_word, " --server 127.0.0.1:", port,
                                           " ", arguments, " 2>", errors);
  Ended ended{-1, "", ""};
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) ended.out.append(buffer, n);
  ended.code = WEXITSTATUS(pclose(pipe));
  if (FILE* file = fopen(errors.c_str(), "r")) {
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) ended.err.append(buffer, n);
    fclose(file);
    remove(errors.c_str());
  }
  return ended;
}

}  // namespace promptsweep::motifs
