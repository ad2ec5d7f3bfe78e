#include "tools/warp_program.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "codegen/machine/running_code.h"

namespace mambac::tools {
namespace {

using machine::Instruction;

bool has_part(std::string_view opcode, std::string_view part) {
  return opcode.find(part) != std::string_view::npos;
}

/// "LDG.E.U16": 2; "LDS.128": 16.
int bytes_of_access(std::string_view opcode) {
  if (has_part(opcode, ".128")) return 16;
  if (has_part(opcode, ".64")) return 8;
  if (has_part(opcode, ".U16") || has_part(opcode, ".S16")) return 2;
  return has_part(opcode, ".U8") || has_part(opcode, ".S8") ? 1 : 4;
}

bool is_one_of(std::string_view base, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, base) != names.end();
}

/// Where no encodings say when it may issue: each instruction holds its warp so long, as they do on average in walks.
WarpStep unknown_step(const Instruction& instruction) {
  WarpStep step;
  step.control.stall = 2;
  if (cuda::is_special(instruction)) step.pipe = Pipe::special;
  return step;
}

WarpStep step_of(const Instruction& instruction) {
  const std::string_view opcode = instruction.opcode, base = opcode.substr(0, opcode.find('.'));
  WarpStep step{instruction.control, Pipe::integer};
  const auto access = [&](Answer answer, bool global) {
    step.pipe = Pipe::access;
    step.answer = answer;
    step.global = global;
    step.bytes = bytes_of_access(opcode);
  };
  if (is_one_of(base, {"MUFU", "I2F", "F2I", "F2F", "FRND"})) {
    step.pipe = Pipe::special;
    step.answer = Answer::special;
  } else if (is_one_of(base, {"FFMA", "FMUL", "FADD"})) {
    step.pipe = Pipe::fma;
  } else if (base == "SHFL") {
    access(Answer::exchange, false);
  } else if (is_one_of(base, {"LDS", "STS"})) {
    access(Answer::shared, false);
  } else if (is_one_of(base, {"LDL", "STL"})) {
    access(Answer::l1, false);
  } else if (is_one_of(base, {"LDG", "STG", "LDGSTS"})) {
    access(Answer::memory, true);
  } else if (base == "CCTL") {
    access(Answer::memory, false);
    step.prefetch = true;
  } else if (is_one_of(base, {"LDC", "S2R", "S2UR", "R2UR"})) {
    step.pipe = Pipe::none;
    step.answer = Answer::l1;
  } else if (is_one_of(base, {"BRA", "BSSY", "BSYNC", "NOP", "EXIT", "RET", "CALL", "BAR", "WARPSYNC"}) ||
             base.starts_with('U')) {
    step.pipe = Pipe::none;
    step.barrier = base == "BAR";
  }
  return step;
}

class Builder {
 public:
  Builder(const machine::Function& function, const std::vector<double>& runs)
      : code_(function.instructions), runs_(runs), flows_(code_) {
    encoded_ = std::ranges::any_of(code_, [](const Instruction& one) { return one.control.stall > 0; });
  }

  WarpProgram run() {
    add_parts(machine::running_code(flows_, runs_), 1);
    double all = 0;
    for (const double runs : runs_) all += runs;
    if (kept_ > 0) program_.share = kept_ / all;
    return std::move(program_);
  }

 private:
  /// `times`: how often the steps of the loop run as the program says.
  void add_parts(const machine::RunningLoop& loop, double times) {
    for (const machine::RunningLoop::Part& part : loop.parts) {
      if (part.loop < 0)
        add_block(part.block, times);
      else
        add_loop(loop.loops[static_cast<size_t>(part.loop)], times);
    }
  }

  void add_loop(const machine::RunningLoop& loop, double times) {
    const size_t begin = program_.steps.size();
    add_parts(loop, times * loop.trips);
    const size_t end = program_.steps.size();
    if (begin < end) program_.loops.push_back({begin, end, loop.trips});
  }

  void add_block(size_t block, double times) {
    for (size_t i = flows_.block(block).begin; i < flows_.block(block).end; ++i) {
      program_.steps.push_back(encoded_ ? step_of(code_[i]) : unknown_step(code_[i]));
      kept_ += times;
      if (program_.steps.back().global) program_.global_bytes += times * program_.steps.back().bytes;
    }
  }

  const std::vector<Instruction>& code_;
  const std::vector<double>& runs_;
  const machine::ControlFlow flows_;
  bool encoded_ = false;
  WarpProgram program_;
  double kept_ = 0;
};

/// Loads of a loop that brings the lines of later iterations into the L2 cache find theirs there.
void find_prefetched(WarpProgram& program) {
  for (const WarpLoop& loop : program.loops) {
    const auto begin = program.steps.begin() + static_cast<std::ptrdiff_t>(loop.begin);
    const auto end = program.steps.begin() + static_cast<std::ptrdiff_t>(loop.end);
    if (std::none_of(begin, end, [](const WarpStep& step) { return step.prefetch; })) continue;
    std::for_each(begin, end, [](WarpStep& step) {
      if (step.answer == Answer::memory) step.answer = Answer::l2;
    });
  }
}

}  // namespace

WarpProgram warp_program(const machine::Function& function, const std::vector<double>& runs) {
  if (function.instructions.empty()) return {};
  WarpProgram program = Builder(function, runs).run();
  find_prefetched(program);
  return program;
}

}  // namespace mambac::tools
