#include "codegen/llvm_order.h"

#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/OptBisect.h>

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <optional>
#include <vector>

namespace mambac {
namespace {

/// What an instruction takes of the processor, in cycles: of the pipe that multiplies (0) or of the one that adds (1),
/// and until its result is there. Nothing where it works on no vector of floats. As on AMD Zen 4, with 512 bits.
struct Cost {
  int pipe = 0, occupied = 0, latency = 0;
};

Cost cost_of(const llvm::Instruction& instruction) {
  if (!instruction.getType()->isFPOrFPVectorTy() || llvm::isa<llvm::LoadInst>(instruction)) return {};
  constexpr Cost kMultiply{0, 1, 4}, kDivide{0, 10, 15}, kAdd{1, 1, 3}, kTwoAdds{1, 2, 5};
  if (const auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction)) {
    switch (call->getIntrinsicID()) {
      case llvm::Intrinsic::fma:
      case llvm::Intrinsic::fmuladd: return kMultiply;
      case llvm::Intrinsic::x86_avx512_mask_reduce_ps_512:
      case llvm::Intrinsic::x86_avx512_mask_scalef_ps_512: return kTwoAdds;
      case llvm::Intrinsic::x86_avx512_vpermi2var_ps_512: return {0, 0, 4};
      default: return kAdd;
    }
  }
  switch (instruction.getOpcode()) {
    case llvm::Instruction::FMul: return kMultiply;
    case llvm::Instruction::FDiv: return kDivide;
    case llvm::Instruction::FAdd:
    case llvm::Instruction::FSub:
    case llvm::Instruction::Select: return kAdd;
    default: return {};
  }
}

bool is_prefetch(const llvm::Instruction& instruction) {
  const auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
  return call && call->getIntrinsicID() == llvm::Intrinsic::prefetch;
}

/// One block: its instructions but the first (phis) and the last, and what each waits for.
class Block {
 public:
  explicit Block(llvm::BasicBlock& block) : block_(block) {
    for (llvm::Instruction& instruction : block) {
      if (llvm::isa<llvm::PHINode>(instruction) || instruction.isTerminator()) continue;
      numbers_[&instruction] = instructions_.size();
      instructions_.push_back(&instruction);
      waits_for_.push_back(operands_of(instruction));
      wait_for_memory();
    }
  }

  void reorder(int window) {
    std::vector<int> ready(instructions_.size(), -1);  // the cycle in which a result is there; -1: not issued
    std::array<int, 2> free{};
    std::list<size_t> left;
    for (size_t i = 0; i < instructions_.size(); ++i) left.push_back(i);
    for (int cycle = 0; !left.empty(); ++cycle) {
      int seen = 0;
      for (auto next = left.begin(); next != left.end() && seen < window; ++seen) {
        const size_t i = *next;
        const Cost cost = cost_of(*instructions_[i]);
        int& pipe = free[static_cast<size_t>(cost.pipe)];
        const bool waits = std::ranges::any_of(
            waits_for_[i], [&](size_t before) { return ready[before] < 0 || ready[before] > cycle; });
        if (waits || (cost.occupied > 0 && pipe > cycle)) {
          ++next;
          continue;
        }
        if (cost.occupied > 0) pipe = cycle + cost.occupied;
        ready[i] = cycle + cost.latency;
        instructions_[i]->moveBefore(block_.getTerminator());
        next = left.erase(next);
      }
    }
  }

 private:
  std::vector<size_t> operands_of(const llvm::Instruction& instruction) const {
    std::vector<size_t> before;
    for (const llvm::Value* operand : instruction.operands())
      if (const auto found = numbers_.find(operand); found != numbers_.end()) before.push_back(found->second);
    return before;
  }

  /// What writes memory stays behind what reads and writes it before, what reads it behind what writes it.
  void wait_for_memory() {
    const size_t number = instructions_.size() - 1;
    const llvm::Instruction& last = *instructions_.back();
    if (is_prefetch(last) || !last.mayReadOrWriteMemory()) return;
    std::vector<size_t>& before = waits_for_.back();
    if (written_) before.push_back(*written_);
    if (last.mayWriteToMemory()) {
      before.insert(before.end(), read_.begin(), read_.end());
      read_.clear();
      written_ = number;
    } else {
      read_.push_back(number);
    }
  }

  llvm::BasicBlock& block_;
  std::vector<llvm::Instruction*> instructions_;
  std::map<const llvm::Value*, size_t> numbers_;  // looked up only
  std::vector<std::vector<size_t>> waits_for_;
  std::optional<size_t> written_;  // last
  std::vector<size_t> read_;       // since then
};

/// Lets all passes run but LLVM's scheduler before register allocation.
class KeepsOrder : public llvm::OptPassGate {
 public:
  bool shouldRunPass(const llvm::StringRef pass, llvm::StringRef) override {
    return pass != "Machine Instruction Scheduler";
  }
  bool isEnabled() const override { return true; }
};

}  // namespace

void interleave(llvm::Module& module, int window) {
  static KeepsOrder gate;
  module.getContext().setOptPassGate(gate);
  for (llvm::Function& function : module)
    for (llvm::BasicBlock& block : function) Block(block).reorder(window);
}

}  // namespace mambac
