#include "cli/adaptive.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/stop_words.h"
#include "jobs/motifs/look_question.h"

namespace promptsweep::cli {
namespace {

using StoreStub = v1::StoreService::StubInterface;

absl::StatusOr<v1::SweepInfo> Find(StoreStub& store, uint32_t sweep) {
  v1::GetSweepRequest request;
  request.set_sweep(sweep);
  PS_ASSIGN_OR_RETURN(const auto response, Call(store, &StoreStub::GetSweep, request));
  return response.info();
}

}  // namespace

absl::StatusOr<v1::StopState> StoredLooks(StoreStub& store, uint32_t sweep) {
  v1::GetMotifsRequest request;
  request.set_sweep(sweep);
  request.set_question(motifs::LookQuestion());
  PS_ASSIGN_OR_RETURN(const auto response, Call(store, &StoreStub::GetMotifs, request));
  v1::MotifReport report;
  if (!report.ParseFromString(response.report())) return absl::DataLossError("the stored look cannot be read");
  return report.stop();
}

absl::StatusOr<LookOutcome> LookAndGrow(StoreStub& store, v1::SweepService::StubInterface* sweeps, MiningRequest request) {
  request.look = true;
  LookOutcome outcome;
  PS_ASSIGN_OR_RETURN(outcome.json, RunMiner(request));
  PS_ASSIGN_OR_RETURN(const v1::StopState stop, StoredLooks(store, request.sweep));
  if (stop.looks().empty()) return absl::InternalError("the miner has stored no look");
  const v1::StopLook& look = stop.looks(stop.looks_size() - 1);
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, Find(store, request.sweep));
  outcome.words = LookInWords(stop, info.manifest());
  outcome.stopped = look.reason() != v1::STOP_REASON_GO_ON;
  // Where the cells differ, somebody else's watch was faster.
  if (outcome.stopped || info.manifest().cell_count() != look.cells()) return outcome;
  const absl::StatusOr<v1::SweepManifest> grown = GrowAsAsked(stop, info.manifest());
  if (absl::IsResourceExhausted(grown.status())) {
    outcome.stopped = true;
    return outcome;
  }
  PS_RETURN_IF_ERROR(grown.status());
  const auto extend = [&]<typename Stub, typename Request, typename Response>(
                          Stub& stub,
                          grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) -> absl::Status {
    Request extension;
    extension.set_sweep(info.sweep());
    extension.set_from_digest(info.digest());
    *extension.mutable_manifest() = *grown;
    PS_ASSIGN_OR_RETURN(const auto response, Call(stub, method, extension));
    outcome.added = response.added();
    return absl::OkStatus();
  };
  const absl::Status extended =
      sweeps != nullptr ? extend(*sweeps, &v1::SweepService::StubInterface::Extend) : extend(store, &StoreStub::ExtendSweep);
  if (absl::IsFailedPrecondition(extended)) {
    PS_ASSIGN_OR_RETURN(const v1::SweepInfo now, Find(store, request.sweep));
    if (now.digest() != info.digest()) return outcome;
  }
  PS_RETURN_IF_ERROR(extended);
  return outcome;
}

}  // namespace promptsweep::cli
