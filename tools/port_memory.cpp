#include "tools/port_memory.h"

#include <algorithm>
#include <cstring>

#include "passes/plan.h"
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

size_t bytes_of(const Port& port) {
  return static_cast<size_t>(port.elements) * mambac::bytes_of(port.dtype);
}

/// Elements that are drawn; what is larger repeats them. No dimension is a multiple of that, so that rows differ.
constexpr int64_t kDrawn = (int64_t{1} << 22) - 3;

void repeat(const Port& port, void* to) {
  const size_t whole = bytes_of(port), drawn = static_cast<size_t>(kDrawn) * mambac::bytes_of(port.dtype);
  for (size_t done = drawn; done < whole; done += std::min(done, whole - done))
    std::memcpy(static_cast<char*>(to) + done, to, std::min(done, whole - done));
}

void draw(const Port& port, const Node* param, const Filling& filling, uint64_t stream, void* to) {
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

void fill(Port port, const Node* param, const Filling& filling, uint64_t stream, void* to) {
  const Port whole = port;
  const bool initialised = param && param->param.init.kind != Initialiser::none;
  if (!initialised) port.elements = std::min(port.elements, kDrawn);
  draw(port, param, filling, stream, to);
  if (port.elements < whole.elements) repeat(whole, to);
}

}  // namespace

void PortMemory::place(const std::vector<Port>& ports, Device& device) {
  std::map<std::string, int64_t> offsets;
  int64_t total = 0;
  for (const Port& port : ports) {
    const auto bytes = static_cast<int64_t>(bytes_of(port));
    const int64_t place = place_of_value(memory_.size() + offsets.size(), bytes, total);
    if (has(port.name))
      check(memory_.at(port.name).bytes() >= bytes_of(port), "PortMemory: a port of the same name and another size");
    else if (offsets.emplace(port.name, place).second)
      total = place + std::max<int64_t>(bytes, 1);
  }
  pieces_.push_back(DeviceArray<char>::zeroed(device, total));
  for (const Port& port : ports)
    if (const auto offset = offsets.find(port.name); offset != offsets.end())
      memory_[port.name] = pieces_.back().part(offset->second, static_cast<int64_t>(bytes_of(port)));
}

void PortMemory::bind(Executable& executable, const Port& port) {
  place({port}, executable.device());
  bind_memory(executable, port.name, at(port.name));
}

void PortMemory::bind(Executable& executable) {
  for (const auto* ports : {&executable.inputs(), &executable.outputs()}) {
    place(*ports, executable.device());
    for (const Port& port : *ports) bind_memory(executable, port.name, at(port.name));
  }
}

int64_t integers_below(const Graph& graph) {
  int64_t below = Filling{}.below;
  bool found = false;
  for (const Node& node : graph.nodes())
    for (const DimId d : node.attrs.dims) {
      if ((node.op != Op::Gather && node.op != Op::Scatter) || graph.dim(d).is_free()) continue;
      below = found ? std::min(below, graph.dim(d).size) : graph.dim(d).size;
      found = true;
    }
  return below;
}

void fill_inputs(const Graph& graph, const Executable& executable, const PortMemory& memory, const Filling& filling) {
  std::vector<const Port*> ports;
  std::vector<DeviceSpan<char>> spans;
  for (const Port& port : executable.inputs()) {
    if (!memory.has(port.name)) continue;
    ports.push_back(&port);
    spans.push_back(memory.at(port.name).part(0, static_cast<int64_t>(bytes_of(port))));
  }
  fill_in_parallel(spans, [&](size_t i, char* to) {
    fill(*ports[i], parameter(graph, ports[i]->name), filling, i + 1, to);
  });
}

}  // namespace mambac::tools
