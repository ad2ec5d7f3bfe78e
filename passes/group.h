// Which nodes can share one kernel, and with what loops.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace mambac {

/// A node as a member of a group. `resumed`: a recurrence that runs against the walk, restarted at every tile from a
/// stored state.
struct Member {
  NodeId node;
  bool resumed = false;
};

/// For the static dimensions of each recurrence, the one whose elements become lanes: not the ones that its first
/// reader sums over; of the rest the largest.
class Lanes {
 public:
  explicit Lanes(const Graph& graph);
  /// The lane of a recurrence with these static dimensions; absent when there are none.
  DimId of(const Graph& graph, const Type& type) const;
  /// The walked dimension of a value that only a walk can hold (two or more static dimensions along it); else absent.
  DimId walked_by(const Graph& graph, const Type& type) const;

 private:
  /// The largest, and of taps only when there is nothing else.
  DimId preferred(const Graph& graph, const std::vector<DimId>& dims) const;

  std::map<std::vector<DimId>, DimId> lanes_;
  std::vector<DimId> taps_;
  std::vector<DimId> walked_;
};

/// Inner loops are written out or kept in small arrays: a dimension of at most this size can be one.
constexpr int64_t kMaxInner = 256;

/// The loops that all members can share; nothing, with the reason in *why, when they cannot.
/// The result's name is not set.
std::optional<KernelGroup> describe_group(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members,
                                          std::string* why);

/// True when the node's value exists only after the whole kernel has run: a sum over lanes or outer loops, or one end
/// of a walk. Its readers are in later kernels.
bool is_late(const Graph& graph, const KernelGroup& group, const Node& node);

/// True when the dims of the node's operands and result include this one.
bool touches(const Graph& graph, const Node& node, DimId dim);

/// Dimensions a Reduction or Contraction sums over; empty for other ops.
std::vector<DimId> reduced_dims(const Node& node);

}  // namespace mambac
