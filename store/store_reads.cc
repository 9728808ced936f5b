#include "store/store.h"

#include <algorithm>

#include "store/verify.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

constexpr size_t kPageBytes = 2 << 20;
constexpr int kPageRanges = 100'000;
constexpr size_t kCellKeySize = 12;

}  // namespace

absl::StatusOr<v1::GetSweepResponse> Store::GetSweep(const v1::GetSweepRequest& request) {
  PS_RETURN_IF_ERROR(health());
  absl::StatusOr<std::shared_ptr<const Sweep>> sweep = absl::InvalidArgumentError("neither id nor name");
  if (request.key_case() == v1::GetSweepRequest::kSweep) sweep = ledger_->Find(request.sweep());
  if (request.key_case() == v1::GetSweepRequest::kName) sweep = ledger_->Resolve(request.name());
  PS_RETURN_IF_ERROR(sweep.status());
  v1::GetSweepResponse response;
  *response.mutable_info() = ledger_->Info(**sweep, /*with_cells=*/true);
  return response;
}

absl::StatusOr<v1::ListSweepsResponse> Store::ListSweeps() {
  PS_RETURN_IF_ERROR(health());
  v1::ListSweepsResponse response;
  for (const auto& sweep : ledger_->Sweeps()) {
    v1::SweepInfo info = ledger_->Info(*sweep, /*with_cells=*/false);
    if (info.state() != v1::SWEEP_STATE_DELETING) *response.add_sweeps() = std::move(info);
  }
  return response;
}

absl::StatusOr<v1::GetCoverageResponse> Store::GetCoverage(const v1::GetCoverageRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  const Coverage coverage = ledger_->CopyCoverage(request.sweep());
  v1::GetCoverageResponse response;
  v1::OrdinalRange* last = nullptr;
  for (const auto& [chunk, bitmap] : coverage) {
    for (const uint32_t low : bitmap) {
      const uint64_t ordinal = chunk << kChunkBits | low;
      if (ordinal < request.begin()) continue;
      if (last && last->end() == ordinal) {
        last->set_end(ordinal + 1);
        continue;
      }
      if (response.done_size() == kPageRanges) {
        response.set_next(ordinal);
        return response;
      }
      last = response.add_done();
      last->set_begin(ordinal);
      last->set_end(ordinal + 1);
    }
  }
  return response;
}

absl::StatusOr<v1::ListFailuresResponse> Store::ListFailures(const v1::ListFailuresRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  v1::ListFailuresResponse response;
  size_t bytes = 0;
  Rows rows(*database_, Family::kFailures, CellKey(request.sweep(), request.begin()), SweepKeyEnd(request.sweep()));
  for (; rows.Valid(); rows.Next()) {
    v1::FailureRecord record;
    PS_RETURN_IF_ERROR(Parse(rows.value(), record));
    bytes += rows.value().size() + 8;
    if (bytes > kPageBytes) {
      response.set_next(record.ordinal());
      break;
    }
    *response.add_failures() = std::move(record);
  }
  PS_RETURN_IF_ERROR(rows.status());
  return response;
}

absl::StatusOr<v1::ListDuplicatesResponse> Store::ListDuplicates(const v1::ListDuplicatesRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  v1::ListDuplicatesResponse response;
  const auto provenance = [this](uint32_t id, v1::Provenance& out) -> absl::Status {
    PS_ASSIGN_OR_RETURN(const std::string value, database_->Get(Family::kProvenance, ProvenanceKey(id)));
    return Parse(value, out);
  };
  size_t bytes = 0;
  Rows rows(*database_, Family::kDuplicates, CellKey(request.sweep(), request.begin()), SweepKeyEnd(request.sweep()));
  for (; rows.Valid(); rows.Next()) {
    uint32_t sweep = 0;
    uint64_t ordinal = 0;
    if (!ParseCellKey(rows.key().substr(0, kCellKeySize), sweep, ordinal)) return absl::DataLossError("unreadable duplicate key");
    // Pages end between cells; a cell with more contents than a page can hold keeps its first ones.
    const bool new_cell = response.duplicates().empty() || response.duplicates().rbegin()->ordinal() != ordinal;
    if (bytes > kPageBytes && new_cell) {
      response.set_next(ordinal);
      break;
    }
    if (bytes > kPageBytes + kPageBytes / 2) continue;
    PS_ASSIGN_OR_RETURN(DuplicateRow row, DecodeDuplicateRow(rows.value()));
    v1::DuplicateRecord& record = *response.add_duplicates();
    record.set_ordinal(ordinal);
    record.set_at_ms(row.at_ms);
    record.set_first_content(std::move(row.first_content));
    record.set_later_content(std::move(row.later_content));
    PS_RETURN_IF_ERROR(Annotate(provenance(row.first_provenance, *record.mutable_first_provenance()), "provenance"));
    PS_RETURN_IF_ERROR(Annotate(provenance(row.later_provenance, *record.mutable_later_provenance()), "provenance"));
    bytes += record.ByteSizeLong() + 8;
  }
  PS_RETURN_IF_ERROR(rows.status());
  return response;
}

absl::StatusOr<v1::GetLabelsResponse> Store::GetLabels(const v1::GetLabelsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  v1::GetLabelsResponse response;
  const auto value = database_->Get(Family::kLabels, request.embedder_digest() + request.vocabulary());
  if (absl::IsNotFound(value.status())) return response;
  PS_RETURN_IF_ERROR(value.status());
  PS_RETURN_IF_ERROR(Parse(*value, response));
  return response;
}

absl::StatusOr<v1::GetMotifsResponse> Store::GetMotifs(const v1::GetMotifsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  v1::GetMotifsResponse response;
  const auto value = database_->Get(Family::kMotifs, SweepKey(request.sweep()) + request.question());
  if (absl::IsNotFound(value.status())) return response;
  PS_RETURN_IF_ERROR(value.status());
  PS_ASSIGN_OR_RETURN(const absl::string_view report, Unversioned(*value));
  response.set_report(std::string(report));
  return response;
}

absl::StatusOr<std::unique_ptr<ResultReader>> Store::ReadResults(const v1::GetResultsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(CheckRanges(request));
  PS_ASSIGN_OR_RETURN(auto sweep, ledger_->Find(request.sweep()));
  return std::make_unique<ResultReader>(*database_, outside_, std::move(sweep), request);
}

absl::StatusOr<std::unique_ptr<EmbeddingReader>> Store::ScanEmbeddings(const v1::ScanEmbeddingsRequest& request,
                                                                       SharedSnapshot snapshot) {
  PS_RETURN_IF_ERROR(health());
  PS_ASSIGN_OR_RETURN(auto sweep, ledger_->Find(request.sweep()));
  const auto embedder = sweep->EmbedderIndex(request.embedder());
  if (!embedder) {
    return absl::NotFoundError(absl::StrCat("sweep ", sweep->id, " has no embedder '", request.embedder().substr(0, 128), "'"));
  }
  const uint64_t end = request.end() == 0 ? sweep->cell_count() : std::min(request.end(), sweep->cell_count());
  return std::make_unique<EmbeddingReader>(*database_, std::move(sweep), *embedder, std::min(request.begin(), end), end,
                                           std::move(snapshot));
}

SharedSnapshot Store::TakeSnapshot() { return std::make_shared<rocksdb::ManagedSnapshot>(&database_->db()); }

absl::StatusOr<v1::VerifyResponse> Store::Verify(const v1::VerifyRequest& request) {
  PS_RETURN_IF_ERROR(health());
  if (verifying_.exchange(true)) return absl::ResourceExhaustedError("another verification is running");
  auto response = VerifyStore(*database_, *ledger_, outside_, request);
  verifying_ = false;
  return response;
}

absl::StatusOr<Orphans> Store::RemoveOrphans(absl::Duration min_age) {
  PS_RETURN_IF_ERROR(health());
  return RemoveOrphanObjects(*database_, *ledger_, outside_, *options_.clock, min_age);
}

}  // namespace promptsweep::store
