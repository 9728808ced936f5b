#include "jobs/weights/flax_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxName = 512;
constexpr size_t kMaxValues = 1'000'000;
constexpr int8_t kArray = 1, kScalar = 3;  // extension types
constexpr char kChunked[] = "__msgpack_chunked_array__";

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// One value's head: its kind, and how many bytes or items follow.
struct Token {
  enum Kind { kNil, kBool, kInt, kFloat, kText, kBytes, kList, kMap, kExtension };
  Kind kind = kNil;
  uint64_t number = 0;  // kInt not below 0, kBool
  bool negative = false;
  uint64_t count = 0;  // items of kList, pairs of kMap
  int8_t extension = 0;
  absl::string_view content;  // kText, kBytes, kExtension
};

class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}
  bool done() const { return at_ == bytes_.size(); }
  size_t at() const { return at_; }

  absl::StatusOr<Token> Next() {
    PS_ASSIGN_OR_RETURN(const uint64_t head, Number(1));
    Token token;
    if (head < 0x80) return Int(head);
    if (head < 0x90) return Items(Token::kMap, head & 0xf);
    if (head < 0xa0) return Items(Token::kList, head & 0xf);
    if (head < 0xc0) return Content(Token::kText, head & 0x1f);
    if (head >= 0xe0) return Negative();
    const auto sized = [&](uint64_t first) { return Number(size_t{1} << (head - first)); };
    switch (head) {
      case 0xc0:
        return token;
      case 0xc2:
      case 0xc3:
        token.kind = Token::kBool;
        token.number = head - 0xc2;
        return token;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return Counted(Token::kBytes, sized(0xc4));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return Extension(sized(0xc7));
      case 0xca:
      case 0xcb:
        PS_RETURN_IF_ERROR(Number(head == 0xca ? 4 : 8).status());
        token.kind = Token::kFloat;
        return token;
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf: {
        PS_ASSIGN_OR_RETURN(const uint64_t number, sized(0xcc));
        return Int(number);
      }
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3: {
        const size_t size = size_t{1} << (head - 0xd0);
        PS_ASSIGN_OR_RETURN(const uint64_t number, Number(size));
        return number >> (8 * size - 1) & 1 ? Negative() : Int(number);
      }
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return Extension(uint64_t{1} << (head - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return Counted(Token::kText, sized(0xd9));
      case 0xdc:
      case 0xdd:
        return Many(Token::kList, Number(head == 0xdc ? 2 : 4));
      case 0xde:
      case 0xdf:
        return Many(Token::kMap, Number(head == 0xde ? 2 : 4));
      default:
        return Invalid("no MessagePack");
    }
  }

 private:
  static Token Int(uint64_t number) {
    Token token;
    token.kind = Token::kInt;
    token.number = number;
    return token;
  }
  static Token Negative() {
    Token token;
    token.kind = Token::kInt;
    token.negative = true;
    return token;
  }
  static Token Items(Token::Kind kind, uint64_t count) {
    Token token;
    token.kind = kind;
    token.count = count;
    return token;
  }
  static absl::StatusOr<Token> Many(Token::Kind kind, const absl::StatusOr<uint64_t>& count) {
    PS_RETURN_IF_ERROR(count.status());
    return Items(kind, *count);
  }
  absl::StatusOr<Token> Content(Token::Kind kind, uint64_t size) {
    if (size > bytes_.size() - at_) return Invalid("truncated");
    Token token;
    token.kind = kind;
    token.content = bytes_.substr(at_, size);
    at_ += size;
    return token;
  }
  absl::StatusOr<Token> Counted(Token::Kind kind, const absl::StatusOr<uint64_t>& size) {
    PS_RETURN_IF_ERROR(size.status());
    return Content(kind, *size);
  }
  absl::StatusOr<Token> Extension(const absl::StatusOr<uint64_t>& size) {
    PS_RETURN_IF_ERROR(size.status());
    PS_ASSIGN_OR_RETURN(const uint64_t type, Number(1));
    PS_ASSIGN_OR_RETURN(Token token, Content(Token::kExtension, *size));
    token.extension = static_cast<int8_t>(type);
    return token;
  }
  absl::StatusOr<uint64_t> Number(size_t size) {
    if (size > bytes_.size() - at_) return Invalid("truncated");
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(bytes_[at_ + i]);
    at_ += size;
    return value;
  }

  absl::string_view bytes_;
  size_t at_ = 0;
};

std::string DtypeOf(absl::string_view numpy) {
  static const auto& types = *new std::map<std::string, std::string>{
      {"float64", "F64"}, {"float32", "F32"}, {"float16", "F16"}, {"bfloat16", "BF16"}, {"int64", "I64"},
      {"int32", "I32"},   {"int16", "I16"},   {"int8", "I8"},     {"uint8", "U8"},      {"uint16", "U16"},
      {"uint32", "U32"},  {"uint64", "U64"},  {"bool", "BOOL"}};
  const auto it = types.find(std::string(numpy.substr(0, 16)));
  return it == types.end() ? "" : it->second;
}

// The content of an array's extension.
absl::StatusOr<Tensor> ReadArray(absl::string_view content) {
  Reader reader(content);
  PS_ASSIGN_OR_RETURN(const Token parts, reader.Next());
  if (parts.kind != Token::kList || parts.count != 3) return Invalid("an array that is not [shape, type, bytes]");
  PS_ASSIGN_OR_RETURN(const Token sizes, reader.Next());
  if (sizes.kind != Token::kList || sizes.count > kMaxRank) return Invalid("an array without a shape");
  std::vector<int64_t> shape;
  for (uint64_t i = 0; i < sizes.count; ++i) {
    PS_ASSIGN_OR_RETURN(const Token size, reader.Next());
    if (size.kind != Token::kInt || size.negative || size.number > INT64_MAX) return Invalid("a size that is no whole number");
    shape.push_back(static_cast<int64_t>(size.number));
  }
  PS_ASSIGN_OR_RETURN(const Token type, reader.Next());
  PS_ASSIGN_OR_RETURN(const Token bytes, reader.Next());
  // Texts are bytes in files of older writers.
  const auto is_bytes = [](const Token& token) { return token.kind == Token::kText || token.kind == Token::kBytes; };
  if (!is_bytes(type) || !is_bytes(bytes) || !reader.done()) return Invalid("an array that is not [shape, type, bytes]");
  const std::string dtype = DtypeOf(type.content);
  if (dtype.empty()) return Invalid(absl::StrCat("of type ", Quoted(type.content), ", which safetensors cannot hold"));
  return MakeTensor(dtype, std::move(shape), {bytes.content});
}

class Tree {
 public:
  explicit Tree(absl::string_view bytes) : reader_(bytes) {}

  absl::StatusOr<TensorMap> Read() {
    absl::Status status = ReadRoot();
    if (!status.ok()) return Annotate(status, absl::StrCat("MessagePack byte ", reader_.at()));
    return std::move(tensors_);
  }

 private:
  absl::Status ReadRoot() {
    PS_ASSIGN_OR_RETURN(const Token root, reader_.Next());
    if (root.kind != Token::kMap) return Invalid("not a file of Flax: no map of arrays");
    PS_RETURN_IF_ERROR(ReadMap(root.count, "", 0));
    return reader_.done() ? absl::OkStatus() : Invalid("something follows behind the arrays");
  }

  absl::StatusOr<std::string> Key() {
    if (++values_ > kMaxValues) return Invalid("far more values than a checkpoint has");
    PS_ASSIGN_OR_RETURN(const Token key, reader_.Next());
    if (key.kind != Token::kText && key.kind != Token::kBytes) return Invalid("a key that is no text");
    if (key.content.size() > kMaxName) return Invalid("an endless name");
    return std::string(key.content);
  }

  absl::Status ReadMap(uint64_t pairs, const std::string& prefix, int depth) {
    if (depth > kMaxDepth) return Invalid("maps in maps without end");
    for (uint64_t i = 0; i < pairs; ++i) {
      PS_ASSIGN_OR_RETURN(const std::string key, Key());
      if (key == kChunked) {
        if (i != 0 || depth == 0) return Invalid(absl::StrCat(Quoted(prefix), " is half an array in chunks"));
        return ReadChunked(pairs, prefix.substr(0, prefix.size() - 1));
      }
      const std::string name = prefix + key;
      if (name.size() > kMaxName) return Invalid("an endless name");
      PS_ASSIGN_OR_RETURN(const Token value, reader_.Next());
      if (value.kind == Token::kMap) {
        PS_RETURN_IF_ERROR(ReadMap(value.count, name + ".", depth + 1));
      } else if (value.kind == Token::kExtension && (value.extension == kArray || value.extension == kScalar)) {
        PS_RETURN_IF_ERROR(Keep(name, ReadArray(value.content)));
      } else {
        return Invalid(absl::StrCat(Quoted(name), " is no array"));
      }
    }
    return absl::OkStatus();
  }

  // What stands under "0", "1", ... of a map that comes next.
  template <typename Use>
  absl::Status ReadNumbered(Use use) {
    PS_ASSIGN_OR_RETURN(const Token map, reader_.Next());
    if (map.kind != Token::kMap) return Invalid("an array in chunks that has no list of them");
    for (uint64_t i = 0; i < map.count; ++i) {
      PS_ASSIGN_OR_RETURN(const std::string key, Key());
      if (key != absl::StrCat(i)) return Invalid("chunks that are out of order");
      PS_ASSIGN_OR_RETURN(const Token value, reader_.Next());
      PS_RETURN_IF_ERROR(use(value));
    }
    return absl::OkStatus();
  }

  // {"__msgpack_chunked_array__": true, "shape": {"0": n, ...}, "chunks": {"0": array, ...}}, after the first key.
  absl::Status ReadChunked(uint64_t pairs, const std::string& name) {
    PS_RETURN_IF_ERROR(reader_.Next().status());
    std::vector<int64_t> shape;
    std::string dtype;
    std::vector<absl::string_view> pieces;
    const auto size = [&](const Token& token) {
      if (token.kind != Token::kInt || token.negative || token.number > INT64_MAX || shape.size() == kMaxRank) {
        return Invalid("a size that is no whole number");
      }
      shape.push_back(static_cast<int64_t>(token.number));
      return absl::OkStatus();
    };
    const auto chunk = [&](const Token& token) -> absl::Status {
      if (token.kind != Token::kExtension || token.extension != kArray) return Invalid("a chunk that is no array");
      PS_ASSIGN_OR_RETURN(const Tensor piece, ReadArray(token.content));
      if (!dtype.empty() && piece.dtype != dtype) return Invalid("chunks of several types");
      dtype = piece.dtype;
      pieces.push_back(piece.pieces->front());
      return absl::OkStatus();
    };
    bool has_shape = false;
    for (uint64_t i = 1; i < pairs; ++i) {
      PS_ASSIGN_OR_RETURN(const std::string key, Key());
      if (key == "shape" && !std::exchange(has_shape, true)) {
        PS_RETURN_IF_ERROR(ReadNumbered(size));
      } else if (key == "chunks" && pieces.empty()) {
        PS_RETURN_IF_ERROR(ReadNumbered(chunk));
      } else {
        return Invalid(absl::StrCat("an array in chunks with a key ", Quoted(key)));
      }
    }
    if (!has_shape || pieces.empty()) return Invalid(absl::StrCat(Quoted(name), " is half an array in chunks"));
    return Keep(name, MakeTensor(dtype, std::move(shape), std::move(pieces)));
  }

  absl::Status Keep(const std::string& name, absl::StatusOr<Tensor> tensor) {
    if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat("tensor ", Quoted(name)));
    if (!tensors_.emplace(name, *std::move(tensor)).second) return Invalid(absl::StrCat("tensor ", Quoted(name), " comes twice"));
    return absl::OkStatus();
  }

  Reader reader_;
  TensorMap tensors_;
  size_t values_ = 0;
};

}  // namespace

absl::StatusOr<TensorMap> ReadFlaxFile(absl::string_view bytes) { return Tree(bytes).Read(); }

}  // namespace promptsweep::weights
