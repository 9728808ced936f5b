// The small sweep that the tests of several folders run: models x prompts x seeds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep {

inline v1::ModelRef TestModel(const std::string& id, const std::string& architecture, const std::string& digest) {
  v1::ModelRef model;
  model.set_id(id);
  model.set_architecture(architecture);
  model.set_digest(digest);
  return model;
}

// `models` x (the empty prompt, then `texts`) x seeds 0..seeds-1, the seed innermost: model i has the ordinals
// [i * prompts * seeds, (i + 1) * prompts * seeds).
inline v1::SweepManifest TestManifest(const std::string& name, const std::vector<v1::ModelRef>& models,
                                      const std::vector<std::string>& texts, uint64_t seeds,
                                      const std::vector<v1::ModelRef>& embedders) {
  v1::SweepManifest manifest;
  v1::SweepSpec& spec = *manifest.mutable_spec();
  spec.set_version(1);
  spec.set_name(name);
  v1::Product& product = *spec.mutable_cells()->mutable_product();
  const auto axis = [&](const std::string& axis_name) -> v1::Axis& {
    v1::Axis& added = *product.add_factors()->mutable_axis();
    added.set_name(axis_name);
    return added;
  };
  v1::ValueList& model_values = *axis("model").mutable_list();
  for (const v1::ModelRef& model : models) {
    model_values.add_values()->set_string_value(model.id());
    *manifest.add_models() = model;
  }
  v1::ValueList& prompts = *axis("prompt").mutable_list();
  prompts.add_values()->mutable_prompt_value()->set_blank(v1::BLANK_KIND_EMPTY);
  for (const std::string& text : texts) prompts.add_values()->mutable_prompt_value()->set_text(text);
  v1::IntRange& range = *axis("seed").mutable_range();
  range.set_step(1);
  range.set_count(seeds);
  for (const v1::ModelRef& embedder : embedders) {
    spec.add_embedders(embedder.id());
    *manifest.add_embedders() = embedder;
  }
  manifest.set_cell_count(models.size() * (1 + texts.size()) * seeds);
  manifest.set_noise_dtype("float32");
  manifest.set_compute_dtype("float32");
  return manifest;
}

}  // namespace promptsweep
