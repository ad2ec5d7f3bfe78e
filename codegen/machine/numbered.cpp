#include "codegen/machine/numbered.h"

#include <utility>

namespace mambac::machine {
namespace {

class Numbering {
 public:
  Nest number(loop::Stage& stage) {
    nest_ = {};
    stage.origin = -1;
    const int first = line_;
    nest_.nodes.emplace_back();
    at_ = 0;
    const loop::Int task = loop::variable(stage.task);
    number_within(loop_of(stage.task, task, task + 1, 1, false), stage.body);
    nest_.nodes[0].first = first;
    nest_.nodes[0].last = line_ - 1;
    return std::move(nest_);
  }

  int lines() const { return line_ - 1; }

 private:
  static NestNode loop_of(loop::Var var, const loop::Int& begin, const loop::Int& end, int64_t step, bool written_out) {
    return {.kind = NestNode::loop, .var = var, .begin = begin, .end = end, .step = step, .written_out = written_out};
  }

  /// A loop of one iteration is none in machine code.
  static bool runs_once(const loop::Stmt& s) {
    int64_t begin = 0, end = 0;
    return loop::is_constant(s.begin, &begin) && loop::is_constant(s.end, &end) && begin < end && end <= begin + s.step;
  }

  /// `first`: where it is not the next line.
  void number_within(NestNode node, loop::Block& body, int first = 0) {
    const auto at = static_cast<int>(nest_.nodes.size());
    node.parent = at_;
    node.first = first > 0 ? first : line_;
    nest_.nodes.push_back(node);
    const int around = std::exchange(at_, at);
    for (loop::Stmt& s : body) number(s);
    at_ = around;
    nest_.nodes[static_cast<size_t>(at)].last = line_ - 1;
  }

  void number(loop::Stmt& s) {
    const int line = line_++;
    s.origin = line - 1;
    if (s.kind == loop::StmtKind::For && runs_once(s))
      for (loop::Stmt& within : s.body) number(within);
    else if (s.kind == loop::StmtKind::For)
      number_within(loop_of(s.var, s.begin, s.end, s.step, s.unroll), s.body, line);
    if (s.kind != loop::StmtKind::If) return;
    number_within({.kind = NestNode::taken, .begin = s.begin, .end = s.end}, s.body);
    if (s.otherwise.empty()) return;
    ++line_;
    number_within({.kind = NestNode::otherwise, .begin = s.begin, .end = s.end}, s.otherwise);
  }

  int line_ = 1, at_ = -1;
  Nest nest_;
};

}  // namespace

std::vector<Nest> number_statements(loop::Kernel& kernel) {
  Numbering numbering;
  std::vector<Nest> nests;
  for (loop::Stage& stage : kernel.stages) nests.push_back(numbering.number(stage));
  kernel.origins.assign(static_cast<size_t>(numbering.lines()), {});
  return nests;
}

}  // namespace mambac::machine
