// What a program needs of a device: memory, schedules, compiled kernels, and the calls between them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codegen/loop_ir.h"
#include "codegen/place.h"
#include "ir/graph.h"
#include "passes/fuse.h"
#include "runtime/cuda/kernel_use.h"

namespace mambac {

/// One call of a plan, with its sizes bound: a kernel's launch, a matrix product, a look-up in a table.
class Call {
 public:
  virtual ~Call() = default;
  /// May return before the work is done; calls of one device do theirs in order, and upload() and download() wait for
  /// them. Pointers to device memory, in the order of the kernel's buffers, or of a library call's roots. `scratch`:
  /// device memory of scratch_bytes() that holds nothing between calls.
  virtual void run(void* const* pointers, void* scratch) = 0;
  virtual size_t scratch_bytes() const { return 0; }
  /// Of a call whose schedule can name one of several algorithms: short names of all, by number, and that of its own.
  virtual std::vector<std::string> algorithms() const { return {}; }
  virtual std::string algorithm() const { return {}; }
  /// What it keeps of constant parameters, and that they have changed.
  virtual size_t kept_bytes() const { return 0; }
  virtual void forget() {}
};

/// A kernel, compiled. It may outlive its device's other kernels, but not the device.
class DeviceKernel {
 public:
  virtual ~DeviceKernel() = default;
  /// `elements`: of each of its buffers.
  virtual std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>& elements) const = 0;
  /// What an assembler said about the functions of its stages; empty where there is none.
  virtual std::vector<cuda::KernelUse> uses() const { return {}; }
};

/// Calls that were recorded with their pointers, run again as one.
class CapturedCalls {
 public:
  virtual ~CapturedCalls() = default;
  virtual void run() = 0;
};

/// Device memory, aligned to 64 bytes at least.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual void* data() const = 0;
  virtual size_t bytes() const = 0;
};

/// What devices have in common on which the same schedules are the best.
struct DeviceModel {
  std::string name;          // "CPU znver4", "NVIDIA H200"
  std::string architecture;  // "znver4", "sm_90"
  std::string toolkit;       // "LLVM 19.1.7", "NVRTC 13.0"
  std::string library;       // of matrix products: "oneDNN 2.6.3", "cuBLASLt 13.1.0"
  std::string driver;        // "13.0"; empty on a CPU
  int threads = 0;           // of the CPU's that kernels run on; 0 on a GPU
};

/// A library kernel of a fused graph at given sizes.
struct LibraryKernel {
  const Graph& fused;
  const Layouts& layouts;
  NodeId node;
  const Bindings& sizes;
  Schedule schedule{};
  bool constant_parameters = false;  // a product may keep a copy of its weight, until forget()
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  virtual DeviceModel model() const { return {name(), "", "", "", "", 0}; }
  /// EnvironmentError when there is not that much.
  virtual std::unique_ptr<DeviceMemory> allocate(int64_t bytes) = 0;
  /// Bytes that can be allocated now, as far as that is known.
  virtual int64_t free_memory() const;
  /// Between host and device memory, in order with the calls; both return when the host's memory may be used again.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  /// Whether the host may use this device's memory as its own, between calls. Nothing need be copied then.
  virtual bool memory_is_host() const { return false; }
  /// Memory that is zero, and zeros and copies within the device's memory, in order with the calls. Where a device has
  /// no way of its own, through the host.
  virtual std::unique_ptr<DeviceMemory> allocate_zeroed(int64_t bytes);
  virtual void zero(void* to, size_t bytes);
  virtual void copy(void* to, const void* from, size_t bytes);
  /// Hands device memory to `use` as memory of the host, in order: in one piece where it is that, else in pieces that
  /// are small for the host.
  void read(const void* from, size_t bytes, const std::function<void(const void* piece, size_t bytes)>& use);
  /// Returns when all calls so far have done their work.
  virtual void synchronize() {}
  /// Records the calls that `calls` runs, each of which has run with the same pointers before, instead of running them;
  /// they and their memory must outlive what is returned. Null, and nothing is run, on devices that gain nothing by it.
  virtual std::unique_ptr<CapturedCalls> capture(const std::function<void()>& calls) {
    static_cast<void>(calls);
    return nullptr;
  }
  /// What fusion does best for this device.
  virtual FuseOptions fuse_options() const { return {}; }
  /// What its kernels are lowered for.
  virtual DeviceKind kind() const { return DeviceKind::cpu; }
  /// How a kernel of a fused graph is mapped when nothing better is known.
  virtual Schedule schedule(const Graph& fused, int number) const = 0;
  /// Compiles many kernels at once; equal ones are compiled once.
  virtual std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) = 0;
  /// The call for a library kernel. `roots` receives the memory roots of its pointers. InputError when there is no such
  /// algorithm as its schedule asks for.
  virtual std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) = 0;
};

}  // namespace mambac
