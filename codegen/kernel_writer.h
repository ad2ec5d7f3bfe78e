// What the lowerings of walks and rows share: sizes, buffers, loads and stores of values by their place.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "codegen/lower.h"

namespace mambac {

/// The index of every dimension at one point of the loops.
struct Env {
  std::map<DimId, loop::Int> at;  // not the lane's
  DimId lane{};
  loop::Int lane_base;            // index of the first lane
  loop::Int lane_valid;           // number of lanes that exist; null: all
  int64_t lane_step = 1;          // between the indices of neighbouring lanes; a power of two
  int64_t lane_offset = 0;        // of the first lane from lane_base, below lane_step
  loop::Int below, limit;         // lanes where below < limit store; null: all
  int64_t ahead = 0;              // the distance, in lanes, of the memory that accesses fetch ahead
  int64_t steps_ahead = 0;        // and in steps of the walk
};

/// A name without the numbers that tell the layers of a model apart ("mul.12" is "mul"): kernels that do the same are
/// the same, and are compiled once.
std::string plain_name(const std::string& name);

class KernelWriter {
 public:
  KernelWriter(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule);

  const Graph& graph() const { return graph_; }
  int number() const { return number_; }
  const KernelGroup& group() const { return group_; }
  const Schedule& schedule() const { return schedule_; }
  const std::vector<NodeId>& nodes() const { return nodes_; }
  const Node& node(NodeId id) const { return graph_.node(id); }
  bool inside(NodeId id) const { return graph_.node(id).kernel == number_; }
  /// Read outside this kernel, so it must be stored.
  bool stored(NodeId id) const { return stored_[id.index]; }
  /// Nodes of this kernel that read a node of it.
  const std::vector<NodeId>& readers(NodeId id) const;
  bool has_lane(NodeId id) const;
  bool has(NodeId id, DimId dim) const { return graph_.node(id).type.has(dim); }
  /// Whether the dims of operands or result include it.
  bool spans(NodeId id, DimId dim) const;
  /// Whether it is a sum over the dimension.
  bool reduces(NodeId id, DimId dim) const;

  loop::Int size(DimId dim);
  loop::Int size(const std::vector<DimId>& dims);
  int temporary(const std::string& name, const loop::Int& elements);
  loop::Value load(loop::StageBuilder& b, NodeId value, const Env& env);
  /// The values at `count` neighbouring indices of a fixed dimension, from that of env on: where they lie side by side,
  /// several at once, as many as the schedule has columns.
  std::vector<loop::Value> load_run(loop::StageBuilder& b, NodeId value, const Env& env, DimId dim, int64_t count);
  void store(loop::StageBuilder& b, NodeId value, const Env& env, loop::Value what);
  /// Runs what stores a value: of the tasks that have it alike, since it lacks outer dimensions, in the first.
  void once(loop::StageBuilder& b, NodeId value, const Env& env, const std::function<void()>& store) const;
  /// While what it returns lives, statements are there for this node: its own, and what it reads.
  [[nodiscard]] loop::OriginScope from(loop::StageBuilder& b, NodeId id) { return {b, origin_of(id)}; }
  /// The number of a node's origin; shared: of the walk of this recurrence.
  int origin_of(NodeId id, bool shared = false);
  /// The node's value, op and place in the definition, as a comment on the next statement.
  void comment(loop::StageBuilder& b, NodeId id) const;
  /// The inner dimensions of the kernel that a value has, and how many combinations of indices dimensions have.
  std::vector<DimId> inner_of_type(NodeId id) const;
  int64_t count(const std::vector<DimId>& dims) const;

  /// From here on the index of `dim` (absent: of none) runs through all its values, each a constant, and all others
  /// stay the same. What lies in memory as [.., lane, dim] is then read and written in blocks of all its columns, or
  /// read in blocks of some where they are many.
  /// Likewise with Env::lane_offset, for what lies there as [.., lane].
  void begin_columns(DimId dim);
  /// The same in a temporary made of slots, each laid out over `dims` in their order.
  loop::Value load_slot(loop::StageBuilder& b, int temporary, const loop::Int& slot, const std::vector<DimId>& dims,
                        const Env& env);
  void store_slot(loop::StageBuilder& b, int temporary, const loop::Int& slot, const std::vector<DimId>& dims,
                  const Env& env, loop::Value what);
  /// Inputs of the graph that no later kernel reads and whose memory a stored value has the type and layout for; that
  /// this kernel is done with an element when it stores it is for the caller to know.
  std::vector<NodeId> replaceable_inputs(NodeId stored) const;
  /// Declares that the value may be stored where the input lies.
  void store_in_place(NodeId value, NodeId input);

  /// Const, Iota and Extent need no memory.
  bool is_immediate(NodeId id) const;
  loop::Value immediate(loop::StageBuilder& b, NodeId id, const Env& env);

  /// put: its operand at one index, 0 at the others.
  loop::Value put(loop::StageBuilder& b, const Node& node, const Env& env, loop::Value operand);
  /// at, slice and shift: the operand, which `read` gives at env, at another index; shift gives 0 outside its range.
  loop::Value moved(loop::StageBuilder& b, const Node& node, Env& env, const std::function<loop::Value()>& read);

  /// Adds the stages that combine `slots` partial results, each laid out like the value's type, into the value, in the
  /// order of the slots. `most`: where it is known, how many they are at most.
  void finish(NodeId value, int partial, const loop::Int& slots, int64_t most = 0);

  loop::Stage& add_stage(const std::string& name, const loop::Int& tasks);
  LoweredKernel take() { return std::move(out_); }

 private:
  struct Address {
    int buffer;
    loop::Int offset, lane_stride;
    loop::Int step_stride = nullptr;  // between steps of the walk; null: none
    int64_t columns = 0, column = 0;  // of a block, whose first column is at the offset; 0: an access of its own
  };
  struct Columns {
    DimId dim{};
    std::map<NodeId, std::vector<loop::Value>> loaded, to_store;
  };
  Address address(NodeId value, const Env& env, bool written);
  Address slot_address(int temporary, const loop::Int& slot, const std::vector<DimId>& dims, const Env& env);
  /// The columns of a block; 0: they are not read, or written, in blocks.
  int64_t columns_in(const MemoryPlace& place, const Env& env, bool written, int64_t* column) const;
  bool holds_blocks(const MemoryPlace& place, const MemoryIndex& index, const Env& env);
  int buffer_of(NodeId root, bool written);
  std::string buffer_name(const std::string& name) const;
  static loop::Value read(loop::StageBuilder& b, const Address& a, const Env& env);
  static void write(loop::StageBuilder& b, const Address& a, const Env& env, loop::Value what);
  static int64_t ahead(const Address& a, const Env& env);

  const Graph& graph_;
  const Layouts& layouts_;
  const int number_;
  const KernelGroup& group_;
  Schedule schedule_;
  std::vector<NodeId> nodes_;
  std::vector<bool> stored_;
  std::map<NodeId, std::vector<NodeId>> readers_;
  std::map<NodeId, int> buffers_;
  std::map<std::pair<NodeId, bool>, int> origins_;
  Columns columns_;
  LoweredKernel out_;
};

/// Bodies that a nest of inner loops is written out to.
constexpr int64_t kMostWrittenOut = 16;

LoweredKernel lower_walk(KernelWriter& writer);
LoweredKernel lower_rows(KernelWriter& writer);

/// Whether an inner loop over `size` is written out; `nest`: the bodies of it and the loops within. Of a large nest the
/// inner ones are.
inline bool is_written_out(int64_t size, int64_t nest) {
  constexpr int64_t kLongest = 4;
  return size <= kLongest && nest <= kMostWrittenOut;
}

/// Comparisons of positions, as 1 or 0. What is compared is their difference and 0: f32 keeps its sign, however large
/// the positions are. `lanes_`: of first + lane.
loop::Value is_before(loop::StageBuilder& b, const loop::Int& position, const loop::Int& end);
loop::Value is_at(loop::StageBuilder& b, const loop::Int& position, const loop::Int& place);
loop::Value lanes_before(loop::StageBuilder& b, const loop::Int& first, const loop::Int& end);
loop::Value lanes_at(loop::StageBuilder& b, const loop::Int& first, const loop::Int& place);

/// How partial results of a Sum, Dot or Amax are combined, and what combining starts from.
Op combining_op(const Node& node);
double neutral_value(const Node& node);
/// The Reduce over lanes that belongs to it.
Op lane_reduction(const Node& node);

/// The value of a pointwise node from the values of its operands (identity for rounding and repetition).
loop::Value apply_pointwise(loop::StageBuilder& b, const Node& node, const std::vector<loop::Value>& args);

}  // namespace mambac
