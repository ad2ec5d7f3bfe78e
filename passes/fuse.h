// Fusion: every node gets the kernel that computes it.
//
// Nodes are taken in topological order. A node joins the group of its latest operands when one set of loops can hold
// them all (passes/group.h); otherwise it opens a group of its own, and a remark says why. Values that are never to be
// stored ("wide": passes/widths.h) are computed again in every group that reads them; a recurrence that runs against
// the reader's walk is restarted at every tile from a stored state (chunk_starts). Cheap pointwise values are computed
// again rather than stored. When all are placed, what nobody needs goes, a group that cannot stay together without it
// is split, groups sink into the first that reads them, and groups that make the same recurrence again are united.
// Large contractions and table look-ups are library calls between the groups.
#pragma once

#include "ir/graph.h"
#include "passes/remark.h"

namespace mambac {

struct FuseOptions {
  bool library_contractions = true;  // false: matrix-vector kernels are generated (one step, small batch)
  bool fuse_projections = true;      // small projections (of dt) are computed inside the walk; false: library calls
  /// Without library contractions: a kernel costs more than to compute in each of its blocks what their rows have in
  /// common (the norm before a projection), in all lanes alike what follows a row's product (a short convolution), or
  /// to leave a projection onto few values in parts, which its reader adds up (passes/part_sums.h).
  bool few_kernels = false;
  int recompute = 8;  // steps between stored states of a recurrence that is made again
};

/// For a GPU.
FuseOptions gpu_fuse_options();

/// Two kernels of a fused graph, of which one reads in memory what the other leaves, and why they are not one.
struct Apart {
  int producer = 0, consumer = 0;  // in Graph::kernels
  Reason reason;
};

/// The same graph with Node::kernel and Graph::kernels set and recomputed nodes written out. `apart`, where it is
/// given, gets all such pairs of kernels, in their order.
Graph fuse(const Graph& graph, const FuseOptions& options, Remarks& remarks, std::vector<Apart>* apart = nullptr);

/// True when a value is in memory after fusion: a source, a library result, a join, or read outside its kernel.
std::vector<bool> values_in_memory(const Graph& fused);

/// Pointwise concat and stack: the memory of their operands lies inside theirs.
bool is_join(const Node& node);
/// Ops that the runtime calls a library or a table routine for.
bool is_library(const Graph& fused, NodeId node);
/// The one node of a library kernel; absent for other kernels.
NodeId library_node(const Graph& fused, int number);
/// Whether a kernel is a matrix product by a library, not a look-up in a table.
bool is_library_product(const Graph& fused, int number);

}  // namespace mambac
