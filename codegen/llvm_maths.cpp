#include "codegen/llvm_maths.h"

#include <llvm/IR/IntrinsicsX86.h>

#include <limits>

#include "codegen/polynomials.h"
#include "ir/error.h"

namespace mambac::llvm_emit {

using llvm::Type;
using llvm::Value;
namespace poly = polynomials;

namespace {

/// Adding this to |x| < 2^22 leaves the nearest integer in the low bits of the sum.
constexpr double kRounder = 12582912;  // 1.5 * 2^23
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool is_number(Value* v) {
  auto* c = llvm::dyn_cast<llvm::Constant>(v);
  if (!c) return false;
  if (c->getType()->isVectorTy()) c = c->getSplatValue();
  auto* f = llvm::dyn_cast_or_null<llvm::ConstantFP>(c);
  return f && !f->isNaN();
}

}  // namespace

// ---- shorthands -----------------------------------------------------------------------------------------------------

Value* Maths::num(Value* like, double value) { return llvm::ConstantFP::get(like->getType(), value); }

Type* Maths::int_type(Type* shape) { return shape->getWithNewType(b_.getInt32Ty()); }

Value* Maths::integer(Value* like, uint32_t value) {
  return llvm::ConstantInt::get(int_type(like->getType()), value);
}

Value* Maths::bits(Value* x) { return b_.CreateBitCast(x, int_type(x->getType())); }

Value* Maths::as_float(Value* x) { return b_.CreateBitCast(x, x->getType()->getWithNewType(b_.getFloatTy())); }

Value* Maths::fma(Value* x, Value* y, Value* z) {
  return b_.CreateIntrinsic(llvm::Intrinsic::fmuladd, {x->getType()}, {x, y, z});
}

Value* Maths::horner(Value* x, std::span<const float> coefficients) {
  Value* sum = num(x, coefficients.back());
  for (size_t i = coefficients.size() - 1; i-- > 0;) sum = fma(sum, x, num(x, coefficients[i]));
  return sum;
}

Value* Maths::truth(Value* condition, Value* like) { return b_.CreateSelect(condition, num(like, 1), num(like, 0)); }

// `c > x ? c : x` is one x86 instruction and gives x when x is NaN, so a constant goes first.
Value* Maths::extreme(Value* x, Value* y, llvm::CmpInst::Predicate first) {
  if (is_number(y)) std::swap(x, y);
  Value* ordered = b_.CreateSelect(b_.CreateFCmp(first, x, y), x, y);  // y when one is NaN
  if (is_number(x)) return ordered;
  return b_.CreateSelect(b_.CreateFCmpUNO(x, x), x, ordered);
}

// ---- elementary functions -------------------------------------------------------------------------------------------

bool Maths::has_fast_exp(const Type* type) const {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return isa_.avx512dq && vector && vector->getNumElements() == 16;
}

// exp(x) = 2^n * 2^r with n = floor(x * log2(e)). 2^n is added to the exponent, so n must lie in [-126, 127]; the two
// selects take what lies outside (and NaN).
Value* Maths::exp(Value* x) {
  Value* log2e = num(x, poly::kLog2E);
  if (has_fast_exp(x->getType())) return exp2_avx512(b_.CreateFMul(x, log2e));
  Value* rounded = b_.CreateFAdd(fma(x, log2e, num(x, -0.5)), num(x, kRounder));
  Value* n = b_.CreateFSub(rounded, num(x, kRounder));
  Value* r = fma(x, num(x, poly::kLog2ELow), fma(x, log2e, b_.CreateFNeg(n)));
  Value* mantissa = fma(r, horner(r, poly::kExp2), num(x, 1));
  Value* power = as_float(b_.CreateAdd(bits(mantissa), b_.CreateShl(bits(rounded), integer(x, 23))));
  Value* above = b_.CreateSelect(b_.CreateFCmpUGT(x, num(x, poly::kExpHighest)), b_.CreateFAdd(x, num(x, kInfinity)),
                                 power);
  return b_.CreateSelect(b_.CreateFCmpOLT(x, num(x, poly::kExpLowest)), num(x, 0), above);
}

// 8 instructions with the product before it. vreduceps gives t - floor(32 t) / 32 (0 at infinity); a sum rounded down
// has floor(32 t) in its low bits, of which vpermi2ps uses five; vscalefps multiplies by 2^floor(t) with the right
// limits at both ends. Three of the eight need the pipes that multiply, where a polynomial without a table needs six:
// the recurrence around an exp needs those, too.
Value* Maths::exp2_avx512(Value* t) {
  constexpr int kFloor = 0x9, kCells = 5 << 4, kCurrentRounding = 4, kAllLanes = 0xffff;  // 2^5 cells
  static_assert(poly::kExp2Cells.size() == 32);
  Value* mask = b_.getInt16(kAllLanes);
  Value* mode = b_.getInt32(kCurrentRounding);
  Value* f = b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_reduce_ps_512, {},
                                {t, b_.getInt32(kFloor | kCells), num(t, 0), mask, mode});
  Value* cell = bits(b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_add_ps_512, {},
                                        {t, num(t, kRounder / poly::kExp2Cells.size()), b_.getInt32(kFloor)}));
  const llvm::ArrayRef<float> cells(poly::kExp2Cells);
  Value* low = llvm::ConstantDataVector::get(b_.getContext(), cells.take_front(16));
  Value* high = llvm::ConstantDataVector::get(b_.getContext(), cells.drop_front(16));
  Value* entry = b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_vpermi2var_ps_512, {}, {low, cell, high});
  Value* quadratic = fma(f, b_.CreateFAdd(f, num(t, poly::kExp2Slope)), num(t, poly::kExp2Level));
  Value* mantissa = b_.CreateFMul(entry, quadratic);
  return b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_scalef_ps_512, {}, {mantissa, t, num(t, 0), mask, mode});
}

Value* Maths::exp_of_product(Value* x, Value* invariant) {
  return exp2_avx512(b_.CreateFMul(x, b_.CreateFMul(invariant, num(invariant, poly::kLog2E))));
}

/// log(1 + f) - f for f in [sqrt(1/2) - 1, sqrt(2) - 1].
Value* Maths::log_tail(Value* f) {
  Value* square = b_.CreateFMul(f, f);
  Value* cubic = b_.CreateFMul(b_.CreateFMul(square, f), horner(f, poly::kLog));
  return fma(num(f, -0.5), square, cubic);
}

Value* Maths::log(Value* x) {
  constexpr uint32_t kSqrtHalf = 0x3f3504f3;
  Value* exponent = b_.CreateAShr(b_.CreateSub(bits(x), integer(x, kSqrtHalf)), integer(x, 23));
  Value* mantissa = as_float(b_.CreateSub(bits(x), b_.CreateShl(exponent, integer(x, 23))));
  Value* e = b_.CreateSIToFP(exponent, x->getType());
  Value* f = b_.CreateFSub(mantissa, num(x, 1));
  Value* tail = fma(e, num(x, poly::kLn2Low), log_tail(f));
  Value* inner = fma(e, num(x, poly::kLn2High), b_.CreateFAdd(f, tail));
  Value* small = b_.CreateSelect(b_.CreateFCmpOGE(x, num(x, 0)), num(x, -kInfinity),
                                 num(x, std::numeric_limits<double>::quiet_NaN()));
  Value* finite = b_.CreateSelect(b_.CreateFCmpOLT(x, num(x, std::numeric_limits<float>::min())), small, inner);
  return b_.CreateSelect(b_.CreateFCmpUGT(x, num(x, std::numeric_limits<float>::max())), x, finite);
}

/// log(1 + y) for y in [0, 1], relative to the result also where y is tiny: above sqrt(2) - 1 as
/// log(2) + log((1 + y) / 2).
Value* Maths::log1p_unit(Value* y) {
  Value* big = b_.CreateFCmpOGT(y, num(y, 0.41421354));
  Value* f = b_.CreateSelect(big, fma(y, num(y, 0.5), num(y, -0.5)), y);
  Value* low = b_.CreateSelect(big, num(y, poly::kLn2Low), num(y, 0));
  Value* high = b_.CreateSelect(big, num(y, poly::kLn2High), num(y, 0));
  return b_.CreateFAdd(b_.CreateFAdd(f, b_.CreateFAdd(log_tail(f), low)), high);
}

/// 1 / d for d >= 1. A division of 16 lanes takes as long as two exponentials; an estimate of 14 bits and one step of
/// Newton's method do not, and err by less than a rounding.
Value* Maths::reciprocal(Value* d) {
  if (!has_fast_exp(d->getType())) return b_.CreateFDiv(num(d, 1), d);
  Value* finite = smaller(d, num(d, 0x1p126));
  Value* y = b_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_rcp14_ps_512, {}, {finite, num(d, 0), b_.getInt16(0xffff)});
  Value* error = fma(b_.CreateFNeg(finite), y, num(d, 1));
  return fma(y, error, y);
}

Value* Maths::sigmoid(Value* x) { return reciprocal(b_.CreateFAdd(exp(b_.CreateFNeg(x)), num(x, 1))); }

Value* Maths::softplus(Value* x) {
  Value* magnitude = b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  Value* positive = b_.CreateSelect(b_.CreateFCmpOGT(x, num(x, 0)), x, num(x, 0));
  return b_.CreateFAdd(positive, log1p_unit(exp(b_.CreateFNeg(magnitude))));
}

Value* Maths::tanh(Value* x) {
  Value* magnitude = b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  Value* e = exp(b_.CreateFMul(magnitude, num(x, -2)));
  Value* ratio = b_.CreateFDiv(b_.CreateFSub(num(x, 1), e), b_.CreateFAdd(e, num(x, 1)));
  Value* far = b_.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, ratio, x);
  Value* square = b_.CreateFMul(x, x);
  Value* near = fma(b_.CreateFMul(square, x), horner(square, poly::kTanh), x);
  return b_.CreateSelect(b_.CreateFCmpOLT(magnitude, num(x, poly::kTanhSmall)), near, far);
}

/// sin(x + quadrants_ahead * pi / 2).
Value* Maths::wave(Value* x, uint32_t quadrants_ahead) {
  Value* rounded = fma(x, num(x, 0.6366197723675814), num(x, kRounder));
  Value* n = b_.CreateFNeg(b_.CreateFSub(rounded, num(x, kRounder)));
  Value* r = x;
  for (float part : poly::kHalfPi) r = fma(n, num(x, part), r);
  Value* quadrant = b_.CreateAdd(bits(rounded), integer(x, quadrants_ahead));
  Value* square = b_.CreateFMul(r, r);
  Value* sine = fma(b_.CreateFMul(square, r), horner(square, poly::kSin), r);
  Value* half_square = fma(square, num(x, -0.5), num(x, 1));
  Value* cosine = fma(b_.CreateFMul(square, square), horner(square, poly::kCos), half_square);
  Value* odd = b_.CreateICmpNE(b_.CreateAnd(quadrant, integer(x, 1)), integer(x, 0));
  Value* sign = b_.CreateShl(b_.CreateAnd(quadrant, integer(x, 2)), integer(x, 30));
  return as_float(b_.CreateXor(bits(b_.CreateSelect(odd, cosine, sine)), sign));
}

Value* Maths::apply(Op op, std::span<Value* const> a) {
  Value* x = a[0];
  switch (op) {
    case Op::Neg: return b_.CreateFNeg(x);
    case Op::Abs: return b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
    case Op::Exp: return exp(x);
    case Op::Log: return log(x);
    case Op::Sqrt: return b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x);
    case Op::Rsqrt: return b_.CreateFDiv(num(x, 1), b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x));
    case Op::Sigmoid: return sigmoid(x);
    case Op::Tanh: return tanh(x);
    case Op::Softplus: return softplus(x);
    case Op::Sin: return wave(x, 0);
    case Op::Cos: return wave(x, 1);
    case Op::Stop: return x;
    case Op::Add: return b_.CreateFAdd(x, a[1]);
    case Op::Sub: return b_.CreateFSub(x, a[1]);
    case Op::Mul: return b_.CreateFMul(x, a[1]);
    case Op::Div: return b_.CreateFDiv(x, a[1]);
    case Op::Max: return larger(x, a[1]);
    case Op::Min: return smaller(x, a[1]);
    case Op::Lt: return truth(b_.CreateFCmpOLT(x, a[1]), x);
    case Op::Le: return truth(b_.CreateFCmpOLE(x, a[1]), x);
    case Op::Eq: return truth(b_.CreateFCmpOEQ(x, a[1]), x);
    case Op::Select: return b_.CreateSelect(b_.CreateFCmpUNE(x, num(x, 0)), a[1], a[2]);
    default: throw InternalError("loop IR: not a pointwise op: " + std::string(name_of(op)));
  }
}

// ---- element types --------------------------------------------------------------------------------------------------

Type* Maths::storage_type(DType dtype, Type* shape) {
  switch (dtype) {
    case DType::f32: return shape->getWithNewType(b_.getFloatTy());
    case DType::bf16:
    case DType::f16: return shape->getWithNewType(b_.getInt16Ty());
    case DType::i32: return shape->getWithNewType(b_.getInt32Ty());
    case DType::u8: return shape->getWithNewType(b_.getInt8Ty());
  }
  throw InternalError("unknown element type");
}

Value* Maths::widen(DType dtype, Value* stored) {
  Type* floats = stored->getType()->getWithNewType(b_.getFloatTy());
  Type* ints = int_type(stored->getType());
  switch (dtype) {
    case DType::f32: return stored;
    case DType::bf16: return as_float(b_.CreateShl(b_.CreateZExt(stored, ints), llvm::ConstantInt::get(ints, 16)));
    case DType::f16: return half_to_float(stored);
    case DType::i32: return b_.CreateSIToFP(stored, floats);
    case DType::u8: return b_.CreateSIToFP(b_.CreateZExt(stored, ints), floats);
  }
  throw InternalError("unknown element type");
}

Value* Maths::round(DType dtype, Value* value) {
  Type* stored = storage_type(dtype, value->getType());
  switch (dtype) {
    case DType::f32: return value;
    case DType::bf16: return float_to_bfloat(value);
    case DType::f16: return float_to_half(value);
    case DType::i32: return b_.CreateFPToSI(value, stored);
    case DType::u8: return b_.CreateTrunc(b_.CreateFPToSI(value, int_type(value->getType())), stored);
  }
  throw InternalError("unknown element type");
}

// Without vcvtneps2bf16: add half a unit of the last kept place (one less when that place is even), cut; NaN stays NaN.
Value* Maths::float_to_bfloat(Value* x) {
  Type* stored = storage_type(DType::bf16, x->getType());
  if (isa_.avx512bf16 && x->getType()->isVectorTy())
    return b_.CreateBitCast(b_.CreateFPTrunc(x, x->getType()->getWithNewType(b_.getBFloatTy())), stored);
  Value* high = b_.CreateLShr(bits(x), integer(x, 16));
  Value* bias = b_.CreateAdd(b_.CreateAnd(high, integer(x, 1)), integer(x, 0x7fff));
  Value* rounded = b_.CreateLShr(b_.CreateAdd(bits(x), bias), integer(x, 16));
  Value* quiet = b_.CreateOr(high, integer(x, 0x40));
  return b_.CreateTrunc(b_.CreateSelect(b_.CreateFCmpUNO(x, x), quiet, rounded), stored);
}

// Without F16C: shift the exponent and mantissa into place and add the difference of the biases (twice for infinities
// and NaN). A denormal half gets the smallest normal exponent, from which 2^-14 is taken away again.
Value* Maths::half_to_float(Value* half) {
  Type* shape = half->getType();
  if (isa_.f16c) {
    Value* typed = b_.CreateBitCast(half, shape->getWithNewType(b_.getHalfTy()));
    return b_.CreateFPExt(typed, shape->getWithNewType(b_.getFloatTy()));
  }
  constexpr uint32_t kBias = 112u << 23, kSmallestNormal = 0x0400, kInfinity = 0x7c00;
  Value* h = b_.CreateZExt(half, int_type(shape));
  Value* rest = b_.CreateAnd(h, integer(h, 0x7fff));
  Value* normal = b_.CreateAdd(b_.CreateShl(rest, integer(h, 13)), integer(h, kBias));
  Value* raised = as_float(b_.CreateAdd(normal, integer(h, 1u << 23)));
  Value* denormal = bits(b_.CreateFSub(raised, num(raised, 0x1p-14)));
  Value* special = b_.CreateAdd(normal, integer(h, kBias));
  Value* finite = b_.CreateSelect(b_.CreateICmpULT(rest, integer(h, kSmallestNormal)), denormal, normal);
  Value* magnitude = b_.CreateSelect(b_.CreateICmpUGE(rest, integer(h, kInfinity)), special, finite);
  Value* sign = b_.CreateShl(b_.CreateAnd(h, integer(h, 0x8000)), integer(h, 16));
  return as_float(b_.CreateOr(magnitude, sign));
}

// Without F16C: numbers below the smallest normal half are rounded by adding 1/2, whose last place is that of the
// denormal halves; others by adding half a unit as in float_to_bfloat.
Value* Maths::float_to_half(Value* x) {
  Type* stored = storage_type(DType::f16, x->getType());
  if (isa_.f16c) return b_.CreateBitCast(b_.CreateFPTrunc(x, x->getType()->getWithNewType(b_.getHalfTy())), stored);
  constexpr uint32_t kTooBig = 0x47800000, kSmallestNormal = 0x38800000, kBias = 0xc8000fff, kHalf = 0x3f000000;
  Value* a = b_.CreateAnd(bits(x), integer(x, 0x7fffffff));
  Value* denormal = b_.CreateSub(bits(b_.CreateFAdd(as_float(a), num(x, 0.5))), integer(x, kHalf));
  Value* odd = b_.CreateAnd(b_.CreateLShr(a, integer(x, 13)), integer(x, 1));
  Value* normal = b_.CreateLShr(b_.CreateAdd(b_.CreateAdd(a, integer(x, kBias)), odd), integer(x, 13));
  Value* special = b_.CreateSelect(b_.CreateFCmpUNO(x, x), integer(x, 0x7e00), integer(x, 0x7c00));
  Value* small = b_.CreateICmpULT(a, integer(x, kSmallestNormal));
  Value* big = b_.CreateICmpUGE(a, integer(x, kTooBig));
  Value* magnitude = b_.CreateSelect(big, special, b_.CreateSelect(small, denormal, normal));
  Value* sign = b_.CreateAnd(b_.CreateLShr(bits(x), integer(x, 16)), integer(x, 0x8000));
  return b_.CreateTrunc(b_.CreateOr(magnitude, sign), stored);
}

}  // namespace mambac::llvm_emit
