// Pointwise ops and element conversions as LLVM instructions, for scalars and vectors alike.
#pragma once

#include <llvm/IR/IRBuilder.h>

#include <span>

#include "ir/op.h"
#include "ir/type.h"

namespace mambac::llvm_emit {

/// What the instruction selection depends on; everything else is left to LLVM.
struct Isa {
  bool f16c = false;        // conversions between f16 and f32
  bool avx512dq = false;    // vreduceps, vscalefps
  bool avx512bf16 = false;  // vcvtneps2bf16
};

/// Writes at the builder's place. Operands are f32 or vectors of f32, all of one type.
///
/// Relative errors against exact results: exp, sigmoid and softplus 2.4e-7 (2 ulp), and |x| * 6e-8 more, the rounding
/// of x * log2(e), where exp has its fast form (16 lanes, AVX-512DQ) or the machine has no FMA. log 1e-7, tanh 2.4e-7.
/// sin, cos: 1e-7 absolute up to |x| = 8192, growing beyond. Denormal results and arguments may count as 0; NaN
/// propagates.
class Maths {
 public:
  Maths(llvm::IRBuilder<>& builder, const Isa& isa) : b_(builder), isa_(isa) {}

  llvm::Value* apply(Op op, std::span<llvm::Value* const> args);

  bool has_fast_exp(const llvm::Type* type) const;
  /// exp(x * invariant) by the fast form, with log2(e) multiplied into the factor that does not change in the innermost
  /// loop: one multiplication less there.
  llvm::Value* exp_of_product(llvm::Value* x, llvm::Value* invariant);

  /// x * y + z, rounded once where the processor has such an instruction.
  llvm::Value* fma(llvm::Value* x, llvm::Value* y, llvm::Value* z);

  /// The larger; NaN when one is NaN.
  llvm::Value* larger(llvm::Value* x, llvm::Value* y) { return extreme(x, y, llvm::CmpInst::FCMP_OGT); }
  llvm::Value* smaller(llvm::Value* x, llvm::Value* y) { return extreme(x, y, llvm::CmpInst::FCMP_OLT); }

  /// The type in which an element of memory is loaded and stored; vectors when `shape` is one.
  llvm::Type* storage_type(DType dtype, llvm::Type* shape);
  /// Storage to f32.
  llvm::Value* widen(DType dtype, llvm::Value* stored);
  /// f32 to storage, rounding to nearest even (integers: towards zero).
  llvm::Value* round(DType dtype, llvm::Value* value);

 private:
  llvm::Value* num(llvm::Value* like, double value);
  llvm::Value* integer(llvm::Value* like, uint32_t value);
  llvm::Type* int_type(llvm::Type* shape);
  llvm::Value* bits(llvm::Value* x);
  llvm::Value* as_float(llvm::Value* x);
  llvm::Value* horner(llvm::Value* x, std::span<const float> coefficients);
  llvm::Value* truth(llvm::Value* condition, llvm::Value* like);
  llvm::Value* extreme(llvm::Value* x, llvm::Value* y, llvm::CmpInst::Predicate first);

  llvm::Value* exp(llvm::Value* x);
  llvm::Value* exp2_avx512(llvm::Value* t);
  llvm::Value* log(llvm::Value* x);
  llvm::Value* log_tail(llvm::Value* f);
  llvm::Value* log1p_unit(llvm::Value* y);
  llvm::Value* reciprocal(llvm::Value* d);
  llvm::Value* sigmoid(llvm::Value* x);
  llvm::Value* softplus(llvm::Value* x);
  llvm::Value* tanh(llvm::Value* x);
  llvm::Value* wave(llvm::Value* x, uint32_t quadrants_ahead);
  llvm::Value* half_to_float(llvm::Value* half);
  llvm::Value* float_to_half(llvm::Value* x);
  llvm::Value* float_to_bfloat(llvm::Value* x);

  llvm::IRBuilder<>& b_;
  const Isa& isa_;
};

}  // namespace mambac::llvm_emit
