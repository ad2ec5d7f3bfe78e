#include "runtime/parameters.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/round_up.h"
#include "ir/trace.h"
#include "runtime/initialise.h"

namespace mambac {
namespace {

constexpr int64_t kLineBytes = 64;           // bytes
constexpr int64_t kFloats = kLineBytes / 4;  // that many floats
constexpr int64_t kDecayedMultiple = 1024;

int64_t port_bytes(const Port& port) {
  return port.elements * static_cast<int64_t>(bytes_of(port.dtype));
}

}  // namespace

ParameterLayout::ParameterLayout(std::vector<ParameterSpec> parameters)
    : parameters_(std::move(parameters)), offsets_(parameters_.size()), elements_(parameters_.size()) {
  for (const bool decay : {true, false}) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].weight_decay != decay) continue;
      const auto elements = element_count(parameters_[i].shape);
      check(elements.has_value(), "ParameterLayout: a shape that is too large");
      check(index_.emplace(parameters_[i].name, i).second, "ParameterLayout: a name given twice");
      offsets_[i] = size_;
      elements_[i] = *elements;
      count_ += *elements;
      size_ += round_up(*elements, kFloats);
    }
    if (decay) decayed_ = size_ = round_up(size_, kDecayedMultiple);
  }
}

int64_t ParameterLayout::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? -1 : static_cast<int64_t>(found->second);
}

void ParameterLayout::initialise(uint64_t seed, const DeviceSpan<float>& values) const {
  std::vector<DeviceSpan<float>> parts;
  for (size_t i = 0; i < parameters_.size(); ++i) parts.push_back(part(i, values));
  fill_in_parallel(parts, [&](size_t i, float* to) {
    mambac::initialise(parameters_[i].init, parameters_[i].name, parameters_[i].shape, seed,
                       {to, static_cast<size_t>(elements_[i])});
  });
}

void ParameterLayout::load(const SafetensorsFile& file, const DeviceSpan<float>& values) const {
  for (size_t i = 0; i < parameters_.size(); ++i)
    part(i, values).fill(
        [&](float* to) { file.read(parameters_[i].name, parameters_[i].shape, ElementType::f32, to); });
}

std::vector<TensorToWrite> ParameterLayout::tensors(const DeviceSpan<float>& values, const std::string& prefix) const {
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < parameters_.size(); ++i)
    tensors.push_back({prefix + parameters_[i].name, ElementType::f32, parameters_[i].shape, part(i, values).data(),
                       &values.device()});
  return tensors;
}

void ParameterLayout::bind(Executable& executable, const DeviceSpan<float>& values) const {
  for (const Port& input : executable.inputs()) {
    const int64_t i = find(input.name);
    if (i < 0) continue;
    check(input.dtype == DType::f32 && input.elements == elements_[static_cast<size_t>(i)],
          "ParameterLayout: an executable wants a parameter in another type or size");
    bind_memory(executable, input.name, part(static_cast<size_t>(i), values));
  }
}

void ParameterLayout::bind_gradients(Executable& executable, const DeviceSpan<float>& gradients) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Port& output = port(executable.outputs(), "grad." + parameters_[i].name, DType::f32);
    check(output.elements == elements_[i], "ParameterLayout: a gradient of another size than its parameter");
    bind_memory(executable, output.name, part(i, gradients));
  }
}

Weights::Weights(const SafetensorsFile& file, std::vector<Port> ports, Device& device) : ports_(std::move(ports)) {
  const trace::Span span("data", "read weights");
  int64_t bytes = 0;
  for (const Port& wanted : ports_) {
    offsets_.push_back(bytes);
    bytes += round_up(port_bytes(wanted), kLineBytes);
  }
  memory_ = DeviceArray<uint8_t>(device, bytes);
  for (size_t i = 0; i < ports_.size(); ++i)
    part(i).fill(
        [&](uint8_t* to) { file.read(ports_[i].name, ports_[i].shape, element_type_of(ports_[i].dtype), to); });
}

DeviceSpan<uint8_t> Weights::part(size_t i) const {
  return memory_.part(offsets_[i], port_bytes(ports_[i]));
}

void Weights::bind(Executable& executable) const {
  for (size_t i = 0; i < ports_.size(); ++i) {
    const auto input = std::ranges::find(executable.inputs(), ports_[i].name, &Port::name);
    if (input == executable.inputs().end()) continue;
    check(input->dtype == ports_[i].dtype && input->elements == ports_[i].elements,
          "Weights: an executable wants a parameter in another type or size");
    bind_memory(executable, input->name, part(i));
  }
}

std::vector<Port> weight_ports(const Executable& executable) {
  std::vector<Port> ports;
  for (const Port& input : executable.inputs())
    if (input.name != "bytes" && input.name != "targets" && !input.name.starts_with("state.")) ports.push_back(input);
  return ports;
}

const Port& port(const std::vector<Port>& ports, std::string_view name, DType dtype) {
  const auto found = std::ranges::find(ports, name, &Port::name);
  if (found == ports.end() || found->dtype != dtype)
    throw InternalError(fmt::format("an executable lacks the port '{}' of type {}", name, name_of(dtype)));
  return *found;
}

}  // namespace mambac
