#include "coordinator/store_client.h"

#include <algorithm>
#include <utility>

#include "base/pages.h"
#include "base/rpc.h"
#include "base/status.h"

namespace promptsweep::coordinator {
namespace {

// A call that was not let through is made again; one that timed out has had its time.
bool IsTransient(const absl::Status& status) { return status.code() == absl::StatusCode::kUnavailable; }

}  // namespace

GrpcStoreClient::GrpcStoreClient(std::unique_ptr<v1::StoreService::StubInterface> stub, Options options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

template <typename Request, typename Response>
absl::Status GrpcStoreClient::Call(const Request& request, Response* response,
                                   grpc::Status (v1::StoreService::StubInterface::*method)(grpc::ClientContext*, const Request&,
                                                                                           Response*)) {
  absl::Duration pause = options_.first_pause;
  for (int attempt = 1;; ++attempt) {
    grpc::ClientContext context;
    SetTimeout(context, options_.call_timeout);
    {
      absl::MutexLock lock(&mu_);
      if (stopping_) return absl::CancelledError("shutting down");
      running_ = &context;
    }
    response->Clear();
    const absl::Status status = FromGrpc((stub_.get()->*method)(&context, request, response));
    absl::MutexLock lock(&mu_);
    running_ = nullptr;
    if (stopping_) return absl::CancelledError("shutting down");
    if (status.ok() || !IsTransient(status) || attempt >= options_.tries) return status;
    // Half to all of the pause, so that many clients do not come back at once.
    const double jitter = options_.random ? 0.5 + 0.5 * static_cast<double>(options_.random() >> 11) * 0x1p-53 : 1.0;
    const absl::Time until = absl::Now() + pause * jitter;
    while (!stopping_ && !wake_.WaitWithDeadline(&mu_, until)) {
    }
    pause *= 2;
  }
}

template <typename Request, typename Response>
auto GrpcStoreClient::Fetch(grpc::Status (v1::StoreService::StubInterface::*method)(grpc::ClientContext*, const Request&,
                                                                                    Response*)) {
  return [this, method](const Request& request) -> absl::StatusOr<Response> {
    Response response;
    PS_RETURN_IF_ERROR(Call(request, &response, method));
    return response;
  };
}

absl::StatusOr<std::vector<v1::SweepInfo>> GrpcStoreClient::ListSweeps() {
  v1::ListSweepsResponse response;
  PS_RETURN_IF_ERROR(Call(v1::ListSweepsRequest(), &response, &v1::StoreService::StubInterface::ListSweeps));
  return std::vector<v1::SweepInfo>(response.sweeps().begin(), response.sweeps().end());
}

absl::StatusOr<v1::SweepInfo> GrpcStoreClient::GetSweep(uint32_t sweep) {
  v1::GetSweepRequest request;
  request.set_sweep(sweep);
  v1::GetSweepResponse response;
  PS_RETURN_IF_ERROR(Call(request, &response, &v1::StoreService::StubInterface::GetSweep));
  return std::move(*response.mutable_info());
}

absl::StatusOr<v1::CreateSweepResponse> GrpcStoreClient::CreateSweep(const v1::SweepManifest& manifest,
                                                                     const v1::SweepLimits& limits) {
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest;
  *request.mutable_limits() = limits;
  request.set_state(v1::SWEEP_STATE_RUNNING);
  v1::CreateSweepResponse response;
  PS_RETURN_IF_ERROR(Call(request, &response, &v1::StoreService::StubInterface::CreateSweep));
  return response;
}

absl::StatusOr<v1::SweepLimits> GrpcStoreClient::SetSweepLimits(uint32_t sweep, const v1::SweepLimits& limits) {
  v1::SetSweepLimitsRequest request;
  request.set_sweep(sweep);
  *request.mutable_limits() = limits;
  v1::SetSweepLimitsResponse response;
  PS_RETURN_IF_ERROR(Call(request, &response, &v1::StoreService::StubInterface::SetSweepLimits));
  return response.limits();
}

absl::StatusOr<v1::ExtendSweepResponse> GrpcStoreClient::ExtendSweep(const v1::ExtendSweepRequest& request) {
  v1::ExtendSweepResponse response;
  PS_RETURN_IF_ERROR(Call(request, &response, &v1::StoreService::StubInterface::ExtendSweep));
  return response;
}

absl::Status GrpcStoreClient::SetSweepState(uint32_t sweep, v1::SweepState state) {
  v1::SetSweepStateRequest request;
  request.set_sweep(sweep);
  request.set_state(state);
  v1::SetSweepStateResponse response;
  return Call(request, &response, &v1::StoreService::StubInterface::SetSweepState);
}

absl::StatusOr<OrdinalSet> GrpcStoreClient::GetCoverage(uint32_t sweep) {
  v1::GetCoverageRequest request;
  request.set_sweep(sweep);
  OrdinalSet done;
  PS_RETURN_IF_ERROR(
      ForEachPage(request, Fetch(&v1::StoreService::StubInterface::GetCoverage), [&](const v1::GetCoverageResponse& page) {
        for (const v1::OrdinalRange& range : page.done()) done.Add(range.begin(), range.end());
      }));
  return done;
}

absl::Status GrpcStoreClient::PutFailures(uint32_t sweep, const std::vector<v1::FailureRecord>& failures) {
  v1::PutFailuresRequest request;
  request.set_sweep(sweep);
  request.mutable_failures()->Add(failures.begin(), failures.end());
  v1::PutFailuresResponse response;
  return Call(request, &response, &v1::StoreService::StubInterface::PutFailures);
}

absl::StatusOr<OrdinalSet> GrpcStoreClient::ListFailures(uint32_t sweep) {
  v1::ListFailuresRequest request;
  request.set_sweep(sweep);
  OrdinalSet failed;
  PS_RETURN_IF_ERROR(
      ForEachPage(request, Fetch(&v1::StoreService::StubInterface::ListFailures), [&](const v1::ListFailuresResponse& page) {
        for (const v1::FailureRecord& record : page.failures()) failed.Add(record.ordinal(), record.ordinal() + 1);
      }));
  return failed;
}

absl::StatusOr<uint64_t> GrpcStoreClient::ClearFailures(uint32_t sweep, const std::vector<uint64_t>& ordinals) {
  v1::ClearFailuresRequest request;
  request.set_sweep(sweep);
  request.mutable_ordinals()->Add(ordinals.begin(), ordinals.end());
  v1::ClearFailuresResponse response;
  PS_RETURN_IF_ERROR(Call(request, &response, &v1::StoreService::StubInterface::ClearFailures));
  return response.cleared();
}

void GrpcStoreClient::Shutdown() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  if (running_ != nullptr) running_->TryCancel();
  wake_.SignalAll();
}

}  // namespace promptsweep::coordinator
