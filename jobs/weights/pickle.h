// A pickle that may build nothing but dicts of tensors. A stack machine that knows the opcodes and the few names that torch.save
// writes for them; whatever else a pickle asks for (any other name, object or opcode) is refused by name and never looked up, let
// alone called.
// Sources: Python's pickletools.py (opcodes of protocols 0 to 5), torch/serialization.py and torch/_utils.py 2.11.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace promptsweep::weights {

// What torch.save keeps beside the pickle: numbers of one type, under a key.
struct PickledStorage {
  std::string dtype;  // as safetensors names it
  std::string key;
  uint64_t elements = 0;
};

// torch._utils._rebuild_tensor_v2: a view of a storage, unchecked.
struct PickledTensor {
  uint32_t storage = 0;  // index
  uint64_t offset = 0;
  std::vector<int64_t> shape, strides;
};

struct PickleNode {
  enum Kind : uint8_t { kNone, kBool, kInt, kLong, kFloat, kText, kTuple, kList, kDict, kName, kStorage, kTensor };
  Kind kind = kNone;
  int64_t number = 0;           // kBool, kInt; of kStorage and kTensor the index
  std::string text;             // kText; kName "module.name"; kLong its bytes, little-endian two's complement
  std::vector<uint32_t> items;  // kTuple, kList; kDict: key, value, key, value, ... with keys that are text
};

// Values refer to each other by index and may share, even form a ring.
struct Pickle {
  std::vector<PickleNode> nodes;
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
  uint32_t root = 0;
  size_t size = 0;  // bytes up to and including the end of the pickle

  const PickleNode& at(uint32_t node) const { return nodes[node]; }
};

// Reads the pickle that `bytes` begin with; time and memory are linear in its length. INVALID_ARGUMENT, naming the byte and what
// it asked for.
[[nodiscard]] absl::StatusOr<Pickle> ReadPickle(absl::string_view bytes);

}  // namespace promptsweep::weights
