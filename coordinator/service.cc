#include "coordinator/service.h"

#include <utility>

#include "base/rpc.h"

namespace promptsweep::coordinator {
namespace {

// Answers at once.
template <typename Response>
grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, absl::StatusOr<Response> result, Response* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (result.ok()) *response = *std::move(result);
  reactor->Finish(ToGrpc(result.status()));
  return reactor;
}

// Answers when the coordinator calls: it calls every `done` it was given, at the latest in Shutdown.
template <typename Response, typename Call>
grpc::ServerUnaryReactor* ReplyLater(grpc::CallbackServerContext* context, Response* response, Call call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  call([reactor, response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpc(result.status()));
  });
  return reactor;
}

// A parked AcquireLease. The coordinator holds it until there is an answer; a caller that hangs up gets it out of there.
class AcquireReactor final : public grpc::ServerUnaryReactor {
 public:
  AcquireReactor(Coordinator* coordinator, const v1::AcquireLeaseRequest& request, v1::AcquireLeaseResponse* response)
      : coordinator_(coordinator) {
    coordinator_->AcquireLease(request, this, [this, response](absl::StatusOr<v1::AcquireLeaseResponse> result) {
      if (result.ok()) *response = *std::move(result);
      Finish(ToGrpc(result.status()));
    });
  }
  void OnCancel() override { coordinator_->CancelPoll(this); }
  void OnDone() override { delete this; }

 private:
  Coordinator* const coordinator_;
};

}  // namespace

grpc::ServerUnaryReactor* CoordinatorServiceImpl::RegisterWorker(grpc::CallbackServerContext* context,
                                                                 const v1::RegisterWorkerRequest* request,
                                                                 v1::RegisterWorkerResponse* response) {
  return Reply(context, coordinator_->RegisterWorker(*request), response);
}

grpc::ServerUnaryReactor* CoordinatorServiceImpl::AcquireLease(grpc::CallbackServerContext* context,
                                                               const v1::AcquireLeaseRequest* request,
                                                               v1::AcquireLeaseResponse* response) {
  return new AcquireReactor(coordinator_, *request, response);
}

grpc::ServerUnaryReactor* CoordinatorServiceImpl::Heartbeat(grpc::CallbackServerContext* context,
                                                            const v1::HeartbeatRequest* request,
                                                            v1::HeartbeatResponse* response) {
  return Reply(context, coordinator_->Heartbeat(*request), response);
}

grpc::ServerUnaryReactor* CoordinatorServiceImpl::ReportProgress(grpc::CallbackServerContext* context,
                                                                 const v1::ReportProgressRequest* request,
                                                                 v1::ReportProgressResponse* response) {
  return Reply(context, coordinator_->ReportProgress(*request), response);
}

grpc::ServerUnaryReactor* CoordinatorServiceImpl::ReleaseLease(grpc::CallbackServerContext* context,
                                                               const v1::ReleaseLeaseRequest* request,
                                                               v1::ReleaseLeaseResponse* response) {
  return Reply(context, coordinator_->ReleaseLease(*request), response);
}

grpc::ServerUnaryReactor* SweepServiceImpl::SubmitSweep(grpc::CallbackServerContext* context,
                                                        const v1::SubmitSweepRequest* request,
                                                        v1::SubmitSweepResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->SubmitSweep(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::GetSweepStatus(grpc::CallbackServerContext* context,
                                                           const v1::GetSweepStatusRequest* request,
                                                           v1::GetSweepStatusResponse* response) {
  return Reply(context, coordinator_->GetSweepStatus(*request), response);
}

grpc::ServerUnaryReactor* SweepServiceImpl::ListSweepStatus(grpc::CallbackServerContext* context,
                                                            const v1::ListSweepStatusRequest* request,
                                                            v1::ListSweepStatusResponse* response) {
  return Reply(context, coordinator_->ListSweepStatus(*request), response);
}

grpc::ServerUnaryReactor* SweepServiceImpl::PauseSweep(grpc::CallbackServerContext* context, const v1::PauseSweepRequest* request,
                                                       v1::PauseSweepResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->PauseSweep(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::ResumeSweep(grpc::CallbackServerContext* context,
                                                        const v1::ResumeSweepRequest* request,
                                                        v1::ResumeSweepResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->ResumeSweep(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::CancelSweep(grpc::CallbackServerContext* context,
                                                        const v1::CancelSweepRequest* request,
                                                        v1::CancelSweepResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->CancelSweep(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::RetryFailed(grpc::CallbackServerContext* context,
                                                        const v1::RetryFailedRequest* request,
                                                        v1::RetryFailedResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->RetryFailed(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::SetLimits(grpc::CallbackServerContext* context, const v1::SetLimitsRequest* request,
                                                      v1::SetLimitsResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->SetLimits(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::Extend(grpc::CallbackServerContext* context, const v1::ExtendRequest* request,
                                                   v1::ExtendResponse* response) {
  return ReplyLater(context, response, [&](auto done) { coordinator_->Extend(*request, std::move(done)); });
}

grpc::ServerUnaryReactor* SweepServiceImpl::DrainWorker(grpc::CallbackServerContext* context,
                                                        const v1::DrainWorkerRequest* request,
                                                        v1::DrainWorkerResponse* response) {
  return Reply(context, coordinator_->DrainWorker(*request), response);
}

grpc::ServerUnaryReactor* SweepServiceImpl::ExplainSweep(grpc::CallbackServerContext* context,
                                                         const v1::ExplainSweepRequest* request,
                                                         v1::ExplainSweepResponse* response) {
  return Reply(context, coordinator_->ExplainSweep(*request), response);
}

grpc::ServerUnaryReactor* SweepServiceImpl::ListWorkers(grpc::CallbackServerContext* context,
                                                        const v1::ListWorkersRequest* request,
                                                        v1::ListWorkersResponse* response) {
  return Reply(context, coordinator_->ListWorkers(*request), response);
}

}  // namespace promptsweep::coordinator
