// The last stages of a kernel: the partial results of a value, one in each slot of a temporary, are combined in the
// order of their slots. A task has some vectors of the value's last dimension. Blocks of threads would find too little
// to do there where it is short: then so many neighbouring lanes share one index of the dimension before it
// (Stage::pieces). Many slots are combined in two stages: groups of neighbouring slots, each by tasks of its own, and
// what these leave.

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "codegen/kernel_writer.h"

namespace mambac {

namespace {

using loop::constant;
using loop::Int;
using loop::Value;

constexpr int64_t kSlotsInFlight = 8;  // loads of different slots that do not wait for each other

class SlotSums {
 public:
  SlotSums(KernelWriter& w, NodeId value) : w_(w), value_(value), rows_(w.node(value).type.dims) {
    if (rows_.empty()) return;
    lane_ = take_last();
    const int64_t size = w.graph().dim(lane_).size;
    const bool shared = w.schedule().slots_per_task > 0 && !rows_.empty() && size > 1 &&
                        std::has_single_bit(static_cast<uint64_t>(size)) && size <= w.schedule().width / 2;
    if (!shared) return;
    pieces_ = size;
    piece_ = std::exchange(lane_, take_last());
  }

  void run(int partial, const Int& slots, int64_t most) {
    const auto store_value = [&](loop::StageBuilder& b, const Env& env, const Int&, Value sum) {
      w_.store(b, value_, env, sum);
    };
    const int64_t each = w_.schedule().slots_per_task;
    if (each <= 0 || most <= each) {
      add_stage(partial, slots, constant(1), slots, store_value);
      return;
    }
    const std::vector<DimId>& dims = w_.node(value_).type.dims;
    const Int groups = (slots + (each - 1)) / each;
    const int sums = w_.temporary(w_.node(value_).name + ".sums", groups * w_.size(dims));
    add_stage(partial, slots, groups, constant(each),
              [&](loop::StageBuilder& b, const Env& env, const Int& group, Value sum) {
                w_.store_slot(b, sums, group, dims, env, sum);
              });
    add_stage(sums, groups, constant(1), groups, store_value);
  }

 private:
  using Store = std::function<void(loop::StageBuilder&, const Env&, const Int& group, Value sum)>;

  DimId take_last() {
    const DimId last = rows_.back();
    rows_.pop_back();
    return last;
  }

  /// Combines the slots of each of `groups` groups of `each` slots.
  void add_stage(int partial, const Int& slots, const Int& groups, const Int& each, const Store& store) {
    const int64_t channels = w_.schedule().width / pieces_;
    const int64_t of_task = channels * std::max(1, w_.schedule().blocks_per_task);
    const Int lanes = lane_ == DimId{} ? constant(1) : w_.size(lane_);
    const Int parts = (lanes + (of_task - 1)) / of_task;
    loop::Stage& stage = w_.add_stage("sum", groups * w_.size(rows_) * parts);
    stage.pieces = static_cast<int>(pieces_);
    loop::StageBuilder b(stage);
    stage.origin = w_.origin_of(value_);
    const loop::OriginScope origin(b, stage.origin);
    Env env;
    const Int part = b.task() % parts;
    Int rest = b.task() / parts;
    for (auto d = rows_.rbegin(); d != rows_.rend(); ++d) {
      env.at[*d] = rest % w_.size(*d);
      rest = rest / w_.size(*d);
    }
    int64_t count = 0;
    const Int group = is_constant(groups, &count) && count == 1 ? constant(0) : rest;
    const Int first = group * each, end = loop::min(first + each, slots);
    if (lane_ == DimId{}) {
      store(b, env, group, sum(b, partial, first, end, env));
      return;
    }
    env.lane = lane_;
    if (pieces_ > 1) env.at[piece_] = loop::piece(pieces_);
    env.lane_base = b.open_for(part * of_task, loop::min((part + 1) * of_task, lanes), channels);
    if (int64_t size = 0; !is_constant(lanes, &size) || size % channels != 0)
      env.lane_valid = loop::min(lanes - env.lane_base, constant(channels));
    store(b, env, group, sum(b, partial, first, end, env));
    b.close();
  }

  Value sum(loop::StageBuilder& b, int partial, const Int& first, const Int& end, const Env& env) {
    const Node& node = w_.node(value_);
    const int sum = b.array("sum", 1, lane_ != DimId{}, true);
    const auto add = [&](const Int& slot) {
      const Value part = w_.load_slot(b, partial, slot, node.type.dims, env);
      b.store_array(sum, constant(0), b.apply(combining_op(node), {b.load_array(sum, constant(0)), part}));
    };
    b.store_array(sum, constant(0), b.number(neutral_value(node)));
    const Int whole = first + (end - first) / kSlotsInFlight * kSlotsInFlight;
    const Int several = b.open_for(first, whole, kSlotsInFlight);
    add(several + b.open_for(constant(0), constant(kSlotsInFlight), 1, true));
    b.close();
    b.close();
    add(b.open_for(whole, end));
    b.close();
    return b.load_array(sum, constant(0));
  }

  KernelWriter& w_;
  const NodeId value_;
  std::vector<DimId> rows_;  // its outer dimensions
  DimId lane_{}, piece_{};
  int64_t pieces_ = 1;
};

}  // namespace

void KernelWriter::finish(NodeId value, int partial, const Int& slots, int64_t most) {
  SlotSums(*this, value).run(partial, slots, most);
}

}  // namespace mambac
