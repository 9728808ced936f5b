#include "blobs/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace promptsweep {
namespace {

constexpr size_t kMaxHeaderBytes = 4 << 10;
constexpr size_t kMaxHeaders = 100;

struct Transfer {
  const HttpRequest& request;
  const std::function<bool()>& cancelled;
  HttpReply reply;
  size_t sent = 0;
  bool too_large = false;
};

size_t OnBody(char* data, size_t size, size_t count, void* context) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  const size_t bytes = size * count;
  if (bytes > transfer.request.max_reply_bytes - transfer.reply.body.size()) {
    transfer.too_large = true;
    return 0;
  }
  transfer.reply.body.append(data, bytes);
  return bytes;
}

size_t OnHeader(char* data, size_t size, size_t count, void* context) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  const absl::string_view line(data, size * count);
  if (absl::string_view(line).substr(0, 5) == "HTTP/") transfer.reply.headers.clear();  // after 100 Continue
  const size_t colon = line.find(':');
  if (colon != absl::string_view::npos && line.size() <= kMaxHeaderBytes && transfer.reply.headers.size() < kMaxHeaders) {
    transfer.reply.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return line.size();
}

size_t OnRead(char* data, size_t size, size_t count, void* context) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  const size_t bytes = std::min(size * count, transfer.request.body.size() - transfer.sent);
  std::memcpy(data, transfer.request.body.data() + transfer.sent, bytes);
  transfer.sent += bytes;
  return bytes;
}

// A connection that died while idle: curl sends again on a new one.
int OnSeek(void* context, curl_off_t offset, int origin) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  if (origin != SEEK_SET || offset < 0 || static_cast<size_t>(offset) > transfer.request.body.size()) return CURL_SEEKFUNC_FAIL;
  transfer.sent = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int OnProgress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const Transfer& transfer = *static_cast<Transfer*>(context);
  return transfer.cancelled && transfer.cancelled() ? 1 : 0;
}

absl::Status FromCurl(CURLcode code, const Transfer& transfer) {
  if (transfer.too_large) {
    return absl::DataLossError(absl::StrCat("the reply is larger than ", transfer.request.max_reply_bytes, " bytes"));
  }
  switch (code) {
    case CURLE_OK:
      return absl::OkStatus();
    case CURLE_ABORTED_BY_CALLBACK:
      return absl::CancelledError("given up");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_NOT_BUILT_IN:
      return absl::FailedPreconditionError(curl_easy_strerror(code));
    default:
      return absl::UnavailableError(curl_easy_strerror(code));
  }
}

}  // namespace

HttpClient::HttpClient(Options options) : options_(std::move(options)) {
  // Not thread-safe by itself in every libcurl, and needed once.
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  PS_CHECK(global == CURLE_OK);
}

HttpClient::~HttpClient() {
  for (void* handle : free_) curl_easy_cleanup(handle);
}

void* HttpClient::Take() {
  {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(this, &HttpClient::HasFree));
    if (!free_.empty()) {
      void* handle = free_.back();
      free_.pop_back();
      return handle;
    }
    ++made_;
  }
  void* handle = curl_easy_init();
  PS_CHECK(handle != nullptr);
  return handle;
}

void HttpClient::GiveBack(void* handle) {
  // Keeps the connection, forgets the request and the credentials.
  curl_easy_reset(handle);
  absl::MutexLock lock(&mu_);
  free_.push_back(handle);
}

absl::StatusOr<HttpReply> HttpClient::Send(const HttpRequest& request) {
  CURL* handle = Take();
  Transfer transfer{request, options_.cancelled, {}, 0, false};
  curl_slist* headers = nullptr;
  for (const std::string& header : request.headers) headers = curl_slist_append(headers, header.c_str());
  const std::string provider = absl::StrCat("aws:amz:", options_.region, ":s3");
  bool able = true;
  const auto set = [&](CURLoption option, auto value) { able = curl_easy_setopt(handle, option, value) == CURLE_OK && able; };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_AWS_SIGV4, provider.c_str());
  set(CURLOPT_USERNAME, options_.access_key.c_str());
  set(CURLOPT_PASSWORD, options_.secret_key.c_str());
  set(CURLOPT_HTTPHEADER, headers);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(options_.connect_timeout)));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(options_.request_timeout)));
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  if (options_.bypass_proxy) set(CURLOPT_NOPROXY, "*");
  set(CURLOPT_WRITEFUNCTION, &OnBody);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_HEADERFUNCTION, &OnHeader);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &OnProgress);
  set(CURLOPT_XFERINFODATA, &transfer);
  if (request.method == "HEAD") set(CURLOPT_NOBODY, 1L);
  if (request.method == "DELETE") set(CURLOPT_CUSTOMREQUEST, "DELETE");
  if (request.method == "PUT") {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_READFUNCTION, &OnRead);
    set(CURLOPT_READDATA, &transfer);
    set(CURLOPT_SEEKFUNCTION, &OnSeek);
    set(CURLOPT_SEEKDATA, &transfer);
  }
  absl::Status status = absl::FailedPreconditionError("this libcurl cannot sign requests for S3");
  if (able) status = FromCurl(curl_easy_perform(handle), transfer);
  long code = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
  curl_slist_free_all(headers);
  GiveBack(handle);
  if (!status.ok()) return status;
  transfer.reply.status = static_cast<int>(code);
  return std::move(transfer.reply);
}

std::string UriEncode(absl::string_view text, bool keep_slashes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/')) {
      out.push_back(static_cast<char>(c));
    } else {
      out.push_back('%');
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
  }
  return out;
}

}  // namespace promptsweep
