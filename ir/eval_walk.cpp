// The meaning of the ops that walk a dimension.
#include <algorithm>

#include "ir/eval_rules.h"

namespace mambac::evaluator {

namespace {

/// A walk along a dimension, and what its steps remember: the previous value, or the start, or, at the entry of a tile,
/// the value to resume from; nothing where a packed sequence starts.
class Walk {
 public:
  Walk(Evaluation& e, bool reverse) : length(e.size(e.dim(0))), reverse_(reverse) {
    for (std::string_view name : {"start", "starts", "resume"}) operands_.push_back(named(e, name));
    for (DimId dim : operands_[kResume].type.dims) {
      const Dim& tiles = e.graph.dim(dim);
      if (tiles.is_tiles() && tiles.base == e.dim(0)) tiles_ = dim, steps_per_tile_ = tiles.divisor;
    }
    if (steps_per_tile_ > 0) tile_stride_ = e.stride(operands_[kResume].type, tiles_);
    if (operands_[kStarts].data) starts_stride_ = e.stride(operands_[kStarts].type, e.dim(0));
  }

  /// The strides of start, starts and resume over the lines of the walk.
  void add_strides(Evaluation& e, const Dims& lines, std::vector<Sizes>& strides) const {
    for (const Operand& operand : operands_) strides.push_back(e.strides(operand.type, lines));
  }
  /// The line that follows; at[first], at[first + 1], at[first + 2]: where start, starts and resume stand for it.
  void set_line(const Sizes& at, size_t first) { line_.assign(at.begin() + first, at.begin() + first + 3); }

  /// The position of the i-th step of the walk.
  int64_t position(int64_t i) const { return reverse_ ? length - 1 - i : i; }
  /// What step i remembers when the step before it made `previous`. start_tap, resume_tap: offsets within a line.
  double remembered(int64_t i, double previous, int64_t start_tap = 0, int64_t resume_tap = 0) const {
    int64_t t = position(i);
    if (cut(t)) return 0;
    if (enters_tile(t)) return at(kResume, resume_tap + t / steps_per_tile_ * tile_stride_);
    if (i == 0) return operands_[kStart].data ? at(kStart, start_tap) : 0;
    return previous;
  }

  const int64_t length;

 private:
  enum Which { kStart, kStarts, kResume };
  struct Operand {
    const double* data = nullptr;
    Type type;
  };

  static Operand named(Evaluation& e, std::string_view name) {
    NodeId id = operand(e.node, name);
    if (!id.present()) return {};
    return {e.values[id.index].data.data(), e.graph.node(id).type};
  }
  double at(Which which, int64_t offset) const { return operands_[which].data[line_[which] + offset]; }
  bool cut(int64_t t) const {
    int64_t border = reverse_ ? t + 1 : t;
    return operands_[kStarts].data && border < length && at(kStarts, border * starts_stride_) != 0;
  }
  bool enters_tile(int64_t t) const {
    if (steps_per_tile_ == 0) return false;
    return reverse_ ? t == length - 1 || (t + 1) % steps_per_tile_ == 0 : t % steps_per_tile_ == 0;
  }

  const bool reverse_;
  std::vector<Operand> operands_;
  std::vector<int64_t> line_;
  DimId tiles_;
  int64_t steps_per_tile_ = 0;
  int64_t tile_stride_ = 0;
  int64_t starts_stride_ = 0;
};

}  // namespace

void eval_scan(Evaluation& e) {
  DimId dim = e.dim(0);
  Dims lines = without(e.node.type.dims, {dim});
  Walk walk(e, e.node.attrs.reverse);
  std::vector<Sizes> strides{e.strides(e.node.type, lines), e.strides(e.type(0), lines), e.strides(e.type(1), lines)};
  walk.add_strides(e, lines, strides);
  const double* decay = e.data(0);
  const double* input = e.data(1);
  int64_t h_step = e.stride(e.node.type, dim), decay_step = e.stride(e.type(0), dim),
          input_step = e.stride(e.type(1), dim);
  loop(e.sizes(lines), strides, [&](const Sizes& at) {
    walk.set_line(at, 3);
    double h = 0;
    for (int64_t i = 0; i < walk.length; ++i) {
      int64_t t = walk.position(i);
      h = decay[at[1] + t * decay_step] * walk.remembered(i, h) + input[at[2] + t * input_step];
      e.out.data[at[0] + t * h_step] = h;
    }
  });
}

void eval_delay(Evaluation& e) {
  DimId dim = e.dim(0);
  Dims lines = without(e.node.type.dims, {dim});
  Walk walk(e, e.node.attrs.reverse);
  std::vector<Sizes> strides{e.strides(e.node.type, lines)};
  walk.add_strides(e, lines, strides);
  const double* x = e.data(0);
  int64_t step = e.stride(e.node.type, dim);
  loop(e.sizes(lines), strides, [&](const Sizes& at) {
    walk.set_line(at, 1);
    double previous = 0;
    for (int64_t i = 0; i < walk.length; ++i) {
      int64_t place = at[0] + walk.position(i) * step;
      e.out.data[place] = walk.remembered(i, previous);
      previous = x[place];
    }
  });
}

static int64_t stride_of_taps(Evaluation& e, std::string_view name) {
  NodeId id = operand(e.node, name);
  return id.present() ? e.stride(e.graph.node(id).type, e.dim(1)) : 0;
}

void eval_window(Evaluation& e) {
  DimId dim = e.dim(0);
  Dims lines = without(e.node.type.dims, {dim, e.dim(1)});
  Walk walk(e, false);
  std::vector<Sizes> strides{e.strides(e.node.type, lines), e.strides(e.type(0), lines)};
  walk.add_strides(e, lines, strides);
  const double* x = e.data(0);
  int64_t step = e.stride(e.node.type, dim), tap = e.stride(e.node.type, e.dim(1)), x_step = e.stride(e.type(0), dim);
  int64_t start_tap = stride_of_taps(e, "start"), resume_tap = stride_of_taps(e, "resume");
  int64_t taps = e.size(e.dim(1));
  loop(e.sizes(lines), strides, [&](const Sizes& at) {
    walk.set_line(at, 2);
    for (int64_t t = 0; t < walk.length; ++t) {
      double* w = &e.out.data[at[0] + t * step];
      for (int64_t k = 0; k + 1 < taps; ++k) {
        double previous = t > 0 ? w[(k + 1) * tap - step] : 0;
        w[k * tap] = walk.remembered(t, previous, (k + 1) * start_tap, (k + 1) * resume_tap);
      }
      w[(taps - 1) * tap] = x[at[1] + t * x_step];
    }
  });
}

void eval_overlap(Evaluation& e) {
  DimId dim = e.dim(0);
  Dims lines = without(e.node.type.dims, {dim, e.dim(1)});
  Walk walk(e, true);
  std::vector<Sizes> strides{e.strides(e.node.type, lines)};
  walk.add_strides(e, lines, strides);
  const double* x = e.data(0);
  int64_t step = e.stride(e.node.type, dim), tap = e.stride(e.node.type, e.dim(1));
  int64_t resume_tap = stride_of_taps(e, "resume");
  int64_t taps = e.size(e.dim(1));
  loop(e.sizes(lines), strides, [&](const Sizes& at) {
    walk.set_line(at, 1);
    for (int64_t i = 0; i < walk.length; ++i) {
      int64_t place = at[0] + walk.position(i) * step;
      e.out.data[place] = x[place];
      for (int64_t k = 1; k < taps; ++k) {
        double previous = i > 0 ? e.out.data[place + step + (k - 1) * tap] : 0;
        e.out.data[place + k * tap] = x[place + k * tap] + walk.remembered(i, previous, 0, (k - 1) * resume_tap);
      }
    }
  });
}

/// Tile j covers the steps from j * divisor on, in either direction. A delay's result is what it enters with; the
/// others enter with the result of the step before, the first one with the start.
void eval_chunk_starts(Evaluation& e) {
  const Node& recurrence = e.graph.node(e.node.operands[0]);
  bool reverse = recurrence.attrs.reverse || recurrence.op == Op::Overlap;
  int64_t length = e.size(e.dim(0)), divisor = e.graph.dim(e.dim(1)).divisor;
  NodeId start = operand(e.node, "start");
  Dims lines = without(e.node.type.dims, {e.dim(1)});
  std::vector<Sizes> strides{e.strides(e.node.type, lines), e.strides(e.type(0), lines)};
  strides.push_back(start.present() ? e.strides(e.type(1), lines) : Sizes(lines.size(), 0));
  int64_t tile_step = e.stride(e.node.type, e.dim(1)), step = e.stride(e.type(0), e.dim(0));
  const double* x = e.data(0);
  loop(e.sizes(lines), strides, [&](const Sizes& at) {
    for (int64_t tile = 0; tile * divisor < length; ++tile) {
      int64_t entry = reverse ? std::min((tile + 1) * divisor, length) - 1 : tile * divisor;
      int64_t source = recurrence.op == Op::Delay ? entry : reverse ? entry + 1 : entry - 1;
      double& state = e.out.data[at[0] + tile * tile_step];
      if (source >= 0 && source < length) {
        state = x[at[1] + source * step];
      } else if (start.present()) {
        state = e.data(1)[at[2]];
      }
    }
  });
}

}  // namespace mambac::evaluator
