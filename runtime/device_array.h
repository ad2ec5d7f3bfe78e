// Typed memory of a device: what executables are bound to, and its way from and to the host.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/device.h"
#include "runtime/executable.h"
#include "runtime/parallel.h"

namespace mambac {

/// A part of a device's memory, not owned. Its address is the device's: the host may compute with it and bind it, but
/// reaches what lies there through the functions here only.
template <typename T>
class DeviceSpan {
 public:
  DeviceSpan() = default;
  DeviceSpan(Device& device, T* data, int64_t size) : device_(&device), data_(data), size_(size) {}

  Device& device() const { return *device_; }
  T* data() const { return data_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * sizeof(T); }
  /// The elements [first, first + count).
  DeviceSpan part(int64_t first, int64_t count) const {
    check(first >= 0 && count >= 0 && count <= size_ - first, "DeviceSpan: a part that is not within");
    return {*device_, data_ + first, count};
  }

  /// size() elements from and to the host's memory.
  void upload(const T* from) const {
    if (size_ > 0) device_->upload(data_, from, bytes());
  }
  void download(T* to) const {
    if (size_ > 0) device_->download(to, data_, bytes());
  }
  /// From memory of the same device and size.
  void copy(const DeviceSpan& from) const {
    check(from.device_ == device_ && from.size_ == size_, "DeviceSpan: a copy from another device or of another size");
    if (size_ > 0) device_->copy(data_, from.data_, bytes());
  }
  void zero() const {
    if (size_ > 0) device_->zero(data_, bytes());
  }
  /// `write(T*)` fills host memory of size() elements, which lie here afterwards: at once where the device's memory is
  /// the host's, else through a buffer.
  template <typename Write>
  void fill(const Write& write) const {
    if (size_ == 0) return;
    if (device_->memory_is_host()) return write(data_);
    const auto staged = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(size_));
    write(staged.get());
    upload(staged.get());
  }

 private:
  Device* device_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

/// `write(i, T*)` fills host memory for the i-th of the spans, several at a time, as DeviceSpan::fill does for one.
template <typename T, typename Write>
void fill_in_parallel(const std::vector<DeviceSpan<T>>& spans, const Write& write) {
  constexpr size_t kMostStaged = size_t{1} << 30;  // bytes in buffers, unless one span has more
  for (size_t first = 0, end = 0; first < spans.size(); first = end) {
    std::vector<std::unique_ptr<T[]>> staged;
    for (size_t bytes = 0; end < spans.size() && (end == first || bytes + spans[end].bytes() <= kMostStaged); ++end) {
      const bool direct = spans[end].size() == 0 || spans[end].device().memory_is_host();
      staged.push_back(direct ? nullptr : std::make_unique_for_overwrite<T[]>(static_cast<size_t>(spans[end].size())));
      bytes += spans[end].bytes();
    }
    for_each_in_parallel(staged.size(), [&](size_t i) {
      write(first + i, staged[i] ? staged[i].get() : spans[first + i].data());
    });
    for (size_t i = 0; i < staged.size(); ++i)
      if (staged[i]) spans[first + i].upload(staged[i].get());
  }
}

/// Memory of a device that lives as long as this object; the device must outlive it.
template <typename T>
class DeviceArray : public DeviceSpan<T> {
 public:
  DeviceArray() = default;
  /// Its content is undefined. EnvironmentError when the device has not that much.
  DeviceArray(Device& device, int64_t size)
      : DeviceArray(device, size, size > 0 ? device.allocate(bytes_for(size)) : nullptr) {}
  /// The same, filled with zeros; on the CPU it is resident only where it has been written.
  static DeviceArray zeroed(Device& device, int64_t size) {
    return {device, size, size > 0 ? device.allocate_zeroed(bytes_for(size)) : nullptr};
  }
  DeviceArray(DeviceArray&& other) noexcept { swap(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    swap(other);
    return *this;
  }

 private:
  DeviceArray(Device& device, int64_t size, std::unique_ptr<DeviceMemory> memory)
      : DeviceSpan<T>(device, memory ? static_cast<T*>(memory->data()) : nullptr, size), memory_(std::move(memory)) {}

  static int64_t bytes_for(int64_t size) { return size * static_cast<int64_t>(sizeof(T)); }
  void swap(DeviceArray& other) noexcept {
    std::swap(static_cast<DeviceSpan<T>&>(*this), static_cast<DeviceSpan<T>&>(other));
    std::swap(memory_, other.memory_);
  }

  std::unique_ptr<DeviceMemory> memory_;
};

/// An array of a device beside one of the host, for what the host writes before a run or reads after it. Where the
/// device's memory is the host's, the two are one and nothing is copied. Both are zero at first.
template <typename T>
class MirroredArray {
 public:
  MirroredArray() = default;
  MirroredArray(Device& device, int64_t size) : array_(DeviceArray<T>::zeroed(device, size)) {
    if (!device.memory_is_host()) copy_ = std::make_unique<T[]>(static_cast<size_t>(size));
  }

  T* host() const { return copy_ ? copy_.get() : array_.data(); }
  const DeviceSpan<T>& on_device() const { return array_; }
  size_t bytes() const { return array_.bytes(); }
  void upload() const {
    if (!copy_) return;
    const trace::Span span("copy", "upload");
    array_.upload(copy_.get());
  }
  void download() const { download(0, array_.size()); }
  void download(int64_t first, int64_t count) const {
    if (!copy_) return;
    const trace::Span span("copy", "download");
    array_.part(first, count).download(copy_.get() + first);
  }

 private:
  DeviceArray<T> array_;
  std::unique_ptr<T[]> copy_;
};

/// Binds a port to memory of the executable's own device; InternalError when it is another's.
template <typename T>
void bind_memory(Executable& executable, std::string_view name, const DeviceSpan<T>& memory) {
  check(&executable.device() == &memory.device(), "bind_memory: memory of another device than the executable's");
  executable.bind(name, memory.data());
}

}  // namespace mambac
