// The memory of a recurrent model between bytes: scan states and window histories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "runtime/device_array.h"

namespace mambac {

/// Named buffers, one for each input "state.<name>" of an executable; its output "state.<name>.next" is the state after
/// the run. Prefill and step share one. Its size does not depend on how many bytes the model has read.
///
/// There are two sets of buffers in the memory of a device: a run reads one and writes the other, then they change
/// places.
class State {
 public:
  /// The state before the first byte: zeros, unless begin_with() says otherwise.
  State(Device& device, const std::vector<Port>& inputs);
  State clone() const;

  /// Binds the executable's state inputs to the current buffers and its state outputs to the next ones. InternalError
  /// when it has other states than this or another device.
  void bind(Executable& executable);
  /// After a run: what was written is now current.
  void advance() { std::swap(current_, next_); }
  /// The state before the first byte again.
  void reset();
  /// Makes that state from now on: runs an executable with outputs "state.<name>", those that are not 0.
  void begin_with(Executable& first);

  /// Bytes of the current set.
  size_t bytes() const { return current_.bytes(); }

  /// Writes a safetensors file; restore() reads one with the same names, types and shapes (InputError otherwise).
  void save(const std::filesystem::path& path) const;
  void restore(const std::filesystem::path& path);

 private:
  struct Slot {
    Port port;
    std::string next_name;
    int64_t offset, bytes;
  };

  static DeviceSpan<uint8_t> place(const DeviceSpan<uint8_t>& memory, const Slot& slot) {
    return memory.part(slot.offset, slot.bytes);
  }

  std::vector<Slot> slots_;
  DeviceArray<uint8_t> current_, next_;
  DeviceArray<uint8_t> first_;  // before the first byte; empty: zeros
};

}  // namespace mambac
