// A sweep as arithmetic: cell(i) from the ordinal, in O(axes), nothing expanded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// SHA-256 (32 bytes) of the manifest's deterministic serialisation: the sweep's identity.
[[nodiscard]] std::string ManifestDigest(const v1::SweepManifest& manifest);

// Immutable and thread-safe; cheap to copy (shares its tree).
class Plan {
 public:
  // Checks the algebra (axis names, equal zip counts, counts that fit in 64 bits; every cell has model, prompt and seed), that
  // every model asked for is in manifest.models, and that manifest.cell_count agrees. INVALID_ARGUMENT.
  [[nodiscard]] static absl::StatusOr<Plan> FromManifest(const v1::SweepManifest& manifest);

  uint64_t cell_count() const;
  // The cell with its settings (axes over defaults) and its fingerprint; the fingerprint is empty where the manifest has no
  // digest for the model (a plan of models that are not at hand). OUT_OF_RANGE beyond cell_count().
  [[nodiscard]] absl::StatusOr<v1::Cell> CellAt(uint64_t ordinal) const;
  // Model of a cell, without building it. Precondition: ordinal < cell_count().
  const std::string& ModelAt(uint64_t ordinal) const;
  // One past the last ordinal of the stretch from `begin` in which every cell has ModelAt(begin), at most `limit`.
  uint64_t SameModelEnd(uint64_t begin, uint64_t limit) const;
  const v1::SweepManifest& manifest() const;

 private:
  struct Impl;
  explicit Plan(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace promptsweep::sweep
