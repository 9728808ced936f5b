#include "blobs/s3_xml.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status.h"

namespace promptsweep {
namespace {

constexpr size_t kMaxDepth = 8;
constexpr size_t kMaxCodeBytes = 64;
constexpr size_t kMaxReferenceBytes = 10;

absl::Status Bad(absl::string_view what) { return absl::DataLossError(absl::StrCat("unreadable reply: ", what)); }

void AppendUtf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xf0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

// `name` is what stands between & and ;.
absl::Status AppendReference(absl::string_view name, std::string& out) {
  if (name == "lt" || name == "gt" || name == "amp" || name == "quot" || name == "apos") {
    out.push_back(name == "lt" ? '<' : name == "gt" ? '>' : name == "amp" ? '&' : name == "quot" ? '"' : '\'');
    return absl::OkStatus();
  }
  const bool hex = absl::ConsumePrefix(&name, "#x");
  if (!hex && !absl::ConsumePrefix(&name, "#")) return Bad("an unknown entity");
  if (name.empty()) return Bad("a character without a number");
  uint32_t c = 0;
  for (const unsigned char digit : name) {
    if (!(hex ? absl::ascii_isxdigit(digit) : absl::ascii_isdigit(digit))) return Bad("a malformed character number");
    const uint32_t value = absl::ascii_isdigit(digit) ? digit - '0' : absl::ascii_tolower(digit) - 'a' + 10u;
    c = c * (hex ? 16 : 10) + value;
    if (c > 0x10ffff) return Bad("a character beyond Unicode");
  }
  if (c == 0 || (c >= 0xd800 && c < 0xe000)) return Bad("a character that is none");
  AppendUtf8(out, c);
  return absl::OkStatus();
}

// Gives out elements in document order, with the path of their names ("ListBucketResult/Contents/Key"). Text with elements
// beside it is dropped.
class XmlReader {
 public:
  explicit XmlReader(absl::string_view xml) : rest_(xml) { (void)absl::ConsumePrefix(&rest_, "\xef\xbb\xbf"); }

  // What happened last.
  enum Event { kOpen, kClose, kEnd };
  absl::StatusOr<Event> Next();
  // The element's path, itself included, and, at kClose, the text in it since its last inner element.
  const std::string& path() const { return path_; }
  const std::string& text() const { return text_; }

 private:
  absl::Status SkipPast(absl::string_view end);
  absl::Status ReadText();
  absl::StatusOr<Event> ReadTag();
  absl::StatusOr<Event> Close();

  absl::string_view rest_;
  std::string path_;
  std::vector<size_t> lengths_;  // of path_, before each open element
  std::string text_;
  bool started_ = false;
  bool leave_ = false;      // the element that was closed is still on the path
  bool close_too_ = false;  // <empty/>: its kClose comes next
};

absl::Status XmlReader::SkipPast(absl::string_view end) {
  const size_t at = rest_.find(end);
  if (at == absl::string_view::npos) return Bad("it is cut short");
  rest_.remove_prefix(at + end.size());
  return absl::OkStatus();
}

absl::Status XmlReader::ReadText() {
  while (!rest_.empty() && rest_.front() != '<') {
    if (rest_.front() == '&') {
      const size_t end = rest_.substr(0, kMaxReferenceBytes + 2).find(';');
      if (end == absl::string_view::npos) return Bad("an unknown entity");
      PS_RETURN_IF_ERROR(AppendReference(rest_.substr(1, end - 1), text_));
      rest_.remove_prefix(end + 1);
      continue;
    }
    const size_t end = std::min(rest_.find_first_of("<&"), rest_.size());
    if (lengths_.empty() && !absl::StripAsciiWhitespace(rest_.substr(0, end)).empty()) return Bad("text outside of elements");
    text_.append(rest_.data(), end);
    rest_.remove_prefix(end);
  }
  if (lengths_.empty() && !absl::StripAsciiWhitespace(text_).empty()) return Bad("text outside of elements");
  return absl::OkStatus();
}

absl::StatusOr<XmlReader::Event> XmlReader::Close() {
  leave_ = true;
  return kClose;
}

absl::StatusOr<XmlReader::Event> XmlReader::ReadTag() {
  rest_.remove_prefix(1);
  const bool closing = absl::ConsumePrefix(&rest_, "/");
  const auto is_name = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == ':' || c >= 0x80;
  };
  size_t length = 0;
  while (length < rest_.size() && is_name(static_cast<unsigned char>(rest_[length]))) ++length;
  const absl::string_view qualified = rest_.substr(0, length);
  rest_.remove_prefix(length);
  const size_t colon = qualified.find(':');
  const absl::string_view name = colon == absl::string_view::npos ? qualified : qualified.substr(colon + 1);
  if (name.empty() || name.size() > 128) return Bad("an element without a name");
  // Attributes are skipped, with any > in their quotes.
  bool empty = false;
  while (true) {
    if (rest_.empty()) return Bad("it is cut short");
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '>') break;
    if (c == '<' || (closing && !absl::ascii_isspace(static_cast<unsigned char>(c)))) return Bad("a malformed tag");
    if (c == '"' || c == '\'') PS_RETURN_IF_ERROR(SkipPast(absl::string_view(&c, 1)));
    empty = c == '/';
  }
  if (closing) {
    if (lengths_.empty()) return Bad("an end without a beginning");
    const size_t before = lengths_.back();
    if (absl::string_view(path_).substr(before == 0 ? 0 : before + 1) != name) return Bad("an end that is not the beginning's");
    return Close();
  }
  if (lengths_.empty() && started_) return Bad("more than one document");
  if (lengths_.size() >= kMaxDepth) return Bad("it is nested too deeply");
  started_ = true;
  lengths_.push_back(path_.size());
  absl::StrAppend(&path_, path_.empty() ? "" : "/", name);
  text_.clear();
  close_too_ = empty;
  return kOpen;
}

absl::StatusOr<XmlReader::Event> XmlReader::Next() {
  if (std::exchange(leave_, false)) {
    path_.resize(lengths_.back());
    lengths_.pop_back();
    text_.clear();
  }
  if (std::exchange(close_too_, false)) return Close();
  while (true) {
    PS_RETURN_IF_ERROR(ReadText());
    if (rest_.empty()) {
      if (!lengths_.empty() || !started_) return Bad("it is cut short");
      return kEnd;
    }
    if (absl::StartsWith(rest_, "<?")) {
      PS_RETURN_IF_ERROR(SkipPast("?>"));
    } else if (absl::StartsWith(rest_, "<!--")) {
      rest_.remove_prefix(4);
      PS_RETURN_IF_ERROR(SkipPast("-->"));
    } else if (absl::StartsWith(rest_, "<!")) {
      return Bad("a document type");
    } else {
      return ReadTag();
    }
  }
}

}  // namespace

absl::StatusOr<S3Listing> ParseS3Listing(absl::string_view xml) {
  XmlReader reader(xml);
  S3Listing listing;
  BlobEntry entry;
  bool has_key = false, has_size = false, has_time = false, has_truncated = false;
  while (true) {
    PS_ASSIGN_OR_RETURN(const XmlReader::Event event, reader.Next());
    if (event == XmlReader::kEnd) break;
    const std::string& path = reader.path();
    if (!absl::StartsWith(path, "ListBucketResult")) return Bad("it is no listing");
    if (event == XmlReader::kOpen) {
      if (path == "ListBucketResult/Contents") {
        entry = {};
        has_key = has_size = has_time = false;
      }
      continue;
    }
    const std::string& text = reader.text();
    if (path == "ListBucketResult/Contents/Key") {
      entry.key = text;
      has_key = !text.empty();
    } else if (path == "ListBucketResult/Contents/Size") {
      has_size = absl::SimpleAtoi(text, &entry.size);
    } else if (path == "ListBucketResult/Contents/LastModified") {
      std::string error;
      has_time = absl::ParseTime(absl::RFC3339_full, text, &entry.modified, &error);
    } else if (path == "ListBucketResult/Contents") {
      if (!has_key || !has_size || !has_time) return Bad("an object without a key, a size or a time");
      listing.entries.push_back(std::move(entry));
    } else if (path == "ListBucketResult/IsTruncated") {
      if (text != "true" && text != "false") return Bad("neither whole nor cut");
      listing.truncated = text == "true";
      has_truncated = true;
    } else if (path == "ListBucketResult/NextContinuationToken") {
      listing.token = text;
    }
  }
  if (!has_truncated) return Bad("neither whole nor cut");
  if (listing.truncated && listing.token.empty()) return Bad("more to come but no way to ask for it");
  return listing;
}

std::string ParseS3ErrorCode(absl::string_view xml) {
  XmlReader reader(xml);
  while (true) {
    const absl::StatusOr<XmlReader::Event> event = reader.Next();
    if (!event.ok() || *event == XmlReader::kEnd) return "";
    if (*event == XmlReader::kClose && reader.path() == "Error/Code") {
      const std::string& code = reader.text();
      const bool plain = code.size() <= kMaxCodeBytes &&
                         std::all_of(code.begin(), code.end(), [](unsigned char c) { return absl::ascii_isalnum(c); });
      return plain ? code : "";
    }
  }
}

}  // namespace promptsweep
