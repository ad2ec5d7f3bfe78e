#include "passes/kernel_alone.h"

#include "passes/contraction.h"
#include "passes/fuse.h"
#include "passes/rewrite.h"

namespace mambac {

namespace {

/// Brings what the kernel reads: numbers and views of memory as they are, memory as inputs.
void bring(Rewriter& r, NodeId id) {
  if (!id.present() || r.mapped(id).present()) return;
  const Node& node = r.from.node(id);
  if (class_of(node.op) == OpClass::Source) {
    r.copy(id);
  } else if (is_view(r.from, id) && node.kernel < 0) {
    bring(r, node.operands[0]);
    if (node.op == Op::After)
      r.map(id, r.mapped(node.operands[0]));
    else
      r.copy(id);
  } else {
    Node input;
    input.op = Op::Input;
    input.name = node.name;
    input.type = node.type;
    input.location = node.location;
    r.map(id, r.to.append(std::move(input)));
  }
}

}  // namespace

Graph kernel_alone(const Graph& fused, int number, Stored stored) {
  const std::vector<bool> in_memory = values_in_memory(fused);
  Rewriter r(fused);
  r.to.kernels = {fused.kernels[static_cast<size_t>(number)]};
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& node = fused.node(NodeId{i});
    if (node.kernel != number) continue;
    for (NodeId operand : node.operands) bring(r, operand);
    const NodeId now = r.copy(NodeId{i});
    r.to.node(now).kernel = 0;
    if (stored == Stored::in_memory ? in_memory[i] : is_float(node.type.dtype))
      r.to.outputs().push_back({node.name, now});
  }
  return std::move(r.to);
}

}  // namespace mambac
