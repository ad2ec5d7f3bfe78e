#include "codegen/llvm_emit.h"

#include <fmt/format.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <bit>
#include <cctype>

#include "codegen/llvm_origins.h"
#include "codegen/llvm_stage.h"
#include "ir/error.h"

namespace mambac::llvm_emit {

using llvm::BasicBlock;
using llvm::Type;
using llvm::Value;

namespace {

/// By buffer: whether it may lie where another one does.
std::vector<bool> shared_buffers(const loop::Kernel& kernel) {
  std::vector<bool> shared(kernel.buffers.size(), false);
  for (size_t i = 0; i < kernel.buffers.size(); i++)
    for (const int other : kernel.buffers[i].in_place_of) shared[i] = shared[static_cast<size_t>(other)] = true;
  return shared;
}

/// Every pointer is a parameter of its own, since LLVM believes `noalias` of parameters only.
llvm::Function* inner_function(const loop::Kernel& kernel, size_t number, llvm::Module& module) {
  const loop::Stage& stage = kernel.stages[number];
  auto& context = module.getContext();
  Type* pointer = llvm::PointerType::get(context, 0);
  Type* int64 = Type::getInt64Ty(context);
  std::vector<Type*> types(kernel.buffers.size() + 1, pointer);
  for (const loop::Array& array : stage.arrays)
    if (array.space != loop::Space::registers) types.push_back(pointer);
  types.insert(types.end(), {int64, int64});
  auto* function = llvm::Function::Create(llvm::FunctionType::get(Type::getVoidTy(context), types, false),
                                          llvm::Function::InternalLinkage, tasks_symbol(kernel, number), module);
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
  const loop::ScratchPlan scratch = plan_scratch(stage, kernel.schedule.width);
  for (size_t i = 0; i < stage.arrays.size(); ++i)
    if (stage.arrays[i].space != loop::Space::registers)
      arguments.push_back(b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), function->getArg(2),
                                                       static_cast<uint64_t>(scratch.offsets[i])));
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

std::string tasks_symbol(const loop::Kernel& kernel, size_t stage) { return stage_symbol(kernel, stage) + "_tasks"; }

std::unique_ptr<llvm::Module> emit(const loop::Kernel& kernel, const Isa& isa, llvm::LLVMContext& context,
                                   bool with_origins) {
  check(kernel.schedule.width >= 1 && std::has_single_bit(static_cast<unsigned>(kernel.schedule.width)),
        "the width of a kernel must be a power of two");
  auto module = std::make_unique<llvm::Module>(kernel.name, context);
  for (size_t i = 0; i < kernel.stages.size(); i++) {
    const std::string symbol = stage_symbol(kernel, i);
    llvm::Function* inner = inner_function(kernel, i, *module);
    if (with_origins) give_origins(*inner, kernel.stages[i].origin);
    StageEmitter(kernel, kernel.stages[i], isa, inner).run();
    outer_function(kernel, kernel.stages[i], symbol, inner, *module);
  }
  for (llvm::Function& function : *module) {
    if (function.isDeclaration()) continue;
    function.addFnAttr(llvm::Attribute::NoUnwind);
    const std::string bits = std::to_string(32 * kernel.schedule.width);
    function.addFnAttr("prefer-vector-width", bits);
    function.addFnAttr("min-legal-vector-width", bits);
    // LLVM decides before it allocates registers whether it may align the stack; without this, vectors that it spills
    // cross cache lines.
    function.addFnAttr("stackrealign");
  }
  std::string problem;
  llvm::raw_string_ostream stream(problem);
  if (llvm::verifyModule(*module, &stream))
    throw InternalError(fmt::format("LLVM rejects the code of kernel '{}': {}", kernel.name, problem));
  return module;
}

}  // namespace mambac::llvm_emit
