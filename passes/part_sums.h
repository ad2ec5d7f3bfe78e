// Sums over the rows of a matrix product, cut into parts (FuseOptions::few_kernels). A projection of all channels onto
// few values needs every block of the kernel that makes the channels, and would be a kernel of its own. Instead each
// block of rows leaves the sum over its own channels (`part_dot`), and the reader adds up what the blocks left, in
// their order, when it starts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "passes/fuse.h"
#include "passes/group.h"

namespace mambac {

/// Elements that parts have for one row of a batch: each block of the reading kernel adds up all of them. A
/// multiprocessor reads so many (64 KB) from the second cache in about 0.6 us; starting a kernel takes 2 to 3.
constexpr int64_t kMostParts = 16384;

/// A prepared graph fused with sums in parts where that saves kernels; nothing where it does not.
std::optional<Graph> fuse_in_parts(const Graph& prepared, const Graph& fused, const FuseOptions& options,
                                   Remarks& remarks, std::vector<Apart>* apart);

/// Whether the node leaves parts of a sum over what the other members compute.
bool leaves_parts(const Graph& graph, const std::vector<Member>& members, NodeId id);

/// Whether such a node goes with the loops of a group: its parts are blocks of rows, whose values it reads one by one.
bool parts_of_rows(const Graph& graph, const KernelGroup& group, const std::vector<Member>& members, NodeId id,
                   Why* why);

/// The dimension that counts the parts which a kernel of a fused graph adds up; absent when it adds up none.
DimId parts_added_by(const Graph& fused, int kernel);

}  // namespace mambac
