// Digests and their text form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep {

inline constexpr size_t kDigestSize = 32;

// SHA-256, fed piece by piece. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(absl::string_view bytes);
  // Feeds the length (8 bytes, big-endian), then the bytes: keeps neighbouring fields apart.
  void UpdateField(absl::string_view bytes);
  // 32 bytes. Call once.
  [[nodiscard]] std::string Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// SHA-256 of `bytes`, 32 bytes.
[[nodiscard]] std::string Sha256Of(absl::string_view bytes);

// SHA-256 of a file's content, read in pieces. NOT_FOUND or UNAVAILABLE where it cannot be read.
[[nodiscard]] absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

// XXH3-64: fast, not cryptographic.
[[nodiscard]] uint64_t Xxh3(absl::string_view bytes, uint64_t seed = 0);

// Lower-case hex of `bytes`.
[[nodiscard]] std::string ToHex(absl::string_view bytes);

}  // namespace promptsweep
