#include "codegen/llvm_stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/llvm_origins.h"
#include "ir/error.h"

namespace mambac::llvm_emit {

using llvm::BasicBlock;
using llvm::Type;
using llvm::Value;
using loop::Block;
using loop::Int;
using loop::IntOp;
using loop::Stmt;
using loop::StmtKind;

namespace {

void mark_stored(const Block& block, std::vector<bool>& arrays) {
  for (const Stmt& s : block) {
    if (s.kind == StmtKind::StoreArray || s.kind == StmtKind::ReduceInto)
      arrays.at(static_cast<size_t>(s.buffer)) = true;
    mark_stored(s.body, arrays);
    mark_stored(s.otherwise, arrays);
  }
}

}  // namespace

StageEmitter::StageEmitter(const loop::Kernel& kernel, const loop::Stage& stage, const Isa& isa,
                           llvm::Function* function)
    : kernel_(kernel),
      stage_(stage),
      function_(function),
      b_(function->getContext()),
      maths_(b_, isa),
      width_(static_cast<unsigned>(kernel.schedule.width)),
      scalar_(b_.getFloatTy()),
      vector_(llvm::FixedVectorType::get(scalar_, width_)),
      values_(static_cast<size_t>(stage.values)),
      vars_(static_cast<size_t>(stage.vars)),
      definitions_(values_.size()),
      depths_(values_.size()),
      var_depths_(vars_.size()) {
  llvm::FastMathFlags flags;
  flags.setAllowContract(true);
  b_.setFastMathFlags(flags);
}

// Parameters: every buffer, the sizes, every array that lives in scratch memory, begin, end.
void StageEmitter::run() {
  b_.SetInsertPoint(BasicBlock::Create(b_.getContext(), "entry", function_));
  b_.SetCurrentDebugLocation(location_of(*function_, stage_.origin));
  auto* parameter = function_->arg_begin() + static_cast<std::ptrdiff_t>(kernel_.buffers.size());
  Value* sizes = parameter++;
  for (size_t i = 0; i < kernel_.sizes.size(); i++) {
    Value* at = b_.CreateConstInBoundsGEP1_64(b_.getInt64Ty(), sizes, i);
    sizes_.push_back(b_.CreateLoad(b_.getInt64Ty(), at, kernel_.sizes[i]));
  }
  for (const loop::Array& array : stage_.arrays) {
    if (array.space == loop::Space::registers) {
      Type* type = llvm::ArrayType::get(array.lanes ? vector_ : scalar_, static_cast<uint64_t>(array.count));
      arrays_.push_back(b_.CreateAlloca(type, nullptr, array.name));
    } else {
      arrays_.push_back(parameter++);
    }
  }
  Value* begin = parameter++;
  Value* end = parameter;
  open_loop(begin, end, 1, stage_.task, stage_.body);
  b_.CreateRetVoid();
}

// ---- integers -------------------------------------------------------------------------------------------------------

Value* StageEmitter::integer(const Linear& a) {
  if (!a.variable) return b_.getInt64(static_cast<uint64_t>(a.constant));
  if (a.constant == 0) return a.variable;
  return b_.CreateNSWAdd(a.variable, b_.getInt64(static_cast<uint64_t>(a.constant)));
}

Linear StageEmitter::linear(const Int& e) {
  auto of = [](Value* v) { return number(v) ? Linear{nullptr, number(v)->getSExtValue()} : Linear{v, 0}; };
  switch (e->op) {
    case IntOp::Const: return {nullptr, e->value};
    case IntOp::Var: return of(vars_.at(static_cast<size_t>(e->value)));
    case IntOp::Piece: throw InternalError("lanes share no channels on a CPU");
    case IntOp::Size: return {sizes_.at(static_cast<size_t>(e->value)), 0};
    default: break;
  }
  const Linear a = linear(e->a), b = linear(e->b);
  switch (e->op) {
    case IntOp::Add:
      if (!a.variable || !b.variable) return {a.variable ? a.variable : b.variable, a.constant + b.constant};
      return {b_.CreateNSWAdd(a.variable, b.variable), a.constant + b.constant};
    case IntOp::Sub: {
      if (!b.variable) return {a.variable, a.constant - b.constant};
      Value* left = a.variable ? a.variable : b_.getInt64(0);
      return {b_.CreateNSWSub(left, b.variable), a.constant - b.constant};
    }
    case IntOp::Mul: {
      if (a.variable && b.variable) return of(b_.CreateNSWMul(integer(a), integer(b)));
      const Linear& v = a.variable ? a : b;
      const int64_t k = a.variable ? b.constant : a.constant;
      if (!v.variable || k == 0) return {nullptr, v.constant * k};
      return {k == 1 ? v.variable : b_.CreateNSWMul(v.variable, b_.getInt64(static_cast<uint64_t>(k))), v.constant * k};
    }
    case IntOp::Div: return of(b_.CreateUDiv(integer(a), integer(b)));
    case IntOp::Mod: return of(b_.CreateURem(integer(a), integer(b)));
    case IntOp::Less: return of(b_.CreateZExt(b_.CreateICmpSLT(integer(a), integer(b)), b_.getInt64Ty()));
    default: break;
  }
  const bool least = e->op == IntOp::Min;
  if (!a.variable && !b.variable)
    return {nullptr, least ? std::min(a.constant, b.constant) : std::max(a.constant, b.constant)};
  const auto id = least ? llvm::Intrinsic::smin : llvm::Intrinsic::smax;
  return {b_.CreateBinaryIntrinsic(id, integer(a), integer(b)), 0};
}

// ---- control --------------------------------------------------------------------------------------------------------

void StageEmitter::block(const Block& statements) {
  for (size_t i = 0; i < statements.size();) {
    size_t run = 0;  // reductions that follow each other and are alike
    while (i + run < statements.size() && run < width_ && statements[i + run].kind == StmtKind::Reduce &&
           statements[i + run].op == statements[i].op)
      ++run;
    const llvm::DebugLoc around = b_.getCurrentDebugLocation();
    b_.SetCurrentDebugLocation(location_of(*function_, statements[i].origin));
    if (run > 0)
      reduce({&statements[i], std::bit_floor(run)});
    else
      statement(statements[i]);
    b_.SetCurrentDebugLocation(around);
    i += std::max<size_t>(1, std::bit_floor(run));
  }
}

void StageEmitter::define(const Stmt& s, Value* v, int64_t column) {
  const auto at = static_cast<size_t>(s.result + column);
  values_.at(at) = v;
  definitions_[at] = &s;
  depths_[at] = depth_of(s);
}

void StageEmitter::statement(const Stmt& s) {
  auto set = [&](Value* v) { define(s, v); };
  switch (s.kind) {
    case StmtKind::For: loop(s); break;
    case StmtKind::If: branch(s); break;
    case StmtKind::Number: set(llvm::ConstantFP::get(scalar_, static_cast<float>(s.number))); break;
    case StmtKind::Index: set(b_.CreateSIToFP(integer(s.offset), scalar_)); break;
    case StmtKind::LaneIndex: {
      Value* first = b_.CreateTrunc(integer(s.offset), b_.getInt32Ty());
      set(b_.CreateSIToFP(b_.CreateAdd(lanes(first), lane_numbers(b_.getInt32Ty())), vector_));
      break;
    }
    case StmtKind::Apply: set(apply(s)); break;
    case StmtKind::Load: set(load(s)); break;
    case StmtKind::Store: store(s); break;
    case StmtKind::LoadBlock: load_block(s); break;
    case StmtKind::StoreBlock: store_block(s); break;
    case StmtKind::LoadArray: {
      Type* type = nullptr;
      Value* at = array_element(s, &type);
      set(b_.CreateAlignedLoad(type, at, llvm::Align(type->getPrimitiveSizeInBits() / 8)));
      break;
    }
    case StmtKind::StoreArray: {
      Type* type = nullptr;
      Value* at = array_element(s, &type);
      Value* v = values_.at(static_cast<size_t>(s.args[0]));
      b_.CreateAlignedStore(type == vector_ ? lanes(v) : v, at, llvm::Align(type->getPrimitiveSizeInBits() / 8));
      break;
    }
    case StmtKind::Fetch:
    case StmtKind::CopyAsync:
    case StmtKind::CommitCopies:
    case StmtKind::WaitCopies:
    case StmtKind::Prefetch: throw InternalError("a CPU reads memory ahead by itself");
    case StmtKind::Reduce: break;   // see block
    case StmtKind::LoadPiece:
    case StmtKind::SumPieces:
    case StmtKind::ScanPieces: throw InternalError("lanes share no channels on a CPU");
    case StmtKind::ReduceInto: reduce_into(s); break;
    case StmtKind::AwaitKernels:
    case StmtKind::Barrier: break;  // lanes are in step
  }
}

void StageEmitter::open_loop(Value* begin, Value* end, int64_t step, int var, const Block& body) {
  auto& context = b_.getContext();
  BasicBlock* before = b_.GetInsertBlock();
  BasicBlock* inside = BasicBlock::Create(context, "loop", function_);
  BasicBlock* after = BasicBlock::Create(context, "after", function_);
  b_.CreateCondBr(b_.CreateICmpSLT(begin, end), inside, after);
  b_.SetInsertPoint(inside);
  llvm::PHINode* phi = b_.CreatePHI(b_.getInt64Ty(), 2, fmt::format("i{}", var));
  phi->addIncoming(begin, before);
  vars_.at(static_cast<size_t>(var)) = phi;
  var_depths_.at(static_cast<size_t>(var)) = stored_.size() + 1;
  stored_.emplace_back(arrays_.size());
  mark_stored(body, stored_.back());
  block(body);
  stored_.pop_back();
  Value* next = b_.CreateNSWAdd(phi, b_.getInt64(static_cast<uint64_t>(step)));
  phi->addIncoming(next, b_.GetInsertBlock());
  b_.CreateCondBr(b_.CreateICmpSLT(next, end), inside, after);
  after->moveAfter(b_.GetInsertBlock());
  b_.SetInsertPoint(after);
}

void StageEmitter::loop(const Stmt& s) {
  Value* begin = integer(s.begin);
  Value* end = integer(s.end);
  if (!s.unroll) return open_loop(begin, end, s.step, s.var, s.body);
  check(number(begin) && number(end), "loop IR: the bounds of an unrolled loop are known at run time only");
  for (int64_t i = number(begin)->getSExtValue(); i < number(end)->getSExtValue(); i += s.step) {
    vars_.at(static_cast<size_t>(s.var)) = b_.getInt64(static_cast<uint64_t>(i));
    var_depths_.at(static_cast<size_t>(s.var)) = 0;
    block(s.body);
  }
}

void StageEmitter::branch(const Stmt& s) {
  Value* condition = b_.CreateICmpSLT(integer(s.begin), integer(s.end));
  if (const auto* known = number(condition)) return block(known->isZero() ? s.otherwise : s.body);
  auto& context = b_.getContext();
  BasicBlock* yes = BasicBlock::Create(context, "then", function_);
  BasicBlock* no = s.otherwise.empty() ? nullptr : BasicBlock::Create(context, "else", function_);
  BasicBlock* after = BasicBlock::Create(context, "after", function_);
  b_.CreateCondBr(condition, yes, no ? no : after);
  b_.SetInsertPoint(yes);
  block(s.body);
  b_.CreateBr(after);
  if (no) {
    no->moveAfter(b_.GetInsertBlock());
    b_.SetInsertPoint(no);
    block(s.otherwise);
    b_.CreateBr(after);
  }
  after->moveAfter(b_.GetInsertBlock());
  b_.SetInsertPoint(after);
}

// ---- values ---------------------------------------------------------------------------------------------------------

Value* StageEmitter::lane_numbers(Type* element) {
  std::vector<llvm::Constant*> numbers;
  for (unsigned i = 0; i < width_; i++) numbers.push_back(llvm::ConstantInt::get(element, i));
  return llvm::ConstantVector::get(numbers);
}

/// The number of loops, from the outermost, in which an integer changes.
size_t StageEmitter::depth_of(const Int& a) const {
  if (!a || a->op == IntOp::Const || a->op == IntOp::Size) return 0;
  return a->op == IntOp::Var ? var_depths_[static_cast<size_t>(a->value)] : std::max(depth_of(a->a), depth_of(a->b));
}

/// The same for the result of a statement: where LLVM can compute it, having moved it out of loops.
size_t StageEmitter::depth_of(const Stmt& s) const {
  size_t depth = std::max({depth_of(s.offset), depth_of(s.lane_stride), depth_of(s.valid)});
  for (loop::Value v : s.args) depth = std::max(depth, depths_[static_cast<size_t>(v)]);
  const auto buffer = static_cast<size_t>(s.buffer);
  const bool loads = s.kind == StmtKind::Load || s.kind == StmtKind::LoadBlock;
  if (loads && kernel_.buffers[buffer].written) depth = stored_.size();
  if (s.kind == StmtKind::LoadArray)
    for (size_t i = stored_.size(); i > depth; i--)
      if (stored_[i - 1][buffer]) depth = i;
  return depth;
}

/// exp(x * y) where one factor changes in fewer loops than the other, as the decays of a scan are; null for others.
Value* StageEmitter::exp_of_product(const Stmt& s) {
  if (s.op != Op::Exp || !maths_.has_fast_exp(values_[static_cast<size_t>(s.args[0])]->getType())) return nullptr;
  const Stmt& product = *definitions_[static_cast<size_t>(s.args[0])];
  if (product.kind != StmtKind::Apply || product.op != Op::Mul) return nullptr;
  auto x = static_cast<size_t>(product.args[0]), y = static_cast<size_t>(product.args[1]);
  if (depths_[x] < depths_[y]) std::swap(x, y);
  return depths_[x] > depths_[y] ? maths_.exp_of_product(lanes(values_[x]), lanes(values_[y])) : nullptr;
}

/// A sum whose first summand is a product, as one instruction even if the product is used elsewhere: the next step of a
/// scan waits for `decay * state + input`. Null for others.
Value* StageEmitter::multiply_add(const Stmt& s) {
  if (s.op != Op::Add) return nullptr;
  const Stmt& product = *definitions_[static_cast<size_t>(s.args[0])];
  if (product.kind != StmtKind::Apply || product.op != Op::Mul) return nullptr;
  Value* a = values_[static_cast<size_t>(product.args[0])];
  Value* b = values_[static_cast<size_t>(product.args[1])];
  Value* c = values_[static_cast<size_t>(s.args[1])];
  const bool vector = a->getType()->isVectorTy() || b->getType()->isVectorTy() || c->getType()->isVectorTy();
  return vector ? maths_.fma(lanes(a), lanes(b), lanes(c)) : maths_.fma(a, b, c);
}

Value* StageEmitter::apply(const Stmt& s) {
  if (Value* v = exp_of_product(s)) return v;
  if (Value* v = multiply_add(s)) return v;
  std::vector<Value*> args;
  for (loop::Value v : s.args) args.push_back(values_.at(static_cast<size_t>(v)));
  if (std::any_of(args.begin(), args.end(), [](Value* v) { return v->getType()->isVectorTy(); }))
    for (Value*& v : args) v = lanes(v);
  return maths_.apply(s.op, args);
}

/// Rows of `width_ / rows` values each, `rows` of them in a vector: the halves of every row are folded onto each other.
/// With b: the rows of two vectors, whose results fill one.
Value* StageEmitter::fold(Value* a, Value* b, unsigned rows, Op op) {
  const unsigned size = llvm::cast<llvm::FixedVectorType>(a->getType())->getNumElements(), half = size / rows / 2;
  std::vector<int> low, high;
  for (unsigned row = 0; row < (b ? 2 * rows : rows); row++)
    for (unsigned i = 0; i < half; i++) {
      low.push_back(static_cast<int>(2 * row * half + i));
      high.push_back(low.back() + static_cast<int>(half));
    }
  if (!b) b = a;
  Value* x = b_.CreateShuffleVector(a, b, low);
  Value* y = b_.CreateShuffleVector(a, b, high);
  return op == Op::Sum ? b_.CreateFAdd(x, y) : maths_.larger(x, y);
}

/// Each vector is folded in a fixed order, log2(width) steps. Several (a power of two) share the steps: as their rows
/// become shorter, they move together into one vector.
void StageEmitter::reduce(std::span<const Stmt> run) {
  const Op op = run[0].op;
  std::vector<Value*> vectors;
  for (const Stmt& s : run) {
    Value* v = lanes(values_.at(static_cast<size_t>(s.args[0])));
    if (Value* m = mask(s.valid)) {
      const double neutral = op == Op::Sum ? 0.0 : -std::numeric_limits<double>::infinity();
      v = b_.CreateSelect(m, v, llvm::ConstantFP::get(vector_, neutral));
    }
    vectors.push_back(v);
  }
  Value* results = reduced(std::move(vectors), op);
  for (size_t i = 0; i < run.size(); i++) define(run[i], b_.CreateExtractElement(results, uint64_t{i}));
}

/// A vector of the results.
Value* StageEmitter::reduced(std::vector<Value*> vectors, Op op) {
  unsigned rows = 1;  // in a vector
  for (; vectors.size() > 1; rows *= 2) {
    for (size_t i = 0; i < vectors.size() / 2; i++) vectors[i] = fold(vectors[2 * i], vectors[2 * i + 1], rows, op);
    vectors.resize(vectors.size() / 2);
  }
  for (unsigned size = width_; size > rows; size /= 2) vectors[0] = fold(vectors[0], nullptr, rows, op);
  return vectors[0];
}

void StageEmitter::reduce_into(const Stmt& s) {
  check(width_ <= static_cast<unsigned>(loop::kReduceGroup), "vectors are one group of lanes");
  std::vector<Value*> vectors;
  for (loop::Value v : s.args) vectors.push_back(lanes(values_.at(static_cast<size_t>(v))));
  Type* type = nullptr;
  Value* at = array_element(s, &type);
  b_.CreateAlignedStore(reduced(std::move(vectors), Op::Sum), at, llvm::Align(sizeof(float)));
}

}  // namespace mambac::llvm_emit
