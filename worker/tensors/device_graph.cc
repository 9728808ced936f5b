#include "worker/tensors/device_graph.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "worker/cuda/cuda_graph.h"

namespace promptsweep::worker {
namespace {

constexpr char kLibrary[] = "libpromptsweep_cuda.so";

struct Calls {
  decltype(&promptsweep_graph_record) record = nullptr;
  decltype(&promptsweep_graph_play) play = nullptr;
  decltype(&promptsweep_graph_free) free = nullptr;
};

// Null where the library is not there. It stays loaded.
const Calls* TheCalls() {
  static const Calls calls = [] {
    Calls found;
    std::error_code ignored;
    const auto beside = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / kLibrary;
    void* library = ::dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return found;
    found.record = reinterpret_cast<decltype(found.record)>(::dlsym(library, "promptsweep_graph_record"));
    found.play = reinterpret_cast<decltype(found.play)>(::dlsym(library, "promptsweep_graph_play"));
    found.free = reinterpret_cast<decltype(found.free)>(::dlsym(library, "promptsweep_graph_free"));
    return found;
  }();
  return calls.record && calls.play && calls.free ? &calls : nullptr;
}

using Failure = std::array<char, 512>;

}  // namespace

bool DeviceGraph::Can(const at::Device& device) { return device.is_cuda() && TheCalls() != nullptr; }

DeviceGraph::DeviceGraph(const at::Device& device, const std::function<void()>& work) {
  Failure failure{};
  graph_ = TheCalls()->record(
      device.index(), [](void* argument) { (*static_cast<const std::function<void()>*>(argument))(); },
      const_cast<std::function<void()>*>(&work), failure.data(), failure.size());
  if (graph_ == nullptr) throw std::runtime_error("recording for the device: " + std::string(failure.data()));
}

DeviceGraph::~DeviceGraph() {
  if (graph_ != nullptr) TheCalls()->free(graph_);
}

DeviceGraph::DeviceGraph(DeviceGraph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}

DeviceGraph& DeviceGraph::operator=(DeviceGraph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}

void DeviceGraph::Play() const {
  Failure failure{};
  if (!TheCalls()->play(graph_, failure.data(), failure.size()))
    throw std::runtime_error("the recorded work: " + std::string(failure.data()));
}

}  // namespace promptsweep::worker
