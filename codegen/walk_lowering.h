// A walk: lanes own channels and walk time in tiles.
//
//   for each task (outer indices, part of the lane blocks):
//     once:      states to their start, values without time ("invariants") computed and kept
//     each tile: values without lanes; then for each lane block the phases: inner loops around sweeps over the steps;
//                then sums over lanes
//     at last:   sums over time and last states are stored
//
// Steps are numbered in the order of the walk; step j of a tile stands at time t0 + j, or t0 + length - 1 - j.
//
// In chunks (Schedule::chunks > 1) a walk is three such stages. h[t] = a[t] h[t-1] + x[t] is linear, so a chunk does to
// the state before it S what its end state from 0, E, and the product P of its decays say: P S + E.
//
//   summaries    for each chunk, too: E and P of every scan, from as few nodes as they need
//   join         in the order of chunks: the states before each of them
//   chunks       for each chunk, too: the walk as above, from the states before it
//
// A walk that remembers few steps (windows, no scans) needs no such states: in spans (Schedule::steps_per_task) it is
// one stage, and a task first walks the few tiles before its own, without storing anything.
//
// With Schedule::time_lanes a channel has several lanes, and what is said of chunks holds for each one's part of a
// tile: it walks its steps from 0, the lanes exchange what their parts do to the state before them, and each adds to
// the states of its steps what the one before its part leaves of itself there.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codegen/kernel_writer.h"
#include "codegen/phases.h"
#include "ir/op.h"
#include "passes/group.h"

namespace mambac {

enum class WalkStage : uint8_t { whole, summaries, join, chunks };

/// The temporaries of a walk in chunks, for every scan, by chunk.
struct ChunkStates {
  std::map<NodeId, int> states;    // after summaries: at the chunk's end; after join: before the chunk
  std::map<NodeId, int> products;  // of the decays
};

/// The nodes that a tile runs, and in which order.
struct TilePlan {
  std::set<NodeId> nodes;
  PhasePlan uniform, lane;
  std::set<NodeId> staged;  // see find_staged
};

/// Writes one stage.
class WalkLowering {
 public:
  WalkLowering(KernelWriter& w, WalkStage stage, ChunkStates& chunk_states)
      : w_(w), group_(w.group()), s_(w.schedule()), stage_(stage), chunk_states_(chunk_states) {}

  void run();

 private:
  using Int = loop::Int;
  using Value = loop::Value;
  static Int constant(int64_t value) { return loop::constant(value); }

  // ---- what each node is ----

  bool walks(NodeId id) const { return w_.spans(id, group_.along); }
  /// Whether lanes have values of their own. Of what this kernel does not compute, only the type counts.
  bool lanes(NodeId id) const {
    if (!w_.inside(id)) return result_has_lane(id);
    return time_is_lane() ? walks(id) : w_.has_lane(id);
  }
  bool late(NodeId id) const { return is_late(w_.graph(), group_, w_.node(id)); }
  bool result_has_lane(NodeId id) const {
    return time_is_lane() ? w_.has(id, group_.along) : group_.lane != DimId{} && w_.has(id, group_.lane);
  }
  bool directional(NodeId id) const { return is_directional(w_.node(id).op) && w_.node(id).op != Op::ChunkStarts; }
  bool backward(NodeId id) const { return w_.node(id).op == Op::Overlap || w_.node(id).attrs.reverse; }
  bool against(NodeId id) const { return backward(id) != group_.reverse; }
  std::vector<DimId> inner_of_type(NodeId id) const { return w_.inner_of_type(id); }
  std::vector<DimId> inner_of(NodeId id) const;
  int64_t count(const std::vector<DimId>& dims) const { return w_.count(dims); }
  static constexpr int64_t kLast = -1;  // as the index of an `at`
  /// The index of an `at` along the walk. Where the size is fixed it may be counted from either end: the first is 0
  /// here, the last kLast.
  int64_t index_along(NodeId at) const;
  /// at<L, last>(scan): the carried state when the walk is over.
  bool ends_state(NodeId id) const;
  bool crosses_index(NodeId reader) const;
  bool sums_inner(NodeId id) const;
  /// Sums over inner loops that are complete when the phase is: kept for the steps of the tile. Those over time or
  /// lanes, too, go on.
  bool sums_in_tile(NodeId id) const { return sums_inner(id) && !(late(id) && (sums_time(id) || sums_lanes(id))); }
  bool sums_time(NodeId id) const { return w_.reduces(id, group_.along); }
  bool sums_lanes(NodeId id) const { return group_.lane != DimId{} && w_.reduces(id, group_.lane); }
  /// A sum over lanes at every step of the tiles under way.
  bool sums_steps(NodeId id) const { return plan_->nodes.count(id) && !sums_time(id) && sums_lanes(id); }
  Op combine(NodeId id) const { return combining_op(w_.node(id)); }
  NodeId operand_of(NodeId id, const char* name) const { return operand(w_.node(id), name); }

  // ---- the plan: which nodes run where (lower_walk.cpp) ----

  /// What this stage computes: everything, or what the summaries or starts of scans need.
  std::vector<NodeId> stage_nodes() const;
  /// Read outside the kernel, and this stage is the one to store it.
  bool stored(NodeId id) const { return stores_results() && !warms_up() && w_.stored(id); }
  bool stores_results() const { return stage_ == WalkStage::whole || stage_ == WalkStage::chunks; }
  bool in_chunks() const { return stage_ == WalkStage::summaries || stage_ == WalkStage::chunks; }
  void sort_nodes();
  PhasePlan plan_of(const std::vector<NodeId>& nodes);
  TilePlan tile_plan(const std::vector<NodeId>& nodes);
  /// Values from memory that a phase would read again in loops they do not have, and narrow ones that would be widened
  /// again and again, are first copied into an array of the tile.
  std::set<NodeId> find_staged(const PhasePlan& plan) const;
  void tasks();
  /// Which tiles a task walks.
  void cut_length();
  bool several_parts() const;

  // ---- the body: tasks, lane blocks, tiles, phases, steps (lower_walk.cpp) ----

  void body();
  /// What loops over tiles, lane blocks and steps are there for: the first recurrence; in a graph that somebody wrote
  /// without one, the first node.
  NodeId walker() const;
  void open_blocks();
  void open_inner(const std::vector<DimId>& dims);
  void close_inner(const std::vector<DimId>& dims);
  Int inner_index(const std::vector<DimId>& dims) const;
  Int block_offset(NodeId id, int64_t per_block) const { return lanes(id) ? block_ * per_block : constant(0); }
  void each_inner(const std::vector<DimId>& dims, const std::function<void()>& body);
  void prologue(bool with_lanes);
  void all_tiles();
  void walk_tiles(const Int& first, const Int& end);
  void one_tile(const Int& length);
  bool full_tile() const { return loop::is_constant(length_); }
  int64_t tile() const { return s_.tile; }
  bool registers() const { return s_.states_in_registers && stage_ != WalkStage::join; }  // a join has no steps
  /// Loops over an array that is to stay in registers are written out, so that all places of it are numbers.
  bool is_written_out_array(int array) const { return registers() || b_->in_registers(array); }
  /// Opens the loop over the steps of the tile; returns the step's number in the order of the walk.
  Int open_steps(bool against_walk, bool unroll);
  /// The loops themselves, `by` steps of which are written out.
  Int open_step_loops(int64_t by);
  void close_steps();
  void phases(const PhasePlan& plan, bool with_lanes);
  void run_sweeps(const Phase& phase);
  void stage_value(NodeId o);
  /// Invariants are loaded once for all steps.
  void preload(const Phase& phase);
  bool indices_open(NodeId o) const;
  void epilogue(bool with_lanes);
  /// Runs what only the task with the last part of the length stores.
  void in_last_part(const std::function<void()>& body);
  /// Runs what stores a value; without lanes, every part of the lane blocks has it, and the first one stores it.
  void once(bool with_lanes, const std::function<void()>& body);

  // ---- arrays: what is kept, and where (walk_arrays.cpp) ----

  int64_t state_count() const { return registers() ? 1 : blocks_per_task_; }
  /// An array of a value over the inner loops of its type, for each lane block where it has lanes.
  int value_array(NodeId id, const char* what, int64_t per_block);
  /// An array over the steps of a tile.
  int tile_array(NodeId id, int64_t elements);
  void make_arrays();
  /// Arrays that live for one tile. Whole tiles and the short one at the end have their own, so that those of whole
  /// tiles are indexed by constants and stay in registers.
  void make_tile_arrays();
  /// Values from memory without time, but with lanes: loaded once for all tiles.
  std::vector<NodeId> hoisted_loads() const;
  void make_lasting_arrays(NodeId id);
  void make_node_arrays(const PhasePlan& plan, NodeId id, PhaseSlot slot);
  /// What is simply made of values that later sweeps have anyway is made again there: cheaper than a store and loads.
  bool is_made_again(const PhasePlan& plan, NodeId id, PhaseSlot slot);
  void compute_invariant(NodeId id);
  Value read_invariant(NodeId o);
  void store_invariant(NodeId id);

  // ---- channels of several lanes (walk_pieces.cpp) ----
  //
  // With Schedule::pieces, the lanes of a channel share the inner dimension of its states: each has a piece of its
  // indices. What lacks this dimension they compute by turns: of the steps of a tile, each lane takes every pieces-th.
  // With Schedule::time_lanes (walk_time.cpp) they compute everything by turns, each lane steps that follow each other.

  bool splits() const { return s_.pieces > 1; }
  bool shares_time() const { return s_.time_lanes > 1 && stage_ != WalkStage::join; }
  int64_t lanes_of_channel() const { return shares_time() ? s_.time_lanes : s_.pieces; }
  int64_t channels() const { return s_.width / lanes_of_channel(); }
  Int piece() const { return loop::piece(lanes_of_channel()); }
  bool is_split(NodeId id) const { return splits() && lanes(id) && w_.has(id, split_); }
  bool takes_turns(NodeId id) const { return lanes(id) && (shares_time() || (splits() && !w_.has(id, split_))); }
  /// A sum over the shared dimension: each lane has a part of it.
  bool sums_pieces(NodeId id) const { return splits() && lanes(id) && w_.reduces(id, split_); }
  /// Elements over the inner loops that a lane holds of a value (of a uniform one: all), and the present one among
  /// them.
  int64_t extent(NodeId id) const { return count(inner_of_type(id)) / (is_split(id) ? s_.pieces : 1); }
  Int place(NodeId id) const;
  /// The same over the steps of a tile.
  int64_t steps(NodeId id) const { return takes_turns(id) ? tile() / lanes_of_channel() : tile(); }
  Int step_place(NodeId id) const {
    return place(id) * steps(id) + (takes_turns(id) ? turn_ : turns_ ? within_ : step_);
  }
  /// Of an array over the steps that a lane has while the inner indices stand.
  Int sweep_place(NodeId id) const { return takes_turns(id) ? turn_ : step_; }
  Value load_step(NodeId id, int array);
  void open_turns();
  void hand_out(const Phase& phase);
  void gather_pieces(const Phase& phase);
  Env env_to_store(NodeId id) const;
  /// Of the lanes of a channel only the first one stores.
  Env env_of_first_piece() const;

  // ---- lanes that share the time of a channel (walk_time.cpp) ----

  /// A walk without lanes, whose one channel all of them share: every value of a step has lanes.
  bool time_is_lane() const { return shares_time() && group_.lane == DimId{}; }
  bool folds(NodeId id) const { return shares_time() && w_.node(id).op == Op::Scan && lanes(id); }
  void make_fold_arrays(NodeId id, bool crosses_phase);
  void open_fold(NodeId id);
  void fold(NodeId id);
  void join_lanes(NodeId id);
  /// The array that a scan's states are in, and the place of the present step.
  std::pair<int, Int> states_of_steps(NodeId id) const;
  void correct_states(NodeId id, Value entering);
  Env env_at_end(const Int& wanted) const;

  // ---- sums: over inner loops within a tile, and late ones (walk_arrays.cpp) ----

  void make_late(NodeId id);
  /// Stores one finished piece of a late sum: into its place, or into this task's slot of the partial results.
  void store_late(NodeId id, const Env& env, Value value);
  Int block_late(NodeId id) const;
  void zero_reduction(NodeId id, int array, const Int& first, int64_t n);
  void accumulate(int array, const Int& at, Op op, Value value);
  void zero_phase_sums(const Phase& phase);
  void store_phase_sums(const Phase& phase);
  void flush_tile_sum(NodeId id, int array);
  /// Whether a sum over lanes, step by step, is complete within a tile's sweep: then the steps are summed together, and
  /// nothing is kept for each lane.
  bool sums_at_once(NodeId id) const;
  int64_t lane_groups() const { return (s_.width + loop::kReduceGroup - 1) / loop::kReduceGroup; }
  void open_step_sum(NodeId id);
  void close_step_sum(NodeId id);
  void add_late(NodeId id, Value value);
  /// A neutral value in lanes that do not exist.
  Value mask(Value value, double neutral);
  void store_sum(NodeId id, int array);

  // ---- states, and carries (walk_state.cpp): states and sums over time, in registers within inner loops ----

  /// A recurrence that enters every tile from memory: from stored states or, a window that runs against the walk, from
  /// its taps there.
  bool enters_tiles(NodeId id) const { return operand_of(id, "resume").present() || taps_in_memory(id); }
  bool taps_in_memory(NodeId id) const {
    return w_.node(id).op == Op::Window && against(id) && !operand_of(id, "resume").present();
  }
  /// States before the first step: the start operand, or 0.
  void init_state(NodeId id, int array);
  Value first_state(NodeId id);
  /// Runs the body for each element of a node's state with env at the matching indices of a start value. The history
  /// of a window holds the taps 1 to K-1 of the window before.
  void each_state(NodeId id, const std::function<void(const Int&)>& body);
  bool carries_state(NodeId id) const { return w_.node(id).op == Op::Scan || w_.node(id).op == Op::Delay; }
  bool carries_sum(NodeId id) const { return late(id) && w_.node(id).op != Op::At && sums_time(id); }
  int carry_of(NodeId id);
  int product_of(NodeId id);
  Int carry_home(NodeId id) const;
  void open_carry(NodeId id);
  void close_carry(NodeId id);
  /// Only stores of states of whole walks; the stored index is the chunk that this tile opens in the state's order.
  void store_chunk(NodeId id, const std::function<Value()>& read);
  Value load_resumed(NodeId resume);
  void store_last_state(NodeId id);

  // ---- recurrences at one step (walk_state.cpp) ----

  Value scan(NodeId id);
  Value delay(NodeId id);
  Value cut(NodeId id, Value before);
  /// Not 0 when a packed sequence begins between the step at t and the one walked before it.
  Value starts_between(NodeId starts, const Int& t, bool reverse);
  Value load_at(NodeId starts, const Int& t);
  /// The step's number in the order of a recurrence that may run against the walk.
  Int own_step(NodeId id) const { return against(id) ? length_ - 1 - step_ : step_; }

  // ---- windows and overlaps (walk_taps.cpp): the tile's values behind the K - 1 before it, in their own order ----

  Int taps_row(NodeId id, const std::vector<DimId>& dims) const;
  std::vector<DimId> dims_without_taps(NodeId id) const;
  void each_window(const Phase& phase, const std::function<void(NodeId, int64_t)>& body);
  void fill_taps(const Phase& phase);
  /// All taps of a tile, where they lie in memory: in the order of the walk, the K - 1 values before the tile at last.
  void load_taps(NodeId id, int64_t k);
  /// The operand of a window at a step that may lie before the first.
  Value load_tap(NodeId id, const Int& t);
  void store_window_chunk(NodeId id, DimId taps, const Int& i, Value past);
  Value zero_lanes(Value like) { return b_->apply(Op::Select, {b_->number(0), like, b_->number(0)}); }
  Int history_at(NodeId id, const std::vector<DimId>& dims, int64_t k) const;
  void save_taps(const Phase& phase);
  Value window(NodeId id);
  /// Start of a row of an overlap's sums: rows of tile + 1 entries, for each combination of the other inner indices.
  Int overlap_row(NodeId id, const Int& k) const;
  Value read_overlap(NodeId id);
  Value overlap(NodeId id);

  // ---- a walk in chunks (walk_chunks.cpp) ----

  std::vector<DimId> chunk_dims(NodeId scan) const;
  void make_chunk_arrays(NodeId scan);
  Value load_chunk(const std::map<NodeId, int>& buffers, NodeId scan, const Int& chunk);
  void store_chunk_value(const std::map<NodeId, int>& buffers, NodeId scan, const Int& chunk, Value value);
  void store_summaries(bool with_lanes);
  /// What a chunk leaves at its end of the state before it. NaN only where the state is, or infinite.
  Value left_of(Value state, Value product);
  void join_chunks(bool with_lanes);

  // ---- a walk in spans (walk_spans.cpp) ----

  bool in_spans() const { return s_.steps_per_task > 0; }
  /// Whether several tasks share the length.
  bool in_parts() const { return in_chunks() || in_spans(); }
  bool warms_up() const { return plan_ == &warm_up_; }
  /// The nodes of which the recurrences need the steps before a span.
  std::vector<NodeId> warm_up_nodes() const;
  void plan_warm_up();
  /// A state before the first step that the task runs it for.
  Value entering_state(NodeId id);

  // ---- one node at one step (walk_nodes.cpp) ----

  void run_node(NodeId id);
  void store_value(NodeId id, Value value);
  void store_end(NodeId id);
  Value evaluate(NodeId id);
  /// The value of an operand at this point of the loops.
  Value get(NodeId o);
  Value fetch(NodeId o);

  KernelWriter& w_;
  const KernelGroup& group_;
  const Schedule& s_;
  const WalkStage stage_;
  ChunkStates& chunk_states_;
  loop::StageBuilder* b_ = nullptr;

  std::vector<NodeId> invariants_, step_nodes_, last_states_;
  std::map<NodeId, NodeId> chunks_;  // recurrence -> its chunk_starts
  TilePlan full_, warm_up_;
  const TilePlan* plan_ = &full_;    // of the tiles under way
  std::set<NodeId> made_again_;
  Int blocks_, parts_;  // lane blocks, and tasks that share them
  Int tiles_, tiles_per_chunk_, chunk_count_;  // chunks or spans
  int64_t warm_up_tiles_ = 0;
  int64_t blocks_per_task_ = 1;
  bool has_tail_ = false;

  // Arrays by node. What lasts for the task, what lives for a tile, what lives while the inner indices stand.
  std::map<NodeId, int> invariant_arrays_, states_, products_, sums_;
  std::map<NodeId, int> tile_arrays_, sweep_arrays_, taps_;
  std::map<NodeId, int> carries_, product_carries_;
  std::map<NodeId, int> fold_products_;                      // of the decays of a lane's steps so far, by step
  std::map<NodeId, int> step_sums_;                          // sums over lanes, done at once: the values of the steps
  std::map<NodeId, std::pair<int, Int>> partials_;  // late sum -> temporary buffer, number of slots

  // Where the loops stand.
  Env env_;
  Int chunk_, warm_up_tile_, first_tile_, end_tile_;
  Int part_, first_block_, block_count_, block_, t0_, length_, step_, own_step_;
  int step_loops_ = 1;
  DimId split_{};                     // that the lanes of a channel share
  std::map<NodeId, int> handed_out_;  // in a phase: values of all steps, of those that lanes take by turns
  std::map<NodeId, int> piece_sums_;  // in a tile: what each lane has of a sum over it
  Int local_, turn_, within_;  // index in the lane's piece; by turns: the number of the step, and the step itself
  bool turns_ = false;                // whether the phase under way goes by turns
  bool with_lanes_ = true;  // whether the phases under way have lanes
  std::map<NodeId, Value> cache_, preloaded_;
};

}  // namespace mambac
