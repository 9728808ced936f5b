// Proves that the uploader announces the size of what it sends and waits at least as long as a full store asks.
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/backpressure.h"
#include "worker/pipeline/uploader.h"

namespace promptsweep::worker {
namespace {

// Refuses the first `refusals` calls and asks for `wait`.
class BusyStore final : public v1::StoreService::Service {
 public:
  BusyStore(int refusals, absl::Duration wait) : refusals_(refusals), wait_(wait) {}
  grpc::Status PutResults(grpc::ServerContext* context, const v1::PutResultsRequest* request,
                          v1::PutResultsResponse* response) override {
    absl::MutexLock lock(&mu_);
    arrivals_.push_back(absl::Now());
    EXPECT_EQ(RequestBytes(*context).value_or(0), request->ByteSizeLong());
    if (refusals_-- > 0) {
      SetRetryAfter(*context, wait_);
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "busy"};
    }
    for (const v1::Result& result : request->results()) {
      v1::PutOutcome& outcome = *response->add_outcomes();
      outcome.set_ordinal(result.cell().ordinal());
      outcome.set_code(v1::PutOutcome::CODE_STORED);
    }
    return grpc::Status::OK;
  }
  std::vector<absl::Time> arrivals() {
    absl::MutexLock lock(&mu_);
    return arrivals_;
  }

 private:
  absl::Mutex mu_;
  int refusals_ ABSL_GUARDED_BY(mu_);
  const absl::Duration wait_;
  std::vector<absl::Time> arrivals_ ABSL_GUARDED_BY(mu_);
};

TEST(Uploader, WaitsAsLongAsABusyStoreAsks) {
  constexpr absl::Duration kWait = absl::Milliseconds(120);
  BusyStore service(3, kWait);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  auto stub = v1::StoreService::NewStub(server->InProcessChannel({}));
  ByteBudget budget(1 << 20);
  std::atomic<int> stored{0};
  Uploader::Options options;
  options.store = stub.get();
  options.budget = &budget;
  options.on_stored = [&](const Upload&) { ++stored; };
  options.on_failed = [](const Upload&, v1::CellFailure failure) { ADD_FAILURE() << failure.error(); };
  options.first_backoff = absl::Milliseconds(1);
  options.longest_backoff = absl::Milliseconds(2);
  Uploader uploader(std::move(options));
  Upload upload;
  upload.lease = std::make_shared<v1::Lease>();
  upload.provenance = std::make_shared<v1::Provenance>();
  upload.result.mutable_cell()->set_ordinal(7);
  upload.result.set_image(std::string(10'000, 'x'));
  uploader.Add(std::move(upload));
  ASSERT_TRUE(uploader.Flush(absl::Seconds(20)));
  EXPECT_EQ(stored, 1);
  const auto arrivals = service.arrivals();
  ASSERT_EQ(arrivals.size(), 4u);
  for (size_t i = 1; i < arrivals.size(); ++i) EXPECT_GE(arrivals[i] - arrivals[i - 1], kWait) << i;
  uploader.Stop();
  server->Shutdown();
}

}  // namespace
}  // namespace promptsweep::worker
