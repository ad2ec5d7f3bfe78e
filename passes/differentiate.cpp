#include "passes/differentiate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "ir/builder.h"
#include "ir/gradient.h"
#include "passes/rewrite.h"
#include "passes/segments.h"

namespace mambac {

namespace {

bool is_target(const Node& node) {
  return node.op == Op::Param || (node.op == Op::Input && is_float(node.type.dtype));
}

const std::string& target_name(const Node& node) {
  return node.op == Op::Param ? node.param.checkpoint_name : node.name;
}

NodeId find_target(const Graph& graph, const std::string& name) {
  std::vector<std::string> known;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (!is_target(node)) continue;
    if (node.name == name || target_name(node) == name) return {i};
    known.push_back(target_name(node));
  }
  throw InputError(fmt::format("found no parameter or float input '{}' to differentiate by; there are: {}", name,
                               fmt::join(known, ", ")));
}

std::vector<NodeId> find_targets(const Graph& graph, const std::vector<std::string>& wrt, bool with_inputs) {
  std::vector<NodeId> targets;
  for (const std::string& name : wrt) targets.push_back(find_target(graph, name));
  if (!wrt.empty()) return targets;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (is_target(node) && (with_inputs || node.op == Op::Param)) targets.push_back({i});
  }
  return targets;
}

[[noreturn]] void refuse_name(const std::string& name, const char* what, const Location& where) {
  throw InputError(where,
                   fmt::format("the {} '{}' has the name of one that gradients need, expected another", what, name));
}

/// The state of one reverse accumulation over a copy of the forward graph, in which ids are those of the original.
class Backward {
 public:
  Backward(const Graph& forward, std::vector<NodeId> targets)
      : graph_(forward), builder_(graph_), forward_size_(forward.size()), targets_(std::move(targets)) {
    contributions_.resize(forward_size_);
    mark_needed();
  }

  Builder& builder() { return builder_; }
  /// The first parts of what the output is computed with are computed again; see passes/segments.h.
  void compute_again(NodeId output, int parts) {
    segments_ = segments_of(graph_, output);
    again_.resize(forward_size_);
    if (static_cast<size_t>(parts) < segments_.ends.size()) segments_.ends.resize(static_cast<size_t>(parts));
  }
  void contribute(NodeId to, NodeId grad) { contributions_[to.index].push_back(grad); }

  Graph run() {
    for (size_t i = forward_size_; i-- > 0;) visit({static_cast<uint32_t>(i)});
    for (NodeId target : targets_) add_output(target);
    graph_.remove_dead();
    return std::move(graph_);
  }

 private:
  /// A gradient is needed where a value depends on a target.
  void mark_needed() {
    needed_.resize(forward_size_, false);
    for (NodeId target : targets_) needed_[target.index] = true;
    for (size_t i = 0; i < forward_size_; ++i) {
      for (NodeId operand : graph_.nodes()[i].operands) {
        if (operand.present() && needed_[operand.index]) needed_[i] = true;
      }
    }
  }

  void visit(NodeId id) {
    std::vector<NodeId>& parts = contributions_[id.index];
    if (parts.empty() || !needed_[id.index]) return;
    name_after(id);
    NodeId grad = parts[0];
    for (size_t i = 1; i < parts.size(); ++i) grad = builder_.Add(grad, parts[i]);
    parts = {grad};
    if (class_of(graph_.node(id).op) == OpClass::Source) return;
    if (!segments_.ends.empty() && segments_.ends.back() == id) write_part_again(grad);
    name_after(id);
    const std::vector<NodeId> flows = gradient(builder_, again(id), grad);
    for (size_t i = 0; i < flows.size(); ++i) {
      NodeId operand = graph_.node(id).operands[i];
      if (flows[i].present() && operand.present() && needed_[operand.index]) contribute(operand, flows[i]);
    }
  }

  /// The node that the rules of the backward pass read in the place of one of the forward pass.
  NodeId again(NodeId id) const { return again_.empty() || !again_[id.index].present() ? id : again_[id.index]; }

  /// Writes the last part of the list again, from what is kept of it: inputs, and the end of the part before. These are
  /// read after the gradient of the part's end is there, or else its values would be those that exist already.
  void write_part_again(NodeId end_grad) {
    const NodeId end = segments_.ends.back();
    segments_.ends.pop_back();
    const uint32_t begin = segments_.ends.empty() ? 0 : segments_.ends.back().index + 1;
    for (uint32_t i = begin; i <= end.index; ++i) {
      if (!segments_.computed[i]) continue;
      Node copy = graph_.node({i});
      for (NodeId& o : copy.operands)
        if (o.present()) o = o.index >= begin && segments_.computed[o.index] ? again_[o.index] : kept(o, end_grad);
      copy.name += ".again";
      again_[i] = graph_.append(std::move(copy));
    }
  }

  /// A value that the part reads and that is not made again with it.
  NodeId kept(NodeId id, NodeId end_grad) {
    const bool varies = segments_.computed[id.index] || graph_.node(id).op == Op::Input;
    if (!varies) return id;  // made of parameters, or from nothing
    builder_.hint = graph_.node(id).name + ".kept";
    builder_.location = graph_.node(id).location;
    return builder_.op(Op::After, {id, end_grad});
  }

  void name_after(NodeId id) {
    builder_.hint = graph_.node(id).name + ".grad";
    builder_.location = graph_.node(id).location;
  }

  void add_output(NodeId target) {
    name_after(target);
    const std::vector<NodeId>& parts = contributions_[target.index];
    NodeId grad = parts.empty() ? builder_.constant(0) : parts[0];
    grad = with_dims(builder_, grad, graph_.node(target).type.dims);
    if (graph_.node(grad).type.dtype != DType::f32) grad = builder_.cast(grad, DType::f32);
    const std::string name = "grad." + target_name(graph_.node(target));
    for (const Output& output : graph_.outputs())
      if (output.name == name) refuse_name(name, "output", graph_.node(output.value).location);
    graph_.outputs().push_back({name, grad});
  }

  Graph graph_;
  Builder builder_;
  size_t forward_size_;
  std::vector<NodeId> targets_;
  std::vector<bool> needed_;
  std::vector<std::vector<NodeId>> contributions_;
  Segments segments_;          // its ends: of the parts that are to be computed again
  std::vector<NodeId> again_;  // by forward node: the one that the backward pass has in its place; absent: itself
};

}  // namespace

Graph differentiate(const Graph& forward, const std::string& output, const std::vector<std::string>& wrt,
                    int recompute) {
  auto named = [&](const Output& o) { return o.name == output; };
  auto found = std::find_if(forward.outputs().begin(), forward.outputs().end(), named);
  if (found == forward.outputs().end()) throw InputError(fmt::format("found no output '{}' to differentiate", output));
  Backward backward(forward, find_targets(forward, wrt, false));
  const Node& node = forward.node(found->value);
  backward.builder().hint = "one";
  backward.builder().location = node.location;
  if (recompute > 0) backward.compute_again(found->value, recompute);
  backward.contribute(found->value, backward.builder().constant(1));
  return backward.run();
}

Graph differentiate_with_seeds(const Graph& forward, const std::vector<std::string>& wrt) {
  Backward backward(forward, find_targets(forward, wrt, true));
  for (const Output& output : forward.outputs()) {
    const Node& node = forward.node(output.value);
    if (!is_float(node.type.dtype)) continue;
    backward.builder().location = node.location;
    const std::string name = "seed." + output.name;
    for (const Node& other : forward.nodes())
      if (other.op == Op::Input && other.name == name) refuse_name(name, "input", other.location);
    NodeId seed = backward.builder().input(name, {DType::f32, node.type.dims});
    backward.contribute(output.value, seed);
  }
  return backward.run();
}

}  // namespace mambac
