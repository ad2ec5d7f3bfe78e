#include "codegen/llvm_emit.h"

#include <fmt/format.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <span>

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

/// An integer as a run-time part (null: none) plus a number, so that neighbouring offsets share their run-time part.
struct Linear {
  Value* variable = nullptr;
  int64_t constant = 0;
};

void mark_stored(const Block& block, std::vector<bool>& arrays) {
  for (const Stmt& s : block) {
    if (s.kind == StmtKind::StoreArray || s.kind == StmtKind::ReduceInto) arrays.at(static_cast<size_t>(s.buffer)) = true;
    mark_stored(s.body, arrays);
    mark_stored(s.otherwise, arrays);
  }
}

/// Writes the body of one stage into `function`.
class StageEmitter {
 public:
  StageEmitter(const loop::Kernel& kernel, const loop::Stage& stage, const Isa& isa, llvm::Function* function);
  void run();

 private:
  // Integers.
  Linear linear(const Int& a);
  Value* integer(const Linear& a);
  Value* integer(const Int& a) { return integer(linear(a)); }
  static const llvm::ConstantInt* number(Value* v) { return llvm::dyn_cast<llvm::ConstantInt>(v); }

  // Control.
  void block(const Block& statements);
  void statement(const Stmt& s);
  void define(const Stmt& s, Value* v, int64_t column = 0);
  void loop(const Stmt& s);
  void branch(const Stmt& s);
  void open_loop(Value* begin, Value* end, int64_t step, int var, const Block& body);

  // Values.
  Value* apply(const Stmt& s);
  Value* exp_of_product(const Stmt& s);
  Value* multiply_add(const Stmt& s);
  size_t depth_of(const Int& a) const;
  size_t depth_of(const Stmt& s) const;
  void reduce(std::span<const Stmt> run);
  Value* reduced(std::vector<Value*> vectors, Op op);
  void reduce_into(const Stmt& s);
  Value* fold(Value* a, Value* b, unsigned rows, Op op);
  Value* lanes(Value* v) { return v->getType()->isVectorTy() ? v : b_.CreateVectorSplat(width_, v); }
  Value* lane_numbers(Type* element);

  // Memory.
  Value* load(const Stmt& s);
  void store(const Stmt& s);
  void fetch(const Stmt& s, Type* type, Value* base);
  void load_block(const Stmt& s);
  void store_block(const Stmt& s);
  std::vector<Value*> columns_of(const std::vector<Value*>& flat);
  std::vector<Value*> columns_of(const std::vector<Value*>& evens, const std::vector<Value*>& odds);
  std::vector<Value*> flat_of(const std::vector<Value*>& columns);
  Value* mask(const Int& valid);
  Value* element(Type* type, Value* base, const Int& offset);
  Value* lane_pointers(Type* type, Value* base, const Int& stride);
  Value* array_element(const Stmt& s, Type** type);

  const loop::Kernel& kernel_;
  const loop::Stage& stage_;
  llvm::Function* function_;
  llvm::IRBuilder<> b_;
  Maths maths_;
  unsigned width_;
  Type* scalar_;
  Type* vector_;
  std::vector<Value*> values_, vars_, sizes_, arrays_;
  std::vector<const Stmt*> definitions_;  // of the values
  std::vector<size_t> depths_;            // of the values; see depth_of
  std::vector<size_t> var_depths_;
  std::vector<std::vector<bool>> stored_;  // of every loop that is open: the arrays that it stores to
};

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
    if (run > 0)
      reduce({&statements[i], std::bit_floor(run)});
    else
      statement(statements[i]);
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
    case StmtKind::Reduce: break;   // see block
    case StmtKind::LoadPiece:
    case StmtKind::SumPieces: throw InternalError("lanes share no channels on a CPU");
    case StmtKind::ReduceInto: reduce_into(s); break;
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

// ---- memory ---------------------------------------------------------------------------------------------------------

/// The lanes that exist; null when all do.
Value* StageEmitter::mask(const Int& valid) {
  if (!valid) return nullptr;
  Value* count = integer(valid);
  if (const auto* known = number(count); known && known->getSExtValue() >= width_) return nullptr;
  count = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, count, b_.getInt64(width_));
  count = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, count, b_.getInt64(0));
  return b_.CreateICmpULT(lane_numbers(b_.getInt32Ty()), lanes(b_.CreateTrunc(count, b_.getInt32Ty())));
}

/// The address of base[offset]; the number in the offset becomes the instruction's displacement.
Value* StageEmitter::element(Type* type, Value* base, const Int& offset) {
  const Linear at = linear(offset);
  if (at.variable) base = b_.CreateInBoundsGEP(type, base, at.variable);
  return at.constant ? b_.CreateInBoundsGEP(type, base, b_.getInt64(static_cast<uint64_t>(at.constant))) : base;
}

Value* StageEmitter::lane_pointers(Type* type, Value* base, const Int& stride) {
  Value* steps = b_.CreateNSWMul(lanes(integer(stride)), lane_numbers(b_.getInt64Ty()));
  return b_.CreateInBoundsGEP(type, base, steps);
}

/// Asks for the memory that a later access of the same kind will need; harmless where none will.
void StageEmitter::fetch(const Stmt& s, Type* type, Value* base) {
  if (s.ahead == 0) return;
  Value* at = b_.CreateConstGEP1_64(type, base, static_cast<uint64_t>(s.ahead));
  constexpr uint32_t kKeep = 3, kData = 1;
  b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {at->getType()},
                     {at, b_.getInt32(s.kind == StmtKind::Store), b_.getInt32(kKeep), b_.getInt32(kData)});
}

Value* StageEmitter::load(const Stmt& s) {
  const DType dtype = kernel_.buffers.at(static_cast<size_t>(s.buffer)).dtype;
  const llvm::Align align(bytes_of(dtype));
  Type* one = maths_.storage_type(dtype, scalar_);
  Value* base = element(one, function_->getArg(static_cast<unsigned>(s.buffer)), s.offset);
  if (!s.lane_stride) return maths_.widen(dtype, b_.CreateAlignedLoad(one, base, align));

  Type* many = maths_.storage_type(dtype, vector_);
  Value* exist = mask(s.valid);
  Value* zero = llvm::Constant::getNullValue(many);
  int64_t stride = 0;
  if (is_constant(s.lane_stride, &stride) && stride == 1) {
    fetch(s, one, base);
    Value* stored = exist ? b_.CreateMaskedLoad(many, base, align, exist, zero)
                          : static_cast<Value*>(b_.CreateAlignedLoad(many, base, align));
    return maths_.widen(dtype, stored);
  }
  Value* all = exist ? exist : llvm::Constant::getAllOnesValue(vector_->getWithNewType(b_.getInt1Ty()));
  return maths_.widen(dtype, b_.CreateMaskedGather(many, lane_pointers(one, base, s.lane_stride), align, all, zero));
}

void StageEmitter::store(const Stmt& s) {
  const DType dtype = kernel_.buffers.at(static_cast<size_t>(s.buffer)).dtype;
  const llvm::Align align(bytes_of(dtype));
  Type* one = maths_.storage_type(dtype, scalar_);
  Value* base = element(one, function_->getArg(static_cast<unsigned>(s.buffer)), s.offset);
  Value* v = values_.at(static_cast<size_t>(s.args[0]));
  if (!s.lane_stride) {
    b_.CreateAlignedStore(maths_.round(dtype, v), base, align);
    return;
  }
  Value* stored = maths_.round(dtype, lanes(v));
  Value* exist = mask(s.valid);
  int64_t stride = 0;
  if (is_constant(s.lane_stride, &stride) && stride == 1) {
    fetch(s, one, base);
    if (exist)
      b_.CreateMaskedStore(stored, base, align, exist);
    else
      b_.CreateAlignedStore(stored, base, align);
    return;
  }
  b_.CreateMaskedScatter(stored, lane_pointers(one, base, s.lane_stride), align, exist);
}

/// Neighbours in memory belong to neighbouring columns. In each of log2(columns) steps the even columns and the odd
/// ones part.
std::vector<Value*> StageEmitter::columns_of(const std::vector<Value*>& flat) {
  if (flat.size() == 1) return flat;
  std::vector<int> even, odd;
  for (unsigned i = 0; i < width_; i++) {
    even.push_back(static_cast<int>(2 * i));
    odd.push_back(static_cast<int>(2 * i + 1));
  }
  std::vector<Value*> evens, odds;
  for (size_t i = 0; i < flat.size(); i += 2) {
    evens.push_back(b_.CreateShuffleVector(flat[i], flat[i + 1], even));
    odds.push_back(b_.CreateShuffleVector(flat[i], flat[i + 1], odd));
  }
  return columns_of(evens, odds);
}

std::vector<Value*> StageEmitter::columns_of(const std::vector<Value*>& evens, const std::vector<Value*>& odds) {
  const std::vector<Value*> even = columns_of(evens), odd = columns_of(odds);
  std::vector<Value*> columns;
  for (size_t i = 0; i < even.size(); i++) columns.insert(columns.end(), {even[i], odd[i]});
  return columns;
}

/// The same backwards.
std::vector<Value*> StageEmitter::flat_of(const std::vector<Value*>& columns) {
  if (columns.size() == 1) return columns;
  std::vector<int> low, high;
  const int width = static_cast<int>(width_);
  for (int i = 0; i < width / 2; i++) {
    low.insert(low.end(), {i, width + i});
    high.insert(high.end(), {width / 2 + i, width + width / 2 + i});
  }
  std::vector<Value*> evens, odds, flat;
  for (size_t i = 0; i < columns.size(); i += 2) {
    evens.push_back(columns[i]);
    odds.push_back(columns[i + 1]);
  }
  evens = flat_of(evens);
  odds = flat_of(odds);
  for (size_t i = 0; i < evens.size(); i++)
    flat.insert(flat.end(),
                {b_.CreateShuffleVector(evens[i], odds[i], low), b_.CreateShuffleVector(evens[i], odds[i], high)});
  return flat;
}

void StageEmitter::load_block(const Stmt& s) {
  const DType dtype = kernel_.buffers.at(static_cast<size_t>(s.buffer)).dtype;
  Type* one = maths_.storage_type(dtype, scalar_);
  Value* base = element(one, function_->getArg(static_cast<unsigned>(s.buffer)), s.offset);
  auto load = [&](Type* type, int64_t i) {
    Value* at = b_.CreateConstInBoundsGEP1_64(type, base, static_cast<uint64_t>(i));
    fetch(s, one, at);
    return b_.CreateAlignedLoad(type, at, llvm::Align(bytes_of(dtype)));
  };
  std::vector<Value*> columns;
  if (dtype == DType::bf16) {  // the upper halves of f32: a word holds an even column and an odd one
    Type* words = vector_->getWithNewType(b_.getInt32Ty());
    std::vector<Value*> evens, odds;
    for (int64_t i = 0; i < s.columns / 2; i++) {
      Value* both = load(words, i);
      evens.push_back(b_.CreateBitCast(b_.CreateShl(both, 16), vector_));
      odds.push_back(b_.CreateBitCast(b_.CreateAnd(both, 0xffff0000u), vector_));
    }
    columns = columns_of(evens, odds);
  } else {
    std::vector<Value*> flat;
    for (int64_t i = 0; i < s.columns; i++)
      flat.push_back(maths_.widen(dtype, load(maths_.storage_type(dtype, vector_), i)));
    columns = columns_of(flat);
  }
  for (int64_t i = 0; i < s.columns; i++) define(s, columns[static_cast<size_t>(i)], i);
}

void StageEmitter::store_block(const Stmt& s) {
  const DType dtype = kernel_.buffers.at(static_cast<size_t>(s.buffer)).dtype;
  Type* type = maths_.storage_type(dtype, vector_);
  Value* base =
      element(maths_.storage_type(dtype, scalar_), function_->getArg(static_cast<unsigned>(s.buffer)), s.offset);
  std::vector<Value*> columns;
  for (loop::Value v : s.args) columns.push_back(lanes(values_.at(static_cast<size_t>(v))));
  const std::vector<Value*> flat = flat_of(columns);
  for (size_t i = 0; i < flat.size(); i++)
    b_.CreateAlignedStore(maths_.round(dtype, flat[i]), b_.CreateConstInBoundsGEP1_64(type, base, i),
                          llvm::Align(bytes_of(dtype)));
}

Value* StageEmitter::array_element(const Stmt& s, Type** type) {
  const loop::Array& array = stage_.arrays.at(static_cast<size_t>(s.buffer));
  *type = array.lanes ? vector_ : scalar_;
  return element(*type, arrays_.at(static_cast<size_t>(s.buffer)), s.offset);
}

// ---- functions ------------------------------------------------------------------------------------------------------

/// By buffer: whether it may lie where another one does.
std::vector<bool> shared_buffers(const loop::Kernel& kernel) {
  std::vector<bool> shared(kernel.buffers.size(), false);
  for (size_t i = 0; i < kernel.buffers.size(); i++)
    for (const int other : kernel.buffers[i].in_place_of) shared[i] = shared[static_cast<size_t>(other)] = true;
  return shared;
}

/// Every pointer is a parameter of its own, since LLVM believes `noalias` of parameters only.
llvm::Function* inner_function(const loop::Kernel& kernel, const loop::Stage& stage, const std::string& symbol,
                               llvm::Module& module) {
  auto& context = module.getContext();
  Type* pointer = llvm::PointerType::get(context, 0);
  Type* int64 = Type::getInt64Ty(context);
  std::vector<Type*> types(kernel.buffers.size() + 1, pointer);
  for (const loop::Array& array : stage.arrays)
    if (array.space != loop::Space::registers) types.push_back(pointer);
  types.insert(types.end(), {int64, int64});
  auto* function = llvm::Function::Create(llvm::FunctionType::get(Type::getVoidTy(context), types, false),
                                          llvm::Function::InternalLinkage, symbol + "_tasks", module);
  function->addFnAttr(llvm::Attribute::NoInline);
  const std::vector<bool> shared = shared_buffers(kernel);
  for (size_t i = 0; i + 2 < types.size(); i++) {
    auto* argument = function->getArg(static_cast<unsigned>(i));
    const bool is_buffer = i < kernel.buffers.size();
    if (!is_buffer || !shared[i]) argument->addAttr(llvm::Attribute::NoAlias);
    argument->addAttr(llvm::Attribute::NoCapture);
    if (is_buffer) argument->setName(kernel.buffers[i].name);
    if ((is_buffer && !kernel.buffers[i].written) || i == kernel.buffers.size())
      argument->addAttr(llvm::Attribute::ReadOnly);
    if (i > kernel.buffers.size()) argument->addAttr(llvm::Attribute::getWithAlignment(context, llvm::Align(64)));
  }
  return function;
}

/// The exported function: unpacks the pointers and calls the inner one.
llvm::Function* outer_function(const loop::Kernel& kernel, const loop::Stage& stage, const std::string& symbol,
                               llvm::Function* inner, llvm::Module& module) {
  llvm::IRBuilder<> b(module.getContext());
  Type* pointer = b.getPtrTy();
  Type* int64 = b.getInt64Ty();
  auto* type = llvm::FunctionType::get(b.getVoidTy(), {pointer, pointer, pointer, int64, int64}, false);
  auto* function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, module);
  b.SetInsertPoint(BasicBlock::Create(module.getContext(), "entry", function));
  std::vector<Value*> arguments;
  for (size_t i = 0; i < kernel.buffers.size(); i++)
    arguments.push_back(b.CreateLoad(pointer, b.CreateConstInBoundsGEP1_64(pointer, function->getArg(0), i)));
  arguments.push_back(function->getArg(1));
  loop::Stage seen;  // the arrays before the present one
  for (const loop::Array& array : stage.arrays) {
    const int64_t offset = scratch_bytes(seen, kernel.schedule.width);
    if (array.space != loop::Space::registers)
      arguments.push_back(
          b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), function->getArg(2), static_cast<uint64_t>(offset)));
    seen.arrays.push_back(array);
  }
  arguments.insert(arguments.end(), {function->getArg(3), function->getArg(4)});
  b.CreateCall(inner, arguments);
  b.CreateRetVoid();
  return function;
}

}  // namespace

std::string stage_symbol(const loop::Kernel& kernel, size_t stage) {
  std::string symbol = kernel.name;
  for (char& c : symbol)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return fmt::format("{}_stage_{}", symbol, stage);
}

std::unique_ptr<llvm::Module> emit(const loop::Kernel& kernel, const Isa& isa, llvm::LLVMContext& context) {
  check(kernel.schedule.width >= 1 && std::has_single_bit(static_cast<unsigned>(kernel.schedule.width)),
        "the width of a kernel must be a power of two");
  auto module = std::make_unique<llvm::Module>(kernel.name, context);
  for (size_t i = 0; i < kernel.stages.size(); i++) {
    const std::string symbol = stage_symbol(kernel, i);
    llvm::Function* inner = inner_function(kernel, kernel.stages[i], symbol, *module);
    StageEmitter(kernel, kernel.stages[i], isa, inner).run();
    outer_function(kernel, kernel.stages[i], symbol, inner, *module);
  }
  for (llvm::Function& function : *module) {
    if (function.isDeclaration()) continue;
    function.addFnAttr(llvm::Attribute::NoUnwind);
    const std::string bits = std::to_string(32 * kernel.schedule.width);
    function.addFnAttr("prefer-vector-width", bits);
    function.addFnAttr("min-legal-vector-width", bits);
  }
  std::string problem;
  llvm::raw_string_ostream stream(problem);
  if (llvm::verifyModule(*module, &stream))
    throw InternalError(fmt::format("LLVM rejects the code of kernel '{}': {}", kernel.name, problem));
  return module;
}

}  // namespace mambac::llvm_emit
