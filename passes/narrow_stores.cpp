// What one walk leaves in memory for another, in half the bytes.
#include <algorithm>

#include "passes/group.h"
#include "passes/precision.h"
#include "passes/rewrite.h"

namespace mambac {

namespace {

class StoreNarrower {
 public:
  StoreNarrower(const Graph& fused, DType storage)
      : rewriter_(fused),
        storage_(storage),
        users_(users_of(fused)),
        is_output_(output_nodes(fused)),
        narrow_(fused.size()) {}

  Graph run() {
    rewriter_.to.kernels = rewriter_.from.kernels;
    for (uint32_t i = 0; i < rewriter_.from.size(); ++i) visit({i});
    rewriter_.copy_outputs();
    return rewriter_.take();
  }

 private:
  const Node& node(NodeId id) const { return rewriter_.from.node(id); }
  const KernelGroup* walk_of(NodeId id) const {
    const int kernel = node(id).kernel;
    if (kernel < 0) return nullptr;
    const KernelGroup& group = rewriter_.from.kernels[static_cast<size_t>(kernel)];
    return group.kind == KernelGroup::walk ? &group : nullptr;
  }

  void visit(NodeId id) {
    Node copy = node(id);
    for (NodeId& o : copy.operands) {
      if (!o.present()) continue;
      const bool elsewhere = node(o).kernel != copy.kernel;
      o = elsewhere && narrow_[o.index].present() ? narrow_[o.index] : rewriter_.mapped(o);
    }
    rewriter_.map(id, rewriter_.to.append(std::move(copy)));
    if (is_narrowed(id)) narrow_[id.index] = append_cast(rewriter_.to, rewriter_.mapped(id), storage_);
  }

  bool is_narrowed(NodeId id) const {
    const KernelGroup* group = walk_of(id);
    const Node& value = node(id);
    if (!group || value.type.dtype != DType::f32 || is_output_[id.index] || is_directional(value.op)) return false;
    if (!value.type.has(group->along) || !value.type.has(group->lane) || is_running_sum(value)) return false;
    if (is_late(rewriter_.from, *group, value)) return false;  // complete only when its kernel is over
    bool leaves = false;
    for (NodeId user : users_[id.index]) {
      if (node(user).kernel == value.kernel) continue;
      const Op op = node(user).op;
      if (!walk_of(user) || is_directional(op) || op == Op::Eq) return false;  // rounded, it equals nothing
      leaves = true;
    }
    return leaves;
  }

  /// A sum onto what came from elsewhere at full size: rounding it in every layer would add up.
  bool is_running_sum(const Node& value) const {
    if (value.op != Op::Add && value.op != Op::Sub) return false;
    return std::any_of(value.operands.begin(), value.operands.end(),
                       [&](NodeId o) { return node(o).kernel != value.kernel && node(o).type == value.type; });
  }

  Rewriter rewriter_;
  DType storage_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> is_output_;
  std::vector<NodeId> narrow_;  // by old node: its cast
};

}  // namespace

Graph narrow_stores(const Graph& fused, DType storage) {
  return storage == DType::f32 ? fused : StoreNarrower(fused, storage).run();
}

}  // namespace mambac
