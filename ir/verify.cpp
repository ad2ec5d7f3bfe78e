#include "ir/verify.h"

#include <fmt/format.h>

#include <set>

#include "ir/dims.h"

namespace mambac {

namespace {

[[noreturn]] void fail(const Graph& graph, const Node& node, const std::string& message) {
  throw NodeFailure(graph, node, message);
}

void verify_dims(const Graph& graph) {
  std::set<std::string_view> names;
  for (const Dim& dim : graph.dims()) {
    if (!names.insert(dim.name).second) throw InternalError(fmt::format("dimension {} is there twice", dim.name));
    if (dim.is_tiles() && dim.base.index >= graph.dims().size()) {
      throw InternalError(fmt::format("dimension {} counts tiles of no dimension", dim.name));
    }
  }
}

void verify_operands(const Graph& graph, size_t index) {
  const Node& node = graph.nodes()[index];
  for (NodeId operand : node.operands) {
    if (operand.present() && operand.index >= index) fail(graph, node, "an operand does not come before its user");
  }
}

void verify_type(const Graph& graph, const Node& node) {
  Type inferred;
  try {
    inferred = infer_type(graph, node);
  } catch (const InputError& error) {
    fail(graph, node, error.what());
  }
  if (inferred == node.type) return;
  fail(graph, node,
       fmt::format("its type is {}, its rule gives {}", type_text(graph, node.type), type_text(graph, inferred)));
}

void verify_outputs(const Graph& graph) {
  std::set<std::string_view> names;
  for (const Output& output : graph.outputs()) {
    if (output.value.index >= graph.size()) throw InternalError(fmt::format("output '{}' has no value", output.name));
    if (!names.insert(output.name).second) throw InternalError(fmt::format("output '{}' is there twice", output.name));
  }
}

/// Every dimension of a kernel has one role.
std::set<DimId> roles_of(const Graph& graph, const KernelGroup& kernel) {
  Dims dims = joined(kernel.outer, kernel.inner);
  size_t count = kernel.outer.size() + kernel.inner.size();
  for (DimId one : {kernel.along, kernel.lane}) {
    if (one == DimId{}) continue;
    dims = joined(dims, {one});
    ++count;
  }
  if (dims.size() != count)
    throw InternalError(fmt::format("kernel {}: one of its dimensions, {}, has two roles", kernel.name,
                                    dims_text(graph, dims)));
  return {dims.begin(), dims.end()};
}

/// A recurrence goes the way of the walk, or against it from the states that it resumes. A window only reads taps.
void verify_direction(const Graph& graph, const Node& node, const KernelGroup& kernel) {
  if (node.op == Op::ChunkStarts || node.op == Op::Window) return;
  const bool reverse = node.op == Op::Overlap || node.attrs.reverse, resumed = operand(node, "resume").present();
  if (resumed && reverse == kernel.reverse)
    fail(graph, node, fmt::format("it resumes, and goes the way of kernel {}", kernel.name));
  if (!resumed && reverse != kernel.reverse)
    fail(graph, node, fmt::format("it goes against the walk of kernel {}", kernel.name));
}

/// A walk reads `starts` at neighbouring steps, too, of which those to come are in memory only when another kernel, or
/// none, leaves them there.
void verify_starts(const Graph& graph, const Node& node) {
  for (NodeId o = operand(node, "starts"); o.present();) {
    const Node& from = graph.node(o);
    if (from.kernel == node.kernel)
      fail(graph, node, fmt::format("kernel {} computes its starts", graph.kernels[static_cast<size_t>(node.kernel)].name));
    o = from.kernel < 0 && !from.operands.empty() ? from.operands[0] : NodeId{};  // through views
  }
}

/// What a node does is done by the loops of its kernel: each dimension that it reads or makes has a role there (tiles
/// go along with what they are tiles of), recurrences go along the walk, and taps are an inner loop. What leaves parts of
/// a sum over rows has loops of its own for all but the rows.
void verify_loops(const Graph& graph, const Node& node, const KernelGroup& kernel, const std::set<DimId>& roles) {
  const auto expect_roles = [&](const Type& type) {
    for (DimId d : type.dims)
      if (!roles.count(graph.dim(d).is_tiles() ? graph.dim(d).base : d))
        fail(graph, node, fmt::format("dimension {} has no role in kernel {}", graph.dim(d).name, kernel.name));
  };
  if (node.op == Op::PartDot) return expect_roles({{}, {node.attrs.dims[0]}});
  expect_roles(node.type);
  for (NodeId operand : node.operands)
    if (operand.present()) expect_roles(graph.node(operand).type);
  if (!is_directional(node.op)) return;
  if (kernel.kind != KernelGroup::walk || kernel.along != node.attrs.dims[0])
    fail(graph, node, fmt::format("kernel {} does not walk along {}", kernel.name, graph.dim(node.attrs.dims[0]).name));
  verify_direction(graph, node, kernel);
  verify_starts(graph, node);
  const bool taps = node.op == Op::Window || node.op == Op::Overlap;
  if (taps && !contains(kernel.inner, node.attrs.dims[1]))
    fail(graph, node, fmt::format("its taps are no inner loop of kernel {}", kernel.name));
}

/// A library call computes one node: a large product or a table look-up.
void verify_call(const Graph& graph, const Node& node, int nodes_before) {
  if (node.op != Op::Dot && node.op != Op::Gather && node.op != Op::Scatter)
    fail(graph, node, "a library call is a dot, a gather or a scatter");
  if (nodes_before > 0) fail(graph, node, "its library call computes another node, too");
}

void verify_kernels(const Graph& graph) {
  std::set<std::string_view> names;
  std::vector<std::set<DimId>> roles;
  std::vector<int> calls(graph.kernels.size(), 0);
  for (const KernelGroup& kernel : graph.kernels) {
    if (!names.insert(kernel.name).second) throw InternalError(fmt::format("kernel {} is there twice", kernel.name));
    roles.push_back(roles_of(graph, kernel));
  }
  for (const Node& node : graph.nodes()) {
    if (node.kernel >= static_cast<int>(graph.kernels.size()))
      fail(graph, node, fmt::format("its kernel {} is not there", node.kernel));
    if (node.kernel < 0) continue;
    const auto number = static_cast<size_t>(node.kernel);
    const KernelGroup& kernel = graph.kernels[number];
    if (kernel.kind == KernelGroup::library)
      verify_call(graph, node, calls[number]++);
    else
      verify_loops(graph, node, kernel, roles[number]);
  }
}

/// The kernels as one graph: vertex = a kernel, or a node without one. Kahn's algorithm leaves what is in a cycle.
class KernelOrder {
 public:
  explicit KernelOrder(const Graph& graph) : graph_(graph), users_(graph.size()), needs_(graph.size(), 0) {
    for (size_t i = 0; i < graph.size(); ++i) {
      int kernel = graph.nodes()[i].kernel;
      size_t first = kernel < 0 ? i : first_.emplace(kernel, i).first->second;
      vertex_.push_back(first);
    }
    for (size_t i = 0; i < graph.size(); ++i) {
      for (NodeId operand : graph.nodes()[i].operands) {
        if (operand.present()) connect(vertex_[operand.index], vertex_[i]);
      }
    }
  }

  void verify() {
    std::vector<size_t> ready;
    for (size_t v = 0; v < users_.size(); ++v) {
      if (needs_[v] == 0) ready.push_back(v);
    }
    while (!ready.empty()) {
      size_t done = ready.back();
      ready.pop_back();
      for (size_t user : users_[done]) {
        if (--needs_[user] == 0) ready.push_back(user);
      }
    }
    for (size_t v = 0; v < needs_.size(); ++v) {
      if (needs_[v] == 0) continue;
      const Node& node = graph_.nodes()[v];
      fail(graph_, node,
           fmt::format("kernel {} has no place in the order: kernels need each other in a cycle", node.kernel));
    }
  }

 private:
  void connect(size_t from, size_t to) {
    if (from != to && users_[from].insert(to).second) ++needs_[to];
  }

  const Graph& graph_;
  std::map<int, size_t> first_;
  std::vector<size_t> vertex_;
  std::vector<std::set<size_t>> users_;
  std::vector<int> needs_;
};

}  // namespace

NodeFailure::NodeFailure(const Graph& graph, const Node& node, const std::string& message)
    : InternalError(fmt::format("graph '{}', node '{}' ({}): {}", graph.name, node.name, name_of(node.op), message)),
      node_(node.name) {}

void verify(const Graph& graph) {
  verify_dims(graph);
  std::set<std::string_view> names;
  for (size_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    verify_operands(graph, i);
    verify_type(graph, node);
    if (!names.insert(node.name).second) fail(graph, node, "its name is there twice");
  }
  verify_outputs(graph);
  verify_kernels(graph);
  KernelOrder(graph).verify();
}

}  // namespace mambac
