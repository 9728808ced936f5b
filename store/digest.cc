#include "store/digest.h"

#include "base/hash.h"

namespace promptsweep::store {
namespace {

uint64_t FoldNumber(uint64_t number, uint64_t digest) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(number >> (8 * i));
  return Xxh3(absl::string_view(bytes, 8), digest);
}

}  // namespace

void ScanDigest::Add(const v1::Result& result) {
  digest_ = FoldNumber(result.cell().ordinal(), digest_);
  digest_ = Xxh3(result.cell().fingerprint(), digest_);
  digest_ = Xxh3(result.image_digest(), digest_);
  digest_ = Xxh3(result.image(), digest_);
  for (const v1::Embedding& embedding : result.embeddings()) digest_ = Xxh3(embedding.fp16(), digest_);
  ++rows_;
}

void ScanDigest::Add(const v1::EmbeddingBlock& block) {
  const size_t stride = size_t{2} * block.dim();
  const absl::string_view all = block.fp16();
  for (int i = 0; i < block.ordinals_size(); ++i) {
    digest_ = FoldNumber(block.ordinals(i), digest_);
    digest_ = Xxh3(all.size() < i * stride ? absl::string_view() : all.substr(i * stride, stride), digest_);
    ++rows_;
  }
}

}  // namespace promptsweep::store
