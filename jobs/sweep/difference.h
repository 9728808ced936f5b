// What differs between two sweeps, line by line, in the words of the YAML.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// One line for each field that differs, "field: old -> new", without a line break: safe to show whatever the manifests hold (long
// values are cut, control characters escaped). At most `most` lines (at least 1); where there are more, the last says how many
// are left out. Empty exactly if the manifests are equal.
//   cells.product.seed: 0..1999 -> 0..3999
//   cells.chain[1].product.prompt: 3 values -> 4 values (new: "a cat")
//   models.micro-dalle: weights 3f2a91bc0d12 -> 77a0c2e1f955
//   defaults.temperature: 1 -> 0.9
//   images: (store) -> s3://bucket/prefix
[[nodiscard]] std::vector<std::string> Differences(const v1::SweepManifest& before, const v1::SweepManifest& after,
                                                   size_t most = 20);

// The same of two specs.
[[nodiscard]] std::vector<std::string> Differences(const v1::SweepSpec& before, const v1::SweepSpec& after, size_t most = 20);

}  // namespace promptsweep::sweep
