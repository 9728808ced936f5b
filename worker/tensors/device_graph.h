// Work of a device that is asked for again and again with the same shapes.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace promptsweep::worker {

// Operations recorded once and asked for with one call: a CUDA graph. Asking a GPU for a decoder's step takes the CPU ten times
// as long as doing it takes the GPU. Movable. For one thread.
class DeviceGraph {
 public:
  // Whether `device` records: a GPU, where libpromptsweep_cuda.so is beside the program or on the
  // loader's path.
  static bool Can(const at::Device& device);

  // Runs `work` twice. It reads and writes tensors that outlive the graph, in place, and asks the device for the same whatever
  // they hold; what it allocates belongs to the graph. Throws where it does, or the device refuses.
  DeviceGraph(const at::Device& device, const std::function<void()>& work);
  ~DeviceGraph();
  DeviceGraph(DeviceGraph&& other) noexcept;
  DeviceGraph& operator=(DeviceGraph&& other) noexcept;

  // Asks for all of it again, on what the tensors hold now, in turn with the thread's other work.
  void Play() const;

 private:
  void* graph_ = nullptr;
};

}  // namespace promptsweep::worker
