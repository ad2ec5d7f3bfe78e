// How a fused group is mapped to loops, or which of its algorithms a library takes. Every legal schedule computes the
// same values within the stated tolerance.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mambac {

/// What kernels are lowered for: a GPU has axes of its own, and other bounds.
enum class DeviceKind : uint8_t { cpu, gpu };

/// The axes of a mapping. Which of them matter depends on the kind of group; the others are ignored.
struct Schedule {
  int width = 16;             // lanes: f32 values in one vector register
  int tile = 32;              // walk: time steps taken together; states are kept in memory only between tiles
  int unroll = 8;             // walk: steps of a sweep unrolled
  bool states_in_registers = false;  // walk: all states of one lane block in registers throughout; see lower.h
  int blocks_per_task = 12;   // lane blocks that one task carries through a tile of a walk, or through sums of parts
  int ahead = 1;              // walk: lane blocks that memory is fetched ahead of, with states in registers eights of
                              // steps; 0: left to the processor
  int interleave = 0;         // CPU: instructions that are looked through for one that need not wait; 0: left to LLVM
  int pieces = 1;             // GPU, walk: lanes that share a channel, each with a piece of its states; see can_split
  int time_lanes = 1;         // GPU, walk: lanes that share a channel, each with a part of a tile's steps; see
                              // why_illegal_time
  bool staged = false;        // walk: values without lanes are copied into arrays of the tile first
  int chunks = 1;             // walk: parts of the length walked in parallel (two passes); see can_chunk
  int steps_per_task = 0;     // walk: steps of the length that one task walks; 0: all of them; see steps_remembered
  int tiles_ahead = 0;        // GPU, walk: above 0 a tile's memory is read while the one before is computed; above 1
                              // that of tiles so far ahead is brought into the cache before
  int copies_ahead = 0;       // GPU, walk: tiles that staged values are copied into shared memory ahead of, by
                              // asynchronous copies; 0: they are loaded as the others are
  int blocks_per_sm = 1;      // GPU: blocks that a multiprocessor holds at least; caps the registers of a thread
  int exp_on_fma = 0;         // GPU, walk: of the decays of written-out steps one in so many is a polynomial; 0: none
  int slots_per_task = 0;     // GPU: partial results that a task adds up, lanes sharing short rows; 0: all
  int summing_tasks = 16;     // rows: tasks that leave partial results of sums over rows
  int rows_per_task = 16;     // rows: rows that one task takes
  int inner_unroll = 1;       // rows: iterations of a long inner loop that are written out
  int row_unroll = 4;         // rows: vectors of a row in flight in a reduction
  int kept_vectors = 0;       // rows: rows of so many vectors are written out and kept, longer ones read and computed
                              // again; 0: all are kept, in loops
  int rows_together = 4;      // rows: that go through the lanes together
  int row_blocks = 8;         // rows: blocks that the innermost outer dimension is cut into, at least
  bool begins_early = false;  // GPU: while the kernel before it ends, and brings near what it reads of parameters
  int teams = 1;              // GPU, rows: warps of a block that leaves parts of sums, or adds up such
  int columns = 1;            // rows: neighbours that a lane has of a row and reads at once, where any order will do
  int algorithm = 0;          // products by a library: which of its algorithms; 0: its first choice
  static constexpr int kLastAlgorithm = 15;

  std::string str() const;    // "width=16 tile=32 ..."
  /// "tile=2 ahead=0": the axes that are not as in another one; empty when all are.
  std::string changes_from(const Schedule& other) const;
  /// By the name of the axis; false when there is none of it.
  bool set(std::string_view axis, int value);
  /// Whether the axis is one of those that are 0 or 1.
  static bool is_switch(std::string_view axis);
  static std::vector<std::string> axes();
  /// Every axis with its value, in the order of axes().
  std::vector<std::pair<std::string, int>> values() const;
  bool operator==(const Schedule&) const = default;
};

}  // namespace mambac
