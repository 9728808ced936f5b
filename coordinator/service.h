// The gRPC face of the coordinator: protos in, protos out, nothing decided here. No handler blocks: gRPC's callback threads are
// few.
#pragma once

#include "coordinator/coordinator.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"

namespace promptsweep::coordinator {

// Both outlive the server they are registered with; `coordinator` outlives both. Call coordinator->Shutdown() before the
// server's: it finishes every call that waits, without which grpc::Server::Shutdown does not return.
class CoordinatorServiceImpl final : public v1::CoordinatorService::CallbackService {
 public:
  explicit CoordinatorServiceImpl(Coordinator* coordinator) : coordinator_(coordinator) {}

  grpc::ServerUnaryReactor* RegisterWorker(grpc::CallbackServerContext* context, const v1::RegisterWorkerRequest* request,
                                           v1::RegisterWorkerResponse* response) override;
  grpc::ServerUnaryReactor* AcquireLease(grpc::CallbackServerContext* context, const v1::AcquireLeaseRequest* request,
                                         v1::AcquireLeaseResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* ReportProgress(grpc::CallbackServerContext* context, const v1::ReportProgressRequest* request,
                                           v1::ReportProgressResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseLease(grpc::CallbackServerContext* context, const v1::ReleaseLeaseRequest* request,
                                         v1::ReleaseLeaseResponse* response) override;

 private:
  Coordinator* const coordinator_;
};

class SweepServiceImpl final : public v1::SweepService::CallbackService {
 public:
  explicit SweepServiceImpl(Coordinator* coordinator) : coordinator_(coordinator) {}

  grpc::ServerUnaryReactor* SubmitSweep(grpc::CallbackServerContext* context, const v1::SubmitSweepRequest* request,
                                        v1::SubmitSweepResponse* response) override;
  grpc::ServerUnaryReactor* GetSweepStatus(grpc::CallbackServerContext* context, const v1::GetSweepStatusRequest* request,
                                           v1::GetSweepStatusResponse* response) override;
  grpc::ServerUnaryReactor* ListSweepStatus(grpc::CallbackServerContext* context, const v1::ListSweepStatusRequest* request,
                                            v1::ListSweepStatusResponse* response) override;
  grpc::ServerUnaryReactor* PauseSweep(grpc::CallbackServerContext* context, const v1::PauseSweepRequest* request,
                                       v1::PauseSweepResponse* response) override;
  grpc::ServerUnaryReactor* ResumeSweep(grpc::CallbackServerContext* context, const v1::ResumeSweepRequest* request,
                                        v1::ResumeSweepResponse* response) override;
  grpc::ServerUnaryReactor* CancelSweep(grpc::CallbackServerContext* context, const v1::CancelSweepRequest* request,
                                        v1::CancelSweepResponse* response) override;
  grpc::ServerUnaryReactor* RetryFailed(grpc::CallbackServerContext* context, const v1::RetryFailedRequest* request,
                                        v1::RetryFailedResponse* response) override;
  grpc::ServerUnaryReactor* SetLimits(grpc::CallbackServerContext* context, const v1::SetLimitsRequest* request,
                                      v1::SetLimitsResponse* response) override;
  grpc::ServerUnaryReactor* Extend(grpc::CallbackServerContext* context, const v1::ExtendRequest* request,
                                   v1::ExtendResponse* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context, const v1::DrainWorkerRequest* request,
                                        v1::DrainWorkerResponse* response) override;
  grpc::ServerUnaryReactor* ExplainSweep(grpc::CallbackServerContext* context, const v1::ExplainSweepRequest* request,
                                         v1::ExplainSweepResponse* response) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;

 private:
  Coordinator* const coordinator_;
};

}  // namespace promptsweep::coordinator
