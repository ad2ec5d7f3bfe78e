#include "codegen/llvm_jit.h"

#include <fmt/format.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/Threading.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Support/thread.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>

#include "codegen/llvm_emit.h"
#include "codegen/llvm_order.h"
#include "codegen/llvm_origins.h"
#include "codegen/loop_verify.h"
#include "codegen/machine/numbered.h"
#include "ir/error.h"
#include "ir/trace.h"

namespace mambac {
namespace {

namespace orc = llvm::orc;

template <typename T>
T unwrap(llvm::Expected<T> result, const char* doing) {
  if (result) return std::forward<T>(*result);
  throw InternalError(fmt::format("LLVM failed at {}: {}", doing, llvm::toString(result.takeError())));
}

void succeed(llvm::Error error, const char* doing) {
  if (error) throw InternalError(fmt::format("LLVM failed at {}: {}", doing, llvm::toString(std::move(error))));
}

/// By its name, as one that runs 64-bit code.
bool is_known(const std::string& cpu, const llvm::Triple& triple) {
  std::string problem;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(triple.str(), problem);
  if (!target) throw InternalError("LLVM cannot write code for this machine: " + problem);
  const std::unique_ptr<llvm::MCSubtargetInfo> any(target->createMCSubtargetInfo(triple.str(), "", ""));
  if (!any->isCPUStringValid(cpu)) return false;
  return triple.getArch() != llvm::Triple::x86_64 ||
         std::unique_ptr<llvm::MCSubtargetInfo>(target->createMCSubtargetInfo(triple.str(), cpu, ""))
             ->checkFeatures("+64bit");
}

orc::JITTargetMachineBuilder machine_builder(const std::string& cpu, bool optimise) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  auto host = unwrap(orc::JITTargetMachineBuilder::detectHost(), "detecting the processor");
  orc::JITTargetMachineBuilder builder(host.getTargetTriple());
  if (cpu == "host") {
    builder = std::move(host);
  } else {
    if (!is_known(cpu, host.getTargetTriple()))
      throw InputError(fmt::format("LLVM knows no 64-bit processor '{}'; expected 'host' or a name such as 'x86-64-v3'", cpu));
    builder.setCPU(cpu);
  }
  builder.setCodeGenOptLevel(optimise ? llvm::CodeGenOptLevel::Aggressive : llvm::CodeGenOptLevel::None);
  builder.setRelocationModel(llvm::Reloc::PIC_);
  builder.setCodeModel(llvm::CodeModel::Small);
  return builder;
}

/// LLVM recurses deeply on long blocks, so it gets a large stack.
template <typename F>
void on_big_stacks(size_t threads, const F& work) {
  constexpr unsigned kStack = 64u << 20;
  std::vector<llvm::thread> running;
  for (size_t i = 0; i < threads; i++) running.emplace_back(std::optional<unsigned>(kStack), work);
  for (llvm::thread& t : running) t.join();
}

template <typename F>
void on_big_stack(const F& work) {
  std::exception_ptr failure;
  on_big_stacks(1, [&] {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

/// Nothing is optimised, but equal subexpressions are one: choosing instructions takes most of the time, and there are
/// fewer then.
llvm::ModulePassManager few_passes() {
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass());
  llvm::ModulePassManager all;
  all.addPass(llvm::createModuleToFunctionPassAdaptor(std::move(passes)));
  return all;
}

/// The lanes are vectors already and the schedule says what is unrolled, so LLVM's vectorisers and unroller stay off:
/// unrolling doubled the time of compilation and gained nothing; nor did O3 over O2. A list of nine passes in the place
/// of O2 took a third less time, but kernels of it seemed slower (docs/performance.md).
void optimise(llvm::Module& module, llvm::TargetMachine& machine, llvm::OptimizationLevel level) {
  llvm::PipelineTuningOptions options;
  options.LoopVectorization = false;
  options.LoopInterleaving = false;
  options.SLPVectorization = false;
  options.LoopUnrolling = false;
  llvm::PassBuilder builder(&machine, options);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  // No function of the C library is known, so none gets called in place of a loop.
  llvm::TargetLibraryInfoImpl library(machine.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager passes =
      level == llvm::OptimizationLevel::O0 ? few_passes() : builder.buildPerModuleDefaultPipeline(level);
  passes.run(module, modules);
}

std::string code(llvm::Module& module, llvm::TargetMachine& machine, llvm::CodeGenFileType type) {
  const trace::Span span("llvm", "write code");
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    throw InternalError("LLVM cannot write code for this target");
  passes.run(module);
  return std::string(bytes.begin(), bytes.end());
}

bool has_clocks(const llvm::TargetMachine& target) {
  return target.getMCSubtargetInfo()->getSchedModel().hasInstrSchedModel();
}

}  // namespace

struct Jit::Parts {
  orc::JITTargetMachineBuilder builder;
  llvm::OptimizationLevel level;
  std::unique_ptr<orc::LLJIT> jit;
  llvm_emit::Isa isa;
  int width = 4;
  std::string description;
  std::mutex mutex;
  std::map<std::string, std::shared_future<CompiledKernel>> compiled;  // by printed text
  std::atomic<int> libraries{0};

  Parts(const std::string& cpu, bool optimise)
      : builder(machine_builder(cpu, optimise)),
        level(optimise ? llvm::OptimizationLevel::O2 : llvm::OptimizationLevel::O0) {}

  std::unique_ptr<llvm::TargetMachine> machine() const {
    auto copy = builder;
    return unwrap(copy.createTargetMachine(), "choosing the target");
  }

  std::unique_ptr<llvm::Module> emitted(const loop::Kernel& kernel, llvm::LLVMContext& context,
                                        bool with_origins) const {
    const trace::Span span("llvm", "emit");
    return llvm_emit::emit(kernel, isa, context, with_origins);
  }

  std::unique_ptr<llvm::Module> optimised(const loop::Kernel& kernel, llvm::LLVMContext& context,
                                          llvm::TargetMachine& target, bool with_origins = false) const {
    verify(kernel);
    auto module = emitted(kernel, context, with_origins);
    module->setDataLayout(target.createDataLayout());
    module->setTargetTriple(target.getTargetTriple().str());
    const trace::Span span("llvm", "optimise");
    optimise(*module, target, level);
    if (kernel.schedule.interleave > 0) interleave(*module, kernel.schedule.interleave);
    return module;
  }

  CompiledKernel make(const loop::Kernel& kernel) {
    const trace::Span span("llvm", kernel.name);
    llvm::LLVMContext context;
    const auto target = machine();
    const auto module = optimised(kernel, context, *target);
    const std::string object = code(*module, *target, llvm::CodeGenFileType::ObjectFile);
    const trace::Span link("llvm", "link");
    const std::string name = fmt::format("{}.{}", kernel.name, libraries++);
    orc::JITDylib& library = unwrap<orc::JITDylib&>(jit->createJITDylib(name), "making a library");
    succeed(jit->addObjectFile(library, llvm::MemoryBuffer::getMemBufferCopy(object, name)), "loading code");
    CompiledKernel result{kernel.name, {}};
    for (size_t i = 0; i < kernel.stages.size(); i++) {
      const loop::Stage& stage = kernel.stages[i];
      const auto address = unwrap(jit->lookup(library, llvm_emit::stage_symbol(kernel, i)), "linking code");
      result.stages.push_back({stage.name, stage.tasks, plan_scratch(stage, kernel.schedule.width).bytes,
                               address.toPtr<StageFunction>()});
    }
    return result;
  }

  /// Of equal kernels one is compiled, whose code the others wait for.
  CompiledKernel get(const loop::Kernel& kernel) {
    std::promise<CompiledKernel> promise;
    const std::string text = print(kernel);
    std::unique_lock lock(mutex);
    const auto [entry, fresh] = compiled.try_emplace(text);
    if (fresh) entry->second = promise.get_future().share();
    const std::shared_future<CompiledKernel> code = entry->second;
    lock.unlock();
    if (fresh) {
      try {
        promise.set_value(make(kernel));
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    }
    return code.get();
  }
};

Jit& Jit::host() {
  static Jit jit("host");
  return jit;
}

Jit::Jit(const std::string& cpu, bool optimise) : parts_(std::make_unique<Parts>(cpu, optimise)) {
  const auto target = parts_->machine();
  const llvm::MCSubtargetInfo& subtarget = *target->getMCSubtargetInfo();
  auto has = [&](const char* feature) { return subtarget.checkFeatures(feature); };
  parts_->isa = {has("+f16c"), has("+avx512dq"), has("+avx512bf16")};
  parts_->width = has("+avx512f") ? 16 : has("+avx2") ? 8 : 4;
  parts_->description = fmt::format("{} {}", target->getTargetCPU().str(), target->getTargetFeatureString().str());
  parts_->jit = unwrap(orc::LLJITBuilder().setJITTargetMachineBuilder(parts_->builder).create(), "starting its JIT");
}

Jit::~Jit() = default;

int Jit::native_width() const { return parts_->width; }
const std::string& Jit::description() const { return parts_->description; }
std::string Jit::processor() const { return parts_->description.substr(0, parts_->description.find(' ')); }

CompiledKernel Jit::compile(const loop::Kernel& kernel) {
  return compile(std::vector<const loop::Kernel*>{&kernel}).front();
}

std::vector<CompiledKernel> Jit::compile(const std::vector<const loop::Kernel*>& kernels) {
  std::vector<CompiledKernel> results(kernels.size());
  std::vector<std::exception_ptr> failures(kernels.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next++; i < kernels.size(); i = next++) {
      try {
        results[i] = parts_->get(*kernels[i]);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    }
  };
  on_big_stacks(std::min<size_t>(kernels.size(), llvm::hardware_concurrency().compute_thread_count()), work);
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return results;
}

Listing Jit::list(const loop::Kernel& kernel, bool with_origins) const {
  Listing listing;
  on_big_stack([&] {
    llvm::LLVMContext context;
    const auto target = parts_->machine();
    const auto module = parts_->optimised(kernel, context, *target, with_origins);
    if (with_origins) {
      llvm_emit::inherit_origins(*module);
      listing.llvm_ir = llvm_emit::print(*module, listing.llvm_ir_origins);
      listing.assembly = llvm_emit::assembly(*module, *target, listing.assembly_origins);
      return;
    }
    llvm::raw_string_ostream stream(listing.llvm_ir);
    module->print(stream, nullptr);
    listing.assembly = code(*module, *target, llvm::CodeGenFileType::AssemblyFile);
  });
  return listing;
}

bool Jit::knows_clocks() const {
  return has_clocks(*parts_->machine());
}

std::unique_ptr<ProcessorCode> Jit::processor_code(const loop::Kernel& kernel) const {
  std::unique_ptr<ProcessorCode> made;
  on_big_stack([&] {
    loop::Kernel numbered = kernel;
    std::vector<machine::Nest> nests = machine::number_statements(numbered);
    llvm::LLVMContext context;
    auto target = parts_->machine();
    if (!has_clocks(*target))
      throw InputError(fmt::format("LLVM does not know how long instructions of '{}' take", processor()));
    const auto module = parts_->optimised(numbered, context, *target, true);
    llvm_emit::inherit_origins(*module);
    made = std::make_unique<ProcessorCode>(std::move(target), *module, numbered, std::move(nests));
  });
  return made;
}

std::string compiler_library() { return "LLVM " LLVM_VERSION_STRING; }

}  // namespace mambac
