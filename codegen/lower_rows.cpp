// Rows: a task takes some rows (combinations of the outer indices) and runs the phases on each: loops over the lane
// dimension in vectors and over inner dimensions. A sum over lanes or inner loops ends a phase. Sums over rows are kept
// per task and added in a second stage, in the order of the tasks. Without outer dimensions, tasks share the lanes.
// What lacks the innermost outer dimension, and has sums, is computed once for a block of rows, in phases before
// theirs. Sums over the rows of a block (part_dot) come after theirs: what they sum is kept for all rows of the block.

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "codegen/rows_plan.h"
#include "passes/group.h"

namespace mambac {

namespace {

using loop::constant;
using loop::Int;
using loop::Value;

constexpr int64_t kBytesAhead = 2048;

class RowsLowering : private RowsPlan {
 public:
  explicit RowsLowering(KernelWriter& w) : RowsPlan(w) {}

  LoweredKernel run() {
    loop::Stage& stage = w_.add_stage("rows", nullptr);
    stage.tasks = tasks();
    if (leaves_parts() || parts_together() > 0) stage.teams = s_.teams;
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
                     (is_pointwise(reader.op) && reader.type.dims == dims && !runs_after(r, id) && !is_needed_again(r));
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

  Int tasks() {
    rows_ = w_.size(group_.outer) * parts_;
    if (lane_tasks_) {
      const int64_t each = std::max<int64_t>(16, (vectors_ + s_.summing_tasks - 1) / s_.summing_tasks);
      vectors_per_task_ = (each + flights() - 1) / flights() * flights();
      task_count_ = constant((vectors_ + vectors_per_task_ - 1) / vectors_per_task_);
      return task_count_;
    }
    const int64_t unit = whole_blocks() ? block_rows() : std::max<int64_t>(parts_together(), 1);
    const int64_t per_task = (std::max(1, s_.rows_per_task) + unit - 1) / unit;
    rows_per_task_ =
        (any_late() ? (rows_ / unit + (s_.summing_tasks - 1)) / s_.summing_tasks : constant(per_task)) * unit;
    task_count_ = (rows_ + (rows_per_task_ - 1)) / rows_per_task_;
    return task_count_;
  }

  void body() {
    for (NodeId id : w_.nodes())
      if (!is_part(id)) make_arrays(id);
    env_.lane = group_.lane;
    for (const auto& [id, partial] : partials_) start_late(id, partial);
    all_rows();
    for (const auto& [id, sums] : late_sums_) store_late(id, sums);
    for (const auto& [id, partial] : partials_) {
      if (!lane_sums_.count(id)) continue;
      const loop::OriginScope origin = w_.from(*b_, id);
      w_.store_slot(*b_, partial, b_->task(), {}, env_, b_->reduce(lane_reduction(w_.node(id)), vector_sum(id)));
    }
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
    if (parts_together() > 0) {
      run_with_added_parts(first, end);
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

  /// The rows that go together are a part of the block apart, so that each reads a stream of its own.
  void run_blocks(const Int& first, const Int& end) {
    const int64_t part = block_rows() / rows_together();
    const DimId d = group_.outer.back();
    const Int block = open_blocks(first, end, block_rows());
    run_shared(block);
    const Int row = leaves_parts() ? b_->open_for_teams(constant(part)) : b_->open_for(constant(0), constant(part));
    row_ = row;
    slot_indices_.assign(static_cast<size_t>(rows_together()), indices_of(block));
    for (int64_t slot = 0; slot < rows_together(); ++slot) {
      Int& index = slot_indices_[static_cast<size_t>(slot)][d];
      index = index + row + slot * part;
    }
    run_own();
    b_->close();
    for (NodeId id : part_sums_) run_part(id, block);
    close_blocks();
  }

  /// The blocks of a task. Where threads share what a block computes and a task has but one, there is no loop in which
  /// they would wait for each other.
  Int open_blocks(const Int& first, const Int& end, int64_t rows) {
    int64_t of_task = 0;
    const bool shared = leaves_parts() || parts_together() > 0;
    one_block_ = shared && is_constant(rows_per_task_, &of_task) && of_task == rows;
    return one_block_ ? first : b_->open_for(first, end, rows);
  }
  void close_blocks() {
    if (!one_block_) b_->close();
  }

  // ---- sums in parts ----

  /// Neighbouring parts of a row add up once what other kernels left.
  void run_with_added_parts(const Int& first, const Int& end) {
    const Int block = open_blocks(first, end, parts_together());
    slot_indices_ = {indices_of(block / parts_)};
    first_vector_ = block % parts_;
    int64_t threads = 0;
    each_row([&] {
      for (NodeId id : w_.nodes())
        if (adds_parts(id)) threads = add_parts(id, threads);
    });
    const Int part = b_->open_for_teams(constant(parts_together()));
    first_vector_ = block % parts_ + part;
    run_own();
    b_->close();
    close_blocks();
  }

  /// Each element is for one thread, from this one on; the thread behind the last one.
  int64_t add_parts(NodeId id, int64_t thread) {
    const loop::OriginScope origin = w_.from(*b_, id);
    const std::vector<DimId> dims = w_.inner_of_type(id);
    for (DimId d : dims) env_.at[d] = b_->open_for(constant(0), w_.size(d), 1, false, d == dims[0] ? thread : 0);
    w_.comment(*b_, id);
    b_->store_array(arrays_.at(id), array_index(id), b_->number(0));
    add_parts(id);
    for (DimId d : dims) {
      b_->close();
      env_.at.erase(d);
    }
    end_sum(id);
    return thread + w_.count(dims);
  }

  /// Several at a time, none of whose loads waits for another.
  void add_parts(NodeId id) {
    const int64_t parts = w_.graph().dim(added_parts_).size, each = std::gcd(parts, s_.inner_unroll);
    const Int first = b_->open_for(constant(0), constant(parts), each);
    Value sum = b_->load_array(arrays_.at(id), array_index(id));
    for (int64_t i = 0; i < each; ++i) {
      env_.at[added_parts_] = first + i;
      sum = b_->apply(Op::Add, {sum, w_.load(*b_, w_.node(id).operands[0], env_)});
    }
    b_->store_array(arrays_.at(id), array_index(id), sum);
    b_->close();
    env_.at.erase(added_parts_);
  }

  /// The lanes are the innermost dimension that the terms' other factor has of its own; teams share its vectors.
  void run_part(NodeId id, const Int& block) {
    const loop::OriginScope origin = w_.from(*b_, id);
    const std::vector<DimId>& attributes = w_.node(id).attrs.dims;
    env_.at = indices_of(block);
    env_.at[attributes[1]] = env_.at.at(attributes[0]) / block_rows();
    std::vector<DimId> own;
    for (DimId d : w_.node(id).type.dims)
      if (!env_.at.count(d)) own.push_back(d);
    env_.lane = own.empty() ? DimId{} : own.back();
    if (!own.empty()) own.pop_back();
    for (DimId d : own) env_.at[d] = b_->open_for(constant(0), w_.size(d));
    const int64_t lanes = env_.lane == DimId{} ? 1 : w_.graph().dim(env_.lane).size;
    env_.lane_base = b_->open_for_teams(constant((lanes + s_.width - 1) / s_.width)) * constant(s_.width);
    if (lanes % s_.width != 0) env_.lane_valid = loop::min(constant(lanes) - env_.lane_base, constant(s_.width));
    w_.comment(*b_, id);
    w_.store(*b_, id, env_, sum_of_rows(id));
    for (size_t open = own.size() + 1; open > 0; --open) b_->close();
    env_ = {};
    env_.lane = group_.lane;
  }

  Value sum_of_rows(NodeId id) {
    std::vector<Value> x = factors(id, 0), y = factors(id, 1);
    Value sum = b_->apply(Op::Mul, {x[0], y[0]});
    for (size_t i = 1; i < x.size(); ++i) sum = b_->apply(Op::Add, {sum, b_->apply(Op::Mul, {x[i], y[i]})});
    return sum;
  }

  /// An operand of the sum, by the rows of the block.
  std::vector<Value> factors(NodeId sum, size_t side) {
    const NodeId o = w_.node(sum).operands[side];
    if (!w_.inside(o)) return w_.load_run(*b_, o, env_, w_.node(sum).attrs.dims[0], block_rows());
    std::vector<Value> rows;
    for (int64_t i = 0; i < block_rows(); ++i) rows.push_back(b_->load_array(terms_.at(o), constant(i)));
    return rows;
  }

  void keep_term(NodeId id, Value value) {
    if (terms_.count(id)) b_->store_array(terms_.at(id), row_, value);
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

  void make_arrays(NodeId id) {
    if (late(id)) {
      partials_[id] = w_.temporary(w_.node(id).name + ".parts", task_count_ * w_.size(w_.node(id).type.dims));
      if (sums_in_task(id))
        late_sums_[id] = b_->array(plain_name(w_.node(id).name) + ".sums", array_size(id), result_has_lane(id),
                                   is_written_out_array(id));
      if (lane_tasks_) make_lane_sums(id);
      return;
    }
    if (is_term(id)) terms_[id] = b_->array(plain_name(w_.node(id).name) + ".rows", block_rows(), false, false);
    if (!is_kept(id)) return;
    arrays_[id] = b_->array(plain_name(w_.node(id).name), array_size(id) * slots(id), result_has_lane(id),
                            is_written_out_array(id));
    if (sums_lanes(id)) make_lane_sums(id);
  }

  /// Partial sums over lanes: vectors, several in flight.
  void make_lane_sums(NodeId id) {
    lane_sums_[id] = b_->array(plain_name(w_.node(id).name) + ".lanes", flights() * slots(id), true, true);
  }

  // ---- sums over rows ----

  void start_late(NodeId id, int partial) {
    const loop::OriginScope origin = w_.from(*b_, id);
    if (lane_sums_.count(id)) return start_lane_sum(id);
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
    const loop::OriginScope origin = w_.from(*b_, id);
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
    const int64_t most = parts_together() > 0 ? kMaxInner : kMostWrittenOut;
    if (parts_ > 1 && w_.count(inner) <= most) {
      write_out(phase, inner, on_lanes);
    } else {
      loop_over(phase, inner, on_lanes);
    }
    each_row([&] {
      for (NodeId id : phase.sweeps[0].nodes)
        if (arrays_.count(id) && sums_in_phase(id) && !late(id)) end_sum(id);
    });
  }

  void write_out(const Phase& phase, const std::vector<DimId>& inner, bool on_lanes) {
    for (int64_t i = 0, bodies = w_.count(inner); i < bodies; ++i) {
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
    int64_t bodies = w_.count(inner), loops = 0;
    for (DimId d : inner) {
      const int64_t n = w_.graph().dim(d).size, by = s_.inner_unroll;
      const bool in_parts = d == inner.back() && !is_written_out(n, bodies) && by > 1 && n % by == 0;
      env_.at[d] = b_->open_for(constant(0), w_.size(d), in_parts ? by : 1, is_written_out(n, bodies));
      if (in_parts) env_.at[d] = env_.at[d] + b_->open_for(constant(0), constant(by), 1, true);
      loops += in_parts ? 2 : 1;
      bodies /= n;
    }
    each_row([&] {
      for (NodeId id : phase.sweeps[0].nodes)
        if (lane_sums_.count(id) && !late(id)) start_lane_sum(id);
    });
    run_body(phase, on_lanes);
    end_lane_sums(phase, inner);
    for (; loops > 0; --loops) b_->close();
    for (DimId d : inner) env_.at.erase(d);
  }

  double neutral(NodeId id) const { return neutral_value(w_.node(id)); }
  Op combine(NodeId id) const { return combining_op(w_.node(id)); }

  void start_sum(NodeId id) { start(id, arrays_.at(id), slot_ * array_size(id)); }

  void start(NodeId id, int array, int64_t first) {
    const loop::OriginScope origin = w_.from(*b_, id);
    const Int i = b_->open_for(constant(0), constant(array_size(id)), 1, is_written_out_array(id));
    b_->store_array(array, i + first, b_->number(neutral(id)));
    b_->close();
  }

  void start_lane_sum(NodeId id) {
    const loop::OriginScope origin = w_.from(*b_, id);
    const Int i = b_->open_for(constant(0), constant(flights()), 1, true);
    b_->store_array(lane_sums_.at(id), i + slot_ * flights(), b_->number(neutral(id)));
    b_->close();
  }

  /// The reductions follow each other, so that a target can do those of several rows in one go.
  void end_lane_sums(const Phase& phase, const std::vector<DimId>& inner) {
    for (NodeId id : phase.sweeps[0].nodes) {
      if (!lane_sums_.count(id) || late(id)) continue;
      const loop::OriginScope origin = w_.from(*b_, id);
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
    if (lane_tasks_) return vectors_of_task(phase);
    if (columns() > 1 || lanes_in_any_order(phase)) {
      const int64_t by = std::max<int64_t>(columns(), 2);
      each_several(
          by, [&](const Int& several) { each_row([&] { each_of_several(several, by, [&] { run_nodes(phase); }); }); });
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

  /// Several at a time, as far as they go, then one by one.
  void vectors_of_task(const Phase& phase) {
    const int64_t by = flights(), several = lane_size_ / s_.width / by * by;
    const Int first = b_->task() * vectors_per_task_, end = first + vectors_per_task_;
    const Int begin = b_->open_for(first, loop::min(end, constant(several)), by);
    if (columns() > 1) {
      env_.lane_base = begin * s_.width;
      env_.lane_step = by;
      each_of_several(begin / by, by, [&] { run_nodes(phase); });
      env_.lane_step = 1;
      env_.lane_offset = 0;
    } else {
      const Int flight = b_->open_for(constant(0), constant(by), 1, true);
      vector_ = begin + flight;
      lane_body(phase, flight, false);
      b_->close();
    }
    b_->close();
    if (several == vectors_) return;
    vector_ = b_->open_for(loop::max(first, constant(several)), loop::min(end, constant(vectors_)));
    lane_body(phase, constant(0), lane_size_ % s_.width != 0);
    b_->close();
  }

  /// Sums need no order of lanes, but that all values have the same one. Where rows are stored in bf16, the even
  /// elements and the odd ones of two vectors make the lanes: they lie in the halves of words, and words need no
  /// unpacking.
  bool lanes_in_any_order(const Phase& phase) const {
    if (s_.width < 2 || lane_size_ % (2 * s_.width) != 0 || flights() != 2 || !whole_blocks()) return false;
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
    const loop::OriginScope origin = w_.from(*b_, id);
    w_.comment(*b_, id);
    const Value value = evaluate(id);
    if (lane_sums_.count(id)) {
      const Int at = flight_ + slot_ * flights();
      const Value sum = b_->load_array(lane_sums_.at(id), at);
      b_->store_array(lane_sums_.at(id), at, b_->apply(combine(id), {sum, masked(value, neutral(id))}));
      return;
    }
    if (late(id)) {
      add_late(id, value);
      return;
    }
    if (sums_in_phase(id)) {
      const Int at = array_index(id);
      b_->store_array(arrays_.at(id), at, b_->apply(combine(id), {b_->load_array(arrays_.at(id), at), value}));
      return;
    }
    cache_[id] = value;
    if (arrays_.count(id)) b_->store_array(arrays_.at(id), array_index(id), value);
    keep_term(id, value);
    if (w_.stored(id)) store(id, value);
  }

  void end_sum(NodeId id) {
    const loop::OriginScope origin = w_.from(*b_, id);
    if (terms_.count(id)) keep_term(id, b_->load_array(arrays_.at(id), array_index(id)));
    if (w_.stored(id)) each_element(id, [&] { store(id, b_->load_array(arrays_.at(id), array_index(id))); });
  }

  /// What all parts of a row have the first one stores.
  void store(NodeId id, Value value) {
    const bool again = parts_ > 1 && !result_has_lane(id);
    if (again) b_->open_if(first_vector_, constant(1));
    w_.store(*b_, id, env_, value);
    if (again) b_->close();
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
    const loop::OriginScope origin = w_.from(*b_, id);
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

  loop::StageBuilder* b_ = nullptr;
  int64_t vectors_per_task_ = 1;
  Int first_vector_ = constant(0);                              // of the part
  Int rows_, rows_per_task_, task_count_;
  std::map<NodeId, int> arrays_, lane_sums_, partials_, late_sums_;
  std::map<NodeId, int> terms_;  // of sums over the rows of a block
  Int row_;                      // of the block
  bool one_block_ = false;
  Env env_;
  Int vector_, flight_;
  std::vector<std::map<DimId, Int>> slot_indices_;  // of the rows that go together
  int64_t slot_ = 0;
  std::map<NodeId, Value> cache_;
};

}  // namespace

LoweredKernel lower_rows(KernelWriter& writer) { return RowsLowering(writer).run(); }

}  // namespace mambac
