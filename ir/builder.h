// Builds nodes with the vocabulary of the op table; passes and tests use it.
#pragma once

#include <initializer_list>

#include "ir/graph.h"

namespace mambac {

/// Appends ops to a graph. Location and name prefix apply to every node until changed.
class Builder {
 public:
  explicit Builder(Graph& graph) : graph_(graph) {}

  Graph& graph() { return graph_; }
  Location location;
  std::string hint = "v";  // names of the nodes that follow

  NodeId op(Op op, std::vector<NodeId> operands, Attrs attrs = {});
  NodeId input(const std::string& name, Type type);
  NodeId param(const std::string& name, Type type, ParamInfo info);
  NodeId constant(double value);

#define OP(e, n, operands, attributes, cls, ...) MAMBAC_BUILDER_##cls(e)
#define MAMBAC_BUILDER_Source(e)
#define MAMBAC_BUILDER_Reduction(e)
#define MAMBAC_BUILDER_Contraction(e)
#define MAMBAC_BUILDER_Layout(e)
#define MAMBAC_BUILDER_Index(e)
#define MAMBAC_BUILDER_Directional(e)
#define MAMBAC_BUILDER_Pointwise(e)        \
  template <typename... Operands>          \
  NodeId e(Operands... operands) {         \
    return op(Op::e, {operands...});       \
  }
#include "ir/ops.def"
#undef OP

  NodeId cast(NodeId x, DType dtype);
  NodeId sum(NodeId x, std::vector<DimId> dims);
  NodeId dot(NodeId x, NodeId y, std::vector<DimId> dims);
  NodeId at(NodeId x, DimId dim, int64_t index);
  NodeId put(NodeId x, DimId dim, int64_t index);
  NodeId slice(NodeId x, DimId from, DimId to, int64_t offset);
  NodeId unslice(NodeId x, DimId from, DimId to, int64_t offset);
  NodeId shift(NodeId x, DimId dim, int64_t by);
  NodeId broadcast(NodeId x, std::vector<DimId> dims);
  NodeId scan(NodeId decay, NodeId input, DimId dim, bool reverse = false, NodeId start = {}, NodeId starts = {});
  NodeId delay(NodeId x, DimId dim, bool reverse = false, NodeId start = {}, NodeId starts = {});

 private:
  Graph& graph_;
};

}  // namespace mambac
