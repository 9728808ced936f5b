#include "jobs/weights/pickle_objects.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/weights/tensor.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;
using Kind = PickleNode::Kind;

constexpr size_t kMaxKey = 256;

// The storages that hold what safetensors can.
const std::map<std::string, std::string>& StorageTypes() {
  static const auto& types = *new std::map<std::string, std::string>{
      {"torch.DoubleStorage", "F64"},    {"torch.FloatStorage", "F32"}, {"torch.HalfStorage", "F16"},
      {"torch.BFloat16Storage", "BF16"}, {"torch.LongStorage", "I64"},  {"torch.IntStorage", "I32"},
      {"torch.ShortStorage", "I16"},     {"torch.CharStorage", "I8"},   {"torch.ByteStorage", "U8"},
      {"torch.BoolStorage", "BOOL"}};
  return types;
}

constexpr char kOrderedDict[] = "collections.OrderedDict";
constexpr char kRebuildTensor[] = "torch._utils._rebuild_tensor_v2";
constexpr char kRebuildParameter[] = "torch._utils._rebuild_parameter";

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

uint32_t Add(Pickle& pickle, Kind kind, size_t number = 0) {
  PickleNode node;
  node.kind = kind;
  node.number = static_cast<int64_t>(number);
  pickle.nodes.push_back(std::move(node));
  return static_cast<uint32_t>(pickle.nodes.size() - 1);
}

absl::StatusOr<std::vector<int64_t>> Sizes(const Pickle& pickle, uint32_t id) {
  const PickleNode& tuple = pickle.at(id);
  // Before anything is copied: a tuple may be shared by many tensors.
  if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxRank) {
    return Invalid("a tensor's sizes are no tuple of a few numbers");
  }
  std::vector<int64_t> sizes;
  for (const uint32_t item : tuple.items) {
    if (pickle.at(item).kind != Kind::kInt) return Invalid("a tensor's size or stride is no whole number");
    sizes.push_back(pickle.at(item).number);
  }
  return sizes;
}

// (storage, offset, sizes, strides, requires_grad, hooks), and perhaps metadata, which is None.
absl::StatusOr<uint32_t> AddTensor(Pickle& pickle, const std::vector<uint32_t>& items) {
  const auto is = [&](size_t i, Kind kind) { return pickle.at(items[i]).kind == kind; };
  if (items.size() < 6 || items.size() > 7 || !is(0, Kind::kStorage) || !is(1, Kind::kInt) || pickle.at(items[1]).number < 0 ||
      (items.size() == 7 && !is(6, Kind::kNone))) {
    return Invalid("a tensor that torch.save would not write so");
  }
  PickledTensor tensor;
  tensor.storage = static_cast<uint32_t>(pickle.at(items[0]).number);
  tensor.offset = static_cast<uint64_t>(pickle.at(items[1]).number);
  PS_ASSIGN_OR_RETURN(tensor.shape, Sizes(pickle, items[2]));
  PS_ASSIGN_OR_RETURN(tensor.strides, Sizes(pickle, items[3]));
  pickle.tensors.push_back(std::move(tensor));
  return Add(pickle, Kind::kTensor, pickle.tensors.size() - 1);
}

}  // namespace

bool IsAllowedName(const std::string& name) {
  return name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter || StorageTypes().count(name) > 0;
}

absl::StatusOr<uint32_t> Call(Pickle& pickle, uint32_t callee, uint32_t arguments) {
  if (pickle.at(callee).kind != Kind::kName || pickle.at(arguments).kind != Kind::kTuple)
    return Invalid("calls what is no function");
  const std::string name = pickle.at(callee).text;
  const std::vector<uint32_t>& items = pickle.at(arguments).items;
  if (name == kOrderedDict) {
    if (!items.empty()) return Invalid("an OrderedDict is made from values");
    return Add(pickle, Kind::kDict);
  }
  if (name == kRebuildTensor) return AddTensor(pickle, items);
  if (name == kRebuildParameter) {
    if (items.size() != 3 || pickle.at(items[0]).kind != Kind::kTensor) return Invalid("a parameter without a tensor");
    return items[0];
  }
  return Invalid(absl::StrCat("calls ", Quoted(name)));
}

absl::StatusOr<uint32_t> AddStorage(Pickle& pickle, uint32_t id) {
  const std::vector<uint32_t>& items = pickle.at(id).items;
  const auto is = [&](size_t i, Kind kind) { return pickle.at(items[i]).kind == kind; };
  // Old files have a sixth member that says what part of another storage it is: None.
  if (pickle.at(id).kind != Kind::kTuple || items.size() < 5 || items.size() > 6 || !is(0, Kind::kText) ||
      pickle.at(items[0]).text != "storage" || !is(1, Kind::kName) || !is(2, Kind::kText) || !is(4, Kind::kInt) ||
      pickle.at(items[4]).number < 0 || (items.size() == 6 && !is(5, Kind::kNone))) {
    return Invalid("refers to something outside that is no plain storage");
  }
  const auto type = StorageTypes().find(pickle.at(items[1]).text);
  if (type == StorageTypes().end()) return Invalid(absl::StrCat("a storage of type ", Quoted(pickle.at(items[1]).text)));
  if (pickle.at(items[2]).text.size() > kMaxKey) return Invalid("a storage has an endless key");
  pickle.storages.push_back({type->second, pickle.at(items[2]).text, static_cast<uint64_t>(pickle.at(items[4]).number)});
  return Add(pickle, Kind::kStorage, pickle.storages.size() - 1);
}

}  // namespace promptsweep::weights
