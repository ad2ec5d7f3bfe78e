// The meaning of the ops that do not walk.
#include "ir/eval_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mambac::evaluator {

void eval_bound(Evaluation&) {
  throw InternalError("inputs and parameters are bound, not evaluated");
}

void eval_constant(Evaluation& e) {
  e.out.data[0] = e.node.attrs.number;
}

void eval_iota(Evaluation& e) {
  for (size_t i = 0; i < e.out.data.size(); ++i) e.out.data[i] = static_cast<double>(i);
}

void eval_extent(Evaluation& e) {
  e.out.data[0] = 1;
  for (DimId dim : e.node.attrs.dims) e.out.data[0] *= static_cast<double>(e.size(dim));
}

static double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

static double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

static double pointwise(Op op, double x, double y, double z) {
  switch (op) {
    case Op::Neg:
      return -x;
    case Op::Abs:
      return std::abs(x);
    case Op::Exp:
      return std::exp(x);
    case Op::Log:
      return std::log(x);
    case Op::Sqrt:
      return std::sqrt(x);
    case Op::Rsqrt:
      return 1 / std::sqrt(x);
    case Op::Sigmoid:
      return sigmoid(x);
    case Op::Tanh:
      return std::tanh(x);
    case Op::Softplus:
      return softplus(x);
    case Op::Sin:
      return std::sin(x);
    case Op::Cos:
      return std::cos(x);
    case Op::Stop:
      return x;
    case Op::Cast:
      return x;
    case Op::Add:
      return x + y;
    case Op::Sub:
      return x - y;
    case Op::Mul:
      return x * y;
    case Op::Div:
      return x / y;
    case Op::Max:
      return x >= y ? x : y;
    case Op::Min:
      return x <= y ? x : y;
    case Op::Lt:
      return x < y;
    case Op::Le:
      return x <= y;
    case Op::Eq:
      return x == y;
    case Op::Select:
      return x != 0 ? y : z;
    default:
      throw InternalError(fmt::format("{} is not a pointwise op", name_of(op)));
  }
}

/// The nearest number of a u8, the even one of two; 0 of what is none.
double nearest_u8(double x) {
  return x >= 0 ? std::nearbyint(std::min(x, 255.0)) : 0;
}

void eval_pointwise(Evaluation& e) {
  const bool whole = e.node.op == Op::Cast && !is_float(e.node.type.dtype);
  const Dims& dims = e.node.type.dims;
  std::vector<Sizes> strides{e.strides(e.node.type, dims)};
  const double* operands[3] = {};
  for (size_t i = 0; i < e.node.operands.size(); ++i) {
    operands[i] = e.data(i);
    strides.push_back(e.strides(e.type(i), dims));
  }
  size_t count = e.node.operands.size();
  loop(e.sizes(dims), strides, [&](const Sizes& at) {
    double args[3] = {};
    for (size_t i = 0; i < count; ++i) args[i] = operands[i][at[i + 1]];
    const double value = pointwise(e.node.op, args[0], args[1], args[2]);
    e.out.data[at[0]] = whole ? nearest_u8(value) : value;
  });
}

void eval_reduction(Evaluation& e) {
  bool largest = e.node.op == Op::Amax;
  if (largest) std::fill(e.out.data.begin(), e.out.data.end(), -std::numeric_limits<double>::infinity());
  const Dims& dims = e.type(0).dims;
  const double* x = e.data(0);
  loop(e.sizes(dims), {e.strides(e.node.type, dims), e.strides(e.type(0), dims)}, [&](const Sizes& at) {
    double& result = e.out.data[at[0]];
    result = largest ? std::max(result, x[at[1]]) : result + x[at[1]];
  });
}

void eval_dot(Evaluation& e) {
  Dims dims = joined(e.node.type.dims, e.node.attrs.dims);
  const double* x = e.data(0);
  const double* y = e.data(1);
  loop(e.sizes(dims), {e.strides(e.node.type, dims), e.strides(e.type(0), dims), e.strides(e.type(1), dims)},
       [&](const Sizes& at) { e.out.data[at[0]] += x[at[1]] * y[at[2]]; });
}

void eval_part_dot(Evaluation& e) {
  const Dims kept = without(e.node.type.dims, {e.dim(1)});
  const int64_t parts = e.size(e.dim(1)), terms = e.size(e.dim(0)) / parts;
  Sizes sizes = e.sizes(kept);
  sizes.insert(sizes.end(), {parts, terms});
  std::vector<Sizes> strides{e.strides(e.node.type, kept), e.strides(e.type(0), kept), e.strides(e.type(1), kept)};
  strides[0].insert(strides[0].end(), {e.stride(e.node.type, e.dim(1)), 0});
  for (size_t operand : {0, 1}) {
    const int64_t step = e.stride(e.type(operand), e.dim(0));
    strides[operand + 1].insert(strides[operand + 1].end(), {terms * step, step});
  }
  const double* x = e.data(0);
  const double* y = e.data(1);
  loop(sizes, strides, [&](const Sizes& at) { e.out.data[at[0]] += x[at[1]] * y[at[2]]; });
}

static int64_t index_from_start(Evaluation& e) {
  int64_t index = e.node.attrs.integer;
  return index < 0 ? index + e.size(e.dim(0)) : index;
}

void eval_at(Evaluation& e) {
  const Dims& dims = e.node.type.dims;
  e.copy(0, dims, dims, 0, dims, index_from_start(e) * e.stride(e.type(0), e.dim(0)));
}

void eval_put(Evaluation& e) {
  const Dims& dims = e.type(0).dims;
  e.copy(0, dims, dims, index_from_start(e) * e.stride(e.node.type, e.dim(0)), dims, 0);
}

void eval_slice(Evaluation& e) {
  const Dims& part = e.node.type.dims;
  int64_t base = e.node.attrs.integer * e.stride(e.type(0), e.dim(0));
  e.copy(0, part, part, 0, replaced(part, e.dim(1), e.dim(0)), base);
}

void eval_unslice(Evaluation& e) {
  const Dims& part = e.type(0).dims;
  int64_t base = e.node.attrs.integer * e.stride(e.node.type, e.dim(1));
  e.copy(0, part, replaced(part, e.dim(0), e.dim(1)), base, part, 0);
}

void eval_concat(Evaluation& e) {
  int64_t place = 0;
  for (size_t i = 0; i < e.node.operands.size(); ++i) {
    const Dims& part = e.type(i).dims;
    int64_t base = place * e.stride(e.node.type, e.dim(0));
    e.copy(i, part, replaced(part, e.dim(i + 1), e.dim(0)), base, part, 0);
    place += e.size(e.dim(i + 1));
  }
}

void eval_stack(Evaluation& e) {
  for (size_t i = 0; i < e.node.operands.size(); ++i) {
    const Dims& dims = e.type(i).dims;
    e.copy(i, dims, dims, static_cast<int64_t>(i) * e.stride(e.node.type, e.dim(0)), dims, 0);
  }
}

void eval_shift(Evaluation& e) {
  Dims others = without(e.node.type.dims, {e.dim(0)});
  int64_t stride = e.stride(e.node.type, e.dim(0));
  int64_t size = e.size(e.dim(0));
  for (int64_t k = 0; k < size; ++k) {
    int64_t source = k - e.node.attrs.integer;
    if (source >= 0 && source < size) e.copy(0, others, others, k * stride, others, source * stride);
  }
}

void eval_rename(Evaluation& e) {
  const Dims& dims = e.type(0).dims;
  if (e.size(e.dim(0)) != e.size(e.dim(1))) {
    throw InputError(
        e.node.location,
        fmt::format("rename '{}': found {} of size {} and {} of size {}; expected one size", e.node.name,
                    e.graph.dim(e.dim(0)).name, e.size(e.dim(0)), e.graph.dim(e.dim(1)).name, e.size(e.dim(1))));
  }
  e.copy(0, dims, replaced(dims, e.dim(0), e.dim(1)), 0, dims, 0);
}

void eval_broadcast(Evaluation& e) {
  const Dims& dims = e.node.type.dims;
  e.copy(0, dims, dims, 0, dims, 0);
}

static int64_t checked_row(const Evaluation& e, double index) {
  int64_t rows = e.size(e.dim(0));
  if (index >= 0 && index < static_cast<double>(rows)) return static_cast<int64_t>(index);
  throw InputError(e.node.location, fmt::format("{} '{}': found index {}, expected 0 to {}", name_of(e.node.op),
                                                e.node.name, index, rows - 1));
}

void eval_gather(Evaluation& e) {
  const Dims& dims = e.node.type.dims;
  const double* table = e.data(0);
  const double* index = e.data(1);
  int64_t row = e.stride(e.type(0), e.dim(0));
  loop(e.sizes(dims), {e.strides(e.node.type, dims), e.strides(e.type(0), dims), e.strides(e.type(1), dims)},
       [&](const Sizes& at) { e.out.data[at[0]] = table[at[1] + row * checked_row(e, index[at[2]])]; });
}

void eval_scatter(Evaluation& e) {
  Dims dims = joined(e.type(0).dims, e.type(1).dims);
  const double* index = e.data(0);
  const double* x = e.data(1);
  int64_t row = e.stride(e.node.type, e.dim(0));
  loop(e.sizes(dims), {e.strides(e.node.type, dims), e.strides(e.type(0), dims), e.strides(e.type(1), dims)},
       [&](const Sizes& at) { e.out.data[at[0] + row * checked_row(e, index[at[1]])] += x[at[2]]; });
}

}  // namespace mambac::evaluator
