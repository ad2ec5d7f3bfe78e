// Work for a device in order: copies, kernels, captured graphs, and events between them.
#pragma once

#include <functional>

#include "runtime/cuda/driver.h"
#include "runtime/cuda/module.h"

namespace mambac::cuda {

/// A point in a stream.
class Event {
 public:
  /// Only an event with timing can be measured with; the others cost less.
  explicit Event(const Device& device, bool timing = false);

  const Device& device() const { return event_.device(); }
  EventHandle handle() const { return event_.get(); }
  /// Everything before the point is done. True for an event that was never recorded.
  bool reached() const;
  void synchronize() const;

 private:
  Owned<EventHandle, &DriverApi::cuEventDestroy_v2> event_;
};

/// Between two recorded and reached events with timing.
double seconds_between(const Event& begin, const Event& end);

/// Captured work that is launched as one.
class Graph {
 public:
  Graph(const Device& device, GraphExecHandle handle) : graph_(device, handle) {}
  GraphExecHandle handle() const { return graph_.get(); }

 private:
  Owned<GraphExecHandle, &DriverApi::cuGraphExecDestroy> graph_;
};

struct LaunchShape {
  unsigned grid[3] = {1, 1, 1};   // blocks
  unsigned block[3] = {1, 1, 1};  // threads
  unsigned dynamic_shared_bytes = 0;
  /// The kernel itself waits for what comes before it in the stream, and may begin earlier.
  bool awaits_kernels = false;
};

/// All functions return before the work is done, except synchronize(). A failure of the work itself is reported by
/// whatever call notices it first. Host memory in copies must stay as it is until then; only with PinnedMemory do they
/// run beside the host.
class Stream {
 public:
  explicit Stream(const Device& device);

  const Device& device() const { return stream_.device(); }
  StreamHandle handle() const { return stream_.get(); }

  void copy_to_device(DevicePointer to, const void* from, size_t bytes);
  void copy_to_host(void* to, DevicePointer from, size_t bytes);
  void copy_on_device(DevicePointer to, DevicePointer from, size_t bytes);
  void fill(DevicePointer to, unsigned char value, size_t bytes);
  /// `arguments` point at the kernel's arguments, in its order; they are read before this returns.
  void launch(const Kernel& kernel, const LaunchShape& shape, void** arguments);
  void launch(const Graph& graph);

  void record(const Event& event);
  /// What comes next in this stream waits for the event's point, in whichever stream that is.
  void wait(const Event& event);
  void synchronize();

  /// What `work` puts into this stream (and into streams that it forks from it and joins again, by events) is not done
  /// but kept. Nothing stays captured when `work` throws.
  Graph capture(const std::function<void()>& work);

 private:
  Owned<StreamHandle, &DriverApi::cuStreamDestroy_v2> stream_;
};

}  // namespace mambac::cuda
