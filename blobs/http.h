// Signed HTTP requests through libcurl, over connections that stay open. One request, one attempt: what an answer means and
// whether to try again is the caller's to say.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace promptsweep {

struct HttpRequest {
  std::string method;  // GET, HEAD, PUT or DELETE
  std::string url;     // encoded; query parameters in order of their names
  std::vector<std::string> headers;
  absl::string_view body;  // PUT only; outlives the call
  size_t max_reply_bytes = 0;
};

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; none longer than 4 KiB
  std::string body;
};

// Thread-safe.
class HttpClient {
 public:
  struct Options {
    std::string access_key;
    std::string secret_key;
    std::string region;
    int connections = 32;
    absl::Duration connect_timeout;
    absl::Duration request_timeout;
    std::function<bool()> cancelled;  // may be null
    bool bypass_proxy = false;
  };
  explicit HttpClient(Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Waits for a free connection. UNAVAILABLE: no whole answer came; the message says why. DATA_LOSS: a reply larger than
  // max_reply_bytes. CANCELLED. FAILED_PRECONDITION: this curl cannot.
  [[nodiscard]] absl::StatusOr<HttpReply> Send(const HttpRequest& request) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void* Take() ABSL_LOCKS_EXCLUDED(mu_);
  void GiveBack(void* handle) ABSL_LOCKS_EXCLUDED(mu_);
  bool HasFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !free_.empty() || made_ < options_.connections; }

  const Options options_;
  absl::Mutex mu_;
  std::vector<void*> free_ ABSL_GUARDED_BY(mu_);
  int made_ ABSL_GUARDED_BY(mu_) = 0;
};

// Bytes outside of A-Z a-z 0-9 - . _ ~ as %XX; slashes stay where `keep_slashes`. What S3 signs.
[[nodiscard]] std::string UriEncode(absl::string_view text, bool keep_slashes);

}  // namespace promptsweep
