#include "jobs/weights/pickle.h"

#include <unordered_map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/weights/little_endian.h"
#include "jobs/weights/pickle_objects.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;
using Kind = PickleNode::Kind;

// A checkpoint of a thousand tensors makes some twenty thousand values.
constexpr size_t kMaxNodes = 2'000'000;
constexpr size_t kMaxStack = 2'000'000;
constexpr uint8_t kMaxProtocol = 5;

// Opcodes that run or fetch code, for a message that says what was asked.
const char* ForbiddenOpcode(uint8_t opcode) {
  switch (opcode) {
    case 'i':
      return "INST";
    case 'o':
      return "OBJ";
    case 0x81:
      return "NEWOBJ";
    case 0x92:
      return "NEWOBJ_EX";
    case 0x82:
    case 0x83:
    case 0x84:
      return "EXT";
    case 'P':
      return "PERSID";
    case '2':
      return "DUP";
    case 0x97:
      return "NEXT_BUFFER";
    case 0x98:
      return "READONLY_BUFFER";
    default:
      return nullptr;
  }
}

class Machine {
 public:
  explicit Machine(absl::string_view bytes) : bytes_(bytes) {
    // One each, shared by all that mention them.
    for (const Kind kind : {Kind::kNone, Kind::kBool, Kind::kBool}) pickle_.nodes.push_back({kind});
    pickle_.nodes[kTrue].number = 1;
  }

  absl::StatusOr<Pickle> Run() {
    while (true) {
      opcode_at_ = at_;
      absl::StatusOr<bool> more = Step();
      if (!more.ok()) return Annotate(more.status(), absl::StrCat("pickle byte ", opcode_at_));
      if (pickle_.nodes.size() > kMaxNodes || stack_.size() > kMaxStack || memo_.size() > kMaxNodes) {
        return absl::InvalidArgumentError(absl::StrCat("pickle byte ", opcode_at_, ": far more values than a checkpoint has"));
      }
      if (!*more) break;
    }
    pickle_.size = at_;
    return std::move(pickle_);
  }

 private:
  static constexpr uint32_t kNoneNode = 0, kFalse = 1, kTrue = 2;

  static absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

  absl::StatusOr<absl::string_view> Bytes(uint64_t count) {
    if (count > bytes_.size() - at_) return Invalid("truncated");
    const absl::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  template <typename T>
  absl::StatusOr<T> Number() {
    PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Bytes(sizeof(T)));
    return LittleEndian<T>(bytes, 0);
  }
  // Text whose length stands in front as a T.
  template <typename T>
  absl::StatusOr<absl::string_view> Counted() {
    PS_ASSIGN_OR_RETURN(const T count, Number<T>());
    return Bytes(count);
  }
  absl::StatusOr<absl::string_view> Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == absl::string_view::npos) return Invalid("truncated");
    const absl::string_view line = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  uint32_t Add(PickleNode node) {
    pickle_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(pickle_.nodes.size() - 1);
  }
  absl::Status Push(uint32_t node) {
    stack_.push_back(node);
    return absl::OkStatus();
  }
  absl::Status Push(PickleNode node) { return Push(Add(std::move(node))); }
  absl::Status PushInt(int64_t number) { return Push(PickleNode{Kind::kInt, number}); }
  absl::Status PushText(const absl::StatusOr<absl::string_view>& text) {
    PS_RETURN_IF_ERROR(text.status());
    return Push(PickleNode{Kind::kText, 0, std::string(*text)});
  }

  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  absl::StatusOr<uint32_t> Pop() {
    if (stack_.size() <= Floor()) return Invalid("takes from an empty stack");
    const uint32_t node = stack_.back();
    stack_.pop_back();
    return node;
  }
  absl::StatusOr<std::vector<uint32_t>> PopMany(size_t count) {
    if (stack_.size() - Floor() < count) return Invalid("takes from an empty stack");
    std::vector<uint32_t> nodes(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return nodes;
  }
  absl::StatusOr<std::vector<uint32_t>> PopToMark() {
    if (marks_.empty()) return Invalid("no mark on the stack");
    std::vector<uint32_t> nodes(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return nodes;
  }
  absl::Status PushTuple(absl::StatusOr<std::vector<uint32_t>> items) {
    PS_RETURN_IF_ERROR(items.status());
    return Push(PickleNode{Kind::kTuple, 0, "", *std::move(items)});
  }

  absl::Status PushName(const std::string& name) {
    if (!IsAllowedName(name))
      return Invalid(absl::StrCat("asks for ", Quoted(name), "; weights need no such thing, so the file is refused"));
    return Push(PickleNode{Kind::kName, 0, name});
  }

  absl::Status Remember(uint32_t key) {
    if (stack_.size() <= Floor()) return Invalid("remembers from an empty stack");
    memo_[key] = stack_.back();
    return absl::OkStatus();
  }
  absl::Status Recall(uint32_t key) {
    const auto it = memo_.find(key);
    if (it == memo_.end()) return Invalid(absl::StrCat("recalls ", key, ", which was not remembered"));
    return Push(it->second);
  }
  absl::StatusOr<uint32_t> KeyLine() {
    PS_ASSIGN_OR_RETURN(const absl::string_view line, Line());
    uint32_t key;
    if (!absl::SimpleAtoi(line, &key)) return Invalid("a number was due");
    return key;
  }

  absl::Status SetItems(const std::vector<uint32_t>& items) {
    if (items.size() % 2 != 0) return Invalid("sets a key without a value");
    if (stack_.size() <= Floor()) return Invalid("takes from an empty stack");
    PickleNode& dict = pickle_.nodes[stack_.back()];
    if (dict.kind != Kind::kDict) return Invalid("sets an item of what is no dict");
    for (size_t i = 0; i < items.size(); i += 2) {
      if (pickle_.nodes[items[i]].kind != Kind::kText) return Invalid("a dict has a key that is no text");
    }
    dict.items.insert(dict.items.end(), items.begin(), items.end());
    return absl::OkStatus();
  }
  absl::Status Append(const std::vector<uint32_t>& items) {
    if (stack_.size() <= Floor()) return Invalid("takes from an empty stack");
    PickleNode& list = pickle_.nodes[stack_.back()];
    if (list.kind != Kind::kList) return Invalid("appends to what is no list");
    list.items.insert(list.items.end(), items.begin(), items.end());
    return absl::OkStatus();
  }

  // State beside an OrderedDict's items: the versions that torch's modules keep there. Not weights, so dropped.
  absl::Status Build() {
    PS_ASSIGN_OR_RETURN(const uint32_t state, Pop());
    if (stack_.size() <= Floor()) return Invalid("takes from an empty stack");
    if (pickle_.nodes[stack_.back()].kind != Kind::kDict || pickle_.nodes[state].kind != Kind::kDict) {
      return Invalid("BUILD sets the state of an object, which weights need not; the file is refused");
    }
    return absl::OkStatus();
  }

  absl::Status PushLong(absl::string_view bytes) {
    if (bytes.size() > 8) return Push(PickleNode{Kind::kLong, 0, std::string(bytes)});
    uint64_t value = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return PushInt(static_cast<int64_t>(value));
  }
  absl::Status PushNumberLine() {
    PS_ASSIGN_OR_RETURN(absl::string_view line, Line());
    if (line == "00" || line == "01") return Push(line == "01" ? kTrue : kFalse);
    if (!line.empty() && line.back() == 'L') line.remove_suffix(1);
    int64_t number;
    if (!absl::SimpleAtoi(line, &number)) return Invalid("a number was due");
    return PushInt(number);
  }

  // False at the end.
  absl::StatusOr<bool> Step() {
    PS_ASSIGN_OR_RETURN(const uint8_t opcode, Number<uint8_t>());
    if (opcode == '.') {
      PS_ASSIGN_OR_RETURN(pickle_.root, Pop());
      if (!stack_.empty() || !marks_.empty()) return Invalid("ends with values left over");
      return false;
    }
    PS_RETURN_IF_ERROR(Perform(opcode));
    return true;
  }

  absl::Status Perform(uint8_t opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        PS_ASSIGN_OR_RETURN(const uint8_t protocol, Number<uint8_t>());
        return protocol <= kMaxProtocol ? absl::OkStatus() : Invalid(absl::StrCat("protocol ", protocol));
      }
      case 0x95:  // FRAME: a hint for readers of streams
        return Number<uint64_t>().status();
      case '(':  // MARK
        if (marks_.size() >= kMaxStack) return Invalid("too many marks");
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case 'N':  // NONE
        return Push(kNoneNode);
      case 0x88:  // NEWTRUE
        return Push(kTrue);
      case 0x89:  // NEWFALSE
        return Push(kFalse);
      case '}':  // EMPTY_DICT
        return Push(PickleNode{Kind::kDict});
      case ']':  // EMPTY_LIST
        return Push(PickleNode{Kind::kList});
      case ')':  // EMPTY_TUPLE
        return Push(PickleNode{Kind::kTuple});
      case 'R': {  // REDUCE
        PS_ASSIGN_OR_RETURN(const auto call, PopMany(2));
        PS_ASSIGN_OR_RETURN(const uint32_t made, Call(pickle_, call[0], call[1]));
        return Push(made);
      }
      case 'b':
        return Build();
      case '0':  // POP
        if (stack_.size() == Floor() && !marks_.empty()) {
          marks_.pop_back();
          return absl::OkStatus();
        }
        return Pop().status();
      case '1':  // POP_MARK
        return PopToMark().status();
      default:
        return PerformCounted(opcode);
    }
  }

  // Numbers and text.
  absl::Status PerformCounted(uint8_t opcode) {
    switch (opcode) {
      case 'K': {  // BININT1
        PS_ASSIGN_OR_RETURN(const uint8_t number, Number<uint8_t>());
        return PushInt(number);
      }
      case 'M': {  // BININT2
        PS_ASSIGN_OR_RETURN(const uint16_t number, Number<uint16_t>());
        return PushInt(number);
      }
      case 'J': {  // BININT
        PS_ASSIGN_OR_RETURN(const uint32_t number, Number<uint32_t>());
        return PushInt(static_cast<int32_t>(number));
      }
      case 'I':  // INT
      case 'L':  // LONG
        return PushNumberLine();
      case 0x8a: {  // LONG1
        PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Counted<uint8_t>());
        return PushLong(bytes);
      }
      case 0x8b: {  // LONG4
        PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Counted<uint32_t>());
        return PushLong(bytes);
      }
      case 'G':  // BINFLOAT
        PS_RETURN_IF_ERROR(Bytes(8).status());
        return Push(PickleNode{Kind::kFloat});
      case 'U':   // SHORT_BINSTRING
      case 0x8c:  // SHORT_BINUNICODE
        return PushText(Counted<uint8_t>());
      case 'T':  // BINSTRING
      case 'X':  // BINUNICODE
        return PushText(Counted<uint32_t>());
      case 0x8d:  // BINUNICODE8
        return PushText(Counted<uint64_t>());
      default:
        return PerformNames(opcode);
    }
  }

  // Containers, the memo, names, storages.
  absl::Status PerformNames(uint8_t opcode) {
    switch (opcode) {
      case 0x85:
      case 0x86:
      case 0x87:  // TUPLE1 to TUPLE3
        return PushTuple(PopMany(opcode - 0x84));
      case 't':  // TUPLE
        return PushTuple(PopToMark());
      case 's': {  // SETITEM
        PS_ASSIGN_OR_RETURN(const auto items, PopMany(2));
        return SetItems(items);
      }
      case 'u': {  // SETITEMS
        PS_ASSIGN_OR_RETURN(const auto items, PopToMark());
        return SetItems(items);
      }
      case 'a': {  // APPEND
        PS_ASSIGN_OR_RETURN(const auto items, PopMany(1));
        return Append(items);
      }
      case 'e': {  // APPENDS
        PS_ASSIGN_OR_RETURN(const auto items, PopToMark());
        return Append(items);
      }
      case 'q': {  // BINPUT
        PS_ASSIGN_OR_RETURN(const uint8_t key, Number<uint8_t>());
        return Remember(key);
      }
      case 'r': {  // LONG_BINPUT
        PS_ASSIGN_OR_RETURN(const uint32_t key, Number<uint32_t>());
        return Remember(key);
      }
      case 'p': {  // PUT
        PS_ASSIGN_OR_RETURN(const uint32_t key, KeyLine());
        return Remember(key);
      }
      case 0x94:  // MEMOIZE
        return Remember(static_cast<uint32_t>(memo_.size()));
      case 'h': {  // BINGET
        PS_ASSIGN_OR_RETURN(const uint8_t key, Number<uint8_t>());
        return Recall(key);
      }
      case 'j': {  // LONG_BINGET
        PS_ASSIGN_OR_RETURN(const uint32_t key, Number<uint32_t>());
        return Recall(key);
      }
      case 'g': {  // GET
        PS_ASSIGN_OR_RETURN(const uint32_t key, KeyLine());
        return Recall(key);
      }
      case 'c': {  // GLOBAL
        PS_ASSIGN_OR_RETURN(const absl::string_view module, Line());
        PS_ASSIGN_OR_RETURN(const absl::string_view name, Line());
        return PushName(absl::StrCat(module, ".", name));
      }
      case 0x93: {  // STACK_GLOBAL
        PS_ASSIGN_OR_RETURN(const auto parts, PopMany(2));
        for (const uint32_t part : parts) {
          if (pickle_.nodes[part].kind != Kind::kText) return Invalid("asks for a name that is no text");
        }
        return PushName(absl::StrCat(pickle_.nodes[parts[0]].text, ".", pickle_.nodes[parts[1]].text));
      }
      case 'Q': {  // BINPERSID
        PS_ASSIGN_OR_RETURN(const uint32_t id, Pop());
        PS_ASSIGN_OR_RETURN(const uint32_t storage, AddStorage(pickle_, id));
        return Push(storage);
      }
      default: {
        const char* name = ForbiddenOpcode(opcode);
        return Invalid(name ? absl::StrCat("asks for ", name, "; weights need no such thing, so the file is refused")
                            : absl::StrFormat("opcode 0x%02x is none that weights need", opcode));
      }
    }
  }

  const absl::string_view bytes_;
  size_t at_ = 0;
  size_t opcode_at_ = 0;
  Pickle pickle_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<uint32_t, uint32_t> memo_;
};

}  // namespace

absl::StatusOr<Pickle> ReadPickle(absl::string_view bytes) { return Machine(bytes).Run(); }

}  // namespace promptsweep::weights
