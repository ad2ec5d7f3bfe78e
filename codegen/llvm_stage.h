// One stage of a kernel as LLVM instructions.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>

#include <span>
#include <vector>

#include "codegen/llvm_maths.h"
#include "codegen/loop_ir.h"

namespace mambac::llvm_emit {

/// An integer as a run-time part (null: none) plus a number, so that neighbouring offsets share their run-time part.
struct Linear {
  llvm::Value* variable = nullptr;
  int64_t constant = 0;
};

/// Writes the body of one stage into `function`.
class StageEmitter {
 public:
  StageEmitter(const loop::Kernel& kernel, const loop::Stage& stage, const Isa& isa, llvm::Function* function);
  void run();

 private:
  // Integers.
  Linear linear(const loop::Int& a);
  llvm::Value* integer(const Linear& a);
  llvm::Value* integer(const loop::Int& a) { return integer(linear(a)); }
  static const llvm::ConstantInt* number(llvm::Value* v) { return llvm::dyn_cast<llvm::ConstantInt>(v); }

  // Control.
  void block(const loop::Block& statements);
  void statement(const loop::Stmt& s);
  void define(const loop::Stmt& s, llvm::Value* v, int64_t column = 0);
  void loop(const loop::Stmt& s);
  void branch(const loop::Stmt& s);
  void open_loop(llvm::Value* begin, llvm::Value* end, int64_t step, int var, const loop::Block& body);

  // Values.
  llvm::Value* apply(const loop::Stmt& s);
  llvm::Value* exp_of_product(const loop::Stmt& s);
  llvm::Value* multiply_add(const loop::Stmt& s);
  size_t depth_of(const loop::Int& a) const;
  size_t depth_of(const loop::Stmt& s) const;
  void reduce(std::span<const loop::Stmt> run);
  llvm::Value* reduced(std::vector<llvm::Value*> vectors, Op op);
  void reduce_into(const loop::Stmt& s);
  llvm::Value* fold(llvm::Value* a, llvm::Value* b, unsigned rows, Op op);
  llvm::Value* lanes(llvm::Value* v) { return v->getType()->isVectorTy() ? v : b_.CreateVectorSplat(width_, v); }
  llvm::Value* lane_numbers(llvm::Type* element);

  // Memory.
  llvm::Value* load(const loop::Stmt& s);
  void store(const loop::Stmt& s);
  void fetch(const loop::Stmt& s, llvm::Type* type, llvm::Value* base);
  void load_block(const loop::Stmt& s);
  void store_block(const loop::Stmt& s);
  std::vector<llvm::Value*> columns_of(const std::vector<llvm::Value*>& flat);
  std::vector<llvm::Value*> columns_of(const std::vector<llvm::Value*>& evens, const std::vector<llvm::Value*>& odds);
  std::vector<llvm::Value*> flat_of(const std::vector<llvm::Value*>& columns);
  llvm::Value* mask(const loop::Int& valid);
  llvm::Value* element(llvm::Type* type, llvm::Value* base, const loop::Int& offset);
  llvm::Value* lane_pointers(llvm::Type* type, llvm::Value* base, const loop::Int& stride);
  llvm::Value* array_element(const loop::Stmt& s, llvm::Type** type);

  const loop::Kernel& kernel_;
  const loop::Stage& stage_;
  llvm::Function* function_;
  llvm::IRBuilder<> b_;
  Maths maths_;
  unsigned width_;
  llvm::Type* scalar_;
  llvm::Type* vector_;
  std::vector<llvm::Value*> values_, vars_, sizes_, arrays_;
  std::vector<const loop::Stmt*> definitions_;  // of the values
  std::vector<size_t> depths_;            // of the values; see depth_of
  std::vector<size_t> var_depths_;
  std::vector<std::vector<bool>> stored_;  // of every loop that is open: the arrays that it stores to
};

}  // namespace mambac::llvm_emit
