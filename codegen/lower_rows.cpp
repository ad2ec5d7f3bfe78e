// Rows: a task takes some rows (combinations of the outer indices) and runs the phases on each: loops over the lane
// dimension in vectors and over inner dimensions. A sum over lanes or inner loops ends a phase. Sums over rows are kept
// per task and added in a second stage, in the order of the tasks. Without outer dimensions, tasks share the lanes. What
// lacks the innermost outer dimension, and has sums, is computed once for a block of rows, in phases before theirs.

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "codegen/kernel_writer.h"
#include "codegen/phases.h"
#include "passes/group.h"

namespace mambac {

namespace {

using loop::constant;
using loop::Int;
using loop::Value;

constexpr int64_t kBlockElements = int64_t{1} << 18;
constexpr int64_t kBytesAhead = 2048;

class RowsLowering {
 public:
  explicit RowsLowering(KernelWriter& w) : w_(w), group_(w.group()), s_(w.schedule()) {}

  LoweredKernel run() {
    plan();
    loop::Stage& stage = w_.add_stage("rows", nullptr);
    stage.tasks = tasks();
    loop::StageBuilder builder(stage);
    b_ = &builder;
    body();
    for (const auto& [id, partial] : partials_) w_.finish(id, partial, task_count_, s_.summing_tasks);
    allow_in_place();
    return w_.take();
  }

 private:
  /// An output may lie where an input does when the input is read element by element, each for the last time before
  /// the output's is stored. An outer dimension that they lack would have other tasks read it again.
  void allow_in_place() {
    for (NodeId id : w_.nodes()) {
      const std::vector<DimId>& dims = w_.node(id).type.dims;
      const auto has_dim = [&](DimId d) { return std::ranges::find(dims, d) != dims.end(); };
      if (!w_.stored(id) || !is_pointwise(w_.node(id).op) || !std::ranges::all_of(group_.outer, has_dim)) continue;
      for (NodeId input : w_.replaceable_inputs(id))
        if (std::ranges::all_of(w_.nodes(), [&](NodeId r) {
              const Node& reader = w_.node(r);
              return std::ranges::find(reader.operands, input) == reader.operands.end() ||
                     (is_pointwise(reader.op) && reader.type.dims == dims && !runs_after(r, id) && !computed_again(r));
            }))
          w_.store_in_place(id, input);
    }
  }
  bool runs_after(NodeId a, NodeId b) const {
    const int phase_a = phase_of(a), phase_b = phase_of(b);
    if (phase_a != phase_b) return phase_a > phase_b;
    const auto& order = phases_[static_cast<size_t>(phase_a)].sweeps[0].nodes;
    return std::ranges::find(order, a) > std::ranges::find(order, b);
  }

  bool late(NodeId id) const { return is_late(w_.graph(), group_, w_.node(id)) || splits_lanes_late(id); }
  /// With tasks along the lanes, a sum over lanes is complete only after all of them.
  bool splits_lanes_late(NodeId id) const { return lane_tasks_ && sums_lanes(id); }
  bool sums_lanes(NodeId id) const { return group_.lane != DimId{} && w_.reduces(id, group_.lane); }
  bool has_lane(NodeId id) const { return w_.has_lane(id); }
  bool result_has_lane(NodeId id) const { return group_.lane != DimId{} && w_.has(id, group_.lane); }
  bool crosses_index(NodeId reader) const {
    const Op op = w_.node(reader).op;
    return op == Op::At || op == Op::Slice || op == Op::Shift;
  }

  /// Dims that phases loop over: inner ones, and the lanes.
  std::vector<DimId> loops_of(NodeId id, bool of_type) const {
    std::vector<DimId> dims;
    for (DimId d : group_.inner)
      if (of_type ? w_.has(id, d) : w_.spans(id, d)) dims.push_back(d);
    if (of_type ? result_has_lane(id) : has_lane(id)) dims.push_back(group_.lane);
    return dims;
  }
  bool sums_in_phase(NodeId id) const {
    const std::vector<DimId> reduced = reduced_dims(w_.node(id));
    return std::any_of(reduced.begin(), reduced.end(), [&](DimId d) {
      return d == group_.lane || std::find(group_.inner.begin(), group_.inner.end(), d) != group_.inner.end();
    });
  }

  void plan() {
    lane_size_ = group_.lane == DimId{} ? 1 : w_.graph().dim(group_.lane).size;
    vectors_ = (lane_size_ + s_.width - 1) / s_.width;
    decide_lane_tasks();
    if (splits_rows()) {
      parts_ = vectors_;
      vectors_ = 1;
    }
    std::vector<NodeId> shared, own;
    const bool any = std::any_of(w_.nodes().begin(), w_.nodes().end(),
                                 [&](NodeId id) { return lacks_rows(id) && sums_in_phase(id); });
    for (NodeId id : w_.nodes()) (any && lacks_rows(id) ? shared : own).push_back(id);
    add_phases(shared);
    shared_phases_ = phases_.size();
    add_phases(own);
  }

  void add_phases(const std::vector<NodeId>& nodes) {
    PhaseRules rules;
    rules.inner = [&](NodeId id) { return loops_of(id, w_.node(id).op == Op::At || w_.node(id).op == Op::Slice); };
    rules.against = [](NodeId) { return std::optional<bool>(); };
    rules.after_phase = [&](NodeId reader, NodeId operand) { return sums_in_phase(operand) || crosses_index(reader); };
    const PhasePlan plan = plan_phases(w_.graph(), uniform_first(nodes), rules);
    for (const auto& [id, slot] : plan.slots) phase_[id] = slot.phase + static_cast<int>(phases_.size());
    phases_.insert(phases_.end(), plan.phases.begin(), plan.phases.end());
  }

  int phase_of(NodeId id) const { return phase_.at(id); }

  /// Whether all rows of a block have the same value.
  bool lacks_rows(NodeId id) const {
    return !group_.outer.empty() && !w_.graph().dim(group_.outer.back()).is_free() &&
           !w_.spans(id, group_.outer.back());
  }
  bool is_shared(NodeId id) const { return phase_of(id) < static_cast<int>(shared_phases_); }

  /// What needs no loop comes first, so that loops are not split around it and keep nothing in memory for it.
  std::vector<NodeId> uniform_first(const std::vector<NodeId>& nodes) const {
    std::vector<NodeId> uniform, rest;
    for (NodeId id : nodes) {
      const auto& operands = w_.node(id).operands;
      const bool needs_loop =
          !loops_of(id, false).empty() || std::any_of(operands.begin(), operands.end(), [&](NodeId o) {
            return o.present() && std::find(nodes.begin(), nodes.end(), o) != nodes.end() &&
                   std::find(uniform.begin(), uniform.end(), o) == uniform.end();
          });
      (needs_loop ? rest : uniform).push_back(id);
    }
    uniform.insert(uniform.end(), rest.begin(), rest.end());
    return uniform;
  }

  /// Tasks share the lanes when there are no rows to share and no node needs the sum over all lanes.
  void decide_lane_tasks() {
    if (!group_.outer.empty() || !group_.inner.empty() || vectors_ < 64) return;
    lane_tasks_ = std::all_of(w_.nodes().begin(), w_.nodes().end(), [&](NodeId id) {
      return !sums_lanes(id) || w_.readers(id).empty();
    });
  }

  /// Nodes with inner loops see one vector of a row at a time, their values stay in registers, and tasks have parts of
  /// rows to share even when there is but one row. Inner loops are written out, so that the memory of neighbouring
  /// lanes, which inner dimensions usually come in between, is read and written as a block.
  bool splits_rows() const {
    if (group_.inner.empty() || lane_tasks_ || vectors_ == 1 || lane_size_ % s_.width != 0) return false;
    return std::all_of(w_.nodes().begin(), w_.nodes().end(), [&](NodeId id) {
      return result_has_lane(id) && !sums_lanes(id) && !is_late(w_.graph(), group_, w_.node(id)) &&
             nest(inner_of(id)) <= kMostWrittenOut;
    });
  }

  std::vector<DimId> inner_of(NodeId id) const {
    std::vector<DimId> dims;
    for (DimId d : group_.inner)
      if (w_.has(id, d)) dims.push_back(d);
    return dims;
  }

  int64_t nest(const std::vector<DimId>& dims) const {
    int64_t bodies = 1;
    for (DimId d : dims) bodies *= w_.graph().dim(d).size;
    return bodies;
  }

  bool any_late() const {
    return std::any_of(w_.nodes().begin(), w_.nodes().end(), [&](NodeId id) { return late(id); });
  }

  Int tasks() {
    rows_ = w_.size(group_.outer) * parts_;
    if (lane_tasks_) {
      const int64_t per_task = std::max<int64_t>(16, (vectors_ + s_.summing_tasks - 1) / s_.summing_tasks);
      vectors_per_task_ = per_task;
      task_count_ = constant((vectors_ + per_task - 1) / per_task);
      return task_count_;
    }
    const int64_t unit = whole_blocks() ? block_rows() : 1;
    const int64_t per_task = (std::max(1, s_.rows_per_task) + unit - 1) / unit;
    rows_per_task_ =
        (any_late() ? (rows_ / unit + (s_.summing_tasks - 1)) / s_.summing_tasks : constant(per_task)) * unit;
    task_count_ = (rows_ + (rows_per_task_ - 1)) / rows_per_task_;
    return task_count_;
  }

  void body() {
    for (auto id = w_.nodes().rbegin(); id != w_.nodes().rend(); ++id) find_reading_phases(*id);
    for (NodeId id : w_.nodes()) make_arrays(id);
    env_.lane = group_.lane;
    for (const auto& [id, partial] : partials_) start_late(id, partial);
    all_rows();
    for (const auto& [id, sums] : late_sums_) store_late(id, sums);
  }

  void all_rows() {
    if (lane_tasks_) {
      run_rows(constant(0), 1);
      return;
    }
    const Int first = b_->task() * rows_per_task_, end = loop::min(first + rows_per_task_, rows_);
    const int64_t together = rows_together();
    Int rest = first;
    if (whole_blocks()) {
      run_blocks(first, end);
      return;
    }
    if (together > 1) {
      rest = first + (end - first) / together * together;
      run_rows(b_->open_for(first, rest, together), together);
      b_->close();
    }
    run_rows(b_->open_for(rest, end), 1);
    b_->close();
  }

  /// Rows that go through the lanes together: what they share is loaded once, and their sums do not wait for each
  /// other.
  int64_t rows_together() const {
    if (!sums_any_lanes() || !group_.inner.empty()) return 1;
    const bool in_one_block = shared_phases_ == 0 || w_.graph().dim(group_.outer.back()).size % s_.rows_together == 0;
    return in_one_block ? s_.rows_together : 1;
  }
  bool sums_any_lanes() const {
    return !lane_tasks_ && !group_.outer.empty() &&
           std::any_of(w_.nodes().begin(), w_.nodes().end(), [&](NodeId id) { return sums_lanes(id); });
  }

  /// Whether blocks of rows fill the innermost outer dimension: then the rows of a block share all other indices.
  bool whole_blocks() const {
    if (!sums_any_lanes() || (!group_.inner.empty() && shared_phases_ == 0)) return false;
    const Dim& rows = w_.graph().dim(group_.outer.back());
    return !rows.is_free() && rows.size % rows_together() == 0;
  }

  /// Rows of a block: enough for long streams, few enough for several tasks.
  int64_t block_rows() const {
    const int64_t together = rows_together(), size = w_.graph().dim(group_.outer.back()).size;
    const int64_t most = std::min(size / s_.row_blocks, kBlockElements / lane_size_);
    int64_t rows = std::max(most / together, int64_t{1}) * together;
    while (size % rows != 0) rows -= together;
    return rows;
  }

  /// The rows that go together are a part of the block apart, so that each reads a stream of its own.
  void run_blocks(const Int& first, const Int& end) {
    const int64_t part = block_rows() / rows_together();
    const DimId d = group_.outer.back();
    const Int block = b_->open_for(first, end, block_rows());
    run_shared(block);
    const Int row = b_->open_for(constant(0), constant(part));
    slot_indices_.assign(static_cast<size_t>(rows_together()), indices_of(block));
    for (int64_t slot = 0; slot < rows_together(); ++slot) {
      Int& index = slot_indices_[static_cast<size_t>(slot)][d];
      index = index + row + slot * part;
    }
    run_own();
    b_->close();
    b_->close();
  }

  /// What the rows from this one on have in common.
  void run_shared(const Int& row) {
    slot_indices_ = {indices_of(row)};
    for (size_t i = 0; i < shared_phases_; ++i) run_phase(phases_[i]);
  }
  void run_own() {
    for (size_t i = shared_phases_; i < phases_.size(); ++i) run_phase(phases_[i]);
  }

  std::map<DimId, Int> indices_of(Int row) {
    std::map<DimId, Int> indices;
    for (auto d = group_.outer.rbegin(); d != group_.outer.rend(); ++d) {
      indices[*d] = d + 1 == group_.outer.rend() ? row : row % w_.size(*d);
      row = row / w_.size(*d);
    }
    return indices;
  }

  void run_rows(const Int& row, int64_t together) {
    first_vector_ = row % parts_;
    std::vector<std::map<DimId, Int>> rows;
    for (int64_t slot = 0; slot < together; ++slot) rows.push_back(indices_of((row + slot) / parts_));
    if (shared_phases_ > 0) run_shared(row / parts_);
    slot_indices_ = std::move(rows);
    run_own();
  }

  /// Runs the body for each of the rows that go together.
  template <typename Body>
  void each_row(Body body) {
    for (size_t slot = 0; slot < slot_indices_.size(); ++slot) {
      slot_ = static_cast<int64_t>(slot);
      for (const auto& [d, index] : slot_indices_[slot]) env_.at[d] = index;
      body();
    }
  }

  // ---- arrays ----

  Int array_index(NodeId id) const { return place_in_row(id) + slot_of(id) * array_size(id); }
  Int place_in_row(NodeId id) const {
    Int index = constant(0);
    for (DimId d : group_.inner)
      if (w_.has(id, d)) index = index * w_.graph().dim(d).size + env_.at.at(d);
    if (result_has_lane(id)) index = index * vectors_ + vector_;
    return index;
  }
  int64_t slot_of(NodeId id) const { return is_shared(id) ? 0 : slot_; }
  int64_t slots(NodeId id) const { return is_shared(id) ? 1 : rows_together(); }
  int64_t array_size(NodeId id) const {
    int64_t n = result_has_lane(id) ? vectors_ : 1;
    for (DimId d : group_.inner)
      if (w_.has(id, d)) n *= w_.graph().dim(d).size;
    return n;
  }

  void make_arrays(NodeId id) {
    if (late(id)) {
      partials_[id] = w_.temporary(w_.node(id).name + ".parts", task_count_ * w_.size(w_.node(id).type.dims));
      if (sums_in_task(id))
        late_sums_[id] = b_->array(plain_name(w_.node(id).name) + ".sums", array_size(id), result_has_lane(id),
                                   is_written_out_array(id));
      return;
    }
    const std::set<int>& phases = reading_phases_.at(id);
    const bool crosses = std::any_of(phases.begin(), phases.end(), [&](int phase) { return phase != phase_of(id); });
    if (!sums_in_phase(id) && (!crosses || computed_again(id))) return;
    arrays_[id] = b_->array(plain_name(w_.node(id).name), array_size(id) * slots(id), result_has_lane(id),
                            is_written_out_array(id));
    // Partial sums over lanes: vectors, several in flight.
    if (sums_lanes(id))
      lane_sums_[id] = b_->array(plain_name(w_.node(id).name) + ".lanes", flights() * slots(id), true, true);
  }

  /// Whether all loops that index it are written out.
  bool is_written_out_array(NodeId id) const {
    const bool vectors = !result_has_lane(id) || writes_out_vectors();
    const int64_t bodies = nest(inner_of(id));
    return parts_ > 1 || (vectors && is_written_out(bodies, bodies));
  }

  bool writes_out_vectors() const { return vectors_ == 1 || vectors_ <= s_.kept_vectors; }

  /// Whether later passes over a row compute the value again, because the row is too long to keep it.
  bool computed_again(NodeId id) const {
    return s_.kept_vectors > 0 && !writes_out_vectors() && result_has_lane(id) && is_pointwise(w_.node(id).op);
  }

  /// The phases that read the value, also to compute others again. Readers come first.
  void find_reading_phases(NodeId id) {
    std::set<int>& phases = reading_phases_[id];
    for (NodeId r : w_.readers(id)) {
      phases.insert(phase_of(r));
      if (computed_again(r)) phases.insert(reading_phases_[r].begin(), reading_phases_[r].end());
    }
  }

  /// Neighbours that a lane has of a row; 1 where the order of the lanes matters, or they do not fill the rows.
  int64_t columns() const {
    if (s_.columns == 1 || lane_tasks_ || group_.outer.empty() || parts_ > 1 ||
        lane_size_ % (s_.columns * s_.width) != 0 || !writes_out_vectors())
      return 1;
    const bool any_order = std::all_of(w_.nodes().begin(), w_.nodes().end(), [&](NodeId id) {
      return w_.node(id).op != Op::Put || !result_has_lane(id);
    });
    return any_order ? s_.columns : 1;
  }

  int64_t flights() const {
    return std::max<int64_t>(1, std::min<int64_t>(rows_together() > 1 ? 2 : s_.row_unroll, vectors_));
  }

  // ---- sums over rows ----

  /// Whether a task keeps its part of a sum to itself until it is done with its rows; parts with elements for each row
  /// lie in memory throughout.
  bool sums_in_task(NodeId id) const {
    const std::vector<DimId>& dims = w_.node(id).type.dims;
    return !lane_tasks_ && std::none_of(dims.begin(), dims.end(), [&](DimId d) {
      return std::find(group_.outer.begin(), group_.outer.end(), d) != group_.outer.end();
    });
  }

  void start_late(NodeId id, int partial) {
    if (late_sums_.count(id)) {
      start(id, late_sums_.at(id), 0);
      return;
    }
    const Int elements = w_.size(w_.node(id).type.dims);
    const Int i = b_->open_for(constant(0), elements);
    b_->store(partial, b_->task() * elements + i, b_->number(neutral(id)));
    b_->close();
  }

  void add_late(NodeId id, Value value) {
    if (sums_lanes(id)) value = b_->reduce(lane_reduction(w_.node(id)), masked(value, neutral(id)));
    if (late_sums_.count(id)) {
      const int sums = late_sums_.at(id);
      b_->store_array(sums, place_in_row(id), b_->apply(combine(id), {b_->load_array(sums, place_in_row(id)), value}));
      return;
    }
    const std::vector<DimId>& dims = w_.node(id).type.dims;
    const Value before = w_.load_slot(*b_, partials_.at(id), b_->task(), dims, env_);
    w_.store_slot(*b_, partials_.at(id), b_->task(), dims, env_, b_->apply(combine(id), {before, value}));
  }

  void store_late(NodeId id, int sums) {
    each_element(id, [&] {
      w_.store_slot(*b_, partials_.at(id), b_->task(), w_.node(id).type.dims, env_,
                    b_->load_array(sums, place_in_row(id)));
    });
  }

  // ---- phases ----

  void run_phase(const Phase& phase) {
    each_row([&] {
      for (NodeId id : phase.sweeps[0].nodes)
        if (sums_in_phase(id) && !late(id) && !sums_lanes(id)) start_sum(id);
    });
    std::vector<DimId> inner = phase.inner;
    const bool on_lanes = !inner.empty() && inner.back() == group_.lane && group_.lane != DimId{};
    if (on_lanes) inner.pop_back();
    if (parts_ > 1 && nest(inner) <= kMostWrittenOut) {
      write_out(phase, inner, on_lanes);
    } else {
      loop_over(phase, inner, on_lanes);
    }
    each_row([&] {
      for (NodeId id : phase.sweeps[0].nodes)
        if (arrays_.count(id) && sums_in_phase(id) && !late(id) && w_.stored(id)) store_sum(id);
    });
  }

  void write_out(const Phase& phase, const std::vector<DimId>& inner, bool on_lanes) {
    for (int64_t i = 0, bodies = nest(inner); i < bodies; ++i) {
      int64_t rest = i;
      for (auto d = inner.rbegin(); d != inner.rend(); ++d) {
        const int64_t n = w_.graph().dim(*d).size;
        env_.at[*d] = constant(rest % n);
        if (d == inner.rbegin() && rest % n == 0) w_.begin_columns(*d);
        rest /= n;
      }
      run_body(phase, on_lanes);
    }
    w_.begin_columns({});
    for (DimId d : inner) env_.at.erase(d);
  }

  void run_body(const Phase& phase, bool on_lanes) {
    if (on_lanes)
      lane_loops(phase);
    else
      each_row([&] { run_nodes(phase); });
  }

  void loop_over(const Phase& phase, const std::vector<DimId>& inner, bool on_lanes) {
    // Indices of results of lane sums are outside the loop over lanes, so each keeps its own partial vectors.
    int64_t bodies = nest(inner);
    for (DimId d : inner) {
      const int64_t n = w_.graph().dim(d).size;
      env_.at[d] = b_->open_for(constant(0), w_.size(d), 1, is_written_out(n, bodies));
      bodies /= n;
    }
    each_row([&] {
      for (NodeId id : phase.sweeps[0].nodes)
        if (lane_sums_.count(id)) start_lane_sum(id);
    });
    run_body(phase, on_lanes);
    end_lane_sums(phase, inner);
    for (size_t k = 0; k < inner.size(); ++k) b_->close();
    for (DimId d : inner) env_.at.erase(d);
  }

  double neutral(NodeId id) const { return neutral_value(w_.node(id)); }
  Op combine(NodeId id) const { return combining_op(w_.node(id)); }

  void start_sum(NodeId id) { start(id, arrays_.at(id), slot_ * array_size(id)); }

  void start(NodeId id, int array, int64_t first) {
    const Int i = b_->open_for(constant(0), constant(array_size(id)), 1, is_written_out_array(id));
    b_->store_array(array, i + first, b_->number(neutral(id)));
    b_->close();
  }

  void start_lane_sum(NodeId id) {
    const Int i = b_->open_for(constant(0), constant(flights()), 1, true);
    b_->store_array(lane_sums_.at(id), i + slot_ * flights(), b_->number(neutral(id)));
    b_->close();
  }

  /// The reductions follow each other, so that a target can do those of several rows in one go.
  void end_lane_sums(const Phase& phase, const std::vector<DimId>& inner) {
    for (NodeId id : phase.sweeps[0].nodes) {
      if (!lane_sums_.count(id)) continue;
      std::vector<Value> sums;
      each_row([&] { sums.push_back(vector_sum(id)); });
      for (Value& sum : sums) sum = b_->reduce(lane_reduction(w_.node(id)), sum);
      each_row([&] { end_lane_sum(id, sums[static_cast<size_t>(slot_)], inner); });
    }
  }

  Value vector_sum(NodeId id) {
    const int64_t first = slot_ * flights();
    Value sum = b_->load_array(lane_sums_.at(id), constant(first));
    for (int64_t i = 1; i < flights(); ++i)
      sum = b_->apply(combine(id), {sum, b_->load_array(lane_sums_.at(id), constant(first + i))});
    return sum;
  }

  void end_lane_sum(NodeId id, Value total, const std::vector<DimId>& inner) {
    const Op op = combine(id);
    // An inner loop that is summed too adds up across its iterations.
    std::vector<Int> summed;
    for (DimId d : inner)
      if (w_.reduces(id, d)) summed.push_back(env_.at.at(d));
    if (!summed.empty()) {
      Int iteration = summed[0];
      for (size_t i = 1; i < summed.size(); ++i) iteration = iteration + summed[i];
      b_->open_if(constant(0), iteration);
      b_->store_array(arrays_.at(id), array_index(id),
                      b_->apply(op, {b_->load_array(arrays_.at(id), array_index(id)), total}));
      b_->open_else();
      b_->store_array(arrays_.at(id), array_index(id), total);
      b_->close();
      return;
    }
    b_->store_array(arrays_.at(id), array_index(id), total);
  }

  void lane_loops(const Phase& phase) {
    const int64_t by = flights();
    if (lane_tasks_) {
      const Int first = b_->task() * vectors_per_task_;
      vector_ = b_->open_for(first, loop::min(first + vectors_per_task_, constant(vectors_)));
      lane_body(phase, constant(0), lane_size_ % s_.width != 0);
      b_->close();
      return;
    }
    if (columns() > 1 || lanes_in_any_order(phase)) {
      const int64_t by = std::max<int64_t>(columns(), 2);
      each_several(by, [&](const Int& several) {
        each_row([&] { each_of_several(several, by, [&] { run_nodes(phase); }); });
      });
      return;
    }
    const int64_t whole = parts_ > 1 ? 1 : lane_size_ / s_.width;  // vectors without missing lanes
    const int64_t in_flight = whole > 1 ? whole / by * by : 0;
    if (in_flight > 0) {
      const Int outer = b_->open_for(constant(0), constant(in_flight), by, writes_out_vectors());
      const Int flight = b_->open_for(constant(0), constant(by), 1, true);
      vector_ = outer + flight;
      lane_body(phase, flight, false);
      b_->close();
      b_->close();
    }
    for (int64_t v = in_flight; v < vectors_; ++v) {
      vector_ = constant(v);
      lane_body(phase, constant(v - in_flight < by ? v - in_flight : 0), v >= whole);
    }
  }

  /// Sums need no order of lanes, but that all values have the same one. Where rows are stored in bf16, the even
  /// elements and the odd ones of two vectors make the lanes: they lie in the halves of words, and words need no
  /// unpacking.
  bool lanes_in_any_order(const Phase& phase) const {
    if (lane_size_ % (2 * s_.width) != 0 || flights() != 2 || !whole_blocks()) return false;
    bool any = false;
    for (NodeId id : phase.sweeps[0].nodes) {
      if (!lane_sums_.count(id) && (!result_has_lane(id) || arrays_.count(id) || w_.stored(id) || late(id)))
        return false;
      for (NodeId o : w_.node(id).operands) {
        if (!o.present() || !result_has_lane(o) || (w_.inside(o) && !arrays_.count(o))) continue;
        if (w_.inside(o) || w_.is_immediate(o) || w_.node(id).op == Op::Put) return false;
        if (!w_.has(o, group_.outer.back())) continue;
        if (w_.node(o).type.dtype != DType::bf16) return false;
        any = true;
      }
    }
    return any;
  }

  /// Goes through the vectors of a row, `by` at a time, of which a lane has neighbours in memory.
  void each_several(int64_t by, const std::function<void(const Int&)>& body) {
    const Int several = b_->open_for(constant(0), constant(vectors_ / by), 1, columns() > 1);
    env_.lane_base = several * (by * s_.width);
    env_.lane_step = by;
    body(several);
    b_->close();
    env_.lane_step = 1;
    env_.lane_offset = 0;
  }
  void each_of_several(const Int& several, int64_t by, const std::function<void()>& body) {
    w_.begin_columns({});
    for (int64_t offset = 0; offset < by; ++offset) {
      env_.lane_offset = offset;
      vector_ = several * by + offset;
      flight_ = constant(offset % flights());
      body();
    }
  }

  void lane_body(const Phase& phase, const Int& flight, bool short_vector) {
    flight_ = flight;
    env_.lane_base = (first_vector_ + vector_) * constant(s_.width);
    env_.lane_valid = short_vector ? loop::min(constant(lane_size_) - env_.lane_base, constant(s_.width)) : Int();
    each_row([&] { run_nodes(phase); });
    env_.lane_valid = nullptr;
  }

  void run_nodes(const Phase& phase) {
    cache_.clear();
    for (NodeId id : phase.sweeps[0].nodes) run_node(id);
    cache_.clear();
  }

  Value masked(Value value, double neutral) {
    if (!env_.lane_valid) return value;
    return b_->apply(Op::Select, {lanes_before(*b_, env_.lane_base, constant(lane_size_)), value, b_->number(neutral)});
  }

  void run_node(NodeId id) {
    w_.comment(*b_, id);
    const Value value = evaluate(id);
    if (late(id)) {
      add_late(id, value);
      return;
    }
    if (lane_sums_.count(id)) {
      const Int at = flight_ + slot_ * flights();
      const Value sum = b_->load_array(lane_sums_.at(id), at);
      b_->store_array(lane_sums_.at(id), at, b_->apply(combine(id), {sum, masked(value, neutral(id))}));
      return;
    }
    if (sums_in_phase(id)) {
      const Int at = array_index(id);
      b_->store_array(arrays_.at(id), at, b_->apply(combine(id), {b_->load_array(arrays_.at(id), at), value}));
      return;
    }
    cache_[id] = value;
    if (arrays_.count(id)) b_->store_array(arrays_.at(id), array_index(id), value);
    if (w_.stored(id)) w_.store(*b_, id, env_, value);
  }

  void store_sum(NodeId id) {
    each_element(id, [&] { w_.store(*b_, id, env_, b_->load_array(arrays_.at(id), array_index(id))); });
  }

  /// Runs the body for each element, or vector of them, that a row has of the value.
  template <typename Body>
  void each_element(NodeId id, const Body& body) {
    std::vector<DimId> dims;
    for (DimId d : group_.inner)
      if (w_.has(id, d)) dims.push_back(d);
    for (DimId d : dims) env_.at[d] = b_->open_for(constant(0), w_.size(d), 1, is_written_out_array(id));
    if (!result_has_lane(id)) {
      body();
    } else if (columns() > 1) {
      each_several(columns(), [&](const Int& several) { each_of_several(several, columns(), body); });
    } else {
      vector_ = b_->open_for(constant(0), constant(vectors_), 1, writes_out_vectors());
      env_.lane_base = (first_vector_ + vector_) * constant(s_.width);
      if (lane_size_ % s_.width != 0)
        env_.lane_valid = loop::min(constant(lane_size_) - env_.lane_base, constant(s_.width));
      body();
      b_->close();
      env_.lane_valid = nullptr;
    }
    for (DimId d : dims) {
      b_->close();
      env_.at.erase(d);
    }
  }

  Value evaluate(NodeId id) {
    const Node& n = w_.node(id);
    switch (n.op) {
      case Op::Sum:
      case Op::Amax: return get(n.operands[0]);
      case Op::Dot: return b_->apply(Op::Mul, {get(n.operands[0]), get(n.operands[1])});
      case Op::Put: return w_.put(*b_, n, env_, get(n.operands[0]));
      case Op::At:
      case Op::Slice:
      case Op::Shift:
        return w_.moved(*b_, n, env_, [&] {
          auto here = std::exchange(cache_, {});
          const Value value = get(n.operands[0]);
          cache_ = std::move(here);
          return value;
        });
      default: break;
    }
    std::vector<Value> args;
    for (NodeId o : n.operands) args.push_back(get(o));
    return apply_pointwise(*b_, n, args);
  }

  Value get(NodeId o) {
    auto cached = cache_.find(o);
    if (cached != cache_.end()) return cached->second;
    Value value;
    if (w_.is_immediate(o))
      value = w_.immediate(*b_, o, env_);
    else if (w_.inside(o))
      value = arrays_.count(o) ? b_->load_array(arrays_.at(o), array_index(o)) : evaluate(o);
    else
      value = load(o);
    return cache_[o] = value;
  }

  /// Rows that are read once are fetched ahead: the processor's own reading ahead starts late and stops at pages.
  Value load(NodeId id) {
    const bool rows_follow = whole_blocks() && w_.has(id, group_.outer.back()) && result_has_lane(id);
    env_.ahead = rows_follow ? kBytesAhead / static_cast<int64_t>(bytes_of(w_.node(id).type.dtype)) : 0;
    const Value value = w_.load(*b_, id, env_);
    env_.ahead = 0;
    return value;
  }

  KernelWriter& w_;
  const KernelGroup& group_;
  const Schedule& s_;
  loop::StageBuilder* b_ = nullptr;
  std::vector<Phase> phases_;
  size_t shared_phases_ = 0;  // the first of them, for what the rows of a block share
  std::map<NodeId, int> phase_;
  std::map<NodeId, std::set<int>> reading_phases_;
  bool lane_tasks_ = false;
  int64_t lane_size_ = 1, vectors_ = 1, vectors_per_task_ = 1;  // vectors_: that a task sees of a row
  int64_t parts_ = 1;                                           // that a row is split into; see splits_rows
  Int first_vector_ = constant(0);                              // of the part
  Int rows_, rows_per_task_, task_count_;
  std::map<NodeId, int> arrays_, lane_sums_, partials_, late_sums_;
  Env env_;
  Int vector_, flight_;
  std::vector<std::map<DimId, Int>> slot_indices_;  // of the rows that go together
  int64_t slot_ = 0;
  std::map<NodeId, Value> cache_;
};

}  // namespace

LoweredKernel lower_rows(KernelWriter& writer) { return RowsLowering(writer).run(); }

}  // namespace mambac
