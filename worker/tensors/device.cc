#include "worker/tensors/device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <array>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

constexpr char kCudaLibrary[] = "libtorch_cuda.so";

// The driver's name of a GPU; empty where it does not say. Its library is there once torch's CUDA half is.
std::string GpuName(int index) {
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (driver == nullptr) return "";
  using GetDevice = int (*)(int* device, int ordinal);
  using GetName = int (*)(char* name, int size, int device);
  const auto device_of = reinterpret_cast<GetDevice>(::dlsym(driver, "cuDeviceGet"));
  const auto name_of = reinterpret_cast<GetName>(::dlsym(driver, "cuDeviceGetName"));
  std::array<char, 256> name{};
  int device = 0;
  if (device_of == nullptr || name_of == nullptr || device_of(&device, index) != 0 ||
      name_of(name.data(), static_cast<int>(name.size()) - 1, device) != 0) {
    return "";
  }
  return name.data();
}

}  // namespace

absl::StatusOr<at::Device> OpenDevice(const std::string& name) {
  const absl::StatusOr<at::Device> device = Guarded([&]() -> absl::StatusOr<at::Device> {
    at::Device named(name);
    if (named.is_cpu()) return named;
    if (!named.is_cuda()) return absl::InvalidArgumentError("models run on cpu or cuda:N");
    if (::dlopen(kCudaLibrary, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("libtorch's CUDA half cannot be loaded (PROMPTSWEEP_CUDA=1 ./dev setup fetches it): ", ::dlerror()));
    }
    const int count = at::detail::getCUDAHooks().deviceCount();
    const int index = named.has_index() ? named.index() : 0;
    if (index >= count) return absl::InvalidArgumentError(absl::StrCat("torch sees ", count, " GPUs here"));
    return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
  });
  if (!device.ok()) return absl::InvalidArgumentError(absl::StrCat("device ", name, ": ", device.status().message()));
  return device;
}

std::string DeviceWords(const at::Device& device) {
  if (device.is_cuda()) {
    const std::string name = GpuName(device.index());
    return name.empty() ? device.str() : absl::StrCat("cuda: ", name);
  }
  if (!device.is_cpu()) return device.str();
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return absl::StrCat("cpu: ", line.substr(colon + 2));
  }
  return "cpu";
}

void Synchronize(const at::Device& device) {
  if (!device.is_cuda()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace promptsweep::worker
