#include "blobs/s3_blob_store.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <random>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"
#include "base/status.h"
#include "blobs/http.h"
#include "blobs/s3_xml.h"

namespace promptsweep {
namespace {

constexpr size_t kMaxListingBytes = 8 << 20;  // 1000 keys of 1 KiB, each byte of them a character reference, and more
constexpr size_t kMaxErrorBytes = 64 << 10;
constexpr size_t kMaxSettingBytes = 4 << 10;

struct Settings {
  std::string access_key, secret_key, session_token, region, endpoint;
};

std::optional<std::string> FromProcess(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

absl::StatusOr<Settings> ReadSettings(const BlobStore::Options& options) {
  const auto get = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const auto value = options.environment ? options.environment(name) : FromProcess(name);
      if (value && !value->empty()) return *value;
    }
    return std::string();
  };
  Settings settings;
  settings.access_key = get({"AWS_ACCESS_KEY_ID"});
  settings.secret_key = get({"AWS_SECRET_ACCESS_KEY"});
  settings.session_token = get({"AWS_SESSION_TOKEN"});
  settings.region = get({"AWS_REGION", "AWS_DEFAULT_REGION"});
  settings.endpoint = get({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  if (settings.access_key.empty() || settings.secret_key.empty()) {
    return absl::FailedPreconditionError("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  for (const std::string* value : {&settings.access_key, &settings.secret_key, &settings.session_token}) {
    const bool plain = std::all_of(value->begin(), value->end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
    if (!plain || value->size() > kMaxSettingBytes) {
      return absl::FailedPreconditionError("the AWS_ credentials have characters that no credentials have");
    }
  }
  if (settings.region.empty()) settings.region = "us-east-1";
  const bool region = std::all_of(settings.region.begin(), settings.region.end(),
                                  [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; });
  if (!region || settings.region.size() > 64) return absl::FailedPreconditionError("AWS_REGION is no region");
  if (settings.endpoint.empty()) settings.endpoint = absl::StrCat("https://s3.", settings.region, ".amazonaws.com");
  absl::string_view host = settings.endpoint;
  const bool scheme = absl::ConsumePrefix(&host, "https://") || absl::ConsumePrefix(&host, "http://");
  while (absl::ConsumeSuffix(&host, "/")) {
  }
  const bool plain = std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-._:[]", absl::string_view(reinterpret_cast<const char*>(&c), 1));
  });
  if (!scheme || host.empty() || !plain) {
    return absl::FailedPreconditionError("AWS_ENDPOINT_URL_S3 is not of the form http://HOST:PORT or https://HOST:PORT");
  }
  while (absl::EndsWith(settings.endpoint, "/")) settings.endpoint.pop_back();
  return settings;
}

bool IsLoopback(absl::string_view endpoint) {
  return absl::StrContains(endpoint, "://127.") || absl::StrContains(endpoint, "://localhost") ||
         absl::StrContains(endpoint, "://[::1]");
}

bool IsTransient(int status, absl::string_view code) {
  switch (status) {
    case 408:
    case 409:  // ConditionalRequestConflict: somebody puts the same key now
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return true;
    default:
      // BadDigest: what arrived is not what was sent.
      return code == "RequestTimeout" || code == "SlowDown" || code == "BadDigest" || code == "XAmzContentSHA256Mismatch" ||
             code == "InternalError";
  }
}

class S3BlobStore final : public BlobStore {
 public:
  S3BlobStore(const BlobUri& uri, Settings settings, const Options& options)
      : name_(uri.ToString()),
        bucket_url_(absl::StrCat(settings.endpoint, "/", uri.bucket)),
        prefix_(uri.path.empty() ? "" : absl::StrCat(uri.path, "/")),
        session_token_(std::move(settings.session_token)),
        options_(options),
        http_({.access_key = settings.access_key,
               .secret_key = settings.secret_key,
               .region = settings.region,
               .connections = options.connections,
               .connect_timeout = options.connect_timeout,
               .request_timeout = options.request_timeout,
               .cancelled = options.cancelled,
               .bypass_proxy = IsLoopback(settings.endpoint)}),
        rng_(options.jitter_seed) {}

  absl::Status Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) override;
  absl::StatusOr<BlobInfo> Stat(absl::string_view key) override;
  absl::StatusOr<std::string> Get(absl::string_view key) override;
  absl::Status Delete(absl::string_view key) override;
  absl::StatusOr<BlobPage> List(absl::string_view prefix, absl::string_view cursor) override;

 private:
  absl::StatusOr<std::string> UrlOf(absl::string_view key) const;
  // Signs, sends, and tries again where that may help. An answer below 300, or one that `expected` names.
  absl::StatusOr<HttpReply> Send(HttpRequest request, std::initializer_list<int> expected = {});
  absl::Status FromReply(const HttpReply& reply, const std::string& code) const;
  absl::Duration Pause(int attempt) ABSL_LOCKS_EXCLUDED(mu_);
  // NOT_FOUND where the key was taken and the object is not there.
  absl::Status PutUnlessTaken(const std::string& url, absl::string_view key, absl::string_view bytes, absl::string_view sha256);
  // The object under a key that is taken.
  absl::Status CheckSame(absl::string_view key, absl::string_view bytes, absl::string_view sha256);
  absl::Status Named(const absl::Status& status, absl::string_view key) const {
    return Annotate(status, key.empty() ? name_ : absl::StrCat(name_, "/", key));
  }

  const std::string name_;
  const std::string bucket_url_;
  const std::string prefix_;
  const std::string session_token_;
  const Options options_;
  HttpClient http_;
  absl::Mutex mu_;
  std::mt19937_64 rng_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::string> S3BlobStore::UrlOf(absl::string_view key) const {
  if (!IsBlobPath(key)) return absl::InvalidArgumentError("not a key of an object");
  return absl::StrCat(bucket_url_, "/", UriEncode(absl::StrCat(prefix_, key), /*keep_slashes=*/true));
}

absl::Duration S3BlobStore::Pause(int attempt) {
  absl::MutexLock lock(&mu_);
  const absl::Duration ceiling =
      std::min(options_.longest_backoff, options_.first_backoff * static_cast<double>(uint64_t{1} << std::min(attempt, 20)));
  return ceiling * std::uniform_real_distribution<double>(0.5, 1.0)(rng_);
}

absl::Status S3BlobStore::FromReply(const HttpReply& reply, const std::string& code) const {
  // Only the code: messages of S3 repeat what was signed.
  const std::string what = absl::StrCat("the server answers ", reply.status, code.empty() ? "" : " ", code);
  if (IsTransient(reply.status, code)) {
    const bool spoilt = code == "BadDigest" || code == "XAmzContentSHA256Mismatch";
    return spoilt ? absl::DataLossError(absl::StrCat("bytes arrive changed: ", what)) : absl::UnavailableError(what);
  }
  if (reply.status == 401 || reply.status == 403) return absl::PermissionDeniedError(absl::StrCat("access denied: ", what));
  if (reply.status == 404) {
    return code == "NoSuchBucket" ? absl::FailedPreconditionError(absl::StrCat("there is no such bucket: ", what))
                                  : absl::NotFoundError("no such object");
  }
  if (reply.status == 507) return absl::ResourceExhaustedError(absl::StrCat("the server is full: ", what));
  if (reply.status >= 300 && reply.status < 400) {
    return absl::FailedPreconditionError(absl::StrCat("the bucket is elsewhere, see AWS_REGION and AWS_ENDPOINT_URL_S3: ", what));
  }
  return absl::FailedPreconditionError(what);
}

absl::StatusOr<HttpReply> S3BlobStore::Send(HttpRequest request, std::initializer_list<int> expected) {
  request.headers.push_back(absl::StrCat("x-amz-content-sha256: ", ToHex(Sha256Of(request.body))));
  if (!session_token_.empty()) request.headers.push_back(absl::StrCat("x-amz-security-token: ", session_token_));
  const size_t max_reply_bytes = request.max_reply_bytes;
  absl::Status status;
  for (int attempt = 0; attempt < std::max(1, options_.attempts); ++attempt) {
    if (attempt > 0) options_.sleep(Pause(attempt - 1));
    if (options_.cancelled && options_.cancelled()) return absl::CancelledError("given up");
    request.max_reply_bytes = std::max(max_reply_bytes, kMaxErrorBytes);
    absl::StatusOr<HttpReply> reply = http_.Send(request);
    if (!reply.ok()) {
      status = reply.status();
      if (absl::IsUnavailable(status)) continue;
      return status;
    }
    if (reply->status >= 200 && reply->status < 300) {
      if (reply->body.size() <= max_reply_bytes) return reply;
      return absl::DataLossError("the reply is larger than what was asked for");
    }
    if (std::find(expected.begin(), expected.end(), reply->status) != expected.end()) return reply;
    const std::string code = ParseS3ErrorCode(reply->body);
    status = FromReply(*reply, code);
    if (!IsTransient(reply->status, code)) return status;
  }
  return status;
}

absl::Status S3BlobStore::CheckSame(absl::string_view key, absl::string_view bytes, absl::string_view sha256) {
  const absl::StatusOr<BlobInfo> there = Stat(key);
  PS_RETURN_IF_ERROR(there.status());
  if (there->size == bytes.size() && there->sha256 == sha256) return absl::OkStatus();
  return Named(absl::AlreadyExistsError("holds other bytes"), key);
}

absl::Status S3BlobStore::Put(absl::string_view key, absl::string_view bytes, absl::string_view sha256) {
  PS_ASSIGN_OR_RETURN(const std::string url, UrlOf(key));
  if (Sha256Of(bytes) != sha256) return absl::InvalidArgumentError("the digest is not the one of the bytes");
  for (int attempt = 0; attempt < std::max(1, options_.attempts); ++attempt) {
    if (attempt > 0) options_.sleep(Pause(attempt - 1));
    const absl::Status status = PutUnlessTaken(url, key, bytes, sha256);
    if (!absl::IsNotFound(status)) return status;
    // Taken, and yet not there: another writer is about to be done, or somebody has just removed it.
  }
  return Named(absl::UnavailableError("the object comes and goes"), key);
}

absl::Status S3BlobStore::PutUnlessTaken(const std::string& url, absl::string_view key, absl::string_view bytes,
                                         absl::string_view sha256) {
  HttpRequest request;
  request.method = "PUT";
  request.url = url;
  request.body = bytes;
  const std::string checksum = absl::Base64Escape(sha256);
  request.headers = {"Content-Type: application/octet-stream", absl::StrCat("x-amz-checksum-sha256: ", checksum),
                     "If-None-Match: *"};
  absl::StatusOr<HttpReply> reply = Send(request, {412, 501});
  if (reply.ok() && reply->status == 501) {
    // A server without conditional writes: look first, so that only two writers at one moment are not told apart.
    const absl::Status same = CheckSame(key, bytes, sha256);
    if (!absl::IsNotFound(same)) return same;
    request.headers.pop_back();
    reply = Send(request);
  }
  if (!reply.ok()) return Named(reply.status(), key);
  if (reply->status == 412) return CheckSame(key, bytes, sha256);
  const auto stored = reply->headers.find("x-amz-checksum-sha256");
  if (stored != reply->headers.end() && stored->second != checksum) {
    return Named(absl::DataLossError("the server kept other bytes"), key);
  }
  return absl::OkStatus();
}

absl::StatusOr<BlobInfo> S3BlobStore::Stat(absl::string_view key) {
  HttpRequest request;
  request.method = "HEAD";
  PS_ASSIGN_OR_RETURN(request.url, UrlOf(key));
  request.headers = {"x-amz-checksum-mode: ENABLED"};
  const absl::StatusOr<HttpReply> reply = Send(std::move(request));
  if (!reply.ok()) return Named(reply.status(), key);
  BlobInfo info;
  const auto length = reply->headers.find("content-length");
  const auto checksum = reply->headers.find("x-amz-checksum-sha256");
  const auto type = reply->headers.find("x-amz-checksum-type");
  const bool whole = type == reply->headers.end() || type->second == "FULL_OBJECT";
  if (whole && length != reply->headers.end() && checksum != reply->headers.end() &&
      absl::SimpleAtoi(length->second, &info.size) && absl::Base64Unescape(checksum->second, &info.sha256) &&
      info.sha256.size() == kDigestSize) {
    return info;
  }
  PS_ASSIGN_OR_RETURN(const std::string bytes, Get(key));
  return BlobInfo{bytes.size(), Sha256Of(bytes)};
}

absl::StatusOr<std::string> S3BlobStore::Get(absl::string_view key) {
  HttpRequest request;
  request.method = "GET";
  request.max_reply_bytes = options_.max_object_bytes;
  PS_ASSIGN_OR_RETURN(request.url, UrlOf(key));
  absl::StatusOr<HttpReply> reply = Send(std::move(request));
  if (!reply.ok()) return Named(reply.status(), key);
  return std::move(reply->body);
}

absl::Status S3BlobStore::Delete(absl::string_view key) {
  HttpRequest request;
  request.method = "DELETE";
  PS_ASSIGN_OR_RETURN(request.url, UrlOf(key));
  return Named(Send(std::move(request), {404}).status(), key);
}

absl::StatusOr<BlobPage> S3BlobStore::List(absl::string_view prefix, absl::string_view cursor) {
  HttpRequest request;
  request.method = "GET";
  request.max_reply_bytes = kMaxListingBytes;
  request.url = absl::StrCat(bucket_url_, "?");
  if (!cursor.empty()) absl::StrAppend(&request.url, "continuation-token=", UriEncode(cursor, /*keep_slashes=*/false), "&");
  absl::StrAppend(&request.url,
                  "list-type=2&max-keys=1000&prefix=", UriEncode(absl::StrCat(prefix_, prefix), /*keep_slashes=*/false));
  const absl::StatusOr<HttpReply> reply = Send(std::move(request));
  if (!reply.ok()) return Named(reply.status(), prefix);
  absl::StatusOr<S3Listing> listing = ParseS3Listing(reply->body);
  if (!listing.ok()) return Named(listing.status(), prefix);
  if (listing->truncated && listing->token == cursor) return Named(absl::DataLossError("the listing does not advance"), prefix);
  BlobPage page;
  for (BlobEntry& entry : listing->entries) {
    if (!absl::StartsWith(entry.key, prefix_)) continue;
    entry.key.erase(0, prefix_.size());
    page.entries.push_back(std::move(entry));
  }
  if (listing->truncated) page.next = std::move(listing->token);
  return page;
}

}  // namespace

absl::StatusOr<std::shared_ptr<BlobStore>> OpenS3BlobStore(const BlobUri& uri, const BlobStore::Options& options) {
  absl::StatusOr<Settings> settings = ReadSettings(options);
  if (!settings.ok()) return Annotate(settings.status(), uri.ToString());
  return std::shared_ptr<BlobStore>(std::make_shared<S3BlobStore>(uri, *std::move(settings), options));
}

}  // namespace promptsweep
