// Which dimension a walk goes along, and which one its lanes are.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "ir/graph.h"
#include "passes/widths.h"

namespace mambac {

/// scan, delay, window and overlap: what walks a dimension, its first one.
bool is_recurrence(const Node& node);
/// window and overlap, whose taps are along their second dimension.
bool is_window(const Node& node);
/// The dimensions of a type whose sizes are fixed.
std::vector<DimId> static_dims(const Graph& graph, const Type& type);
/// The same without the one that is walked: what a walk has at every step.
std::vector<DimId> dims_per_step(const Graph& graph, const Type& type, DimId along);
/// The first of the largest; absent when there are none.
DimId largest(const Graph& graph, const std::vector<DimId>& dims);
/// Dimensions a Reduction or Contraction sums over; empty for other ops.
std::vector<DimId> reduced_dims(const Node& node);

/// The dimensions of the recurrences that wide values (passes/widths.h) come from, by node: of a recurrence its own, of
/// values that are not wide none.
std::vector<std::set<DimId>> walks_before(const Graph& graph, const Widths& widths);

/// For the static dimensions that each recurrence has at every step, the one whose elements become lanes: not the ones
/// that its first reader sums over; of the rest the largest, among dimensions that lie in memory together the innermost
/// of them.
class Lanes {
 public:
  Lanes(const Graph& graph, const Widths& widths);
  /// The lane of a recurrence of this type along a dimension; absent when it has no other static ones.
  DimId of(const Graph& graph, const Type& type, DimId along) const;
  /// The dimensions that may be walked for a wide value, which only a walk can hold: those of the recurrences that it
  /// comes from or goes to, or all of its own when it does neither. None for other values.
  std::vector<DimId> walks_of(const Graph& graph, NodeId id) const;
  /// Whether `along` is one of the former; true for values that are not wide, or have no recurrence.
  bool can_walk(NodeId id, DimId along) const;

 private:
  void find_walks(const Graph& graph);
  void find_lanes_of_windows(const Graph& graph);
  /// Of what is read by sums, and by what moves along a dimension.
  void find_lanes_of_readers(const Graph& graph, DimId along);
  DimId preferred(const Graph& graph, const std::vector<DimId>& dims) const;
  /// Whether what lies in memory has `other` inside of `dim`, long enough to make lanes.
  bool lies_around(const Graph& graph, DimId dim, DimId other) const;

  const Widths& widths_;
  std::map<std::vector<DimId>, DimId> lanes_;
  std::vector<DimId> taps_;
  std::vector<std::set<DimId>> walks_;  // of a wide value that is no recurrence, by node
};

}  // namespace mambac
