#include "cli/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/hash.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

// SWEEP_STATE_RUNNING of enum SweepState is "running"; the prefix is that of the enum's value 0 less "UNSPECIFIED".
std::string EnumWord(const EnumValueDescriptor* value) {
  std::string name = value->name();
  const std::string& zero = value->type()->value(0)->name();
  const size_t at = zero.rfind("UNSPECIFIED");
  if (at != std::string::npos && absl::StartsWith(name, zero.substr(0, at))) name = name.substr(at);
  return absl::AsciiStrToLower(name);
}

Json Scalar(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* r = message.GetReflection();
  const bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? r->GetRepeatedInt32(message, field, index) : r->GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? r->GetRepeatedInt64(message, field, index) : r->GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? r->GetRepeatedUInt32(message, field, index) : r->GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? r->GetRepeatedUInt64(message, field, index) : r->GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Number(repeated ? r->GetRepeatedDouble(message, field, index) : r->GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Number(repeated ? r->GetRepeatedFloat(message, field, index) : r->GetFloat(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? r->GetRepeatedBool(message, field, index) : r->GetBool(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumWord(repeated ? r->GetRepeatedEnum(message, field, index) : r->GetEnum(message, field));
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = repeated ? r->GetRepeatedString(message, field, index) : r->GetString(message, field);
      return field->type() == FieldDescriptor::TYPE_BYTES ? ToHex(text) : text;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(repeated ? r->GetRepeatedMessage(message, field, index) : r->GetMessage(message, field));
  }
  return nullptr;
}

Json Field(const Message& message, const FieldDescriptor* field) {
  if (!field->is_repeated()) return Scalar(message, field, 0);
  const int count = message.GetReflection()->FieldSize(message, field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field->message_type() == v1::Setting::descriptor()) {
    Json object = Json::object();
    for (int i = 0; i < count; ++i) {
      v1::Setting setting;
      setting.CopyFrom(message.GetReflection()->GetRepeatedMessage(message, field, i));
      object[setting.name()] = ToJson(setting.value());
    }
    return object;
  }
  Json array = Json::array();
  for (int i = 0; i < count; ++i) array.push_back(Scalar(message, field, i));
  return array;
}

}  // namespace

Json ToJson(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kIntValue:
      return value.int_value();
    case v1::Value::kDoubleValue:
      return Number(value.double_value());
    case v1::Value::kStringValue:
      return value.string_value();
    case v1::Value::kBoolValue:
      return value.bool_value();
    case v1::Value::kPromptValue:
      return sweep::PromptText(value.prompt_value());
    default:
      return nullptr;
  }
}

Json ToJson(const Message& message) {
  const Descriptor* type = message.GetDescriptor();
  if (type == v1::Value::descriptor()) return ToJson(static_cast<const v1::Value&>(message));
  if (type == v1::Prompt::descriptor()) return sweep::PromptText(static_cast<const v1::Prompt&>(message));
  if (type == google::protobuf::Duration::descriptor()) {
    const auto& duration = static_cast<const google::protobuf::Duration&>(message);
    return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
  }
  Json object = Json::object();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->has_presence() && !message.GetReflection()->HasField(message, field)) continue;
    object[field->name()] = Field(message, field);
  }
  return object;
}

std::string Dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace promptsweep::cli
