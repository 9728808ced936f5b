// Messages of the proto as the JSON the command prints: snake_case names, every 64-bit integer a number, enums in lower case
// without their prefix, digests (bytes) in hex, absent optional fields left out, all other fields present.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>
#include <string>

#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

using Json = nlohmann::ordered_json;

// Values become plain scalars, prompts their PromptText, lists of Setting an object by name, Durations seconds.
[[nodiscard]] Json ToJson(const google::protobuf::Message& message);
[[nodiscard]] Json ToJson(const v1::Value& value);

// Text of a document. Invalid UTF-8 is replaced, not thrown. `indent` < 0: one line.
[[nodiscard]] std::string Dump(const Json& json, int indent = 2);

}  // namespace promptsweep::cli
