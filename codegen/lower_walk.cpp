// The frame of a walk: tasks, lane blocks, tiles, phases and steps. See codegen/walk_lowering.h.
#include "codegen/walk_lowering.h"

#include <algorithm>

namespace mambac {

using loop::Int;

std::vector<NodeId> WalkLowering::stage_nodes() const {
  if (stores_results()) return w_.nodes();
  std::set<NodeId> needed;
  const auto need = [&](NodeId o) {
    if (o.present() && w_.inside(o)) needed.insert(o);
  };
  for (auto id = w_.nodes().rbegin(); id != w_.nodes().rend(); ++id) {
    if (w_.node(*id).op == Op::Scan) {
      needed.insert(*id);
      if (stage_ == WalkStage::join) {
        need(operand_of(*id, "start"));
        continue;
      }
      need(operand_of(*id, "decay"));
      need(operand_of(*id, "input"));
    } else if (needed.count(*id)) {
      for (NodeId o : w_.node(*id).operands) need(o);
    }
  }
  return {needed.begin(), needed.end()};  // in their order
}

std::vector<DimId> WalkLowering::inner_of(NodeId id) const {
  if (w_.node(id).op == Op::At || w_.node(id).op == Op::Slice) return inner_of_type(id);
  std::vector<DimId> dims;
  for (DimId d : group_.inner)
    if (w_.spans(id, d)) dims.push_back(d);
  return dims;
}

int64_t WalkLowering::index_along(NodeId at) const {
  const int64_t index = w_.node(at).attrs.integer, size = w_.graph().dim(group_.along).size;
  if (index + size == 0) return 0;
  return index + 1 == size && index > 0 ? kLast : index;
}

bool WalkLowering::ends_state(NodeId id) const {
  const Node& n = w_.node(id);
  const NodeId x = n.operands[0];
  if (n.attrs.dims[0] != group_.along || !w_.inside(x) || w_.node(x).op != Op::Scan) return false;
  return !against(x) && index_along(id) == (group_.reverse ? 0 : kLast);
}

bool WalkLowering::crosses_index(NodeId reader) const {
  const Op op = w_.node(reader).op;
  if (op == Op::Window || op == Op::Overlap) return op == Op::Window;
  return (op == Op::At || op == Op::Slice || op == Op::Shift) && w_.node(reader).attrs.dims[0] != group_.along;
}

bool WalkLowering::sums_inner(NodeId id) const {
  return std::any_of(group_.inner.begin(), group_.inner.end(), [&](DimId d) { return w_.reduces(id, d); });
}

void WalkLowering::sort_nodes() {
  for (NodeId id : stage_nodes()) {
    const Node& n = w_.node(id);
    if (n.op == Op::ChunkStarts)
      chunks_[n.operands[0]] = id;
    else if (!walks(id))
      invariants_.push_back(id);
    else if (n.op == Op::At && ends_state(id))
      last_states_.push_back(id);
    else
      step_nodes_.push_back(id);
  }
}

PhasePlan WalkLowering::plan_of(const std::vector<NodeId>& nodes) {
  PhaseRules rules;
  rules.inner = [&](NodeId id) { return inner_of(id); };
  rules.against = [&](NodeId id) {  // a window only reads taps
    return directional(id) && w_.node(id).op != Op::Window ? std::optional<bool>(against(id)) : std::nullopt;
  };
  rules.after_phase = [&](NodeId reader, NodeId operand) { return sums_inner(operand) || crosses_index(reader); };
  rules.after_sweep = [&](NodeId operand) { return folds(operand); };
  return plan_phases(w_.graph(), nodes, rules);
}

TilePlan WalkLowering::tile_plan(const std::vector<NodeId>& nodes) {
  TilePlan plan;
  std::vector<NodeId> with_lanes, without;
  for (NodeId id : nodes) (lanes(id) ? with_lanes : without).push_back(id);
  plan.nodes = {nodes.begin(), nodes.end()};
  plan.uniform = plan_of(without);
  plan.lane = plan_of(with_lanes);
  plan.staged = find_staged(plan.uniform);
  plan.staged.merge(find_staged(plan.lane));
  return plan;
}

std::set<NodeId> WalkLowering::find_staged(const PhasePlan& plan) const {
  std::set<NodeId> staged;
  for (const auto& [id, slot] : plan.slots) {
    for (NodeId o : w_.node(id).operands) {
      if (!o.present() || w_.inside(o) || w_.is_immediate(o) || !w_.has(o, group_.along)) continue;
      const bool again = inner_of_type(o) != plan.phases[static_cast<size_t>(slot.phase)].inner;
      const bool widened = w_.node(o).type.dtype != DType::f32;
      const bool tap = w_.node(id).op == Op::Window && w_.node(id).operands[0] == o;
      const bool moved = crosses_index(id);
      if (result_has_lane(o) ? again && !tap && !moved : lanes(id) && (widened || s_.staged)) staged.insert(o);
    }
  }
  return staged;
}

void WalkLowering::tasks() {
  const Int lanes = group_.lane == DimId{} ? constant(1) : w_.size(group_.lane);
  blocks_ = (lanes + (channels() - 1)) / channels();
  blocks_per_task_ = std::max(1, s_.blocks_per_task);
  int64_t known = 0;  // a lane along a free dimension is not
  if (loop::is_constant(blocks_, &known)) blocks_per_task_ = std::min(blocks_per_task_, known);
  parts_ = (blocks_ + (blocks_per_task_ - 1)) / blocks_per_task_;
  has_tail_ = !loop::is_constant(lanes, &known) || known % channels() != 0;
}

void WalkLowering::cut_length() {
  tiles_ = (w_.size(group_.along) + (tile() - 1)) / tile();
  chunk_count_ = constant(1);
  tiles_per_chunk_ = tiles_;
  if (in_chunks()) {  // the last ones may be empty
    chunk_count_ = constant(s_.chunks);
    tiles_per_chunk_ = (tiles_ + (s_.chunks - 1)) / s_.chunks;
  } else if (in_spans()) {
    const int64_t per_task = s_.steps_per_task / tile();
    chunk_count_ = (tiles_ + (per_task - 1)) / per_task;
    tiles_per_chunk_ = constant(per_task);
  }
}

bool WalkLowering::several_parts() const {
  int64_t known = 0;
  return !loop::is_constant(parts_, &known) || known > 1;
}

void WalkLowering::body() {
  static const char* const names[] = {"walk", "summaries", "join", "chunks"};
  const Int outer = w_.size(group_.outer);
  cut_length();
  loop::Stage& stage = w_.add_stage(names[static_cast<size_t>(stage_)], outer * chunk_count_ * parts_);
  stage.pieces = static_cast<int>(lanes_of_channel());
  loop::StageBuilder builder(stage);
  b_ = &builder;
  stage.origin = w_.origin_of(walker(), /*shared=*/true);
  const loop::OriginScope origin(builder, stage.origin);
  make_arrays();
  Int rest = b_->task();
  part_ = rest % parts_;
  rest = rest / parts_;
  first_tile_ = constant(0), end_tile_ = tiles_;
  if (in_parts()) {
    chunk_ = rest % chunk_count_;
    rest = rest / chunk_count_;
    first_tile_ = chunk_ * tiles_per_chunk_;
    end_tile_ = loop::min(first_tile_ + tiles_per_chunk_, tiles_);
  }
  warm_up_tile_ = loop::max(first_tile_ - warm_up_tiles_, constant(0));
  for (auto d = group_.outer.rbegin(); d != group_.outer.rend(); ++d) {
    env_.at[*d] = d + 1 == group_.outer.rend() ? rest : rest % w_.size(*d);
    rest = rest / w_.size(*d);
  }
  env_.lane = group_.lane;
  first_block_ = part_ * blocks_per_task_;
  block_count_ = several_parts() ? loop::min(constant(blocks_per_task_), blocks_ - first_block_) : blocks_;
  if (registers()) {
    open_blocks();
    prologue(false);
    prologue(true);
    all_tiles();
    epilogue(true);
    epilogue(false);
    b_->close();
    return;
  }
  prologue(false);
  open_blocks();
  prologue(true);
  b_->close();
  all_tiles();
  open_blocks();
  epilogue(true);
  b_->close();
  epilogue(false);
}

NodeId WalkLowering::walker() const {
  const auto found = std::ranges::find_if(w_.nodes(), [&](NodeId id) { return directional(id); });
  return found == w_.nodes().end() ? w_.nodes().front() : *found;
}

void WalkLowering::open_blocks() {
  const Int block = b_->open_for(constant(0), block_count_);
  block_ = registers() ? constant(0) : block;
  env_.lane_base = (first_block_ + block) * constant(channels());
  env_.lane_valid = nullptr;
  if (group_.lane == DimId{})
    env_.lane_valid = constant(1);
  else if (has_tail_)
    env_.lane_valid = loop::min(w_.size(group_.lane) - env_.lane_base, constant(channels()));
}

void WalkLowering::open_inner(const std::vector<DimId>& dims) {
  int64_t nest = count(dims);
  for (DimId d : dims) {
    const int64_t n = w_.graph().dim(d).size;
    const bool shared = splits() && with_lanes_ && d == split_;
    const int64_t own = shared ? n / s_.pieces : n;
    env_.at[d] = b_->open_for(constant(0), constant(own), 1, registers() || is_written_out(n, nest));
    if (shared) {
      local_ = env_.at[d];
      env_.at[d] = piece() * own + local_;
    }
    nest /= n;
  }
}

void WalkLowering::close_inner(const std::vector<DimId>& dims) {
  for (DimId d : dims) {
    b_->close();
    env_.at.erase(d);
  }
}

Int WalkLowering::inner_index(const std::vector<DimId>& dims) const {
  Int index = constant(0);
  for (DimId d : dims) index = index * w_.graph().dim(d).size + env_.at.at(d);
  return index;
}

void WalkLowering::each_inner(const std::vector<DimId>& dims, const std::function<void()>& body) {
  open_inner(dims);
  cache_.clear();
  body();
  close_inner(dims);
  cache_.clear();
}

void WalkLowering::prologue(bool with_lanes) {
  cache_.clear();
  with_lanes_ = with_lanes;
  for (const auto& [id, array] : invariant_arrays_) {
    if (w_.inside(id) || lanes(id) != with_lanes) continue;
    const loop::OriginScope origin = w_.from(*b_, id);
    each_inner(inner_of_type(id), [&, id = id, array = array] {
      b_->store_array(array, block_offset(id, extent(id)) + place(id), w_.load(*b_, id, env_));
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
    if (here) zero_reduction(id, array, block_late(id), extent(id));
  }
  with_lanes_ = true;
}

void WalkLowering::all_tiles() {
  if (stage_ == WalkStage::join) return;
  if (warm_up_tiles_ > 0) {
    plan_ = &warm_up_;
    walk_tiles(warm_up_tile_, first_tile_);
    plan_ = &full_;
  }
  walk_tiles(first_tile_, end_tile_);
}

void WalkLowering::walk_tiles(const Int& first, const Int& end) {
  const Int number = b_->open_for(first, end);
  const Int index = group_.reverse ? tiles_ - 1 - number : number;
  t0_ = index * tile();
  if (tile() == 1 || (warms_up() && !group_.reverse)) {  // no span follows the short tile
    one_tile(constant(tile()));
  } else {
    const Int remaining = w_.size(group_.along) - t0_;
    b_->open_if(constant(tile() - 1), remaining);
    one_tile(constant(tile()));
    b_->open_else(/*once=*/true);
    one_tile(loop::min(remaining, constant(tile() - 1)));
    b_->close();
  }
  b_->close();
}

void WalkLowering::one_tile(const Int& length) {
  length_ = length;
  make_tile_arrays();
  phases(plan_->uniform, false);
  for (const auto& [id, array] : sums_)
    if (sums_steps(id) && !sums_at_once(id))
      zero_reduction(id, array, constant(0), count(inner_of_type(id)) * tile());
  if (registers()) {
    constexpr int64_t kSteps = 8;  // so many take longer than memory
    env_.steps_ahead = (group_.reverse ? -kSteps : kSteps) * s_.ahead;
    phases(plan_->lane, true);
    env_.steps_ahead = 0;
  } else if (!plan_->lane.phases.empty()) {
    open_blocks();
    // Each block touches a line of many rows, more streams than a processor sees by itself.
    env_.ahead = blocks_per_task_ > s_.ahead ? int64_t{s_.ahead} * s_.width : 0;
    phases(plan_->lane, true);
    env_.ahead = 0;
    b_->close();
  }
  with_lanes_ = false;
  for (const auto& [id, array] : sums_)
    if (sums_steps(id)) flush_tile_sum(id, array);
  with_lanes_ = true;
}

Int WalkLowering::open_steps(bool against_walk, bool unroll) {
  if (turns_) {
    open_turns();
    return step_;
  }
  Int j;
  if (registers() && !full_tile() && (with_lanes_ || !s_.staged)) {  // written out, so that arrays stay in registers
    const Int i = b_->open_for(constant(0), constant(tile()), 1, true);
    j = against_walk ? constant(tile() - 1) - i : i;
    b_->open_if(j, length_);
    step_loops_ = 2;
    own_step_ = against_walk ? length_ - 1 - j : j;
  } else {
    // Threads share one loop over steps, not two, one within the other.
    const bool one_loop = s_.staged && !with_lanes_ && s_.unroll < tile();
    own_step_ = open_step_loops(unroll && full_tile() && !one_loop ? std::min<int64_t>(s_.unroll, tile()) : 1);
    j = against_walk ? length_ - 1 - own_step_ : own_step_;
  }
  env_.at[group_.along] = group_.reverse ? t0_ + (length_ - 1 - j) : t0_ + j;
  cache_.clear();
  step_ = j;
  return j;
}

Int WalkLowering::open_step_loops(int64_t by) {
  step_loops_ = 1;
  if (full_tile() && by == tile()) return b_->open_for(constant(0), length_, 1, true);
  if (by <= 1 || tile() % by != 0) return b_->open_for(constant(0), length_);
  step_loops_ = 2;
  const Int outer = b_->open_for(constant(0), length_, by);
  return outer + b_->open_for(constant(0), constant(by), 1, true);
}

void WalkLowering::close_steps() {
  for (int k = 0; k < step_loops_; ++k) b_->close();
  env_.at.erase(group_.along);
  env_.below = env_.limit = nullptr;
  cache_.clear();
}

void WalkLowering::phases(const PhasePlan& plan, bool with_lanes) {
  with_lanes_ = with_lanes;
  for (NodeId o : plan_->staged)
    if (result_has_lane(o) == with_lanes) stage_value(o);
  for (const Phase& phase : plan.phases) {
    const bool split = std::find(phase.inner.begin(), phase.inner.end(), split_) != phase.inner.end();
    turns_ = with_lanes && (shares_time() || (splits() && !split));
    zero_phase_sums(phase);
    fill_taps(phase);
    hand_out(phase);
    open_inner(phase.inner);
    preload(phase);
    run_sweeps(phase);
    preloaded_.clear();
    close_inner(phase.inner);
    save_taps(phase);
    gather_pieces(phase);
    store_phase_sums(phase);
  }
  turns_ = false;
  with_lanes_ = true;
}

void WalkLowering::run_sweeps(const Phase& phase) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      open_carry(id);
      open_step_sum(id);
    }
  for (const Sweep& sweep : phase.sweeps) {
    open_steps(sweep.against.value_or(false), true);
    for (NodeId id : sweep.nodes) run_node(id);
    close_steps();
    for (NodeId id : sweep.nodes)
      if (folds(id)) join_lanes(id);
  }
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      close_carry(id);
      close_step_sum(id);
    }
}

void WalkLowering::stage_value(NodeId o) {
  const loop::OriginScope origin = w_.from(*b_, o);
  const std::vector<DimId> dims = inner_of_type(o);
  turns_ = takes_turns(o);
  open_inner(dims);
  open_steps(false, true);
  b_->store_array(tile_arrays_.at(o), step_place(o), w_.load(*b_, o, env_));
  close_steps();
  close_inner(dims);
  turns_ = false;
}

void WalkLowering::preload(const Phase& phase) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      const loop::OriginScope origin = w_.from(*b_, id);
      for (NodeId o : w_.node(id).operands) {
        auto found = o.present() ? invariant_arrays_.find(o) : invariant_arrays_.end();
        if (found == invariant_arrays_.end() || preloaded_.count(o) || !indices_open(o)) continue;
        preloaded_[o] = read_invariant(o);
      }
    }
}

bool WalkLowering::indices_open(NodeId o) const {
  const std::vector<DimId> dims = inner_of_type(o);
  return std::all_of(dims.begin(), dims.end(), [&](DimId d) { return env_.at.count(d) > 0; });
}

void WalkLowering::epilogue(bool with_lanes) {
  cache_.clear();
  with_lanes_ = with_lanes;
  if (stage_ == WalkStage::summaries) return store_summaries(with_lanes);
  if (stage_ == WalkStage::join) return join_chunks(with_lanes);
  for (const auto& [id, array] : sums_)
    if (sums_time(id) && (lanes(id) && !sums_lanes(id)) == with_lanes) store_sum(id, array);
  for (NodeId id : last_states_)
    if (lanes(id) == with_lanes) in_last_part([&] { store_last_state(id); });
  for (NodeId id : invariants_)
    if (w_.stored(id) && lanes(id) == with_lanes) in_last_part([&] { store_invariant(id); });
  with_lanes_ = true;
}

void WalkLowering::in_last_part(const std::function<void()>& body) {
  if (in_parts()) b_->open_if(chunk_count_ - 2, chunk_);
  body();
  if (in_parts()) b_->close();
}

void WalkLowering::once(bool with_lanes, const std::function<void()>& body) {
  const bool one_part = !with_lanes && several_parts();
  if (one_part) b_->open_if(part_, constant(1));
  body();
  if (one_part) b_->close();
}

void WalkLowering::run() {
  sort_nodes();
  if (splits()) split_ = shared_dim(w_.graph(), w_.number());
  full_ = tile_plan(step_nodes_);
  if (in_spans()) plan_warm_up();
  tasks();
  body();
  for (const auto& [id, partial] : partials_) w_.finish(id, partial.first, partial.second);
}

LoweredKernel lower_walk(KernelWriter& writer) {
  ChunkStates states;
  if (writer.schedule().chunks <= 1) {
    WalkLowering(writer, WalkStage::whole, states).run();
    return writer.take();
  }
  WalkLowering(writer, WalkStage::summaries, states).run();
  WalkLowering(writer, WalkStage::join, states).run();
  WalkLowering(writer, WalkStage::chunks, states).run();
  return writer.take();
}

}  // namespace mambac
