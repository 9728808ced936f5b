// Proves that a pickle gets nothing built but dicts of tensors: whatever else it asks for is refused by name, at once.
#include "jobs/weights/pickle.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

using testing::HasSubstr;

std::string Problem(const std::string& bytes) {
  const auto pickle = ReadPickle(bytes);
  EXPECT_TRUE(absl::IsInvalidArgument(pickle.status())) << bytes;
  return std::string(pickle.status().message());
}

TEST(Pickle, WhateverCouldRunIsRefusedByName) {
  const std::string command = Text("touch /tmp/x") + "\x85";
  EXPECT_THAT(Problem(PickleOf(Name("os", "system") + command + "R")), HasSubstr("\"os.system\""));
  EXPECT_THAT(Problem(PickleOf(Name("posix", "system") + command + "R")), HasSubstr("\"posix.system\""));
  EXPECT_THAT(Problem(PickleOf(Text("builtins") + Text("eval") + "\x93" + command + "R")), HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(Problem(PickleOf("\x8c\x02os\x94\x8c\x06system\x94\x93\x94" + command + "R")), HasSubstr("\"os.system\""));
  EXPECT_THAT(Problem("(" + Text("x") + "ios\nsystem\n."), HasSubstr("INST"));
  EXPECT_THAT(Problem("(" + Name("os", "system") + Text("x") + "o."), HasSubstr("\"os.system\""));
  EXPECT_THAT(Problem("(" + Name("collections", "OrderedDict") + Text("x") + "o."), HasSubstr("OBJ"));
  EXPECT_THAT(Problem(PickleOf(Name("collections", "OrderedDict") + ")\x81")), HasSubstr("NEWOBJ"));
  EXPECT_THAT(Problem(PickleOf(Name("collections", "OrderedDict") + ")}\x92")), HasSubstr("NEWOBJ_EX"));
  EXPECT_THAT(Problem(PickleOf("\x82\x01")), HasSubstr("EXT"));
  EXPECT_THAT(Problem(PickleOf(std::string("\x83\x01\x00", 3))), HasSubstr("EXT"));
  EXPECT_THAT(Problem(PickleOf(std::string("\x84\x01\x00\x00\x00", 5))), HasSubstr("EXT"));
  EXPECT_THAT(Problem("Pid\n."), HasSubstr("PERSID"));
  EXPECT_THAT(Problem(PickleOf("N}b")), HasSubstr("BUILD"));
  EXPECT_THAT(Problem(PickleOf(Name("collections", "OrderedDict") + ")R" + Text("x") + "b")), HasSubstr("BUILD"));
  EXPECT_THAT(Problem(PickleOf("\x97")), HasSubstr("NEXT_BUFFER"));
  EXPECT_THAT(Problem(PickleOf("\xff")), HasSubstr("0xff"));
  for (const char* name :
       {"torch.load", "torch.hub.load", "torch._utils._rebuild_device_tensor_from_numpy", "torch.storage._load_from_bytes",
        "collections.OrderedDict.clear", "torch.ComplexFloatStorage", "torch.Tensor", "numpy.core.multiarray._reconstruct",
        "collections\x00.OrderedDict", "collections. OrderedDict", "collections.defaultdict"}) {
    const std::string whole = name;
    const size_t dot = whole.rfind('.');
    if (dot == std::string::npos) continue;
    EXPECT_THAT(Problem(PickleOf(Name(whole.substr(0, dot), whole.substr(dot + 1)))), HasSubstr("asks for")) << name;
  }
}

TEST(Pickle, AllowedNamesCannotBeCalledOtherwise) {
  EXPECT_THAT(Problem(PickleOf(Name("torch", "FloatStorage") + ")R")), HasSubstr("calls \"torch.FloatStorage\""));
  EXPECT_THAT(Problem(PickleOf(Name("collections", "OrderedDict") + "]\x85R")), HasSubstr("made from values"));
  EXPECT_THAT(Problem(PickleOf(Name("torch._utils", "_rebuild_tensor_v2") + ")R")), HasSubstr("tensor"));
  EXPECT_THAT(Problem(PickleOf(Name("torch._utils", "_rebuild_parameter") + "NNN\x87R")), HasSubstr("without a tensor"));
  EXPECT_THAT(Problem(PickleOf("N)R")), HasSubstr("no function"));
  EXPECT_THAT(Problem(PickleOf(Name("collections", "OrderedDict") + "NR")), HasSubstr("no function"));
  EXPECT_THAT(Problem(PickleOf("NQ")), HasSubstr("no plain storage"));
  EXPECT_THAT(Problem(PickleOf("(" + Text("module") + Name("torch", "FloatStorage") + Text("0") + Text("cpu") + Whole(4) + "tQ")),
              HasSubstr("no plain storage"));
  EXPECT_THAT(
      Problem(PickleOf("(" + Text("storage") + Name("collections", "OrderedDict") + Text("0") + Text("cpu") + Whole(4) + "tQ")),
      HasSubstr("collections.OrderedDict"));
  EXPECT_THAT(Problem(PickleOf(StorageRef("0", -4))), HasSubstr("no plain storage"));
  EXPECT_THAT(Problem(PickleOf(StorageRef(std::string(300, 'k'), 4))), HasSubstr("endless key"));
}

TEST(Pickle, DamagedStacksAreRefused) {
  for (const char* bytes : {".",
                            "N",
                            "0.",
                            "1.",
                            "NN.",
                            "(N.",
                            "t.",
                            "u.",
                            "}Nu.",
                            "s.",
                            "}s.",
                            "NNNs.",
                            "}NNs.",
                            "a.",
                            "NNa.",
                            "(e.",
                            "N(Ne.",
                            "q",
                            "q\x01.",
                            "h\x01.",
                            "\x94.",
                            "j\x01\x01.",
                            "gx\n.",
                            "Nh\x07.",
                            "\x85.",
                            "N\x86.",
                            "\x93.",
                            "NN\x93.",
                            "Q.",
                            "R.",
                            "b.",
                            "}b.",
                            "(.",
                            "cos\n",
                            "cos",
                            "X\xff\xff\xff\xff",
                            "\x8b\xff\xff\xff\xff",
                            "\x80\x06.",
                            "Ix\n.",
                            "G1234567",
                            "\x95\x01."}) {
    EXPECT_FALSE(ReadPickle(bytes).ok()) << bytes;
  }
}

TEST(Pickle, ValuesComeOutAsPythonMadeThem) {
  const auto root = [](const std::string& body) {
    auto pickle = ReadPickle(body);
    EXPECT_TRUE(pickle.ok()) << pickle.status();
    return pickle.ok() ? pickle->at(pickle->root) : PickleNode{};
  };
  EXPECT_EQ(root(PickleOf("J\xff\xff\xff\xff")).number, -1);
  EXPECT_EQ(root(PickleOf("M\xff\xff")).number, 65535);
  EXPECT_EQ(root(PickleOf(std::string("\x8a\x01\x80", 3))).number, -128);
  EXPECT_EQ(root(PickleOf(std::string("\x8a\x02\x80\x00", 4))).number, 128);
  EXPECT_EQ(root(PickleOf(std::string("\x8a\x00", 2))).number, 0);
  EXPECT_EQ(root("I01\n.").number, 1);
  EXPECT_EQ(root("L12345L\n.").number, 12345);
  EXPECT_EQ(root(PickleOf("NNN\x87")).items.size(), 3u);
  const std::string ordered =
      Name("collections", "OrderedDict") + ")R(" + Text("a") + "N" + Text("b") + "Nu}(" + Text("_metadata") + "}ub";
  EXPECT_EQ(root(PickleOf(ordered)).items.size(), 4u) << "the state of an OrderedDict is dropped";
}

TEST(Pickle, LongOnesStayLinear) {
  // A million recalls of one large tuple, tensors that share it as their sizes, marks and nothing else.
  std::string tuple = "(";
  for (int i = 0; i < 1000; ++i) tuple += "N";
  std::string shared = PickleOf(tuple + "tq\x01" + "0]");
  shared.pop_back();
  for (int i = 0; i < 500'000; ++i)
    shared +=
        "h\x01"
        "a";
  EXPECT_TRUE(ReadPickle(shared + ".").ok());
  const std::string tensor =
      Name("torch._utils", "_rebuild_tensor_v2") + "(" + StorageRef("0", 4) + Whole(0) + "h\x01h\x01\x89NtR";
  EXPECT_THAT(Problem(PickleOf(tuple + "tq\x01" + "0" + tensor)), HasSubstr("a few numbers"));
  EXPECT_THAT(Problem(std::string(3'000'000, '(')), HasSubstr("marks"));
  EXPECT_THAT(Problem(std::string(3'000'000, '}')), HasSubstr("more values"));
  EXPECT_THAT(Problem(std::string(3'000'000, 'N')), HasSubstr("more values"));
  std::string memo = "N";
  for (uint32_t i = 0; i < 2'100'000; ++i) memo += "r" + Little(i);
  EXPECT_THAT(Problem(memo), HasSubstr("more values"));
}

}  // namespace
}  // namespace promptsweep::weights
