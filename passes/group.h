// Which nodes can share one kernel, and with what loops.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/widths.h"

namespace mambac {

/// A node as a member of a group. `resumed`: a recurrence that runs against the walk, restarted at every tile from a
/// stored state.
struct Member {
  NodeId node;
  bool resumed = false;
};

/// For the static dimensions of each recurrence, the one whose elements become lanes: not the ones that its first
/// reader sums over; of the rest the largest, among dimensions that lie in memory together the innermost of them.
class Lanes {
 public:
  Lanes(const Graph& graph, const Widths& widths);
  /// The lane of a recurrence with these static dimensions; absent when there are none.
  DimId of(const Graph& graph, const Type& type) const;
  /// A dimension to walk for a wide value, which only a walk can hold; absent for others. Recurrences say for
  /// themselves what they walk; values between them exist along any walk that they have the dimension of.
  DimId walk_of(const Graph& graph, NodeId id) const;

 private:
  DimId preferred(const Graph& graph, const std::vector<DimId>& dims) const;
  /// Whether what lies in memory has `other` inside of `dim`, long enough to make lanes.
  bool lies_around(const Graph& graph, DimId dim, DimId other) const;

  const Widths& widths_;
  std::map<std::vector<DimId>, DimId> lanes_;
  std::vector<DimId> taps_;
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
