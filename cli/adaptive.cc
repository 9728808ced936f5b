#include "cli/adaptive.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/client.h"
#include "jobs/sweep/growth.h"

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

absl::StatusOr<LookOutcome> LookAndGrow(StoreStub& store, v1::SweepService::StubInterface* sweeps, MiningRequest request) {
  request.look = true;
  LookOutcome outcome;
  PS_ASSIGN_OR_RETURN(outcome.json, RunMiner(request));
  PS_ASSIGN_OR_RETURN(const v1::MotifReport report, StoredMotifs(store, request.sweep));
  if (report.stop().looks().empty()) return absl::AbortedError("another analysis replaced the look; ask again");
  const v1::StopLook& look = report.stop().looks(report.stop().looks_size() - 1);
  outcome.words = look.words();
  outcome.stopped = look.reason() != v1::STOP_REASON_GO_ON;
  if (outcome.stopped) return outcome;

  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, Find(store, request.sweep));
  // Somebody else's watch was faster.
  if (info.manifest().cell_count() != look.cells()) return outcome;
  const v1::StopRule& rule = report.stop().rule();
  const absl::StatusOr<v1::SweepManifest> grown = sweep::GrowSeeds(
      info.manifest(),
      {.target = look.grow_target(), .baseline = look.grow_baseline(), .factor = rule.growth(), .max_cells = rule.max_cells()});
  if (absl::IsResourceExhausted(grown.status())) {
    outcome.stopped = true;
    absl::StrAppend(&outcome.words, "; but it cannot grow: ", grown.status().message());
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
