#include "tools/port_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "runtime/element_type.h"

namespace mambac::tools {
namespace {

/// The value in the port's type.
void store(const Port& port, const Array& value, void* to) {
  for (size_t i = 0; i < value.data.size(); ++i) {
    const double x = value.data[i];
    if (port.dtype == DType::u8)
      static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(x);
    else if (port.dtype == DType::i32)
      static_cast<int32_t*>(to)[i] = static_cast<int32_t>(x);
  }
  if (!is_float(port.dtype)) return;
  const std::vector<float> floats(value.data.begin(), value.data.end());
  from_f32(floats.data(), port.elements, element_type_of(port.dtype), to);
}

/// Parameters go by their checkpoint name in executables, and by their own in graphs.
std::string node_name(const Graph& graph, const std::string& port) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param && node.param.checkpoint_name == port) return node.name;
  return port;
}

}  // namespace

Array in_memory_order(const Graph& graph, const Layouts& layouts, NodeId id, const Array& array) {
  const std::vector<DimId>&from = graph.node(id).type.dims, &to = layouts.of(graph, id);
  if (from == to) return array;
  Array moved{{}, std::vector<double>(array.data.size())};
  std::vector<int64_t> strides(to.size());  // of the type's order, by dimension of memory
  for (size_t i = 0; i < to.size(); ++i) {
    const auto at = static_cast<size_t>(std::ranges::find(from, to[i]) - from.begin());
    strides[i] = 1;
    for (size_t k = at + 1; k < from.size(); ++k) strides[i] *= array.shape[k];
    moved.shape.push_back(array.shape[at]);
  }
  for (size_t place = 0; place < moved.data.size(); ++place) {
    auto rest = static_cast<int64_t>(place);
    int64_t source = 0;
    for (size_t i = to.size(); i-- > 0; rest /= moved.shape[i]) source += rest % moved.shape[i] * strides[i];
    moved.data[place] = array.data[static_cast<size_t>(source)];
  }
  return moved;
}

std::vector<double> numbers_of(DType dtype, const void* from, int64_t elements) {
  if (dtype == DType::u8) {
    const auto* bytes = static_cast<const uint8_t*>(from);
    return {bytes, bytes + elements};
  }
  if (dtype == DType::i32) {
    const auto* words = static_cast<const int32_t*>(from);
    return {words, words + elements};
  }
  std::vector<float> floats(static_cast<size_t>(elements));
  to_f32(element_type_of(dtype), from, elements, floats.data());
  return {floats.begin(), floats.end()};
}

void fill_inputs(const Graph& graph, const Executable& executable, const PortMemory& memory, const Arrays& values) {
  const Layouts layouts(graph);
  for (const Port& port : executable.inputs()) {
    const auto value = values.find(node_name(graph, port.name));
    if (value == values.end())
      throw InternalError(fmt::format("the executable wants {}, which has no value", port.name));
    const std::optional<NodeId> node = graph.find(value->first);  // none of what the passes added: seeds
    const Array ordered = node ? in_memory_order(graph, layouts, *node, value->second) : value->second;
    memory.at(port.name).fill([&](char* to) { store(port, ordered, to); });
  }
}

Arrays read_outputs(const Executable& executable, const PortMemory& memory) {
  Arrays results;
  for (const Port& port : executable.outputs()) {
    std::vector<char> bytes(memory.at(port.name).bytes());
    memory.at(port.name).download(bytes.data());
    results[port.name] = {port.shape, numbers_of(port.dtype, bytes.data(), port.elements)};
  }
  return results;
}

std::string place_text(const std::vector<int64_t>& shape, size_t element) {
  std::vector<int64_t> index(shape.size());
  auto rest = static_cast<int64_t>(element);
  for (size_t i = index.size(); i-- > 0;) {
    index[i] = rest % shape[i];
    rest /= shape[i];
  }
  return shape_text(index);
}

}  // namespace mambac::tools
