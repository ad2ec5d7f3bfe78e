#include "runtime/state.h"

#include <algorithm>

#include "ir/error.h"
#include "runtime/safetensors.h"

namespace mambac {

State::State(Device& device, const std::vector<Port>& inputs) {
  int64_t bytes = 0;
  for (const Port& input : inputs) {
    if (!input.name.starts_with("state.")) continue;
    slots_.push_back(
        {input, input.name + ".next", bytes, input.elements * static_cast<int64_t>(bytes_of(input.dtype))});
    bytes += (slots_.back().bytes + 63) / 64 * 64;
  }
  current_ = DeviceArray<uint8_t>::zeroed(device, bytes);
  next_ = DeviceArray<uint8_t>(device, bytes);
}

State State::clone() const {
  std::vector<Port> ports;
  for (const Slot& slot : slots_) ports.push_back(slot.port);
  State copy(current_.device(), ports);
  copy.current_.copy(current_);
  if (first_.size() == 0) return copy;
  copy.first_ = DeviceArray<uint8_t>(first_.device(), first_.size());
  copy.first_.copy(first_);
  return copy;
}

void State::bind(Executable& executable) {
  const auto is_state = [](const Port& port) { return port.name.starts_with("state."); };
  check(std::ranges::count_if(executable.inputs(), is_state) == static_cast<std::ptrdiff_t>(slots_.size()),
        "State: the executable has another number of states");
  for (const Slot& slot : slots_) {
    bind_memory(executable, slot.port.name, place(current_, slot));
    bind_memory(executable, slot.next_name, place(next_, slot));
  }
}

void State::reset() {
  if (first_.size() > 0)
    current_.copy(first_);
  else
    current_.zero();
}

void State::begin_with(Executable& first) {
  first_ = DeviceArray<uint8_t>::zeroed(current_.device(), current_.size());
  for (const Slot& slot : slots_)
    if (std::ranges::find(first.outputs(), slot.port.name, &Port::name) != first.outputs().end())
      bind_memory(first, slot.port.name, place(first_, slot));
  first.run();
  first_.device().synchronize();
  reset();
}

void State::save(const std::filesystem::path& path) const {
  std::vector<TensorToWrite> tensors;
  for (const Slot& slot : slots_)
    tensors.push_back({slot.port.name, element_type_of(slot.port.dtype), slot.port.shape, place(current_, slot).data(),
                       &current_.device()});
  write_safetensors(path, std::move(tensors), {});
}

void State::restore(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  for (const Slot& slot : slots_)
    place(current_, slot).fill([&](uint8_t* to) {
      file.read_exact(slot.port.name, slot.port.shape, element_type_of(slot.port.dtype), to);
    });
}

}  // namespace mambac
