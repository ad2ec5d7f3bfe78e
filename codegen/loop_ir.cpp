#include "codegen/loop_ir.h"

#include <algorithm>

#include "ir/error.h"
#include "passes/plan.h"

namespace mambac::loop {
namespace {

Int node(IntOp op, const Int& a, const Int& b) {
  auto n = std::make_shared<IntNode>();
  n->op = op;
  n->a = a;
  n->b = b;
  return n;
}

int64_t apply(IntOp op, int64_t a, int64_t b) {
  switch (op) {
    case IntOp::Add: return a + b;
    case IntOp::Sub: return a - b;
    case IntOp::Mul: return a * b;
    case IntOp::Div: check(b != 0, "integer expression divides by zero"); return a / b;
    case IntOp::Mod: check(b != 0, "integer expression divides by zero"); return a % b;
    case IntOp::Min: return std::min(a, b);
    case IntOp::Max: return std::max(a, b);
    case IntOp::Less: return a < b ? 1 : 0;
    default: throw InternalError("integer expression: a leaf has no operands");
  }
}

/// The constant result when both operands are constants, else null.
Int folded(IntOp op, const Int& a, const Int& b) {
  if (a->op != IntOp::Const || b->op != IntOp::Const) return nullptr;
  return constant(apply(op, a->value, b->value));
}

bool is(const Int& a, int64_t value) { return a->op == IntOp::Const && a->value == value; }

bool same(const Int& a, const Int& b) {
  if (a == b) return true;
  return a->op == b->op && (a->op == IntOp::Var || a->op == IntOp::Size) && a->value == b->value;
}

}  // namespace

Int constant(int64_t value) {
  auto n = std::make_shared<IntNode>();
  n->value = value;
  return n;
}

Int variable(Var var) {
  auto n = std::make_shared<IntNode>();
  n->op = IntOp::Var;
  n->value = var;
  return n;
}

Int piece(int64_t of) {
  auto n = std::make_shared<IntNode>();
  n->op = IntOp::Piece;
  n->value = of;
  return n;
}

bool differs_between_lanes(const Int& a) {
  if (!a || !a->a) return a && a->op == IntOp::Piece;
  return differs_between_lanes(a->a) || differs_between_lanes(a->b);
}

bool is_constant(const Int& a, int64_t* value) {
  if (a->op != IntOp::Const) return false;
  if (value) *value = a->value;
  return true;
}

// Constants move to the right and join, so that offsets end in one constant: (x + 1) + 2 is x + 3.
Int operator+(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Add, a, b)) return c;
  if (is(a, 0)) return b;
  if (is(b, 0)) return a;
  if (a->op == IntOp::Const) return b + a;
  if (b->op == IntOp::Const && a->op == IntOp::Add && a->b->op == IntOp::Const) return a->a + (a->b + b);
  return node(IntOp::Add, a, b);
}

Int operator-(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Sub, a, b)) return c;
  if (is(b, 0)) return a;
  if (same(a, b)) return constant(0);
  if (b->op == IntOp::Const) return a + constant(-b->value);
  return node(IntOp::Sub, a, b);
}

Int operator*(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Mul, a, b)) return c;
  if (is(a, 0) || is(b, 0)) return constant(0);
  if (is(a, 1)) return b;
  if (is(b, 1)) return a;
  if (a->op == IntOp::Const) return b * a;
  if (b->op == IntOp::Const && a->op == IntOp::Mul && a->b->op == IntOp::Const) return a->a * (a->b * b);
  return node(IntOp::Mul, a, b);
}

Int operator/(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Div, a, b)) return c;
  if (is(b, 1)) return a;
  return node(IntOp::Div, a, b);
}

Int operator%(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Mod, a, b)) return c;
  if (is(b, 1)) return constant(0);
  return node(IntOp::Mod, a, b);
}

Int operator+(const Int& a, int64_t b) { return a + constant(b); }
Int operator-(const Int& a, int64_t b) { return a - constant(b); }
Int operator*(const Int& a, int64_t b) { return a * constant(b); }
Int operator/(const Int& a, int64_t b) { return a / constant(b); }
Int operator%(const Int& a, int64_t b) { return a % constant(b); }

Int min(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Min, a, b)) return c;
  return same(a, b) ? a : node(IntOp::Min, a, b);
}

Int max(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Max, a, b)) return c;
  return same(a, b) ? a : node(IntOp::Max, a, b);
}

Int less(const Int& a, const Int& b) {
  if (Int c = folded(IntOp::Less, a, b)) return c;
  return same(a, b) ? constant(0) : node(IntOp::Less, a, b);
}

int64_t evaluate(const Int& a, const std::vector<int64_t>& vars, const std::vector<int64_t>& sizes, int64_t piece) {
  switch (a->op) {
    case IntOp::Const: return a->value;
    case IntOp::Var: return vars.at(static_cast<size_t>(a->value));
    case IntOp::Size: return sizes.at(static_cast<size_t>(a->value));
    case IntOp::Piece: return piece;
    default: return apply(a->op, evaluate(a->a, vars, sizes, piece), evaluate(a->b, vars, sizes, piece));
  }
}

ScratchPlan plan_scratch(const Stage& stage, int width) {
  ScratchPlan plan;
  for (size_t i = 0; i < stage.arrays.size(); ++i) {
    const Array& array = stage.arrays[i];
    plan.offsets.push_back(0);
    if (array.space == Space::registers) continue;
    const int64_t bytes = array.count * (array.lanes ? width : 1) * static_cast<int64_t>(sizeof(float));
    plan.offsets.back() = place_of_value(i, bytes, plan.bytes);
    plan.bytes = plan.offsets.back() + bytes;
  }
  return plan;
}

int64_t result_count(const Stmt& s) {
  if (s.result < 0) return 0;
  return s.kind == StmtKind::LoadBlock ? s.columns : s.kind == StmtKind::ScanPieces ? kScanResults : 1;
}

std::string unique_name(const std::string& wanted, const std::set<std::string>& present) {
  std::string name = wanted;
  for (int i = 2; present.count(name); ++i) name = wanted + "." + std::to_string(i);
  return name;
}

// ---- StageBuilder ---------------------------------------------------------------------------------------------------

StageBuilder::StageBuilder(Stage& stage) : stage_(stage), open_{&stage.body} {}

Int StageBuilder::task() const { return variable(stage_.task); }

int StageBuilder::array(const std::string& name, int64_t count, bool lanes, bool registers) {
  const std::string unique = unique_name(name, array_names_);
  array_names_.insert(unique);
  stage_.arrays.push_back({unique, lanes, count, registers ? Space::registers : Space::scratch});
  return static_cast<int>(stage_.arrays.size()) - 1;
}

Stmt& StageBuilder::push(Stmt stmt) {
  stmt.comment = std::move(comment_);
  comment_.clear();
  stmt.origin = origin_;
  open_.back()->push_back(std::move(stmt));
  return open_.back()->back();
}

Value StageBuilder::fresh(bool lanes) {
  lanes_.push_back(lanes);
  return stage_.values++;
}

Int StageBuilder::open_for(const Int& begin, const Int& end, int64_t step, bool unroll, int64_t first) {
  Stmt stmt;
  stmt.kind = StmtKind::For;
  stmt.var = stage_.vars++;
  stmt.begin = begin;
  stmt.end = end;
  stmt.step = step;
  stmt.unroll = unroll;
  stmt.first = first;
  const Int var = variable(stmt.var);
  open_.push_back(&push(std::move(stmt)).body);
  return var;
}

Int StageBuilder::open_for_teams(const Int& end) {
  const Int var = open_for(constant(0), end);
  Block& around = *open_.at(open_.size() - 2);
  around.back().teams = stage_.teams > 1;
  return var;
}

void StageBuilder::open_if(const Int& less, const Int& than) {
  Stmt stmt;
  stmt.kind = StmtKind::If;
  stmt.begin = less;
  stmt.end = than;
  open_.push_back(&push(std::move(stmt)).body);
}

void StageBuilder::open_else(bool once) {
  close();
  Stmt& stmt = open_.back()->back();
  check(stmt.kind == StmtKind::If, "open_else without open_if");
  stmt.once = once;
  open_.push_back(&stmt.otherwise);
}

void StageBuilder::close() {
  check(open_.size() > 1, "close without an open block");
  open_.pop_back();
}

Value StageBuilder::number(double value) {
  Stmt stmt;
  stmt.kind = StmtKind::Number;
  stmt.number = value;
  stmt.result = fresh(false);
  return push(std::move(stmt)).result;
}

Value StageBuilder::index(const Int& offset) {
  Stmt stmt;
  stmt.kind = StmtKind::Index;
  stmt.offset = offset;
  stmt.result = fresh(differs_between_lanes(offset));
  return push(std::move(stmt)).result;
}

Value StageBuilder::lane_index(const Int& offset) {
  Stmt stmt;
  stmt.kind = StmtKind::LaneIndex;
  stmt.offset = offset;
  stmt.result = fresh(true);
  return push(std::move(stmt)).result;
}

Value StageBuilder::apply(Op op, std::vector<Value> args) {
  Stmt stmt;
  stmt.kind = StmtKind::Apply;
  stmt.op = op;
  stmt.result = fresh(std::any_of(args.begin(), args.end(), [&](Value v) { return is_lanes(v); }));
  stmt.args = std::move(args);
  return push(std::move(stmt)).result;
}

Value StageBuilder::load(int buffer, const Int& offset, const Int& lane_stride, const Int& valid, int64_t ahead) {
  Stmt stmt;
  stmt.kind = StmtKind::Load;
  stmt.buffer = buffer;
  stmt.offset = offset;
  stmt.lane_stride = lane_stride;
  stmt.valid = valid;
  stmt.ahead = ahead;
  stmt.result = fresh(lane_stride != nullptr || differs_between_lanes(offset));
  return push(std::move(stmt)).result;
}

void StageBuilder::store(int buffer, const Int& offset, Value value, const Int& lane_stride, const Int& valid,
                         int64_t ahead, const Int& below, const Int& limit) {
  Stmt stmt;
  stmt.kind = StmtKind::Store;
  stmt.buffer = buffer;
  stmt.offset = offset;
  stmt.args = {value};
  stmt.lane_stride = lane_stride;
  stmt.valid = valid;
  stmt.ahead = ahead;
  stmt.below = below;
  stmt.limit = limit;
  push(std::move(stmt));
}

std::vector<Value> StageBuilder::load_block(int buffer, const Int& offset, int64_t columns, int64_t ahead,
                                            const Int& lane_stride, const Int& valid) {
  Stmt stmt;
  stmt.kind = StmtKind::LoadBlock;
  stmt.buffer = buffer;
  stmt.offset = offset;
  stmt.columns = columns;
  stmt.ahead = ahead;
  stmt.lane_stride = lane_stride;
  stmt.valid = valid;
  std::vector<Value> results;
  for (int64_t c = 0; c < columns; c++) results.push_back(fresh(true));
  stmt.result = results.at(0);
  push(std::move(stmt));
  return results;
}

void StageBuilder::store_block(int buffer, const Int& offset, std::vector<Value> columns) {
  Stmt stmt;
  stmt.kind = StmtKind::StoreBlock;
  stmt.buffer = buffer;
  stmt.offset = offset;
  stmt.args = std::move(columns);
  push(std::move(stmt));
}

Value StageBuilder::load_array(int array, const Int& offset) {
  Stmt stmt;
  stmt.kind = StmtKind::LoadArray;
  stmt.buffer = array;
  stmt.offset = offset;
  stmt.result = fresh(stage_.arrays.at(static_cast<size_t>(array)).lanes || differs_between_lanes(offset));
  return push(std::move(stmt)).result;
}

Value StageBuilder::load_piece(int array, const Int& offset, const Int& piece) {
  Stmt stmt;
  stmt.kind = StmtKind::LoadPiece;
  stmt.buffer = array;
  stmt.offset = offset;
  stmt.piece = piece;
  stmt.result = fresh(true);
  return push(std::move(stmt)).result;
}

Value StageBuilder::sum_pieces(std::vector<Value> values) {
  Stmt stmt;
  stmt.kind = StmtKind::SumPieces;
  stmt.args = std::move(values);
  stmt.result = fresh(true);
  return push(std::move(stmt)).result;
}

StageBuilder::Scanned StageBuilder::scan_pieces(Value a, Value b) {
  Stmt stmt;
  stmt.kind = StmtKind::ScanPieces;
  stmt.args = {a, b};
  const Value first = stmt.result = fresh(true);
  for (int64_t i = 1; i < kScanResults; i++) fresh(true);
  push(std::move(stmt));
  return {first, first + 1, first + 2, first + 3};
}

void StageBuilder::store_array(int array, const Int& offset, Value value) {
  Stmt stmt;
  stmt.kind = StmtKind::StoreArray;
  stmt.buffer = array;
  stmt.offset = offset;
  stmt.args = {value};
  push(std::move(stmt));
}

Value StageBuilder::reduce(Op op, Value value, const Int& valid) {
  Stmt stmt;
  stmt.kind = StmtKind::Reduce;
  stmt.op = op;
  stmt.args = {value};
  stmt.valid = valid;
  stmt.result = fresh(false);
  return push(std::move(stmt)).result;
}

void StageBuilder::reduce_into(int array, const Int& offset, int64_t stride, int64_t step, std::vector<Value> values) {
  Stmt stmt;
  stmt.kind = StmtKind::ReduceInto;
  stmt.buffer = array;
  stmt.offset = offset;
  stmt.lane_stride = constant(stride);
  stmt.step = step;
  stmt.args = std::move(values);
  push(std::move(stmt));
}

void StageBuilder::comment(const std::string& text) { comment_ = text; }

}  // namespace mambac::loop
