// A small S3 server on a loopback port, for tests: path style, one bucket. It checks every signature by its own arithmetic
// (Signature Version 4 over OpenSSL's HMAC, nothing shared with the client), keeps checksums, and fails on demand.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace promptsweep {

// Thread-safe. Listens from construction to destruction.
class FakeS3 {
 public:
  struct Options {
    std::string bucket = "bucket";
    std::string access_key = "AKIDEXAMPLE";
    std::string secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    std::string session_token;  // demanded where set
    std::string region = "us-east-1";
    size_t page = 1000;
  };
  struct Object {
    std::string bytes;
    std::string checksum;  // base64
    absl::Time modified;
  };
  struct Request {
    std::string method;
    std::string path;
    std::string query;
    std::map<std::string, std::string> headers;  // lower-case names
    std::string body;
  };

  explicit FakeS3(Options options);
  FakeS3() : FakeS3(Options()) {}
  ~FakeS3();
  std::string endpoint() const;
  // The variables a client needs.
  std::map<std::string, std::string> environment() const;

  // --- knobs
  void FailNext(int count, int status, const std::string& code);  // -1: until set again
  void ResetNext(int count);                                      // closes the connection instead of answering
  void CutNext(int count);                                        // promises more bytes than it sends
  void SpoilNext(int count);                                      // flips a byte of a GET's reply
  void Hold(bool hold);                                           // answers wait
  void set_keeps_checksums(bool keeps);                           // false: as servers before checksums
  void set_conditional(bool able);                                // false: 501 to If-None-Match
  void set_list_reply(std::string xml);                           // instead of the real one
  void Put(const std::string& key, std::string bytes, absl::Time modified);
  void Erase(const std::string& key);

  // --- what happened
  std::map<std::string, Object> objects() const;
  std::vector<Request> requests() const;
  int connections() const;
  std::string last_refusal() const;  // why a signature was refused

 private:
  struct Reply {
    int status = 200;
    std::vector<std::string> headers;
    std::string body;
    size_t length = 0;  // of a HEAD's object
  };
  void Accept();
  void Serve(int fd);
  bool ReadRequest(int fd, std::string& buffer, Request& request);
  Reply Answer(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Reply AnswerObject(const Request& request, const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Reply AnswerList(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Empty, or why not.
  std::string CheckSignature(const Request& request) const;
  bool Open() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !hold_ || stopping_; }

  const Options options_;
  int listener_ = -1;
  int port_ = 0;
  mutable absl::Mutex mu_;
  std::map<std::string, Object> objects_ ABSL_GUARDED_BY(mu_);
  std::vector<Request> requests_ ABSL_GUARDED_BY(mu_);
  std::set<int> open_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  std::string list_reply_ ABSL_GUARDED_BY(mu_);
  std::string refusal_ ABSL_GUARDED_BY(mu_);
  int fail_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_status_ ABSL_GUARDED_BY(mu_) = 0;
  std::string fail_code_ ABSL_GUARDED_BY(mu_);
  int reset_ ABSL_GUARDED_BY(mu_) = 0;
  int cut_ ABSL_GUARDED_BY(mu_) = 0;
  int spoil_ ABSL_GUARDED_BY(mu_) = 0;
  int connections_ ABSL_GUARDED_BY(mu_) = 0;
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool keeps_checksums_ ABSL_GUARDED_BY(mu_) = true;
  bool conditional_ ABSL_GUARDED_BY(mu_) = true;
  std::thread acceptor_;
};

}  // namespace promptsweep
