#include "base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>
#if defined(__x86_64__)
// The same functions, by what vectors the processor has.
#include <xxh_x86dispatch.h>
#endif

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace promptsweep {

namespace {

// Fetched once: EVP_sha256() looks the implementation up, under a lock, for every digest.
const EVP_MD* Sha256Implementation() {
  static EVP_MD* const implementation = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return implementation;
}

}  // namespace

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  PS_CHECK(EVP_DigestInit_ex2(impl_->context, Sha256Implementation(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::Update(absl::string_view bytes) { PS_CHECK(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) == 1); }

void Sha256::UpdateField(absl::string_view bytes) {
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(static_cast<uint64_t>(bytes.size()) >> (56 - 8 * i));
  Update(absl::string_view(length, 8));
  Update(bytes);
}

std::string Sha256::Finish() {
  std::string digest(kDigestSize, '\0');
  unsigned size = 0;
  PS_CHECK(EVP_DigestFinal_ex(impl_->context, reinterpret_cast<unsigned char*>(digest.data()), &size) == 1);
  PS_CHECK(size == kDigestSize);
  return digest;
}

std::string Sha256Of(absl::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  while (size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) hash.Update(absl::string_view(buffer.data(), n));
  if (std::ferror(file.get())) return absl::UnavailableError(absl::StrCat(path, ": read error"));
  return hash.Finish();
}

uint64_t Xxh3(absl::string_view bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

std::string ToHex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }

}  // namespace promptsweep
