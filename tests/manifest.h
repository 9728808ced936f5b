// The small sweep that the tests of several folders run: models x prompts x seeds.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
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

// `before`, a TestManifest or one grown from it, and behind its cells the same models and prompts with the seeds
// first..first+seeds-1.
inline v1::SweepManifest WithMoreSeeds(const v1::SweepManifest& before, int64_t first, uint64_t seeds) {
  v1::SweepManifest after = before;
  const v1::CellNode& old = before.spec().cells();
  v1::Chain chain = old.chain();
  if (!old.has_chain()) *chain.add_parts() = old;
  v1::CellNode part = chain.parts(0);
  uint64_t added = seeds;
  for (v1::CellNode& factor : *part.mutable_product()->mutable_factors()) {
    v1::Axis& axis = *factor.mutable_axis();
    if (axis.has_list()) added *= static_cast<uint64_t>(axis.list().values_size());
    if (!axis.has_range()) continue;
    axis.mutable_range()->set_first(first);
    axis.mutable_range()->set_count(seeds);
  }
  *chain.add_parts() = std::move(part);
  *after.mutable_spec()->mutable_cells()->mutable_chain() = std::move(chain);
  after.set_cell_count(before.cell_count() + added);
  return after;
}

}  // namespace promptsweep
