#include "ir/eval.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/eval_rules.h"

namespace mambac {

namespace {

void dispatch(evaluator::Evaluation& e) {
  switch (e.node.op) {
#define OP(e_, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  case Op::e_:                                                                                             \
    return evaluator::eval_##eval(e);
#include "ir/ops.def"
#undef OP
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

const Array& given(const Arrays& values, const Node& node, const std::vector<int64_t>& shape, const std::string& type) {
  auto found = values.find(node.name);
  if (found == values.end()) {
    throw InputError(node.location, fmt::format("{} '{}' is missing; expected {} of shape {}", name_of(node.op),
                                                node.name, type, shape_text(shape)));
  }
  const Array& array = found->second;
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  if (array.shape != shape || static_cast<int64_t>(array.data.size()) != elements) {
    throw InputError(node.location,
                     fmt::format("{} '{}': found shape {} with {} elements, expected {} of shape {}", name_of(node.op),
                                 node.name, shape_text(array.shape), array.data.size(), type, shape_text(shape)));
  }
  return array;
}

void round_array(DType dtype, Array& array) {
  for (double& value : array.data) value = round_to(dtype, value);
}

/// Nearest value with `bits` of precision, exponents from `lowest` on, at most `largest`; ties to even.
double round_float(double value, int bits, int lowest, double largest) {
  if (value == 0 || !std::isfinite(value)) return value;
  double unit = std::ldexp(1.0, std::max(std::ilogb(value), lowest) - bits + 1);
  double rounded = std::nearbyint(value / unit) * unit;
  return std::abs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), value) : rounded;
}

}  // namespace

double round_to(DType dtype, double value) {
  switch (dtype) {
    case DType::f32:
      return static_cast<float>(value);
    case DType::bf16:
      return round_float(value, 8, -126, 0x1.fep127);
    case DType::f16:
      return round_float(value, 11, -14, 65504);
    case DType::i32:
    case DType::u8:
      return value;
  }
  return value;
}

std::vector<int64_t> shape_of(const Graph& graph, const Type& type, const Bindings& bindings) {
  std::vector<int64_t> shape;
  for (DimId dim : type.dims) shape.push_back(size_of(graph, dim, bindings));
  return shape;
}

std::vector<size_t> last_uses(const Graph& graph) {
  std::vector<size_t> last(graph.size(), kNeverUsed);
  for (const Output& output : graph.outputs()) last[output.value.index] = graph.size();
  for (size_t i = graph.size(); i-- > 0;) {
    if (last[i] == kNeverUsed) continue;
    for (NodeId operand : graph.nodes()[i].operands) {
      if (operand.present() && last[operand.index] == kNeverUsed) last[operand.index] = i;
    }
  }
  return last;
}

Array evaluate_node(const Graph& graph, NodeId id, const Bindings& bindings, const std::vector<Array>& values) {
  const Node& node = graph.node(id);
  check(node.op != Op::Input && node.op != Op::Param, "evaluate_node: a value that comes from outside");
  Array result{shape_of(graph, node.type, bindings), {}};
  result.data.assign(static_cast<size_t>(elements_of(graph, node.type, bindings)), 0.0);
  evaluator::Evaluation evaluation{graph, bindings, values, node, result};
  dispatch(evaluation);
  return result;
}

Arrays evaluate(const Graph& graph, const Bindings& bindings, const Arrays& arrays, const EvalOptions& options) {
  std::vector<Array> values(graph.size());
  std::vector<size_t> last = last_uses(graph);
  for (size_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    const bool from_outside = node.op == Op::Input || node.op == Op::Param;
    const std::string type = from_outside ? type_text(graph, node.type) : "";
    const Array* outside = from_outside ? &given(arrays, node, shape_of(graph, node.type, bindings), type) : nullptr;
    if (last[i] == kNeverUsed) continue;
    values[i] = outside ? *outside : evaluate_node(graph, NodeId{static_cast<uint32_t>(i)}, bindings, values);
    if (options.round_storage && (node.type.dtype == DType::bf16 || node.type.dtype == DType::f16)) {
      round_array(node.type.dtype, values[i]);
    }
    for (NodeId operand : node.operands) {
      if (operand.present() && last[operand.index] == i) values[operand.index] = {};
    }
  }
  Arrays outputs;
  for (const Output& output : graph.outputs()) outputs[output.name] = values[output.value.index];
  return outputs;
}

}  // namespace mambac
