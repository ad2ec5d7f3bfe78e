#include "tools/warp_program.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "codegen/machine/control_flow.h"

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
      : code_(function.instructions), runs_(runs), flows_(code_), done_(flows_.count(), false) {
    encoded_ = std::ranges::any_of(code_, [](const Instruction& one) { return one.control.stall > 0; });
  }

  WarpProgram run() {
    add_level(-1, 1, 1);
    double all = 0;
    for (const double runs : runs_) all += runs;
    if (kept_ > 0) program_.share = kept_ / all;
    return std::move(program_);
  }

 private:
  double runs_of(size_t block) const { return runs_[flows_.block(block).begin]; }

  /// The blocks of a loop (-1: outside of all) in the order of their addresses, loops within it where they begin.
  /// `around`: how often it runs; `times`: how often its steps run as the program says.
  void add_level(int loop, double around, double times) {
    for (size_t b = 0; b < flows_.count(); ++b) {
      if (done_[b] || (loop >= 0 && !flows_.loops()[static_cast<size_t>(loop)].blocks.contains(b))) continue;
      const int within = loop_within(b, loop);
      if (within >= 0) {
        add_loop(within, around, times);
      } else {
        done_[b] = true;
        if (2 * runs_of(b) >= around) add_block(b, times);
      }
    }
  }

  /// The outermost loop with the block that lies within this one; -1: there is none.
  int loop_within(size_t block, int loop) const {
    int found = -1;
    for (const size_t l : flows_.loops_of(block)) {  // inner ones first
      if (static_cast<int>(l) == loop) break;
      found = static_cast<int>(l);
    }
    return found;
  }

  void add_loop(int loop, double around, double times) {
    const machine::Loop& found = flows_.loops()[static_cast<size_t>(loop)];
    const double runs = runs_of(found.head);
    if (2 * runs < around) {
      for (const size_t b : found.blocks) done_[b] = true;
      return;
    }
    const double trips = std::max(1.0, runs / around);
    const size_t begin = program_.steps.size();
    add_level(loop, runs, times * trips);
    const size_t end = program_.steps.size();
    if (begin == end) return;
    program_.loops.push_back({begin, end, trips});
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
  std::vector<bool> done_;
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
