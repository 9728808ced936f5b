#include "worker/pipeline/reproduce.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/plan.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::worker {
namespace {

// Results of these cells, in order.
absl::StatusOr<std::vector<v1::Result>> Fetch(const ReproduceOptions& options, uint32_t sweep,
                                              const std::vector<uint64_t>& ordinals) {
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  request.set_with_images(true);
  request.set_with_embeddings(true);
  for (const uint64_t ordinal : ordinals) {
    v1::OrdinalRange& range = *request.add_ranges();
    range.set_begin(ordinal);
    range.set_end(ordinal + 1);
  }
  grpc::ClientContext context;
  SetTimeout(context, options.rpc_timeout);
  const auto stream = options.store->GetResults(&context, request);
  std::vector<v1::Result> results;
  v1::GetResultsResponse message;
  while (stream->Read(&message)) {
    if (message.has_result()) results.push_back(std::move(*message.mutable_result()));
  }
  PS_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
  for (size_t i = 0; i < ordinals.size(); ++i) {
    if (i < results.size() && results[i].cell().ordinal() == ordinals[i]) continue;
    return absl::NotFoundError(absl::StrCat("cell ", ordinals[i], " of sweep ", sweep, " has no stored result"));
  }
  return results;
}

std::vector<std::string> OtherConditions(const v1::Provenance& was, const v1::Provenance& is) {
  std::vector<std::string> other;
  const auto compare = [&](absl::string_view what, const std::string& before, const std::string& now) {
    if (before != now) other.push_back(absl::StrCat(what, ": was ", before.empty() ? "nothing" : before, ", is ", now));
  };
  compare("device", was.device(), is.device());
  compare("program", was.program_version(), is.program_version());
  compare("torch", was.torch_version(), is.torch_version());
  compare("batch", absl::StrCat(was.batch_shape()), absl::StrCat(is.batch_shape()));
  compare("noise", was.noise_dtype(), is.noise_dtype());
  compare("computed in", was.compute_dtype(), is.compute_dtype());
  return other;
}

Reproduced Compare(const v1::Result& was, const absl::StatusOr<MadeImage>& made, const v1::Provenance& provenance) {
  Reproduced out;
  out.ordinal = was.cell().ordinal();
  out.other = OtherConditions(was.provenance(), provenance);
  out.status = made.status();
  if (!made.ok()) return out;
  const absl::StatusOr<Image> stored = DecodeImage(was.image());
  out.status = Annotate(stored.status(), "the stored image");
  if (!stored.ok()) return out;
  out.same_size = stored->width == made->width && stored->height == made->height;
  if (out.same_size) ComparePixels(stored->rgb, made->rgb, out);
  if (was.image_format() == v1::IMAGE_FORMAT_WEBP) {
    const auto encoded = EncodeWebp(made->rgb, made->width, made->height);
    out.same_bytes = encoded.ok() && Sha256Of(*encoded) == was.image_digest();
  }
  for (int i = 0; i < was.embeddings_size() && i < static_cast<int>(made->embeddings.size()); ++i) {
    const std::string& before = was.embeddings(i).fp16();
    const std::string& now = made->embeddings[i].fp16();
    out.vectors.push_back({was.embeddings(i).embedder(), before == now, before == now ? 1.0 : CosineOfHalves(before, now)});
  }
  return out;
}

}  // namespace

bool Reproduced::same() const {
  return status.ok() && same_bytes && std::all_of(vectors.begin(), vectors.end(), [](const Vector& v) { return v.same; });
}

void ComparePixels(absl::string_view was, absl::string_view is, Reproduced& reproduced) {
  PS_CHECK(was.size() == is.size() && was.size() % 3 == 0);
  uint64_t sum = 0, changed = 0;
  int largest = 0;
  for (size_t pixel = 0; pixel < was.size(); pixel += 3) {
    int of_pixel = 0;
    for (size_t c = pixel; c < pixel + 3; ++c) {
      const int step = std::abs(static_cast<unsigned char>(was[c]) - static_cast<unsigned char>(is[c]));
      sum += static_cast<uint64_t>(step);
      of_pixel = std::max(of_pixel, step);
    }
    changed += of_pixel > 0;
    largest = std::max(largest, of_pixel);
  }
  reproduced.same_pixels = largest == 0;
  reproduced.largest_step = largest;
  reproduced.mean_step = was.empty() ? 0 : static_cast<double>(sum) / static_cast<double>(was.size());
  reproduced.changed = was.empty() ? 0 : static_cast<double>(changed) / (static_cast<double>(was.size()) / 3);
}

double CosineOfHalves(absl::string_view a, absl::string_view b) {
  const std::vector<float> x = UnpackHalves(a), y = UnpackHalves(b);
  if (x.size() != y.size()) return 0;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += double{x[i]} * y[i];
    xx += double{x[i]} * x[i];
    yy += double{y[i]} * y[i];
  }
  return xx > 0 && yy > 0 ? std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0) : 0;
}

absl::Status Reproduce(const std::vector<uint64_t>& ordinals, const ReproduceOptions& options,
                       const std::function<void(const Reproduced&)>& use) {
  v1::GetSweepRequest request;
  request.set_name(options.sweep);
  v1::GetSweepResponse response;
  grpc::ClientContext call;
  SetTimeout(call, options.rpc_timeout);
  PS_RETURN_IF_ERROR(FromGrpc(options.store->GetSweep(&call, request, &response)));
  const v1::SweepInfo& info = response.info();
  if (!info.manifest().imported_from().empty()) {
    return absl::FailedPreconditionError(absl::StrCat("sweep ", info.sweep(), " was imported: its images were made elsewhere"));
  }
  SweepCache sweeps({.store = options.store, .models = options.models, .rpc_timeout = options.rpc_timeout});
  PS_ASSIGN_OR_RETURN(const auto context, sweeps.Get(info.sweep(), info.digest()));
  std::map<std::string, std::vector<uint64_t>> by_model;
  for (const uint64_t ordinal : ordinals) {
    if (ordinal >= context->plan.cell_count()) {
      return absl::NotFoundError(absl::StrCat("cell ", ordinal, " is beyond the sweep's ", context->plan.cell_count(), " cells"));
    }
    by_model[context->plan.ModelAt(ordinal)].push_back(ordinal);
  }
  for (const auto& [model, cells] : by_model) {
    const auto setup = context->setups.find(model);
    if (setup == context->setups.end()) return context->unusable.at(model);
    PS_RETURN_IF_ERROR(options.engine->Prepare(*setup->second));
    for (size_t begin = 0; begin < cells.size();) {
      if (options.stop != nullptr && options.stop->HasBeenNotified()) return absl::CancelledError("stopped");
      const size_t count = std::min<size_t>(std::max(1, options.engine->batch_shape()), cells.size() - begin);
      const std::vector<uint64_t> batch(cells.begin() + static_cast<std::ptrdiff_t>(begin),
                                        cells.begin() + static_cast<std::ptrdiff_t>(begin + count));
      PS_ASSIGN_OR_RETURN(const std::vector<v1::Result> stored, Fetch(options, info.sweep(), batch));
      std::vector<v1::Cell> wanted;
      for (const uint64_t ordinal : batch) {
        PS_ASSIGN_OR_RETURN(wanted.emplace_back(), context->plan.CellAt(ordinal));
      }
      const auto made = options.engine->Run(wanted);
      for (size_t i = 0; i < count; ++i) use(Compare(stored[i], made[i], *options.engine->provenance()));
      begin += count;
    }
  }
  return absl::OkStatus();
}

std::string ReproducedJson(const Reproduced& r) {
  nlohmann::ordered_json json = {{"ordinal", r.ordinal}, {"same", r.same()}};
  if (!r.status.ok()) {
    json["error"] = std::string(r.status.message());
  } else {
    json["same_bytes"] = r.same_bytes;
    json["same_size"] = r.same_size;
    if (r.same_size) {
      json["same_pixels"] = r.same_pixels;
      json["largest_step"] = r.largest_step;
      json["mean_step"] = r.mean_step;
      json["changed"] = r.changed;
    }
    json["vectors"] = nlohmann::ordered_json::array();
    for (const auto& v : r.vectors) json["vectors"].push_back({{"embedder", v.embedder}, {"same", v.same}, {"cosine", v.cosine}});
  }
  json["other"] = r.other;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace promptsweep::worker
