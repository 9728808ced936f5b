#include "jobs/sweep/template.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::sweep {
namespace {

constexpr int kMaxParts = 4096;  // pieces of one template; bounds recursion
constexpr int kMaxNesting = 8;

struct Part;
using Sequence = std::vector<Part>;
struct Part {
  std::string literal;
  std::string variable;                              // with `values`
  const std::vector<std::string>* values = nullptr;  // variable or word list
  std::vector<Sequence> alternatives;
};

using ValuesOf = absl::FunctionRef<absl::StatusOr<const std::vector<std::string>*>(const std::string&, bool)>;

class TemplateParser {
 public:
  TemplateParser(absl::string_view text, ValuesOf values) : text_(text), values_(values) {}

  absl::StatusOr<Sequence> Parse() {
    PS_ASSIGN_OR_RETURN(Sequence sequence, ParseSequence(0));
    if (at_ < text_.size()) return Error("} without {");
    return sequence;
  }

 private:
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat("template, character ", at_ + 1, ": ", what));
  }

  // Up to the end, or to | or } of the alternatives it stands in.
  absl::StatusOr<Sequence> ParseSequence(int nesting) {
    Sequence sequence;
    std::string literal;
    auto add = [&](Part part) -> absl::Status {
      if (++parts_ > kMaxParts) return Error(absl::StrCat("more than ", kMaxParts, " pieces; put long lists in a file"));
      sequence.push_back(std::move(part));
      return absl::OkStatus();
    };
    auto flush = [&]() -> absl::Status {
      if (literal.empty()) return absl::OkStatus();
      Part part;
      part.literal = std::move(literal);
      literal.clear();
      return add(std::move(part));
    };
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size() && absl::string_view("{}|_\\").find(text_[at_ + 1]) != absl::string_view::npos) {
        literal += text_[at_ + 1];
        at_ += 2;
      } else if (std::optional<std::string> name = Variable()) {
        PS_RETURN_IF_ERROR(flush());
        Part part;
        part.variable = *name;
        PS_ASSIGN_OR_RETURN(part.values, values_(*name, false));
        PS_RETURN_IF_ERROR(add(std::move(part)));
      } else if (std::optional<std::string> list = WordList()) {
        PS_RETURN_IF_ERROR(flush());
        Part part;
        PS_ASSIGN_OR_RETURN(part.values, values_(*list, true));
        PS_RETURN_IF_ERROR(add(std::move(part)));
      } else if (c == '{') {
        PS_RETURN_IF_ERROR(flush());
        PS_ASSIGN_OR_RETURN(Part part, ParseAlternatives(nesting + 1));
        PS_RETURN_IF_ERROR(add(std::move(part)));
      } else if (c == '}' || (c == '|' && nesting > 0)) {
        break;
      } else {
        literal += c;
        ++at_;
      }
    }
    PS_RETURN_IF_ERROR(flush());
    return sequence;
  }

  absl::StatusOr<Part> ParseAlternatives(int nesting) {
    if (nesting > kMaxNesting) return Error(absl::StrCat("nested more than ", kMaxNesting, " deep"));
    const size_t open = at_++;
    Part part;
    while (true) {
      PS_ASSIGN_OR_RETURN(Sequence alternative, ParseSequence(nesting));
      part.alternatives.push_back(std::move(alternative));
      if (++parts_ > kMaxParts) return Error(absl::StrCat("more than ", kMaxParts, " pieces; put long lists in a file"));
      if (at_ >= text_.size()) {
        at_ = open;
        return Error("{ without }");
      }
      if (text_[at_++] == '}') break;
    }
    if (part.alternatives.size() == 1) {
      at_ = open;
      return Error("braces with one alternative; a variable is written {{name}}, a brace \\{");
    }
    return part;
  }

  // {{name}} here: consumes it.
  std::optional<std::string> Variable() {
    if (text_.substr(at_, 2) != "{{") return std::nullopt;
    size_t end = text_.find("}}", at_);
    if (end == absl::string_view::npos) return std::nullopt;
    absl::string_view name = absl::StripAsciiWhitespace(text_.substr(at_ + 2, end - at_ - 2));
    if (!IsIdentifier(name)) return std::nullopt;
    at_ = end + 2;
    return std::string(name);
  }

  // __name__ here: consumes it.
  std::optional<std::string> WordList() {
    if (text_.substr(at_, 2) != "__") return std::nullopt;
    size_t end = text_.find("__", at_ + 3);
    if (end == absl::string_view::npos) return std::nullopt;
    absl::string_view name = text_.substr(at_ + 2, end - at_ - 2);
    if (!IsName(name)) return std::nullopt;
    at_ = end + 2;
    return std::string(name);
  }

  absl::string_view text_;
  ValuesOf values_;
  size_t at_ = 0;
  int parts_ = 0;
};

class Expander {
 public:
  explicit Expander(absl::FunctionRef<absl::Status(const std::string&)> emit) : emit_(emit) {}

  // What is left to expand: the rest of a sequence, then of those it stands in.
  struct Rest {
    const Sequence* sequence;
    size_t next;
    const Rest* then;
  };

  absl::Status Expand(const Rest* rest) {
    while (rest != nullptr && rest->next == rest->sequence->size()) rest = rest->then;
    if (rest == nullptr) return emit_(text_);
    const Part& part = (*rest->sequence)[rest->next];
    const Rest after{rest->sequence, rest->next + 1, rest->then};
    if (part.values == nullptr && part.alternatives.empty()) return With(part.literal, after);
    for (const Sequence& alternative : part.alternatives) {
      const Rest inside{&alternative, 0, &after};
      PS_RETURN_IF_ERROR(Expand(&inside));
    }
    if (part.values == nullptr) return absl::OkStatus();
    if (part.variable.empty()) {
      for (const std::string& value : *part.values) PS_RETURN_IF_ERROR(With(value, after));
      return absl::OkStatus();
    }
    if (auto bound = bound_.find(part.variable); bound != bound_.end()) return With(*bound->second, after);
    for (const std::string& value : *part.values) {
      bound_[part.variable] = &value;
      PS_RETURN_IF_ERROR(With(value, after));
    }
    bound_.erase(part.variable);
    return absl::OkStatus();
  }

 private:
  absl::Status With(const std::string& piece, const Rest& after) {
    const size_t size = text_.size();
    text_ += piece;
    PS_RETURN_IF_ERROR(Expand(&after));
    text_.resize(size);
    return absl::OkStatus();
  }

  absl::FunctionRef<absl::Status(const std::string&)> emit_;
  std::string text_;
  std::map<std::string, const std::string*> bound_;
};

}  // namespace

absl::Status ExpandTemplate(absl::string_view text, ValuesOf values,
                            absl::FunctionRef<absl::Status(const std::string& text)> emit) {
  PS_ASSIGN_OR_RETURN(Sequence sequence, TemplateParser(text, values).Parse());
  const Expander::Rest all{&sequence, 0, nullptr};
  return Expander(emit).Expand(&all);
}

bool LooksLikeTemplate(absl::string_view text) {
  if (!absl::StrContains(text, '{') && !absl::StrContains(text, "__")) return false;
  static const auto& nothing = *new std::vector<std::string>;
  auto values = [](const std::string&, bool) -> absl::StatusOr<const std::vector<std::string>*> { return &nothing; };
  const absl::StatusOr<Sequence> sequence = TemplateParser(text, values).Parse();
  return sequence.ok() && std::any_of(sequence->begin(), sequence->end(), [](const Part& part) { return part.literal.empty(); });
}

}  // namespace promptsweep::sweep
