#include "runtime/state.h"

#include <algorithm>
#include <cstring>

#include "ir/error.h"
#include "runtime/safetensors.h"

namespace mambac {

State::State(const std::vector<Port>& inputs) {
  size_t bytes = 0;
  for (const Port& input : inputs) {
    if (!input.name.starts_with("state.")) continue;
    slots_.push_back({input, input.name + ".next", bytes});
    bytes += (static_cast<size_t>(input.elements) * bytes_of(input.dtype) + 63) / 64 * 64;
  }
  current_ = ZeroedMemory(bytes);
  next_ = ZeroedMemory(bytes);
}

State State::clone() const {
  std::vector<Port> ports;
  for (const Slot& slot : slots_) ports.push_back(slot.port);
  State copy(ports);
  if (bytes()) std::memcpy(copy.current_.data(), current_.data(), bytes());
  return copy;
}

void State::bind(Executable& executable) {
  const auto is_state = [](const Port& port) { return port.name.starts_with("state."); };
  check(std::ranges::count_if(executable.inputs(), is_state) == static_cast<std::ptrdiff_t>(slots_.size()),
        "State: the executable has another number of states");
  for (const Slot& slot : slots_) {
    executable.bind(slot.port.name, place(current_, slot));
    executable.bind(slot.next_name, place(next_, slot));
  }
}

void State::reset() {
  if (bytes()) std::memset(current_.data(), 0, bytes());
}

void State::save(const std::filesystem::path& path) const {
  std::vector<TensorToWrite> tensors;
  for (const Slot& slot : slots_)
    tensors.push_back({slot.port.name, element_type_of(slot.port.dtype), slot.port.shape, place(current_, slot)});
  write_safetensors(path, std::move(tensors), {});
}

void State::restore(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  for (const Slot& slot : slots_)
    file.read_exact(slot.port.name, slot.port.shape, element_type_of(slot.port.dtype), place(current_, slot));
}

}  // namespace mambac
