// What the store's tests share: a temporary folder, small sweeps and results that a store admits, and calls made synchronous.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/check.h"
#include "base/half.h"
#include "base/hash.h"
#include "jobs/sweep/plan.h"
#include "store/store.h"
#include "tests/manifest.h"

namespace promptsweep::store {

// Removed with everything in it when destroyed.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ps-store-XXXXXX").string();
    PS_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// model "toy" x prompts (blank, "a cat") x `seeds` seeds.
inline v1::SweepManifest MakeManifest(const std::string& name, uint64_t seeds, std::vector<std::string> embedders = {"eye"}) {
  std::vector<v1::ModelRef> refs;
  for (const std::string& id : embedders) refs.push_back(TestModel(id, "null-embed", Sha256Of(id)));
  return TestManifest(name, {TestModel("toy", "null", Sha256Of("toy"))}, {"a cat"}, seeds, refs);
}

inline void AppendBig(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

// Frame of a PNG: a header, one chunk of `payload`, an end. The store looks no deeper.
inline std::string MakePng(uint32_t width, uint32_t height, const std::string& payload) {
  std::string png("\x89PNG\r\n\x1a\n", 8);
  AppendBig(png, 13);
  png += "IHDR";
  AppendBig(png, width);
  AppendBig(png, height);
  png += std::string("\x08\x02\x00\x00\x00", 5);
  AppendBig(png, 0);
  AppendBig(png, static_cast<uint32_t>(payload.size()));
  png += "IDAT" + payload;
  AppendBig(png, 0);
  png += std::string("\0\0\0\0IEND\xae\x42\x60\x82", 12);
  return png;
}

inline std::string MakeVector(uint64_t key, int dim) {
  std::vector<float> values(dim);
  for (int i = 0; i < dim; ++i) values[i] = static_cast<float>((Xxh3(absl::StrCat(key, ":", i)) % 1999) + 1) / 1000.0f - 1.0f;
  return PackHalves(values.data(), values.size());
}

// What a worker would send for a cell. Another `salt`: other bytes for the same cell.
inline v1::Result MakeResult(const sweep::Plan& plan, uint64_t ordinal, size_t image_bytes = 600, uint64_t salt = 0,
                             int dim = 8) {
  v1::Result result;
  const auto cell = plan.CellAt(ordinal);
  PS_CHECK(cell.ok()) << cell.status();
  result.mutable_cell()->set_ordinal(ordinal);
  result.mutable_cell()->set_fingerprint(cell->fingerprint());
  std::string payload;
  for (uint64_t i = 0; payload.size() < image_bytes; ++i) payload += Sha256Of(absl::StrCat(ordinal, "/", salt, "/", i));
  result.set_image(MakePng(8, 8, payload));
  result.set_image_format(v1::IMAGE_FORMAT_PNG);
  result.set_width(8);
  result.set_height(8);
  result.set_image_digest(Sha256Of(result.image()));
  for (const v1::ModelRef& embedder : plan.manifest().embedders()) {
    v1::Embedding& embedding = *result.add_embeddings();
    embedding.set_embedder(embedder.id());
    embedding.set_fp16(MakeVector(ordinal * 1000 + salt, dim));
  }
  result.set_generate_us(100);
  result.set_embed_us(20);
  result.set_encode_us(3);
  return result;
}

inline sweep::Plan MakePlan(const v1::SweepManifest& manifest) {
  auto plan = sweep::Plan::FromManifest(manifest);
  PS_CHECK(plan.ok()) << plan.status();
  return *std::move(plan);
}

// Calls a write of the store and waits for its callback.
template <typename Request, typename Reply>
absl::StatusOr<Reply> Await(Store& store, void (Store::*method)(const Request*, Store::Callback<Reply>), const Request& request) {
  absl::Notification done;
  absl::StatusOr<Reply> reply = absl::UnknownError("no reply");
  (store.*method)(&request, [&](absl::StatusOr<Reply> got) {
    reply = std::move(got);
    done.Notify();
  });
  done.WaitForNotification();
  return reply;
}

inline absl::StatusOr<uint32_t> Create(Store& store, const v1::SweepManifest& manifest,
                                       v1::SweepState state = v1::SWEEP_STATE_RUNNING) {
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest;
  request.set_state(state);
  const auto reply = Await(store, &Store::CreateSweep, request);
  if (!reply.ok()) return reply.status();
  return reply->sweep();
}

inline v1::PutResultsRequest MakePut(uint32_t sweep, std::vector<v1::Result> results) {
  v1::PutResultsRequest request;
  request.set_sweep(sweep);
  for (v1::Result& result : results) *request.add_results() = std::move(result);
  request.mutable_provenance()->set_worker("worker-1");
  request.mutable_provenance()->set_device("cpu: test");
  return request;
}

inline absl::StatusOr<v1::PutResultsResponse> PutAll(Store& store, uint32_t sweep, std::vector<v1::Result> results) {
  return Await(store, &Store::PutResults, MakePut(sweep, std::move(results)));
}

// The verdict on one result.
inline v1::PutOutcome PutOne(Store& store, uint32_t sweep, v1::Result result) {
  const auto reply = PutAll(store, sweep, {std::move(result)});
  PS_CHECK(reply.ok()) << reply.status();
  PS_CHECK(reply->outcomes_size() == 1);
  return reply->outcomes(0);
}

inline std::unique_ptr<Store> OpenStore(Store::Options options) {
  options.create_if_missing = true;
  auto store = Store::Open(std::move(options));
  PS_CHECK(store.ok()) << store.status();
  return *std::move(store);
}

inline std::unique_ptr<Store> OpenStore(const std::string& folder) {
  Store::Options options;
  options.folder = folder;
  options.ballast_bytes = 0;
  // Rows stay where a test put them.
  options.pack_in_background = false;
  return OpenStore(std::move(options));
}

// Every row of GetResults; an error where the stream does not end with a fitting Trailer.
inline absl::StatusOr<std::vector<v1::Result>> ReadAll(Store& store, const v1::GetResultsRequest& request) {
  auto reader = store.ReadResults(request);
  if (!reader.ok()) return reader.status();
  std::vector<v1::Result> rows;
  ScanDigest digest;
  v1::GetResultsResponse message;
  while (true) {
    const auto more = (*reader)->Next(message);
    if (!more.ok()) return more.status();
    if (!*more) return absl::DataLossError("no trailer");
    if (message.has_trailer()) {
      if (!digest.Matches(message.trailer())) return absl::DataLossError("trailer does not fit");
      return rows;
    }
    digest.Add(message.result());
    rows.push_back(message.result());
  }
}

// Every (ordinal, vector) of ScanEmbeddings, likewise.
inline absl::StatusOr<std::vector<std::pair<uint64_t, std::string>>> ScanAll(Store& store,
                                                                             const v1::ScanEmbeddingsRequest& request) {
  auto reader = store.ScanEmbeddings(request);
  if (!reader.ok()) return reader.status();
  std::vector<std::pair<uint64_t, std::string>> rows;
  ScanDigest digest;
  v1::ScanEmbeddingsResponse message;
  while (true) {
    const auto more = (*reader)->Next(message);
    if (!more.ok()) return more.status();
    if (!*more) return absl::DataLossError("no trailer");
    if (message.has_trailer()) {
      if (!digest.Matches(message.trailer())) return absl::DataLossError("trailer does not fit");
      return rows;
    }
    digest.Add(message.block());
    const size_t stride = size_t{2} * message.block().dim();
    for (int i = 0; i < message.block().ordinals_size(); ++i) {
      rows.emplace_back(message.block().ordinals(i), message.block().fp16().substr(i * stride, stride));
    }
  }
}

inline v1::VerifyResponse VerifyAll(Store& store, bool deep) {
  v1::VerifyRequest request;
  request.set_deep(deep);
  const auto reply = store.Verify(request);
  PS_CHECK(reply.ok()) << reply.status();
  return *reply;
}

// Every problem of a verification, one to a line; empty where the store is sound.
inline std::string Problems(const v1::VerifyResponse& response) {
  std::string all;
  for (const std::string& problem : response.problems()) absl::StrAppend(&all, problem, "\n");
  for (const v1::SweepVerdict& verdict : response.sweeps()) {
    for (const std::string& problem : verdict.problems()) absl::StrAppend(&all, "sweep ", verdict.sweep(), " ", problem, "\n");
  }
  return all;
}

}  // namespace promptsweep::store
