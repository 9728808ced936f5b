// Certificates for tests, made on the spot.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/check.h"

namespace promptsweep {

// Both live as long as the test.
struct CertificateAndKey {
  X509* certificate = nullptr;
  EVP_PKEY* key = nullptr;
};

inline std::string Pem(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free_all(bio);
  return text;
}

inline std::string Pem(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free_all(bio);
  return text;
}

// A certificate for `name`, of `authority` or of itself, valid from two days ago, and from now for `days`.
inline CertificateAndKey MakeCertificate(const std::string& name, const CertificateAndKey* authority,
                                         const std::string& addresses, int days = 1) {
  CertificateAndKey made{X509_new(), EVP_EC_gen("P-256")};
  static long serial = 0;
  ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++serial);
  X509_set_version(made.certificate, 2);
  X509_gmtime_adj(X509_getm_notBefore(made.certificate), -2 * 86400);
  X509_gmtime_adj(X509_getm_notAfter(made.certificate), days * 86400L);
  X509_set_pubkey(made.certificate, made.key);
  X509_NAME* subject = X509_get_subject_name(made.certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  const CertificateAndKey& signer = authority == nullptr ? made : *authority;
  X509_set_issuer_name(made.certificate, X509_get_subject_name(signer.certificate));
  const auto add = [&](int what, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, signer.certificate, made.certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
    PS_CHECK(extension != nullptr);
    X509_add_ext(made.certificate, extension, -1);
    X509_EXTENSION_free(extension);
  };
  add(NID_basic_constraints, authority == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!addresses.empty()) add(NID_subject_alt_name, addresses);
  PS_CHECK(X509_sign(made.certificate, signer.key, EVP_sha256()) > 0);
  return made;
}

// A file of a TLS folder, replaced as a rotation does it: the new one takes the old one's name.
inline void WriteTlsFile(const std::string& folder, const std::string& name, const std::string& content) {
  std::filesystem::create_directories(folder);
  const std::string path = folder + "/" + name;
  std::ofstream(path + ".new", std::ios::binary) << content;
  std::filesystem::rename(path + ".new", path);
}

inline void WriteTlsFolder(const std::string& folder, const CertificateAndKey& own, const CertificateAndKey& authority) {
  WriteTlsFile(folder, "tls.crt", Pem(own.certificate));
  WriteTlsFile(folder, "tls.key", Pem(own.key));
  WriteTlsFile(folder, "ca.crt", Pem(authority.certificate));
}

}  // namespace promptsweep
