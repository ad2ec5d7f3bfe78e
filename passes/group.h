// Which nodes can share one kernel, and with what loops.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/lanes.h"
#include "passes/remark.h"

namespace mambac {

/// A node as a member of a group. `resumed`: a recurrence that runs against the walk: at every tile it restarts from a
/// stored state or, as a window of what lies in memory, from there.
struct Member {
  NodeId node;
  bool resumed = false;
};

/// Inner loops are written out or kept in small arrays: a dimension of at most this size can be one.
constexpr int64_t kMaxInner = 256;

/// The loops that all members can share; nothing, with the reason in *why, when they cannot. `few_kernels`: see
/// FuseOptions. The result's name is not set.
std::optional<KernelGroup> describe_group(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members,
                                          bool few_kernels, Why* why);

/// True when the node's value exists only after the whole kernel has run: a sum over lanes or outer loops, or one end
/// of a walk. Its readers are in later kernels.
bool is_late(const Graph& graph, const KernelGroup& group, const Node& node);

/// True when the dims of the node's operands and result include this one.
bool touches(const Graph& graph, const Node& node, DimId dim);

}  // namespace mambac
