#include "runtime/tuning/kernel_key.h"

#include <fmt/format.h>

#include <set>

#include "ir/dims.h"
#include "ir/print.h"
#include "passes/kernel_alone.h"
#include "runtime/hash.h"

namespace mambac {
namespace {

/// All dimensions that the kernel's values and loops have, and those that their tiles count.
std::set<DimId> dims_of(const Graph& alone) {
  std::set<DimId> dims;
  const auto add = [&](DimId d) {
    for (; d != DimId{}; d = alone.dim(d).is_tiles() ? alone.dim(d).base : DimId{}) dims.insert(d);
  };
  for (const Node& node : alone.nodes()) {
    for (DimId d : node.type.dims) add(d);
    for (DimId d : node.attrs.dims) add(d);
  }
  const KernelGroup& group = alone.kernels[0];
  for (DimId d : {group.along, group.lane}) add(d);
  for (const auto* loops : {&group.outer, &group.inner})
    for (DimId d : *loops) add(d);
  return dims;
}

/// What names a value is of no matter, nor where it comes from.
void forget_names(Graph& alone) {
  std::vector<std::string> names;
  for (size_t i = 0; i < alone.size(); ++i) names.push_back(fmt::format("v{}", i));
  alone.rename(names, Graph());
  for (uint32_t i = 0; i < alone.size(); ++i) {
    Node& node = alone.node(NodeId{i});
    node.location = {};
    node.param = {};
  }
}

}  // namespace

std::string KernelKey::digest() const { return hash_128_text(text); }

KernelKey kernel_key(const Graph& fused, int number) {
  Graph alone = kernel_alone(fused, number, Stored::in_memory);
  forget_names(alone);
  KernelKey key{loops_text(alone, alone.kernels[0]) + "\n", {}};
  for (const DimId d : dims_of(alone)) {
    key.text += dim_text(alone, d) + "\n";
    if (alone.dim(d).is_free() && !alone.dim(d).is_tiles()) key.free.push_back(d);
  }
  for (uint32_t i = 0; i < alone.size(); ++i) {
    const Node& node = alone.node(NodeId{i});
    key.text += fmt::format("{}{}\n", print_node(alone, NodeId{i}), node.kernel == 0 ? " in kernel" : "");
  }
  for (const Output& output : alone.outputs()) key.text += "stored " + alone.node(output.value).name + "\n";
  return key;
}

Bindings sizes_for(const Graph& fused, const KernelKey& key, const Bindings& sizes) {
  Bindings own;
  for (const DimId d : key.free)
    if (const auto found = sizes.find(fused.dim(d).name); found != sizes.end()) own.insert(*found);
  return own;
}

}  // namespace mambac
