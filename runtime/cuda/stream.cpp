#include "runtime/cuda/stream.h"

namespace mambac::cuda {

Event::Event(const Device& device, bool timing) {
  device.enter();
  EventHandle handle = nullptr;
  device.expect(device.api().cuEventCreate(&handle, timing ? 0u : unsigned{kEventDisableTiming}), "make an event");
  event_ = {device, handle};
}

bool Event::reached() const {
  const Device& device = event_.device();
  device.enter();
  const Status status = device.api().cuEventQuery(event_.get());
  if (status == kErrorNotReady) return false;
  device.expect(status, "finish the work before an event");
  return true;
}

void Event::synchronize() const {
  const Device& device = event_.device();
  device.enter();
  device.expect(device.api().cuEventSynchronize(event_.get()), "finish the work before an event");
}

double seconds_between(const Event& begin, const Event& end) {
  const Device& device = begin.device();
  device.enter();
  float milliseconds = 0;
  device.expect(device.api().cuEventElapsedTime(&milliseconds, begin.handle(), end.handle()), "measure time");
  return milliseconds * 1e-3;
}

Stream::Stream(const Device& device) {
  device.enter();
  StreamHandle handle = nullptr;
  device.expect(device.api().cuStreamCreate(&handle, kStreamNonBlocking), "make a stream");
  stream_ = {device, handle};
}

void Stream::copy_to_device(DevicePointer to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  device().enter();
  device().expect(device().api().cuMemcpyHtoDAsync_v2(to, from, bytes, handle()), "copy to the device");
}

void Stream::copy_to_host(void* to, DevicePointer from, size_t bytes) {
  if (bytes == 0) return;
  device().enter();
  device().expect(device().api().cuMemcpyDtoHAsync_v2(to, from, bytes, handle()), "copy from the device");
}

void Stream::copy_on_device(DevicePointer to, DevicePointer from, size_t bytes) {
  if (bytes == 0) return;
  device().enter();
  device().expect(device().api().cuMemcpyDtoDAsync_v2(to, from, bytes, handle()), "copy on the device");
}

void Stream::fill(DevicePointer to, unsigned char value, size_t bytes) {
  if (bytes == 0) return;
  device().enter();
  device().expect(device().api().cuMemsetD8Async(to, value, bytes, handle()), "fill device memory");
}

void Stream::launch(const Kernel& kernel, const LaunchShape& shape, void** arguments) {
  device().enter();
  LaunchAttribute early{kProgrammaticStreamSerialization, 1, {}};
  LaunchConfig config{{shape.grid[0], shape.grid[1], shape.grid[2]},
                      {shape.block[0], shape.block[1], shape.block[2]},
                      shape.dynamic_shared_bytes,
                      handle(),
                      &early,
                      shape.awaits_kernels && device().begins_kernels_early() ? 1u : 0u};
  device().expect(device().api().cuLaunchKernelEx(&config, kernel.handle(), arguments, nullptr), "launch",
                  kernel.name());
}

void Stream::launch(const Graph& graph) {
  device().enter();
  device().expect(device().api().cuGraphLaunch(graph.handle(), handle()), "launch a captured graph");
}

void Stream::record(const Event& event) {
  device().enter();
  device().expect(device().api().cuEventRecord(event.handle(), handle()), "record an event");
}

void Stream::wait(const Event& event) {
  device().enter();
  device().expect(device().api().cuStreamWaitEvent(handle(), event.handle(), 0), "wait for an event");
}

void Stream::synchronize() {
  device().enter();
  device().expect(device().api().cuStreamSynchronize(handle()), "finish the work of a stream");
}

Graph Stream::capture(const std::function<void()>& work) {
  const DriverApi& api = device().api();
  device().enter();
  device().expect(api.cuStreamBeginCapture_v2(handle(), kCaptureThreadLocal), "capture a graph");
  GraphHandle captured = nullptr;
  try {
    work();
  } catch (...) {
    if (api.cuStreamEndCapture(handle(), &captured) == kSuccess && captured != nullptr) api.cuGraphDestroy(captured);
    throw;
  }
  device().enter();
  device().expect(api.cuStreamEndCapture(handle(), &captured), "capture a graph");
  const Owned<GraphHandle, &DriverApi::cuGraphDestroy> graph(device(), captured);
  GraphExecHandle executable = nullptr;
  device().expect(api.cuGraphInstantiateWithFlags(&executable, graph.get(), 0), "make a captured graph ready");
  return {device(), executable};
}

}  // namespace mambac::cuda
