// The CUDA driver and its devices. The library is opened at run time; nothing of CUDA is needed to build this.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/cuda/driver_api.h"
#include "runtime/cuda/driver_errors.h"

namespace mambac::cuda {

struct DeviceInfo {
  int ordinal = 0;  // N of cuda:N
  std::string name;
  std::string uuid;          // "GPU-8f3a...", as nvidia-smi prints it
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t memory = 0;  // bytes in all
  size_t l2_bytes = 0;
  size_t shared_bytes_per_multiprocessor = 0;
  size_t shared_bytes_per_block = 0;  // the most that a kernel can ask for

  std::string architecture() const;  // "sm_90"
};

/// The opened driver. Lives until the process ends; may be used from any thread.
class Driver {
 public:
  /// The driver of this process, opened at the first call. EnvironmentError when there is none, when it lacks a
  /// function or cannot be initialised; a later call tries again.
  static const Driver& instance();
  explicit Driver(const LibraryProbe& library);

  const DriverApi& api() const { return api_; }
  const std::string& path() const { return path_; }
  int version() const { return version_; }  // 12080: the newest CUDA it serves is 12.8
  std::string version_text() const;         // "12.8"

  int device_count() const;
  /// InputError when there is no device of this number.
  DeviceInfo describe(int ordinal) const;

 private:
  std::string path_;
  DriverApi api_;
  int version_ = 0;
};

struct DeviceMemoryUse {
  size_t free = 0, total = 0;  // bytes
};

/// A device in use: its primary context, which other libraries in this process share. All objects made with it must be
/// gone before it. Calls may come from any thread.
class Device {
 public:
  Device(const Driver& driver, int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  const DriverApi& api() const { return driver_.api(); }
  const DeviceInfo& info() const { return info_; }
  std::string str() const;  // "cuda:0 (NVIDIA H100 PCIe)"
  DeviceMemoryUse memory() const;
  /// Whether a kernel may begin before the one before it has ended, in captured graphs, too: from compute capability 9.0
  /// and drivers for CUDA 12.3 on.
  bool begins_kernels_early() const { return info_.major >= 9 && driver_.version() >= 12030; }

  /// Makes this device the calling thread's. Whatever uses a device calls it first.
  void enter() const { expect(try_to_enter(), "use the device"); }
  Status try_to_enter() const { return api().cuCtxSetCurrent(context_); }

  /// Throws unless the status is good. `tried` and `subject` complete "cannot ...": "launch", "k5".
  void expect(Status status, const char* tried, std::string_view subject = {}) const {
    if (status != kSuccess) [[unlikely]]
      fail(status, tried, subject);
  }
  [[noreturn]] void fail(Status status, const char* tried, std::string_view subject) const;
  [[noreturn]] void fail_out_of_memory(const std::string& tried, size_t asked) const;

 private:
  const Driver& driver_;
  DeviceInfo info_;
  int handle_ = 0;
  ContextHandle context_ = nullptr;
};

/// A handle of the driver that is given back when its owner goes.
template <class Handle, auto Release>
class Owned {
 public:
  Owned() = default;
  Owned(const Device& device, Handle handle) : device_(&device), handle_(handle) {}
  Owned(Owned&& other) noexcept : device_(other.device_), handle_(other.handle_) { other.device_ = nullptr; }
  Owned& operator=(Owned&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (device_ == nullptr) return;
    // Statuses are of no use here: a lost device refuses both, and what it held went with it.
    device_->try_to_enter();
    (device_->api().*Release)(handle_);
  }

  const Device& device() const { return *device_; }
  Handle get() const { return handle_; }

 private:
  const Device* device_ = nullptr;
  Handle handle_{};
};

}  // namespace mambac::cuda
