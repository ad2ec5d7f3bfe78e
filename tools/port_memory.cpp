#include "tools/port_memory.h"

#include <algorithm>

#include "runtime/element_type.h"
#include "runtime/initialise.h"
#include "runtime/rng.h"

namespace mambac::tools {
namespace {

const Node* parameter(const Graph& graph, const std::string& name) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param && node.param.checkpoint_name == name) return &node;
  return nullptr;
}

void fill(const Port& port, const Node* param, const Filling& filling, uint64_t stream, void* to) {
  Rng rng(1, stream);
  if (!is_float(port.dtype)) {
    for (int64_t i = 0; i < port.elements; ++i) {
      const auto value = static_cast<int32_t>(rng.uniform() * static_cast<double>(filling.below));
      if (port.dtype == DType::u8) static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(value);
      else static_cast<int32_t*>(to)[i] = value;
    }
    return;
  }
  std::vector<float> values(static_cast<size_t>(port.elements));
  if (param && param->param.init.kind != Initialiser::none) {
    initialise(param->param.init, port.name, port.shape, 1, values);
  } else {
    const auto range = filling.ranges.find(port.name);
    const Filling::Range r = range == filling.ranges.end() ? Filling::Range{} : range->second;
    for (float& value : values) value = static_cast<float>(r.low + (r.high - r.low) * rng.uniform());
  }
  from_f32(values.data(), port.elements, element_type_of(port.dtype), to);
}

}  // namespace

void PortMemory::bind(Executable& executable, const Port& port) {
  auto [entry, fresh] = memory_.try_emplace(port.name);
  const size_t bytes = static_cast<size_t>(port.elements) * bytes_of(port.dtype);
  if (fresh) entry->second = ZeroedMemory(std::max<size_t>(bytes, 64));
  check(entry->second.bytes() >= bytes, "PortMemory: a port of the same name and another size");
  executable.bind(port.name, entry->second.data());
}

void PortMemory::bind(Executable& executable) {
  for (const Port& port : executable.inputs()) bind(executable, port);
  for (const Port& port : executable.outputs()) bind(executable, port);
}

void PortMemory::alias(Executable& executable, const std::string& name, const std::string& other) {
  executable.bind(name, at(other));
}

void fill_inputs(const Graph& graph, const Executable& executable, const PortMemory& memory, const Filling& filling) {
  uint64_t stream = 0;
  for (const Port& port : executable.inputs()) {
    ++stream;
    if (memory.has(port.name)) fill(port, parameter(graph, port.name), filling, stream, memory.at(port.name));
  }
}

}  // namespace mambac::tools
