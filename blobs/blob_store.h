// Bytes under keys, outside of the results store: a folder, or a bucket of any server that speaks S3.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace promptsweep {

struct BlobInfo {
  uint64_t size = 0;
  std::string sha256;  // 32 bytes
};

// One object of a listing.
struct BlobEntry {
  std::string key;
  uint64_t size = 0;
  absl::Time modified;
};

struct BlobPage {
  std::vector<BlobEntry> entries;  // by key; at most 1000
  std::string next;                // cursor of the next page; empty where this was the last
};

// Thread-safe; calls block. A key is a path for IsBlobPath (base/blob_uri.h), relative to the place that was opened; anything
// else is INVALID_ARGUMENT.
//
// NOT_FOUND: no such object. PERMISSION_DENIED: the server or the folder refuses. UNAVAILABLE: still failing after several
// attempts with growing pauses; try again later. RESOURCE_EXHAUSTED: the file system is full. DATA_LOSS: bytes are not what was
// promised. FAILED_PRECONDITION: nothing that trying again can mend. CANCELLED: Options::cancelled said so. Messages are one
// line, name the place, and never hold a secret.
class BlobStore {
 public:
  struct Options {
    Clock* clock = &Clock::Real();
    // Pauses between attempts.
    std::function<void(absl::Duration)> sleep = [](absl::Duration duration) { absl::SleepFor(duration); };
    // The settings of S3; null: the process's environment. See blobs/README.md.
    std::function<std::optional<std::string>(const char* name)> environment;
    // True: give up as soon as possible. Asked often, from any thread. May be null.
    std::function<bool()> cancelled;
    int attempts = 4;
    absl::Duration first_backoff = absl::Milliseconds(100);
    absl::Duration longest_backoff = absl::Seconds(2);
    absl::Duration connect_timeout = absl::Seconds(5);
    absl::Duration request_timeout = absl::Seconds(30);
    // Connections kept open, and so requests at a time.
    int connections = 32;
    // A larger object is DATA_LOSS: nothing here is meant to be larger.
    size_t max_object_bytes = 16 << 20;
    uint64_t jitter_seed = 0;
  };

  // INVALID_ARGUMENT: no URI of a blob store. FAILED_PRECONDITION: credentials are missing; the message names the variables.
  // Does not talk to anybody yet.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<BlobStore>> Open(absl::string_view uri, const Options& options);
  virtual ~BlobStore() = default;

  // Durable once OK. Write-once: OK where the same bytes are there already, ALREADY_EXISTS where others are. INVALID_ARGUMENT
  // where `sha256` (32 bytes) is not the digest of `bytes`.
  [[nodiscard]] virtual absl::Status Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) = 0;
  // The digest is the server's own checksum where it keeps one, else computed by reading the object.
  [[nodiscard]] virtual absl::StatusOr<BlobInfo> Stat(absl::string_view key) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::string> Get(absl::string_view key) = 0;
  // OK where there was none.
  [[nodiscard]] virtual absl::Status Delete(absl::string_view key) = 0;
  // Keys that begin with `prefix` (which may be empty, or end in a slash), from `cursor`, which is empty or the last page's
  // `next`.
  [[nodiscard]] virtual absl::StatusOr<BlobPage> List(absl::string_view prefix, absl::string_view cursor) = 0;
};

}  // namespace promptsweep
