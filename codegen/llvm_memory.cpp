// Loads and stores of a stage.
#include <algorithm>

#include "codegen/llvm_stage.h"
#include "ir/error.h"

namespace mambac::llvm_emit {

using llvm::Type;
using llvm::Value;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;

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
  if (s.lane_stride) {
    for (int64_t i = 0; i < s.columns; i++) {
      Stmt column = s;
      column.offset = s.offset + i;
      define(s, load(column), i);
    }
    return;
  }
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

}  // namespace mambac::llvm_emit
