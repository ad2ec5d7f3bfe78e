// A walk: lanes own channels and walk time in tiles.
//
//   for each task (outer indices, part of the lane blocks):
//     once:      states to their start, values without time ("invariants") computed and kept
//     each tile: values without lanes; then for each lane block the phases: inner loops around sweeps over the steps;
//                then sums over lanes
//     at last:   sums over time and last states are stored
//
// Steps are numbered in the order of the walk; step j of a tile stands at time t0 + j, or t0 + length - 1 - j.

#include <algorithm>
#include <set>

#include "codegen/kernel_writer.h"
#include "codegen/phases.h"
#include "ir/op.h"
#include "passes/group.h"

namespace mambac {

namespace {

using loop::constant;
using loop::Int;
using loop::Value;

constexpr int64_t kUnrolledInner = 4;

class WalkLowering {
 public:
  explicit WalkLowering(KernelWriter& w) : w_(w), group_(w.group()), s_(w.schedule()) {}

  LoweredKernel run() {
    sort_nodes();
    plan();
    tasks();
    body();
    for (const auto& [id, partial] : partials_) w_.finish(id, partial.first, partial.second);
    return w_.take();
  }

 private:
  // ---- what each node is ----

  bool walks(NodeId id) const { return w_.spans(id, group_.along); }
  bool lanes(NodeId id) const { return w_.has_lane(id); }
  bool late(NodeId id) const { return is_late(w_.graph(), group_, w_.node(id)); }
  bool result_has_lane(NodeId id) const { return group_.lane != DimId{} && w_.has(id, group_.lane); }
  bool directional(NodeId id) const { return is_directional(w_.node(id).op) && w_.node(id).op != Op::ChunkStarts; }
  bool backward(NodeId id) const { return w_.node(id).op == Op::Overlap || w_.node(id).attrs.reverse; }
  bool against(NodeId id) const { return backward(id) != group_.reverse; }

  std::vector<DimId> inner_of_type(NodeId id) const {
    std::vector<DimId> dims;
    for (DimId d : group_.inner)
      if (w_.has(id, d)) dims.push_back(d);
    return dims;
  }
  std::vector<DimId> inner_of(NodeId id) const {
    if (w_.node(id).op == Op::At || w_.node(id).op == Op::Slice) return inner_of_type(id);
    std::vector<DimId> dims;
    for (DimId d : group_.inner)
      if (w_.spans(id, d)) dims.push_back(d);
    return dims;
  }
  int64_t count(const std::vector<DimId>& dims) const {
    int64_t n = 1;
    for (DimId d : dims) n *= w_.graph().dim(d).size;
    return n;
  }

  void sort_nodes() {
    for (NodeId id : w_.nodes()) {
      const Node& n = w_.node(id);
      if (n.op == Op::ChunkStarts)
        chunks_[n.operands[0]] = id;
      else if (!walks(id))
        invariants_.push_back(id);
      else if (n.op == Op::At && ends_state(id))
        last_states_.push_back(id);
      else
        (lanes(id) ? lane_nodes_ : uniform_nodes_).push_back(id);
    }
  }

  /// at<L, last>(scan): the carried state when the walk is over.
  bool ends_state(NodeId id) const {
    const Node& n = w_.node(id);
    const NodeId x = n.operands[0];
    if (n.attrs.dims[0] != group_.along || !w_.inside(x) || w_.node(x).op != Op::Scan) return false;
    return !against(x) && n.attrs.integer == (group_.reverse ? 0 : -1);
  }

  bool crosses_index(NodeId reader) const {
    const Op op = w_.node(reader).op;
    if (op == Op::Window || op == Op::Overlap) return op == Op::Window;
    return (op == Op::At || op == Op::Slice || op == Op::Shift) && w_.node(reader).attrs.dims[0] != group_.along;
  }

  bool sums_inner(NodeId id) const {
    const std::vector<DimId> reduced = reduced_dims(w_.node(id));
    return std::any_of(reduced.begin(), reduced.end(), [&](DimId d) {
      return std::find(group_.inner.begin(), group_.inner.end(), d) != group_.inner.end();
    });
  }

  /// Sums over inner loops that are complete when the phase is: kept for the steps of the tile. Those over time or
  /// lanes, too, go on.
  bool sums_in_tile(NodeId id) const { return sums_inner(id) && !(late(id) && (sums_time(id) || sums_lanes(id))); }

  PhasePlan plan_of(const std::vector<NodeId>& nodes) {
    PhaseRules rules;
    rules.inner = [&](NodeId id) { return inner_of(id); };
    rules.against = [&](NodeId id) {  // a window only reads taps
      return directional(id) && w_.node(id).op != Op::Window ? std::optional<bool>(against(id)) : std::nullopt;
    };
    rules.after_phase = [&](NodeId reader, NodeId operand) { return sums_inner(operand) || crosses_index(reader); };
    return plan_phases(w_.graph(), nodes, rules);
  }

  void plan() {
    uniform_plan_ = plan_of(uniform_nodes_);
    lane_plan_ = plan_of(lane_nodes_);
    find_staged(uniform_plan_);
    find_staged(lane_plan_);
  }

  /// Values from memory that a phase would read again in loops they do not have, and narrow ones that would be widened
  /// again and again, are first copied into an array of the tile.
  void find_staged(const PhasePlan& plan) {
    for (const auto& [id, slot] : plan.slots) {
      for (NodeId o : w_.node(id).operands) {
        if (!o.present() || w_.inside(o) || w_.is_immediate(o) || !w_.has(o, group_.along)) continue;
        const bool again = inner_of_type(o) != plan.phases[static_cast<size_t>(slot.phase)].inner;
        const bool widened = w_.node(o).type.dtype != DType::f32;
        const bool tap = w_.node(id).op == Op::Window && w_.node(id).operands[0] == o;
        const bool moved = crosses_index(id);
        if (result_has_lane(o) ? again && !tap && !moved : lanes(id) && widened) staged_.insert(o);
      }
    }
  }

  // ---- tasks and arrays ----

  void tasks() {
    const int64_t lane_size = group_.lane == DimId{} ? 1 : w_.graph().dim(group_.lane).size;
    blocks_ = (lane_size + s_.width - 1) / s_.width;
    blocks_per_task_ = std::min<int64_t>(blocks_, std::max(1, s_.blocks_per_task));
    parts_ = (blocks_ + blocks_per_task_ - 1) / blocks_per_task_;
    has_tail_ = lane_size % s_.width != 0;
  }

  int64_t tile() const { return s_.tile; }
  bool registers() const { return s_.states_in_registers; }
  int64_t state_count() const { return registers() ? 1 : blocks_per_task_; }

  /// An array of a value over the inner loops of its type, for each lane block where it has lanes.
  int value_array(NodeId id, const char* what, int64_t per_block) {
    const bool lane = lanes(id);
    return b_->array(w_.node(id).name + "." + what, per_block * (lane ? state_count() : 1), lane,
                     registers() && per_block <= 256);
  }

  /// An array over the steps of a tile.
  int tile_array(NodeId id, const std::vector<DimId>& inner) {
    const int64_t n = count(inner) * tile();
    const bool small = full_tile() && (registers() || (inner.empty() && tile() <= 8));
    return b_->array(w_.node(id).name, n, lanes(id) || result_has_lane(id), small);
  }

  void make_arrays() {
    for (NodeId id : invariants_)
      if (!late(id)) invariant_arrays_[id] = value_array(id, "invariant", count(inner_of_type(id)));
    for (NodeId id : hoisted_loads()) invariant_arrays_[id] = value_array(id, "invariant", count(inner_of_type(id)));
    for (const auto* plan : {&uniform_plan_, &lane_plan_})
      for (const auto& [id, slot] : plan->slots) make_lasting_arrays(id);
  }

  /// Arrays that live for one tile. Whole tiles and the short one at the end have their own, so that those of whole
  /// tiles are indexed by constants and stay in registers.
  void make_tile_arrays() {
    tile_arrays_.clear();
    sweep_arrays_.clear();
    made_again_.clear();
    taps_.clear();
    for (NodeId o : staged_) tile_arrays_[o] = tile_array(o, inner_of_type(o));
    for (const auto* plan : {&uniform_plan_, &lane_plan_})
      for (const auto& [id, slot] : plan->slots) make_node_arrays(*plan, id, slot);
  }

  /// Values from memory without time, but with lanes: loaded once for all tiles.
  std::vector<NodeId> hoisted_loads() const {
    std::set<NodeId> found;
    for (NodeId id : lane_nodes_)
      for (NodeId o : w_.node(id).operands) {
        if (!o.present() || w_.inside(o) || w_.is_immediate(o) || w_.has(o, group_.along)) continue;
        const int start = operand_index(w_.node(id).op, "start"), resume = operand_index(w_.node(id).op, "resume");
        const bool is_state = (start >= 0 && w_.node(id).operands[static_cast<size_t>(start)] == o) ||
                              (resume >= 0 && w_.node(id).operands[static_cast<size_t>(resume)] == o);
        if (result_has_lane(o) && !is_state) found.insert(o);
      }
    return {found.begin(), found.end()};
  }

  void make_lasting_arrays(NodeId id) {
    const Node& n = w_.node(id);
    const int64_t inner = count(inner_of_type(id));
    if (late(id)) {
      make_late(id);
    } else if (n.op == Op::Scan || n.op == Op::Delay || n.op == Op::Overlap) {
      states_[id] = value_array(id, "state", inner);
    } else if (n.op == Op::Window) {
      const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
      states_[id] = value_array(id, "history", (taps - 1) * (inner / taps));
    }
  }

  void make_node_arrays(const PhasePlan& plan, NodeId id, PhaseSlot slot) {
    const Node& n = w_.node(id);
    const int64_t inner = count(inner_of_type(id));
    if (late(id) && !sums_in_tile(id)) return;
    if (n.op == Op::Window || n.op == Op::Overlap) {
      const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
      const int64_t row = n.op == Op::Window ? tile() + taps - 1 : (taps + 1) * (tile() + 1);
      taps_[id] = b_->array(n.name + ".taps", row * (inner / taps), lanes(id), full_tile() && (registers() || tile() <= 8));
    }
    if (sums_in_tile(id)) {
      tile_arrays_[id] = tile_array(id, inner_of_type(id));
      return;
    }
    if (taps_.count(id)) return;  // read from its taps
    bool crosses_phase = false, crosses_sweep = false;
    for (NodeId r : w_.readers(id)) {
      if (w_.node(r).op == Op::ChunkStarts || (w_.node(r).op == Op::At && ends_state(r))) continue;
      auto other = plan.slots.find(r);
      if (other == plan.slots.end() || other->second.phase != slot.phase)
        crosses_phase = true;  // also: a uniform value read by lanes
      else if (other->second.sweep != slot.sweep)
        crosses_sweep = true;
    }
    if (crosses_phase)
      tile_arrays_[id] = tile_array(id, inner_of_type(id));
    else if (crosses_sweep && !is_made_again(plan, id, slot))
      sweep_arrays_[id] = tile_array(id, {});
  }

  /// One product or sum of values that later sweeps have anyway is made again there: cheaper than a store and loads.
  bool is_made_again(const PhasePlan& plan, NodeId id, PhaseSlot slot) {
    const Op op = w_.node(id).op;
    if (op != Op::Mul && op != Op::Add && op != Op::Sub && op != Op::Neg) return false;
    const auto& operands = w_.node(id).operands;
    const bool at_hand = std::all_of(operands.begin(), operands.end(), [&](NodeId o) {
      auto placed = plan.slots.find(o);
      return placed == plan.slots.end() || placed->second.phase != slot.phase;
    });
    if (at_hand) made_again_.insert(id);
    return at_hand;
  }

  // ---- sums that outlive the kernel ----

  bool reduces(NodeId id, DimId d) const {
    const std::vector<DimId> reduced = reduced_dims(w_.node(id));
    return std::find(reduced.begin(), reduced.end(), d) != reduced.end();
  }
  bool sums_time(NodeId id) const { return reduces(id, group_.along); }
  bool sums_lanes(NodeId id) const { return group_.lane != DimId{} && reduces(id, group_.lane); }

  void make_late(NodeId id) {
    if (w_.node(id).op == Op::At) return;
    const int64_t inner = count(inner_of_type(id));
    if (sums_time(id)) {
      const bool per_block = lanes(id) && !sums_lanes(id);
      sums_[id] = b_->array(w_.node(id).name + ".sum", inner * (per_block ? state_count() : 1), lanes(id),
                            registers() && per_block);
    } else if (sums_lanes(id)) {
      sums_[id] = b_->array(w_.node(id).name + ".sum", inner * tile(), true, false);
    }
    std::vector<DimId> slot_dims;
    for (DimId d : group_.outer)
      if (reduces(id, d)) slot_dims.push_back(d);
    const bool parts = sums_lanes(id) && parts_ > 1;
    if (slot_dims.empty() && !parts) return;
    Int slots = w_.size(slot_dims);
    if (parts) slots = slots * parts_;
    partials_[id] = {w_.temporary(w_.node(id).name + ".parts", slots * w_.size(w_.node(id).type.dims)), slots};
  }

  /// Stores one finished piece of a late sum: into its place, or into this task's slot of the partial results.
  void store_late(NodeId id, const Env& env, Value value) {
    auto partial = partials_.find(id);
    if (partial == partials_.end()) {
      w_.store(*b_, id, env, value);
      return;
    }
    Int slot = constant(0);
    for (DimId d : group_.outer)
      if (reduces(id, d)) slot = slot * w_.size(d) + env.at.at(d);
    if (sums_lanes(id) && parts_ > 1) slot = slot * parts_ + part_;
    const std::vector<DimId>& dims = w_.node(id).type.dims;
    Int offset = slot, lane_stride;
    for (DimId d : dims) {
      offset = offset * w_.size(d);
      if (lane_stride) lane_stride = lane_stride * w_.size(d);
      if (d == env.lane) {
        offset = offset + env.lane_base;
        lane_stride = constant(1);
      } else {
        offset = offset + env.at.at(d);
      }
    }
    b_->store(partial->second.first, offset, value, lane_stride, lane_stride ? env.lane_valid : nullptr);
  }

  // ---- the body ----

  void body() {
    const Int count = w_.size(group_.outer) * parts_;
    loop::Stage& stage = w_.add_stage("walk", count);
    loop::StageBuilder builder(stage);
    b_ = &builder;
    make_arrays();
    part_ = b_->task() % parts_;
    Int rest = b_->task() / parts_;
    for (auto d = group_.outer.rbegin(); d != group_.outer.rend(); ++d) {
      env_.at[*d] = rest % w_.size(*d);
      rest = rest / w_.size(*d);
    }
    env_.lane = group_.lane;
    first_block_ = part_ * blocks_per_task_;
    block_count_ = parts_ == 1 ? constant(blocks_)
                               : loop::min(constant(blocks_per_task_), constant(blocks_) - first_block_);
    if (registers()) {
      open_blocks();
      prologue_uniform();
      prologue_lanes();
      all_tiles();
      epilogue();
      b_->close();
    } else {
      prologue_uniform();
      open_blocks();
      prologue_lanes();
      b_->close();
      all_tiles();
      open_blocks();
      epilogue();
      b_->close();
      epilogue_uniform();
    }
    if (registers()) check(no_uniform_late(), "a walk with states in registers cannot sum over lanes");
  }

  bool no_uniform_late() const {
    return std::none_of(sums_.begin(), sums_.end(), [&](const auto& s) { return sums_lanes(s.first); });
  }

  void open_blocks() {
    const Int block = b_->open_for(constant(0), block_count_);
    block_ = registers() ? constant(0) : block;
    env_.lane_base = (first_block_ + block) * constant(s_.width);
    env_.lane_valid = nullptr;
    if (group_.lane == DimId{})
      env_.lane_valid = constant(1);
    else if (has_tail_)
      env_.lane_valid = loop::min(w_.size(group_.lane) - env_.lane_base, constant(s_.width));
  }

  /// Opens the inner loops; returns how many.
  void open_inner(const std::vector<DimId>& dims) {
    for (DimId d : dims) {
      const int64_t n = w_.graph().dim(d).size;
      env_.at[d] = b_->open_for(constant(0), constant(n), 1, registers() || n <= kUnrolledInner);
    }
  }
  void close_inner(const std::vector<DimId>& dims) {
    for (DimId d : dims) {
      b_->close();
      env_.at.erase(d);
    }
  }

  Int inner_index(const std::vector<DimId>& dims) const {
    Int index = constant(0);
    for (DimId d : dims) index = index * w_.graph().dim(d).size + env_.at.at(d);
    return index;
  }

  Int block_offset(NodeId id, int64_t per_block) const { return lanes(id) ? block_ * per_block : constant(0); }

  void prologue_uniform() { prologue(false); }
  void prologue_lanes() { prologue(true); }

  void prologue(bool with_lanes) {
    cache_.clear();
    for (const auto& [id, array] : invariant_arrays_) {
      if (w_.inside(id) || lanes(id) != with_lanes) continue;
      each_inner(inner_of_type(id), [&, id = id, array = array] {
        b_->store_array(array, block_offset(id, count(inner_of_type(id))) + inner_index(inner_of_type(id)),
                        w_.load(*b_, id, env_));
      });
    }
    for (NodeId id : invariants_) {
      if (late(id) || lanes(id) != with_lanes) continue;
      compute_invariant(id);
    }
    for (const auto& [id, array] : states_)
      if (lanes(id) == with_lanes) init_state(id, array);
    for (const auto& [id, array] : sums_) {
      const bool here = sums_time(id) && (lanes(id) && !sums_lanes(id)) == with_lanes;
      if (here) zero_reduction(id, array, block_late(id), count(inner_of_type(id)));
    }
  }

  Int block_late(NodeId id) const {
    return lanes(id) && !sums_lanes(id) ? block_ * count(inner_of_type(id)) : constant(0);
  }

  template <typename Body>
  void each_inner(const std::vector<DimId>& dims, Body body) {
    open_inner(dims);
    cache_.clear();
    body();
    close_inner(dims);
    cache_.clear();
  }

  void compute_invariant(NodeId id) {
    const std::vector<DimId> dims = inner_of_type(id), all = inner_of(id);
    const int array = invariant_arrays_.at(id);
    const Int base = block_offset(id, count(dims));
    if (all == dims) {
      each_inner(dims, [&] { b_->store_array(array, base + inner_index(dims), evaluate(id)); });
      return;
    }
    zero_reduction(id, array, base, count(dims));
    each_inner(all, [&] { accumulate(array, base + inner_index(dims), combine(id), evaluate(id)); });
  }

  void zero_reduction(NodeId id, int array, const Int& first, int64_t n) {
    const Int i = b_->open_for(constant(0), constant(n), 1, registers());
    b_->store_array(array, first + i, b_->number(neutral_value(w_.node(id))));
    b_->close();
  }

  Op combine(NodeId id) const { return combining_op(w_.node(id)); }

  void accumulate(int array, const Int& at, Op op, Value value) {
    b_->store_array(array, at, b_->apply(op, {b_->load_array(array, at), value}));
  }

  NodeId operand_of(NodeId id, const char* name) const { return operand(w_.node(id), name); }

  /// States before the first step: the start operand, or 0. Resumed ones are set at every tile.
  void init_state(NodeId id, int array) {
    const Node& n = w_.node(id);
    if (operand_of(id, "resume").present()) return;
    const NodeId start = n.op == Op::Overlap ? NodeId{} : operand_of(id, "start");
    each_state(id, [&](const Int& at) {
      b_->store_array(array, at, start.present() ? start_value(start) : b_->number(0));
    });
  }

  Value start_value(NodeId start) {
    if (w_.inside(start)) return get(start);
    return w_.is_immediate(start) ? w_.immediate(*b_, start, env_) : w_.load(*b_, start, env_);
  }

  /// Runs the body for each element of a node's state with env at the matching indices of a start value. The history
  /// of a window holds the taps 1 to K-1 of the window before.
  template <typename Body>
  void each_state(NodeId id, Body body) {
    const Node& n = w_.node(id);
    std::vector<DimId> dims = inner_of_type(id);
    const int64_t per_block = count(dims);
    if (n.op != Op::Window) {
      each_inner(dims, [&] { body(block_offset(id, per_block) + inner_index(dims)); });
      return;
    }
    const DimId taps = n.attrs.dims[1];
    const int64_t k = w_.graph().dim(taps).size;
    dims.erase(std::find(dims.begin(), dims.end(), taps));
    open_inner(dims);
    const Int tap = b_->open_for(constant(1), constant(k));
    env_.at[taps] = tap;
    cache_.clear();
    body(block_offset(id, per_block / k * (k - 1)) + (inner_index(dims) * (k - 1) + (tap - 1)));
    b_->close();
    env_.at.erase(taps);
    close_inner(dims);
    cache_.clear();
  }

  // ---- tiles ----

  void all_tiles() {
    const Int length = w_.size(group_.along);
    const Int tiles = (length + (tile() - 1)) / tile();
    const Int number = b_->open_for(constant(0), tiles);
    const Int index = group_.reverse ? tiles - 1 - number : number;
    t0_ = index * tile();
    if (tile() == 1) {
      one_tile(constant(1));
    } else {
      const Int remaining = length - t0_;
      b_->open_if(constant(tile() - 1), remaining);
      one_tile(constant(tile()));
      b_->open_else();
      one_tile(remaining);
      b_->close();
    }
    b_->close();
  }

  void one_tile(const Int& length) {
    length_ = length;
    make_tile_arrays();
    phases(uniform_plan_, false);
    for (const auto& [id, array] : sums_)
      if (!sums_time(id) && sums_lanes(id)) zero_reduction(id, array, constant(0), count(inner_of_type(id)) * tile());
    if (registers()) {
      phases(lane_plan_, true);
    } else if (!lane_nodes_.empty()) {
      open_blocks();
      phases(lane_plan_, true);
      b_->close();
    }
    for (const auto& [id, array] : sums_)
      if (!sums_time(id) && sums_lanes(id)) flush_tile_sum(id, array);
  }

  void flush_tile_sum(NodeId id, int array) {
    const std::vector<DimId> dims = inner_of_type(id);
    each_inner(dims, [&] {
      const Int j = open_steps(false, false);
      const Value sum = b_->reduce(lane_reduction(w_.node(id)), b_->load_array(array, inner_index(dims) * tile() + j));
      store_late(id, env_, sum);
      close_steps();
    });
  }

  bool full_tile() const { return loop::is_constant(length_); }

  /// Opens the loop over the steps of the tile; returns the step's number in the order of the walk.
  Int open_steps(bool against_walk, bool unroll) {
    const int64_t by = unroll && full_tile() ? std::min<int64_t>(s_.unroll, tile()) : 1;
    Int i;
    if (full_tile() && by == tile()) {
      i = b_->open_for(constant(0), length_, 1, true);
      step_loops_ = 1;
    } else if (by > 1 && tile() % by == 0) {
      const Int outer = b_->open_for(constant(0), length_, by);
      i = outer + b_->open_for(constant(0), constant(by), 1, true);
      step_loops_ = 2;
    } else {
      i = b_->open_for(constant(0), length_);
      step_loops_ = 1;
    }
    const Int j = against_walk ? length_ - 1 - i : i;
    env_.at[group_.along] = group_.reverse ? t0_ + (length_ - 1 - j) : t0_ + j;
    cache_.clear();
    step_ = j;
    own_step_ = i;
    return j;
  }
  void close_steps() {
    for (int k = 0; k < step_loops_; ++k) b_->close();
    env_.at.erase(group_.along);
    cache_.clear();
  }

  void phases(const PhasePlan& plan, bool with_lanes) {
    for (NodeId o : staged_)
      if (result_has_lane(o) == with_lanes) stage_value(o);
    for (const Phase& phase : plan.phases) {
      zero_phase_sums(phase);
      fill_taps(phase);
      open_inner(phase.inner);
      preload(phase);
      for (const Sweep& sweep : phase.sweeps)
        for (NodeId id : sweep.nodes) open_carry(id);
      for (const Sweep& sweep : phase.sweeps) {
        open_steps(sweep.against.value_or(false), true);
        for (NodeId id : sweep.nodes) run_node(id);
        close_steps();
      }
      for (const Sweep& sweep : phase.sweeps)
        for (NodeId id : sweep.nodes) close_carry(id);
      preloaded_.clear();
      close_inner(phase.inner);
      save_taps(phase);
      store_phase_sums(phase);
    }
  }

  void stage_value(NodeId o) {
    const std::vector<DimId> dims = inner_of_type(o);
    open_inner(dims);
    const Int j = open_steps(false, true);
    b_->store_array(tile_arrays_.at(o), inner_index(dims) * tile() + j, w_.load(*b_, o, env_));
    close_steps();
    close_inner(dims);
  }

  void zero_phase_sums(const Phase& phase) {
    for (const Sweep& sweep : phase.sweeps)
      for (NodeId id : sweep.nodes)
        if (sums_in_tile(id))
          zero_reduction(id, tile_arrays_.at(id), constant(0), count(inner_of_type(id)) * tile());
  }

  void store_phase_sums(const Phase& phase) {
    for (const Sweep& sweep : phase.sweeps)
      for (NodeId id : sweep.nodes) {
        if (!sums_in_tile(id) || !w_.stored(id)) continue;
        const std::vector<DimId> dims = inner_of_type(id);
        open_inner(dims);
        open_steps(false, true);
        if (late(id))
          store_late(id, env_, get(id));
        else
          store_value(id, get(id));
        close_steps();
        close_inner(dims);
      }
  }

  /// Invariants are loaded once for all steps.
  void preload(const Phase& phase) {
    for (const Sweep& sweep : phase.sweeps)
      for (NodeId id : sweep.nodes)
        for (NodeId o : w_.node(id).operands) {
          auto found = o.present() ? invariant_arrays_.find(o) : invariant_arrays_.end();
          if (found == invariant_arrays_.end() || preloaded_.count(o) || !indices_open(o)) continue;
          preloaded_[o] = read_invariant(o);
        }
  }

  bool indices_open(NodeId o) const {
    const std::vector<DimId> dims = inner_of_type(o);
    return std::all_of(dims.begin(), dims.end(), [&](DimId d) { return env_.at.count(d) > 0; });
  }

  Value read_invariant(NodeId o) {
    const std::vector<DimId> dims = inner_of_type(o);
    return b_->load_array(invariant_arrays_.at(o), block_offset(o, count(dims)) + inner_index(dims));
  }

  // ---- carried values of a phase: states and sums over time, in a register while the inner indices stand ----

  bool carries_state(NodeId id) const { return w_.node(id).op == Op::Scan || w_.node(id).op == Op::Delay; }
  bool carries_sum(NodeId id) const { return late(id) && w_.node(id).op != Op::At && sums_time(id); }

  int carry_of(NodeId id) {
    auto found = carries_.find(id);
    if (found != carries_.end()) return found->second;
    return carries_[id] = b_->array(w_.node(id).name + ".carry", 1, lanes(id), true);
  }

  Int carry_home(NodeId id) const {
    const std::vector<DimId> dims = inner_of_type(id);
    const Int base = carries_sum(id) ? block_late(id) : block_offset(id, count(dims));
    return base + inner_index(dims);
  }

  void open_carry(NodeId id) {
    if (carries_sum(id)) {
      b_->store_array(carry_of(id), constant(0), b_->load_array(sums_.at(id), carry_home(id)));
    } else if (carries_state(id)) {
      const NodeId resume = operand_of(id, "resume");
      Value state = resume.present() ? load_resumed(resume) : b_->load_array(states_.at(id), carry_home(id));
      b_->store_array(carry_of(id), constant(0), state);
      store_chunk(id, [&] { return b_->load_array(carry_of(id), constant(0)); });
    } else if (w_.node(id).op == Op::Overlap) {
      // Row k + 1 of the sums array is c[., k]; row 0 stays 0; column 0 holds the tile before.
      const Int k = env_.at.at(w_.node(id).attrs.dims[1]);
      const NodeId resume = operand_of(id, "resume");
      Value state = resume.present() ? load_resumed(resume) : b_->load_array(states_.at(id), carry_home(id));
      b_->store_array(taps_.at(id), overlap_row(id, k + 1), state);
      store_chunk(id, [&] { return b_->load_array(taps_.at(id), overlap_row(id, k + 1)); });
      b_->open_if(k, constant(1));
      const Int j = b_->open_for(constant(0), constant(tile() + 1));
      b_->store_array(taps_.at(id), overlap_row(id, constant(0)) + j, b_->number(0));
      b_->close();
      b_->close();
    }
  }

  /// Only stores of states of whole walks; the stored index is the chunk that this tile opens in the state's order.
  template <typename Read>
  void store_chunk(NodeId id, Read read) {
    auto chunk = chunks_.find(id);
    if (chunk == chunks_.end()) return;
    const DimId tiles = w_.node(chunk->second).attrs.dims[1];
    const int64_t every = w_.graph().dim(tiles).divisor;
    check(every % tile() == 0, "stored states must lie at tiles of the walk");
    // Forward: the first tile of a chunk. Reverse: the last tile of a chunk, which may be the end of the walk.
    Int open = t0_ % every;
    if (group_.reverse) {
      const Int end = t0_ + length_;
      open = loop::min(end % every, w_.size(group_.along) - end);
    }
    b_->open_if(open, constant(1));
    env_.at[tiles] = t0_ / every;
    w_.store(*b_, chunk->second, env_, read());
    env_.at.erase(tiles);
    b_->close();
  }

  Value load_resumed(NodeId resume) {
    const DimId tiles = w_.graph().node(resume).attrs.dims[1];
    check(w_.graph().dim(tiles).divisor == tile(), "a resumed recurrence needs tiles of the stored length");
    env_.at[tiles] = t0_ / tile();
    const Value state = w_.load(*b_, resume, env_);
    env_.at.erase(tiles);
    return state;
  }

  void close_carry(NodeId id) {
    if (carries_sum(id)) {
      b_->store_array(sums_.at(id), carry_home(id), b_->load_array(carry_of(id), constant(0)));
    } else if (carries_state(id) && !operand_of(id, "resume").present()) {
      b_->store_array(states_.at(id), carry_home(id), b_->load_array(carry_of(id), constant(0)));
    } else if (w_.node(id).op == Op::Overlap && !operand_of(id, "resume").present()) {
      const Int k = env_.at.at(w_.node(id).attrs.dims[1]);
      b_->store_array(states_.at(id), carry_home(id), b_->load_array(taps_.at(id), overlap_row(id, k + 1) + length_));
    }
  }

  /// Start of a row of an overlap's sums: rows of tile + 1 entries, for each combination of the other inner indices.
  Int overlap_row(NodeId id, const Int& k) const {
    const DimId taps = w_.node(id).attrs.dims[1];
    Int index = constant(0);
    for (DimId d : inner_of_type(id))
      if (d != taps) index = index * w_.graph().dim(d).size + env_.at.at(d);
    return (index * (w_.graph().dim(taps).size + 1) + k) * (tile() + 1);
  }

  // ---- windows: the tile's values behind the K-1 before it, in the window's own order ----

  Int taps_row(NodeId id, const std::vector<DimId>& dims) const {
    const int64_t k = w_.graph().dim(w_.node(id).attrs.dims[1]).size;
    return inner_index(dims) * (tile() + k - 1);
  }

  std::vector<DimId> dims_without_taps(NodeId id) const {
    std::vector<DimId> dims = inner_of_type(id);
    dims.erase(std::find(dims.begin(), dims.end(), w_.node(id).attrs.dims[1]));
    return dims;
  }

  template <typename Body>
  void each_window(const Phase& phase, Body body) {
    for (const Sweep& sweep : phase.sweeps)
      for (NodeId id : sweep.nodes)
        if (w_.node(id).op == Op::Window) body(id, w_.graph().dim(w_.node(id).attrs.dims[1]).size);
  }

  void fill_taps(const Phase& phase) {
    each_window(phase, [&](NodeId id, int64_t k) {
      const std::vector<DimId> dims = dims_without_taps(id);
      const NodeId resume = operand_of(id, "resume");
      const DimId taps = w_.node(id).attrs.dims[1];
      open_inner(dims);
      const Int i = b_->open_for(constant(0), constant(k - 1), 1, true);
      Value past;
      if (resume.present()) {
        env_.at[taps] = i + 1;
        past = load_resumed(resume);
        env_.at.erase(taps);
      } else {
        past = b_->load_array(states_.at(id), history_at(id, dims, k) + i);
      }
      b_->store_array(taps_.at(id), taps_row(id, dims) + i, past);
      store_window_chunk(id, taps, i, past);
      b_->close();
      open_steps(against(id), true);
      b_->store_array(taps_.at(id), taps_row(id, dims) + (own_step_ + (k - 1)), get(w_.node(id).operands[0]));
      close_steps();
      close_inner(dims);
    });
  }

  void store_window_chunk(NodeId id, DimId taps, const Int& i, Value past) {
    if (!chunks_.count(id)) return;
    env_.at[taps] = i + 1;
    store_chunk(id, [&] { return past; });
    b_->open_if(i, constant(1));
    env_.at[taps] = constant(0);
    store_chunk(id, [&] { return lanes(id) ? zero_lanes(past) : b_->number(0); });
    b_->close();
    env_.at.erase(taps);
  }

  Value zero_lanes(Value like) { return b_->apply(Op::Select, {b_->number(0), like, b_->number(0)}); }

  Int history_at(NodeId id, const std::vector<DimId>& dims, int64_t k) const {
    return block_offset(id, count(dims) * (k - 1)) + inner_index(dims) * (k - 1);
  }

  void save_taps(const Phase& phase) {
    each_window(phase, [&](NodeId id, int64_t k) {
      if (operand_of(id, "resume").present()) return;
      const std::vector<DimId> dims = dims_without_taps(id);
      open_inner(dims);
      const Int i = b_->open_for(constant(0), constant(k - 1), 1, true);
      const Value last = b_->load_array(taps_.at(id), taps_row(id, dims) + (length_ + i));
      b_->store_array(states_.at(id), history_at(id, dims, k) + i, last);
      b_->close();
      close_inner(dims);
    });
  }

  // ---- one node at one step ----

  void run_node(NodeId id) {
    const Node& n = w_.node(id);
    if (n.op == Op::At && late(id)) {
      store_end(id);
      return;
    }
    const Value value = evaluate(id);
    if (late(id) && !sums_in_tile(id)) {
      add_late(id, value);
      return;
    }
    if (sums_in_tile(id)) {
      accumulate(tile_arrays_.at(id), inner_index(inner_of_type(id)) * tile() + step_, combine(id), value);
      return;
    }
    cache_[id] = value;
    auto tile_array = tile_arrays_.find(id);
    if (tile_array != tile_arrays_.end())
      b_->store_array(tile_array->second, inner_index(inner_of_type(id)) * tile() + step_, value);
    auto sweep_array = sweep_arrays_.find(id);
    if (sweep_array != sweep_arrays_.end()) b_->store_array(sweep_array->second, step_, value);
    if (w_.stored(id)) store_value(id, value);
  }

  void store_value(NodeId id, Value value) {
    const bool once = !result_has_lane(id) && parts_ > 1;  // every part has it; the first one stores it
    if (once) b_->open_if(part_, constant(1));
    w_.store(*b_, id, env_, value);
    if (once) b_->close();
  }

  void store_end(NodeId id) {
    const Node& n = w_.node(id);
    const Value value = get(n.operands[0]);
    const Int t = env_.at.at(group_.along);
    if (n.attrs.integer == 0)
      b_->open_if(t, constant(1));
    else
      b_->open_if(w_.size(group_.along) - 1, t + 1);
    store_value(id, value);
    b_->close();
  }

  void add_late(NodeId id, Value value) {
    if (sums_lanes(id) && has_tail_) value = mask(value, neutral_value(w_.node(id)));
    if (sums_time(id)) {
      accumulate(carry_of(id), constant(0), combine(id), value);
    } else if (sums_lanes(id)) {
      accumulate(sums_.at(id), inner_index(inner_of_type(id)) * tile() + step_, combine(id), value);
    } else {
      store_late(id, env_, value);
    }
  }

  /// A neutral value in lanes that do not exist.
  Value mask(Value value, double neutral) {
    const Value here = b_->apply(Op::Lt, {b_->lane_index(env_.lane_base), b_->index(w_.size(group_.lane))});
    return b_->apply(Op::Select, {here, value, b_->number(neutral)});
  }

  Value evaluate(NodeId id) {
    const Node& n = w_.node(id);
    switch (n.op) {
      case Op::Sum:
      case Op::Amax: return get(n.operands[0]);
      case Op::Dot: return b_->apply(Op::Mul, {get(n.operands[0]), get(n.operands[1])});
      case Op::Scan: return scan(id);
      case Op::Delay: return delay(id);
      case Op::Window: return window(id);
      case Op::Overlap: return overlap(id);
      case Op::Put: return put(id);
      case Op::At:
      case Op::Slice: return moved(id, 0);
      case Op::Shift: return moved(id, n.attrs.integer);
      default: break;
    }
    std::vector<Value> args;
    for (NodeId o : n.operands) args.push_back(get(o));
    return apply_pointwise(*b_, n, args);
  }

  Value scan(NodeId id) {
    const Node& n = w_.node(id);
    const Value before = cut(id, b_->load_array(carry_of(id), constant(0)));
    const Value decayed = b_->apply(Op::Mul, {get(n.operands[0]), before});
    const Value state = b_->apply(Op::Add, {decayed, get(n.operands[1])});
    b_->store_array(carry_of(id), constant(0), state);
    return state;
  }

  Value delay(NodeId id) {
    const Value before = cut(id, b_->load_array(carry_of(id), constant(0)));
    b_->store_array(carry_of(id), constant(0), get(w_.node(id).operands[0]));
    return before;
  }

  Value cut(NodeId id, Value before) {
    const NodeId starts = operand_of(id, "starts");
    if (!starts.present()) return before;
    return b_->apply(Op::Select, {starts_between(starts, env_.at.at(group_.along), backward(id)), b_->number(0), before});
  }

  /// Not 0 when a packed sequence begins between the step at t and the one walked before it.
  Value starts_between(NodeId starts, const Int& t, bool reverse) {
    const Int length = w_.size(group_.along);
    const Int at = reverse ? loop::min(t + 1, length - 1) : t;
    const Value flag = load_at(starts, at);
    if (!reverse) return flag;
    return b_->apply(Op::Mul, {flag, b_->apply(Op::Lt, {b_->index(t + 1), b_->index(length)})});
  }

  Value load_at(NodeId starts, const Int& t) {
    const Int now = env_.at.at(group_.along);
    env_.at[group_.along] = t;
    const Value flag = w_.load(*b_, starts, env_);
    env_.at[group_.along] = now;
    return flag;
  }

  Value window(NodeId id) {
    const Node& n = w_.node(id);
    const Int k = env_.at.at(n.attrs.dims[1]);
    const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
    Value value = b_->load_array(taps_.at(id), taps_row(id, dims_without_taps(id)) + (own_step(id) + k));
    const NodeId starts = operand_of(id, "starts");
    if (!starts.present()) return value;
    // Tap k lies K-1-k steps back: a start at any of the steps since cuts it off.
    const Int t = env_.at.at(group_.along);
    for (int64_t q = 0; q + 1 < taps; ++q) {
      const Value flag = load_at(starts, loop::max(t - q, constant(0)));
      const Value reaches = b_->apply(Op::Lt, {b_->index(k + q), b_->number(static_cast<double>(taps - 1))});
      const Value real = b_->apply(Op::Le, {b_->number(static_cast<double>(q)), b_->index(t)});
      const Value cuts = b_->apply(Op::Mul, {b_->apply(Op::Mul, {flag, reaches}), real});
      value = b_->apply(Op::Select, {cuts, b_->number(0), value});
    }
    return value;
  }

  /// The step's number in the order of a recurrence that may run against the walk.
  Int own_step(NodeId id) const { return against(id) ? length_ - 1 - step_ : step_; }

  Value read_overlap(NodeId id) {
    return b_->load_array(taps_.at(id), overlap_row(id, env_.at.at(w_.node(id).attrs.dims[1]) + 1) + (own_step(id) + 1));
  }

  Value overlap(NodeId id) {
    const Node& n = w_.node(id);
    const Int k = env_.at.at(n.attrs.dims[1]);
    Value before = b_->load_array(taps_.at(id), overlap_row(id, k) + own_step_);
    before = cut(id, before);
    const Value sum = b_->apply(Op::Add, {get(n.operands[0]), before});
    b_->store_array(taps_.at(id), overlap_row(id, k + 1) + (own_step_ + 1), sum);
    return sum;
  }

  Value put(NodeId id) {
    const Node& n = w_.node(id);
    const DimId d = n.attrs.dims[0];
    const Int index = n.attrs.integer >= 0 ? constant(n.attrs.integer) : w_.size(d) + n.attrs.integer;
    const Value here = d == group_.lane ? b_->lane_index(env_.lane_base) : b_->index(env_.at.at(d));
    return b_->apply(Op::Select, {b_->apply(Op::Eq, {here, b_->index(index)}), get(n.operands[0]), b_->number(0)});
  }

  /// at, slice and shift along an inner dimension: the operand at another index; 0 outside its range.
  Value moved(NodeId id, int64_t by) {
    const Node& n = w_.node(id);
    const DimId d = n.attrs.dims[0];
    const int64_t size = w_.graph().dim(d).size;
    const auto saved = env_.at.find(d) == env_.at.end() ? Int() : env_.at.at(d);
    Int index;
    if (n.op == Op::At)
      index = constant(n.attrs.integer >= 0 ? n.attrs.integer : size + n.attrs.integer);
    else if (n.op == Op::Slice)
      index = env_.at.at(n.attrs.dims[1]) + n.attrs.integer;
    else
      index = saved - by;
    env_.at[d] = loop::max(loop::min(index, constant(size - 1)), constant(0));
    const auto cached = cache_;
    cache_.clear();
    Value value = get(n.operands[0]);
    cache_ = cached;
    if (saved)
      env_.at[d] = saved;
    else
      env_.at.erase(d);
    if (n.op != Op::Shift) return value;
    const Value low = b_->apply(Op::Le, {b_->number(static_cast<double>(by)), b_->index(saved)});
    const Value high = b_->apply(Op::Lt, {b_->index(saved), b_->number(static_cast<double>(size + by))});
    return b_->apply(Op::Select, {b_->apply(Op::Mul, {low, high}), value, b_->number(0)});
  }

  /// The value of an operand at this point of the loops.
  Value get(NodeId o) {
    auto cached = cache_.find(o);
    if (cached != cache_.end()) return cached->second;
    return cache_[o] = fetch(o);
  }

  Value fetch(NodeId o) {
    if (w_.is_immediate(o)) return w_.immediate(*b_, o, env_);
    if (invariant_arrays_.count(o)) {
      auto loaded = preloaded_.find(o);
      return loaded != preloaded_.end() ? loaded->second : read_invariant(o);
    }
    if (taps_.count(o)) return w_.node(o).op == Op::Window ? window(o) : read_overlap(o);
    if (made_again_.count(o)) return evaluate(o);
    auto sweep_array = sweep_arrays_.find(o);
    if (sweep_array != sweep_arrays_.end()) return b_->load_array(sweep_array->second, step_);
    auto tile_array = tile_arrays_.find(o);
    if (tile_array != tile_arrays_.end())
      return b_->load_array(tile_array->second, inner_index(inner_of_type(o)) * tile() + step_);
    check(!w_.inside(o), "lowering: a value of the kernel is read before its array was made");
    return w_.load(*b_, o, env_);
  }

  // ---- after the last tile ----

  void epilogue() {
    cache_.clear();
    for (NodeId id : last_states_)
      if (lanes(id)) store_last_state(id);
    for (const auto& [id, array] : sums_)
      if (sums_time(id) && lanes(id) && !sums_lanes(id)) store_sum(id, array);
    for (NodeId id : invariants_)
      if (w_.stored(id) && lanes(id)) store_invariant(id);
  }

  void epilogue_uniform() {
    cache_.clear();
    for (NodeId id : last_states_)
      if (!lanes(id)) store_last_state(id);
    for (const auto& [id, array] : sums_)
      if (sums_time(id) && !(lanes(id) && !sums_lanes(id))) store_sum(id, array);
    for (NodeId id : invariants_)
      if (w_.stored(id) && !lanes(id)) store_invariant(id);
  }

  void store_last_state(NodeId id) {
    const NodeId scan = w_.node(id).operands[0];
    const std::vector<DimId> dims = inner_of_type(scan);
    each_inner(dims, [&] {
      store_value(id, b_->load_array(states_.at(scan), block_offset(scan, count(dims)) + inner_index(dims)));
    });
  }

  void store_sum(NodeId id, int array) {
    const std::vector<DimId> dims = inner_of_type(id);
    each_inner(dims, [&] {
      Value sum = b_->load_array(array, block_late(id) + inner_index(dims));
      if (sums_lanes(id)) sum = b_->reduce(lane_reduction(w_.node(id)), sum);
      if (!lanes(id) && parts_ > 1) b_->open_if(part_, constant(1));
      store_late(id, env_, sum);
      if (!lanes(id) && parts_ > 1) b_->close();
    });
  }

  void store_invariant(NodeId id) {
    each_inner(inner_of_type(id), [&] { store_value(id, read_invariant(id)); });
  }

  KernelWriter& w_;
  const KernelGroup& group_;
  const Schedule& s_;
  loop::StageBuilder* b_ = nullptr;

  std::vector<NodeId> invariants_, uniform_nodes_, lane_nodes_, last_states_;
  std::map<NodeId, NodeId> chunks_;  // recurrence -> its chunk_starts
  PhasePlan uniform_plan_, lane_plan_;
  std::set<NodeId> staged_, made_again_;
  int64_t blocks_ = 1, blocks_per_task_ = 1, parts_ = 1;
  bool has_tail_ = false;

  std::map<NodeId, int> invariant_arrays_, tile_arrays_, sweep_arrays_, states_, taps_, sums_, carries_;
  std::map<NodeId, std::pair<int, Int>> partials_;  // late sum -> temporary buffer, number of slots

  Env env_;
  Int part_, first_block_, block_count_, block_, t0_, length_, step_, own_step_;
  int step_loops_ = 1;
  std::map<NodeId, Value> cache_, preloaded_;
};

}  // namespace

LoweredKernel lower_walk(KernelWriter& writer) { return WalkLowering(writer).run(); }

}  // namespace mambac
