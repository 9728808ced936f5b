// What a store shows through its public interface, as one map: to compare a store with what was acknowledged, or with itself.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/status.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {

// "cell 1/17" -> hex of its content digest, "sweep 1" -> hex of its manifest digest, "state 1", "divergent 1", "failure 1/17" ->
// attempts, "motifs 1" and "labels ID" -> hash. What there is not has no key.
using View = std::map<std::string, std::string>;

inline std::string CellName(uint32_t sweep, uint64_t ordinal) { return absl::StrCat("cell ", sweep, "/", ordinal); }
inline std::string FailureName(uint32_t sweep, uint64_t ordinal) { return absl::StrCat("failure ", sweep, "/", ordinal); }
inline std::string ContentName(const v1::Result& result) {
  return ToHex(ContentDigest(result.image_digest(), EmbeddingsDigest(result)).substr(0, 8));
}
inline std::string BytesName(absl::string_view bytes) { return absl::StrCat(absl::Hex(Xxh3(bytes))); }
inline std::string LabelsName(const google::protobuf::RepeatedPtrField<std::string>& labels, const std::string& fp16) {
  std::string all;
  for (const std::string& label : labels) absl::StrAppend(&all, label, "\n");
  return BytesName(all + fp16);
}

// Reads the results of one sweep in all ways there are. DATA_LOSS where the ways disagree.
inline absl::Status ObserveSweep(Store& store, const v1::SweepInfo& info, View& view) {
  v1::GetResultsRequest request;
  request.set_sweep(info.sweep());
  request.set_with_images(true);
  request.set_with_embeddings(true);
  PS_ASSIGN_OR_RETURN(const std::vector<v1::Result> rows, ReadAll(store, request));
  const auto broken = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("sweep ", info.sweep(), ": ", what, " disagrees with the results"));
  };
  for (const v1::Result& row : rows) view[CellName(info.sweep(), row.cell().ordinal())] = ContentName(row);

  std::vector<uint64_t> covered;
  v1::GetCoverageRequest page;
  page.set_sweep(info.sweep());
  do {
    PS_ASSIGN_OR_RETURN(const auto coverage, store.GetCoverage(page));
    for (const v1::OrdinalRange& range : coverage.done()) {
      for (uint64_t ordinal = range.begin(); ordinal < range.end(); ++ordinal) covered.push_back(ordinal);
    }
    page.set_begin(coverage.next());
  } while (page.begin() != 0);
  const auto same = [](const v1::Result& row, uint64_t ordinal) { return row.cell().ordinal() == ordinal; };
  if (!std::equal(rows.begin(), rows.end(), covered.begin(), covered.end(), same)) return broken("coverage");
  if (info.counts().done() != rows.size()) return broken("the count");

  for (int e = 0; e < info.manifest().embedders_size(); ++e) {
    v1::ScanEmbeddingsRequest scan;
    scan.set_sweep(info.sweep());
    scan.set_embedder(info.manifest().embedders(e).id());
    PS_ASSIGN_OR_RETURN(const auto vectors, ScanAll(store, scan));
    const auto equal = [e](const v1::Result& row, const std::pair<uint64_t, std::string>& vector) {
      return row.cell().ordinal() == vector.first && e < row.embeddings_size() && row.embeddings(e).fp16() == vector.second;
    };
    if (!std::equal(rows.begin(), rows.end(), vectors.begin(), vectors.end(), equal)) return broken("the scan");
  }
  return absl::OkStatus();
}

// The whole view. Fails as reading fails; DATA_LOSS also where what is read disagrees with itself.
inline absl::StatusOr<View> Observe(Store& store) {
  View view;
  PS_ASSIGN_OR_RETURN(const v1::ListSweepsResponse sweeps, store.ListSweeps());
  for (const v1::SweepInfo& info : sweeps.sweeps()) {
    const uint32_t id = info.sweep();
    view[absl::StrCat("sweep ", id)] = ToHex(info.digest());
    view[absl::StrCat("state ", id)] = absl::StrCat(info.state());
    if (info.counts().divergent() > 0) view[absl::StrCat("divergent ", id)] = absl::StrCat(info.counts().divergent());
    PS_RETURN_IF_ERROR(ObserveSweep(store, info, view));
    v1::ListFailuresRequest page;
    page.set_sweep(id);
    do {
      PS_ASSIGN_OR_RETURN(const auto failures, store.ListFailures(page));
      for (const v1::FailureRecord& failure : failures.failures()) {
        view[FailureName(id, failure.ordinal())] = absl::StrCat(failure.attempts());
      }
      page.set_begin(failures.next());
    } while (page.begin() != 0);
    v1::GetMotifsRequest motifs;
    motifs.set_sweep(id);
    PS_ASSIGN_OR_RETURN(const auto report, store.GetMotifs(motifs));
    if (!report.report().empty()) view[absl::StrCat("motifs ", id)] = BytesName(report.report());
    for (const v1::ModelRef& embedder : info.manifest().embedders()) {
      v1::GetLabelsRequest request;
      request.set_embedder_digest(embedder.digest());
      PS_ASSIGN_OR_RETURN(const auto labels, store.GetLabels(request));
      if (labels.labels_size() > 0) view[absl::StrCat("labels ", embedder.id())] = LabelsName(labels.labels(), labels.fp16());
    }
  }
  return view;
}

// What a deep verification finds, one problem to a line, or why it cannot be had; empty where the store is sound.
inline std::string Unsound(Store& store) {
  v1::VerifyRequest request;
  request.set_deep(true);
  const auto reply = store.Verify(request);
  return reply.ok() ? Problems(*reply) : reply.status().ToString() + "\n";
}

}  // namespace promptsweep::store
