#include "tests/blobs/fake_s3.h"

#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/check.h"

namespace promptsweep {
namespace {

std::string Sha(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  PS_CHECK(EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  return std::string(reinterpret_cast<char*>(digest), size);
}

std::string Mac(const std::string& key, const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       digest, &size);
  return std::string(reinterpret_cast<char*>(digest), size);
}

std::string Decode(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&apos;"}, {"\"", "&quot;"}});
}

bool Take(int& left) {
  if (left == 0) return false;
  if (left > 0) --left;
  return true;
}

const char* Header(const FakeS3::Request& request, const std::string& name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? nullptr : found->second.c_str();
}

}  // namespace

FakeS3::FakeS3(Options options) : options_(std::move(options)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  PS_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0 && ::listen(listener_, 64) == 0);
  PS_CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

FakeS3::~FakeS3() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    absl::MutexLock lock(&mu_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

std::string FakeS3::endpoint() const { return absl::StrCat("http://127.0.0.1:", port_); }

std::map<std::string, std::string> FakeS3::environment() const {
  std::map<std::string, std::string> all = {{"AWS_ACCESS_KEY_ID", options_.access_key},
                                            {"AWS_SECRET_ACCESS_KEY", options_.secret_key},
                                            {"AWS_REGION", options_.region},
                                            {"AWS_ENDPOINT_URL_S3", endpoint()}};
  if (!options_.session_token.empty()) all["AWS_SESSION_TOKEN"] = options_.session_token;
  return all;
}

void FakeS3::FailNext(int count, int status, const std::string& code) {
  absl::MutexLock lock(&mu_);
  fail_ = count;
  fail_status_ = status;
  fail_code_ = code;
}
void FakeS3::ResetNext(int count) {
  absl::MutexLock lock(&mu_);
  reset_ = count;
}
void FakeS3::CutNext(int count) {
  absl::MutexLock lock(&mu_);
  cut_ = count;
}
void FakeS3::SpoilNext(int count) {
  absl::MutexLock lock(&mu_);
  spoil_ = count;
}
void FakeS3::Hold(bool hold) {
  absl::MutexLock lock(&mu_);
  hold_ = hold;
}
void FakeS3::set_keeps_checksums(bool keeps) {
  absl::MutexLock lock(&mu_);
  keeps_checksums_ = keeps;
}
void FakeS3::set_conditional(bool able) {
  absl::MutexLock lock(&mu_);
  conditional_ = able;
}
void FakeS3::set_list_reply(std::string xml) {
  absl::MutexLock lock(&mu_);
  list_reply_ = std::move(xml);
}
void FakeS3::Put(const std::string& key, std::string bytes, absl::Time modified) {
  absl::MutexLock lock(&mu_);
  const std::string checksum = absl::Base64Escape(Sha(bytes));
  objects_[key] = {std::move(bytes), checksum, modified};
}
void FakeS3::Erase(const std::string& key) {
  absl::MutexLock lock(&mu_);
  objects_.erase(key);
}
std::map<std::string, FakeS3::Object> FakeS3::objects() const {
  absl::MutexLock lock(&mu_);
  return objects_;
}
std::vector<FakeS3::Request> FakeS3::requests() const {
  absl::MutexLock lock(&mu_);
  return requests_;
}
int FakeS3::connections() const {
  absl::MutexLock lock(&mu_);
  return connections_;
}
std::string FakeS3::last_refusal() const {
  absl::MutexLock lock(&mu_);
  return refusal_;
}

void FakeS3::Accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    absl::MutexLock lock(&mu_);
    if (stopping_ || fd < 0) {
      if (fd >= 0) ::close(fd);
      return;
    }
    open_.insert(fd);
    ++connections_;
    threads_.emplace_back([this, fd] {
      Serve(fd);
      absl::MutexLock inner(&mu_);
      open_.erase(fd);
      ::close(fd);
    });
  }
}

bool FakeS3::ReadRequest(int fd, std::string& buffer, Request& request) {
  const auto more = [&] {
    char chunk[16384];
    const ssize_t n = ::recv(fd, chunk, sizeof(chunk), 0);
    if (n > 0) buffer.append(chunk, static_cast<size_t>(n));
    return n > 0;
  };
  size_t end;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return false;
  }
  const std::vector<std::string> lines = absl::StrSplit(buffer.substr(0, end), "\r\n");
  buffer.erase(0, end + 4);
  const std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
  if (first.size() != 3) return false;
  request.method = first[0];
  const std::vector<std::string> target = absl::StrSplit(first[1], absl::MaxSplits('?', 1));
  request.path = target[0];
  if (target.size() > 1) request.query = target[1];
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    if (parts.size() == 2) request.headers[absl::AsciiStrToLower(parts[0])] = std::string(absl::StripAsciiWhitespace(parts[1]));
  }
  size_t length = 0;
  if (const char* value = Header(request, "content-length"); value && !absl::SimpleAtoi(value, &length)) return false;
  if (Header(request, "expect")) (void)!::send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
  while (buffer.size() < length) {
    if (!more()) return false;
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return true;
}

void FakeS3::Serve(int fd) {
  std::string buffer;
  while (true) {
    Request request;
    if (!ReadRequest(fd, buffer, request)) return;
    Reply reply;
    bool reset, cut, spoil;
    {
      absl::MutexLock lock(&mu_);
      requests_.push_back(request);
      mu_.Await(absl::Condition(this, &FakeS3::Open));
      if (stopping_) return;
      reset = Take(reset_);
      if (reset) {
        const linger hard{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        return;
      }
      reply = Answer(request);
      cut = reply.body.size() > 1 && Take(cut_);
      spoil = request.method == "GET" && request.query.empty() && !reply.body.empty() && Take(spoil_);
    }
    if (spoil) reply.body[reply.body.size() / 2] ^= 1;
    const size_t length = request.method == "HEAD" ? reply.length : reply.body.size();
    std::string text = absl::StrCat("HTTP/1.1 ", reply.status, " X\r\nContent-Length: ", length, "\r\n");
    for (const std::string& header : reply.headers) absl::StrAppend(&text, header, "\r\n");
    text += "\r\n";
    if (request.method != "HEAD") text += cut ? reply.body.substr(0, reply.body.size() / 2) : reply.body;
    for (size_t at = 0; at < text.size();) {
      const ssize_t n = ::send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
    if (cut) return;
  }
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
std::string FakeS3::CheckSignature(const Request& request) const {
  const char* authorization = Header(request, "authorization");
  const char* payload = Header(request, "x-amz-content-sha256");
  const char* date = Header(request, "x-amz-date");
  if (!authorization || !payload || !date || !Header(request, "host")) return "a header is missing";
  std::string credential, signed_headers, signature;
  absl::string_view rest = authorization;
  if (!absl::ConsumePrefix(&rest, "AWS4-HMAC-SHA256 ")) return "another algorithm";
  for (absl::string_view part : absl::StrSplit(rest, ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (absl::ConsumePrefix(&part, "Credential=")) credential = std::string(part);
    if (absl::ConsumePrefix(&part, "SignedHeaders=")) signed_headers = std::string(part);
    if (absl::ConsumePrefix(&part, "Signature=")) signature = std::string(part);
  }
  const std::string day = std::string(date).substr(0, 8);
  const std::string scope = absl::StrCat(day, "/", options_.region, "/s3/aws4_request");
  if (credential != absl::StrCat(options_.access_key, "/", scope)) return absl::StrCat("credential ", credential);
  std::vector<std::string> names = absl::StrSplit(signed_headers, ';');
  if (!std::is_sorted(names.begin(), names.end())) return "headers out of order";
  for (const auto& [name, value] : request.headers) {
    const bool must = name == "host" || absl::StartsWith(name, "x-amz-");
    if (must && std::find(names.begin(), names.end(), name) == names.end()) return absl::StrCat(name, " is not signed");
  }
  std::vector<std::string> query = absl::StrSplit(request.query, '&', absl::SkipEmpty());
  std::sort(query.begin(), query.end());
  std::string canonical = absl::StrCat(request.method, "\n", request.path, "\n", absl::StrJoin(query, "&"), "\n");
  for (const std::string& name : names) {
    const char* value = Header(request, name);
    if (!value) return absl::StrCat(name, " is signed but absent");
    absl::StrAppend(&canonical, name, ":", value, "\n");
  }
  absl::StrAppend(&canonical, "\n", signed_headers, "\n", payload);
  const std::string to_sign = absl::StrCat("AWS4-HMAC-SHA256\n", date, "\n", scope, "\n", absl::BytesToHexString(Sha(canonical)));
  std::string key = Mac(absl::StrCat("AWS4", options_.secret_key), day);
  for (const std::string& step : {options_.region, std::string("s3"), std::string("aws4_request")}) key = Mac(key, step);
  if (absl::BytesToHexString(Mac(key, to_sign)) != signature) return absl::StrCat("signature of:\n", canonical);
  const char* token = Header(request, "x-amz-security-token");
  if (!options_.session_token.empty() && (!token || token != options_.session_token)) return "session token";
  return "";
}

namespace {

std::string ErrorBody(const std::string& code) {
  return absl::StrCat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>", code,
                      "</Code><Message>secret wJalrXUtnFEMI</Message><AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId></Error>");
}

}  // namespace

FakeS3::Reply FakeS3::Answer(const Request& request) {
  const auto error = [](int status, const std::string& code) { return Reply{status, {}, ErrorBody(code), 0}; };
  if (Take(fail_)) return error(fail_status_, fail_code_);
  if (const std::string why = CheckSignature(request); !why.empty()) {
    refusal_ = why;
    return error(403, "SignatureDoesNotMatch");
  }
  if (absl::BytesToHexString(Sha(request.body)) != Header(request, "x-amz-content-sha256"))
    return error(400, "XAmzContentSHA256Mismatch");
  const std::string path = Decode(request.path);
  const std::string root = absl::StrCat("/", options_.bucket);
  if (path == root || path == root + "/") return AnswerList(request);
  if (!absl::StartsWith(path, root + "/")) return error(404, "NoSuchBucket");
  return AnswerObject(request, path.substr(root.size() + 1));
}

FakeS3::Reply FakeS3::AnswerObject(const Request& request, const std::string& key) {
  const auto error = [](int status, const std::string& code) { return Reply{status, {}, ErrorBody(code), 0}; };
  const auto found = objects_.find(key);
  if (request.method == "DELETE") {
    objects_.erase(key);
    return Reply{204, {}, "", 0};
  }
  if (request.method == "PUT") {
    const std::string checksum = absl::Base64Escape(Sha(request.body));
    if (const char* sent = Header(request, "x-amz-checksum-sha256"); sent && sent != checksum) return error(400, "BadDigest");
    if (Header(request, "if-none-match")) {
      if (!conditional_) return error(501, "NotImplemented");
      if (found != objects_.end()) return error(412, "PreconditionFailed");
    }
    objects_[key] = {request.body, checksum, absl::Now()};
    if (!keeps_checksums_) return Reply{};
    return Reply{200, {absl::StrCat("x-amz-checksum-sha256: ", checksum)}, "", 0};
  }
  if (found == objects_.end()) return error(404, "NoSuchKey");
  Reply reply;
  reply.body = found->second.bytes;
  reply.length = reply.body.size();
  const char* mode = Header(request, "x-amz-checksum-mode");
  if (keeps_checksums_ && mode && mode == std::string("ENABLED")) {
    reply.headers.push_back(absl::StrCat("x-amz-checksum-sha256: ", found->second.checksum));
  }
  return reply;
}

FakeS3::Reply FakeS3::AnswerList(const Request& request) {
  std::map<std::string, std::string> parameters;
  for (const absl::string_view part : absl::StrSplit(request.query, '&')) {
    const std::vector<std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    parameters[pair[0]] = pair.size() > 1 ? Decode(pair[1]) : "";
  }
  if (!list_reply_.empty()) return Reply{200, {}, list_reply_, 0};
  // A token that must come back exactly, and needs encoding.
  std::string after;
  if (!parameters["continuation-token"].empty()) {
    after = parameters["continuation-token"];
    if (after.substr(0, 4) != "+/= ") return Reply{400, {}, ErrorBody("InvalidArgument"), 0};
    after.erase(0, 4);
  }
  std::string contents, last;
  size_t count = 0;
  bool more = false;
  for (auto it = objects_.upper_bound(after); it != objects_.end(); ++it) {
    if (!absl::StartsWith(it->first, parameters["prefix"])) continue;
    if (count == options_.page) {
      more = true;
      break;
    }
    ++count;
    last = it->first;
    absl::StrAppend(&contents, "<Contents><Key>", Escape(it->first), "</Key><LastModified>",
                    absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", it->second.modified, absl::UTCTimeZone()),
                    "</LastModified><ETag>&quot;x&quot;</ETag><Size>", it->second.bytes.size(),
                    "</Size><StorageClass>STANDARD</StorageClass></Contents>");
  }
  return Reply{
      200,
      {},
      absl::StrCat(
          "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
          "<Name>", options_.bucket, "</Name><IsTruncated>", more ? "true" : "false", "</IsTruncated>", contents,
          more ? absl::StrCat("<NextContinuationToken>+/= ", Escape(last), "</NextContinuationToken>") : "",
          "</ListBucketResult>"),
      0};
}

}  // namespace promptsweep
