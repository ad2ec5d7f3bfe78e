#include "codegen/rows_plan.h"

#include <algorithm>
#include <numeric>

#include "passes/group.h"
#include "passes/part_sums.h"

namespace mambac {

namespace {

constexpr int64_t kBlockElements = int64_t{1} << 18;

bool contains(const std::vector<NodeId>& nodes, NodeId id) {
  return std::ranges::find(nodes, id) != nodes.end();
}

}  // namespace

RowsPlan::RowsPlan(KernelWriter& writer) : w_(writer), group_(writer.group()), s_(writer.schedule()) {
  lane_size_ = group_.lane == DimId{} ? 1 : w_.graph().dim(group_.lane).size;
  vectors_ = (lane_size_ + s_.width - 1) / s_.width;
  added_parts_ = parts_added_by(w_.graph(), w_.number());
  decide_lane_tasks();
  if (splits_rows()) {
    parts_ = vectors_;
    vectors_ = 1;
  }
  for (NodeId id : w_.nodes())
    if (is_part(id)) part_sums_.push_back(id);
  plan_shared_and_own();
  for (auto id = w_.nodes().rbegin(); id != w_.nodes().rend(); ++id) find_reading_phases(*id);
}

// ---- what each node is ----------------------------------------------------------------------------------------------

bool RowsPlan::late(NodeId id) const {
  if (is_part(id)) return false;
  return is_late(w_.graph(), group_, w_.node(id)) || (lane_tasks_ && sums_lanes(id));
}

bool RowsPlan::any_late() const {
  return std::ranges::any_of(w_.nodes(), [&](NodeId id) { return late(id); });
}

bool RowsPlan::crosses_index(NodeId reader) const {
  const Op op = w_.node(reader).op;
  return op == Op::At || op == Op::Slice || op == Op::Shift;
}

std::vector<DimId> RowsPlan::loops_of(NodeId id, bool of_type) const {
  std::vector<DimId> dims;
  for (DimId d : group_.inner)
    if (of_type ? w_.has(id, d) : w_.spans(id, d)) dims.push_back(d);
  if (of_type ? result_has_lane(id) : has_lane(id)) dims.push_back(group_.lane);
  return dims;
}

bool RowsPlan::sums_in_phase(NodeId id) const {
  const std::vector<DimId> reduced = reduced_dims(w_.node(id));
  return std::ranges::any_of(
      reduced, [&](DimId d) { return d == group_.lane || std::ranges::find(group_.inner, d) != group_.inner.end(); });
}

// ---- phases ---------------------------------------------------------------------------------------------------------

bool RowsPlan::lacks_rows(NodeId id) const {
  return !group_.outer.empty() && !w_.graph().dim(group_.outer.back()).is_free() && !w_.spans(id, group_.outer.back());
}

void RowsPlan::plan_shared_and_own() {
  const bool any = std::ranges::any_of(w_.nodes(), [&](NodeId id) { return lacks_rows(id) && sums_in_phase(id); });
  std::vector<NodeId> shared, own;
  for (NodeId id : w_.nodes())
    if (!is_part(id) && !adds_parts(id)) (any && lacks_rows(id) ? shared : own).push_back(id);
  add_phases(shared);
  shared_phases_ = phases_.size();
  add_phases(own);
}

void RowsPlan::add_phases(const std::vector<NodeId>& nodes) {
  PhaseRules rules;
  rules.inner = [&](NodeId id) { return loops_of(id, w_.node(id).op == Op::At || w_.node(id).op == Op::Slice); };
  rules.against = [](NodeId) { return std::optional<bool>(); };
  rules.after_phase = [&](NodeId reader, NodeId operand) { return sums_in_phase(operand) || crosses_index(reader); };
  const PhasePlan plan = plan_phases(w_.graph(), uniform_first(nodes), rules);
  for (const auto& [id, slot] : plan.slots) phase_[id] = slot.phase + static_cast<int>(phases_.size());
  phases_.insert(phases_.end(), plan.phases.begin(), plan.phases.end());
}

std::vector<NodeId> RowsPlan::uniform_first(const std::vector<NodeId>& nodes) const {
  std::vector<NodeId> uniform, rest;
  for (NodeId id : nodes) {
    const bool needs_loop = !loops_of(id, false).empty() || std::ranges::any_of(w_.node(id).operands, [&](NodeId o) {
      return o.present() && contains(nodes, o) && !contains(uniform, o);
    });
    (needs_loop ? rest : uniform).push_back(id);
  }
  uniform.insert(uniform.end(), rest.begin(), rest.end());
  return uniform;
}

// ---- rows -----------------------------------------------------------------------------------------------------------

void RowsPlan::decide_lane_tasks() {
  if (!group_.outer.empty() || !group_.inner.empty() || vectors_ < 64) return;
  lane_tasks_ = std::ranges::all_of(w_.nodes(), [&](NodeId id) { return !sums_lanes(id) || w_.readers(id).empty(); });
}

bool RowsPlan::splits_rows() const {
  if (group_.inner.empty() || lane_tasks_ || vectors_ == 1 || lane_size_ % s_.width != 0) return false;
  return std::ranges::all_of(w_.nodes(), [&](NodeId id) {
    if (is_late(w_.graph(), group_, w_.node(id))) return false;
    if (!has_lane(id) && added_parts_ != DimId{}) return true;  // each part of a row has it again
    return result_has_lane(id) && !sums_lanes(id) && w_.count(w_.inner_of_type(id)) <= kMostWrittenOut;
  });
}

bool RowsPlan::sums_any_lanes() const {
  return !lane_tasks_ && !group_.outer.empty() &&
         std::ranges::any_of(w_.nodes(), [&](NodeId id) { return sums_lanes(id); });
}

int64_t RowsPlan::rows_together() const {
  if (leaves_parts() || !sums_any_lanes() || !group_.inner.empty()) return 1;
  const bool in_one_block = shared_phases_ == 0 || w_.graph().dim(group_.outer.back()).size % s_.rows_together == 0;
  return in_one_block ? s_.rows_together : 1;
}

bool RowsPlan::whole_blocks() const {
  if (leaves_parts()) return true;
  if (!sums_any_lanes() || (!group_.inner.empty() && shared_phases_ == 0)) return false;
  const Dim& rows = w_.graph().dim(group_.outer.back());
  return !rows.is_free() && rows.size % rows_together() == 0;
}

int64_t RowsPlan::block_rows() const {
  if (leaves_parts()) {
    const std::vector<DimId>& dims = w_.node(part_sums_[0]).attrs.dims;
    return w_.graph().dim(dims[0]).size / w_.graph().dim(dims[1]).size;
  }
  const int64_t together = rows_together(), size = w_.graph().dim(group_.outer.back()).size;
  const int64_t most = std::min(size / s_.row_blocks, kBlockElements / lane_size_);
  int64_t rows = std::max(most / together, int64_t{1}) * together;
  while (size % rows != 0) rows -= together;
  return rows;
}

bool RowsPlan::adds_parts(NodeId id) const {
  return added_parts_ != DimId{} && w_.reduces(id, added_parts_) && !has_lane(id) &&
         !w_.inside(w_.node(id).operands[0]) &&
         std::ranges::all_of(group_.outer, [&](DimId d) { return w_.graph().dim(d).is_free(); });
}

int64_t RowsPlan::parts_together() const {
  if (std::ranges::none_of(w_.nodes(), [&](NodeId id) { return adds_parts(id); })) return 0;
  return std::gcd(parts_, std::max<int64_t>(s_.rows_per_task, 1));
}

bool RowsPlan::is_term(NodeId id) const {
  return std::ranges::any_of(part_sums_, [&](NodeId sum) { return contains(w_.node(sum).operands, id); });
}

// ---- arrays ---------------------------------------------------------------------------------------------------------

int64_t RowsPlan::array_size(NodeId id) const {
  return w_.count(w_.inner_of_type(id)) * (result_has_lane(id) ? vectors_ : 1);
}

constexpr int64_t kFewInstructions = 4;

bool RowsPlan::computed_again(NodeId id) const {
  if (writes_out_vectors() || !result_has_lane(id) || !is_pointwise(w_.node(id).op)) return false;
  if (s_.kept_vectors > 0) return true;
  const Work work = work_of(id);
  return is_simple(w_.node(id).op) && work.loads.size() <= 1 && work.instructions <= kFewInstructions;
}

RowsPlan::Work RowsPlan::work_of(NodeId id) const {
  if (!result_has_lane(id) || w_.is_immediate(id)) return {};
  if (!w_.inside(id) || !is_simple(w_.node(id).op)) return {.loads = {id}};
  Work work{.instructions = 1};
  for (NodeId o : w_.node(id).operands) {
    if (work.instructions > kFewInstructions) break;  // chains that share operands are long to follow
    const Work of_operand = work_of(o);
    work.loads.insert(of_operand.loads.begin(), of_operand.loads.end());
    work.instructions += of_operand.instructions;
  }
  return work;
}

/// Its readers come first.
void RowsPlan::find_reading_phases(NodeId id) {
  std::set<int>& phases = reading_phases_[id];
  for (NodeId r : w_.readers(id)) {
    if (is_part(r)) continue;
    phases.insert(phase_of(r));
    if (computed_again(r)) phases.insert(reading_phases_[r].begin(), reading_phases_[r].end());
  }
}

bool RowsPlan::is_read_elsewhere(NodeId id) const {
  return std::ranges::any_of(reading_phases_.at(id), [&](int phase) { return phase != phase_of(id); });
}

bool RowsPlan::is_needed_again(NodeId id) const { return computed_again(id) && is_read_elsewhere(id); }

bool RowsPlan::is_kept(NodeId id) const {
  return sums_in_phase(id) || (is_read_elsewhere(id) && !computed_again(id));
}

bool RowsPlan::sums_in_task(NodeId id) const {
  return !lane_tasks_ && std::ranges::none_of(group_.outer, [&](DimId d) { return w_.has(id, d); });
}

bool RowsPlan::is_written_out_array(NodeId id) const {
  const bool vectors = !result_has_lane(id) || writes_out_vectors();
  const int64_t bodies = w_.count(w_.inner_of_type(id));
  if (adds_parts(id)) return false;
  return (parts_ > 1 && bodies <= kMostWrittenOut) || (vectors && is_written_out(bodies, bodies));
}

int64_t RowsPlan::columns() const {
  const bool fill = lane_tasks_ || (lane_size_ % (s_.columns * s_.width) == 0 && writes_out_vectors());
  if (s_.columns == 1 || !fill || (group_.outer.empty() && !lane_tasks_) || parts_ > 1) return 1;
  const bool any_order =
      std::ranges::none_of(w_.nodes(), [&](NodeId id) { return w_.node(id).op == Op::Put && result_has_lane(id); });
  return any_order ? s_.columns : 1;
}

int64_t RowsPlan::flights() const {
  if (lane_tasks_ && columns() > 1) return columns();
  return std::max<int64_t>(1, std::min<int64_t>(rows_together() > 1 ? 2 : s_.row_unroll, vectors_));
}

}  // namespace mambac
