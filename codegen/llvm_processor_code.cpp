#include <fmt/format.h>
#include <llvm/ADT/DenseMap.h>
#include <llvm/IR/Module.h>
#include <llvm/MC/MCContext.h>
#include <llvm/MC/MCExpr.h>
#include <llvm/MC/MCInst.h>
#include <llvm/MC/MCInstrAnalysis.h>
#include <llvm/MC/MCInstrInfo.h>
#include <llvm/MC/MCStreamer.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/MCSymbol.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/MCA/Context.h>
#include <llvm/MCA/CustomBehaviour.h>
#include <llvm/MCA/InstrBuilder.h>
#include <llvm/MCA/Pipeline.h>
#include <llvm/MCA/SourceMgr.h>
#include <llvm/Target/TargetMachine.h>

#include <algorithm>
#include <map>
#include <string>

#include "codegen/llvm_emit.h"
#include "codegen/llvm_origins.h"
#include "codegen/processor_code.h"
#include "ir/error.h"

namespace mambac {
namespace {

namespace mca = llvm::mca;

/// An instruction as it came, and where it leads. A return is not timed.
struct Recorded {
  machine::Instruction instruction;
  std::unique_ptr<mca::Instruction> timed;
  int stored_bits = 0;
  const llvm::MCSymbol* target = nullptr;
};

struct RecordedFunction {
  std::vector<Recorded> code;
  llvm::DenseMap<const llvm::MCSymbol*, size_t> labels;
};

/// Makes instructions that can be followed; these refer to it.
class Timing {
 public:
  explicit Timing(const llvm::TargetMachine& machine)
      : info_(*machine.getMCInstrInfo()),
        registers_(*machine.getMCRegisterInfo()),
        analysis_(machine.getTarget().createMCInstrAnalysis(&info_)),
        instruments_(*machine.getMCSubtargetInfo(), info_),
        builder_(*machine.getMCSubtargetInfo(), info_, *machine.getMCRegisterInfo(), analysis_.get(), instruments_,
                 kClocksOfCall) {}

  const llvm::MCInstrInfo& info() const { return info_; }
  std::unique_ptr<mca::Instruction> timed(const llvm::MCInst& instruction) {
    auto made = builder_.createInstruction(instruction, {});
    if (!made) throw InternalError("LLVM has no times of an instruction: " + llvm::toString(made.takeError()));
    return std::move(*made);
  }
  int stored_bits(const llvm::MCInst& instruction) const {
    unsigned bits = 0;
    if (!info_.get(instruction.getOpcode()).mayStore()) return 0;
    for (const llvm::MCOperand& operand : instruction)
      for (const llvm::MCRegisterClass& one : registers_.regclasses())
        if (operand.isReg() && one.contains(operand.getReg())) bits = std::max(bits, one.getSizeInBits());
    return static_cast<int>(bits);
  }

 private:
  static constexpr unsigned kClocksOfCall = 100;

  const llvm::MCInstrInfo& info_;
  const llvm::MCRegisterInfo& registers_;
  const std::unique_ptr<llvm::MCInstrAnalysis> analysis_;
  const mca::InstrumentManager instruments_;
  mca::InstrBuilder builder_;
};

/// Takes what the code generator writes, by function.
class Recorder : public llvm::MCStreamer {
 public:
  Recorder(llvm::MCContext& context, Timing& timing, std::map<std::string, RecordedFunction>& functions)
      : MCStreamer(context), timing_(timing), functions_(functions) {}

  void set_origin(int origin) { line_ = origin + 1; }

  void emitLabel(llvm::MCSymbol* symbol, llvm::SMLoc place) override {
    MCStreamer::emitLabel(symbol, place);
    if (!symbol->isTemporary()) {
      const auto found = functions_.find(symbol->getName().str());
      function_ = found == functions_.end() ? nullptr : &found->second;
    }
    if (function_ != nullptr) function_->labels[symbol] = function_->code.size();
  }

  void emitInstruction(const llvm::MCInst& instruction, const llvm::MCSubtargetInfo& /*subtarget*/) override {
    if (function_ == nullptr) return;
    const llvm::MCInstrDesc& description = timing_.info().get(instruction.getOpcode());
    Recorded recorded;
    recorded.instruction.opcode = timing_.info().getName(instruction.getOpcode()).str();
    recorded.instruction.line = line_;
    if (description.isReturn()) {
      recorded.instruction.flow = machine::Flow::end;
    } else {
      recorded.timed = timing_.timed(instruction);
      recorded.stored_bits = timing_.stored_bits(instruction);
      if (description.isBranch()) find_target(recorded, instruction, description.isConditionalBranch());
    }
    function_->code.push_back(std::move(recorded));
  }

  bool emitSymbolAttribute(llvm::MCSymbol* /*symbol*/, llvm::MCSymbolAttr /*attribute*/) override { return true; }
  void emitCommonSymbol(llvm::MCSymbol* /*symbol*/, uint64_t /*size*/, llvm::Align /*alignment*/) override {}
  void emitZerofill(llvm::MCSection* /*section*/, llvm::MCSymbol* /*symbol*/, uint64_t /*size*/,
                    llvm::Align /*alignment*/, llvm::SMLoc /*place*/) override {}

 private:
  static void find_target(Recorded& recorded, const llvm::MCInst& instruction, bool conditional) {
    recorded.instruction.flow = machine::Flow::branch;
    recorded.instruction.conditional = conditional;
    for (const llvm::MCOperand& operand : instruction)
      if (operand.isExpr() && operand.getExpr()->getKind() == llvm::MCExpr::SymbolRef)
        recorded.target = &llvm::cast<llvm::MCSymbolRefExpr>(operand.getExpr())->getSymbol();
  }

  Timing& timing_;
  std::map<std::string, RecordedFunction>& functions_;
  RecordedFunction* function_ = nullptr;
  int line_ = 0;
};

}  // namespace

struct ProcessorCode::Parts {
  explicit Parts(std::unique_ptr<llvm::TargetMachine> target) : machine(std::move(target)), timing(*machine) {}

  const std::unique_ptr<llvm::TargetMachine> machine;
  Timing timing;
  std::vector<std::vector<std::unique_ptr<mca::Instruction>>> timed;  // by stage

  const llvm::MCSchedModel& model() const { return machine->getMCSubtargetInfo()->getSchedModel(); }
};

ProcessorCode::ProcessorCode(std::unique_ptr<llvm::TargetMachine> machine, llvm::Module& module,
                             const loop::Kernel& kernel, std::vector<machine::Nest> nests)
    : parts_(std::make_unique<Parts>(std::move(machine))) {
  std::map<std::string, RecordedFunction> functions;
  for (size_t i = 0; i < kernel.stages.size(); ++i) functions[llvm_emit::tasks_symbol(kernel, i)];
  llvm_emit::write_code(
      module, *parts_->machine,
      [&](llvm::MCContext& context) {
        auto recorder = std::make_unique<Recorder>(context, parts_->timing, functions);
        parts_->machine->getTarget().createNullTargetStreamer(*recorder);
        return recorder;
      },
      [](llvm::MCStreamer& streamer, int origin) { static_cast<Recorder&>(streamer).set_origin(origin); });
  for (size_t i = 0; i < kernel.stages.size(); ++i) {
    RecordedFunction& recorded = functions[llvm_emit::tasks_symbol(kernel, i)];
    Stage stage{{kernel.stages[i].name, {}}, std::move(nests[i]), {}};
    std::vector<std::unique_ptr<mca::Instruction>> timed;
    for (Recorded& one : recorded.code) {
      if (one.target != nullptr) {
        const auto label = recorded.labels.find(one.target);
        check(label != recorded.labels.end(), "a branch of machine code leads out of its function");
        one.instruction.targets.push_back(static_cast<int>(label->second));
      }
      stage.function.instructions.push_back(std::move(one.instruction));
      stage.stored_bits.push_back(one.stored_bits);
      timed.push_back(std::move(one.timed));
    }
    stages_.push_back(std::move(stage));
    parts_->timed.push_back(std::move(timed));
  }
}

ProcessorCode::~ProcessorCode() = default;

int64_t ProcessorCode::clocks(size_t stage, const std::vector<size_t>& instructions, int times) const {
  if (instructions.empty() || times == 0) return 0;
  std::vector<std::unique_ptr<mca::Instruction>> sequence;
  sequence.reserve(instructions.size());
  for (const size_t i : instructions)
    if (const auto& timed = parts_->timed[stage][i]) sequence.push_back(std::make_unique<mca::Instruction>(*timed));
  if (sequence.empty()) return 0;
  const llvm::TargetMachine& machine = *parts_->machine;
  mca::CircularSourceMgr source(sequence, static_cast<unsigned>(times));
  mca::Context context(*machine.getMCRegisterInfo(), *machine.getMCSubtargetInfo());
  mca::CustomBehaviour behaviour(*machine.getMCSubtargetInfo(), source, *machine.getMCInstrInfo());
  constexpr bool kNoAlias = true;  // of loads with stores before them
  const auto pipeline = context.createDefaultPipeline({0, 0, 0, 0, 0, 0, kNoAlias}, source, behaviour);
  auto clocks = pipeline->run();
  if (!clocks) throw InternalError("LLVM cannot follow machine code: " + llvm::toString(clocks.takeError()));
  return *clocks;
}

int ProcessorCode::issue_width() const {
  return static_cast<int>(parts_->model().IssueWidth);
}
int ProcessorCode::mispredicted_clocks() const {
  return static_cast<int>(parts_->model().MispredictPenalty);
}

}  // namespace mambac
