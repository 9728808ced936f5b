#include "jobs/sweep/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::sweep {
namespace {

constexpr char kNoAliases[] = "aliases (*) are not allowed";

// Thrown through yaml-cpp, caught in ParseYaml.
struct Refusal {
  YAML::Mark mark;
  std::string message;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode root;
  bool any = false;

  explicit TreeBuilder(const std::string& text) : lines_(absl::StrSplit(text, '\n')) {}
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  // yaml-cpp does not say how a null was spelled; here "null" can be a name.
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    absl::string_view rest;
    if (mark.line >= 0 && static_cast<size_t>(mark.line) < lines_.size()) rest = lines_[mark.line];
    rest = mark.column >= 0 && static_cast<size_t>(mark.column) < rest.size() ? rest.substr(mark.column) : "";
    for (const char* spelling : {"null", "Null", "NULL", "~"}) {
      if (absl::StartsWith(rest, spelling)) return OnScalar(mark, "", anchor, spelling);
    }
    OnScalar(BeforeNothing(mark), "", anchor, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { throw Refusal{mark, kNoAliases}; }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { throw Refusal{mark, "anchors (&) are not allowed"}; }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    YamlNode node = Start(YamlNode::kScalar, mark, tag, anchor);
    node.text = value;
    node.quoted = tag == "!";
    if (!IsUtf8Text(value)) throw Refusal{mark, "text holds NUL or is not UTF-8"};
    Place(std::move(node), mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Start(YamlNode::kSequence, mark, tag, anchor), mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    Open(Start(YamlNode::kMap, mark, tag, anchor), mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A value left out has the mark of whatever comes next; it stands where its key or its dash does.
  YAML::Mark BeforeNothing(YAML::Mark mark) const {
    if (open_.empty()) return mark;
    const YamlNode& parent = open_.back();
    if (parent.kind == YamlNode::kMap) {
      if (ExpectsKey(parent)) return mark;
      mark.line = parent.keys.back().line - 1;
      mark.column = parent.keys.back().column - 1;
      return mark;
    }
    for (int line = std::min(mark.line, static_cast<int>(lines_.size())) - 1; line >= 0; --line) {
      const absl::string_view text = absl::StripTrailingAsciiWhitespace(lines_[line]);
      if (!absl::EndsWith(text, "-")) {
        if (text.empty()) continue;
        break;
      }
      mark.line = line;
      mark.column = static_cast<int>(text.size()) - 1;
      break;
    }
    return mark;
  }

  YamlNode Start(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refusal{mark, "anchors (&) are not allowed"};
    if (!tag.empty() && tag != "?" && tag != "!") throw Refusal{mark, "tags (!) are not allowed"};
    if (++nodes_ > kMaxSpecNodes)
      throw Refusal{mark, absl::StrCat("more than ", kMaxSpecNodes, " values; put long lists in a file")};
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void Open(YamlNode node, const YAML::Mark& mark) {
    if (open_.size() >= kMaxSpecDepth) throw Refusal{mark, absl::StrCat("nested more than ", kMaxSpecDepth, " deep")};
    if (!open_.empty() && ExpectsKey(open_.back())) throw Refusal{mark, "a key must be plain text"};
    open_.push_back(std::move(node));
    seen_.emplace_back();
  }

  void Close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    seen_.pop_back();
    Place(std::move(node), YAML::Mark::null_mark());
  }

  void Place(YamlNode node, const YAML::Mark& mark) {
    if (open_.empty()) {
      root = std::move(node);
      any = true;
      return;
    }
    YamlNode& parent = open_.back();
    if (!ExpectsKey(parent)) {
      parent.items.push_back(std::move(node));
      return;
    }
    if (node.text == "<<") throw Refusal{mark, "merge keys (<<) are not allowed"};
    if (!seen_.back().insert(node.text).second) throw Refusal{mark, absl::StrCat("key ", Quoted(node.text), " appears twice")};
    parent.keys.push_back(std::move(node));
  }

  static bool ExpectsKey(const YamlNode& node) { return node.kind == YamlNode::kMap && node.keys.size() == node.items.size(); }

  std::vector<absl::string_view> lines_;
  int nodes_ = 0;
  std::vector<YamlNode> open_;
  std::vector<std::set<std::string>> seen_;  // keys of each open map
};

YamlNode PlaceOfByte(const std::string& text, size_t offset) {
  YamlNode at;
  at.line = 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
  size_t line_start = offset == 0 ? std::string::npos : text.rfind('\n', offset - 1);
  at.column = static_cast<int>(offset - (line_start == std::string::npos ? 0 : line_start + 1)) + 1;
  return at;
}

}  // namespace

const YamlNode* YamlNode::Find(absl::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].text == key) return &items[i];
  }
  return nullptr;
}

bool YamlNode::IsNull() const {
  return kind == kScalar && !quoted && (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL");
}

const char* YamlNode::KindName() const { return kind == kScalar ? "a single value" : kind == kSequence ? "a list" : "a map"; }

std::string YamlFile::Place(const YamlNode& at) const { return absl::StrCat(name, ":", at.line, ":", at.column); }

absl::Status YamlFile::Error(const YamlNode& at, absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(Place(at), ": ", message));
}

absl::StatusOr<YamlFile> ParseYaml(const std::string& text, const std::string& file_name) {
  YamlFile file;
  file.name = file_name;
  if (text.size() > kMaxSpecBytes) return file.Error({}, "over 1 MB; put long lists in files");
  size_t bad = 0;
  if (!IsUtf8Text(text, &bad)) return file.Error(PlaceOfByte(text, bad), text[bad] == '\0' ? "a NUL byte" : "not UTF-8");
  auto error_at = [&](const YAML::Mark& mark, const std::string& message) {
    YamlNode at;
    at.line = std::max(mark.line, 0) + 1;
    at.column = std::max(mark.column, 0) + 1;
    return file.Error(at, message);
  };
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    TreeBuilder builder(text);
    if (!parser.HandleNextDocument(builder) || !builder.any) return file.Error({}, "the file is empty");
    TreeBuilder second(text);
    if (parser.HandleNextDocument(second)) return file.Error(second.root, "a second document (---) is not allowed");
    file.root = std::move(builder.root);
    return file;
  } catch (const Refusal& refusal) {
    return error_at(refusal.mark, refusal.message);
  } catch (const YAML::Exception& e) {
    if (absl::StartsWith(e.msg, YAML::ErrorMsg::UNKNOWN_ANCHOR)) return error_at(e.mark, kNoAliases);
    return error_at(e.mark, absl::StrCat("not YAML: ", e.msg));
  } catch (const std::exception& e) {
    return file.Error({}, absl::StrCat("not YAML: ", e.what()));
  }
}

}  // namespace promptsweep::sweep
