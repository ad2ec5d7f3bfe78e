// The loops of groups without a walk, and what the loops of all groups have in common.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "passes/group.h"

namespace mambac {

/// All dims that members touch, in order of first appearance, free ones in order of declaration first.
std::vector<DimId> domain_of(const Graph& graph, const std::vector<Member>& members);

/// The members, and what of the graph other members read.
std::set<NodeId> nodes_of(const std::vector<Member>& members);
std::set<NodeId> values_read_by(const Graph& graph, const std::vector<Member>& members);

/// at, slice and shift inside a kernel look at other indices of inner loops, or at one end of a walk.
bool moves_inside(const Graph& graph, const KernelGroup& group, const Node& node, Why* why);

/// Whether no member reads a value that is complete only after the kernel.
bool reads_no_late_value(const Graph& graph, const KernelGroup& group, const std::vector<Member>& members, Why* why);

/// The loops of a group without a walk.
std::optional<KernelGroup> describe_rows(const Graph& graph, const std::vector<Member>& members, bool few_kernels,
                                         Why* why);

}  // namespace mambac
