// Proves that products of few rows are those of the matrix, and the same bits whatever the number of rows, the share of a thread
// or the vectors.
#include "worker/tensors/row_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "worker/tensors/noise.h"

namespace promptsweep::worker {
namespace {

struct Case {
  RowType type;
  at::ScalarType torch;
};
constexpr Case kTypes[] = {{RowType::kFloat, at::kFloat}, {RowType::kBFloat16, at::kBFloat16}, {RowType::kHalf, at::kHalf}};

at::Tensor Product(const Case& type, const at::Tensor& weights, const at::Tensor& x, int64_t share,
                   RowVectors vectors = WidestRowVectors()) {
  const int64_t out = weights.size(0), in = weights.size(1), panels = RowPanels(out);
  at::Tensor packed = at::empty({panels, in, kPanel}, type.torch), y = at::full({x.size(0), out}, -7.f);
  PackRows(type.type, weights.const_data_ptr(), out, in, packed.mutable_data_ptr());
  for (int64_t begin = 0; begin < panels; begin += share) {
    RowProduct(type.type, packed.const_data_ptr(), in, out, begin, std::min(begin + share, panels), x.const_data_ptr<float>(),
               x.size(0), y.mutable_data_ptr<float>(), vectors);
  }
  return y;
}

TEST(RowProduct, IsTheProduct) {
  ImageNoise noise(1);
  for (const Case& type : kTypes) {
    for (const int64_t out : {1, 5, 16, 17, 33, 100}) {
      for (const int64_t in : {1, 7, 256, 257, 700}) {
        at::Tensor weights = at::empty({out, in}), x = at::empty({19, in});
        noise.Normal(weights);
        noise.Normal(x);
        weights = weights.to(type.torch);
        const at::Tensor exact = x.to(at::kDouble).mm(weights.to(at::kDouble).t());
        const at::Tensor found = Product(type, weights, x, 2);
        EXPECT_LE((found - exact).abs().max().item<double>(), 2e-6 * exact.abs().max().item<double>() + 1e-6) << out << "x" << in;
      }
    }
  }
}

TEST(RowProduct, ARowDependsOnItselfAlone) {
  ImageNoise noise(2);
  for (const Case& type : kTypes) {
    at::Tensor weights = at::empty({75, 523}), x = at::empty({37, 523});
    noise.Normal(weights);
    noise.Normal(x);
    weights = weights.to(type.torch);
    const at::Tensor all = Product(type, weights, x, 2);
    for (const int64_t share : {1, 2, 3, 4, 100}) {
      for (int64_t rows = 1; rows <= 37; ++rows) {
        const at::Tensor some = x.narrow(0, 37 - rows, rows).contiguous();
        EXPECT_TRUE(at::equal(Product(type, weights, some, share), all.narrow(0, 37 - rows, rows))) << rows << " by " << share;
      }
    }
  }
}

TEST(RowProduct, VectorsDoNotMatter) {
  ImageNoise noise(3);
  for (const Case& type : kTypes) {
    for (const int64_t out : {1, 16, 31, 100}) {
      for (const int64_t in : {1, 255, 523}) {
        at::Tensor weights = at::empty({out, in}), x = at::empty({21, in});
        noise.Normal(weights);
        noise.Normal(x);
        weights = weights.to(type.torch);
        const at::Tensor plain = Product(type, weights, x, 2, RowVectors::kNone);
        for (const RowVectors vectors : {RowVectors::k256, RowVectors::k512}) {
          if (!HasRowVectors(vectors)) continue;
          EXPECT_TRUE(at::equal(Product(type, weights, x, 2, vectors), plain))
              << out << "x" << in << ", vectors " << static_cast<int>(vectors);
        }
      }
    }
  }
}

// Numbers that a half type has only as subnormals, infinities too.
TEST(RowProduct, ReadsHalfTypesExactly) {
  const at::Tensor bits = at::arange(1 << 15, at::kInt).to(at::kShort);
  for (const Case& type : {kTypes[1], kTypes[2]}) {
    const at::Tensor values = bits.view(type.torch);
    const at::Tensor finite = values.masked_select(at::isfinite(values)).unsqueeze(1).contiguous();
    EXPECT_TRUE(at::equal(Product(type, finite, at::ones({1, 1}), 2).view(-1), finite.view(-1).to(at::kFloat)));
  }
}

}  // namespace
}  // namespace promptsweep::worker
