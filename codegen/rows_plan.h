// What lower_rows.cpp decides before it writes anything: which rows go together, what they share, in which phases nodes
// run, and how the lanes divide a row.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "codegen/kernel_writer.h"
#include "codegen/phases.h"

namespace mambac {

class RowsPlan {
 protected:
  explicit RowsPlan(KernelWriter& writer);

  // ---- what each node is ----

  /// With tasks along the lanes, a sum over lanes is complete only after all of them.
  bool late(NodeId id) const;
  bool any_late() const;
  bool sums_lanes(NodeId id) const { return group_.lane != DimId{} && w_.reduces(id, group_.lane); }
  bool has_lane(NodeId id) const { return w_.has_lane(id); }
  bool result_has_lane(NodeId id) const { return group_.lane != DimId{} && w_.has(id, group_.lane); }
  bool sums_in_phase(NodeId id) const;
  /// The inner dims of its type, and how many bodies a nest of loops over dims has.

  // ---- phases ----

  int phase_of(NodeId id) const { return phase_.at(id); }
  /// Whether it is computed once for a block of rows.
  bool is_shared(NodeId id) const { return !adds_parts(id) && phase_of(id) < static_cast<int>(shared_phases_); }

  // ---- rows ----

  /// Rows that go through the lanes together: what they share is loaded once, and their sums do not wait for each
  /// other.
  int64_t rows_together() const;
  /// Whether blocks of rows fill the innermost outer dimension: then the rows of a block share all other indices.
  bool whole_blocks() const;
  /// Rows of a block: enough for long streams, few enough for several tasks; those of a part where it leaves parts.
  int64_t block_rows() const;

  // ---- parts of sums ----

  /// Whether it is a sum over the rows of each block, which is computed when all of them are.
  bool is_part(NodeId id) const { return w_.node(id).op == Op::PartDot; }
  bool leaves_parts() const { return !part_sums_.empty(); }
  /// Whether it adds up such parts, once for a block of neighbouring parts of a row.
  bool adds_parts(NodeId id) const;
  /// Parts of a row that share what they add up, 0 where they add up none: all of them or a divisor of their number.
  int64_t parts_together() const;
  /// Whether blocks keep its values for all of their rows: such sums read them.
  bool is_term(NodeId id) const;

  // ---- arrays ----

  /// Whether it is in an array: a sum in its phase, or read in other phases.
  bool is_kept(NodeId id) const;
  /// Whether other phases that read it compute it again: all that is pointwise where rows are too long to keep any of
  /// it, else what a few simple instructions make of one load at most, which an array would need as well.
  bool computed_again(NodeId id) const;
  /// Whether some phase does.
  bool is_needed_again(NodeId id) const;
  /// Whether a task has its part of a sum over rows in an array until it is done with them. Parts with elements for
  /// each row lie in memory throughout.
  bool sums_in_task(NodeId id) const;
  int64_t slots(NodeId id) const { return is_shared(id) ? 1 : rows_together(); }
  int64_t array_size(NodeId id) const;
  /// Whether all loops that index its array are written out.
  bool is_written_out_array(NodeId id) const;
  /// Whether the loops over the vectors of a row are.
  bool writes_out_vectors() const { return vectors_ == 1 || vectors_ <= s_.kept_vectors; }
  /// Neighbours that a lane has of a row; 1 where the order of the lanes matters, or they do not fill the rows.
  int64_t columns() const;
  /// Vectors that do not wait for each other: of a sum over lanes, or of a task that shares the lanes.
  int64_t flights() const;

  KernelWriter& w_;
  const KernelGroup& group_;
  const Schedule& s_;
  bool lane_tasks_ = false;  // tasks share the lanes
  int64_t lane_size_ = 1;
  int64_t vectors_ = 1;  // that a task sees of a row
  int64_t parts_ = 1;    // that a row is split into; see splits_rows
  std::vector<Phase> phases_;
  size_t shared_phases_ = 0;  // the first of them: what the rows of a block share
  std::vector<NodeId> part_sums_;  // in no phase
  DimId added_parts_{};            // that the kernel adds up; see parts_added_by

 private:
  bool crosses_index(NodeId reader) const;
  /// What a vector of it takes: loads, from memory or from arrays of what is not simple, and simple instructions.
  struct Work {
    std::set<NodeId> loads{};
    int64_t instructions = 0;
  };
  Work work_of(NodeId id) const;
  /// Dims that phases loop over: inner ones, and the lanes.
  std::vector<DimId> loops_of(NodeId id, bool of_type) const;
  /// Whether all rows of a block have the same value.
  bool lacks_rows(NodeId id) const;
  void plan_shared_and_own();
  void add_phases(const std::vector<NodeId>& nodes);
  /// What needs no loop comes first, so that loops are not split around it and keep nothing in memory for it.
  std::vector<NodeId> uniform_first(const std::vector<NodeId>& nodes) const;
  /// Tasks share the lanes when there are no rows to share and no node needs the sum over all lanes.
  void decide_lane_tasks();
  /// Nodes with inner loops see one vector of a row at a time, their values stay in registers, and tasks have parts of
  /// rows to share even when there is but one row. Inner loops are written out, so that the memory of neighbouring
  /// lanes, which inner dimensions usually come in between, is read and written as a block.
  bool splits_rows() const;
  bool sums_any_lanes() const;
  void find_reading_phases(NodeId id);
  bool is_read_elsewhere(NodeId id) const;

  std::map<NodeId, int> phase_;
  std::map<NodeId, std::set<int>> reading_phases_;  // also those that read it to compute others again
};

}  // namespace mambac
