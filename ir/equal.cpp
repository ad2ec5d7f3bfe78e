#include "ir/equal.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/print.h"

namespace mambac {
namespace {

bool same_number(double a, double b) {
  return a == b ? std::signbit(a) == std::signbit(b) : std::isnan(a) && std::isnan(b);
}

bool same_dim(const Dim& a, const Dim& b) {
  return a.name == b.name && a.size == b.size && a.base == b.base && a.divisor == b.divisor;
}

bool same_attrs(const Attrs& a, const Attrs& b) {
  return a.dims == b.dims && a.integer == b.integer && same_number(a.number, b.number) && a.dtype == b.dtype &&
         a.reverse == b.reverse;
}

bool same_location(const Location& a, const Location& b) {
  if (!a.known() || !b.known()) return a.known() == b.known();
  return *a.file == *b.file && a.line == b.line && a.column == b.column;
}

bool same_param(const ParamInfo& a, const ParamInfo& b) {
  return a.checkpoint_name == b.checkpoint_name && a.weight_decay == b.weight_decay && a.init.kind == b.init.kind &&
         initialiser_text(a.init) == initialiser_text(b.init);
}

/// The name of the first field that differs, or null.
const char* difference(const Node& a, const Node& b) {
  if (a.op != b.op) return "op";
  if (a.name != b.name) return "name";
  if (a.operands != b.operands) return "operands";
  if (!same_attrs(a.attrs, b.attrs)) return "attributes";
  if (!(a.type == b.type)) return "type";
  if (a.kernel != b.kernel) return "kernel";
  if (!same_location(a.location, b.location)) return "location";
  if (a.op == Op::Param && !same_param(a.param, b.param)) return "parameter";
  return nullptr;
}

std::string first_difference(const Graph& a, const Graph& b) {
  if (a.name != b.name) return fmt::format("names differ: {} and {}", a.name, b.name);
  for (size_t i = 0; i < std::min(a.dims().size(), b.dims().size()); ++i) {
    if (!same_dim(a.dims()[i], b.dims()[i])) {
      return fmt::format("dimension {} differs: {} and {}", i, a.dims()[i].name, b.dims()[i].name);
    }
  }
  if (a.dims().size() != b.dims().size()) {
    return fmt::format("{} and {} dimensions", a.dims().size(), b.dims().size());
  }
  for (size_t i = 0; i < std::min(a.kernels.size(), b.kernels.size()); ++i) {
    if (!(a.kernels[i] == b.kernels[i])) {
      return fmt::format("kernel {} differs: {} and {}", i, a.kernels[i].name, b.kernels[i].name);
    }
  }
  if (a.kernels.size() != b.kernels.size()) {
    return fmt::format("{} and {} kernels", a.kernels.size(), b.kernels.size());
  }
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (const char* field = difference(a.nodes()[i], b.nodes()[i])) {
      const NodeId id{static_cast<uint32_t>(i)};
      return fmt::format("node {}: {} differs: `{}` and `{}`", i, field, print_node(a, id), print_node(b, id));
    }
  }
  if (a.size() != b.size()) return fmt::format("{} and {} nodes", a.size(), b.size());
  if (a.outputs().size() != b.outputs().size()) {
    return fmt::format("{} and {} outputs", a.outputs().size(), b.outputs().size());
  }
  for (size_t i = 0; i < a.outputs().size(); ++i) {
    const Output& x = a.outputs()[i];
    const Output& y = b.outputs()[i];
    if (x.name != y.name || x.value != y.value) return fmt::format("output {} differs: {} and {}", i, x.name, y.name);
  }
  return "";
}

}  // namespace

bool equal(const Graph& a, const Graph& b, std::string* why) {
  const std::string difference = first_difference(a, b);
  if (why != nullptr) *why = difference;
  return difference.empty();
}

}  // namespace mambac
