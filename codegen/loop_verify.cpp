#include "codegen/loop_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>
#include <span>
#include <utility>

#include "ir/error.h"

namespace mambac::loop {
namespace {

enum class Shape : uint8_t { Unknown, Uniform, Lanes };

class Verifier {
 public:
  Verifier(const Kernel& kernel, const Stage& stage)
      : kernel_(kernel),
        stage_(stage),
        shapes_(static_cast<size_t>(stage.values)),
        defined_(static_cast<size_t>(stage.values)),
        visible_(static_cast<size_t>(stage.vars)) {}

  void run() {
    origin(stage_.origin);
    expression(stage_.tasks, "tasks");
    if (stage_.task < 0 || stage_.task >= stage_.vars) fail("no variable for the task");
    visible_[static_cast<size_t>(stage_.task)] = true;
    for (const Array& array : stage_.arrays)
      if (array.count < 1) fail(fmt::format("array {} has {} elements", array.name, array.count));
    const auto awaits = std::ranges::find(stage_.body, StmtKind::AwaitKernels, &Stmt::kind);
    if (awaits != stage_.body.end()) awaits_ = &*awaits;
    if (awaits_) prefetches(std::span(stage_.body.data(), awaits_));
    block(stage_.body);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InternalError(fmt::format("loop IR, kernel '{}', stage '{}': {}", kernel_.name, stage_.name, what));
  }

  void origin(int number) const {
    if (number < -1 || number >= static_cast<int>(kernel_.origins.size()))
      fail(fmt::format("origin {} does not exist", number));
  }

  void expression(const Int& a, const char* role) const {
    if (!a) fail(fmt::format("the integer expression for {} is missing", role));
    switch (a->op) {
      case IntOp::Const: return;
      case IntOp::Var:
        if (a->value < 0 || a->value >= stage_.vars || !visible_[static_cast<size_t>(a->value)])
          fail(fmt::format("variable i{} ({}) is used outside of its loop", a->value, role));
        return;
      case IntOp::Piece:
        if (a->value != stage_.pieces) fail(fmt::format("a channel has not {} lanes ({})", a->value, role));
        return;
      case IntOp::Size:
        if (a->value < 0 || static_cast<size_t>(a->value) >= kernel_.sizes.size())
          fail(fmt::format("size {} ({}) does not exist", a->value, role));
        return;
      default: expression(a->a, role); expression(a->b, role);
    }
  }

  Shape use(Value v) const {
    if (v < 0 || v >= stage_.values || shapes_[static_cast<size_t>(v)] == Shape::Unknown)
      fail(fmt::format("v{} is used where it is not defined", v));
    return shapes_[static_cast<size_t>(v)];
  }

  void define(const Stmt& s, Shape shape) { define(s.result, shape); }

  void define(Value result, Shape shape) {
    if (spread_ && shape == Shape::Lanes) fail(fmt::format("v{} has lanes in a loop that lanes share", result));
    if (result < 0 || result >= stage_.values) fail(fmt::format("v{} is out of range", result));
    if (defined_[static_cast<size_t>(result)]) fail(fmt::format("v{} is defined twice", result));
    defined_[static_cast<size_t>(result)] = true;
    shapes_[static_cast<size_t>(result)] = shape;
    open_.push_back(result);
  }

  void define_lanes(const Stmt& s) {
    for (int64_t i = 0; i < result_count(s); i++) define(s.result + static_cast<Value>(i), Shape::Lanes);
  }

  // What a block defines is not visible after it.
  void block(const Block& statements) {
    const size_t before = open_.size();
    for (const Stmt& s : statements) {
      origin(s.origin);
      statement(s);
    }
    for (; open_.size() > before; open_.pop_back()) shapes_[static_cast<size_t>(open_.back())] = Shape::Unknown;
  }

  void arity(const Stmt& s, size_t count) const {
    if (s.args.size() != count)
      fail(fmt::format("a statement with result v{} has {} arguments, not {}", s.result, s.args.size(), count));
  }

  void prefetches(std::span<const Stmt> statements) const {
    for (const Stmt& s : statements) {
      if (s.kind != StmtKind::For && s.kind != StmtKind::Prefetch) fail("memory is touched before kernels are awaited");
      prefetches(s.body);
    }
  }

  void loop(const Stmt& s) {
    uniform(s.begin, "a loop's begin");
    uniform(s.end, "a loop's end");
    if (s.step < 1) fail(fmt::format("the loop over i{} has step {}", s.var, s.step));
    if (s.var < 0 || s.var >= stage_.vars || visible_[static_cast<size_t>(s.var)])
      fail(fmt::format("loop variable i{} is out of range or in use", s.var));
    if (s.spread && (spread_ || s.unroll)) fail(fmt::format("the loop over i{} cannot be shared out", s.var));
    if (s.teams) teams(s);
    visible_[static_cast<size_t>(s.var)] = true;
    const bool outside = std::exchange(spread_, spread_ || s.spread);
    block(s.body);
    spread_ = outside;
    visible_[static_cast<size_t>(s.var)] = false;
  }

  /// Each team goes its own way through the loop, so what they share must not be stored and loaded in it.
  void teams(const Stmt& s) const {
    int64_t begin = 0;
    if (stage_.teams < 2 || stage_.pieces > 1 || s.spread || s.unroll || s.step != 1 || !is_constant(s.begin, &begin) ||
        begin != 0)
      fail(fmt::format("the loop over i{} is none for teams", s.var));
    std::set<int> stored, loaded;
    shared_accesses(s.body, stored, loaded);
    for (int array : stored)
      if (loaded.count(array))
        fail(fmt::format("teams store and load array {} in one loop", stage_.arrays[static_cast<size_t>(array)].name));
  }

  void shared_accesses(const Block& statements, std::set<int>& stored, std::set<int>& loaded) const {
    for (const Stmt& s : statements) {
      if (s.teams || s.spread || s.kind == StmtKind::Barrier) fail("teams share out one loop within another");
      if (s.kind == StmtKind::LoadArray || s.kind == StmtKind::StoreArray)
        if (stage_.arrays.at(static_cast<size_t>(s.buffer)).space == Space::shared)
          (s.kind == StmtKind::StoreArray ? stored : loaded).insert(s.buffer);
      shared_accesses(s.body, stored, loaded);
      shared_accesses(s.otherwise, stored, loaded);
    }
  }

  /// Which way to go, and how often, is one decision for all lanes.
  void uniform(const Int& a, const char* role) const {
    expression(a, role);
    if (differs_between_lanes(a)) fail(fmt::format("{} differs between lanes", role));
  }

  Shape access(const Stmt& s) const {
    if (s.buffer < 0 || static_cast<size_t>(s.buffer) >= kernel_.buffers.size())
      fail(fmt::format("buffer {} does not exist", s.buffer));
    expression(s.offset, "an offset");
    if (s.lane_stride) expression(s.lane_stride, "a lane stride");
    if (s.valid) expression(s.valid, "a number of lanes");
    if (s.valid && !s.lane_stride) fail("a uniform access counts lanes");
    if (s.below) {
      expression(s.below, "a condition");
      expression(s.limit, "a condition");
    }
    const bool own = s.lane_stride || differs_between_lanes(s.offset) || differs_between_lanes(s.below);
    return own ? Shape::Lanes : Shape::Uniform;
  }

  void written(const Stmt& s) const {
    const Buffer& buffer = kernel_.buffers[static_cast<size_t>(s.buffer)];
    if (!buffer.written) fail(fmt::format("buffer {} is read only", buffer.name));
  }

  /// For what counts a thread as a channel.
  void whole_lanes(const char* what) const {
    if (stage_.pieces > 1) fail(fmt::format("{} where a channel has {} lanes", what, stage_.pieces));
  }

  void columns(int64_t count) const {
    if (count < 2 || count > kernel_.schedule.width || !std::has_single_bit(static_cast<uint64_t>(count)))
      fail(fmt::format("a block has {} columns", count));
  }

  void element_store(const Stmt& s, Shape shape) const {
    arity(s, 1);
    if (use(s.args[0]) == Shape::Lanes && shape == Shape::Uniform)
      fail(fmt::format("v{} is lanes but goes to a uniform place", s.args[0]));
  }

  Shape array(const Stmt& s) const {
    if (s.buffer < 0 || static_cast<size_t>(s.buffer) >= stage_.arrays.size())
      fail(fmt::format("array {} does not exist", s.buffer));
    expression(s.offset, "an index");
    const Array& a = stage_.arrays[static_cast<size_t>(s.buffer)];
    int64_t at = 0;
    if (is_constant(s.offset, &at) && (at < 0 || at >= a.count))
      fail(fmt::format("array {} has {} elements; element {} was asked for", a.name, a.count, at));
    if (spread_ && a.space == Space::registers) return Shape::Uniform;  // of the iteration's thread
    return a.lanes || differs_between_lanes(s.offset) ? Shape::Lanes : Shape::Uniform;
  }

  void fetch(const Stmt& s, Space space) const {
    access(s);
    Stmt element = s;
    element.buffer = s.array;
    element.offset = s.place;
    array(element);
    const Array& a = stage_.arrays[static_cast<size_t>(s.array)];
    const Buffer& buffer = kernel_.buffers[static_cast<size_t>(s.buffer)];
    if (a.dtype != buffer.dtype || a.space != space)
      fail(fmt::format("array {} is not of the type of {}, or not where that can be fetched to", a.name, buffer.name));
  }

  Shape apply(const Stmt& s) const {
    if (!is_pointwise(s.op) || s.op == Op::Cast) fail(fmt::format("op {} cannot be applied", mambac::name_of(s.op)));
    arity(s, info(s.op).operands.size());
    Shape shape = Shape::Uniform;
    for (Value v : s.args)
      if (use(v) == Shape::Lanes) shape = Shape::Lanes;
    return shape;
  }

  void statement(const Stmt& s) {
    switch (s.kind) {
      case StmtKind::For: loop(s); break;
      case StmtKind::If:
        uniform(s.begin, "a condition");
        uniform(s.end, "a condition");
        block(s.body);
        block(s.otherwise);
        break;
      case StmtKind::Number: define(s, Shape::Uniform); break;
      case StmtKind::Index:
        expression(s.offset, "an index");
        define(s, differs_between_lanes(s.offset) ? Shape::Lanes : Shape::Uniform);
        break;
      case StmtKind::LaneIndex: expression(s.offset, "an index"); define(s, Shape::Lanes); break;
      case StmtKind::Apply: define(s, apply(s)); break;
      case StmtKind::Load: define(s, access(s)); break;
      case StmtKind::Fetch: fetch(s, Space::registers); break;
      case StmtKind::CopyAsync:
        fetch(s, Space::shared);
        if (!spread_) fail("all lanes copy the same");
        break;
      case StmtKind::CommitCopies: break;
      case StmtKind::WaitCopies:
        if (s.groups < 0) fail("a wait for fewer than no groups");
        break;
      case StmtKind::Prefetch: access(s); break;
      case StmtKind::Store:
        element_store(s, access(s));
        written(s);
        break;
      case StmtKind::LoadBlock:
        whole_lanes("a block of columns");
        access(s);
        columns(s.columns);
        define_lanes(s);
        break;
      case StmtKind::StoreBlock:
        whole_lanes("a block of columns");
        access(s);
        columns(static_cast<int64_t>(s.args.size()));
        for (Value v : s.args) use(v);
        written(s);
        break;
      case StmtKind::LoadArray: define(s, array(s)); break;
      case StmtKind::LoadPiece:
        array(s);
        expression(s.piece, "a piece");
        if (differs_between_lanes(s.offset) || differs_between_lanes(s.piece)) fail("lanes ask for different values");
        define(s, Shape::Lanes);
        break;
      case StmtKind::SumPieces:
        if (s.args.size() != 1 && s.args.size() != static_cast<size_t>(stage_.pieces))
          fail(fmt::format("{} values are summed over pieces", s.args.size()));
        for (Value v : s.args) use(v);
        define(s, Shape::Lanes);
        break;
      case StmtKind::ScanPieces:
        arity(s, 2);
        for (Value v : s.args) use(v);
        if (stage_.pieces == 1) fail("maps over pieces where a channel is one lane");
        define_lanes(s);
        break;
      case StmtKind::StoreArray: element_store(s, array(s)); break;
      case StmtKind::Reduce:
        whole_lanes("a reduction over lanes");
        arity(s, 1);
        use(s.args[0]);
        if (s.valid) expression(s.valid, "a number of lanes");
        if (s.op != Op::Sum && s.op != Op::Amax)
          fail(fmt::format("op {} does not reduce lanes", mambac::name_of(s.op)));
        define(s, Shape::Uniform);
        break;
      case StmtKind::ReduceInto:
        array(s);
        if (stage_.arrays[static_cast<size_t>(s.buffer)].lanes)
          fail("sums over lanes go to an array of uniform values");
        if (!std::has_single_bit(s.args.size()) ||
            static_cast<int>(s.args.size()) * stage_.pieces > std::min(kernel_.schedule.width, kReduceGroup))
          fail(fmt::format("{} values are summed over the lanes of a group", s.args.size()));
        for (Value v : s.args) use(v);
        if (!is_constant(s.lane_stride)) fail("the stride of groups changes");
        if (spread_) fail("a sum over lanes in a loop that lanes share");
        break;
      case StmtKind::AwaitKernels:
        if (&s != awaits_) fail("kernels before this one are awaited once, at the top");
        break;
      case StmtKind::Barrier:
        if (spread_) fail("a barrier in a loop that is shared out");
        break;
    }
  }

  const Kernel& kernel_;
  const Stage& stage_;
  std::vector<Shape> shapes_;
  std::vector<bool> defined_;
  std::vector<bool> visible_;
  const Stmt* awaits_ = nullptr;
  std::vector<Value> open_;
  bool spread_ = false;  // inside a loop that is shared out
};

}  // namespace

void verify(const Kernel& kernel) {
  for (const Buffer& buffer : kernel.buffers)
    for (const int other : buffer.in_place_of)
      if (!buffer.written || other < 0 || static_cast<size_t>(other) >= kernel.buffers.size() ||
          kernel.buffers[static_cast<size_t>(other)].written)
        throw InternalError(fmt::format("loop IR, kernel '{}': buffer {} cannot be in place of {}", kernel.name,
                                        buffer.name, other));
  for (const Stage& stage : kernel.stages) Verifier(kernel, stage).run();
}

}  // namespace mambac::loop
