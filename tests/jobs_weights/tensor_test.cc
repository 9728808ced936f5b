// Proves that any view of a storage comes out as its elements in row-major order, whole or in pieces, and converted as torch
// does.
#include "jobs/weights/tensor.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

using testing::HasSubstr;

// The elements one by one.
std::string Naive(const Tensor& tensor, const std::string& storage, size_t item) {
  std::string bytes;
  std::vector<int64_t> at(tensor.shape.size(), 0);
  for (uint64_t i = 0; i < tensor.elements(); ++i) {
    uint64_t offset = tensor.offset;
    for (size_t axis = 0; axis < at.size(); ++axis) offset += static_cast<uint64_t>(at[axis] * tensor.strides[axis]);
    bytes += storage.substr(offset * item, item);
    for (size_t axis = at.size(); axis-- > 0;) {
      if (++at[axis] < tensor.shape[axis]) break;
      at[axis] = 0;
    }
  }
  return bytes;
}

TEST(Tensor, RandomViewsComeOutRowMajor) {
  std::mt19937 random(1);
  const std::vector<std::pair<std::string, size_t>> types = {{"U8", 1}, {"F16", 2}, {"F32", 4}, {"F64", 8}};
  for (int round = 0; round < 400; ++round) {
    const auto& [dtype, item] = types[random() % types.size()];
    std::vector<int64_t> shape(random() % 5), strides;
    for (int64_t& size : shape) size = 1 + static_cast<int64_t>(random() % (random() % 8 == 0 ? 70 : 5));
    uint64_t end = 0;
    for (const int64_t size : shape) {
      strides.push_back(static_cast<int64_t>(random() % 40));
      end += static_cast<uint64_t>((size - 1) * strides.back());
    }
    const uint64_t offset = random() % 10;
    std::string storage((offset + end + 1 + random() % 3) * item, '\0');
    for (char& c : storage) c = static_cast<char>(random());
    auto whole = MakeTensor(dtype, shape, strides, offset, {storage});
    ASSERT_TRUE(whole.ok()) << whole.status();
    const std::string expected = Naive(*whole, storage, item);
    EXPECT_EQ(Streamed(*whole, dtype), expected);
    // The same in pieces.
    std::vector<absl::string_view> pieces;
    for (absl::string_view rest = storage; !rest.empty();) {
      const size_t size = std::min(rest.size(), item * (1 + random() % 50));
      pieces.push_back(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    EXPECT_EQ(Streamed(MakeTensor(dtype, shape, strides, offset, pieces).value(), dtype), expected);
    if (!shape.empty()) {
      const int64_t index = static_cast<int64_t>(random()) % shape[0];
      const Tensor selected = Select(*whole, index);
      EXPECT_EQ(Streamed(selected, dtype), expected.substr(static_cast<uint64_t>(index) * selected.bytes(), selected.bytes()));
    }
    std::vector<size_t> axes(shape.size());
    std::iota(axes.begin(), axes.end(), 0);
    std::shuffle(axes.begin(), axes.end(), random);
    const Tensor permuted = Permute(*whole, axes);
    EXPECT_EQ(Streamed(permuted, dtype), Naive(permuted, storage, item));
  }
}

TEST(Tensor, LargeMatricesAreWalkedInBlocks) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{3, 1'100'000}, {1'100'000, 3}, {1500, 1500}, {1, 2'500'000}}) {
    std::string storage(static_cast<size_t>(rows * cols) * 2, '\0');
    std::mt19937 random(2);
    for (size_t i = 0; i < storage.size(); i += 4) {
      const uint32_t bits = random();
      std::memcpy(&storage[i], &bits, std::min<size_t>(4, storage.size() - i));
    }
    const Tensor matrix = MakeTensor("F16", {rows, cols}, {storage}).value();
    EXPECT_TRUE(Streamed(matrix, "F16") == storage);
    const Tensor turned = Permute(matrix, {1, 0});
    EXPECT_TRUE(Streamed(turned, "F16") == Naive(turned, storage, 2));
  }
}

TEST(Tensor, ViewsThatReachOutsideAreRefused) {
  const std::string storage(40, 'x');  // ten floats
  const auto problem = [&](std::vector<int64_t> shape, std::vector<int64_t> strides, uint64_t offset) {
    return std::string(MakeTensor("F32", std::move(shape), std::move(strides), offset, {storage}).status().message());
  };
  EXPECT_EQ(problem({2, 5}, {5, 1}, 0), "");
  EXPECT_EQ(problem({}, {}, 9), "");
  EXPECT_EQ(problem({0, 7}, {70, 70}, 99), "") << "nothing is read";
  EXPECT_THAT(problem({}, {}, 10), HasSubstr("beyond its storage"));
  EXPECT_THAT(problem({2, 5}, {5, 1}, 1), HasSubstr("beyond its storage"));
  EXPECT_THAT(problem({2, 5}, {6, 1}, 0), HasSubstr("beyond its storage"));
  EXPECT_THAT(problem({1}, {1}, UINT64_MAX), HasSubstr("beyond its storage"));
  EXPECT_THAT(problem({2}, {-1}, 5), HasSubstr("below 0"));
  EXPECT_THAT(problem({-2}, {1}, 5), HasSubstr("below 0"));
  EXPECT_THAT(problem({2}, {1, 1}, 0), HasSubstr("stride"));
  EXPECT_THAT(problem({INT64_MAX, 2}, {0, 0}, 0), HasSubstr("63 bits"));
  EXPECT_THAT(problem({2, 2}, {INT64_MAX, INT64_MAX}, 0), HasSubstr("storage"));
  EXPECT_THAT(problem({3, 3, 3}, {INT64_MAX, INT64_MAX, INT64_MAX}, 0), HasSubstr("63 bits"));
  EXPECT_THAT(problem(std::vector<int64_t>(17, 1), std::vector<int64_t>(17, 1), 0), HasSubstr("17 axes"));
  EXPECT_THAT(std::string(MakeTensor("F32", {9}, {storage}).status().message()), HasSubstr("40 bytes, not 36"));
  EXPECT_THAT(std::string(MakeTensor("F33", {10}, {storage}).status().message()), HasSubstr("F33"));
  EXPECT_THAT(std::string(MakeTensor("F32", {9}, {absl::string_view(storage).substr(1)}).status().message()),
              HasSubstr("39 bytes"));
}

template <typename T>
std::string Bytes(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T));
}

TEST(Tensor, TypesAreConvertedAsTorchDoes) {
  // 1 + 2^-8 and 1 + 3 * 2^-8 lie between two bfloat16 values: ties go to the even one.
  const std::string singles = Bytes<float>({1.f, -2.5f, 1.00390625f, 1.01171875f, 65504.f, 1e-8f, INFINITY});
  const Tensor tensor = MakeTensor("F32", {7}, {singles}).value();
  EXPECT_EQ(Streamed(tensor, "BF16"), Bytes<uint16_t>({0x3f80, 0xc020, 0x3f80, 0x3f82, 0x4780, 0x322c, 0x7f80}));
  EXPECT_EQ(Streamed(tensor, "F16"), Bytes<uint16_t>({0x3c00, 0xc100, 0x3c04, 0x3c0c, 0x7bff, 0x0000, 0x7c00}));
  const std::string brains = Bytes<uint16_t>({0x3f80, 0xc020});
  EXPECT_EQ(Streamed(MakeTensor("BF16", {2}, {brains}).value(), "F32"), Bytes<float>({1.f, -2.5f}));
  const std::string halves = Bytes<uint16_t>({0x3c00, 0xc100, 0x0001});
  EXPECT_EQ(Streamed(MakeTensor("F16", {3}, {halves}).value(), "F32"), Bytes<float>({1.f, -2.5f, 0x1p-24f}));
  const std::string doubles = Bytes<double>({1.0, 0.1});
  EXPECT_EQ(Streamed(MakeTensor("F64", {2}, {doubles}).value(), "F32"), Bytes<float>({1.f, 0.1f}));
  const std::string nan = Bytes<float>({std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(Streamed(MakeTensor("F32", {1}, {nan}).value(), "BF16"), Bytes<uint16_t>({0x7fc0}));
}

TEST(Tensor, AFiniteValueThatWouldBecomeInfiniteIsRefused) {
  const std::string large = Bytes<float>({65520.f});
  const auto ignore = [](absl::string_view) { return absl::OkStatus(); };
  EXPECT_THAT(std::string(Stream(MakeTensor("F32", {1}, {large}).value(), "F16", ignore).message()),
              HasSubstr("beyond what F16 can hold"));
  const std::string larger = Bytes<double>({1e39});
  EXPECT_THAT(std::string(Stream(MakeTensor("F64", {1}, {larger}).value(), "F32", ignore).message()),
              HasSubstr("beyond what F32"));
}

TEST(Tensor, TheSinksErrorEndsTheWalk) {
  const std::string storage(4 << 20, 'x');
  int calls = 0;
  const absl::Status status = Stream(MakeTensor("U8", {4, 1 << 20}, {storage}).value(), "U8", [&](absl::string_view) {
    ++calls;
    return absl::CancelledError("enough");
  });
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace promptsweep::weights
