#include "tests/device_check.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "codegen/loop_interpret.h"
#include "ir/verify.h"

namespace mambac::test {

namespace {

/// Elements of an array in the type of a port, in memory aligned like a caller's.
std::vector<char> packed(const Port& port, const Array& array) {
  std::vector<char> memory(static_cast<size_t>(port.elements) * bytes_of(port.dtype) + 64);
  for (size_t i = 0; i < array.data.size(); ++i) {
    const double x = array.data[i];
    switch (port.dtype) {
      case DType::f32: reinterpret_cast<float*>(memory.data())[i] = static_cast<float>(x); break;
      case DType::i32: reinterpret_cast<int32_t*>(memory.data())[i] = static_cast<int32_t>(x); break;
      case DType::u8: reinterpret_cast<uint8_t*>(memory.data())[i] = static_cast<uint8_t>(x); break;
      default: {
        const float f = static_cast<float>(round_to(port.dtype, x));
        check(port.dtype == DType::bf16, "tests bind f32, bf16, i32 and u8");
        uint32_t bits;
        std::memcpy(&bits, &f, 4);
        reinterpret_cast<uint16_t*>(memory.data())[i] = static_cast<uint16_t>(bits >> 16);
      }
    }
  }
  return memory;
}

Array unpacked(const Port& port, const std::vector<char>& memory) {
  Array array{port.shape, std::vector<double>(static_cast<size_t>(port.elements))};
  for (size_t i = 0; i < array.data.size(); ++i) {
    if (port.dtype == DType::f32) {
      array.data[i] = static_cast<double>(reinterpret_cast<const float*>(memory.data())[i]);
    } else {
      const uint32_t bits = static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(memory.data())[i]) << 16;
      float f;
      std::memcpy(&f, &bits, 4);
      array.data[i] = static_cast<double>(f);
    }
  }
  return array;
}

std::string node_name(const Graph& graph, const std::string& port) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param && node.param.checkpoint_name == port) return node.name;
  return port;
}

/// Interprets every kernel on zeros: no access may leave its buffer, no array element be read before it is written.
void check_bounds(const CpuProgram& program, const Bindings& bindings) {
  for (const LoweredKernel& lowered : program.lowered()) {
    std::vector<int64_t> sizes, elements;
    for (const std::string& name : lowered.kernel.sizes) sizes.push_back(bindings.at(name));
    std::vector<std::vector<char>> memory;
    std::vector<void*> pointers;
    for (size_t i = 0; i < lowered.buffers.size(); ++i) {
      const NodeId root = lowered.buffers[i].root;
      elements.push_back(root.present() ? elements_of(program.graph(), program.graph().node(root).type, bindings)
                                        : loop::evaluate(lowered.buffers[i].elements, {}, sizes));
      memory.emplace_back(static_cast<size_t>(elements.back()) * 4 + 64, '\0');
    }
    for (auto& m : memory) pointers.push_back(m.data());
    loop::interpret(lowered.kernel, pointers.data(), sizes.data(), elements.data());
  }
}

}  // namespace

Arrays run_on_cpu(const CpuProgram& program, const Bindings& bindings, const Arrays& values) {
  std::unique_ptr<Executable> executable = program.instantiate(bindings);
  std::vector<std::vector<char>> memory;
  for (const Port& port : executable->inputs()) {
    memory.push_back(packed(port, values.at(node_name(program.graph(), port.name))));
    executable->bind(port.name, memory.back().data());
  }
  std::vector<std::vector<char>> results;
  for (const Port& port : executable->outputs()) {
    results.emplace_back(static_cast<size_t>(port.elements) * bytes_of(port.dtype) + 64, static_cast<char>(0xff));
    executable->bind(port.name, results.back().data());
  }
  executable->run();
  executable->run();  // the second run sees the memory of the first: nothing may depend on it
  Arrays outputs;
  for (size_t i = 0; i < results.size(); ++i)
    outputs[executable->outputs()[i].name] = unpacked(executable->outputs()[i], results[i]);
  return outputs;
}

std::string check_on_cpu(const Graph& graph, const Bindings& bindings, const Arrays& values,
                         const CheckOptions& options) {
  Remarks remarks;
  Graph fused = fuse(graph, options.fuse, remarks);
  verify(fused);
  const Arrays expected = evaluate(graph, bindings, values);
  const Arrays meant = evaluate(fused, bindings, values);
  std::string worst;
  const double changed = difference(meant, expected, 1e-9, 1e-9, &worst);
  if (!(changed <= 1)) return fmt::format("fusion changed the meaning: {} differs by {}", worst, changed);
  const CpuProgram program(std::move(fused), options.schedule);
  if (options.bounds) check_bounds(program, bindings);
  Arrays found = run_on_cpu(program, bindings, values);
  for (auto& [name, array] : found) {  // gradients may be laid out like their parameter
    const Array& want = expected.at(name);
    if (array.shape == want.shape || array.data.size() != want.data.size()) continue;
    const Graph& g = program.graph();
    for (const Output& output : g.outputs()) {
      if (output.name != name) continue;
      const std::vector<DimId>& layout = program.layouts().of(g, output.value);
      const std::vector<DimId>& dims = g.node(output.value).type.dims;
      Array moved{want.shape, std::vector<double>(array.data.size())};
      for (size_t i = 0; i < array.data.size(); ++i) {
        std::map<DimId, int64_t> index;
        int64_t rest = static_cast<int64_t>(i);
        for (size_t k = layout.size(); k-- > 0;) {
          const int64_t size = size_of(g, layout[k], bindings);
          index[layout[k]] = rest % size;
          rest /= size;
        }
        int64_t at = 0;
        for (DimId d : dims) at = at * size_of(g, d, bindings) + index[d];
        moved.data[static_cast<size_t>(at)] = array.data[i];
      }
      array = moved;
    }
  }
  std::string message;
  for (const auto& [name, want] : expected) {
    // The absolute part follows the size of the output's values: a sum over many steps rounds in proportion.
    double squares = 0;
    for (double x : want.data) squares += x * x;
    const double scale = std::max(1.0, std::sqrt(squares / static_cast<double>(std::max<size_t>(1, want.data.size()))));
    const double d = difference(found.at(name), want, options.relative, options.absolute * scale);
    if (!(d <= 1)) message += fmt::format("{} differs by {} tolerances; ", name, d);
  }
  return message;
}

}  // namespace mambac::test
