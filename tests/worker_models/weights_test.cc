// Proves that a weight file which does not fit the model is refused with one line naming file and tensor, and that a fitting
// one is read exactly.
#include "worker/tensors/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "worker/tensors/json_file.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string Write(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + "weights_test_" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string Safetensors(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  return length + header + data;
}

std::string Floats(std::initializer_list<float> values) {
  std::string bytes;
  for (const float v : values) {
    char raw[4];
    std::memcpy(raw, &v, 4);
    bytes.append(raw, 4);
  }
  return bytes;
}

// The message of the LoadError that `f` throws; empty where it throws none.
template <typename F>
std::string ErrorOf(F&& f) {
  try {
    f();
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

std::string TwoTensors() {
  return Write(
      "two.safetensors",
      Safetensors(R"({"__metadata__":{"format":"pt"},"layers.0.norm.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("layers.0.fc.weight":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]}})",
                  Floats({1.5f, -2}) + std::string("\x00\x3c\x00\xc0", 4)));
}

TEST(Weights, CursorReadsByPrefixAndCasts) {
  const Weights w({TwoTensors()}, {});
  const at::Tensor bias = (w / "layers" / 0 / "norm").Get("bias", {2});
  EXPECT_EQ(bias[0].item<float>(), 1.5f);
  EXPECT_EQ(bias[1].item<float>(), -2.f);
  const at::Tensor weight = (w / "layers" / 0 / "fc").Get("weight", {1, 2});
  EXPECT_EQ(weight.scalar_type(), at::kFloat);
  EXPECT_EQ(weight[0][0].item<float>(), 1.f);
  EXPECT_EQ(weight[0][1].item<float>(), -2.f);
  EXPECT_NO_THROW(w.Finish());
}

TEST(Weights, MissingTensorNamesFileTensorAndShape) {
  const std::string path = TwoTensors();
  const Weights w({path}, {});
  EXPECT_THAT(
      ErrorOf([&] { (w / "layers" / 1).Get("weight", {3, 4}); }),
      AllOf(HasSubstr(path), HasSubstr("layers.1.weight"), HasSubstr("[3, 4]"), HasSubstr("missing"), Not(HasSubstr("\n"))));
}

TEST(Weights, WrongShapeNamesBothShapes) {
  const std::string path = TwoTensors();
  const Weights w({path}, {});
  EXPECT_THAT(ErrorOf([&] { (w / "layers" / 0 / "fc").Get("weight", {2, 1}); }),
              AllOf(HasSubstr(path), HasSubstr("layers.0.fc.weight"), HasSubstr("[1, 2]"), HasSubstr("[2, 1]")));
}

TEST(Weights, LeftoverTensorIsAnError) {
  const std::string path = TwoTensors();
  const Weights w({path}, {});
  (w / "layers" / 0 / "norm").Get("bias", {2});
  EXPECT_THAT(ErrorOf([&] { w.Finish(); }), AllOf(HasSubstr(path), HasSubstr("layers.0.fc.weight")));
  (w / "layers" / 0 / "fc").Ignore("weight");
  EXPECT_EQ(ErrorOf([&] { w.Finish(); }), "");
}

TEST(Weights, OnesStandInOnlyWhereAsked) {
  const Weights w({TwoTensors()}, {});
  EXPECT_TRUE(at::equal((w / "layers" / 0 / "norm").GetOrOnes("weight", {2}), at::ones({2})));
  EXPECT_NE(ErrorOf([&] { (w / "layers" / 0 / "norm").Get("weight", {2}); }), "");
  EXPECT_NE(ErrorOf([&] { (w / "layers" / 0 / "norm").GetOrOnes("bias", {3}); }), "") << "a present tensor is still checked";
}

TEST(Weights, SameNameInTwoFilesIsAnError) {
  const std::string one = TwoTensors();
  const std::string other =
      Write("other.safetensors",
            Safetensors(R"({"layers.0.norm.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", Floats({0, 0})));
  EXPECT_THAT(ErrorOf([&] { Weights({one, other}, {}); }),
              AllOf(HasSubstr("layers.0.norm.bias"), HasSubstr(one), HasSubstr(other)));
}

TEST(Weights, ValuesThatAreNotFiniteAreRefused) {
  const std::string path = Write("nan.safetensors", Safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                                                                Floats({1, std::numeric_limits<float>::quiet_NaN()})));
  const Weights w({path}, {});
  EXPECT_THAT(ErrorOf([&] { w.Get("a", {2}); }), AllOf(HasSubstr(path), HasSubstr("tensor a"), HasSubstr("not finite")));
  const std::string large =
      Write("large.safetensors", Safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Floats({1e6f})));
  WeightOptions half;
  half.dtype = at::kHalf;
  EXPECT_THAT(ErrorOf([&] { Weights({large}, half).Get("a", {1}); }), HasSubstr("not finite"));
}

TEST(Weights, EveryFloatingTypeIsReadAndNoOther) {
  const std::map<std::string, std::string> minus_two_in = {{"F64", std::string("\0\0\0\0\0\0\0\xc0", 8)},
                                                           {"F32", std::string("\0\0\0\xc0", 4)},
                                                           {"F16", std::string("\0\xc0", 2)},
                                                           {"BF16", std::string("\0\xc0", 2)}};
  std::string header = "{", data;
  for (const auto& [dtype, bytes] : minus_two_in) {
    header += (data.empty() ? "\"" : ",\"") + dtype + R"(":{"dtype":")" + dtype + R"(","shape":[1],"data_offsets":[)" +
              std::to_string(data.size()) + "," + std::to_string(data.size() + bytes.size()) + "]}";
    data += bytes;
  }
  const Weights mixed({Write("mixed.safetensors", Safetensors(header + "}", data))}, {});
  for (const auto& [dtype, bytes] : minus_two_in) {
    const at::Tensor tensor = mixed.Get(dtype, {1});
    EXPECT_EQ(tensor.scalar_type(), at::kFloat) << dtype;
    EXPECT_EQ(tensor.item<float>(), -2.f) << dtype;
  }
  for (const auto& [dtype, size] :
       std::map<std::string, size_t>{{"I64", 8}, {"I32", 4}, {"U8", 1}, {"BOOL", 1}, {"U64", 8}, {"F8_E4M3", 1}}) {
    const std::string path =
        Write("other_type.safetensors",
              Safetensors(R"({"a":{"dtype":")" + dtype + R"(","shape":[1],"data_offsets":[0,)" + std::to_string(size) + "]}}",
                          std::string(size, '\x01')));
    const Weights w({path}, {});
    EXPECT_THAT(ErrorOf([&] { w.Get("a", {1}); }), AllOf(HasSubstr(path), HasSubstr("tensor a"), HasSubstr(dtype)));
  }
}

TEST(Weights, BrokenFilesAreRefusedWithTheirName) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::map<std::string, std::string> broken = {
      {"empty", ""},
      {"short", "abc"},
      {"truncated", Safetensors(good, Floats({1}))},
      {"trailing", Safetensors(good, Floats({1, 2, 3}))},
      {"huge_header", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)},
      {"not_json", Safetensors("{\"a\":", "")},
      {"deep", Safetensors("{\"a\":" + std::string(1 << 20, '['), "")},
      {"not_utf8", Safetensors("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", "")},
      {"offsets", Safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551612,4]}})", Floats({1, 2}))},
      {"long_shape", Safetensors(R"({"a":{"dtype":"F32","shape":[)" + std::string(200, '1').replace(1, 0, ",") + "]}}", "")},
      {"no_object", Safetensors("[]", "")},
      {"overlap",
       Safetensors(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           Floats({1, 2}))},
      {"size", Safetensors(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", Floats({1, 2}))},
      {"negative", Safetensors(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", Floats({1, 2}))},
      {"overflow", Safetensors(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", Floats({1, 2}))},
      {"twice",
       Safetensors(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           Floats({1, 2}))},
  };
  for (const auto& [name, content] : broken) {
    const std::string path = Write(name + ".safetensors", content);
    EXPECT_THAT(ErrorOf([&] { Weights({path}, {}); }), AllOf(HasSubstr(path), Not(HasSubstr("\n")))) << name;
  }
  EXPECT_THAT(ErrorOf([&] { Weights({"/nowhere/model.safetensors"}, {}); }), HasSubstr("/nowhere/model.safetensors"));
}

TEST(JsonFile, NumbersHaveBounds) {
  const JsonFile json(
      Write("numbers.json", R"({"eps": 1e-5, "below": -1e-5, "text": "1", "whole": 1, "big": 18446744073709551615})"));
  EXPECT_EQ(json.Number("eps", 0, 1), 1e-5);
  EXPECT_EQ(json.Number("whole", 0, 1), 1);
  EXPECT_EQ(json.Number("absent", 0, 1, 0.5), 0.5);
  EXPECT_THAT(ErrorOf([&] { json.Number("below", 0, 1); }), AllOf(HasSubstr("below is -1e-05"), HasSubstr("from 0 to 1")));
  EXPECT_THAT(ErrorOf([&] { json.Number("text", 0, 1); }), HasSubstr("text is string"));
  EXPECT_THAT(ErrorOf([&] { json.Number("absent", 0, 1); }), HasSubstr("absent is missing"));
  EXPECT_THAT(ErrorOf([&] { json.Int("big", 0, 1); }), HasSubstr("big is 18446744073709551615"));
}

// Deeper than any stack.
TEST(JsonFile, ADeepValueIsNotShown) {
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  const JsonFile json(Write("deep.json", R"({"heads": )" + deep + R"(, "list": [)" + deep + "]}"));
  EXPECT_THAT(ErrorOf([&] { json.Int("heads", 1, 10); }), HasSubstr("heads is array"));
  EXPECT_THAT(ErrorOf([&] { json.Ints("list", 1, 10); }), HasSubstr("list holds array"));
}

TEST(JsonFile, NamesFileAndKey) {
  const std::string path = Write("config.json", R"({"heads": 3, "big": 1e30, "text_config": {"width": "wide"}, "list": [1, 2]})");
  const JsonFile json(path);
  EXPECT_EQ(json.Int("heads", 1, 10), 3);
  EXPECT_EQ(json.Int("absent", 1, 10, 7), 7);
  EXPECT_THAT(json.Ints("list", 0, 5), testing::ElementsAre(1, 2));
  EXPECT_THAT(ErrorOf([&] { json.Int("absent", 1, 10); }), AllOf(HasSubstr(path), HasSubstr("absent")));
  EXPECT_THAT(ErrorOf([&] { json.Int("heads", 4, 10); }), AllOf(HasSubstr(path), HasSubstr("heads is 3"), HasSubstr("4 to 10")));
  EXPECT_THAT(ErrorOf([&] { json.Int("big", 1, 10); }), HasSubstr("big"));
  EXPECT_THAT(ErrorOf([&] { json.Child("text_config").Int("width", 1, 10); }), HasSubstr("text_config.width"));
  EXPECT_THAT(ErrorOf([&] { JsonFile(Write("bad.json", "{")); }), HasSubstr("bad.json"));
  EXPECT_THAT(ErrorOf([&] { JsonFile(Write("nan.json", R"({"eps": NaN})")); }), HasSubstr("nan.json"));
  EXPECT_THAT(ErrorOf([&] { JsonFile(Write("infinite.json", R"({"eps": 1e999})")); }), HasSubstr("infinite.json"));
  EXPECT_FALSE(JsonFile::IfPresent("/nowhere.json"));
}

}  // namespace
}  // namespace promptsweep::worker
