// How a client tells a server the size of what it is about to send, and a server tells when to come again.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace promptsweep {

// Request metadata: bytes of the serialised request.
inline constexpr char kRequestBytesKey[] = "promptsweep-bytes";
// Trailing metadata of RESOURCE_EXHAUSTED: whole milliseconds. The second is gRPC's own name for it.
inline constexpr char kRetryAfterKey[] = "retry-after-ms";
inline constexpr char kRetryPushbackKey[] = "grpc-retry-pushback-ms";

inline void SetRequestBytes(grpc::ClientContext& context, size_t bytes) {
  context.AddMetadata(kRequestBytesKey, absl::StrCat(bytes));
}

// What the client announced; nullopt where it did not, or nonsense.
[[nodiscard]] inline std::optional<uint64_t> RequestBytes(const grpc::ServerContextBase& context) {
  const auto it = context.client_metadata().find(kRequestBytesKey);
  uint64_t bytes = 0;
  if (it == context.client_metadata().end() ||
      !absl::SimpleAtoi(absl::string_view(it->second.data(), it->second.size()), &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

// Before Finish.
inline void SetRetryAfter(grpc::ServerContextBase& context, absl::Duration after) {
  const std::string ms = absl::StrCat(absl::ToInt64Milliseconds(absl::Ceil(after, absl::Milliseconds(1))));
  context.AddTrailingMetadata(kRetryAfterKey, ms);
  context.AddTrailingMetadata(kRetryPushbackKey, ms);
}

// How long the server of a call that has ended asked to wait; zero where it said nothing.
[[nodiscard]] inline absl::Duration RetryAfter(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto it = trailers.find(kRetryAfterKey);
  int64_t ms = 0;
  if (it == trailers.end() || !absl::SimpleAtoi(absl::string_view(it->second.data(), it->second.size()), &ms) || ms < 0) {
    return absl::ZeroDuration();
  }
  return absl::Milliseconds(ms);
}

}  // namespace promptsweep
