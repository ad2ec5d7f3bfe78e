// What fusion may store and what it never does: one place that decides how wide every value of a graph is.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace mambac {

/// Along a dimension that something walks, memory holds inputs, parameters (where it is fixed), joins, looked-up rows
/// and the results of large contractions. A value is *wide* when it has more elements per step than those: outer
/// products of them, such as dt[D] * A[D, N], and what is computed from outer products, such as states. What has all
/// its dimensions in common with something in memory is not (a projection onto heads [H, P], and what is computed from
/// it alone); nor is what a sum over a fixed dimension reads out of a wide value. Wide values are never stored: kernels
/// that need them make them again.
///
/// A Dot is *large*, a library call, when it is a matrix product (passes/contraction.h) of operands that are not wide.
/// What is large is in memory, and what is in memory decides about what is wide, so both are found together.
class Widths {
 public:
  /// Without `fuse_projections`, small projections of more than kFewTerms terms are large, too.
  explicit Widths(const Graph& graph, bool fuse_projections = true);

  bool wide(NodeId id) const { return wide_[id.index]; }
  bool large(NodeId id) const { return large_[id.index]; }
  /// The dimensions that recurrences walk.
  const std::vector<DimId>& walked() const { return walked_; }
  /// The distinct lists of dimensions, as they lie in memory, of what memory holds along a walked dimension.
  const std::vector<std::vector<DimId>>& stored() const { return stored_; }

 private:
  bool along_walk(const Type& type) const;
  bool is_covered(const Type& type) const;
  bool decide_wide(const Graph& graph, NodeId id) const;
  /// Returns whether these dimensions are new.
  bool add_stored(const Type& type);

  std::vector<bool> wide_, large_;
  std::vector<bool> streams_;  // depends on something in memory along a walk: not a repeated number
  std::vector<DimId> walked_;
  std::vector<std::vector<DimId>> stored_;
};

}  // namespace mambac
