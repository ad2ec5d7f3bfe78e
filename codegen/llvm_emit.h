// Loop IR to an LLVM module.
#pragma once

#include <llvm/IR/Module.h>

#include <memory>
#include <string>

#include "codegen/llvm_maths.h"
#include "codegen/loop_ir.h"

namespace mambac::llvm_emit {

/// Name of the exported function of a stage.
std::string stage_symbol(const loop::Kernel& kernel, size_t stage);
/// Name of the function within, which has the loop over its tasks.
std::string tasks_symbol(const loop::Kernel& kernel, size_t stage);

/// A module with one exported function per stage,
///   void stage_symbol(void* const* buffers, const int64_t* sizes, void* scratch, int64_t begin, int64_t end)
/// which runs the tasks begin <= task < end. `scratch` is 64-byte aligned and is as loop::plan_scratch has it.
/// Lanes are <width x float>, width = kernel.schedule.width, a power of two. With origins: instructions have those of
/// their statements (codegen/llvm_origins.h).
std::unique_ptr<llvm::Module> emit(const loop::Kernel& kernel, const Isa& isa, llvm::LLVMContext& context,
                                   bool with_origins = false);

}  // namespace mambac::llvm_emit
