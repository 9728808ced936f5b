#include "worker/cuda/cuda_graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdio>
#include <exception>
#include <memory>

namespace {

using at::cuda::CUDAGraph;

// Runs `f`; false and the first line of what it throws in `failure` where it does.
template <typename F>
bool Guarded(F f, char* failure, unsigned long size) {
  const char* what = "an exception without words";
  try {
    f();
    return true;
  } catch (const c10::Error& error) {
    std::snprintf(failure, size, "%s", error.what_without_backtrace());
    return false;
  } catch (const std::exception& error) {
    std::snprintf(failure, size, "%s", error.what());
    return false;
  } catch (...) {
    std::snprintf(failure, size, "%s", what);
    return false;
  }
}

}  // namespace

void* promptsweep_graph_record(int device, void (*work)(void*), void* argument, char* failure, unsigned long size) {
  auto graph = std::make_unique<CUDAGraph>();
  const auto record = [&] {
    const c10::cuda::CUDAGuard on(static_cast<c10::DeviceIndex>(device));
    // The default stream cannot be recorded. What was asked of it before must be over, and what is asked here before it goes on.
    const c10::cuda::CUDAStream stream =
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, static_cast<c10::DeviceIndex>(device));
    c10::cuda::device_synchronize();
    {
      const c10::cuda::CUDAStreamGuard aside(stream);
      work(argument);
      stream.synchronize();
      // Other threads may allocate meanwhile.
      graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        work(argument);
      } catch (...) {
        try {
          graph->capture_end();
        } catch (const std::exception&) {
          // What broke the recording is what the caller is told.
        }
        throw;
      }
      graph->capture_end();
    }
    c10::cuda::device_synchronize();
  };
  return Guarded(record, failure, size) ? graph.release() : nullptr;
}

bool promptsweep_graph_play(void* graph, char* failure, unsigned long size) {
  return Guarded([&] { static_cast<CUDAGraph*>(graph)->replay(); }, failure, size);
}

void promptsweep_graph_free(void* graph) { delete static_cast<CUDAGraph*>(graph); }
