#include "tools/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace mambac::tools {
namespace {

/// What the roundings of an op are relative to.
enum class RoundedSize : uint8_t {
  none,    // it moves, compares or negates: nothing is rounded
  result,  // the result
  terms,   // the same op on the absolute values of what it adds up
  curve,   // the result, and what the result changes by when an operand is rounded twice
};

/// One row of the table of roundings, each of 2^-24.
struct Rounding {
  Op op;
  RoundedSize of = RoundedSize::none;
  double each = 0;      // roundings of one element
  double per_root = 0;  // and as many for each root of the number of terms (steps of a scan)
};

constexpr double kRounding = 0x1p-24;
constexpr double kTiny = 0x1p-120;  // denormal numbers may count as 0, and so may what is made of a few

/// The table. Products and quotients are not always rounded once only (a GPU's quotient, a reciprocal root); a sum may
/// be made of a product that is not rounded before. Sums of many terms round partial sums, whose signs mostly differ.
constexpr auto kRoundings = std::to_array<Rounding>({
    {Op::Mul, RoundedSize::result, 4},       {Op::Div, RoundedSize::result, 4},
    {Op::Sqrt, RoundedSize::result, 4},      {Op::Rsqrt, RoundedSize::result, 4},
    {Op::Add, RoundedSize::terms, 2},        {Op::Sub, RoundedSize::terms, 2},
    {Op::Exp, RoundedSize::curve, 12},       {Op::Log, RoundedSize::curve, 12},
    {Op::Sigmoid, RoundedSize::curve, 12},   {Op::Tanh, RoundedSize::curve, 12},
    {Op::Softplus, RoundedSize::curve, 12},  {Op::Sin, RoundedSize::curve, 12},
    {Op::Cos, RoundedSize::curve, 12},       {Op::Sum, RoundedSize::terms, 4, 2},
    {Op::Dot, RoundedSize::terms, 4, 2},     {Op::PartDot, RoundedSize::terms, 4, 2},
    {Op::Scatter, RoundedSize::terms, 4, 2}, {Op::Scan, RoundedSize::terms, 4, 2},
    {Op::Overlap, RoundedSize::terms, 4, 2},
});

/// The row of an op.
const Rounding& rounding_of(Op op) {
  static constexpr Rounding kNone{Op::Const};
  const auto row = std::ranges::find(kRoundings, op, &Rounding::op);
  return row == kRoundings.end() ? kNone : *row;
}

/// How many numbers an element of the node is the sum of; the length of a scan.
double terms_of(const Graph& graph, const Node& node, const Bindings& sizes) {
  const auto size = [&](DimId d) { return static_cast<double>(size_of(graph, d, sizes)); };
  switch (node.op) {
    case Op::Scan:
      return size(node.attrs.dims[0]);
    case Op::Overlap:
      return size(node.attrs.dims[1]);
    case Op::PartDot:
      return size(node.attrs.dims[0]) / size(node.attrs.dims[1]);
    case Op::Scatter:
      return static_cast<double>(elements_of(graph, graph.node(node.operands[0]).type, sizes));
    default:
      break;
  }
  double terms = 1;
  for (DimId d : node.attrs.dims) terms *= size(d);
  return terms;
}

/// The node of its operands, each element of which becomes change(operand's position, element).
template <typename Change>
Array of_changed(const Graph& graph, NodeId id, const Bindings& sizes, const std::vector<Array>& values,
                 const Change& change) {
  std::vector<Array> changed(graph.size());
  const Node& node = graph.node(id);
  for (size_t k = 0; k < node.operands.size(); ++k) {
    const NodeId operand = node.operands[k];
    if (!operand.present() || !changed[operand.index].data.empty()) continue;
    Array& array = changed[operand.index] = values[operand.index];
    if (is_float(graph.node(operand).type.dtype))
      for (double& x : array.data) x = change(k, x);
  }
  return evaluate_node(graph, id, sizes, changed);
}

/// The sum of the absolute values of what the node adds up.
Array size_of_terms(const Graph& graph, NodeId id, const Bindings& sizes, const std::vector<Array>& values) {
  const bool subtracts = graph.node(id).op == Op::Sub;
  return of_changed(graph, id, sizes, values,
                    [&](size_t position, double x) { return subtracts && position == 1 ? -std::abs(x) : std::abs(x); });
}

}  // namespace

std::vector<double> rounding_bounds(const Graph& graph, NodeId id, const Bindings& sizes,
                                    const std::vector<Array>& values, const Array& result) {
  const Node& node = graph.node(id);
  const Rounding& rule = rounding_of(node.op);
  std::vector<double> bounds(result.data.size(), 0);
  if (rule.of == RoundedSize::none) return bounds;
  const double roundings =
      rule.each + (rule.per_root > 0 ? rule.per_root * std::sqrt(terms_of(graph, node, sizes)) : 0);
  const Array size = rule.of == RoundedSize::terms ? size_of_terms(graph, id, sizes, values) : result;
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = roundings * kRounding * std::abs(size.data[i]) + kTiny;
  if (rule.of != RoundedSize::curve) return bounds;
  constexpr double kMoved = 0x1p-16;  // small, and large enough for differences in float64
  const Array moved = of_changed(graph, id, sizes, values, [](size_t, double x) { return x * (1 + kMoved); });
  const double absolute = node.op == Op::Sin || node.op == Op::Cos ? 4 * kRounding : 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const double change = std::abs(moved.data[i] - result.data[i]) * (2 * kRounding / kMoved);
    bounds[i] += absolute + (std::isfinite(change) ? change : 0);
  }
  return bounds;
}

double storing_bound(DType dtype, double value) {
  if (dtype == DType::bf16) return std::max(std::abs(value) * 0x1p-8, 0x1p-134);
  if (dtype == DType::f16) return std::max(std::abs(value) * 0x1p-11, 0x1p-25);
  return 0;
}

}  // namespace mambac::tools
