// promptsweep-store as a child process, and calls to it.
#pragma once

#include <sys/resource.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "base/rpc.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "tests/program.h"
#include "tests/store/fixture.h"

namespace promptsweep::store {

class StoreProcess : public Program {
 public:
  explicit StoreProcess(std::vector<std::string> arguments) : Program("promptsweep-store", std::move(arguments)) {}
  // Of the folder, on any free port.
  static std::vector<std::string> Arguments(const std::string& folder) {
    return {"--folder", folder, "--init", "--listen", "127.0.0.1:0"};
  }
};

using Stub = v1::StoreService::Stub;

// `line` is what the program printed when it listened.
inline std::unique_ptr<Stub> Dial(const std::string& line) {
  PS_CHECK(absl::StartsWith(line, "listening on ")) << line;
  auto channel = Connect(line.substr(13), *InsecureRpc(false));
  PS_CHECK(channel.ok());
  return v1::StoreService::NewStub(*channel);
}

// One unary call, with a deadline.
template <typename Request, typename Reply>
absl::StatusOr<Reply> CallStore(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                                const Request& request, absl::Duration timeout = absl::Seconds(30)) {
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  if (!status.ok()) return FromGrpc(status);
  return reply;
}

inline absl::StatusOr<uint32_t> CreateOver(Stub& stub, const v1::SweepManifest& manifest) {
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest;
  request.set_state(v1::SWEEP_STATE_RUNNING);
  const auto reply = CallStore(stub, &Stub::CreateSweep, request);
  if (!reply.ok()) return reply.status();
  return reply->sweep();
}

inline absl::StatusOr<v1::PutOutcome::Code> PutOver(Stub& stub, uint32_t sweep, v1::Result result,
                                                    absl::Duration timeout = absl::Seconds(30)) {
  const auto reply = CallStore(stub, &Stub::PutResults, MakePut(sweep, {std::move(result)}), timeout);
  if (!reply.ok()) return reply.status();
  return reply->outcomes(0).code();
}

// Every row of GetResults; DATA_LOSS where the stream does not end with a fitting Trailer.
inline absl::StatusOr<std::vector<v1::Result>> ReadOver(Stub& stub, const v1::GetResultsRequest& request) {
  grpc::ClientContext context;
  SetTimeout(context, absl::Seconds(60));
  auto stream = stub.GetResults(&context, request);
  std::vector<v1::Result> rows;
  ScanDigest digest;
  v1::GetResultsResponse message;
  bool ended = false;
  while (stream->Read(&message)) {
    if (message.has_trailer()) {
      ended = digest.Matches(message.trailer());
      continue;
    }
    digest.Add(message.result());
    rows.push_back(message.result());
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return FromGrpc(status);
  if (!ended) return absl::DataLossError("no fitting trailer");
  return rows;
}

inline std::string ProblemsOver(Stub& stub, bool deep) {
  v1::VerifyRequest request;
  request.set_deep(deep);
  const auto reply = CallStore(stub, &Stub::Verify, request, absl::Seconds(120));
  return reply.ok() ? Problems(*reply) : reply.status().ToString();
}

}  // namespace promptsweep::store
