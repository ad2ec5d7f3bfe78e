// Machine code whose instructions have origins: the usual way from a module to its text, with a pass before the last
// one, and the last one told to say each instruction's origin in front of it.
#include <llvm/ADT/DenseMap.h>
#include <llvm/ADT/DenseSet.h>
#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/CodeGen/AsmPrinter.h>
#include <llvm/CodeGen/DebugHandlerBase.h>
#include <llvm/CodeGen/MachineFunctionPass.h>
#include <llvm/CodeGen/MachineModuleInfo.h>
#include <llvm/CodeGen/MachineRegisterInfo.h>
#include <llvm/CodeGen/Passes.h>
#include <llvm/CodeGen/TargetPassConfig.h>
#include <llvm/CodeGen/TargetRegisterInfo.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/MC/MCStreamer.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "codegen/llvm_origins.h"
#include "ir/error.h"

namespace mambac::llvm_emit {

namespace {

constexpr std::string_view kMark = "\t#@origin ";

/// By register unit: the origin of what reads the register's content, or of what wrote it.
using RegisterOrigins = std::vector<int>;

/// The code generator's own instructions have none: constants that are loaded again, reloads and copies are for those
/// that read them; what is spilled is of those that wrote it.
class MachineOrigins : public llvm::MachineFunctionPass {
 public:
  static char ID;
  MachineOrigins() : MachineFunctionPass(ID) {}

  llvm::StringRef getPassName() const override { return "origins of machine instructions"; }
  void getAnalysisUsage(llvm::AnalysisUsage& usage) const override {
    usage.setPreservesAll();
    MachineFunctionPass::getAnalysisUsage(usage);
  }

  bool runOnMachineFunction(llvm::MachineFunction& function) override {
    found_.clear();
    by_writers_.clear();
    registers_ = &function.getRegInfo();
    follow(llvm::post_order(&function), [&](const auto& block) { return look_backward(block); });
    follow(llvm::ReversePostOrderTraversal(&function), [&](const auto& block) { return look_forward(block); });
    const llvm::Function& source = function.getFunction();
    for (llvm::MachineBasicBlock& block : function)
      for (llvm::MachineInstr& instruction : block) {
        const int origin = origin_of_instruction(instruction);
        instruction.setDebugLoc(location_of(source, origin >= 0 ? origin : stage_origin(source)));
      }
    return false;
  }

 private:
  /// Looks at all blocks until that changes what is known at their ends no more.
  template <typename Blocks, typename Look>
  void follow(Blocks blocks, Look look) {
    at_end_.clear();
    for (bool changed = true; changed;) {
      changed = false;
      for (const llvm::MachineBasicBlock* block : blocks) {
        RegisterOrigins now = look(*block);
        RegisterOrigins& before = at_end_[block];
        changed |= now != before;
        before = std::move(now);
      }
    }
  }

  RegisterOrigins look_backward(const llvm::MachineBasicBlock& block) {
    RegisterOrigins readers = joined(block.successors());
    for (const llvm::MachineInstr& instruction : llvm::reverse(block)) {
      if (origin_of(instruction.getDebugLoc()) < 0) {
        int origin = -1;
        each_register(instruction, is_written, readers, [&](int reader) { origin = join(origin, reader); });
        found_[&instruction] = origin;
      }
      each_register(instruction, is_written, readers, [&](int& reader) { reader = -1; });
      const int origin = origin_of_instruction(instruction);
      each_register(instruction, is_read, readers, [&](int& reader) { reader = join(reader, origin); });
    }
    return readers;
  }

  RegisterOrigins look_forward(const llvm::MachineBasicBlock& block) {
    RegisterOrigins writers = joined(block.predecessors());
    for (const llvm::MachineInstr& instruction : block) {
      const auto found = found_.find(&instruction);
      if (found != found_.end() && (found->second == -1 || by_writers_.count(&instruction))) {
        int origin = -1;
        each_register(instruction, is_read, writers, [&](int writer) { origin = join(origin, writer); });
        found->second = origin;
        by_writers_.insert(&instruction);
      }
      const int origin = origin_of_instruction(instruction);
      each_register(instruction, is_written, writers, [&](int& writer) { writer = origin; });
    }
    return writers;
  }

  template <typename Blocks>
  RegisterOrigins joined(const Blocks& blocks) {
    RegisterOrigins all(registers_->getTargetRegisterInfo()->getNumRegUnits(), -1);
    for (const llvm::MachineBasicBlock* block : blocks) {
      const RegisterOrigins& one = at_end_[block];
      for (size_t unit = 0; unit < one.size(); ++unit) all[unit] = join(all[unit], one[unit]);
    }
    return all;
  }

  static bool is_written(const llvm::MachineOperand& operand) { return operand.isDef(); }
  static bool is_read(const llvm::MachineOperand& operand) { return operand.readsReg(); }

  /// Not the stack pointer and its like.
  template <typename Wanted, typename Visit>
  void each_register(const llvm::MachineInstr& instruction, Wanted wanted, RegisterOrigins& origins,
                     Visit visit) const {
    for (const llvm::MachineOperand& operand : instruction.operands()) {
      if (!operand.isReg() || !operand.getReg().isPhysical() || !wanted(operand)) continue;
      const llvm::MCRegister number = operand.getReg().asMCReg();
      if (registers_->isReserved(number)) continue;
      for (const llvm::MCRegUnit unit : registers_->getTargetRegisterInfo()->regunits(number)) visit(origins[unit]);
    }
  }

  int origin_of_instruction(const llvm::MachineInstr& instruction) const {
    const auto found = found_.find(&instruction);
    return found != found_.end() ? found->second : origin_of(instruction.getDebugLoc());
  }

  const llvm::MachineRegisterInfo* registers_ = nullptr;
  llvm::DenseMap<const llvm::MachineBasicBlock*, RegisterOrigins> at_end_;  // that a direction leaves a block by
  llvm::DenseMap<const llvm::MachineInstr*, int> found_;                    // of instructions without their own
  llvm::DenseSet<const llvm::MachineInstr*> by_writers_;
};

char MachineOrigins::ID = 0;

/// Tells of the origin of each instruction in front of it, and of none behind it, since labels and directives have
/// none.
class Teller : public llvm::DebugHandlerBase {
 public:
  Teller(llvm::AsmPrinter& printer, const OriginTold& told)
      : DebugHandlerBase(&printer), printer_(printer), told_(told) {}

  void endModule() override {}
  void beginInstruction(const llvm::MachineInstr* instruction) override { tell(origin_of(instruction->getDebugLoc())); }
  void endInstruction() override { tell(-1); }

 protected:
  void beginFunctionImpl(const llvm::MachineFunction* /*function*/) override {}
  void endFunctionImpl(const llvm::MachineFunction* /*function*/) override {}

 private:
  void tell(int origin) { told_(*printer_.OutStreamer, origin); }

  llvm::AsmPrinter& printer_;
  const OriginTold& told_;
};

/// The text without its marks.
std::string without_marks(std::string_view marked, std::vector<int>& line_origins) {
  std::string text;
  for (int origin = -1; !marked.empty();) {
    const size_t end = std::min(marked.find('\n'), marked.size() - 1) + 1;
    const std::string_view line = marked.substr(0, end);
    marked.remove_prefix(end);
    if (line.starts_with(kMark)) {
      std::from_chars(line.data() + kMark.size(), line.data() + line.size(), origin);
      continue;
    }
    text += line;
    line_origins.push_back(origin);
  }
  return text;
}

}  // namespace

void write_code(llvm::Module& module, llvm::TargetMachine& target, const StreamerMaker& make, const OriginTold& told) {
  auto& machine = static_cast<llvm::LLVMTargetMachine&>(target);
  llvm::legacy::PassManager passes;
  auto* info = new llvm::MachineModuleInfoWrapperPass(&machine);
  llvm::TargetPassConfig* config = machine.createPassConfig(passes);
  config->setDisableVerify(true);  // as where LLVM does all this itself
  passes.add(config);
  passes.add(info);
  check(!config->addISelPasses(), "LLVM cannot select instructions of this target");
  config->addMachinePasses();
  config->setInitialized();
  passes.add(new MachineOrigins);
  llvm::AsmPrinter* printer = machine.getTarget().createAsmPrinter(machine, make(info->getMMI().getContext()));
  check(printer != nullptr, "LLVM cannot write assembly of this target");
  printer->addDebugHandler(std::make_unique<Teller>(*printer, told));
  passes.add(printer);
  passes.add(llvm::createFreeMachineFunctionPass());
  passes.run(module);
}

std::string assembly(llvm::Module& module, llvm::TargetMachine& machine, std::vector<int>& line_origins) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  const auto text = [&](llvm::MCContext& context) {
    auto streamer = static_cast<llvm::LLVMTargetMachine&>(machine).createMCStreamer(
        stream, nullptr, llvm::CodeGenFileType::AssemblyFile, context);
    if (!streamer) throw InternalError("LLVM cannot write assembly: " + llvm::toString(streamer.takeError()));
    return std::move(*streamer);
  };
  write_code(module, machine, text, [](llvm::MCStreamer& streamer, int origin) {
    streamer.emitRawComment(llvm::Twine(kMark.substr(2)) + llvm::Twine(origin));
  });
  return without_marks({bytes.data(), bytes.size()}, line_origins);
}

}  // namespace mambac::llvm_emit
